"""What users hand over by mistake: one clear message, the right exit code, nothing half-written."""

import csv
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pytest

from conftest import Finished, Run, Trap
from paratope.cli.doctor import D13_HEAVY, D13_LIGHT, LYSOZYME
from paratope.models.predictor import Predictor
from paratope.molecules.sequences import AMINO_ACIDS
from small_campaigns import single_mutants
from test_numbering import VH, VK
from test_tables import rows_text

Row = dict[str, object]
GOOD: Row = {"id": "d13", "heavy": D13_HEAVY, "light": D13_LIGHT, "antigen": LYSOZYME}
SHORT_ANTIGEN = LYSOZYME[:60]
LONG = "".join(random.Random(0).choices(AMINO_ACIDS, k=10_000))
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


def folder_beside(path: Path) -> None:
    path.mkdir()
    (path.parent / "real.csv").write_text(PAIRS)


REFUSED = {
    # the file
    "no such file": Refused(lambda path: None, ("pairs.csv", "no such file")),
    "empty": Refused("", ("pairs.csv", "empty")),
    "unreadable": Refused(lambda path: path.symlink_to(path), ("cannot be read",)),
    "UTF-16 cut short": Refused(PAIRS.encode("utf-16")[:-1], ("UTF-16", "save the file as UTF-8")),
    # the columns
    "no heavy column": Refused(
        PAIRS.replace("heavy", "sequence_1"),
        ("no column for heavy", "sequence_1", "Known names", "vh", "--columns heavy="),
    ),
    "antigen FASTA of DNA": Refused(
        f">gene\n{DNA}\n", ("DNA", "translate"), "ag.fasta", f"{CHAIN} --antigen {{in}} -o {{out}}"
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
    "predict {in} -o {in}": (PAIRS, "is a table that is read"),
    "explain {in} -o {dir}/../given/pairs.csv": (PAIRS, "is a table that is read"),
    "suggest --parent {in} -o {in}": (PAIRS, "is a table that is read"),
    "data import generic --from {in} -o {in}": (PAIRS, "is a table that is read"),
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


# A row that is wrong or doubtful among good ones, and where and how that is said.
KEPT: dict[str, tuple[str, Row, str]] = {
    "a digit": ("error", {"heavy": D13_HEAVY[:9] + "1"}, "heavy chain: '1' at position 10"),
    "DNA": ("error", {"heavy": DNA}, "this is DNA (135 bases), not protein; translate it first"),
    "NaN for a sequence": ("error", {"antigen": "NaN"}, "antigen"),
    "no antibody": ("error", {"heavy": LYSOZYME, "light": ""}, "antibody"),
    "one residue": ("error", {"heavy": "E"}, "too short"),
    "swapped chains": ("note", {"heavy": D13_LIGHT, "light": D13_HEAVY}, "swapped"),
    "an antigen of 10,000 residues": ("note", {"antigen": LONG}, "out of domain"),
    "duplicate id": ("note", {"id": "first"}, "first"),
    "selenocysteine": ("note", {"antigen": "U" + LYSOZYME}, "U read as C"),
}


@pytest.mark.parametrize("case", KEPT)
def test_kept(case: str, tmp_path: Path, run_paratope: Run):
    column, changes, says = KEPT[case]
    good: Row = {**GOOD, "antigen": SHORT_ANTIGEN, "well": "A1"}
    changed = {**good, "id": "doubtful", **changes, "well": "A2"}
    source, output = tmp_path / "pairs.csv", tmp_path / "out.csv"
    source.write_text(rows_text({**good, "id": "first"}, changed, {**good, "id": "last"}))
    done = run_paratope("predict", source, "-o", output)
    assert "Traceback" not in done.err
    assert done.code == (3 if column == "error" else 0), done.err
    with output.open() as file:
        written = list(csv.DictReader(file))
    assert [row["well"] for row in written] == ["A1", "A2", "A1"]
    first, doubtful, last = written
    assert says in doubtful[column], doubtful
    for row in (first, last) if column == "error" else written:
        assert row["error"] == ""
        assert 4 <= float(row["pkd"]) <= 14
    if column == "error":
        assert doubtful["pkd"] == doubtful["pkd_low"] == doubtful["pkd_high"] == ""
        assert "line 3" in doubtful["error"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
@pytest.mark.parametrize("what", ["input", "output"])
@pytest.mark.parametrize("command", ["predict", "adapt"])
def test_no_permission(command: str, what: str, tmp_path: Path, run_paratope: Run):
    folder = tmp_path / "closed"
    folder.mkdir()
    source = tmp_path / "pairs.csv"
    plate().write_csv(source)
    (source if what == "input" else folder).chmod(0)
    done = run_paratope(command, source, "-o", folder / "out.csv")
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


def plate(count: int = 24) -> pl.DataFrame:
    """Single mutants of one antibody, with a pKd each and their antigen."""
    return single_mutants(count).with_columns(antigen=pl.lit(LYSOZYME))


def refused(tmp_path: Path, run_paratope: Run, *arguments: object) -> str:
    """What `adapt` says, that fails before anything is written."""
    folder = tmp_path / "c"
    done = run_paratope("adapt", *arguments, "-o", folder, "--no-report", code=2)
    assert not folder.exists()
    return one_message(done)


def values(names: str, *rows: object) -> bytes:
    """A table of several antibodies, and what was measured of them."""
    lines = [f"{VH[: len(VH) - number]},{VK},{row}" for number, row in enumerate(rows)]
    return "\n".join([f"heavy,light,{names}", *lines]).encode()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (f"id,heavy,light\na,{VH},{VK}\n".encode(), "or give one of pkd, kd_M"),
        (values("pkd", "NaN"), "no measurement can be used, of 1"),
        (values("pkd", 7), "a campaign needs at least two measured variants, got 1; 24 or more"),
        (values("pkd", 7, 7), "all 2 measured values are 7: there is nothing"),
        (values("pkd", "<5", "<5"), "all 2 values are bounds (2 at most 5)"),
        (values("pkd", "<5", "<5"), "at least one variant inside the assay's"),
        (values("kd", ">10 uM", ">10 uM"), "all 2 values are bounds (2 at most 5)"),
        (values("pkd,score", "7,", ",9"), "mixed units: 1 rows have a pKd or Kd"),
        (values("pkd,score", "7,", ",9", ",8"), "2 rows have only a score"),
        (values("pkd,score", "7,", ",9"), "--columns"),
        (values("dg_kcal_mol", 11.5, 12), "ΔG is in kcal/mol and negative for binding"),
    ],
    ids=["no value", "NaN", "one value", "all equal"]
    + ["bounds", "advice on bounds", "bounds of Kd", "pKd of mixed units", "scores of mixed units"]
    + ["advice on mixed units", "sign of ΔG"],
)
def test_files_that_hold_no_campaign(content, message, tmp_path, run_paratope):
    source = tmp_path / "plate.csv"
    source.write_bytes(content)
    assert message in refused(tmp_path, run_paratope, source)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--prior", "nosuch"),
            "unknown model 'nosuch'; valid names: default, network; or a model folder",
        ),
        (("--device", "tpu"), "unknown device 'tpu'; valid names: auto, cpu, cuda"),
        (("--antigen", "nosuch.fasta"), "neither a FASTA file that exists nor an antigen"),
        (("--antigen", "two.fasta"), "2 antigens given for all rows; expected one, or a column"),
        (("--assay", "nosuch"), "unknown assay 'nosuch'; valid names: plate"),
        (("--columns", "pkd=nosuch"), "there is no column 'nosuch'; columns found: id, heavy"),
        (("--columns", "nosuch=pkd"), "unknown column 'nosuch'; valid names: antigen"),
    ],
    ids=lambda value: value[0].strip("-") if isinstance(value, tuple) else "",
)
def test_options_that_are_none(options, message, tmp_path, run_paratope, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = tmp_path / "plate.csv"
    plate().write_csv(source)
    Path("two.fasta").write_text(f">a\n{LYSOZYME}\n>b\n{LYSOZYME[:90]}\n")
    assert message in refused(tmp_path, run_paratope, source, *options)


def test_folders_that_cannot_be_written(tmp_path, run_paratope):
    source, taken = tmp_path / "plate.csv", tmp_path / "taken"
    plate().write_csv(source)
    taken.write_text("a file", "utf-8")
    other = tmp_path / "other"
    other.mkdir()
    (other / "notes.txt").write_text("mine", "utf-8")
    for folder in (taken, other, taken / "below"):
        done = run_paratope("adapt", source, "-o", folder, "--no-report", code=2)
        assert done.err.startswith("Error: "), folder
        assert f"{taken}" in done.err or "is no model folder; choose another name" in done.err
    assert "is a file; expected a folder" in done.err
    assert taken.read_text("utf-8") == "a file"
    assert [one.name for one in other.iterdir()] == ["notes.txt"]


def test_rows_without_a_number_are_left_out_and_counted(tmp_path, run_paratope):
    source, folder = tmp_path / "plate.csv", tmp_path / "c"
    values = list(map(str, plate()["pkd"]))
    values[3:7] = ["NaN", "", "inf", "seven"]
    plate().with_columns(pl.Series("pkd", values), id=pl.lit("same")).write_csv(source)
    done = run_paratope("adapt", source, "-o", folder, "--no-report", code=3)
    assert "4 of 24 rows are left out; first: row 'same', line 5" in done.err
    assert "1 id stands for several antibodies (first 'same')" in done.err
    assert "learned from 20 values of 20 antibodies" in done.err
    assert Predictor.load(folder).predict(plate())["error"].null_count() == 24


def test_a_floor_is_said_on_the_screen_and_on_the_card(tmp_path, run_paratope):
    source, folder = tmp_path / "plate.csv", tmp_path / "c"
    plate(60).with_columns(pl.col("pkd").clip(lower_bound=8.0)).write_csv(source)
    done = run_paratope("adapt", source, "-o", folder, "--no-report", code=0)
    assert "Note: column 'pkd': " in done.err
    assert "Write <8 in these rows: bounds (too weak to measure)" in done.err
    assert "Write <8 in these rows" in (folder / "card.md").read_text("utf-8")


@pytest.mark.parametrize("name", ["campaign.json", "model.safetensors", "config.json"])
@pytest.mark.parametrize("damage", ["cut", "gone", "pickled"])
def test_damaged_campaigns_are_refused(name, damage, campaign_folder, tmp_path, run_paratope):
    folder = tmp_path / "damaged"
    shutil.copytree(campaign_folder, folder)
    if damage == "gone":
        (folder / name).unlink()
    elif damage == "cut":
        (folder / name).write_bytes((folder / name).read_bytes()[:-40])
    else:
        (folder / name).write_bytes(pickle.dumps(Trap(tmp_path / "executed")))
    target = tmp_path / "next.csv"
    pool = tmp_path / "pool.csv"
    pool.write_text(f"heavy,light\n{VH},{VK}\n", "utf-8")
    for arguments in (
        ("suggest", folder, "--batch", 2, "-o", target),
        ("predict", pool, "--model", folder, "-o", target),
        ("scan", "--heavy", VH, "--light", VK, "--model", folder, "-o", target),
    ):
        done = run_paratope(*arguments, code=2)
        assert done.err.startswith("Error: ")
        assert not target.exists()
    assert not (tmp_path / "executed").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="signals as POSIX has them")
def test_ctrl_c_leaves_nothing_behind(tmp_path):
    source, folder = tmp_path / "plate.csv", tmp_path / "c"
    plate(72).write_csv(source)
    process = subprocess.Popen(
        [sys.executable, "-m", "paratope", "adapt", source, "-o", folder],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PARATOPE_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    waited = time.monotonic()
    while not (tmp_path / "cache").exists() and time.monotonic() - waited < 60:
        time.sleep(0.05)  # it has read the table and opened the store of embeddings
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, (out, err)
    assert b"Traceback" not in err
    assert sorted(one.name for one in tmp_path.iterdir()) == ["cache", "plate.csv"]
