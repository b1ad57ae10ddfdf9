"""Measurements: units, bounds, non-binders, parents, assay metadata."""

import io
import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paratope.core.censoring import Censoring
from paratope.core.errors import InputError
from paratope.core.units import pkd_to_dg_kcal_mol, pkd_to_kd_nM
from paratope.data.measurements import Conditions, Measurement, ParentValues, bound_non_binders
from paratope.data.tables import InputTable, iter_tables, read_table
from paratope.molecules.sequences import Antibody, Antigen, Pair
from test_numbering import CH1, LYSOZYME, VH, VHH, VK
from test_tables import rows_text

EXACT, AT_LEAST, AT_MOST = Censoring.EXACT, Censoring.AT_LEAST, Censoring.AT_MOST
MUTANT = VH.replace("WGGDGF", "WGADGF")


def content(*rows: dict[str, object]) -> io.BytesIO:
    """Rows as a CSV file; heavy, light and antigen are filled in where missing."""
    filled = [{"heavy": VH, "light": VK, "antigen": LYSOZYME, **row} for row in rows]
    return io.BytesIO(rows_text(*filled).encode())


def read(*rows: dict[str, object], **options) -> InputTable:
    return read_table(content(*rows), require="measured", **options)


def only(*rows: dict[str, object], **options) -> Measurement:
    (measurement,) = read(*rows, **options).measurements
    return measurement


def error_of(*rows: dict[str, object], **options) -> str:
    return read(*rows, **options).rows[-1].error or ""


@pytest.mark.parametrize(
    ("column", "text", "pkd", "censoring"),
    [
        ("pkd", "8.5", 8.5, EXACT),
        ("pkd", "<5", 5.0, AT_MOST),
        ("pkd", ">= 11", 11.0, AT_LEAST),
        ("kd_M", "1e-9", 9.0, EXACT),
        ("kd_M", ">1E-05", 5.0, AT_MOST),
        ("kd_uM", "10", 5.0, EXACT),
        ("kd_nM", "10", 8.0, EXACT),
        ("kd_nM", "<0.1", 10.0, AT_LEAST),
        ("kd_nM", "3 uM", 6 - math.log10(3), EXACT),
        ("kd_pM", "10", 11.0, EXACT),
        ("kd", "3.2 nM", 9 - math.log10(3.2), EXACT),
        ("kd", ">10 uM", 5.0, AT_MOST),
        ("kd", "1E-09", 9.0, EXACT),
        ("Kd (nM)", "10", 8.0, EXACT),
        ("dg_kcal_mol", str(pkd_to_dg_kcal_mol(9.0)), 9.0, EXACT),
        ("dg_kcal_mol", f">{pkd_to_dg_kcal_mol(5.0)}", 5.0, AT_MOST),
    ],
)
def test_every_column_of_affinity(column: str, text: str, pkd: float, censoring: Censoring):
    measurement = only({column: text})
    assert measurement.pkd == pytest.approx(pkd, abs=1e-9)
    assert measurement.censoring is censoring
    assert measurement.pair.antibody == Antibody(VH, VK, "1")
    assert measurement.score is None


@settings(max_examples=25, deadline=None)
@given(st.floats(2.5, 14.5))
def test_columns_of_one_value_agree(pkd: float):
    row = {
        "pkd": repr(pkd),
        "kd_nM": repr(pkd_to_kd_nM(pkd)),
        "kd": f"{pkd_to_kd_nM(pkd)!r} nM",
        "dg_kcal_mol": repr(pkd_to_dg_kcal_mol(pkd)),
    }
    for name, text in row.items():
        assert only({name: text}).pkd == pytest.approx(pkd, abs=1e-9)
    assert only(row).pkd == pkd


@pytest.mark.parametrize(
    ("text", "score", "censoring"),
    [("-3.5", -3.5, EXACT), ("<2", 2.0, AT_MOST), (">100", 100.0, AT_LEAST)],
)
@pytest.mark.parametrize("column", ["score", "fitness"])
def test_scores_have_any_unit_and_higher_is_stronger(column, text, score, censoring):
    measurement = only({column: text})
    assert (measurement.score, measurement.pkd) == (score, None)
    assert measurement.censoring is censoring


