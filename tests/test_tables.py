"""Reading tables: kinds of file, encodings, columns, rows that carry their own error."""

import csv
import gzip
import io
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pandas as pd
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paratope.errors import InputError
from paratope.sequences import Antibody, Antigen
from paratope.tables import (
    ALIASES,
    InputTable,
    iter_tables,
    match_columns,
    parse_columns,
    read_antigens,
    read_fasta,
    read_frame,
    read_table,
    table_from_frame,
    write_table,
)
from test_numbering import CH1, LINKER, LYSOZYME, NO_ANTIBODIES, VH, VHH, VK

PAIR = (Antibody(VH, VK), (LYSOZYME,))
HEADER = ("id", "heavy", "light", "antigen", "well")
ROWS = [("a", VH, VK, LYSOZYME, "A1"), ("b", VHH, "", LYSOZYME, "A2, left")]


def csv_text(*rows: tuple, header: tuple = HEADER, delimiter: str = ",", end: str = "\n") -> str:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator=end).writerows([header, *rows])
    return text.getvalue()


def read_text(text: str | bytes, **options) -> InputTable:
    return read_table(io.BytesIO(text if isinstance(text, bytes) else text.encode()), **options)


def assert_same_pairs(table: InputTable) -> None:
    assert [row.error for row in table.rows] == [None, None]
    assert [row.id for row in table.rows] == ["a", "b"]
    first, second = (row.pair for row in table.rows)
    assert first is not None
    assert second is not None
    assert first.antibody == Antibody(VH, VK, "a")
    assert second.antibody == Antibody(VHH, None, "b")
    assert first.antigen.chains == second.antigen.chains == (LYSOZYME,)


# kinds of file


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


def test_a_stray_control_character_is_text():
    table = read_text(csv_text(ROWS[0], (*ROWS[1][:-1], "A\x1f2")))
    assert_same_pairs(table)
    assert table.frame["well"][1] == "A\x1f2"


@pytest.mark.parametrize(("delimiter", "word"), [(";", "semicolons"), ("\t", "tabs")])
def test_another_delimiter_than_the_name_says_is_found_and_noted(
    delimiter: str, word: str, tmp_path: Path
):
    path = tmp_path / "t.csv"
    path.write_text(csv_text(*ROWS, delimiter=delimiter))
    table = read_table(path)
    assert_same_pairs(table)
    assert table.notes == (f"{path}: fields are separated by {word}, not commas",)


def test_excels_own_line_about_the_delimiter():
    table = read_text("sep=;\n" + csv_text(*ROWS, delimiter=";"))
    assert_same_pairs(table)
    assert table.rows[0].line == 3


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
        "from paratope.tables import read_table\n"
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


def test_nothing_is_fetched():
    with pytest.raises(InputError, match="no such file"):
        read_table("https://example.org/pairs.csv")


# files that cannot be read


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


# columns


def test_every_name_is_known_once():
    names = [match_columns([name]) for known in ALIASES.items() for name in (known[0], *known[1])]
    expected = [canonical for canonical, others in ALIASES.items() for _ in (canonical, *others)]
    assert [next(iter(name)) for name in names] == expected


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["VH", "VL", "Antigen Sequence"], {"heavy": "VH", "light": "VL"}),
        (["Heavy chain", "light_chain", "target"], {"antigen": "target"}),
        (["vh", "heavy", "antigen"], {"heavy": "heavy"}),  # the canonical name goes first
        (["heavy", "antigen", "KD (nM)"], {"kd_nM": "KD (nM)"}),
        (["heavy", "antigen", "K_D [µM]"], {"kd_uM": "K_D [µM]"}),
        (["heavy", "antigen", "ΔΔG (kcal/mol)"], {"ddg_kcal_mol": "ΔΔG (kcal/mol)"}),
        (["true", "pred"], {"true": "true", "pred": "pred"}),
    ],
)
def test_aliases(names: list[str], expected: dict[str, str]):
    assert expected.items() <= match_columns(names).items()


