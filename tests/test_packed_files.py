"""Files that unpack to far more than they hold: refused in words, fast and in bounded memory."""

import gzip
import json
import random
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from paratope.data.tables import read_table, write_table
from paratope.data.tables.reading import read_frame
from paratope.molecules.sequences import AMINO_ACIDS

ROW = '<row r="1"><c r="A1" t="inlineStr"><is><t>heavy</t></is></c></row>'
MEGABYTE = 1 << 20


def zeros(path: Path, chunk: bytes, count: int, level: int = 9, head: bytes = b"") -> None:
    with gzip.open(path, "wb", compresslevel=level) as file:
        file.write(head)
        for _ in range(count):
            file.write(chunk)


def book(path: Path, rows: Iterable[str], shared: str = "") -> None:
    """An XLSX file around the XML of its rows, and of one text that cells share."""
    write_table(pl.DataFrame({"heavy": ["E"]}), path)
    with zipfile.ZipFile(path) as model:
        parts = {name: model.read(name) for name in model.namelist()}
    space = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    parts["xl/sharedStrings.xml"] = f"<sst {space}><si><t>{shared}</t></si></sst>".encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, part in parts.items():
            if name != "xl/worksheets/sheet1.xml":
                file.writestr(name, part)
        with file.open("xl/worksheets/sheet1.xml", "w") as sheet:
            sheet.write(f"<worksheet {space}><sheetData>".encode())
            for row in rows:
                sheet.write(row.encode())
            sheet.write(b"</sheetData></worksheet>")


def repeated(path: Path, rows: int, letters: int) -> None:
    """A Parquet file that holds one text, for all its rows."""
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int8()), ["A" * letters])
    table = pa.table({"heavy": texts.cast(pa.string()) if letters < 10 else texts})
    pq.write_table(table, path, compression="zstd", write_statistics=False)


def same_name(path: Path) -> None:
    pq.write_table(pa.Table.from_arrays([pa.array(["E"])] * 2, names=["heavy", "heavy"]), path)


def decimals(path: Path) -> None:
    pq.write_table(pa.table({"heavy": ["E"], "kd": pa.array([1]).cast(pa.decimal256(60))}), path)


def cell(reference: str, inside: str = "<v>1</v>") -> str:
    row = reference.lstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    return f'<row r="{row}"><c r="{reference}" s="1">{inside}</c></row>'


