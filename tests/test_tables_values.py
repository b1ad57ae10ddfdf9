"""Measurements: units, bounds, non-binders, parents, metadata; real files and their siblings."""

import io
import math
import re

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paratope.core.censoring import Censoring
from paratope.core.errors import InputError
from paratope.core.units import pkd_to_dg_kcal_mol, pkd_to_kd_nM
from paratope.data.audit import audit
from paratope.data.datasets import load_dataset
from paratope.data.datasets.simulated import simulate
from paratope.data.measurements import Conditions, Measurement, ParentValues, bound_non_binders
from paratope.data.tables import InputTable, iter_tables, read_table, table_from_frame
from paratope.models.predictor import Predictor
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


@pytest.mark.parametrize("column", ["score", "fitness"])
def test_scores_have_any_unit_and_higher_is_stronger(column):
    told = {"-3.5": (-3.5, EXACT), "<2": (2.0, AT_MOST), ">100": (100.0, AT_LEAST)}
    for text, expected in told.items():
        measurement = only({column: text})
        assert (measurement.score, measurement.censoring) == expected
        assert measurement.pkd is None


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
    for word in ("false", "False", "0", "no", "non-binder"):  # says only whether it binds
        table = read({"kd_nM": "100", "binder": "true"}, {"kd_nM": "", "binder": word})
        assert (table.measurements[1].pkd, table.measurements[1].censoring) == (7.0, AT_MOST)
    table = read({"pkd": "6.0", "binder": "false"})
    assert (table.measurements[0].pkd, table.measurements[0].censoring) == (6.0, AT_MOST)
    assert "read as an upper bound" in table.rows[0].notes[0]
    table = read({"score": "0.2"}, {"score": "3"}, {"score": "n.b."})
    assert (table.measurements[2].score, table.measurements[2].censoring) == (0.2, AT_MOST)


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
    # wherever the parent is in the file
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


def test_a_stated_parents_pkd_that_no_assay_measures_is_refused():
    mutant = {"heavy": MUTANT, "ddg_kcal_mol": "1", "parent_heavy": VH, "parent_pkd": "500"}
    assert "a Kd of 5 nM is a pKd of 8.3" in read(mutant).rows[0].error


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


def test_temperature_by_the_name_of_its_column_and_free_energies_at_their_own():
    named = {"temperature": ("310", 310), "temperature_C": ("37", 310.15), "temp_K": ("298", 298)}
    for column, (text, kelvin) in named.items():
        assert only({"pkd": "8", column: text}).conditions.temperature_K == pytest.approx(kelvin)
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


def test_the_assay_is_the_file_where_no_column_names_it_and_some_column_holds_values(tmp_path):
    names = "pkd, kd_M, kd_uM, kd_nM, kd_pM, kd, dg_kcal_mol, ddg_kcal_mol, score"
    found = "Columns found: heavy, light, antigen, well"
    with pytest.raises(InputError, match=f"(?s)(?=.*{found}).*{names}"):
        read({"well": "A1"})
    path = tmp_path / "plate7.csv"
    path.write_bytes(content({"pkd": "8"}).getvalue())
    (measurement,) = read_table(path, require="measured").measurements
    assert measurement.assay == "plate7"
    assert measurement.origin.source == str(path)


def test_pairs_alone_leave_measured_columns_unread():
    """A table of predictions has a column pkd that nobody measured; a bad value is no error."""
    table = read_table(content({"pkd": "8"}, {"pkd": "strong"}))
    assert not table.failed
    assert table.measurements == ()
    assert "pkd" not in table.columns
    assert table.frame["pkd"].to_list() == ["8", "strong"]
    table = read({"heavy": VHH, "light": "", "pkd": "8"}, {"heavy": LYSOZYME, "pkd": "8"})
    assert [row.measurement is None for row in table.rows] == [False, True]  # without antibody
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
    lower = Measurement(PAIR, 2.0, AT_LEAST, "a")  # which is no weakest value
    rows = [*exact(*own), non_binder, *exact(*other, assay="b"), lower]
    bounded = bound_non_binders(rows)
    assert bounded[len(own)].pkd == min(own)
    assert bounded[len(own)].censoring is AT_MOST
    assert bounded[len(own) + 1 :] == rows[len(own) + 1 :]
    assert bounded[: len(own)] == rows[: len(own)]


