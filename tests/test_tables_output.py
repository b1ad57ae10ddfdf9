"""Writing tables: whole or not at all, the user's text untouched."""

import os
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paratope.core.errors import OutputError, ParatopeError
from paratope.core.files import atomic_file
from paratope.data.tables import TableWriter, read_frame, write_table
from paratope.data.tables.writing import three_decimals
from test_tables import ROWS, csv_text

FRAME = pl.DataFrame(
    {
        "id": ["a", "b", "c"],
        "pkd": [8.49485, float("nan"), None],
        "kd_nM": [3.2, 0.00012345, 1234567.8],
        "n": [1, 2, None],
        "well": ["A1, left", '"quoted"\nline', None],
    }
)
NAMES = ["t.csv", "t.tsv", "t.parquet", "t.xlsx", "t.csv.gz"]


def written(frame: pl.DataFrame | pd.DataFrame, name: str, **options) -> str:
    with tempfile.TemporaryDirectory() as folder:
        write_table(frame, Path(folder) / name, **options)
        assert [path.name for path in Path(folder).iterdir()] == [name]
        return (Path(folder) / name).read_text()


def test_csv_has_three_decimals_and_empty_cells():
    assert written(pd.DataFrame({"id": ["a"], "pkd": [8.12345]}), "t.csv") == "id,pkd\na,8.123\n"
    assert written(FRAME, "t.csv") == (
        "id,pkd,kd_nM,n,well\n"
        'a,8.495,3.200,1,"A1, left"\n'
        'b,,0.000123,2,"""quoted""\nline"\n'
        "c,,1234567.800,,\n"
    )
    # text and kept numbers are untouched
    frame = pl.DataFrame({"kd": ["1.23456789", "007", "1e5"], "od": [0.123456, 3e-9, None]})
    assert written(frame, "t.csv", keep=["od"]) == "kd,od\n1.23456789,0.123456\n007,3e-9\n1e5,\n"


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e12, max_value=1e12))
def test_a_written_number_is_the_number(value: float):
    text = three_decimals(value)
    assert float(text) == pytest.approx(value, abs=0.0005 if abs(value) >= 0.001 else 0, rel=0.006)
    assert (float(text) == 0) == (value == 0)


@pytest.mark.parametrize("name", [*NAMES, "t.tsv.gz"])
def test_every_kind_reads_back_and_blocks_are_one_table(name: str, tmp_path: Path):
    whole, blocks = tmp_path / f"whole_{name}", tmp_path / f"blocks_{name}"
    write_table(FRAME, whole)
    first = whole.read_bytes()
    assert (first[:2] == b"\x1f\x8b") == name.endswith(".gz")
    write_table(FRAME, whole)
    assert name == "t.xlsx" or whole.read_bytes() == first  # the same bytes each time
    frame = read_frame(whole).frame
    assert frame.columns == FRAME.columns
    assert frame["id"].to_list() == ["a", "b", "c"]
    assert frame["well"].to_list() == FRAME["well"].to_list()
    assert [None if v is None else float(v) for v in frame["n"]] == [1, 2, None]
    if name in ("t.parquet", "t.xlsx"):  # all digits
        assert frame["kd_nM"].to_list() == FRAME["kd_nM"].to_list()
    with TableWriter(blocks) as writer:
        for row in range(3):
            writer.write(FRAME[row : row + 1])
    assert read_frame(blocks).frame.equals(frame)


def test_stdin_and_stdout():
    code = (
        "import polars as pl\n"
        "from paratope.data.tables import read_table, write_table\n"
        "table = read_table('-')\n"
        "print(table.source, [row.id for row in table.rows], table.failed, flush=True)\n"
        "write_table(pl.DataFrame({'id': ['ä'], 'pkd': [8.12345]}), '-')"
    )
    command, text = [sys.executable, "-c", code], csv_text(*ROWS).encode()
    done = subprocess.run(command, input=text, capture_output=True, check=True)
    assert done.stdout.decode() == "stdin ['a', 'b'] ()\nid,pkd\nä,8.123\n"


def test_text_is_no_formula_no_link_and_no_number_in_excel(tmp_path: Path):
    cells = ["=1+1", "http://example.org", "007", "@SUM(A1)"]
    write_table(pl.DataFrame({"notes": cells, "id": ["a", "b", "c", "d"]}), tmp_path / "t.xlsx")
    assert read_frame(tmp_path / "t.xlsx").frame["notes"].to_list() == cells


