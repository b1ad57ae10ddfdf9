import json
import re

import numpy as np
import polars as pl
import pytest

from paratope.core.errors import InputError
from paratope.core.units import pkd_to_dg_kcal_mol
from paratope.data.audit import FAULTS, Finding, audit
from paratope.data.datasets.simulated import simulate
from paratope.data.findings import ordered, point_masses
from paratope.data.tables import frame_from_measurements, table_from_frame


def clean_table(seed, **options):
    """A table without faults whose size, noise, censoring and rounding follow the seed."""
    rng = np.random.default_rng([seed, 1])
    drawn = {
        "antibodies": int(rng.integers(60, 260)),
        "antigens": int(rng.integers(1, 6)),
        "assays": int(rng.integers(1, 3)),
        "replicates": int(rng.choice([1, 1, 2, 3])),
        "measured": float(rng.uniform(0.5, 1.0)),
        "backgrounds": int(rng.integers(1, 5)),
        "noise_sd": float(rng.uniform(0.05, 0.5)),
        "floor_pkd": float(rng.choice([5.0, 6.0, 6.5, 7.0])) if rng.random() < 0.6 else None,
        "ceiling_pkd": 9.5 if rng.random() < 0.2 else None,
        "decimals": int(rng.choice([2, 3])),
        "light_chains": bool(rng.random() < 0.7),
        "seed": seed,
    }
    return frame_from_measurements(simulate(**(drawn | options)).measurements)


def plain_table(seed, **options):
    """A clean table without bounds, its pkd numeric."""
    options = {"floor_pkd": None, "ceiling_pkd": None, **options}
    return clean_table(seed, **options).with_columns(pl.col("pkd").cast(pl.Float64))


def alarms(report):
    return [finding.code for finding in report.findings if finding.severity != "info"]


def found(report, *codes, rows=None, share=0.9):
    """The finding with one of the codes; it must name most of the rows (from 0) and few others."""
    report = audit(report) if isinstance(report, pl.DataFrame) else report
    hits = report.of(*codes)
    assert hits, f"expected one of {codes}, found {[f.code for f in report.findings]}"
    if rows is None:
        return hits[0]
    right = {int(row) + 1 for row in rows}
    best = max(hits, key=lambda f: len(set(f.rows) & right))
    named = set(best.rows)
    assert len(named & right) >= share * len(right), (best.message, len(named & right))
    assert len(named - right) <= max(2, 0.2 * len(right)), (best.message, len(named - right))
    return best


def with_values(frame, values, name="pkd"):
    """The table with a column of other values in place of its pKd."""
    return frame.drop("pkd").with_columns(pl.Series(name, values))


FORMS = {
    "pkd": lambda pkd: pkd,
    "kd_nM": lambda pkd: 10.0 ** (9.0 - pkd),
    "kd_M": lambda pkd: 10.0**-pkd,
    "score": lambda pkd: np.exp(0.4 * pkd),
    "dg": pkd_to_dg_kcal_mol,
    "minus dg": lambda pkd: -pkd_to_dg_kcal_mol(pkd),
    "minus": lambda pkd: -pkd,
    "log_nM": lambda pkd: 9.0 - pkd,
}


@pytest.mark.parametrize(
    ("seeds", "most"),
    [(range(12), 1), (range(12, 24), 1)]
    + [pytest.param(range(1000, 1200), 10, marks=pytest.mark.slow)],  # five percent
)
def test_clean_tables_raise_no_alarm(seeds, most):
    raised = {seed: codes for seed in seeds if (codes := alarms(audit(clean_table(seed))))}
    assert len(raised) <= most, raised


@pytest.fixture(params=range(4))
def seed(request):
    return request.param


@pytest.fixture
def rng(seed):
    return np.random.default_rng([seed, 2])


