"""Reading tables: kinds of file, encodings, headers below other lines, frames, FASTA, any size."""

import gzip
import io
import json
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import polars as pl
import pytest
import xlsxwriter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paratope.core.censoring import Censoring
from paratope.core.errors import InputError
from paratope.data import tables
from paratope.data.tables import iter_tables, read_antigens, read_fasta, read_table, write_table
from paratope.models.prediction import Prediction, prediction_frame
from paratope.molecules.sequences import Antigen
from test_numbering import LINKER, LYSOZYME, VH, VHH, VK
from test_tables import HEADER, ROWS, assert_same_pairs, csv_text, read_text


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le-mark", "cp1252", "latin-1"]
)
def test_encodings(encoding: str):
    text = csv_text(ROWS[0], (*ROWS[1][:-1], "25 µl, Zürich"))
    marked = encoding == "utf-16-le-mark"
    content = b"\xff\xfe" + text.encode("utf-16-le") if marked else text.encode(encoding)
    table = read_text(content)
    assert_same_pairs(table)
    assert table.columns["id"] == "id"  # the mark is no part of the first name
    assert table.frame["well"][1] == "25 µl, Zürich"
    western = encoding in ("cp1252", "latin-1")
    assert any("Windows-1252" in note for note in table.notes) == western


def test_line_ends_stray_control_characters_and_excels_line_about_the_delimiter():
    for end in ("\n", "\r\n", "\r"):
        table = read_text(csv_text(*ROWS, end=end))
        assert_same_pairs(table)
        assert [row.line for row in table.rows] == [2, 3]
    table = read_text(csv_text(ROWS[0], (*ROWS[1][:-1], "A\x1f2")))
    assert_same_pairs(table)
    assert table.frame["well"][1] == "A\x1f2"
    table = read_text("sep=;\n" + csv_text(*ROWS, delimiter=";"))
    assert_same_pairs(table)
    assert table.rows[0].line == 3


