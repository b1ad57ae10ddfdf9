"""Reading tables: kinds of file, encodings, FASTA, files of any size."""

import gzip
import io
import subprocess
import sys
import tracemalloc
from pathlib import Path

import polars as pl
import pytest

from paratope.core.errors import InputError
from paratope.data.tables import iter_tables, read_antigens, read_fasta, read_table, write_table
from paratope.molecules.sequences import Antigen
from test_numbering import LINKER, LYSOZYME, VH, VHH, VK
from test_tables import HEADER, ROWS, assert_same_pairs, csv_text, read_text


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.parquet", "t.xlsx", "t.csv.gz", "t.tsv.gz"])
def test_every_kind_of_file_gives_the_same_pairs_and_columns(name: str, tmp_path: Path):
    frame = pl.DataFrame([dict(zip(HEADER, row, strict=True)) for row in ROWS])
    write_table(frame, tmp_path / name)
    table = read_table(tmp_path / name)
    assert_same_pairs(table)
    assert table.source == str(tmp_path / name)
    assert table.frame.columns == list(HEADER)
    assert table.frame["well"].to_list() == ["A1", "A2, left"]


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


def test_text_in_no_encoding_names_the_line():
    content = csv_text(*ROWS).encode() + b"c,\x81\xfe,,,\n"
    with pytest.raises(InputError, match="line 4: this is not UTF-8 or Windows-1252"):
        read_text(content)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends(end: str):
    table = read_text(csv_text(*ROWS, end=end))
    assert_same_pairs(table)
    assert [row.line for row in table.rows] == [2, 3]


def test_a_stray_control_character_is_text_and_excels_line_about_the_delimiter_is_none():
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


def test_blank_lines_and_empty_rows_are_left_out():
    text = "\n\n" + csv_text(*ROWS).replace("\nb,", "\n\n,,,,\nb,") + "\n,,,,\n"
    table = read_text(text)
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


@pytest.mark.parametrize("tail", [f"c,{VH},{VK},{LYSOZYME},A3\n", ""])
def test_a_quote_that_is_never_closed(tail: str):
    text = csv_text(*ROWS) + f'x,"{VH},{VK},{LYSOZYME},A1\n' + tail
    table = read_text(text)
    assert [row.error is None for row in table.rows] == [True, True, False]
    assert "line 4, a quote opened on this line is never closed" in (table.rows[2].error or "")


def test_stdin(tmp_path: Path):
    code = (
        "from paratope.data.tables import read_table\n"
        "t = read_table('-')\n"
        "print(t.source, [r.id for r in t.rows], t.failed)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=csv_text(*ROWS).encode(),
        capture_output=True,
        check=True,
    )
    assert done.stdout.decode() == "stdin ['a', 'b'] ()\n"


def test_bare_file_object_and_parquet_bytes_without_a_name():
    content = io.BytesIO()
    pl.DataFrame([dict(zip(HEADER, row, strict=True)) for row in ROWS]).write_parquet(content)
    assert_same_pairs(read_text(content.getvalue()))
    with pytest.raises(InputError, match="binary mode"):
        read_table(io.StringIO("id\n"))  # type: ignore[arg-type]


REFUSED = {
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


@pytest.mark.parametrize("kept", [0.3, 0.9, 0.99])
def test_truncated_parquet(kept: float, tmp_path: Path):
    path = tmp_path / "t.parquet"
    write_table(pl.DataFrame({"heavy": [VH] * 50, "antigen": [LYSOZYME] * 50}), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(InputError, match=f"{path}: damaged Parquet"):
        read_table(path)


def test_paths_that_cannot_be_opened(tmp_path: Path):
    with pytest.raises(InputError, match="no such file"):
        read_table(tmp_path / "none.csv")
    with pytest.raises(InputError, match="this is a folder"):
        read_table(tmp_path)
    text = tmp_path / "t.parquet"
    text.write_text(csv_text(*ROWS))
    with pytest.raises(InputError, match="not a parquet file but text"):
        read_table(text)
    with pytest.raises(InputError, match="no such file"):
        read_table("https://example.org/pairs.csv")
    with pytest.raises(InputError, match="at least 1"):
        next(iter_tables(io.BytesIO(b"x"), 0))


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


def test_one_antigen_leaves_ids_and_columns_alone(tmp_path: Path):
    antigens = tmp_path / "ag.fasta"
    antigens.write_text(f">lys\n{LYSOZYME}\n")
    table = read_text(FASTA, antigens=str(antigens))
    assert [row.id for row in table.rows] == ["nb1", "mab", "both", "s"]
    assert table.frame.columns == ["id", "heavy", "light"]
    by_hand = read_text(FASTA, antigens=[Antigen((LYSOZYME,), "lys")])
    assert by_hand.rows == table.rows


def test_antigens_go_before_the_antigen_column():
    table = read_text(csv_text(*ROWS), antigens=[Antigen(("MKV",), "x")])
    assert {row.pair.antigen.chains for row in table.rows if row.pair} == {("MKV",)}
    assert "column 'antigen' is not read" in table.notes[0]
    with pytest.raises(InputError, match="at least one"):
        read_text(csv_text(*ROWS), antigens=[])


def test_fasta_without_antigens_says_what_to_give():
    with pytest.raises(InputError, match="no column for antigen.*FASTA"):
        read_text(FASTA)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("MKV\n>a\nMKV\n", "line 1: expected a FASTA record starting with '>'"),
        (">a\n>b\nMKV\n", "line 1: record 'a' has no sequence"),
        (">a\nMKV\n>b\n", "line 3: record 'b' has no sequence"),
        (">a\nMKV\n>b\nMK7\n", "line 3: 'b': antigen: '7' at position 3"),
    ],
)
def test_fasta_that_cannot_be_read(text: str, says: str):
    with pytest.raises(InputError, match=says):
        read_antigens(io.BytesIO(text.encode()))


def test_fasta_records_and_antigen_names():
    content = b";comment\r\n>a b\r\nMK\r\nV\r\n>a\r\nGG\r\n>\r\nSS\r\n"
    records = read_fasta(io.BytesIO(content))
    assert [(r.name, r.sequence, r.line) for r in records] == [
        ("a b", "MKV", 2),
        ("a", "GG", 5),
        ("", "SS", 7),
    ]
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