@pytest.mark.parametrize(
    ("column", "text", "says"),
    [
        # the wrong unit, by its range
        ("kd_M", "3.2", "it looks like a Kd in nM; name the column kd_nM"),
        ("kd_M", "1", "weaker than any assay measures .10 mM."),
        ("kd_nM", "3.2e-9", "it looks like a Kd in M; name the column kd_M"),
        ("kd_pM", "1e-9", "it looks like a Kd in M"),
        ("kd", "3.2", "write the unit, '3.2 nM', or name the column kd_nM"),
        ("kd", "3 M", "check the number and its unit"),
        ("pkd", "3.2e-9", "it looks like a Kd in M; name the column kd_M"),
        ("pkd", "250", "stronger than any assay measures .1 fM.*a Kd in nM; name the column kd_nM"),
        ("pkd", "-11.2", "looks like a ΔG or a logarithm of Kd"),
        ("pkd", "1.9", "check the number"),
        ("dg_kcal_mol", "11.2", "negative for binding"),
        # no number
        ("kd_nM", "-5", "Kd must be a positive finite number, got '-5'"),
        ("kd_nM", "0", "Kd must be a positive"),
        ("kd_nM", "NaN", "no measured value in this row"),
        ("pkd", "nan", "no measured value in this row"),
        ("pkd", "", "no measured value in this row"),
        ("pkd", "inf", "expected a number"),
        ("pkd", "strong", "expected a number"),
        ("kd", "3.2 furlong", "cannot read '3.2 furlong' as a Kd"),
        ("score", "high", "expected a number"),
        ("ddg_kcal_mol", "n.b.", "a non-binder has no ΔΔG"),
        ("ddg_kcal_mol", "1.2", "a ΔΔG needs a parent"),
        ("binder", "perhaps", "expected true or false, got 'perhaps'"),
        ("binder", "true", "no measured value in this row"),
    ],
)
def test_values_that_cannot_be_read(column: str, text: str, says: str):
    error = error_of({"id": "good", column: ""}, {"id": "bad", column: text})
    assert error.startswith(f"row 'bad', line 3, column {column!r}: ")
    assert re.search(says, error)


def test_a_wrong_unit_is_said_once_for_the_table_too():
    table = read(*({"kd_M": value} for value in ("3.7", "12", "250", "1e-9")))
    assert len(table.failed) == 3
    assert len(table.measurements) == 1
    assert table.notes == (
        f"{table.source}: column 'kd_M': out of range, it looks like a Kd in nM; name the column "
        "kd_nM (3 rows)",
    )


def test_two_columns_that_disagree():
    error = error_of({"pkd": "9.0", "kd_nM": "10"})
    says = "column 'pkd' and column 'kd_nM' disagree: '9.0' is a pKd of 9.000, '10' one of 8.000"
    assert says in error
    assert "--columns pkd=pkd" in error
    # rounding is no disagreement
    assert only({"pkd": "8.0", "kd_nM": "10.3"}).pkd == 8.0
    # and a column named by hand is the only one
    assert only({"pkd": "9.0", "kd_nM": "10"}, columns={"kd_nM": "kd_nM"}).pkd == 8.0


def test_a_bound_says_more_than_its_number_and_gaps_are_filled_from_another_column():
    measurement = only({"pkd": "5.0", "kd": ">10 uM"})
    assert (measurement.pkd, measurement.censoring) == (5.0, AT_MOST)
    table = read({"pkd": "", "kd": "10 nM"}, {"pkd": "9", "kd": "n.d."})
    assert [m.pkd for m in table.measurements] == [8.0, 9.0]


@pytest.mark.parametrize("word", ["n.b.", "no binding", "NB"])
def test_non_binders_are_at_most_the_weakest_value_of_their_assay(word: str):
    table = read(
        {"kd": "10 nM", "assay": "a"},
        {"kd": "1 uM", "assay": "a"},
        {"kd": word, "assay": "a"},
        {"kd": "1 mM", "assay": "b"},
    )
    bounded = table.measurements[2]
    assert (bounded.pkd, bounded.censoring, bounded.assay) == (6.0, AT_MOST, "a")
    assert table.rows[2].notes == ("no binding: read as at most the weakest value of the assay",)