def test_columns_by_hand():
    text = csv_text(*ROWS, header=("id", "chain_1", "chain_2", "bait", "well"))
    columns = parse_columns("heavy=chain_1, light=chain_2,antigen=bait")
    assert columns == {"heavy": "chain_1", "light": "chain_2", "antigen": "bait"}
    assert_same_pairs(read_text(text, columns=columns))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("heavy", "expected NAME=YOUR_COLUMN"),
        ("heavy=", "expected NAME=YOUR_COLUMN"),
        ("heavy=a,heavy=b", "heavy is given twice"),
        ("hevy=a", "unknown column 'hevy'; valid names: .*heavy"),
    ],
)
def test_columns_typed_wrongly(text: str, says: str):
    with pytest.raises(InputError, match=says):
        parse_columns(text)


def test_a_column_by_hand_that_is_not_there():
    with pytest.raises(InputError, match="no column 'VH'; columns found: id, heavy"):
        read_text(csv_text(*ROWS), columns={"heavy": "VH"})


def test_a_missing_column_lists_those_found_and_those_known():
    with pytest.raises(InputError) as caught:
        read_text(csv_text(*ROWS, header=("id", "s1", "s2", "antigen", "well")))
    message = str(caught.value)
    assert "no column for heavy" in message
    assert "Columns found: id, s1, s2, antigen, well" in message
    assert all(name in message for name in ALIASES["heavy"])
    assert "--columns heavy=YOUR_COLUMN" in message


def test_a_table_without_header_is_called_so():
    with pytest.raises(InputError, match="looks like data: put a header line above"):
        read_text(csv_text(*ROWS).split("\n", 1)[1])


def test_two_columns_of_one_name():
    text = csv_text((*ROWS[0], "left"), header=(*HEADER, "well"))
    table = read_text(text)
    assert table.frame.columns == [*HEADER, "well_2"]
    assert "another column is called 'well' too: read as 'well_2'" in table.notes[0]


# rows


def test_users_columns_come_back_as_text_and_in_order():
    header = ("well", "antigen", "0", "heavy", "plate", "date")
    rows = [("A01", LYSOZYME, "007", VHH, "1.50", "1/2/24"), ("A1", LYSOZYME, "", VH, "1e5", "NA")]
    table = read_text(csv_text(*rows, header=header))
    assert table.frame.columns == list(header)
    assert table.frame.schema == dict.fromkeys(header, pl.String)
    assert table.frame.rows() == [tuple(cell or None for cell in row) for row in rows]


# surrogates cannot be written; a file full of control characters is binary
CELL = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), include_characters="\n\r\t"), max_size=20
)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None
)
@given(st.lists(st.tuples(CELL, CELL), min_size=1, max_size=5), st.sampled_from([".csv", ".tsv"]))
def test_any_text_survives_writing_and_reading(tmp_path: Path, cells: list, suffix: str):
    frame = pl.DataFrame(
        [(VH, LYSOZYME, *pair) for pair in cells],
        schema=["heavy", "antigen", "notes", "more"],
        orient="row",
    )
    path = tmp_path / f"t{suffix}"
    write_table(frame, path)
    table = read_table(path)
    assert not table.failed
    for name in ("notes", "more"):
        assert [x or "" for x in table.frame[name]] == frame[name].to_list()


def test_parquet_and_xlsx_keep_their_types(tmp_path: Path):
    frame = pl.DataFrame(
        {"id": [5, 6], "heavy": [VH, VHH], "antigen": [LYSOZYME] * 2, "od": [0.5, 1.25]}
    )
    for name in ("t.parquet", "t.xlsx"):
        write_table(frame, tmp_path / name)
        table = read_table(tmp_path / name)
        assert table.frame["od"].to_list() == [0.5, 1.25]
        assert [row.id for row in table.rows] == ["5", "6"]


def test_xlsx_rows_are_those_of_the_sheet(tmp_path: Path):
    path = tmp_path / "t.xlsx"
    frame = pl.DataFrame({"heavy": [VH, None, "EVQ1"], "antigen": [LYSOZYME, None, LYSOZYME]})
    frame.write_excel(path)
    table = read_table(path)
    assert [row.line for row in table.rows] == [2, 4]
    assert "line 4, column 'heavy'" in (table.rows[1].error or "")


