"""Reading tables: columns, rows that carry their own error, frames, real files."""

import csv
import io
from pathlib import Path

import pandas as pd
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paratope.campaigns.campaign import campaign_of
from paratope.core.errors import InputError
from paratope.data import tables
from paratope.data.audit import audit
from paratope.data.tables import ALIASES, InputTable, read_table, table_from_frame, write_table
from paratope.evaluation.predictions import read_predictions
from paratope.molecules.sequences import Antibody, Antigen
from test_numbering import CH1, LINKER, LYSOZYME, NO_ANTIBODIES, VH, VHH, VK

HEADER = ("id", "heavy", "light", "antigen", "well")
ROWS = [("a", VH, VK, LYSOZYME, "A1"), ("b", VHH, "", LYSOZYME, "A2, left")]


def csv_text(*rows: tuple, header: tuple = HEADER, delimiter: str = ",", end: str = "\n") -> str:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator=end).writerows([header, *rows])
    return text.getvalue()


def rows_text(*rows: dict[str, object]) -> str:
    """Rows as CSV text; the header is every name of theirs."""
    header = tuple(dict.fromkeys(name for row in rows for name in row))
    return csv_text(*(tuple(row.get(name, "") for name in header) for row in rows), header=header)


def read_text(text: str | bytes, **options) -> InputTable:
    return read_table(io.BytesIO(text if isinstance(text, bytes) else text.encode()), **options)


def assert_same_pairs(table: InputTable) -> None:
    assert [row.error for row in table.rows] == [None, None]
    assert [row.id for row in table.rows] == ["a", "b"]
    pairs = [(row.pair.antibody, row.pair.antigen.chains) for row in table.rows if row.pair]
    antibodies = Antibody(VH, VK, "a"), Antibody(VHH, None, "b")
    assert pairs == [(antibody, (LYSOZYME,)) for antibody in antibodies]


def test_every_name_is_known_once_and_in_the_document(repository: Path):
    names = [
        tables.match_columns([name]) for known in ALIASES.items() for name in (known[0], *known[1])
    ]
    expected = [canonical for canonical, others in ALIASES.items() for _ in (canonical, *others)]
    assert [next(iter(name)) for name in names] == expected
    text = (repository / "docs" / "inputs.md").read_text("utf-8")
    of_predictions = {"true", "pred", "split", "antigen_name"}
    assert all(f"`{name}`" in text for name in ALIASES if name not in of_predictions)


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
    assert expected.items() <= tables.match_columns(names).items()


def test_columns_by_hand():
    text = csv_text(*ROWS, header=("id", "chain_1", "chain_2", "bait", "well"))
    columns = tables.parse_columns("heavy=chain_1, light=chain_2,antigen=bait")
    assert columns == {"heavy": "chain_1", "light": "chain_2", "antigen": "bait"}
    assert_same_pairs(read_text(text, columns=columns))


def test_columns_by_hand_headers_and_requirements_that_are_wrong_or_not_there():
    for columns, says in (
        ("heavy", "expected NAME=YOUR_COLUMN"),
        ("heavy=", "expected NAME=YOUR_COLUMN"),
        ("heavy=a,heavy=b", "heavy is given twice"),
        ("hevy=a", "unknown column 'hevy'; valid names: .*heavy"),
    ):
        with pytest.raises(InputError, match=says):
            tables.parse_columns(columns)
    with pytest.raises(InputError, match="no column 'VH'; columns found: id, heavy"):
        read_text(csv_text(*ROWS), columns={"heavy": "VH"})
    with pytest.raises(InputError, match="looks like data: put a header line above"):
        read_text(csv_text(*ROWS).split("\n", 1)[1])
    with pytest.raises(InputError, match="valid names: measured, pair"):
        read_text(csv_text(*ROWS), require="everything")


def test_a_missing_column_lists_those_found_and_those_known():
    with pytest.raises(InputError) as caught:
        read_text(csv_text(*ROWS, header=("id", "s1", "s2", "antigen", "well")))
    message = str(caught.value)
    assert "no column for heavy" in message
    assert "Columns found: id, s1, s2, antigen, well" in message
    assert all(name in message for name in ALIASES["heavy"])
    assert "--columns heavy=s1" in message


def test_users_columns_come_back_as_text_and_in_order():
    header = ("well", "antigen", "0", "heavy", "plate", "date")
    rows = [("A01", LYSOZYME, "007", VHH, "1.50", "1/2/24"), ("A1", LYSOZYME, "", VH, "1e5", "NA")]
    table = read_text(csv_text(*rows, header=header))
    assert table.frame.columns == list(header)
    assert table.frame.schema == dict.fromkeys(header, pl.String)
    assert table.frame.rows() == [tuple(cell or None for cell in row) for row in rows]
    table = read_text(csv_text((*ROWS[0], "left"), header=(*HEADER, "well")))  # a name twice
    assert table.frame.columns == [*HEADER, "well_2"]
    assert "another column is called 'well' too: read as 'well_2'" in table.notes[0]


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
    frame = pl.DataFrame({"heavy": [VH, None, "EVQ1"], "antigen": [LYSOZYME, None, LYSOZYME]})
    frame.write_excel(tmp_path / "t.xlsx")  # rows are those of the sheet
    table = read_table(tmp_path / "t.xlsx")
    assert [row.line for row in table.rows] == [2, 4]
    assert "line 4, column 'heavy'" in (table.rows[1].error or "")


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
    assert bad.error.startswith("row 'bad', line 3, ")
    assert says.replace(".60", "(60") in bad.error
    assert table.failed == (bad,)


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
    assert {row.pair and row.pair.antibody.chains for row in table.rows} == {(VH, VK)}
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