@pytest.mark.parametrize(
    ("kind", "name"),
    [("pkd", "pkd"), ("kd_nM", "Kd (nM)"), ("kd_M", "kd_M"), ("score", "fitness"), ("dg", "dG")],
)
def test_a_planted_floor_is_found(seed, rng, kind, name):
    frame = plain_table(seed, antigens=2)
    pkd = frame["pkd"].to_numpy()
    limit = round(float(np.quantile(pkd, rng.uniform(0.06, 0.35))), int(rng.integers(0, 2)))
    limit = max(limit, round(float(np.quantile(pkd, 0.06)) + 0.05, 1))
    pkd = np.maximum(pkd, limit)
    table = with_values(frame, FORMS[kind](pkd), name)
    finding = found(table, "floor", rows=np.flatnonzero(pkd == limit), share=1.0)
    assert finding.column == name
    assert finding.advice.startswith("Write >" if kind in ("kd_nM", "kd_M", "dg") else "Write <")


@pytest.mark.parametrize("name", ["pkd", "enrichment", "ddG"])
def test_a_planted_flag_is_found(seed, rng, name):
    frame = plain_table(seed, antigens=2)
    pkd = frame["pkd"].to_numpy()
    values = {"pkd": pkd, "enrichment": pkd - 8.0, "ddG": 7.5 - pkd}[name].round(2)
    flag = float(rng.choice([-1.0, 0.0, 99.0, 999.0, 8.0 if name == "ddG" else 14.0]))
    if name != "pkd":
        flag = float(rng.choice([-9.0, 99.0, 999.0]))
    rows = rng.choice(len(values), max(5, int(rng.uniform(0.02, 0.15) * len(values))), False)
    values[rows] = flag
    codes = ("flag", "floor", "ceiling", "impossible_value")
    assert found(with_values(frame, values, name), *codes, rows=rows).column == name


def test_a_planted_mass_within_the_values_is_found(seed, rng):
    frame = plain_table(seed, antigens=2, assays=1)
    values = frame["pkd"].to_numpy().copy()
    value = round(float(np.quantile(values, rng.uniform(0.3, 0.7))), 1)
    rows = rng.choice(len(values), int(rng.uniform(0.08, 0.2) * len(values)) + 10, False)
    values[rows] = value
    found(with_values(frame, values), "point_mass", rows=rows)


@pytest.mark.parametrize(
    "change",
    [FORMS["log_nM"], lambda pkd: pkd - 9.0, lambda pkd: pkd + 9.0, FORMS["minus"]],
    ids=["log10(Kd/nM)", "Kd in nM as M", "factor 1e9", "negative"],
)
def test_a_planted_cluster_of_another_unit_is_found(seed, rng, change):
    frame = plain_table(seed, antigens=2, mean_pkd=8.0)
    values = frame["pkd"].to_numpy().copy()
    rows = rng.choice(len(values), max(8, int(rng.uniform(0.03, 0.3) * len(values))), False)
    values[rows] = change(values[rows])
    report = audit(with_values(frame, values))
    # a few rows of a small table are no cluster, but what no assay measures is said all the same
    share = 0.9 if report.of("outlying_cluster", "unit_rows") else 0.3
    codes = ("outlying_cluster", "unit_rows", "impossible_value")
    assert found(report, *codes, rows=rows, share=share).severity == "error"


def test_rows_a_thousandfold_off_are_found_where_other_rows_tell(seed, rng):
    frame = plain_table(seed, antigens=5, assays=1, measured=1.0, noise_sd=0.2, replicates=1)
    values = frame["pkd"].to_numpy().copy()
    rows = rng.choice(len(values), int(rng.uniform(0.02, 0.1) * len(values)) + 5, False)
    values[rows] += 3.0 * rng.choice([-1, 1])
    found(with_values(frame, values), "unit_rows", "outlying_cluster", rows=rows, share=0.8)


@pytest.mark.parametrize(
    ("said", "held"),
    [("kd_M", "kd_nM"), ("kd_nM", "kd_M"), ("pkd", "kd_M"), ("pkd", "kd_nM"), ("pkd", "dg"),
     ("pkd", "minus"), ("pkd", "log_nM"), ("kd_nM", "log_nM"), ("dg", "minus dg")],
)  # fmt: skip
def test_a_column_in_another_unit_than_its_name_says_is_found(seed, said, held):
    frame = plain_table(seed)
    report = audit(with_values(frame, FORMS[held](frame["pkd"].to_numpy()), said))
    if (said, held) == ("kd_nM", "log_nM"):  # where all are positive, only the shape tells
        finding = found(report, "log_as_kd", "unusual_range", "impossible_value")
    else:
        finding = found(report, "unit_column", "dg_sign")
        assert finding.severity == "error"
    assert finding.column == said