def test_only_the_first_sheet_is_read_and_that_is_noted(tmp_path: Path):
    import xlsxwriter

    path = tmp_path / "t.xlsx"
    frame = pl.DataFrame({"heavy": [VH], "antigen": [LYSOZYME]})
    with xlsxwriter.Workbook(path) as book:
        frame.write_excel(book, worksheet="pairs")
        frame.write_excel(book, worksheet="old")
    assert read_table(path).notes == (f"{path}: read the first sheet only, 'pairs'",)


@pytest.mark.parametrize(
    ("heavy", "light", "antigen", "says"),
    [
        ("EVQ1", "", LYSOZYME, "column 'VH': heavy chain: '1' at position 4 is not an amino acid"),
        ("EV@", VK, LYSOZYME, "column 'VH': heavy chain: '@' at position 3"),
        (VH, "DI7", LYSOZYME, "column 'VL': light chain: '7' at position 3"),
        (VH, VK, "MK?", "column 'target': antigen: '?' at position 3"),
        (VH, VK, "MKV|M5", "column 'target': antigen chain 2: '5' at position 2"),
        (VH, VK, "", "column 'target': antigen: empty"),
        ("", VK, LYSOZYME, "column 'VH': heavy chain: empty"),
        (VH, VK, "ATGGCC" * 10, "column 'target': antigen: this is DNA .60 bases"),
        ("ATGGCC" * 20, "", LYSOZYME, "column 'VH': heavy chain: this is DNA"),
        (LYSOZYME, VK, LYSOZYME, "column 'VH': heavy chain: no antibody variable domain"),
        (LYSOZYME, "", VH, "column 'target' holds one: are the two exchanged"),
        (VH, LYSOZYME, LYSOZYME, "column 'VL': light chain: no antibody variable domain"),
        (VK, "", LYSOZYME, "column 'VH': heavy chain: this is a kappa light chain"),
        (f"{VH}|{VK}", VK, LYSOZYME, "column 'VH': heavy chain: it holds two chains"),
    ],
)
def test_row_errors_say_where(heavy: str, light: str, antigen: str, says: str):
    rows = [("good", VH, VK, LYSOZYME), ("bad", heavy, light, antigen)]
    table = read_text(csv_text(*rows, header=("id", "VH", "VL", "target")))
    good, bad = table.rows
    assert good.error is None
    assert bad.pair is None
    assert bad.error is not None
    assert bad.error.startswith("row 'bad', line 3, ")
    assert says.replace(".60", "(60") in bad.error
    assert table.failed == (bad,)


@pytest.mark.parametrize("light", ["", "NA", "None", "n/a", "-"])
def test_words_for_no_light_chain(light: str):
    (row,) = read_text(csv_text(("a", VHH, light, LYSOZYME, ""))).rows
    assert row.pair is not None
    assert row.pair.antibody.light is None


def test_forms_of_an_antibody_come_out_alike_with_notes():
    rows = [
        ("fab", VH + CH1, VK, LYSOZYME, ""),
        ("both", f"{VH}|{VK}", "", LYSOZYME, ""),
        ("colon", f"{VH}:{VK}", "", LYSOZYME, ""),
        ("scfv", VK + LINKER + VH, "", LYSOZYME, ""),
        ("xxx", VH + "XXX" + VK, "", LYSOZYME, ""),
        ("swapped", VK, VH, LYSOZYME, ""),
        ("lower", f" {VH.lower()}* ", VK, LYSOZYME, ""),
    ]
    table = read_text(csv_text(*rows))
    for row in table.rows:
        assert row.error is None
        assert row.pair is not None
        assert (row.pair.antibody.heavy, row.pair.antibody.light) == (VH, VK)
    notes = {row.id: row.notes for row in table.rows}
    assert notes["scfv"] == notes["xxx"] == ("scFv split into heavy and light domains",)
    assert notes["swapped"] == ("heavy and light chains were swapped: put right",)
    assert notes["fab"] == notes["both"] == notes["lower"] == ()
    # what the user wrote comes back as it was
    assert table.frame["heavy"].to_list() == [row[1] for row in rows]


