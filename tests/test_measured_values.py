"""What measured values mean in tables as people have them: real files, and their siblings."""

import re

import numpy as np
import polars as pl
import pytest

from paratope.core.errors import InputError
from paratope.core.number_text import is_no_binding
from paratope.core.units import parse_kd
from paratope.data.audit import audit
from paratope.data.datasets import load_dataset
from paratope.data.datasets.simulated import simulate
from paratope.data.tables import read_table, table_from_frame
from test_numbering import LYSOZYME, VH, VK
from test_tables_values import content


def shown(table):
    """Every row's pKd as text, with its bound; ``error`` where it has none."""
    signs = {-1: "<", 0: "", 1: ">"}
    return [
        "error" if row.measurement is None or row.measurement.pkd is None
        # a pKd of -0.0 or 9.0000001 is no other one
        else f"{signs[row.measurement.censoring]}{row.measurement.pkd:.3f}"
        for row in table.rows
    ]  # fmt: skip


def read(source, **options):
    if isinstance(source, dict):  # columns, each with one text a row
        rows = zip(*source.values(), strict=True)
        source = content(*(dict(zip(source, row, strict=True)) for row in rows))
    return read_table(source, require="measured", **options)


@pytest.mark.parametrize(
    ("text", "kd_nM"),
    [
        *((text, 1.2) for text in ("(1.2 ± 0.3) × 10⁻⁹ M", "1.2 ± 0.3e-9", "1.23(4)e-9 ±2e-11")),
        *((text, 5.0) for text in ("ca. 5 nM", "∼5\u202fnM (n = 4)", "5 nM ± 12%", "５ nM")),
        *((text, 3.2) for text in ("3.2 (nM)", "3.2 nM [2.1–4.0]", "3.2 nmol L⁻¹", "3.2E−9")),
        *((text, 1200.0) for text in ("1 200 nM", "1'200 nM", "1.2 micromolar")),
        ("10⁻⁹ M", 1.0),
        ("10² nM", 100.0),
    ],
)
def test_numbers_as_papers_print_them(text, kd_nM):
    assert 10 ** (9 - parse_kd(text)[0]) == pytest.approx(kd_nM, rel=0.03)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("3.2*", r"the odd character is '\*' \(U\+002A"),
        ("3.2²", r"behind the number stands '\^2'"),
        ("3.Feb", "it is a date, which a spreadsheet may have made of a number"),
        ("2024-05-03", "it is a date"),
        ("5–8 nM", "behind the number stands '-8 nM'"),
        ("3.2①", "behind the number stands '①'"),
        ("3.2 (0.4 nM)", "behind the number stands"),
        ("3,2 nM", "is this a decimal comma. Write '3.2 nM'$"),
        ("1,200", "'1,200' may be thousands, too"),
    ],
)
def test_what_is_odd_in_a_number_is_named(text, says):
    with pytest.raises(InputError, match=says):
        parse_kd(text)


def test_words_for_no_binding():
    words = "BDL|<LLOQ|Undetectable|didn't bind|no_binding|Below the limit of detection|n.b.†"
    assert [word for word in words.split("|") if not is_no_binding(word)] == []
    others = "nd|no fit|weak|no|LOD|> LOD|not determined|saturated"
    assert [word for word in others.split("|") if is_no_binding(word)] == []


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
def test_pkd_of_a_table(source, pkds, data_root):
    if isinstance(source, str):
        source = data_root / "real_files" / source
    assert " ".join(shown(read(source))) == pkds


def test_commas_and_units_read_otherwise_than_written_are_said():
    table = read({"KD (nM)": ["3,2", "12,5"]})
    assert table.notes[0].endswith("column 'KD (nM)': decimal commas are read as points")
    table = read({"KD (nM)": ["1.250", "3,2"]})
    assert "'1.250' is read as it stands, yet may be thousands" in table.notes[0]
    assert read({"KD (nM)": ["1.250", "2.5", "12.75"]}).notes == ()
    table = read({"KD (mM)": ["0.002"]}, columns={"kd_nM": "KD (mM)"})
    assert table.notes[0].endswith("column 'KD (mM)' is read in nM, as you said")
    assert read({"KD (nM)": ["2"]}, columns={"kd_nM": "KD (nM)"}).notes == ()


