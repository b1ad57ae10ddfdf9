import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sk

from paratope.core.censoring import Censoring
from paratope.core.errors import InputError
from paratope.evaluation import metrics
from paratope.evaluation.metrics import METRICS, EvaluationRows, at_threshold, compute


def rows_with_everything(count: int = 300, seed: int = 0) -> EvaluationRows:
    rng = np.random.default_rng(seed)
    measured = rng.normal(8.5, 1.2, count)
    sd = rng.uniform(0.4, 1.2, count)
    predicted = measured + rng.normal(0, 1, count) * sd
    return EvaluationRows(
        np.maximum(measured, 6.0),
        predicted,
        censoring=np.where(measured < 6.0, -1, 0),
        low=predicted - stats.norm.ppf(0.95) * sd,
        high=predicted + stats.norm.ppf(0.95) * sd,
        coverage=0.9,
        p_strong=stats.norm.cdf((predicted - 9) / sd),
    )


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_is_finite_where_it_applies_and_does_not_depend_on_row_order(name):
    rows = rows_with_everything()
    info = METRICS[name]
    assert info.applies(rows)
    value = info(rows)
    assert math.isfinite(value)
    order = np.random.default_rng(1).permutation(len(rows))
    assert info(rows.take(order)) == pytest.approx(value, abs=1e-9)
    assert info.summary


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_is_best_for_a_perfect_prediction(name):
    rows = rows_with_everything().exact()
    perfect = EvaluationRows(
        rows.measured, rows.measured, rows.censoring, rows.measured - 1, rows.measured + 1,
        rows.coverage, (rows.measured >= 9).astype(float),
    )  # fmt: skip
    info, got = METRICS[name], METRICS[name](perfect)
    if info.direction == "max" and name not in ("selective_gain_percent",):
        assert math.isnan(got) or got >= info(rows) - 1e-9
    if info.direction == "zero" or name in ("rmse", "mae", "top_1_regret", "top_10_regret"):
        assert got == pytest.approx(0, abs=1e-12)


def test_agrees_with_the_libraries():
    rows = rows_with_everything().exact()
    m, p = rows.measured, rows.predicted
    got = compute(rows)
    assert got["rmse"] == pytest.approx(sk.root_mean_squared_error(m, p))
    assert got["mae"] == pytest.approx(sk.mean_absolute_error(m, p))
    assert got["r2"] == pytest.approx(sk.r2_score(m, p))
    assert got["kendall"] == pytest.approx(stats.kendalltau(m, p)[0])
    assert got["concordance"] == pytest.approx((stats.kendalltau(m, p)[0] + 1) / 2)
    for name in ("recall", "precision", "f1"):
        expected = 100 * getattr(sk, f"{name}_score")(m >= 9, p >= 9)
        assert got[f"{name}_percent"] == pytest.approx(expected)
    parts = metrics.r2_parts(rows)
    assert parts["correlation"] - parts["scale"] - parts["bias"] == pytest.approx(parts["r2"])
    assert parts["r2"] == pytest.approx(got["r2"], abs=1e-9)


def test_a_met_bound_is_no_error_and_a_broken_one_is_the_distance():
    bounds = [Censoring.AT_MOST] * 2 + [Censoring.AT_LEAST] * 2
    rows = EvaluationRows([5, 5, 9, 9], [4, 6.5, 10, 8], bounds)
    assert metrics.errors(rows).tolist() == [0, 1.5, 0, -1]
    assert METRICS["mae"](rows) == pytest.approx(0.625)
    assert METRICS["bounds_respected_percent"](rows) == 50
    # "at most 10" may or may not reach 9 and is not counted; "at most 8" does not
    rows = EvaluationRows([10, 8, 9.5, 9.5], [9.9, 9.9, 9.9, 8.0], censoring=[-1, -1, 0, 0])
    names = ("recall_percent", "precision_percent", "f1_percent")
    assert at_threshold(rows) == dict.fromkeys(names, 50.0)


@given(
    st.lists(
        st.tuples(st.integers(0, 6), st.integers(0, 6), st.sampled_from([-1, 0, 1])),
        min_size=2, max_size=30,
    )
)  # fmt: skip
def test_concordance_counts_every_pair_of_known_order(values: list[tuple[int, int, int]]):
    measured, predicted, codes = np.array(values, dtype=float).T
    score = pairs = 0.0
    for i in range(len(values)):
        for j in range(len(values)):
            upper = math.inf if codes[i] > 0 else measured[i]
            lower = -math.inf if codes[j] < 0 else measured[j]
            if upper < lower:
                pairs += 1
                score += 0.5 + 0.5 * np.sign(predicted[j] - predicted[i])
    got = METRICS["concordance"](measured, predicted, censoring=codes.astype(int))
    assert math.isnan(got) if pairs == 0 else got == pytest.approx(score / pairs)