def test_what_bounds_non_binders_and_what_is_read_as_a_bound():
    table = read({"kd": "10 nM"}, {"kd": "n.b."}, limit_pkd=4.5)
    assert table.measurements[1].pkd == 4.5
    assert "no binding, and nothing measured in assay 'a' to bound it by" in error_of(
        {"kd": "n.b.", "assay": "a"}
    )
    table = read({"pkd": "6.0", "binder": "false"})
    assert (table.measurements[0].pkd, table.measurements[0].censoring) == (6.0, AT_MOST)
    assert "read as an upper bound" in table.rows[0].notes[0]
    table = read({"score": "0.2"}, {"score": "3"}, {"score": "n.b."})
    assert (table.measurements[2].score, table.measurements[2].censoring) == (0.2, AT_MOST)


@pytest.mark.parametrize("word", ["false", "False", "0", "no", "non-binder"])
def test_a_column_that_says_only_whether_it_binds(word: str):
    table = read({"kd_nM": "100", "binder": "true"}, {"kd_nM": "", "binder": word})
    assert (table.measurements[1].pkd, table.measurements[1].censoring) == (7.0, AT_MOST)


def test_ddg_above_zero_is_weaker_than_the_parent_row():
    table = read(
        {"id": "wt", "kd_nM": "1", "ddg_kcal_mol": "", "parent": ""},
        {"id": "m", "heavy": MUTANT, "kd_nM": "", "ddg_kcal_mol": "1.3642", "parent": "wt"},
    )
    wild_type, mutant = table.measurements
    assert mutant.pkd == pytest.approx(8.0, abs=1e-4)
    assert mutant.delta_pkd == pytest.approx(-1.0, abs=1e-4)
    assert mutant.parent == wild_type.pair
    assert wild_type.delta_pkd is None


def test_a_parent_row_gives_a_delta_wherever_it_is_in_the_file():
    table = read(
        {"id": "m", "heavy": MUTANT, "pkd": "8.0", "parent": "wt"},
        {"id": "wt", "pkd": "9.5", "parent": ""},
        {"id": "weak", "heavy": MUTANT, "pkd": "<5", "parent": "wt"},
    )
    assert table.measurements[0].delta_pkd == pytest.approx(-1.5)
    weak = table.measurements[2]
    assert (weak.delta_pkd, weak.censoring) == (pytest.approx(-4.5), AT_MOST)


def test_a_bound_is_no_parent_to_subtract_but_a_stated_pkd_stands_in_for_one():
    mutant = {"id": "m", "heavy": MUTANT, "pkd": "8", "parent": "wt"}
    table = read({"id": "wt", "pkd": ">9", "parent": ""}, mutant)
    assert table.measurements[1].delta_pkd is None
    assert table.measurements[1].parent is not None
    rows = [
        {"id": "wt", "pkd": ">9", "parent": ""},
        {"heavy": MUTANT, "pkd": "8", "parent": "wt", "parent_pkd": "9.5"},
    ]
    assert read(*rows).measurements[1].delta_pkd == pytest.approx(-1.5)
    rows[0]["pkd"] = "9"
    assert read(*rows).measurements[1].delta_pkd == pytest.approx(-1.0)


def test_a_ddg_is_counted_from_the_median_of_its_parents_replicates():
    parent = [{"id": f"wt{n}", "pkd": value} for n, value in enumerate("6.0 9.0 9.1 8.9".split())]
    other_assay = {"id": "wt-bli", "pkd": "7.5", "assay": "bli"}
    stronger = {"heavy": MUTANT, "ddg_kcal_mol": "-1.3642", "parent": "wt0"}
    rows = [*parent, {"id": "wt4", "pkd": "9.0"}, other_assay, stronger]
    rows.append(stronger | {"assay": "bli"})
    table = read(*(row if "assay" in row else row | {"assay": "spr"} for row in rows))
    spr, bli = table.rows[-2:]
    pkds = [measurement.pkd for measurement in table.measurements[-2:]]
    assert pkds == pytest.approx([10.0, 8.5], abs=1e-3)
    assert "parent 'wt0' was measured 5 times, from 6 to 9.1" in spr.notes[0]
    assert bli.notes == ()