@given(st.lists(PKD, min_size=1, max_size=9), st.randoms())
def test_a_parent_has_the_median_of_its_exact_values(values: list[float], random):
    named = Pair(Antibody("EVQL", "DIQM", "wt"), Antigen(("MKV",), "toxin"))
    rows = [*exact(*values), Measurement(PAIR, 3.0, AT_MOST, "a"), *exact(12.0, pair=OTHER)]
    random.shuffle(rows)
    parents = ParentValues()
    assert parents.median(PAIR, "a") == (None, "")
    for row in rows:
        parents.add(row)
    for assay in ("a", "another"):  # all its assays, where it was not measured in this one
        median, note = parents.median(named, assay)
        assert median == pytest.approx(np.median(values))
        assert ("parent 'wt' was measured" in note) == (max(values) - min(values) > 1.0)
    parents.add(Measurement(PAIR, 4.0, assay="another"))
    assert parents.median(named, "another") == (4.0, "")


def shown(table):
    """Every row's pKd as text, with its bound; ``error`` where it has none."""
    signs = {-1: "<", 0: "", 1: ">"}
    return [
        "error" if row.measurement is None or row.measurement.pkd is None
        # a pKd of -0.0 or 9.0000001 is no other one
        else f"{signs[row.measurement.censoring]}{row.measurement.pkd:.3f}"
        for row in table.rows
    ]  # fmt: skip


def read_columns(source, **options):
    if isinstance(source, dict):  # columns, each with one text a row
        rows = zip(*source.values(), strict=True)
        source = content(*(dict(zip(source, row, strict=True)) for row in rows))
    return read_table(source, require="measured", **options)


NUMBERS = [
    ("18-decimal-comma.csv", "8.495 7.903"),
    ("18-sibling-thousands.csv", "5.921 8.495"),
    ("20-binder-as-float.csv", "8.000 <7.000 7.000"),
    ("20-sibling-plus-minus.csv", "8.000 <8.000"),
    ("23-words-for-no-binding.csv", "8.495" + 12 * " <8.495"),
    ("24-numbers-of-papers.csv", "8.921 8.301 8.301 8.301 8.301 8.301 8.921"),
    # commas, by what the column's other numbers prove
    ({"KD (nM)": ["3,2", "1.250,5", "0,125"]}, "8.495 5.903 9.903"),
    ({"KD (nM)": ["1,200,000", "1,200", "12"]}, "2.921 5.921 7.921"),
    ({"KD (nM)": ["1,200", "12"]}, "error 7.921"),
    ({"KD (nM)": ["3,2", "3.2", "12.5"]}, "error 8.495 7.903"),
    # an unknown word beside a measured value loses nothing
    ({"pkd": ["8", "7"], "binder": ["maybe", "-"]}, "8.000 7.000"),
]