def test_duplicate_and_missing_ids():
    rows = [("a", *ROWS[0][1:]), ("", *ROWS[0][1:]), ("a", *ROWS[1][1:])]
    table = read_text(csv_text(*rows))
    assert [row.id for row in table.rows] == ["a", "2", "a"]
    assert [row.notes for row in table.rows] == [(), (), ("id 'a' was used before, in row 1",)]
    no_ids = read_text(csv_text(ROWS[0][1:], header=HEADER[1:]))
    assert no_ids.rows[0].id == "1"


def test_a_long_antigen_and_many_chains():
    antigen = "|".join(["W" * 10_000, "MKV", "GGS"])
    (row,) = read_text(csv_text(("a", VH, VK, antigen, ""))).rows
    assert row.pair is not None
    assert [len(chain) for chain in row.pair.antigen.chains] == [10_000, 3, 3]


# FASTA


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
        assert row.pair is not None
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


# frames, predictions


def test_polars_and_pandas_frames():
    frame = pl.DataFrame([dict(zip(HEADER, row, strict=True)) for row in ROWS])
    from_polars = table_from_frame(frame)
    from_pandas = table_from_frame(frame.to_pandas())
    assert_same_pairs(from_polars)
    assert from_pandas.rows == from_polars.rows
    assert from_polars.frame is frame
    missing = pd.DataFrame({"heavy": [VHH], "light": [float("nan")], "antigen": [LYSOZYME]})
    assert table_from_frame(missing).rows[0].error is None
    with pytest.raises(InputError, match="expected a polars or pandas DataFrame, got list"):
        table_from_frame([VH])
    with pytest.raises(InputError, match="no rows"):
        table_from_frame(frame.head(0))


def test_read_frame_reads_no_pairs():
    table = read_frame(io.BytesIO(b"true,pred,plate\n7,8,1\n"))
    assert table.rows == ()
    assert table.columns == {"true": "true", "pred": "pred"}
    with pytest.raises(InputError, match="no rows"):
        read_frame(io.BytesIO(b"true,pred\n"))
    with pytest.raises(InputError, match="line 2: 3 fields where the header has 2"):
        read_frame(io.BytesIO(b"true,pred\n7,8,9\n"))


def test_requirement_is_one_of_two():
    with pytest.raises(InputError, match="valid names: measured, pair"):
        read_text(csv_text(*ROWS), require="everything")


# blocks


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


def test_block_rows_must_be_positive():
    with pytest.raises(InputError, match="at least 1"):
        next(iter_tables(io.BytesIO(b"x"), 0))


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
    write_megabytes(small, 3)
    rows = write_megabytes(large, 12)
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
        "from paratope.tables import iter_tables\n"
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


# real files


def test_example_pairs(repository: Path):
    table = read_table(repository / "examples" / "pairs.csv")
    assert not table.failed
    assert len(table.rows) >= 13
    assert all(row.notes == () for row in table.rows)
    assert sum(row.pair.antibody.light is None for row in table.rows if row.pair) == 1


def test_public_tables(data_root: Path):
    skempi = data_root / "skempi_v2" / "skempi_v2_antibody_antigen.csv"
    table = read_table(skempi, require="measured")
    assert len(table.rows) == 1171
    assert not table.failed
    sabdab = read_table(data_root / "sabdab" / "sabdab_affinity.csv", require="measured")
    assert [row.line for row in sabdab.failed] == [14]  # a row without heavy chain


def test_names_of_other_proteins_are_no_trap():
    """Every protein that is no antibody is an error as heavy chain, and fine as antigen."""
    proteins = [p for p in NO_ANTIBODIES.values() if set(p) - set("XGS")]
    as_antigen = read_text(csv_text(*((str(n), VH, VK, p, "") for n, p in enumerate(proteins))))
    assert not as_antigen.failed
    as_heavy = read_text(csv_text(*((str(n), p, "", VH, "") for n, p in enumerate(proteins))))
    assert len(as_heavy.failed) == len(proteins)