def test_an_import_with_rows_in_error_ends_with_3(run_paratope, tmp_path):
    path = tmp_path / "t.csv"
    rows = {"heavy": VH, "light": VK, "antigen": LYSOZYME}
    pl.DataFrame([{**rows, "Kd": "3 nM"}, {**rows, "Kd": "soon"}]).write_csv(path)
    finished = run_paratope("data", "import", "plain", "--from", path, "-o", tmp_path / "o.csv")
    assert finished.code == 3
    assert "'soon'" in finished.err
    assert pl.read_csv(tmp_path / "o.csv").height == 1


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
        read(columns)


def test_rates_are_said_and_a_column_named_by_hand_is_believed():
    columns = {"ka": ["2e5"], "kd": ["2e-4"]}
    assert read(columns).rows[0].notes == ("Kd = kd / ka, read as rates in 1/s and 1/(M s)",)
    assert shown(read(columns, columns={"kd_M": "kd"})) == ["3.699"]


def test_other_types_can_be_taken_as_assays_of_their_own(run_paratope, tmp_path, data_root):
    path = data_root / "real_files" / "10-type-of-value-in-its-own-column.csv"
    command = ("data", "import", "plain", "--from", path, "-o", tmp_path / "o.csv")
    refused = run_paratope(*command, "--take", "ic50")
    assert refused.code == 3
    assert "'EC50' is not a Kd" in refused.err
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
        read(columns)
    name = next(iter(columns))
    assert len(read(columns, columns={"score": name}).measurements) == len(columns[name])


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
    assert [row.score for row in read(columns).measurements] == list(map(float, columns["fitness"]))


@pytest.mark.parametrize("to_frame", [pl.DataFrame, pl.DataFrame.to_pandas])
@pytest.mark.parametrize(
    ("columns", "pkds"),
    [
        ({"KD": ["3", "4"], "my units": ["nM", "pM"]}, "8.523 11.398"),
        ({"KD (nM)": ["3", "4"], "sign": [">", "="]}, "<8.523 8.398"),
        ({"KD (nM)": ["3", "4"], "KD_nM": ["3", "40"]}, "8.523 error"),
        ({"KD (nM)": ["3", "4"], "kind": ["IC50", "Kd"]}, "error 8.398"),
        ({"ka": ["2e5"], "kd": ["2e-4"]}, "9.000"),
    ],
)
def test_frames_are_read_with_what_stands_beside_their_values(to_frame, columns, pkds):
    frame = pl.DataFrame(columns).with_columns(
        heavy=pl.lit(VH), light=pl.lit(VK), antigen=pl.lit(LYSOZYME)
    )
    frame = frame if to_frame is pl.DataFrame else to_frame(frame)
    assert " ".join(shown(table_from_frame(frame, require="measured"))) == pkds


@pytest.mark.parametrize(
    ("pkd", "ddg", "says"),
    [
        ("9", "1.364", "the sign is turned; a positive ddg_kcal_mol is weaker"),
        ("9", "-1.364", None),
        ("", "-25", "make a pKd of 26.3, which no assay measures"),
        ("", "-1.364", None),
    ],
)
def test_a_difference_that_its_pkd_and_its_parent_contradict(pkd, ddg, says):
    rows = {"id": ["wt", "v"], "parent": ["", "wt"], "mutations": ["", "H:E1A"]}
    row = read({**rows, "pkd": ["8", pkd], "ddg_kcal_mol": ["", ddg]}).rows[1]
    assert (says in row.error) if says else (row.measurement.pkd == pytest.approx(9, abs=1e-3))


def test_a_score_beside_its_kd_is_left_out_and_one_that_may_be_a_logarithm_is_doubted():
    table = read({"fitness": KDS, "Kd (M)": KDS})
    assert shown(table) == ["10.824", "9.252", "8.770"]
    assert {row.score for row in table.measurements} == {None}
    assert "column 'fitness' is not read as a score: all 3 values" in table.notes[0]
    table = read({"fitness": ["-8.7", "-9.2"]})
    assert [row.score for row in table.measurements] == [-8.7, -9.2]
    assert "if it is a ΔG or a logarithm of Kd" in table.notes[0]
    assert not read({"fitness": ["-8.7", "-1.2"]}).notes


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