def test_an_assay_in_another_unit_or_with_its_sign_turned_is_found_by_shared_pairs(seed, rng):
    frame = plain_table(seed, assays=2, measured=1.0, assay_offset_sd=0.15)
    step = float(rng.choice([-3.0, 3.0]))
    second = pl.when(pl.col("assay") == "assay-2")
    shifted = second.then(pl.col("pkd") + step).otherwise("pkd").alias("pkd")
    finding = found(frame.with_columns(shifted), "unit_shift")
    assert finding.severity == "error"
    assert f"10^{abs(step):g}" in finding.message
    frame = plain_table(seed, assays=2, measured=1.0).rename({"pkd": "score"})
    turned = second.then(15.0 - pl.col("score")).otherwise("score").alias("score")
    assert found(frame.with_columns(turned), "sign")


def test_replicates_without_a_logarithm_are_left_out_of_their_spread():
    rows = simulate(antibodies=20, antigens=1, seed=1).measurements[:20]
    kd_nM = [-0.5, 0.7] + [value for k in range(1, 20) for value in (1.0 + k, 1.2 + k)]
    heavy = [row.pair.antibody.heavy for row in rows for _ in range(2)]
    finding = found(pl.DataFrame({"heavy": heavy, "kd_nM": kd_nM}), "replicates", "conflict")
    assert "nan" not in finding.message


def test_columns_that_disagree_in_some_rows_are_found(seed, rng):
    frame = plain_table(seed)
    kd_nM = 10.0 ** (9.0 - frame["pkd"].to_numpy())
    rows = rng.choice(len(kd_nM), 3 + int(0.03 * len(kd_nM)), False)
    kd_nM[rows] *= 1e3
    table = frame.with_columns(pl.Series("kd_nM", kd_nM))
    assert "10^3" in found(table, "columns_disagree", rows=rows, share=1.0).message


def test_a_turned_ddg_is_found(seed, rng):
    ddg = rng.gamma(1.5, 0.9, 200) - 0.4
    frame = pl.DataFrame({"mutation": [f"A{k}G" for k in range(200)], "ddG": ddg.round(2)})
    assert not audit(frame).of("ddg_sign")
    assert found(frame.with_columns(-pl.col("ddG")), "ddg_sign")
    pkd = 9.0 - ddg / 1.364 + rng.normal(0, 0.2, 200)
    both = frame.with_columns(pl.Series("pkd", pkd.round(2)))
    assert not audit(both).of("ddg_sign")
    turned = audit(both.with_columns(-pl.col("ddG"))).of("ddg_sign")
    assert any(finding.severity == "error" for finding in turned)


def test_conflicting_duplicates_are_found_with_their_sd(seed, rng):
    frame = plain_table(seed, replicates=1, assays=1)
    rows = rng.choice(frame.height, int(rng.uniform(0.03, 0.2) * frame.height) + 3, False)
    size = rng.uniform(1.5, 3.0)
    finding = found(again(frame, rows, (pl.col("pkd") + size).round(2)), "conflict")
    assert finding.count == 2 * len(rows)
    assert f"SD of {size / np.sqrt(2):.2f}"[:8] in finding.message


def again(frame, rows, *changes):
    """The table with a copy of some rows, changed, at its end."""
    copies = frame[np.asarray(rows).tolist()].with_columns(pl.col("id") + "-again", *changes)
    return pl.concat([frame, copies])


@pytest.mark.parametrize("replicates", [1, 2])
def test_repeated_rows_are_found(seed, rng, replicates):
    frame = plain_table(seed, replicates=replicates, noise_sd=0.3, decimals=3)
    rows = np.sort(rng.choice(frame.height, max(6, int(0.05 * frame.height)), False))
    table = again(frame, rows)
    found(table, "duplicate_row", rows=range(frame.height, table.height))