# off rates, Kd, and what is neither; twins; relation, unit and type in columns of their own
SPREAD = [
    ("04-ka-kd-KD.csv", "9.000 8.553"),
    ("08-inequality-in-its-own-column.csv", "8.495 <4.699 >10.000"),
    ("08-sibling-qualifier.csv", "8.495 <6.000"),
    ("09-unit-in-its-own-column.csv", "8.495 8.495 8.495"),
    ("09-sibling-affinity-uM-bare.csv", "error error error"),
    ("10-type-of-value-in-its-own-column.csv", "8.495 error error"),
    ("12-two-columns-one-meaning.csv", "error 7.155"),
    ("12-sibling-kd_M-and-affinity_M.csv", "error"),
    # rates
    ({"kon (1/Ms)": ["2e5"], "kd": ["2e-4"], "KD": ["3 nM"]}, "8.523"),
    ({"KD": ["1e-9"], "kd": ["2e-4"], "ka": ["2e5"]}, "9.000"),
    ({"ka": ["2e5", "2e5", "2e5"], "kd": ["2e-4", "<1e-5", ""]}, "9.000 >10.301 error"),
    ({"kon": ["2e5"], "koff": ["2e-4"], "kd": ["2e-9"]}, "8.699"),
    ({"koff": ["2e-4"], "kd": ["2e-9"]}, "8.699"),
    # twins
    ({"kd": ["1e-9", "1e-9", ""], "KD": ["1e-9", "1e-7", "2e-9"]}, "9.000 error 8.699"),
    ({"pkd": ["9", "", "8"], "neg_log_kd": ["9.04", "7", "9"]}, "9.000 7.000 error"),
    ({"KD": ["1 nM"], "affinity": ["high"]}, "9.000"),
    ({"KD (nM)": ["2", "3"], "KD (nM)_2": ["2", "30"]}, "8.699 error"),
    ({"Affinity": ["high", "low"], "KD (nM)": ["2", "3"]}, "8.699 8.523"),
    # logarithms of Kd, whose sign is open by their name
    ({"log10(KD)": ["-8.5", "<-9"]}, "8.500 >9.000"),
    ({"logKd": ["-8", "−5.5"], "relation": ["=", ">"]}, "8.000 <5.500"),
    ({"log10 KD (M)": ["-8", "-6"], "KD (nM)": ["10", "30"]}, "8.000 error"),
    ({"-log10(KD)": ["8.5"], "KD (M)": ["3.2e-9"]}, "8.500"),
    # relations
    ({"pKd": ["5", "9"], "standard_relation": ["'<'", "'='"]}, "<5.000 9.000"),
    ({"KD (nM)": ["5", ">9"], "x": ["less than", "<"]}, ">8.301 error"),
    ({"KD (nM)": ["5", "9"], "IC50 relation": [">", "="]}, "8.301 8.046"),
    ({"KD (nM)": ["5", "9"], "qualifier": ["?!", ">"]}, "error <8.046"),
    # units
    ({"KD value": ["5", "2", "3"], "KD units": ["nM", "pM", ""]}, "8.301 11.699 error"),
    ({"affinity": ["5", "2"], "u": ["nmol/L", "µM"]}, "8.301 5.699"),
    ({"KD (nM)": ["5", "2"], "units": ["nM", "uM"]}, "8.301 error"),
    ({"KD": ["5", "2 nM"], "units": ["RU", "nM"]}, "error 8.699"),
    ({"pkd": ["8"], "sex": ["M"], "unit": ["RU"]}, "8.000"),
    # types
    (
        {"standard_type": ["KD", "Ki", "pKd"], "standard_value": ["5", "5", "7"],
         "standard_units": ["nM", "nM", ""]},
        "8.301 error 7.000",
    ),
    ({"KD (nM)": ["5", "5"], "assay": ["Kd,app", "pIC50"]}, "8.301 error"),
    ({"KD (nM)": ["5", "5"], "assay_type": ["SPR", "BLI"]}, "8.301 8.301"),
]  # fmt: skip


@pytest.mark.parametrize(("source", "pkds"), [*NUMBERS, *SPREAD])
def test_pkd_of_a_table_and_of_its_frames(source, pkds, data_root):
    if isinstance(source, str):
        source = data_root / "real_files" / source
    else:
        chains = {"heavy": pl.lit(VH), "light": pl.lit(VK), "antigen": pl.lit(LYSOZYME)}
        frame = pl.DataFrame(source).with_columns(**chains)
        for one in (frame, frame.to_pandas()):
            assert " ".join(shown(table_from_frame(one, require="measured"))) == pkds
    assert " ".join(shown(read_columns(source))) == pkds


