import json
import re
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy import stats

from paratope import evaluation
from paratope.core.errors import InputError
from paratope.data.audit import audit
from paratope.evaluation import compare, diagnose, evaluate, read_predictions
from paratope.evaluation.baselines import BASELINES
from paratope.evaluation.bootstrap import Bootstrap, Interval, effective_freedom, metric_intervals
from paratope.evaluation.breakdowns import BIN_NAMES, bin_of, break_down, within_antigen_spearman
from paratope.evaluation.comparison import swap_test
from paratope.evaluation.metrics import METRICS, EvaluationRows, RowWeights
from paratope.evaluation.references import noise_ceiling
from trained_models import simulated_table


def hierarchy(seed: int, groups: int = 40) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Measured, predicted and group, with unequal groups that share level, error and noise."""
    rng = np.random.default_rng(seed)
    sizes = np.minimum(3 + rng.geometric(0.12, groups), 60)
    group = np.repeat(np.arange(groups), sizes)
    measured = rng.normal(8, 1, groups)[group] + rng.normal(0, 0.8, len(group))
    noise = np.exp(rng.normal(-0.4, 0.4, groups))[group] * rng.normal(0, 1, len(group))
    predicted = 8 + 0.6 * (measured - 8) + rng.normal(0.3, 0.6, groups)[group] + noise
    return measured, predicted, group


def frame_of(seed: int = 0) -> pl.DataFrame:
    measured, predicted, group = hierarchy(seed)
    return _two(measured, predicted, group=[f"c{g}" for g in group])


def test_release_numbers_are_reproduced_and_explained(reference_root, run_paratope, tmp_path):
    folder = reference_root / "v2.6_release"
    table = folder / "test_predictions.csv"
    done = run_paratope("evaluate", table, "-o", tmp_path / "report", code=0)
    got = json.loads((tmp_path / "report" / "metrics.json").read_text())["metrics"]
    published = json.loads((folder / "metrics.json").read_text())["test"]
    for name, value in published.items():
        ours = f"{name}_percent" if name in ("recall", "precision") else name
        assert got[ours]["value"] == pytest.approx(value, abs=1e-6), name
    page = (tmp_path / "report" / "report.html").read_text()
    for text in (" ".join(done.out.split()), page):
        for words in (
            "9 distinct values", "81.8 %", "mean predictor is better", "r 0.199", "36.6 %",
            "at a floor", "Bias +1.36", "Spearman 0.260", "correlation 0.485", "AUROC 0.569",
        ):  # fmt: skip
            assert words in text, words


def _two(measured: Any, predicted: Any, **more: Any) -> pl.DataFrame:
    return pl.DataFrame({"true": measured, "pred": predicted, **more})


def test_an_honest_table_raises_no_warning():
    alarms = 0
    for seed in range(40):
        measured, _, _ = hierarchy(seed)
        predicted = measured + np.random.default_rng(seed).normal(0, 0.7, len(measured))
        findings = diagnose(read_predictions(_two(measured, predicted)))
        alarms += any(f.severity != "info" for f in findings)
    assert alarms <= 2


@pytest.mark.parametrize("seed", range(3))
def test_the_audit_and_the_diagnostics_find_the_same_rows(seed):
    rng = np.random.default_rng(seed)
    measured = np.maximum(rng.normal(8, 1, 600), 7.0)
    measured[:40] = rng.normal(0.5, 0.5, 40)
    table = _two(measured, measured + rng.normal(0, 0.7, 600))
    diagnosed = {finding.code: finding for finding in diagnose(read_predictions(table))}
    audited = {finding.code: finding for finding in audit(table).findings}
    assert diagnosed["outlying_cluster"].numbers["share"] == pytest.approx(40 / 600)
    assert audited["outlying_cluster"].rows == tuple(range(1, 41))
    assert diagnosed["floor"].numbers["share"] == pytest.approx(audited["floor"].count / 600)
    assert audited["floor"].count == (measured == 7.0).sum()


def test_a_weak_and_a_strong_antigen_are_no_fault_and_rounded_values_no_floor():
    rng = np.random.default_rng(0)
    measured = np.concatenate([rng.normal(5.5, 0.3, 100), rng.normal(10, 0.3, 100)])
    table = _two(measured, measured + rng.normal(0, 0.3, 200))
    assert not diagnose(read_predictions(table))
    table = _two(np.round(rng.normal(8, 1, 2000), 1), rng.normal(8, 1, 2000))
    assert "floor" not in {f.code for f in diagnose(read_predictions(table))}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda t, p: (t, 0.02 * p), "collapse"),
        (lambda t, p: (t, p - 3), "bias"),
        (lambda t, p: (t, p - 3), "constant"),
        (lambda t, p: (np.maximum(t, 7.5), p), "floor"),
        (lambda t, p: (t, -p), "inverted"),
        (lambda t, p: (t, p + 12), "range"),
        (lambda t, p: (np.where(t > 8, t + 9, t), p), "outlying_cluster"),
        (lambda t, p: ([f"<{x:.3f}" if x < 7 else str(x) for x in t], p), "censored"),
    ],
)
def test_each_rule_finds_what_it_is_for(change, code):
    measured, predicted, _ = hierarchy(0)
    predicted = np.maximum(predicted + np.mean(measured - predicted), 4.5)
    changed, plain = _two(*change(measured, predicted)), _two(measured, predicted)
    codes = [{f.code for f in diagnose(read_predictions(one))} for one in (changed, plain)]
    assert code in codes[0] - codes[1]


def test_dominance_of_one_antigen_is_told():
    measured, predicted, _ = hierarchy(0)
    every_fifth = np.arange(len(measured)) % 5
    for letters, share in (("BAAAA", 0.8), ("BCAAA", None), ("BBAAA", None)):  # two thirds are not
        table = _two(measured, predicted, antigen=np.array(list(letters))[every_fifth])
        found = [f for f in diagnose(read_predictions(table)) if f.code == "dominance"]
        assert [f.numbers["share"] for f in found] == ([pytest.approx(0.8, abs=0.01)] * bool(share))


RESAMPLED = [name for name, metric in METRICS.items() if not metric.no_interval]


@pytest.mark.parametrize("name", RESAMPLED)
def test_weights_of_a_metric_are_repeats(name):
    measured, predicted, group = hierarchy(0, groups=12)
    predicted = np.round(predicted, 1)  # ties
    bounded = name in ("concordance", "bounds_respected_percent", "ence", "selective_gain_percent")
    code = np.where(measured < 7.2, -1, 0) if bounded else np.zeros(len(measured))
    reach = np.random.default_rng(1).uniform(0.4, 2.0, len(measured))
    rows = EvaluationRows(measured, predicted, code, low=predicted - reach, high=predicted + 1.5,
                          p_strong=stats.norm.cdf(measured - 9))  # fmt: skip
    weights = RowWeights(group, np.random.default_rng(1).integers(0, 3, (4, 12)).astype(float))
    weights.drawn[0] = 1.0
    values = METRICS[name].draws(rows, weights)
    assert values[0] == pytest.approx(METRICS[name](rows), abs=1e-12)
    for drawn, value in zip(weights.drawn, values, strict=True):
        repeated = rows.take(np.repeat(np.arange(len(rows)), drawn[group].astype(int)))
        assert value == pytest.approx(METRICS[name](repeated), abs=1e-9, nan_ok=True)


def test_metrics_over_all_pairs_of_a_large_table_are_not_resampled():
    rows = EvaluationRows(np.arange(4001.0), np.arange(4001.0))
    weights = RowWeights(np.arange(4001) // 800, np.ones((2, 6)))
    assert METRICS["kendall"].draws(rows, weights) is None
    assert "too many above 4,000" in METRICS["concordance"].why_no_draws(4001)
    assert METRICS["kendall"](rows) == pytest.approx(1)


def test_correlations_of_few_groups_have_intervals_that_say_something():
    """Draws of few distinct rows rank perfectly; they widen the interval but do not blow it up."""
    nearly = EvaluationRows(np.arange(8.0), [1.0, 0, 2, 4, 3, 5, 7, 6])
    interval = metric_intervals(nearly, range(8), ["spearman"])["spearman"]
    assert METRICS["spearman"](nearly) == pytest.approx(0.929, abs=1e-3)
    assert (interval.low, interval.high) == pytest.approx((0.40, 0.994), abs=0.01)
    rng = np.random.default_rng(0)
    measured = rng.normal(8, 1, 12)
    high = EvaluationRows(measured, measured + rng.normal(0, 0.05, 12))
    interval = metric_intervals(high, range(12), ["pearson"])["pearson"]
    assert interval.low < METRICS["pearson"](high) < interval.high
    assert 0.005 < interval.high - interval.low < 0.02  # not cut to a point
    perfect = EvaluationRows(np.arange(6.0), np.arange(6.0))
    assert metric_intervals(perfect, range(6), ["spearman", "pearson", "kendall"]) == {}


def test_groups_of_unequal_influence_count_as_few():
    assert effective_freedom(np.array([1.0, -1.0] * 10)) == 19  # all alike: groups - 1
    alone = np.r_[1.0, np.zeros(19)]
    squares = (alone - 0.05) ** 2
    expected = 2 * squares.sum() ** 2 / ((squares**2).sum() - squares.sum() ** 2 / 20)
    assert effective_freedom(alone) == pytest.approx(expected)
    assert 2 <= expected < 3


@pytest.mark.parametrize(
    ("rows", "draws", "groups"), [(6, 1000, 6), (5000, 1000, 1000), (5001, 500, 1000)]
)
def test_large_tables_take_fewer_draws_of_fewer_blocks(rows, draws, groups):
    bootstrap = Bootstrap(range(rows))
    assert bootstrap.groups == groups
    assert bootstrap.weights.drawn.shape == (1 + draws + min(groups, 200), groups)
    assert (bootstrap.weights.drawn[: 1 + draws].sum(axis=1) == groups).all()


def test_an_interval_is_students_t_times_the_bootstrap_error():
    values = np.random.default_rng(0).normal(8, 1, 30)
    bootstrap = Bootstrap(range(30), draws=4000)
    interval = bootstrap.interval(bootstrap.weights.mean(values))
    freedom = effective_freedom((values.sum() - values) / 29)
    reach = stats.t.ppf(0.975, freedom) * values.std(ddof=1) / np.sqrt(30)
    assert (interval.low + interval.high) / 2 == pytest.approx(values.mean())
    assert (interval.high - interval.low) / 2 == pytest.approx(reach, rel=0.03)


def test_macro_interval_over_assays_is_that_of_drawing_groups_and_averaging():
    measured, predicted, group = hierarchy(3)
    assay = np.where(np.random.default_rng(0).random(len(measured)) < 0.3, "spr", "bli")
    frame = _two(measured, predicted, assay=assay, group=group.astype(str))
    found = break_down(read_predictions(frame), "assay").macro["bias"]
    error = predicted - measured
    rng = np.random.default_rng(9)
    drawn = []
    for _ in range(600):
        rows = np.concatenate([np.flatnonzero(group == g) for g in rng.choice(40, 40)])
        drawn.append(np.mean([error[rows][assay[rows] == a].mean() for a in ("spr", "bli")]))
    assert found.value == pytest.approx(np.mean([error[assay == a].mean() for a in ("spr", "bli")]))
    half = (found.interval.high - found.interval.low) / 2
    assert half == pytest.approx(2.03 * np.std(drawn), rel=0.15)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_intervals_cover_the_truth_as_often_as_they_say():
    names = ("spearman", "pearson", "rmse", "mae", "bias", "r2", "auroc", "kendall",
             "recall_top_10_percent")  # fmt: skip
    measured, predicted, _ = hierarchy(10_000, groups=60_000)
    truth = {name: METRICS[name](measured, predicted) for name in names}
    covered = dict.fromkeys(names, 0)
    simulations = 200
    for seed in range(simulations):
        measured, predicted, group = hierarchy(seed, groups=40)
        found = metric_intervals(EvaluationRows(measured, predicted), group, names, seed=seed)
        for name in names:
            covered[name] += found[name].low <= truth[name] <= found[name].high
    low, high = stats.binom.ppf([0.005, 0.995], simulations, 0.95)
    assert all(low <= count <= high for count in covered.values()), covered


@pytest.mark.parametrize(
    "columns",
    [
        {"true": [7.0], "pred": [8.0]},
        {"y_true": [7.0], "y_pred": [8.0], "error": [1.0]},
        {"pkd_measured": [7.0], "pkd": [8.0], "kd_nM": [10.0]},
        {"kd": ["100 nM"], "pkd": [8.0], "kd_nM": [10.0]},
        {"kd_nM_measured": [100.0], "pkd": [8.0], "kd_nM": [10.0]},
        {"pkd": [7.0], "prediction": [8.0]},
        {"KD_nM": ["100"], "predicted": [8.0]},
    ],
)
def test_columns_are_found(columns):
    table = read_predictions(pl.DataFrame(columns))
    assert table.rows.measured.tolist() == pytest.approx([7.0])
    assert table.rows.predicted.tolist() == [8.0]


@pytest.mark.parametrize(
    ("columns", "measured", "censoring"),
    [
        ({"true": ["<5", ">= 9", "7"]}, [5, 9, 7], [-1, 1, 0]),
        ({"kd": [">10 uM", "<1 nM"]}, [5, 9], [-1, 1]),
        ({"true": [5, 9], "relation": ["<", ""]}, [5, 9], [-1, 0]),
        ({"kd_nM": [1e4, 1], "relation": [">", "="]}, [5, 9], [-1, 0]),
    ],
)
def test_bounds_are_read_from_text_and_from_a_column(columns, measured, censoring):
    rows = read_predictions(pl.DataFrame({**columns, "pred": measured})).rows
    assert rows.measured.tolist() == pytest.approx(measured)
    assert rows.censoring.tolist() == censoring


def test_rows_that_cannot_be_judged_are_counted_with_their_reason(tmp_path, run_paratope):
    path = tmp_path / "t.csv"
    path.write_text("id,true,pred,error\n1,7,7.5,\n2,,6,\n3,abc,6,\n4,8,,no heavy chain\n5,8,8,\n")
    table = read_predictions(str(path))
    assert len(table) == 2
    assert table.left_out == {
        "no measured value": 1, "measured value cannot be read": 1, "prediction is an error": 1,
    }  # fmt: skip
    assert run_paratope("evaluate", path).code == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1,2\n", "Columns found: a, b"),
        ("true,b\n1,2\n", "no column of predicted values"),
        ("true,pred\n7,\n", "no row has both"),
        ("true,pred\n", "no rows"),
    ],
)
def test_unusable_tables_are_refused_with_advice(text, words, tmp_path, run_paratope):
    path = tmp_path / "t.csv"
    path.write_text(text)
    done = run_paratope("evaluate", path, "-o", tmp_path / "out", code=2)
    assert words in " ".join(done.err.split())
    assert not (tmp_path / "out").exists()


def test_named_columns_win(tmp_path):
    frame = frame_of().with_columns(other=pl.col("true") + 1)
    report = evaluate(frame, true="other", pred="pred", group="group", draws=50)
    assert report.values["bias"] == pytest.approx(evaluate(frame, draws=50).values["bias"] - 1)
    with pytest.raises(InputError, match="--pred nope"):
        read_predictions(frame, pred="nope")


def test_what_does_not_bind_is_at_most_the_weakest_value_of_its_assay():
    frame = pl.DataFrame(
        {
            "kd_nM_measured": ["10", "n.b.", ">1000", "1", "no binding", "n.d.", "n.b."],
            "assay": ["a", "a", "a", "b", "b", "b", "c"],
            "pkd": [8.0, 5.0, 5.0, 9.0, 9.5, 9.0, 9.0],
        }
    )
    table = read_predictions(frame)
    assert table.rows.measured.tolist() == pytest.approx([8, 6, 6, 9, 9])
    assert table.rows.censoring.tolist() == [0, -1, -1, 0, -1]
    assert table.left_out == {"no measured value": 1, "measured value cannot be read": 1}
    assert table.faulty == 1


def rich_frame() -> pl.DataFrame:
    measured, predicted, group = hierarchy(5)
    rng = np.random.default_rng(5)
    names = np.array(["train", "valid", "test"])
    return pl.DataFrame(
        {
            "id": [f"r{i}" for i in range(len(measured))],
            "true": [f"<{x:.3f}" if x < 6.5 else f"{x:.4f}" for x in measured],
            "pred": predicted,
            "pkd_low": predicted - 1.5,
            "pkd_high": predicted + 1.5,
            "p_strong": stats.norm.cdf(predicted - 9),
            "antigen": [f"ag{g}" for g in group],
            "assay": rng.choice(["spr", "bli"], len(measured)),
            "source": rng.choice(["lab1", "lab2"], len(measured)),
            "split": names[group % 3],
        }
    )


def test_report_has_every_part():
    report = evaluate(rich_frame(), baselines=False, draws=200)
    data = json.loads(report.to_json())
    assert report.part == "test"
    assert set(METRICS) == set(data["metrics"])
    assert set(data["by"]) == {"antigen", "assay", "source", "bin", "split"}
    parts = [level["name"] for level in data["by"]["split"]["levels"]]
    assert parts == ["train", "validation", "test"]
    for by in ("antigen", "assay", "source", "bin"):
        for name in ("spearman", "rmse"):
            macro = data["by"][by]["macro"][name]
            assert macro["low"] < macro["value"] < macro["high"], (by, name)
    levels = data["by"]["antigen"]["levels"]
    big = [lv["metrics"]["spearman"] for lv in levels if lv["exact"] >= 5]
    macro = data["by"]["antigen"]["macro"]["spearman"]["value"]
    assert macro == pytest.approx(np.mean([v for v in big if v is not None]))
    names = {r["name"] for r in data["baselines"]}
    assert {"constant", "constant (hindsight)", "antigen mean", "assay mean"} <= names
    chosen = {"cut", "recall_percent", "precision_percent", "f1_percent"}
    assert chosen == set(data["chosen_threshold"])
    assert data["rows"]["at_most"] > 0
    assert set(data["curves"]) == {"calibration", "selective_risk"}
    for estimate in report.metrics.values():
        if estimate.interval is not None:
            low, high = estimate.interval.low, estimate.interval.high
            assert low - 1e-9 <= estimate.value <= high + 1e-9


def test_bins_take_a_bound_only_where_it_is_decided():
    rows = EvaluationRows([4, 5, 5, 6, 11, 11, 9], [7] * 7, censoring=[0, 0, -1, -1, 0, 1, 1])
    got = [BIN_NAMES[i] if i >= 0 else None for i in bin_of(rows)]
    assert got == ["< 5", "5–7", "< 5", None, "≥ 11", "≥ 11", None]


def test_page_is_self_contained_escapes_names_and_is_the_same_each_time():
    frame = rich_frame().with_columns(assay=pl.lit("<script>alert(1)</script>"))
    first, second = (evaluate(frame, baselines=False, draws=50) for _ in range(2))
    page = evaluation.render_page(first)
    assert (second.to_json(), evaluation.render_page(second)) == (first.to_json(), page)
    assert not re.search(r"""@import|url\((?!#)|\b(src|href)\s*=\s*["']?(?!["']?#)""", page)
    assert page.count("<svg") == 5
    ids = re.findall(r"""\bid=["']?([^"' >]+)""", page)
    assert ids
    assert len(ids) == len(set(ids))
    assert "<script" not in page


def test_noise_ceiling_recovers_the_replicate_sd():
    rng = np.random.default_rng(0)
    truth = np.repeat(rng.normal(8, 1, 300), 2)
    heavy = [f"H{i // 2}" for i in range(600)]
    frame = _two(truth + rng.normal(0, 0.4, 600), truth, heavy=heavy, antigen="A")
    table = read_predictions(frame)
    found = noise_ceiling(table)
    assert found.pairs == 300
    assert found.sd == pytest.approx(0.4, abs=0.04)
    assert METRICS["rmse"](table.rows) == pytest.approx(found.rmse_floor, abs=0.04)
    assert METRICS["pearson"](table.rows) == pytest.approx(found.pearson_ceiling, abs=0.02)


def test_baselines_are_fitted_on_the_training_rows_and_never_on_rows_that_are_judged(tmp_path):
    simulated = simulated_table(tmp_path / "t.csv", antibodies=30, antigens=2, seed=1)
    whole = pl.read_csv(simulated).with_columns(split=pl.Series(["train"] * 30 + ["test"] * 30))
    told = whole.with_columns(pred=pl.col("pkd")).rename({"pkd": "pkd_measured"})
    judged_rows = told.filter(pl.col("split") == "test").drop("split")
    own = {reference.name: reference for reference in evaluate(told, draws=20).references}
    fitted = {name for name, reference in own.items() if "fitted on 30" in reference.note}
    assert fitted == set(BASELINES) & set(own) >= {"constant", "one_hot_ridge"}
    assert own["constant"].values["rmse"] > 0
    whole.write_csv(tmp_path / "split.csv")
    whole.drop("split").write_csv(tmp_path / "all.csv")
    by_file = {}
    for name in ("split.csv", "all.csv"):
        report = evaluate(judged_rows, train=tmp_path / name, draws=20)
        by_file[name] = found = {reference.name: reference for reference in report.references}
        assert found["nearest_neighbour"].values["rmse"] > 0.05
        assert "fitted on 30 training rows" in found["nearest_neighbour"].note
    assert "30 more hold pairs that are judged" in by_file["all.csv"]["constant"].note
    whole.filter(pl.col("split") == "test").write_csv(tmp_path / "judged.csv")
    report = evaluate(judged_rows, train=tmp_path / "judged.csv", draws=20)
    assert "all 30 training rows hold pairs that are judged" in report.references[-1].note
    values = [found["one_hot_ridge"].values["rmse"] for found in by_file.values()]
    assert values[0] == pytest.approx(values[1])


def test_tiers_make_one_report(tmp_path, run_paratope):
    folder = tmp_path / "tiers"
    table = simulated_table(tmp_path / "t.csv", antibodies=30, antigens=8, seed=2)
    done = run_paratope("data", "split", table, "--by", "tiers", "-o", folder, code=0)
    names = ["random", "unseen position", "unseen antibody", "unseen antigen"]
    for name in names:
        own = folder / name.replace(" ", "-")
        proof = json.loads((own / "proof.json").read_text())
        split = pl.read_csv(own / "split.csv")
        assert dict(split["split"].value_counts().iter_rows()) == proof["sizes"]
        assert proof["shared_pairs"] == 0
        assert name != "unseen antigen" or proof["shared_antigens"] == 0
    stacked = pl.read_csv(folder / "tiers.csv")
    assert stacked["tier"].unique(maintain_order=True).to_list() == names
    rng = np.random.default_rng(0)
    error = rng.normal(0, 0.5, stacked.height)
    predicted = stacked.with_columns(pred=pl.col("pkd") + error).rename({"pkd": "pkd_measured"})
    predicted.write_csv(tmp_path / "predicted.csv")
    done = run_paratope("evaluate", tmp_path / "predicted.csv", "-o", tmp_path / "report", code=0)
    assert all(name in done.out for name in (*names, "these predictions", "one hot ridge"))
    data = json.loads((tmp_path / "report" / "metrics.json").read_text())["tiers"]
    assert list(data) == names
    for name in names:
        tested = predicted.filter((pl.col("tier") == name) & (pl.col("split") == "test"))
        rmse = float(((tested["pred"] - tested["pkd_measured"]) ** 2).mean() ** 0.5)
        assert data[name]["metrics"]["rmse"]["value"] == pytest.approx(rmse)
        told = {baseline["name"] for baseline in data[name]["baselines"]}
        assert {"one_hot_ridge", "nearest_neighbour"} <= told
        assert (tmp_path / "report" / name.replace(" ", "-") / "report.html").is_file()
    page = (tmp_path / "report" / "report.html").read_text()
    assert all(f"<th>{name}</th>" in page for name in names)


def test_tiers_may_be_folders_or_files(tmp_path):
    for name, seed in (("easy", 1), ("hard", 2)):
        (tmp_path / name).mkdir()
        frame_of(seed).write_csv(tmp_path / name / "test_predictions.csv")
    folders = [tmp_path / "easy", tmp_path / "hard"]
    for tiers in (folders, [folder / "test_predictions.csv" for folder in folders]):
        assert list(evaluation.evaluate_tiers(tiers, draws=20).reports) == ["easy", "hard"]
    with pytest.raises(InputError, match="two tiers are called 'easy'"):
        evaluation.evaluate_tiers([tmp_path / "easy", tmp_path / "easy"], draws=20)
    with pytest.raises(InputError, match="needs a column 'tier'"):
        evaluation.evaluate_tiers([tmp_path / "easy"])


def test_a_better_predictor_is_found_and_an_equal_one_is_not():
    frame = frame_of(3)
    rng = np.random.default_rng(0)
    worse = frame["pred"] + rng.normal(0, 2, frame.height)
    frame = frame.with_columns(worse=worse, same=frame["pred"] + rng.normal(0, 1e-3, frame.height))
    found = compare([frame], preds=["pred", "worse", "same"], permutations=99)
    by = {(gap.name, gap.metric): gap for gap in found.differences}
    assert by["worse", "spearman"].value < 0
    assert by["worse", "spearman"].interval.high < 0
    assert by["worse", "rmse"].p_value == pytest.approx(0.01)
    assert by["same", "rmse"].p_value > 0.05


@pytest.mark.slow
def test_the_swap_test_keeps_its_level_when_groups_share_errors():
    rejected = 0
    for seed in range(200):
        measured, left, group = hierarchy(seed, groups=30)
        rng = np.random.default_rng(seed + 1000)
        right = left + rng.normal(0, 0.6, 30)[group]
        left = left + rng.normal(0, 0.6, 30)[group]
        rows = [EvaluationRows(measured, predicted) for predicted in (left, right)]
        rejected += swap_test("rmse", *rows, group, permutations=99, seed=seed) <= 0.05
    assert rejected <= stats.binom.ppf(0.995, 200, 0.05)


def test_tables_are_matched_by_id_and_folders_of_runs_and_reports_are_read(tmp_path, run_paratope):
    frame = frame_of(1).with_row_index("id")
    (tmp_path / "run").mkdir()
    frame.write_csv(tmp_path / "run" / "test_predictions.csv")
    shuffled = frame.sample(fraction=1.0, shuffle=True, seed=2).head(frame.height - 5)
    shuffled.with_columns(pred=pl.col("pred") + 0.5).write_csv(tmp_path / "b.csv")
    found = compare([tmp_path / "run", tmp_path / "b.csv"], permutations=19)
    assert found.rows == frame.height - 5
    assert found.dropped == (5, 0)
    bias = [metrics["bias"].value for metrics in found.metrics]
    assert bias[1] - bias[0] == pytest.approx(0.5)
    tables, target = (tmp_path / "run", tmp_path / "b.csv"), tmp_path / "c.json"
    run_paratope("compare", *tables, "-o", target, code=0)
    assert json.loads(target.read_text())["differences"][0]["minus"] == "run"
    run_paratope("evaluate", tmp_path / "b.csv", "-o", tmp_path / "report", code=0)
    found = compare([tmp_path / "report", tmp_path / "report"], permutations=19)
    assert all((gap.value, gap.interval) == (0, Interval(0, 0)) for gap in found.differences)
    assert found.grouping == "group"


def test_tables_of_different_rows_are_refused(tmp_path):
    first, second = frame_of(1), frame_of(2)
    with pytest.raises(InputError, match="cannot be matched|disagree about the measured value"):
        compare([first, second])
    with pytest.raises(InputError, match="at least two"):
        compare([first])
    with pytest.raises(InputError, match="a folder without predictions"):
        compare([tmp_path, tmp_path])


def test_intervals_resample_antigens_and_within_one_antibodies():
    """A campaign has one antigen: replicates of an antibody stay together."""
    heavy = [f"EVQLVESGGG{first}{second}" for first in "ACDEFG" for second in "ACDEFGHIKL"]
    values, molecules = np.linspace(6, 10, 120), {"light": "DIQMTQ", "antigen": "MKVTAG"}
    frame = _two(values, values, heavy=np.repeat(heavy, 2), **molecules)
    grouping, labels = read_predictions(frame).grouping()
    assert (grouping, len(set(labels.tolist()))) == ("antibody", 60)
    several = frame.with_columns(antigen=pl.Series(["MKVTAG", "GSTAVK"] * 60))
    assert read_predictions(several).grouping()[0] == "antigen"
    named = {"true": [7.0, 8.0, 9.0], "pred": [7.5, 8.0, 8.5], "antigen_name": ["a", "b", "a"]}
    name, labels = read_predictions(pl.DataFrame(named)).grouping()
    assert (name, labels.tolist()) == ("antigen", ["a", "b", "a"])


def one_constant_an_antigen(seed: int = 0) -> pl.DataFrame:
    """Predictions that say which of eight antigens it is, and nothing else."""
    rng = np.random.default_rng(seed)
    antigen = np.repeat(np.arange(8), 20)
    levels = rng.permutation(np.linspace(6, 10, 8))
    measured = levels[antigen] + rng.normal(0, 0.5, 160)
    names = pl.Series([f"antigen {number}" for number in antigen])
    return _two(measured, levels[antigen]).with_columns(antigen=names)


def test_the_report_leads_with_the_ranking_within_antigens(tmp_path, run_paratope):
    one_constant_an_antigen().write_csv(tmp_path / "t.csv")
    done = run_paratope("evaluate", tmp_path / "t.csv", "-o", tmp_path / "report", code=0)
    data = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert data["metrics"]["spearman"]["value"] > 0.8
    assert data["within_antigen_spearman"]["value"] == 0.0
    assert data["within_antigen_spearman"]["antigens"] == 8
    keys = list(data)
    assert keys.index("within_antigen_spearman") < keys.index("baselines") < keys.index("metrics")
    page = (tmp_path / "report" / "report.html").read_text()
    for text, within, simple, pooled in (
        (done.out, "Within an antigen: mean Spearman 0.000", "constant", "Over all rows"),
        (page, "Spearman within an antigen", "beside simple predictors", "Figures"),
    ):
        assert text.index(within) < text.index(simple) < text.index(pooled)
        assert "most of the ranking says which antigen it is" in " ".join(text.split())
    assert page.index("Spearman within an antigen") < page.index("Spearman over all rows")


def test_the_mean_within_antigens_is_that_of_its_antigens():
    rng = np.random.default_rng(0)
    frame = one_constant_an_antigen()
    ranked = frame.with_columns(pred=pl.col("pred") + rng.normal(0, 0.3, 160) + pl.col("true") / 4)
    expected = [
        stats.spearmanr(part["true"], part["pred"]).statistic
        for part in ranked.partition_by("antigen")
    ]
    report = evaluate(ranked, draws=50)
    assert report.within_antigen.value == pytest.approx(np.mean(expected))
    half = ranked.with_columns(  # four antigens are answered with one number each
        pred=pl.when(pl.int_range(160) < 80).then(8.0).otherwise("pred")
    )
    report = evaluate(half, draws=50)
    assert report.within_antigen.value == pytest.approx(sum(expected[4:]) / 8)
    assert within_antigen_spearman(report.table) == report.within_antigen.value
    without = evaluate(ranked.drop("antigen"), draws=50)
    assert without.within_antigen is None
    assert "no column antigen" in without.without_within_antigen


def test_point_mutants_of_an_antigen_count_with_it():
    parent = "KVFGRCELAAAMKRHGLDNYRGYSLGNWVCAAKFESNF"
    mutants = [f"{parent[:at]}A{parent[at + 1 :]}" for at in range(20)]
    names = ["lysozyme 1", "lysozyme 2"] * 10
    frame = _two(np.linspace(6, 9, 20), np.linspace(6, 8, 20))
    found = evaluate(frame.with_columns(antigen=pl.Series(mutants)), draws=20)
    assert found.within_antigen.value == pytest.approx(1.0)
    assert len(set(found.table.antigens())) == 1
    named = read_predictions(frame.with_columns(antigen=pl.Series(names)))
    assert set(named.antigens()) == set(names)


@pytest.mark.parametrize(
    ("scale", "codes"),
    [(0.4, {"coverage_too_narrow"}), (3.0, {"coverage_too_wide"}), (1.0, set())],
)
def test_a_coverage_that_is_not_kept_is_told_everywhere(scale, codes, tmp_path, run_paratope):
    rng = np.random.default_rng(4)
    group, predicted = np.arange(400) // 10, rng.normal(8, 1, 400)
    half = 1.645 * 0.6 * scale
    frame = _two(predicted + rng.normal(0, 0.6, 400), predicted).with_columns(
        pkd_low=pl.col("pred") - half, pkd_high=pl.col("pred") + half, group=pl.Series(group)
    )
    frame.write_csv(tmp_path / "t.csv")
    done = run_paratope("evaluate", tmp_path / "t.csv", "-o", tmp_path / "r", code=0)
    data = json.loads((tmp_path / "r" / "metrics.json").read_text())
    found = {f["code"]: f for f in data["findings"] if f["code"].startswith("coverage")}
    assert set(found) == codes
    for code, finding in found.items():
        observed = data["metrics"]["coverage_90_percent"]["value"]
        said = f"the 90 % interval contains {observed:.1f} % of the exact measured values"
        word = code.removeprefix("coverage_too_")
        assert finding["severity"] == ("error" if word == "narrow" else "warning")
        for text in (done.out, (tmp_path / "r" / "report.html").read_text(), finding["text"]):
            told = " ".join(text.split())
            assert f"Intervals are too {word}:" in told
            assert said in told


def test_coverage_alarms_where_no_draw_differs_and_where_groups_are_few():
    frame = _two(np.linspace(6, 9, 60), np.linspace(6, 9, 60)).with_columns(
        pkd_low=pl.col("pred") - 1, pkd_high=pl.col("pred") + 1
    )
    few = frame.with_columns(antigen=pl.Series(["a", "b"] * 30))
    for table in (frame, few):  # every row lies in every interval
        found = {finding.code: finding for finding in evaluate(table, draws=20).findings}
        assert set(found["coverage_too_wide"].numbers) >= {"coverage_50_percent"}
    missed = few.with_columns(true=pl.col("true") + pl.Series([0.0, 1.5, 0.0] * 20))
    found = {finding.code: finding for finding in evaluate(missed, draws=20).findings}
    assert found["coverage_too_narrow"].numbers["coverage_90_percent"] == pytest.approx(200 / 3)


def test_a_run_is_judged_beside_baselines_fitted_on_its_own_training_rows(
    tiny_run, tmp_path, run_paratope
):
    done = run_paratope("evaluate", tiny_run.folder, "-o", tmp_path / "r", code=0)
    data = json.loads((tmp_path / "r" / "metrics.json").read_text())
    _, train = tiny_run.trained.part("train")
    baselines = {found["name"]: found for found in data["baselines"]}
    assert set(BASELINES) <= set(baselines)
    note = f"fitted on {len(train)} training rows of the run"
    assert baselines["nearest_neighbour"]["note"] == note
    assert note in " ".join(done.out.split())
    tested = pl.read_csv(tiny_run.folder / "test_predictions.csv")
    mean = np.mean([row.pkd for row in train])
    rmse = float(((tested["true"] - mean) ** 2).mean() ** 0.5)
    assert baselines["constant"]["metrics"]["rmse"] == pytest.approx(rmse, rel=1e-4)
    assert data["intervals"]["resampled"] == "antigen"
    assert data["within_antigen_spearman"]["value"] is None  # nine rows of two antigens
    assert "no antigen has 5 exact rows of different values" in done.out


def test_train_is_respected_for_a_run_or_refused(tiny_run, tmp_path, run_paratope):
    split = pl.read_csv(tiny_run.folder / "split.csv")
    split.filter(pl.col("split") == "train").head(30).write_csv(tmp_path / "some.csv")
    report = evaluate(tiny_run.folder, train=tmp_path / "some.csv", draws=20)
    assert {r.note for r in report.references if r.fitted} == {"fitted on 30 training rows"}
    swapped = split.with_columns(split=pl.lit("train"))
    swapped.write_csv(tmp_path / "swapped.csv")
    done = run_paratope("evaluate", tiny_run.folder, "--train", tmp_path / "swapped.csv", code=2)
    held_out = int((split["split"] == "test").sum())
    told = " ".join(done.err.split())
    assert "contradicts the run's own split" in told
    assert f"{held_out} of {held_out} pairs that the run held out are 'train' in it" in told
    # a table without a split says nothing against the run's: what is judged is left out
    split.drop("split").write_csv(tmp_path / "all.csv")
    report = evaluate(tiny_run.folder, train=tmp_path / "all.csv", draws=20)
    notes = {reference.note for reference in report.references if reference.fitted}
    kept = split.height - held_out
    left_out = f"{held_out} more hold pairs that are judged, left out"
    assert notes == {f"fitted on {kept} training rows ({left_out})"}
    with pytest.raises(InputError, match="--no-baselines asks for none"):
        evaluate(tiny_run.folder, train=tmp_path / "some.csv", baselines=False)
    # and nothing against a table without sequences
    report = evaluate(frame_of(1), train=tiny_run.folder / "split.csv", draws=20)
    (told,) = [found for found in report.references if found.name == "fitted baselines"]
    assert "no columns heavy and antigen, so split.csv is of no use" in told.note