Make = Callable[[Path], None] | str
REFUSED: dict[str, tuple[str, Make, str]] = {
    "one line": ("t.csv.gz", lambda p: zeros(p, b"A" * MEGABYTE, 40), "at most 150 times"),
    "no line": ("t.csv.gz", lambda p: zeros(p, b"\n" * MEGABYTE, 40), "at most 150 times"),
    "many rows": ("t.csv.gz", lambda p: zeros(p, b"E,M\n" * (MEGABYTE // 4), 40, 1), "150 times"),
    "behind honest bytes": (
        "t.tsv.gz",
        lambda p: zeros(p, b"E\tM\n" * MEGABYTE, 10, 1, sys.version.encode() * 9),
        "at most 150 times",
    ),
    "rows of one number": (
        "t.parquet",
        lambda p: pq.write_table(pa.table({"heavy": pa.repeat(0.0, 20_000_000)}), p),
        "at most 150 times",
    ),
    "one long text": ("t.parquet", lambda p: repeated(p, 100, 9_000_000), "at most 150 times"),
    "a short text often": ("t.parquet", lambda p: repeated(p, 9_000_000, 3), "at most 150 times"),
    "a column twice": ("t.parquet", same_name, "several columns are called 'heavy'"),
    "a type that panics": ("t.parquet", decimals, "altered, or of a kind that is not read"),
    "far away": ("t.xlsx", lambda p: book(p, [ROW, cell("XFD1048576")]), "column XFD and row"),
    "far right and far down": (
        "t.xlsx",
        lambda p: book(p, [ROW, cell("XFD2"), cell("B1000000", '<is t="x"/>')]),
        "delete what stands away",
    ),
    "many cells": (
        "t.xlsx",
        lambda p: book(p, [ROW, *["<row>" + "<c><v>1</v></c>" * 10_000 + "</row>"] * 200]),
        "at most 150 times",
    ),
    "one text in all cells": (
        "t.xlsx",
        lambda p: book(
            p, [ROW, *["<row>" + '<c t="s"><v>0</v></c>' * 20 + "</row>"] * 1000], "A" * 32_000
        ),
        "at most 150 times",
    ),
    "no zip": ("t.xlsx", lambda p: p.write_bytes(b"PK\x03\x04" + bytes(99)) and None, "readable"),
    "a million columns": (
        "t.csv",
        "heavy," * MEGABYTE + "x\n" + "1," * MEGABYTE,
        "columns; at most",
    ),
    "a name of 200,000": ("t.csv", f"heavy,{'a_' * 100_000}\nE,1\n", "has 200,000 characters"),
    "a lone sep=": ("t.csv", "sep=;\n", "nothing but 'sep=;'"),
    "a lone sep= without end": ("t.csv", "sep=,", "nothing but 'sep=,'"),
    "one line of plain text": ("t.txt", "E" * (1 << 26), "line 1 has 67,108,864 characters"),
}
READ = {
    # as a spreadsheet programme leaves a sheet whose columns are formatted to the end
    "formatted to the end": lambda p: book(p, [ROW, cell("A2"), cell("XFD1048576", "")]),
    "a note far down": lambda p: book(p, [ROW, cell("A2"), cell("A1048576")]),
    "a note far right": lambda p: book(p, [ROW, cell("A2"), cell("XFD3")]),
}
CHILD = """
import json, sys, time
from paratope.core.errors import ParatopeError
from paratope.data.tables.reading import read_frame
for path in sys.argv[1:]:
    start = time.monotonic()
    try:
        said = f"read {read_frame(path).frame.height}"
    except ParatopeError as error:
        said = str(error)
    status = open("/proc/self/status").read()  # a process's maxrss begins with its parent's
    peak = int(status.split("VmHWM:")[1].split()[0]) / 1e6
    print(json.dumps([said, time.monotonic() - start, peak]), flush=True)
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, float, float]]:
    """What a process says of each file, in how many seconds, and its peak of memory (GB) so far."""
    paths = []
    for case, (name, made, _) in REFUSED.items():
        paths.append(tmp_path_factory.mktemp("bomb") / name)
        if isinstance(made, str):
            paths[-1].write_text(made)
        else:
            made(paths[-1])
        assert paths[-1].stat().st_size < 1 << 27, case
    command = [sys.executable, "-c", CHILD, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout, done.stderr)
    return dict(zip(REFUSED, map(json.loads, done.stdout.splitlines()), strict=True))


@pytest.mark.parametrize("case", REFUSED)
def test_refused_fast_and_small(case: str, said: dict[str, tuple[str, float, float]]):
    text, seconds, peak = said[case]
    assert REFUSED[case][2] in text
    assert seconds < 10
    assert peak < 1


@pytest.mark.parametrize(
    "case",
    [pytest.param(c, marks=pytest.mark.slow) if c == "a note far right" else c for c in READ],
)
def test_sheets_that_only_look_far(case: str, tmp_path: Path):
    READ[case](tmp_path / "t.xlsx")
    assert read_frame(tmp_path / "t.xlsx").frame.height >= 1


def test_honest_tables_stay_under_the_bound(tmp_path: Path):
    """Variants of one antibody against a long antigen, larger than what is free."""
    letters = random.Random(0).choices(AMINO_ACIDS, k=4000)
    heavy, antigen = "".join(letters[:120]), "".join(letters)
    frame = pl.DataFrame({"n": range(9000)}).select(
        heavy=heavy[:60] + pl.col("n").cast(pl.String) + heavy[60:], antigen=pl.lit(antigen)
    )
    for name in ("t.csv.gz", "t.parquet", "t.xlsx"):
        write_table(frame, tmp_path / name)
        assert read_frame(tmp_path / name).frame.height == 9000


def test_nothing_is_left_of_the_output_and_a_huge_cell_is_an_error_of_its_row(
    tmp_path: Path, run_paratope: Callable
):
    book(tmp_path / "t.xlsx", [ROW, cell("XFD1048576")])
    done = run_paratope("data", "split", tmp_path / "t.xlsx", "-o", tmp_path / "split")
    assert (done.code, "lie far apart" in done.err) == (2, True)
    assert [path.name for path in tmp_path.iterdir()] == ["t.xlsx"]
    (tmp_path / "t.csv").write_text(f"heavy,antigen\n{'EVQLVES' * 30_000},MKV\n")
    (row,) = read_table(tmp_path / "t.csv").rows
    assert "210000 residues" in str(row.error)