def test_commas_and_units_read_otherwise_than_written_are_said():
    table = read_columns({"KD (nM)": ["3,2", "12,5"]})
    assert table.notes[0].endswith("column 'KD (nM)': decimal commas are read as points")
    table = read_columns({"KD (nM)": ["1.250", "3,2"]})
    assert "'1.250' is read as it stands, yet may be thousands" in table.notes[0]
    assert read_columns({"KD (nM)": ["1.250", "2.5", "12.75"]}).notes == ()
    table = read_columns({"KD (mM)": ["0.002"]}, columns={"kd_nM": "KD (mM)"})
    assert table.notes[0].endswith("column 'KD (mM)' is read in nM, as you said")
    assert read_columns({"KD (nM)": ["2"]}, columns={"kd_nM": "KD (nM)"}).notes == ()


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"ka": ["2e5"], "kd": ["3.2"]}, "about 3.2 in 'kd' is no rate; say which column holds Kd"),
        ({"ka": ["2e5"], "kd": ["0.5"]}, "Kd would be a pKd of about 5.6"),
        ({"KA": ["2e5"], "KD": ["2e-5"]}, "beside 'KA' may hold off rates"),
        ({"ka (10^5/Ms)": ["2"], "kd (1/s)": ["2e-4"]}, "no column for pkd.*=YOUR_COLUMN"),
        ({"KD SD (nM)": ["0.3"], "mean KD (nM)": ["2"]}, "--columns kd_nM=mean KD .nM. or"),
        ({"log_kd": ["2.3", "3.1"]}, "as pKd its median would be 2.7; it looks like the logarithm"),
    ],
)
def test_rates_that_are_none_are_asked_about(columns, says):
    with pytest.raises(InputError, match=says):
        read_columns(columns)


def test_rates_are_said_and_a_column_named_by_hand_is_believed():
    columns = {"ka": ["2e5"], "kd": ["2e-4"]}
    assert read_columns(columns).rows[0].notes == (
        "Kd = kd / ka, read as rates in 1/s and 1/(M s)",
    )
    assert shown(read_columns(columns, columns={"kd_M": "kd"})) == ["3.699"]


def test_other_types_can_be_taken_as_assays_of_their_own(run_paratope, tmp_path, data_root):
    path = data_root / "real_files" / "10-type-of-value-in-its-own-column.csv"
    command = ("data", "import", "plain", "--from", path, "-o", tmp_path / "o.csv")
    refused = run_paratope(*command, "--take", "ic50", code=3)  # some rows in error
    assert "'EC50' is not a Kd" in refused.err
    assert pl.read_csv(tmp_path / "o.csv").height == 2
    assert run_paratope(*command, "--take", "IC50,EC50").code == 0
    written = pl.read_csv(tmp_path / "o.csv")
    assert [name.split()[1:] for name in written["assay"]] == [[], ["IC50"], ["EC50"]]


KDS = ["1.5e-11", "5.6e-10", "1.7e-9"]
TURNED = [
    ({"fitness": KDS}, "looks like a Kd in M"),
    ({"score": ["<1e-12", "2e-9"]}, "looks like a Kd in M"),
    ({"fitness": ["3", "20"], "EC50 [ng/ml]": ["3.0", "20"]}, "holds the values of column 'EC50"),
    ({"fitness": list("13579"), "IC50": list("24689")}, "rises with column 'IC50'"),
    ({"fitness": list("13579"), "pIC50": list("98642")}, "falls with column 'pIC50'"),
    ({"fitness": list("13579"), "log10 KD (nM)": ["-1", "0", "1", "2", "3"]}, "rises with column"),
    ({"signal": ["3", "20"], "unit": ["nM", "nM"]}, "column 'unit' says nM"),
    ({"fitness": ["3", "20"], "measure": ["EC50", "EC50"]}, "column 'measure' says EC50"),
]