def test_cut_copies_of_an_antibody_are_found(seed, rng):
    frame = plain_table(seed, antigens=1, replicates=1, assays=1)
    rows = np.sort(rng.choice(frame.height, 5, False))
    table = again(frame, rows, pl.col("heavy").str.slice(1), pl.col("pkd") + 0.11)
    found(table, "fragment_duplicate", rows=range(frame.height, table.height))


@pytest.mark.parametrize(
    ("code", "column", "value"),
    [
        ("antigen_two_names", "antigen_name", "PD-L9"),
        ("antigen_spelling", "antigen_name", "Antigen 2"),
        ("name_two_antigens", "antigen", None),  # that of antigen-3
    ],
)
def test_antigen_names_that_do_not_match_are_found(seed, rng, code, column, value):
    frame = plain_table(seed, antigens=4)
    rows = np.flatnonzero(frame["antigen_name"].to_numpy() == "antigen-2")
    rows = np.sort(rng.choice(rows, max(2, len(rows) // 5), False))
    other = frame.filter(pl.col("antigen_name") == "antigen-3")["antigen"][0]
    cells = frame[column].scatter(rows, value or other)
    found(frame.with_columns(cells), code, rows=rows if value else None)


CHAIN_FAULTS = {
    "non_antibody": lambda heavy, light, rng: ("".join(rng.permutation(list(heavy))), light),
    "swapped_chains": lambda heavy, light, rng: (light, heavy),
    "repeated_chain": lambda heavy, light, rng: (heavy, heavy),
    "unreadable_sequence": lambda heavy, light, rng: (heavy[:50] + "1" + heavy[50:], light),
}


@pytest.mark.parametrize("fault", CHAIN_FAULTS)
def test_chains_that_are_not_what_their_column_says_are_found(seed, rng, fault):
    frame = plain_table(seed, light_chains=True)
    heavy, light = frame["heavy"].to_list(), frame["light"].to_list()
    rows = np.sort(rng.choice(frame.height, int(rng.uniform(0.01, 0.2) * frame.height) + 1, False))
    for row in rows:
        heavy[row], light[row] = CHAIN_FAULTS[fault](heavy[row], light[row], rng)
    table = frame.with_columns(pl.Series("heavy", heavy), pl.Series("light", light))
    found(table, fault, rows=rows, share=1.0)


@pytest.mark.parametrize("what", ["antigen", "antibody"])
def test_dominance_is_found(seed, rng, what):
    frame = plain_table(seed, antigens=5, measured=1.0, replicates=1)
    if what == "antigen":
        keep = (frame["antigen_name"].to_numpy() == "antigen-1") | (rng.random(frame.height) < 0.12)
        table = frame.filter(pl.Series(keep))
    else:
        one = frame.filter(pl.col("heavy") == frame["heavy"][0])
        noise = rng.normal(0, 0.3, one.height * 60).round(3)
        table = pl.concat([frame, pl.concat([one] * 60).with_columns(pl.col("pkd") + noise)])
        table = table.with_columns(pl.Series("id", [str(k) for k in range(table.height)]))
    found(table, f"dominant_{what}")


def test_a_length_shortcut_is_found(seed, rng):
    frame = plain_table(seed, antibodies=200)
    slope = rng.uniform(0.3, 0.6) * rng.choice([-1, 1])
    length = pl.col("heavy").str.len_chars().cast(pl.Float64)
    table = frame.with_columns((pl.col("pkd") + slope * (length - 120)).round(3))
    assert found(table, "length_shortcut").column == "pkd"


def test_a_copy_of_the_label_in_another_column_is_found(seed):
    frame = plain_table(seed)
    note = [f"binder at {value:.2f} in round 2" for value in frame["pkd"]]
    for copy in ((2.5 * frame["pkd"] - 3.0).alias("feature_7"), pl.Series("note", note)):
        assert found(frame.with_columns(copy), "label_copy").column == copy.name


def test_missing_unreadable_and_impossible_cells_and_repeated_ids_are_found(seed, rng):
    frame = plain_table(seed, antigens=1, assays=1, replicates=1)
    a, b, c, d = (rng.choice(np.arange(k, frame.height, 4), 4, False) for k in range(4))
    values = pl.Series("pkd", [repr(value) for value in frame["pkd"].to_list()])
    values = values.scatter(a, "").scatter(b, "see lab book")
    values = values.scatter(c, ("-3.1", "41.7", "0.003", "120.4"))
    ids = frame["id"].to_list()
    for row in d:
        ids[row] = ids[(row + 1) % frame.height]
    report = audit(frame.with_columns(values, pl.Series("id", ids)))
    found(report, "missing", rows=a, share=1.0)
    found(report, "unreadable_value", rows=b, share=1.0)
    found(report, "impossible_value", rows=c, share=1.0)
    assert found(report, "duplicate_id").count >= 3


def weak_campaign(form):
    """40 Kd in nM of one antibody's variants, and in which rows "weak" or "no fit" stands."""
    frame = plain_table(1, antibodies=40, antigens=1, assays=1, replicates=1, measured=1.0)
    texts = [f"{10.0 ** (9.0 - pkd):.4g}" for pkd in frame["pkd"]]
    if form == "decimal commas":
        texts = [text.replace(".", ",") for text in texts]
    if form == "non-binders":
        texts = ["n.b." if row % 3 == 1 else text for row, text in enumerate(texts)]
    rows = list(range(0, 28 if form != "most" else 40, 2 if form != "most" else 1))[:30]
    for row in rows:
        texts[row] = "no fit" if row == 8 else "weak"
    return with_values(frame, texts, "Kd (nM)"), rows


@pytest.mark.parametrize("form", ["plain", "non-binders", "decimal commas", "most"])
def test_values_that_no_command_reads_are_counted_and_listed_by_their_text(form):
    frame, rows = weak_campaign(form)
    finding = found(frame, "unreadable_value", rows=rows, share=1.0)
    assert (finding.severity, finding.column) == ("error", "Kd (nM)")
    assert finding.rows == tuple(row + 1 for row in rows)
    assert f"{len(rows)} of 40 rows" in finding.message
    first = ", ".join(str(row + 1) for row in rows if row != 8)
    weak, other = finding.examples
    assert other == "'no fit': row 9"
    assert weak.startswith("'weak': rows " + first[:7])
    assert weak.endswith(f"and {len(rows) - 1 - 8} more")
    assert ">1 uM" in finding.advice
    assert {row.index + 1 for row in table_from_frame(frame, require="measured").failed} == {
        *finding.rows
    }


def test_words_for_no_binding_and_decimal_commas_are_values_to_the_audit():
    frame = plain_table(2, antibodies=60, antigens=1, assays=1, replicates=1, measured=1.0)
    pkd = [f"{value:.2f}".replace(".", ",") for value in frame["pkd"].clip(7.0)]
    for row in range(0, len(pkd), 10):
        pkd[row] = ("n.b.", "no binding", "7,9 ± 0,2")[row % 3]
    report = audit(with_values(frame, pkd, "pkd"))
    assert not report.of("unreadable_value", "missing")
    assert report.of("floor")


def alphaseq(seed, form):
    """An AlphaSeq-like table (log10 of Kd in nM, some below zero) and one made from it."""
    rng = np.random.default_rng([seed, 18])
    rows = simulate(antibodies=300, antigens=1, seed=seed).measurements
    heavy = [row.pair.antibody.heavy for row in rows]
    log_nM = rng.normal(2.3, 1.0, 300)
    log_nM[:12] = -np.abs(log_nM[:12])
    kept = log_nM > 0 if form == "log of log" else np.ones(300, bool)
    made = {"log of log": 9.0 - np.log10(np.abs(log_nM)), "pkd": 9.0 - log_nM}
    made |= {"minus": -log_nM, "same": log_nM}
    table = pl.DataFrame({"vh": np.array(heavy)[kept], "binding_score": made[form][kept]})
    return table, pl.DataFrame({"Sequence": heavy, "value": log_nM})


def test_a_log_of_a_log_is_found_from_both_tables_and_suspected_from_one(seed):
    table, source = alphaseq(seed, "log of log")
    finding = found(audit(table, source), "double_log")
    assert (finding.severity, finding.column) == ("error", "binding_score")
    assert finding.table == "table 1"
    assert not audit(table).of("double_log")
    assert found(audit(source, table), "double_log").table == "table 2"


def test_relations_of_two_tables_that_are_no_log_of_a_log():
    assert not audit(*alphaseq(3, "pkd")).of("double_log", "sign")
    assert not audit(*alphaseq(3, "same")).of("double_log", "sign")
    assert audit(*alphaseq(4, "minus")).of("sign")
    frame = plain_table(5, antigens=2)
    assert found(audit(frame, frame.head(60)), "shared_rows").severity == "info"


def test_the_release_file(reference_root):
    report = audit(reference_root / "v2.6_release" / "test_predictions.csv")
    floor = found(report, "floor")
    assert (floor.column, floor.count, floor.severity) == ("true", 8775, "error")
    assert "exactly 6," in floor.message
    seven = found(report, "point_mass")
    assert (seven.column, seven.count) == ("true", 351)
    cluster = found(report, "outlying_cluster")
    assert 1000 < cluster.count < 1060
    assert cluster.severity == "error"
    assert "log10(Kd/nM)" in cluster.message
    assert "9 different values" in found(report, "few_values").message


@pytest.mark.parametrize(
    ("path", "column", "rows", "value"),
    [
        ("attabseq/AB645.csv", "ddG", 27, 8),
        ("attabseq/AB1101.csv", "ddG", 50, 8),
        ("ab_bind/AB-Bind_experimental_data.csv", "ddG(kcal/mol)", None, 8),
        ("abbibench/3gbn_h1_benchmarking_data.csv", "binding_score", 214, 7),
    ],
)
def test_floors_and_flags_of_published_tables(data_root, path, column, rows, value):
    finding = found(audit(data_root / path), "flag", "floor")
    assert finding.column == column
    assert rows in (None, finding.count)
    assert f"exactly {value}," in finding.message


def test_aayl49_alone_is_unusual_and_with_its_source_a_log_of_a_log(data_root):
    path = data_root / "abbibench" / "aayl49_benchmarking_data.csv"
    alone = audit(path)
    assert found(alone, "unusual_range").severity == "warning"
    assert not alone.of("double_log")
    table = pl.read_csv(path)
    log_nM = 10.0 ** (9.0 - table["binding_score"].to_numpy())
    noise = np.random.default_rng(0).normal(0, 0.01, len(log_nM))
    source = {"HC": table["mut_heavy_chain_seq"], "Pred_affinity": (log_nM + noise).round(4)}
    finding = found(audit(path, pl.DataFrame(source)), "double_log")
    assert (finding.severity, finding.table) == ("error", str(path))
    assert finding.confidence > 0.9


def test_landscapes_without_such_faults_are_not_called_unusual(data_root):
    for name in ("1n8z", "2fjg", "3gbn_h1"):
        report = audit(data_root / "abbibench" / f"{name}_benchmarking_data.csv")
        assert not report.of("unusual_range", "double_log", "unit_column", "outlying_cluster")


def test_chains_of_the_merged_table_and_repeated_rows_of_absci(data_root):
    report = audit(data_root / "general" / "general_pkd_research.csv")
    for code in ("non_antibody", "swapped_chains", "repeated_chain"):
        assert report.of(code), code
    report = audit(data_root / "absci_her2" / "absci_her2_with_sequences.csv")
    assert found(report, "duplicate_row").count == 422


@pytest.mark.parametrize("decimals", [1, 2, 3, 16])
@pytest.mark.parametrize("size", [40, 300, 4000])
def test_rounding_alone_is_no_point_mass(decimals, size):
    for seed in range(10):
        values = np.random.default_rng([seed, size]).normal(7.5, 1.1, size).round(decimals)
        assert point_masses(values) == [], seed


def test_round_numbers_and_kd_of_two_digits_are_no_point_masses():
    for seed in range(10):
        pkd = np.random.default_rng(seed).normal(8.0, 1.0, 500)
        kd_nM = np.array([float(f"{10 ** (9 - value):.1e}") for value in pkd])
        assert point_masses(9.0 - np.log10(kd_nM)) == []
    rng = np.random.default_rng(1)
    values = rng.normal(7.5, 1.5, 600).round(2)
    liked = rng.random(600) < 0.25
    values[liked] = values[liked].round(0)
    assert {mass.position for mass in point_masses(values)} <= {"within"}


def test_report_says_every_finding_in_json_html_and_on_the_terminal(capsys):
    frame = plain_table(1, antigens=2)
    frame = frame.with_columns(pl.col("pkd").clip(lower_bound=7.0), pl.lit("<b>&").alias("<b>note"))
    report = audit(frame)
    record = json.loads(report.to_json())
    assert record["summary"] == report.summary
    assert [f["code"] for f in record["findings"]] == [f.code for f in report.findings]
    assert record["findings"][0]["rows"] == list(report.findings[0].rows)
    page = report.to_html()
    assert "<b>note" not in page
    assert "&lt;b&gt;note" in page
    assert "http" not in page
    assert "<script" not in page
    report.print()
    printed = " ".join(capsys.readouterr().out.split())
    assert report.summary in printed
    for finding in report.findings:
        assert finding.code in page
        assert finding.code in printed
        assert finding.advice.endswith(".")
        assert finding.count >= len(finding.rows)


def test_findings_are_ordered_by_gravity():
    def finding(severity, confidence):
        return Finding("code", severity, "message", confidence=confidence)

    gravest = [("error", 0.9), ("error", 0.5), ("warning", 0.9), ("info", 1.0)]
    jumbled = [finding(*gravest[index]) for index in (3, 1, 2, 0)]
    assert [(f.severity, f.confidence) for f in ordered(jumbled)] == gravest


def test_every_fault_is_in_the_documentation(repository):
    page = (repository / "docs" / "audit.md").read_text("utf-8")
    table = page.partition("| code |")[2].partition("\n\n")[0]
    documented = [re.findall("`(.*?)`", line.split("|")[1]) for line in table.splitlines()]
    assert {code for codes in documented for code in codes} == set(FAULTS)


def test_pandas_frames_polars_frames_and_files_give_the_same(tmp_path):
    frame = plain_table(4).with_columns(pl.col("pkd").clip(lower_bound=7.0))
    path = tmp_path / "table.csv"
    frame.write_csv(path)
    expected = [(f.code, f.count) for f in audit(frame).findings]
    for table in (frame.to_pandas(), path, str(path)):
        assert [(f.code, f.count) for f in audit(table).findings] == expected


def test_tables_that_cannot_be_audited(tmp_path):
    for tables, message in (
        ((), "no table given"),
        ((pl.DataFrame({"heavy": [], "pkd": []}),), "no rows"),
        ((tmp_path / "absent.csv",), "absent"),
    ):
        with pytest.raises(InputError, match=message):
            audit(*tables)


@pytest.mark.parametrize(
    "frame",
    [
        pl.DataFrame({"a": ["x"]}),
        pl.DataFrame({"a": [None, None]}, schema={"a": pl.String}),
        pl.DataFrame({"pkd": [7.0]}),
        pl.DataFrame({"pkd": ["n.b.", "<5", ">9", "", "inf"]}),
        pl.DataFrame({"heavy": ["EVQL", None], "pkd": [7.0, 8.0]}),
        pl.DataFrame({"true": [7.0] * 60, "pred": [8.0] * 60}),
        pl.DataFrame({"antigen": ["HER2"] * 30, "score": list(range(30))}),
    ],
)
def test_poor_tables_do_not_break_any_check(frame):
    assert audit(frame).tables[0].rows == frame.height