def test_an_unknown_parent_is_an_error_where_it_is_needed_and_a_note_elsewhere():
    assert "column 'parent': no row 'nobody' that can be read" in error_of(
        {"ddg_kcal_mol": "1", "parent": "nobody"}
    )
    table = read({"pkd": "8", "parent": "trastuzumab"}, {"pkd": "9", "parent": "a scFv"})
    assert [row.parent for row in table.measurements] == [None, None]
    assert any("'parent': names no row of the table" in note for note in table.notes)


def test_a_parent_by_its_sequences():
    measurement = only(
        {"heavy": MUTANT, "heavy_wt": VH + CH1, "ddG": "1.3642", "pkd": "8", "pkd_wt": "9"}
    )
    assert measurement.parent.antibody == Antibody(VH, VK, "parent")
    assert measurement.parent.antigen.chains == (LYSOZYME,)
    assert measurement.delta_pkd == pytest.approx(-1.0, abs=1e-4)
    of_antigen = only({"antigen_wt": "MKV:GGS", "pkd": "8", "pkd_wt": "9"})
    assert of_antigen.parent.antigen == Antigen(("MKV", "GGS"))
    assert of_antigen.delta_pkd == pytest.approx(-1.0)
    assert "parent: heavy chain: '1' at position 1" in error_of({"heavy_wt": "1", "pkd": "8"})


def test_parents_with_several_antigens_and_in_earlier_blocks():
    rows = content({"id": "wt", "pkd": "9", "parent": ""}, {"id": "m", "pkd": "8", "parent": "wt"})
    antigens = [Antigen(("MKV",), "x"), Antigen(("GGS",), "y")]
    table = read_table(rows, require="measured", antigens=antigens)
    parents = [m.parent.antigen.name for m in table.measurements if m.parent]
    assert parents == ["x", "y"]
    rows = [{"id": "wt", "pkd": "9", "parent": ""}]
    rows += [{"id": f"m{n}", "heavy": MUTANT, "pkd": "8", "parent": "wt"} for n in range(3)]
    blocks = list(iter_tables(content(*rows), 1, require="measured"))
    deltas = [block.measurements[0].delta_pkd for block in blocks]
    assert deltas == [None, -1.0, -1.0, -1.0]


def test_assay_metadata_is_kept():
    row = {"pkd": "8", "assay": "plate 7", "format": "Fab", "method": "SPR", "fold": "3"}
    row |= {"temperature": "25 °C", "date": "2024-05-31", "pmid": "12345", "pdb": "1VFB"}
    row |= {"mutations": "HY101A, HD100E", "antigen_name": "lysozyme"}
    measurement = only(row)
    assert measurement.assay == "plate 7"
    assert measurement.conditions == Conditions("Fab", "SPR", 298.15)
    origin = measurement.origin
    assert (origin.date, origin.reference, origin.complex_id) == ("2024-05-31", "12345", "1VFB")
    assert (origin.mutations, origin.fold, origin.row) == (("HY101A", "HD100E"), 3, 1)
    assert measurement.pair.antigen.name == "lysozyme"


@pytest.mark.parametrize(
    ("column", "text", "kelvin"),
    [("temperature", "310", 310), ("temperature_C", "37", 310.15), ("temp_K", "298", 298)],
)
def test_temperature_by_the_name_of_its_column(column: str, text: str, kelvin: float):
    assert only({"pkd": "8", column: text}).conditions.temperature_K == pytest.approx(kelvin)


def test_free_energies_are_converted_at_their_own_temperature():
    row = {"dg_kcal_mol": "-12"}
    cold, warm = (only(row | {"temperature": kelvin}).pkd or 0.0 for kelvin in ("283", "310"))
    assert cold / warm == pytest.approx(310 / 283)


def test_metadata_that_cannot_be_read_stops_nothing_and_is_noted_once():
    rows = [{"pkd": "8", "temperature": "warm", "date": "last May"} for _ in range(3)]
    table = read(*rows)
    assert len(table.measurements) == 3
    assert table.measurements[0].conditions.temperature_K is None
    assert table.measurements[0].origin.date == ""
    assert [note.split(": ", 1)[1] for note in table.notes] == [
        "column 'temperature': 'warm' is not read (3 rows)",
        "column 'date': not read; expected dates such as 2024-05-31 (3 rows)",
    ]