@pytest.mark.parametrize(("columns", "says"), TURNED)
def test_scores_of_which_lower_is_stronger_are_asked_about(columns, says):
    with pytest.raises(InputError, match=f"{says}.*, of which lower is stronger.*--columns kd_M="):
        read_columns(columns)
    name = next(iter(columns))
    assert len(read_columns(columns, columns={"score": name}).measurements) == len(columns[name])


@pytest.mark.parametrize(
    "columns",
    [
        {"fitness": ["0.001", "0.5", "2"]},
        {"fitness": list("13579"), "pKd": list("45678")},
        {"fitness": list("97531"), "EC50": list("24689")},
        {"fitness": list("13579"), "EC50": list("42986")},
        {"fitness": list("97531"), "log10 KD": ["-9", "-8", "-7", "-6", "-5"]},
        {"fitness": list("13579"), "KD error": list("13579")},
    ],
)
def test_scores_that_rise_with_binding_are_read(columns):
    assert [row.score for row in read_columns(columns).measurements] == list(
        map(float, columns["fitness"])
    )


def test_a_difference_that_its_pkd_and_its_parent_contradict():
    rows = {"id": ["wt", "v"], "parent": ["", "wt"], "mutations": ["", "H:E1A"]}
    for pkd, ddg, says in (
        ("9", "1.364", "the sign is turned; a positive ddg_kcal_mol is weaker"),
        ("9", "-1.364", None),
        ("", "-25", "make a pKd of 26.3, which no assay measures"),
        ("", "-1.364", None),
    ):
        row = read_columns({**rows, "pkd": ["8", pkd], "ddg_kcal_mol": ["", ddg]}).rows[1]
        assert (says in row.error) if says else (row.measurement.pkd == pytest.approx(9, abs=1e-3))


def test_a_score_beside_its_kd_is_left_out_and_one_that_may_be_a_logarithm_is_doubted():
    table = read_columns({"fitness": KDS, "Kd (M)": KDS})
    assert shown(table) == ["10.824", "9.252", "8.770"]
    assert {row.score for row in table.measurements} == {None}
    assert "column 'fitness' is not read as a score: all 3 values" in table.notes[0]
    table = read_columns({"fitness": ["-8.7", "-9.2"]})
    assert [row.score for row in table.measurements] == [-8.7, -9.2]
    assert "if it is a ΔG or a logarithm of Kd" in table.notes[0]
    assert not read_columns({"fitness": ["-8.7", "-1.2"]}).notes


def test_flab_tables_of_kd(data_root, tmp_path):
    path = data_root / "real_files" / "07-flab-AM14_Kd.csv"
    with pytest.raises(InputError, match="looks like a Kd in M, of which lower is stronger"):
        load_dataset("flab", path)
    rows = load_dataset("flab", path, columns={"kd_M": "fitness"}).measurements
    assert [round(row.pkd, 3) for row in rows] == [10.815, 9.253, 8.775, 10.876]
    assert [row.pair.antibody.name[:5] for row in rows] == ["AM14_"] * 4
    beside = tmp_path / "t.csv"
    cells = f"{VH},{VK}"
    beside.write_text(f"heavy,light,fitness,Kd [nM]\n{cells},3,3\n{cells},20,20\n")
    with pytest.raises(InputError, match="holds the values of column 'Kd .nM.'"):
        load_dataset("flab", beside)