@pytest.mark.parametrize(("delimiter", "word"), [(";", "semicolons"), ("\t", "tabs")])
def test_another_delimiter_than_the_name_says_is_found_and_noted(delimiter, word, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(csv_text(*ROWS, delimiter=delimiter))
    table = read_table(path)
    assert_same_pairs(table)
    assert table.notes == (f"{path}: fields are separated by {word}, not commas",)


def test_quoted_commas_newlines_and_quotes_come_back_and_lines_are_counted():
    wells = ['two\nlines, and "quotes"', " spaces ", "", "=1+1"]
    rows = [(f"r{n}", VH, VK, LYSOZYME, well) for n, well in enumerate(wells)]
    table = read_text(csv_text(*rows))
    assert table.frame["well"].to_list() == [well or None for well in wells]
    assert [row.line for row in table.rows] == [2, 4, 5, 6]
    # blank lines and empty rows are left out
    table = read_text("\n\n" + csv_text(*ROWS).replace("\nb,", "\n\n,,,,\nb,") + "\n,,,,\n")
    assert_same_pairs(table)
    assert [row.line for row in table.rows] == [4, 7]


def test_a_row_of_another_width_says_so_and_stops_nothing():
    header = ",".join(HEADER)
    text = f"{header}\na,{VH},{VK},{LYSOZYME},A1,left\nb,{VH},{VK},{LYSOZYME}\nc,{VH}\n"
    table = read_text(text)
    assert table.rows[0].error == (
        "row 'a', line 2, 6 fields where the header has 5; quote a field that holds commas"
    )
    assert table.rows[1].error is None
    assert table.rows[1].notes == ("4 fields where the header has 5: the last read as empty",)
    assert "column 'antigen': antigen: empty" in (table.rows[2].error or "")
    too_many = read_text(BODY.replace(",8\n", ",8,,left\n"))  # whatever separators end rows
    assert "7 fields where the header has 5" in (too_many.rows[0].error or "")


@pytest.mark.parametrize("tail", [f"c,{VH},{VK},{LYSOZYME},A3\n", ""])
def test_a_quote_that_is_never_closed(tail: str):
    text = csv_text(*ROWS) + f'x,"{VH},{VK},{LYSOZYME},A1\n' + tail
    table = read_text(text)
    assert [row.error is None for row in table.rows] == [True, True, False]
    assert "line 4, a quote opened on this line is never closed" in (table.rows[2].error or "")


def test_bare_file_object_and_parquet_bytes_without_a_name():
    content = io.BytesIO()
    pl.DataFrame([dict(zip(HEADER, row, strict=True)) for row in ROWS]).write_parquet(content)
    assert_same_pairs(read_text(content.getvalue()))
    with pytest.raises(InputError, match="binary mode"):
        read_table(io.StringIO("id\n"))  # type: ignore[arg-type]


REFUSED = {
    "no encoding": (csv_text(*ROWS).encode() + b"c,\x81\xfe,,,\n", "line 4: this is not UTF-8 or"),
    "FASTA without antigens": (b">nb1\nEVQL\n", "no column for antigen.*FASTA"),
    "empty": (b"", "the file is empty"),
    "white space": (b" \n\n", "the file is empty"),
    "header only": (b"id,heavy,antigen\n", "a header but no rows"),
    "binary": (bytes(range(200)) * 9, "binary file; expected CSV"),
    "PDF": (b"%PDF-1.7", "this is a PDF file"),
    "old Excel": (b"\xd0\xcf\x11\xe0" + bytes(99), "save it as XLSX"),
    "damaged gzip": (gzip.compress(csv_text(*ROWS).encode())[:-20], "damaged gzip"),
    "not gzip": (b"\x1f\x8b\x00\x00", "damaged gzip"),
    "damaged zip": (b"PK\x03\x04" + bytes(99), "not a readable XLSX"),
    "damaged Parquet": (b"PAR1" + bytes(99), "damaged Parquet"),
    "endless field": (b'heavy,antigen\n"' + b"A" * ((1 << 24) + 1) + b"\n", "line 2.*never closed"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_files(case: str):
    content, says = REFUSED[case]
    with pytest.raises(InputError, match=says):
        read_text(content)


def test_paths_that_cannot_be_opened_and_truncated_parquet(tmp_path: Path):
    text, path = tmp_path / "text.parquet", tmp_path / "t.parquet"
    text.write_text(csv_text(*ROWS))
    write_table(pl.DataFrame({"heavy": [VH] * 50, "antigen": [LYSOZYME] * 50}), path)
    for source, says in (
        (tmp_path / "none.csv", "no such file"),
        (tmp_path, "this is a folder"),
        (text, "not a parquet file but text"),
        ("https://example.org/pairs.csv", "no such file"),
    ):
        with pytest.raises(InputError, match=says):
            read_table(source)
    with pytest.raises(InputError, match="at least 1"):
        next(iter_tables(io.BytesIO(b"x"), 0))
    content = path.read_bytes()
    for kept in (0.3, 0.9, 0.99):
        path.write_bytes(content[: int(kept * len(content))])
        with pytest.raises(InputError, match=f"{path}: damaged Parquet"):
            read_table(path)


FASTA = (
    f">nb1\n{VHH[:60]}\n{VHH[60:]}\n>mab_H\n{VH}\n>mab_L\n{VK}\n"
    f">both\n{VH}|{VK}\n>s\n{VH + LINKER + VK}\n"
)


def test_fasta_of_antibodies_with_antigens(tmp_path: Path):
    antigens = tmp_path / "ag.fasta"
    antigens.write_text(f"\n>lys hen egg\n{LYSOZYME}\n>two\nMKV:GGS\n")
    library = tmp_path / "library.fa"
    library.write_text(FASTA)
    table = read_table(library, antigens=antigens)
    assert not table.failed
    assert [row.id for row in table.rows][:4] == ["nb1/lys", "nb1/two", "mab/lys", "mab/two"]
    assert [row.index for row in table.rows] == list(range(8))
    assert [row.line for row in table.rows][::2] == [1, 4, 8, 10]
    for row in table.rows[2:]:
        assert (row.pair.antibody.heavy, row.pair.antibody.light) == (VH, VK)
    assert table.frame.height == 8
    assert table.frame["antigen_name"].to_list() == ["lys", "two"] * 4
    assert [row.pair.antigen.name for row in table.rows if row.pair][:2] == ["lys", "two"]


def test_one_antigen_leaves_ids_and_columns_alone_and_goes_before_the_column(tmp_path: Path):
    antigens = tmp_path / "ag.fasta"
    antigens.write_text(f">lys\n{LYSOZYME}\n")
    table = read_text(FASTA, antigens=str(antigens))
    assert [row.id for row in table.rows] == ["nb1", "mab", "both", "s"]
    assert table.frame.columns == ["id", "heavy", "light"]
    by_hand = read_text(FASTA, antigens=[Antigen((LYSOZYME,), "lys")])
    assert by_hand.rows == table.rows
    table = read_text(csv_text(*ROWS), antigens=[Antigen(("MKV",), "x")])
    assert {row.pair.antigen.chains for row in table.rows if row.pair} == {("MKV",)}
    assert "column 'antigen' is not read" in table.notes[0]
    with pytest.raises(InputError, match="at least one"):
        read_text(csv_text(*ROWS), antigens=[])


def test_fasta_records_and_antigen_names_and_what_cannot_be_read():
    for text, says in (
        ("MKV\n>a\nMKV\n", "line 1: expected a FASTA record starting with '>'"),
        (">a\n>b\nMKV\n", "line 1: record 'a' has no sequence"),
        (">a\nMKV\n>b\n", "line 3: record 'b' has no sequence"),
        (">a\nMKV\n>b\nMK7\n", "line 3: 'b': antigen: '7' at position 3"),
    ):
        with pytest.raises(InputError, match=says):
            read_antigens(io.BytesIO(text.encode()))
    content = b";comment\r\n>a b\r\nMK\r\nV\r\n>a\r\nGG\r\n>\r\nSS\r\n"
    records = read_fasta(io.BytesIO(content))
    told = [(one.name, one.sequence, one.line) for one in records]
    assert told == [("a b", "MKV", 2), ("a", "GG", 5), ("", "SS", 7)]
    names = [antigen.name for antigen in read_antigens(io.BytesIO(content))]
    assert names == ["a", "antigen2", "antigen3"]
    with pytest.raises(InputError, match="expected a FASTA file, got parquet"):
        read_fasta(io.BytesIO(b"PAR1" + bytes(9)))


@pytest.mark.parametrize("name", ["t.csv", "t.parquet", "t.xlsx", "t.fasta"])
@pytest.mark.parametrize("block_rows", [1, 3, 100])
def test_blocks_are_the_table(name: str, block_rows: int, tmp_path: Path):
    path = tmp_path / name
    if name == "t.fasta":
        path.write_text("".join(f">r{n}\n{VHH}\n" for n in range(7)))
        options = {"antigens": [Antigen((LYSOZYME,), "l"), Antigen(("MKV",), "m")]}
    else:
        ids = [f"r{n % 5}" for n in range(7)]  # repeats, across blocks
        write_table(pl.DataFrame({"id": ids, "heavy": [VH] * 7, "antigen": [LYSOZYME] * 7}), path)
        options = {}
    whole = read_table(path, **options)
    blocks = list(iter_tables(path, block_rows, **options))
    assert len(blocks) == -(-7 // block_rows)
    assert tuple(row for block in blocks for row in block.rows) == whole.rows
    assert pl.concat([block.frame for block in blocks]).equals(whole.frame)
    assert [row.index for row in whole.rows] == list(range(len(whole.rows)))


def write_megabytes(path: Path, megabytes: int) -> int:
    """A table of that size; antigens and notes differ from row to row."""
    written = count = 0
    with path.open("w") as file:
        file.write("id,heavy,light,antigen,notes\n")
        while written < megabytes * 1_000_000:
            antigen = LYSOZYME + "GASTV"[count % 5] * (count % 97)
            written += file.write(f"r{count},{VH},{VK},{antigen},{'n' * 1500} {count}\n")
            count += 1
    return count


def peak_megabytes(path: Path) -> tuple[int, float]:
    tracemalloc.start()
    try:
        rows = sum(len(block.rows) for block in iter_tables(path, 500))
        return rows, tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()


def test_streaming_needs_no_more_memory_for_more_rows(tmp_path: Path):
    small, large = tmp_path / "small.csv", tmp_path / "large.csv"
    write_megabytes(small, 2)
    rows = write_megabytes(large, 7)
    peak_megabytes(small)  # caches fill
    _, of_small = peak_megabytes(small)
    read, of_large = peak_megabytes(large)
    assert read == rows
    assert of_large < 1.5 * of_small + 2


@pytest.mark.slow
def test_a_hundred_megabytes_stream(tmp_path: Path):
    path = tmp_path / "large.csv"
    rows = write_megabytes(path, 100)
    code = (
        "import resource, sys\n"
        "from paratope.data.tables import iter_tables\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "rows = sum(len(block.rows) for block in iter_tables(sys.argv[1]))\n"
        "print(rows, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, check=True, text=True
    )
    read, grown = map(int, done.stdout.split())
    assert read == rows
    assert grown < 200, f"memory grew by {grown} MB"


KD = ("id", "heavy", "antigen", "KD (M)")
PLATE = [KD, ("a", VH, LYSOZYME, 3.2e-9)]
README = [("Exported from the plate reader",), ("by", "me")]


def workbook(path: Path, **sheets: list[tuple]) -> Path:
    with xlsxwriter.Workbook(path) as book:
        for name, rows in sheets.items():
            sheet = book.add_worksheet(name)
            for number, row in enumerate(rows):
                sheet.write_row(number, 0, row)
    return path


def pkds(table: tables.InputTable) -> list[float | None]:
    assert not table.failed
    return [row.pkd and round(row.pkd, 3) for row in table.measurements]


FROM_XLSX = {
    "01-xlsx-text-in-number-column.xlsx": [8.495, 8.854, 9.194, 9.602, 10.310, 7.9, 7.9],
    "01-sibling-bound-in-another-row.xlsx": [8.495, 8.854, 9.194, 9.602, 10.310, 7.9, 12.0],
    "01-control-no-text-cell.xlsx": [8.495, 8.854, 9.194, 9.602, 10.310, 7.9],
}


@pytest.mark.parametrize("name", FROM_XLSX)
def test_numbers_of_a_workbook_have_all_their_digits(name: str, data_root: Path):
    table = read_table(data_root / "real_files" / name, require="measured")
    assert pkds(table) == FROM_XLSX[name]
    numbers = [float(cell) for cell in table.frame["KD (M)"].to_list()[:6]]
    assert numbers == [3.2e-9, 1.4e-9, 6.4e-10, 2.5e-10, 4.9e-11, 1.26e-8]


@pytest.mark.parametrize(
    ("cells", "read"),
    [
        ([1.23456e-7, "no fit"], ["1.23456e-07", "no fit"]),
        ([4.9e-13, ">1e-5", 0.1], ["4.9e-13", ">1e-5", "0.1"]),
        ([1 / 3, "NB", None, 5], ["0.3333333333333333", "NB", None, "5"]),
        (["007", 8, "1E-9", True], ["007", "8", "1E-9", "true"]),  # text stays as it is written
        ([12345678901234, "x"], ["12345678901234", "x"]),
        ([True, 3.2e-10, None, 1.0], ["true", "3.2e-10", None, "1"]),
        ([True, 7], ["true", "7"]),
        ([0, -1.5e-8, "-"], ["0", "-1.5e-08", "-"]),
    ],
)
def test_a_column_of_numbers_and_text_comes_back(cells: list, read: list, tmp_path: Path):
    rows = [("heavy", "antigen", "own"), *((VH, LYSOZYME, cell) for cell in cells)]
    table = read_table(workbook(tmp_path / "t.xlsx", plate=rows))
    assert table.frame["own"].to_list() == read
    write_table(table.frame, tmp_path / "back.csv")
    assert read_table(tmp_path / "back.csv").frame["own"].to_list() == read


SHEETS = {
    "empty first": ({"Sheet1": [], "data": PLATE}, "read sheet 'data', not 'Sheet1'"),
    "README first": ({"README": README, "data": PLATE}, "read sheet 'data', not 'README'"),
    "two tables": ({"new": PLATE, "old": PLATE}, "read sheet 'new', not 'old'; choose another"),
    "title above": ({"data": [*README, (), *PLATE]}, "the header is row 4"),
    "one": ({"data": PLATE}, ""),
}


@pytest.mark.parametrize("case", SHEETS)
def test_the_sheet_that_holds_the_table_is_read_and_named(case: str, tmp_path: Path):
    sheets, says = SHEETS[case]
    table = read_table(workbook(tmp_path / "t.xlsx", **sheets), require="measured")
    assert pkds(table) == [8.495]
    assert table.rows[0].line == len(next(s for s in sheets.values() if PLATE[1] in s))
    assert says in " ".join(table.notes)
    assert bool(table.notes) == bool(says)


def test_a_sheet_by_name(tmp_path: Path, data_root: Path):
    unknown = [("VH seq of mine", "target of mine"), (VHH, LYSOZYME)]
    path = workbook(tmp_path / "t.xlsx", a=README, b=unknown, c=[KD, ("z", VH, LYSOZYME, 1e-7)])
    assert read_table(path).rows[0].id == "z"
    names = {"heavy": "VH seq of mine", "antigen": "target of mine"}
    for source in (tables.SheetPath(path, "b"), path):
        assert read_table(source, columns=names).rows[0].pair is not None
    unclear = workbook(tmp_path / "u.xlsx", a=README, b=[("x", "y"), (1, 2)])
    text = data_root / "real_files" / "17-trailing-commas.csv"
    for source, says in (
        (tables.SheetPath(path, "d"), "no sheet 'd'; its sheets are 'a', 'b', 'c'"),
        (unclear, "in which sheet is the table"),
        (workbook(tmp_path / "e.xlsx", a=[], b=[]), "the workbook is empty"),
        (tables.SheetPath(text, "a"), "only an XLSX file has sheets"),
    ):
        with pytest.raises(InputError, match=says):
            read_table(source)
    assert not read_table(data_root / "real_files" / "19-first-sheet-empty.xlsx").failed


BODY = f"id,heavy,light,antigen,pkd\na,{VH},{VK},{LYSOZYME},8\n"
OAS = json.dumps({"Run": "SRR1", "Species": "human", "Isotype": "IGHG"}).replace('"', '""')
GROUPS = "Receptor,Receptor,Receptor,Epitope,Assay\n"
# text and what is said of it; one antibody, pKd 8, in each
ACCEPTED: dict[str, tuple[str | bytes, str]] = {
    "separators at the end of rows": (BODY.replace(",8\n", ",8,,\n"), ""),
    "of the header too": (BODY.replace("pkd\n", "pkd,,\n").replace(",8\n", ",8,,\n"), "''"),
    "of the header alone": (BODY.replace("pkd\n", "pkd,\n"), ""),
    "tabs at the end": (BODY.replace(",", "\t").replace("\t8\n", "\t8\t\t\n"), ""),
    "metadata in JSON": (f'"{{{OAS}}}"\n{BODY}', "the header is line 2"),
    "comments": (f"# from the reader; version 2, plate 7\n# by me\n\n{BODY}", "line 4"),
    "a comment that is the header": (f"#{BODY}", ""),
    "a title": (f"Plate 7\n\n{BODY}", "the header is line 3"),
    "headers of groups": (GROUPS + BODY, "the header is line 2"),
    "sep and a title": (f"sep=;\nPlate 7\n{BODY.replace(',', ';')}", "the header is line 3"),
    "UTF-16, little end first, no mark": (BODY.encode("utf-16-le"), "UTF-16 without"),
    "UTF-16, big end first, no mark": (BODY.encode("utf-16-be"), "UTF-16 without"),
    "UTF-32": (BODY.encode("utf-32"), ""),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_forms_of_text_that_are_read(case: str):
    content, says = ACCEPTED[case]
    table = read_text(content, require="measured")
    assert pkds(table) == [8.0]
    pair = table.measurements[0].pair
    assert (pair.antibody.light, pair.antigen.chains) == (VK, (LYSOZYME,))
    lines = content.splitlines() if isinstance(content, str) else ["", ""]
    assert table.rows[0].line == len(lines)
    assert says in " ".join(table.notes)
    assert bool(table.notes) == bool(says)


REAL = ("17-trailing-commas.csv", "22-oas-metadata-line.csv", "25-utf16-without-mark.csv")


@pytest.mark.parametrize("name", REAL)
def test_published_forms_of_text(name: str, data_root: Path):
    folder, options = data_root / "real_files", {}
    if "oas" in name:
        columns = {chain: f"sequence_alignment_aa_{chain}" for chain in ("heavy", "light")}
        options = {"columns": columns, "antigens": folder / "11-antigen.fasta"}
    table = read_table(folder / name, **options)
    assert not table.failed
    assert all(row.pair is not None and row.pair.antibody.light for row in table.rows)


def variants(ids: tuple[str, str], parent: str) -> str:
    header = "id,heavy,light,antigen,pkd,parent,mutations,fold,reference\n"
    first = f"{ids[0]},{VH},{VK},{LYSOZYME},8,,,0.0,31042580.0\n"
    return f"{header}{first}{ids[1]},,,,7,{parent},H:E1A,1.0,\n"


@pytest.mark.parametrize(
    ("ids", "parent"), [(("1", "2"), "1.0"), (("1.0", "2.0"), "1"), (("1.0", "2.0"), "1.0")]
)
def test_whole_numbers_with_a_point_are_the_same_ids(ids: tuple[str, str], parent: str):
    table = read_text(variants(ids, parent), require="measured")
    assert [row.id for row in table.rows] == list(ids)
    assert pkds(table) == [8.0, 7.0]
    wild_type, variant = table.measurements
    assert variant.parent == wild_type.pair
    assert variant.delta_pkd == pytest.approx(-1)
    assert (wild_type.origin.fold, wild_type.origin.reference) == (0, "31042580")


DATES = {
    "months first": (["10/31/11", "02/01/12", "NA"], ["2011-10-31", "2012-02-01", ""]),
    "days first": (["31/10/2011", "02/01/2012"], ["2011-10-31", "2012-01-02"]),
    "points": (["31.10.2011", "2.1.2012"], ["2011-10-31", "2012-01-02"]),
    "words": (["31-Oct-2011", "02-Jan-2012"], ["2011-10-31", "2012-01-02"]),
    "both ways": (["10/11/11", "02/01/12"], ["", ""]),
    "the same both ways": (["05/05/2011", "NA"], ["2011-05-05", ""]),
    "with one of them odd": (["10/31/11", "May 5", "2012-02-01"], ["2011-10-31", "", "2012-02-01"]),
}


@pytest.mark.parametrize("case", DATES)
def test_dates_in_the_order_their_column_proves(case: str):
    dates, read = DATES[case]
    rows = [(VH, LYSOZYME, "8", date) for date in dates]
    text = csv_text(*rows, header=("heavy", "antigen", "pkd", "date"))
    table = read_text(text, require="measured")
    assert [row.origin.date for row in table.measurements] == read
    assert table.frame["date"].to_list() == dates
    doubts = {"both ways": "'02/01/12' may be month or day first", "with one of them odd": "2024-0"}
    assert doubts.get(case, "") in " ".join(table.notes)
    assert bool(table.notes) == (case in doubts)


def test_the_sheet_named_on_the_command_line(tmp_path: Path, run_paratope: Callable):
    path = workbook(tmp_path / "t.xlsx", a=PLATE, b=[KD, ("z", VH, LYSOZYME, 1e-7)])
    for sheet, pkd in (("a", "8.494850"), ("b", "7.0")):
        command = ("data", "import", "plain", "--from", path, "-o", "-", "--sheet", sheet)
        done = run_paratope(*command)
        assert done.code == 0
        assert f",{pkd}" in done.out
    assert run_paratope("data", "audit", path, "--sheet", "b").code == 0
    assert "no sheet 'c'" in run_paratope("data", "audit", path, "--sheet", "c").err


def sheet_form(folder: Path, rows: list[tuple]) -> Path:
    return workbook(folder / "t.xlsx", README=README, data=[("Plate 7",), (), *rows])


def text_form(change: Callable[[str], str] = str, encoding: str = "utf-8", **options) -> Callable:
    def write(folder: Path, rows: list[tuple]) -> Path:
        text = csv_text(*rows[1:], header=rows[0], **options)
        (folder / "t.csv").write_bytes(change(text).encode(encoding))
        return folder / "t.csv"

    return write


FORMS: dict[str, Callable[[Path, list[tuple]], Path]] = {
    "workbook": sheet_form,
    "UTF-16": text_form(encoding="utf-16-le"),
    "separators at the end": text_form(lambda text: text.replace("\n", ",,\n")),
    "lines above": text_form(lambda text: f"# plate 7\n{{}}\n{text}"),
    "decimal commas": text_form(lambda text: text.replace(".", ","), delimiter=";"),
}
# workbooks hold fewer digits than repr
KD_M = st.floats(1e-13, 1e-3).map(lambda kd: float(f"{kd:.14g}"))
VALUE = KD_M | st.sampled_from(["NB", "<1e-12", "not detected", ">1e-5"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(st.lists(VALUE, min_size=1, max_size=5), st.sampled_from(sorted(FORMS)))
def test_any_table_is_the_same_in_every_form_and_comes_back(tmp_path: Path, kds: list, form: str):
    rows = [KD, *((f"r{n}", VHH, LYSOZYME, kd) for n, kd in enumerate(["1e-8", *kds]))]
    plain = read_text(csv_text(*rows[1:], header=KD), require="measured")
    table = read_table(FORMS[form](tmp_path, rows), require="measured")
    assert not table.failed
    values = [(row.pkd, row.censoring) for row in plain.measurements]
    assert [(row.pkd, row.censoring) for row in table.measurements] == values
    own = [str(kd).replace(".", ",") if form == "decimal commas" else str(kd) for kd in kds]
    assert table.frame["KD (M)"].to_list() == ["1e-8", *own]
    for suffix in (".csv", ".xlsx", ".parquet"):
        target = tmp_path / f"back{suffix}"
        write_table(tables.frame_from_measurements(table.measurements), target)
        back = read_table(target, require="measured")
        assert [(row.pkd, row.censoring) for row in back.measurements] == values


FRAME = pd.DataFrame(
    {"id": ["a", "b"], "heavy": VH, "light": VK, "antigen": LYSOZYME, "KD (nM)": [3.2, 1000.0]}
)
TWICE = pd.concat([FRAME, FRAME[["light"]].assign(light=["x", None])], axis=1)
FRAMES = {
    "text beside numbers": FRAME.assign(**{"KD (nM)": pd.Series([3.2, ">1000"], dtype=object)}),
    "mixed column of the user's": FRAME.assign(own=["good", 1.0]),
    "nested": FRAME.assign(own=[pd.Series([1, 2]), {"x": [1]}]),
    "a name twice": TWICE,
    "numbers as names": FRAME.assign(own=1).rename(columns={"own": 0}),
    "no name": FRAME.assign(own=1).rename(columns={"own": None}),
    "another index": FRAME.set_axis(["x", "x"]),
    "dates as index": FRAME.set_axis(pd.to_datetime(["2024-01-02", None])),
    "several levels": FRAME.set_axis(pd.MultiIndex.from_tuples([(1, "a"), (1, "b")])),
    "categories": FRAME.astype({"heavy": "category", "KD (nM)": "category"}),
    "nullable": FRAME.convert_dtypes().assign(n=pd.array([1, None], dtype="Int64")),
    "arrow": FRAME.convert_dtypes(dtype_backend="pyarrow"),
    "bytes": FRAME.assign(heavy=[VH.encode()] * 2),
    "float ids": FRAME.assign(id=[1.0, 2.0]),
}


@pytest.mark.parametrize("case", FRAMES)
def test_any_frame_of_pandas_is_read_and_comes_back(case: str):
    frame, before = FRAMES[case], FRAMES[case].copy(deep=True)
    table = tables.table_from_frame(frame, require="measured")
    bound = {"text beside numbers": Censoring.AT_MOST}.get(case, Censoring.EXACT)
    assert [row.censoring for row in table.measurements] == [Censoring.EXACT, bound]
    assert pkds(table) == [8.495, 6.0]
    out = prediction_frame(table, [Prediction(row.id, 0.9, pkd=8.0) for row in table.rows])
    assert isinstance(out, pd.DataFrame)
    assert out["pkd"].to_list() == [8.0, 8.0]
    pd.testing.assert_frame_equal(out.iloc[:, -len(frame.columns) :], before, check_names=False)
    pd.testing.assert_frame_equal(frame, before)