FAILURES = {
    "no folder": ("none/t.csv", "its folder does not exist; make it first"),
    "a folder": ("folder.csv", "this is a folder"),
    "unknown kind": ("t.docx", "expected a name ending in .csv, .tsv, .parquet, .xlsx"),
    "no kind": ("table", "expected a name ending in"),
    "compressed Parquet": ("t.parquet.gz", "expected a name ending in"),
    "below a file": ("file.csv/t.csv", "cannot write"),
}


@pytest.mark.parametrize("case", FAILURES)
def test_what_cannot_be_written(case: str, tmp_path: Path):
    name, says = FAILURES[case]
    (tmp_path / "file.csv").write_text("mine")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(OutputError, match=says) as caught:
        write_table(FRAME, tmp_path / name)
    assert isinstance(caught.value, ParatopeError)
    assert {path.name for path in tmp_path.iterdir()} == {"file.csv", "folder.csv"}


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("name", NAMES)
def test_a_failure_leaves_the_old_file_and_nothing_else(call, name, tmp_path, monkeypatch):
    target = tmp_path / name
    target.write_bytes(b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(OutputError, match=f"cannot write {target}: No space left on device"):
        write_table(FRAME, target)
    monkeypatch.undo()
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("name", NAMES)
def test_a_full_disk(name: str, tmp_path: Path):
    """The system refuses to let a file grow, as a full disk does."""
    code = (
        "import resource, sys, numpy, polars as pl\n"
        "from paratope.core.errors import OutputError\n"
        "from paratope.data.tables import write_table\n"
        "text = numpy.random.default_rng(0).integers(0, 10**15, 50_000).astype(str)\n"
        "frame = pl.DataFrame({'id': text, 'x': numpy.random.default_rng(1).random(50_000)})\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try:\n"
        "    write_table(frame, sys.argv[1])\n"
        "except OutputError as error:\n"
        "    print(error)\n"
    )
    command = [sys.executable, "-W", "error", "-c", code, str(tmp_path / name)]
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    assert "cannot write" in done.stdout
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", NAMES)
def test_an_error_between_blocks_leaves_nothing(name: str, tmp_path: Path):

    def interrupted() -> None:
        with TableWriter(tmp_path / name) as writer:
            writer.write(FRAME)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    # nor is a failure to read meanwhile called one to write
    with pytest.raises(FileNotFoundError), atomic_file(tmp_path / name):
        (tmp_path / "other").read_bytes()
    assert list(tmp_path.iterdir()) == []


def test_what_a_kind_of_file_cannot_hold(tmp_path: Path):
    frame = pl.DataFrame({"id": ["a"], "chains": [["x", "y"]]})
    with pytest.raises(OutputError, match="fit into Parquet only"):
        write_table(frame, tmp_path / "t.csv")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OutputError, match="column 'antigen' holds 40000 characters.*32767"):
        write_table(pl.DataFrame({"antigen": ["W" * 40_000]}), tmp_path / "t.xlsx")
    with pytest.raises(OutputError, match="1048576 rows, an XLSX sheet holds 1048575"):
        write_table(pl.DataFrame({"n": range(1_048_576)}), tmp_path / "t.xlsx")
    assert list(tmp_path.iterdir()) == []
    write_table(frame, tmp_path / "t.parquet")


def test_permissions_are_those_of_any_new_file_or_of_the_old_one_and_a_link_stays(tmp_path: Path):
    plain, new, old = tmp_path / "plain", tmp_path / "new.csv", tmp_path / "old.csv"
    plain.touch()
    write_table(FRAME, new)
    assert stat.S_IMODE(new.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)
    old.touch()
    old.chmod(0o640)
    write_table(FRAME, old)
    assert stat.S_IMODE(old.stat().st_mode) == 0o640
    (tmp_path / "link.csv").symlink_to(old)
    write_table(FRAME[:1], tmp_path / "link.csv")
    assert (tmp_path / "link.csv").is_symlink()
    assert old.read_text().count("\n") == 2


def test_a_pipe_is_written_directly(tmp_path: Path):
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    write_table(pl.DataFrame({"id": ["a"]}), pipe)
    reader.join(timeout=10)
    assert got == [b"id\na\n"]
    assert list(tmp_path.iterdir()) == [pipe]