FINDINGS = [
    ("04-ka-kd-KD.csv", "rate_column", "column 'kd' beside 'ka' holds off rates"),
    ("07-flab-AM14_Kd.csv", "direction", "looks like a Kd in M"),
    ("08-inequality-in-its-own-column.csv", "split_value", "the relation of 'KD .nM.'"),
    ("09-unit-in-its-own-column.csv", "split_value", "the unit of 'KD' stands in"),
    ("09-sibling-affinity-uM-bare.csv", "unit_column", "3 of 3 rows .* Kd in uM"),
    ("10-type-of-value-in-its-own-column.csv", "not_kd", "2 of 3 rows .*'IC50' is not a Kd"),
    ("12-two-columns-one-meaning.csv", "columns_disagree", "1 of 2 rows .* disagree"),
    ("12-sibling-kd_M-and-affinity_M.csv", "columns_disagree", "1 of 1 rows .* disagree"),
    ({"ka": ["2e5"], "kd": ["2e-4"]}, "rate_column", "no column holds Kd"),
    ({"kon": ["2e5"], "koff": ["2e-4"], "KD (nM)": ["50"]}, "rate_column", "is not the Kd"),
    ({"KA": ["2e5"], "KD": ["2e-5"]}, "rate_column", "may hold off rates"),
    *((columns, "direction", says) for columns, says in TURNED),
    ({"fitness": KDS, "Kd (M)": KDS}, "direction", "is not read as a score"),
    ({"pkd": ["9", "8"], "neg_log_kd": ["9", "5"]}, "columns_disagree", "1 of 2 rows"),
    ({"KD (nM)": ["5"], "units": ["uM"]}, "columns_disagree", "disagree about the unit"),
    ({"KD": ["5 nM", "9 nM"], "x": [">", "<"]}, "split_value", "the relation of 'KD'"),
    ({"standard_type": ["Ki", "KD"], "standard_value": ["1e-9", "1e-8"]}, "not_kd", "'Ki' is no"),
]


@pytest.mark.parametrize(("source", "code", "says"), FINDINGS)
def test_the_audit_tells_it_of_a_table_that_was_read(source, code, says, data_root):
    source = pl.DataFrame(source) if isinstance(source, dict) else data_root / "real_files" / source
    (finding,) = audit(source).of(code)
    assert re.search(says, finding.message), finding.message


def test_bounds_in_a_column_of_their_own_are_no_floor():
    rows = simulate(antibodies=150, antigens=1, seed=1, floor_pkd=None).measurements
    pkd = np.array([row.pkd for row in rows]).round(2)
    signs = np.where(pkd < 7, "<", "=")
    frame = pl.DataFrame({"pkd": np.maximum(pkd, 7), "qualifier": signs})
    assert audit(frame.drop("qualifier")).of("floor")
    assert not audit(frame).of("floor")


PREDICTED = {"pkd": 5.0, "pkd_low": 4.0, "pkd_high": 6.0, "kd_nM": 1e4, "domain": "in"}


@pytest.mark.parametrize("name", ["Kd (nM)", "kd_nM_measured", "measured_pkd", "true Kd"])
def test_predictions_in_a_table_are_no_measurements(name):
    value = "8" if "pkd" in name else "10"
    by_hand = {"columns": {"kd_nM": name}} if name == "true Kd" else {}
    table = read(PREDICTED | {name: value}, **by_hand)
    assert table.measurements[0].pkd == pytest.approx(8.0)
    assert any("predictions of Paratope" in note for note in table.notes)


def test_predictions_alone_are_no_measurements_unless_they_are_named():
    with pytest.raises(InputError, match="are predictions of Paratope"):
        read(PREDICTED)
    assert read(PREDICTED, columns={"pkd": "pkd"}).measurements[0].pkd == pytest.approx(5.0)


def test_predictions_of_predictions_are_not_called_measured():
    rows = [{"heavy": VH, "light": VK, "antigen": LYSOZYME} | PREDICTED | {"kd_nM_measured": 7.0}]
    told = Predictor.load("default").predict(pl.DataFrame(rows))
    assert told["pkd_input"][0] == 5.0
    assert told["kd_nM_input"][0] == 1e4
    assert told["kd_nM_measured"][0] == 7.0
    assert "pkd_measured" not in told.columns
