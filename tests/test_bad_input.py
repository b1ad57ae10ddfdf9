"""What users hand over by mistake: one clear message, the right exit code, nothing half-written."""

import csv
import os
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pytest

from conftest import Finished, Run
from paratope.cli.doctor import D13_HEAVY, D13_LIGHT, LYSOZYME
from paratope.models.bundle import bundled_folder
from paratope.molecules.sequences import AMINO_ACIDS
from test_tables import rows_text

Row = dict[str, object]
GOOD: Row = {"id": "d13", "heavy": D13_HEAVY, "light": D13_LIGHT, "antigen": LYSOZYME}
SHORT_ANTIGEN = LYSOZYME[:60]
DNA = "ATGGAAGTTCAGCTGGTTGAATCTGGTGGTGGTCTGGTTCAGCCG" * 3


def measured(*values: object, column: str = "pkd") -> str:
    return rows_text(*({**GOOD, "id": f"m{n}", column: value} for n, value in enumerate(values)))


PAIRS = rows_text(GOOD)
PREDICT = "predict {in} -o {out}"
CHAIN = f"predict --heavy {D13_HEAVY}"


def snapshot(folder: Path) -> dict[str, bytes]:
    files = filter(Path.is_file, folder.rglob("*"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


class Refused(NamedTuple):
    """Input that cannot be used at all: `name` is written with `content`, then `arguments` run.

    In the arguments ``{in}`` is that file, ``{out}`` a file to write, ``{dir}`` their folder.
    """

    content: str | bytes | Callable[[Path], None]
    says: Sequence[str]
    name: str = "pairs.csv"
    arguments: str = PREDICT


def cut_parquet(path: Path) -> None:
    pl.DataFrame([GOOD]).write_parquet(path)
    path.write_bytes(path.read_bytes()[:-40])


def damaged_bundle(path: Path) -> None:
    shutil.copytree(bundled_folder("default"), path.parent / "bundle")
    (path.parent / "bundle" / "model.safetensors").write_bytes(b"cut short")
    path.write_text(PAIRS)


def folder_beside(path: Path) -> None:
    path.mkdir()
    (path.parent / "real.csv").write_text(PAIRS)


REFUSED = {
    # the file
    "no such file": Refused(lambda path: None, ("pairs.csv", "no such file")),
    "empty": Refused("", ("pairs.csv", "empty")),
    "truncated Parquet": Refused(cut_parquet, ("damaged Parquet",), "pairs.parquet"),
    "a folder": Refused(lambda path: path.mkdir(), ("this is a folder",)),
    "unreadable": Refused(lambda path: path.symlink_to(path), ("cannot be read",)),
    "UTF-16 cut short": Refused(PAIRS.encode("utf-16")[:-1], ("UTF-16", "save the file as UTF-8")),
    # the columns
    "wrong delimiter": Refused(
        PAIRS.replace(",", "|"), ("no column for heavy", "Columns found", "--columns")
    ),
    "no heavy column": Refused(
        PAIRS.replace("heavy", "sequence_1"),
        ("no column for heavy", "sequence_1", "Known names", "vh", "--columns heavy="),
    ),
    "no antigen column": Refused(
        PAIRS.replace("antigen", "protein"), ("no column for antigen", "protein", "FASTA")
    ),
    "antigen FASTA of DNA": Refused(
        f">gene\n{DNA}\n", ("DNA", "translate"), "ag.fasta", f"{CHAIN} --antigen {{in}} -o {{out}}"
    ),
    "damaged model folder": Refused(
        damaged_bundle, ("model.safetensors",), arguments=f"{PREDICT} --model {{dir}}/bundle"
    ),
    "output is a folder": Refused(
        folder_beside, ("this is a folder",), arguments="predict {dir}/real.csv -o {in}"
    ),
    "audit of an empty file": Refused("", ("empty",), arguments="data audit {in}"),
}
# Commands that cannot be carried out, on what, and what the message says.
COMMANDS = {
    "predict -o {out}": (PAIRS, "--heavy"),
    f"{CHAIN} -o {{out}}": (PAIRS, "antigen"),
    "predict {in} -o {dir}/none/out.csv": (PAIRS, "does not exist; make it first"),
    "compare {dir}/nowhere {dir}/nowhere2": (PAIRS, "nowhere"),
    "evaluate {in} -o {dir}/report": (measured(8.0, 7.0), "measured values", "Columns found"),
    "evaluate {in} -o {dir}/text": ("true,pred\n7.1,high\n8.0,low\n", "'pred'", "2 rows"),
    "evaluate {in} -o {dir}/nan": ("true,pred\nNaN,7\nNaN,8\n", "true"),
}
REFUSED |= {
    line: Refused(content, says, arguments=line) for line, (content, *says) in COMMANDS.items()
}

# An option of predict that is refused, and what the message says.
BAD_OPTIONS = {
    "--columns heavy=VH": ("no column 'VH'", "heavy"),
    "--model no-such-model": ("no-such-model", "default"),
    "--model {dir}": ("{dir}",),
    "--strong-threshold tight": ("strong",),
    "--strong-threshold 0.5": ("from 4 to 14", "got 0.5"),
    "--strong-threshold nan": ("got nan",),
}
BAD_TRAINING = {
    "no values": (PAIRS, ("no column for pkd", "kd_nM")),
    "the wrong unit": (measured(3.7, 12.0, column="kd_M"), ("looks like a Kd in nM", "kd_nM")),
    "negative Kd": (measured(-3.7, -1, column="kd_nM"), ("-3.7",)),
    "nothing measured": (measured("NaN", "", "n/a"), ("no measured value",)),
}
REFUSED |= {
    f"train: {case}": Refused(*refused, arguments="train {in} -o {dir}/run")
    for case, refused in BAD_TRAINING.items()
}
REFUSED |= {
    option: Refused(PAIRS, says, arguments=f"{PREDICT} {option}")
    for option, says in BAD_OPTIONS.items()
}


def one_message(done: Finished) -> str:
    """The message of a failed command, however the terminal wrapped it; asserts it is clear."""
    assert "Traceback" not in done.err
    assert done.err.strip(), "no message"
    assert done.err.count("Error") == 1, done.err
    return " ".join(done.err.replace("│", " ").split())


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str, tmp_path: Path, run_paratope: Run):
    refused = REFUSED[case]
    folder = tmp_path / "given"
    folder.mkdir()
    source = folder / refused.name
    if callable(content := refused.content):
        content(source)
    else:
        source.write_bytes(content if isinstance(content, bytes) else content.encode())
    names = {"in": source, "out": folder / "out.csv", "dir": folder}
    before = snapshot(folder)
    done = run_paratope(*(word.format(**names) for word in refused.arguments.split()))
    message = one_message(done)
    assert done.code == 2, message
    for part in refused.says:
        assert part.format(**names).lower() in message.lower()
    assert not done.out
    assert snapshot(folder) == before, "something was written"


class Kept(NamedTuple):
    """A row that is wrong or doubtful among good ones: the table is finished all the same."""

    changes: dict[str, object]
    says: tuple[str, ...]
    column: str = "error"


KEPT = {
    "a digit": Kept(
        {"heavy": D13_HEAVY[:9] + "1" + D13_HEAVY[9:]}, ("'1' at position 10", "heavy")
    ),
    "DNA": Kept({"heavy": DNA}, ("DNA", "translate")),
    "NaN for a sequence": Kept({"antigen": "NaN"}, ("antigen",)),
    "no antibody": Kept({"heavy": LYSOZYME, "light": ""}, ("antibody",)),
    "one residue": Kept({"heavy": "E"}, ("too short",)),
    "swapped chains": Kept({"heavy": D13_LIGHT, "light": D13_HEAVY}, ("swapped",), "note"),
    "an antigen of 10,000 residues": Kept(
        {"antigen": "".join(random.Random(0).choices(AMINO_ACIDS, k=10_000))},
        ("out of domain",),
        "note",
    ),
    "duplicate id": Kept({"id": "first"}, ("first",), "note"),
    "selenocysteine": Kept({"antigen": "U" + LYSOZYME}, ("U read as C",), "note"),
}


@pytest.mark.parametrize("case", KEPT)
def test_kept(case: str, tmp_path: Path, run_paratope: Run):
    kept = KEPT[case]
    good: Row = {**GOOD, "antigen": SHORT_ANTIGEN, "well": "A1"}
    changed = {**good, "id": "doubtful", **kept.changes, "well": "A2"}
    source, output = tmp_path / "pairs.csv", tmp_path / "out.csv"
    source.write_text(rows_text({**good, "id": "first"}, changed, {**good, "id": "last"}))
    done = run_paratope("predict", source, "-o", output)
    assert "Traceback" not in done.err
    assert done.code == (3 if kept.column == "error" else 0), done.err
    with output.open() as file:
        written = list(csv.DictReader(file))
    assert [row["well"] for row in written] == ["A1", "A2", "A1"]
    first, doubtful, last = written
    for part in kept.says:
        assert part.lower() in doubtful[kept.column].lower(), doubtful
    for row in (first, last) if kept.column == "error" else written:
        assert row["error"] == ""
        assert 4 <= float(row["pkd"]) <= 14
    if kept.column == "error":
        assert doubtful["pkd"] == doubtful["pkd_low"] == doubtful["pkd_high"] == ""
        assert "line 3" in doubtful["error"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
@pytest.mark.parametrize("what", ["input", "output"])
def test_no_permission(what: str, tmp_path: Path, run_paratope: Run):
    folder = tmp_path / "closed"
    folder.mkdir()
    source = tmp_path / "pairs.csv"
    source.write_text(PAIRS)
    (source if what == "input" else folder).chmod(0)
    done = run_paratope("predict", source, "-o", folder / "out.csv")
    folder.chmod(0o700)
    assert done.code == 2
    assert "no permission" in one_message(done)


def test_bad_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_paratope: Run):
    nothing = tmp_path / "nothing"
    nothing.touch()
    with nothing.open() as empty:
        monkeypatch.setattr("sys.stdin", empty)
        done = run_paratope("predict", "-", "-o", "-")
    assert done.code == 2
    assert "stdin" in one_message(done)
    assert not done.out