def messy_frame() -> pd.DataFrame:
    """What a notebook holds after joins and pivots, 40 rows."""
    count = 40
    values = [7 + row / 10 for row in range(count)]
    frame = pd.DataFrame(
        {
            "heavy": pd.Categorical([VH] * count),
            "light": pd.array([VK] * (count - 1) + [None], dtype="string"),
            "antigen": [LYSOZYME] * count,
            "pkd": pd.array(values[:-1] + [None], dtype="Float64"),
            "plate": pd.array([*range(count - 1), None], dtype="Int64"),
            "well": ["A1", 3, None, pd.NA] * (count // 4),  # mixed
            0: [(1, 2)] * count,
            "pred": values,
            "when": pd.period_range("2024-01-01", periods=count),
            "vector": [[0.5, 1.0]] * count,
        }
    )
    frame = pd.concat([frame, frame[["well", "antigen"]]], axis=1)  # two names twice
    return frame.set_index(pd.Index([row // 2 for row in range(count, 0, -1)], name="row"))


def test_any_pandas_frame_is_read_and_never_touched():
    frame = messy_frame()
    before = frame.copy(deep=True)
    table = table_from_frame(frame, require="measured")
    assert [row.error for row in table.rows[:-1]] == [None] * 39
    assert "no measured value" in (table.rows[-1].error or "")
    assert [row.pkd for row in table.measurements] == [7 + row / 10 for row in range(39)]
    assert table.original is frame
    assert table.frame["well"].to_list()[:4] == ["A1", "3", None, None]
    assert table.frame.columns[-3:] == ["vector", "well_2", "antigen_2"]
    assert table.frame["0"].to_list()[0] == [1, 2]
    assert table.notes == (
        "table: another column is called 'well' too: read as 'well_2'",
        "table: another column is called 'antigen' too: read as 'antigen_2'",
    )
    campaign = campaign_of(frame, columns={"pkd": "pred"})
    assert campaign.values.tolist() == pytest.approx([8.9, 10.9])  # the last row is a VHH
    assert audit(frame).tables[0].rows == 40
    assert len(read_predictions(frame)) == 39
    by_number = table_from_frame(frame.rename(columns={"pkd": 7}), columns={"pkd": "7"})
    assert not by_number.failed
    pd.testing.assert_frame_equal(frame, before)


def test_antigens_of_a_file_repeat_a_pandas_frame_with_its_index():
    frame = messy_frame().iloc[3:5]
    antigens = [Antigen(("MKV" * 5,), "one"), Antigen(("GGSW" * 5,), "two")]
    table = table_from_frame(frame, antigens=antigens)
    assert isinstance(table.original, pd.DataFrame)
    assert table.original["antigen_name"].to_list() == ["one", "two"] * 2
    assert table.original.index.to_list() == [18, 18, 18, 18]
    assert table.original["plate"].to_list() == [3, 3, 4, 4]
    assert "antigen_name" not in frame.columns


def test_read_frame_reads_no_pairs():
    table = tables.read_frame(io.BytesIO(b"true,pred,plate\n7,8,1\n"))
    assert table.rows == ()
    assert table.columns == {"true": "true", "pred": "pred"}
    with pytest.raises(InputError, match="no rows"):
        tables.read_frame(io.BytesIO(b"true,pred\n"))
    with pytest.raises(InputError, match="line 2: 3 fields where the header has 2"):
        tables.read_frame(io.BytesIO(b"true,pred\n7,8,9\n"))


def test_public_tables_are_read_and_other_proteins_are_antigens_alone(data_root: Path):
    skempi = data_root / "skempi_v2" / "skempi_v2_antibody_antigen.csv"
    table = read_table(skempi, require="measured")
    assert len(table.rows) == 1171
    assert not table.failed
    sabdab = read_table(data_root / "sabdab" / "sabdab_affinity.csv", require="measured")
    assert not sabdab.failed  # line 14: an scFv in the light column
    proteins = [p for p in NO_ANTIBODIES.values() if set(p) - set("XGS")]
    as_antigen = read_text(csv_text(*((str(n), VH, VK, p, "") for n, p in enumerate(proteins))))
    assert not as_antigen.failed
    as_heavy = read_text(csv_text(*((str(n), p, "", VH, "") for n, p in enumerate(proteins))))
    assert len(as_heavy.failed) == len(proteins)