def test_the_assay_is_the_file_where_no_column_names_it(tmp_path):
    path = tmp_path / "plate7.csv"
    path.write_bytes(content({"pkd": "8"}).getvalue())
    (measurement,) = read_table(path, require="measured").measurements
    assert measurement.assay == "plate7"
    assert measurement.origin.source == str(path)


def test_a_table_without_values_lists_the_columns_that_would_do():
    with pytest.raises(InputError) as caught:
        read({"well": "A1"})
    assert "Columns found: heavy, light, antigen, well" in str(caught.value)
    names = "pkd, kd_M, kd_uM, kd_nM, kd_pM, kd, dg_kcal_mol, ddg_kcal_mol, score"
    assert names in str(caught.value)


def test_pairs_alone_leave_measured_columns_unread():
    """A table of predictions has a column pkd that nobody measured; a bad value is no error."""
    table = read_table(content({"pkd": "8"}, {"pkd": "strong"}))
    assert not table.failed
    assert table.measurements == ()
    assert "pkd" not in table.columns
    assert table.frame["pkd"].to_list() == ["8", "strong"]


def test_a_row_without_antibody_has_no_measurement():
    table = read({"heavy": VHH, "light": "", "pkd": "8"}, {"heavy": LYSOZYME, "pkd": "8"})
    assert [row.measurement is None for row in table.rows] == [False, True]
    assert "no antibody variable domain" in (table.rows[1].error or "")


PAIR = Pair(Antibody("EVQL", "DIQM"), Antigen(("MKV",)))
OTHER = Pair(Antibody("EVQV", "DIQM"), Antigen(("MKV",)))
PKD = st.floats(3, 13)


def exact(*values: float, pair: Pair = PAIR, assay: str = "a") -> list[Measurement]:
    return [Measurement(pair, value, assay=assay) for value in values]


def test_a_measurement_holds_a_finite_value():
    with pytest.raises(InputError, match="needs a pKd"):
        Measurement(PAIR)
    for value in (math.nan, math.inf):
        with pytest.raises(InputError, match="finite"):
            Measurement(PAIR, value)
    assert Measurement(PAIR, score=0.0).score == 0.0
    assert Measurement(PAIR, censoring=AT_MOST).pkd is None  # a non-binder


@given(st.lists(PKD, min_size=1), st.lists(PKD))
def test_non_binders_get_the_weakest_value_of_their_own_assay(own: list[float], other: list[float]):
    non_binder = Measurement(PAIR, censoring=AT_MOST, assay="a")
    rows = [*exact(*own), non_binder, *exact(*other, assay="b")]
    bounded = bound_non_binders(rows)
    assert bounded[len(own)].pkd == min(own)
    assert bounded[len(own)].censoring is AT_MOST
    assert [row for row in bounded if row.assay == "b"] == rows[len(own) + 1 :]
    assert bounded[: len(own)] == rows[: len(own)]


def test_a_lower_bound_is_no_weakest_value():
    rows = [
        Measurement(PAIR, 5.0, AT_LEAST, "a"),
        *exact(7.0),
        Measurement(PAIR, censoring=AT_MOST, assay="a"),
    ]
    assert bound_non_binders(rows)[2].pkd == 7.0


@given(st.lists(PKD, min_size=1, max_size=9), st.randoms())
def test_a_parent_has_the_median_of_its_exact_values(values: list[float], random):
    named = Pair(Antibody("EVQL", "DIQM", "wt"), Antigen(("MKV",), "toxin"))
    rows = [*exact(*values), Measurement(PAIR, 3.0, AT_MOST, "a"), *exact(12.0, pair=OTHER)]
    random.shuffle(rows)
    parents = ParentValues()
    for row in rows:
        parents.add(row)
    for assay in ("a", "another"):  # all its assays, where it was not measured in this one
        median, note = parents.median(named, assay)
        assert median == pytest.approx(np.median(values))
        assert ("parent 'wt' was measured" in note) == (max(values) - min(values) > 1.0)
    parents.add(Measurement(PAIR, 4.0, assay="another"))
    assert parents.median(named, "another") == (4.0, "")


def test_a_parent_nobody_measured_has_no_value():
    assert ParentValues().median(PAIR, "a") == (None, "")