def test_ties_at_the_edge_of_a_budget_count_by_expectation_as_over_all_their_orders():
    measured = np.r_[np.full(10, 9.5), np.full(90, 6.0)]
    flat = EvaluationRows(measured, np.full(100, 8.0))
    assert METRICS["recall_top_10_percent"](flat) == pytest.approx(10)
    assert METRICS["enrichment_top_10"](flat) == pytest.approx(1)
    three = EvaluationRows([9.0, 8.0, 7.0], [5.0, 5.0, 5.0])
    assert METRICS["top_1_regret"](three) == pytest.approx(1.0)
    rng = np.random.default_rng(3)
    measured, predicted = rng.normal(8, 1, 40), rng.integers(0, 4, 40).astype(float)
    best = []
    for _ in range(4000):
        order = np.lexsort((rng.random(40), -predicted))
        best.append(measured[order[:10]].max())
    got = METRICS["top_10_regret"](measured, predicted)
    assert got == pytest.approx(measured.max() - np.mean(best), abs=0.03)


def test_coverage_of_a_true_gaussian_is_its_level():
    rng = np.random.default_rng(0)
    sd = rng.uniform(0.3, 1.5, 40_000)
    predicted = rng.normal(8, 1, 40_000)
    half = stats.norm.ppf(0.9) * sd  # an 80 % interval
    rows = EvaluationRows(
        predicted + rng.normal(0, 1, 40_000) * sd, predicted,
        low=predicted - half, high=predicted + half, coverage=0.8,
    )  # fmt: skip
    for level in metrics.COVERAGE_LEVELS:
        got = METRICS[f"coverage_{round(100 * level)}_percent"](rows)
        assert got == pytest.approx(100 * level, abs=0.8)
    assert METRICS["miscalibration_area"](rows) < 0.01
    assert METRICS["ence"](rows) < 0.03
    assert METRICS["selective_gain_percent"](rows) > 20
    share, risk = metrics.selective_risk_curve(rows)
    assert share[-1] == 1
    assert risk[-1] == pytest.approx(METRICS["rmse"](rows))
    tight = EvaluationRows(rows.measured, rows.predicted, rows.censoring, rows.predicted - half / 2,
                   rows.predicted + half / 2, rows.coverage)  # fmt: skip
    assert METRICS["miscalibration_area"](tight) > 0.15
    assert METRICS["ence"](tight) > 0.5


def test_the_cut_is_chosen_for_the_best_f1():
    rng = np.random.default_rng(0)
    measured = rng.normal(8.5, 1, 400)
    biased = measured - 2 + rng.normal(0, 0.3, 400)  # nothing reaches 9
    rows = EvaluationRows(measured, biased)
    cut = metrics.best_cut(rows)
    assert 6.5 < cut < 7.5
    assert at_threshold(rows, cut)["f1_percent"] > 80
    assert at_threshold(rows)["recall_percent"] < 20
    best = max(at_threshold(rows, c)["f1_percent"] for c in rows.predicted)
    assert at_threshold(rows, cut)["f1_percent"] == pytest.approx(best)


def test_undefined_is_nan_and_no_exception_and_wrong_input_is_told():
    for rows in (
        EvaluationRows([7.0], [7.0]),
        EvaluationRows([7.0, 7.0, 7.0], [8.0, 8.0, 8.0]),
        EvaluationRows([5.0, 5.0], [4.0, 6.0], censoring=[-1, -1]),
    ):
        assert all(isinstance(value, float) for value in compute(rows).values())
    assert math.isnan(METRICS["pearson"]([7.0, 8.0, 9.0], [8.0, 8.0, 8.0]))
    with pytest.raises(InputError, match="unknown metric 'rsme'.*rmse"):
        metrics.metric("rsme")
    with pytest.raises(InputError, match=r"one value per row"):
        EvaluationRows([1.0, 2.0], [1.0])
    with pytest.raises(InputError, match="finite"):
        EvaluationRows([1.0, math.nan], [1.0, 2.0])
    with pytest.raises(InputError, match="pkd_low"):
        METRICS["width_90"]([1.0], [1.0])
