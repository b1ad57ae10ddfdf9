"""Calibrated answers: intervals cover what they say, per domain; rankings are kept."""

import dataclasses
import warnings

import numpy as np
import pytest

from paratope.core.errors import InputError, ModelError
from paratope.core.units import PKD_MAX_MEASURABLE, PKD_MIN_MEASURABLE
from paratope.models.calibration import MAX_ROWS_OF_GROUP, Calibration, CalibrationRows
from paratope.models.model import Scored
from paratope.training.runs import calibration_warning

NOISE = {"in": 0.4, "near": 0.8, "out": 1.6}


def simulated(count: int, seed: int, domains: tuple[str, ...] = tuple(NOISE)) -> CalibrationRows:
    """Raw answers that are off by half a pKd and twice as wide as the truth, noise by domain."""
    random = np.random.default_rng(seed)
    domain = random.choice(domains, count)
    truth = random.normal(8, 1, count)
    noise = np.array([NOISE[name] for name in domain])
    raw = 2 * truth - 8 + 0.5 + random.normal(0, 2 * noise)
    group = random.integers(0, max(count // 10, 1), count).astype(str)
    sd = noise * random.uniform(0.8, 1.2, count)
    return CalibrationRows(raw, sd, raw - 9, truth, np.zeros(count, int), domain, group, group)


@pytest.mark.parametrize("rescale", [False, True])
@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.9, 0.95])
def test_intervals_cover_what_they_say_in_every_domain(coverage, rescale):
    calibration = Calibration(simulated(3000, 0), rescale)
    new = simulated(6000, 1)
    answer = calibration.apply(new.scored, new.domain.tolist(), coverage)
    inside = (answer.low <= new.pkd) & (new.pkd <= answer.high)
    for domain in NOISE:
        assert abs(inside[new.domain == domain].mean() - coverage) < 0.045


def test_less_familiar_domains_get_wider_intervals():
    new = simulated(3000, 2)
    given = Calibration(simulated(3000, 0), rescale=True).apply(new.scored, new.domain.tolist())
    assert np.all((given.low <= given.value) & (given.value <= given.high))
    means = [np.mean((given.high - given.low)[new.domain == name]) for name in NOISE]
    assert means[0] < means[1] < means[2]


def test_scaling_lowers_the_error_and_keeps_the_ranking():
    calibration = Calibration(simulated(2000, 0), rescale=True)
    new = simulated(2000, 1, ("near",))
    answer = calibration.apply(new.scored, ["near"] * 2000)
    error_before = np.sqrt(np.mean((new.mean - new.pkd) ** 2))
    assert np.sqrt(np.mean((answer.value - new.pkd) ** 2)) < 0.8 * error_before
    inside = (answer.value > 4) & (answer.value < 14)
    order = np.argsort(new.mean[inside])
    assert np.all(np.diff(answer.value[inside][order]) > 0)


def test_without_scaling_the_pkd_is_the_networks():
    calibration = Calibration(simulated(2000, 0))
    mean = np.array([5.0, 8.25, 11.0])
    answer = calibration.apply(Scored(mean, np.ones(3), mean - 9), ["in", "near", "out"])
    assert answer.value.tolist() == mean.tolist()


def test_probability_of_strong_is_calibrated_and_falls_with_the_threshold():
    calibration = Calibration(simulated(4000, 0), rescale=True)
    new = simulated(8000, 1)
    arguments = (new.scored, new.domain.tolist())
    p_strong = calibration.apply(*arguments).p_strong
    for low, high in ((0.0, 0.2), (0.4, 0.6), (0.8, 1.0)):
        chosen = (p_strong >= low) & (p_strong <= high)
        assert abs(np.mean(new.pkd[chosen] >= 9) - p_strong[chosen].mean()) < 0.08
    stricter = calibration.apply(*arguments, threshold_pkd=10.0).p_strong
    assert np.all(stricter < p_strong)


def test_a_wider_interval_never_raises_p_strong_above_the_base_rate():
    """Nor is a pair strong for being less like the known ones, of which fewer are."""
    rows = simulated(3000, 0)
    rows = dataclasses.replace(rows, pkd=rows.pkd - (rows.domain == "in"))
    calibration = Calibration(rows)
    sd = np.geomspace(0.05, 50, 60)
    for domain in NOISE:
        of_domain = rows.domain == domain
        base = np.mean(rows.pkd[of_domain] >= 9)
        for mean in (6.0, 8.0, 8.9, 9.5):
            raw = Scored(np.full(60, mean), sd, np.full(60, mean - 9))
            given = calibration.apply(raw, [domain] * 60).p_strong
            assert np.all(given <= np.maximum(np.minimum.accumulate(given), base) + 0.01)
    told = calibration.apply(rows.scored, rows.domain.tolist()).p_strong
    means = [told[rows.domain == domain].mean() for domain in NOISE]
    assert means[0] > means[1] - 0.05
    assert means[0] > means[2] - 0.05


def test_a_domain_of_which_nothing_was_held_out_is_unknown():
    calibration = Calibration(simulated(300, 0, ("in",)))
    assert "held out of the domains near, out: their intervals" in calibration_warning(calibration)
    one = np.ones(1)
    for mean in (6.0, 9.33):
        scored = Scored(mean * one, 0.5 * one, (mean - 9) * one)
        known, unknown = (calibration.apply(scored, [domain]) for domain in ("in", "out"))
        assert (unknown.low[0], unknown.high[0]) == (PKD_MIN_MEASURABLE, PKD_MAX_MEASURABLE)
        assert known.high[0] - known.low[0] < 6
        assert unknown.p_strong[0] <= min(known.p_strong[0], 0.35)


def test_difference_to_the_parent_is_covered():
    calibration = Calibration(simulated(4000, 0), rescale=True)
    change = calibration.difference(np.array([7.0, 8.0, 9.0]), 8.0, ["in", "in", "in"])
    assert change.value.tolist() == [-1.0, 0.0, 1.0]
    assert change.p_stronger[1] == pytest.approx(0.5)
    assert change.p_stronger[0] == pytest.approx(1 - change.p_stronger[2])
    assert 0 < change.p_stronger[0] < 0.5
    assert np.all((change.low < change.value) & (change.value < change.high))
    new = simulated(4000, 1, ("near",))
    answer = calibration.apply(new.scored, ["near"] * 4000)
    truth, predicted = np.diff(new.pkd)[::2], np.diff(answer.value)[::2]
    change = calibration.difference(predicted, 0.0, ["near"] * len(predicted))
    assert abs(np.mean((change.low <= truth) & (truth <= change.high)) - 0.9) < 0.05


def test_a_domain_with_few_rows_borrows_from_less_familiar_ones():
    rows = simulated(2000, 0)
    few, most = np.flatnonzero(rows.domain == "in")[:5], np.flatnonzero(rows.domain != "in")
    summary = Calibration(rows.rows(np.concatenate([most, few]))).summary()
    assert summary["in"]["borrowed"]
    assert not summary["near"]["borrowed"]
    assert summary["in"]["rmse_pkd"] >= 0.9 * summary["near"]["rmse_pkd"]


def test_one_large_group_is_not_the_calibration():
    crowd = dataclasses.replace(simulated(4000, 1, ("out",)), group=np.full(4000, "crowd"))
    both = Calibration(CalibrationRows.joined([simulated(400, 0, ("out",)), crowd]))
    assert both.summary()["out"]["rows"] == 400 + MAX_ROWS_OF_GROUP


def test_censored_rows_train_no_interval_and_inform_the_classifier():
    rows = simulated(500, 0, ("out",))
    bound = dataclasses.replace(rows, censoring=np.full(500, -1), pkd=np.full(500, 5.0))
    joined, alone = Calibration(CalibrationRows.joined([rows, bound])), Calibration(rows)
    assert joined.summary()["out"]["rmse_pkd"] == alone.summary()["out"]["rmse_pkd"]
    raw = Scored(np.array([9.0]), np.array([1.6]), np.array([0.0]))
    assert joined.apply(raw, ["out"]).p_strong[0] < alone.apply(raw, ["out"]).p_strong[0]


@pytest.mark.parametrize("coverage", [0.0, 1.0, 90.0, -0.1, float("nan")])
def test_coverage_out_of_range(coverage):
    calibration = Calibration(simulated(300, 0))
    one = np.ones(1)
    with pytest.raises(InputError, match=r"between 0.01 and 0.99"):
        calibration.apply(Scored(one, one, one), ["in"], coverage)
    with pytest.raises(InputError, match=r"between 0.01 and 0.99"):
        calibration.difference(one, 0.0, ["in"], coverage)


def test_few_rows_give_the_whole_range_and_too_few_are_refused():
    rows = simulated(300, 0)
    one = np.ones(1)
    calibration = Calibration(rows.rows(np.arange(4)))
    answer = calibration.apply(Scored(8 * one, one, one), ["out"], coverage=0.95)
    assert (answer.low[0], answer.high[0]) == (PKD_MIN_MEASURABLE, PKD_MAX_MEASURABLE)
    with pytest.raises(ModelError, match="at least 2"):
        Calibration(rows.rows(np.arange(1)))


def test_intervals_are_those_of_crepes():
    crepes = pytest.importorskip("crepes")
    random = np.random.default_rng(0)
    for rows in (4, 19, 40, 300):
        held_out = simulated(rows, rows, ("out",))
        reference = crepes.ConformalRegressor()
        scored = Scored(random.normal(8, 1, 7), random.uniform(0.1, 2, 7), np.zeros(7))
        reference.fit(held_out.pkd - np.clip(held_out.mean, 4, 14), sigmas=held_out.sd)
        limits = {"y_min": PKD_MIN_MEASURABLE, "y_max": PKD_MAX_MEASURABLE}
        for coverage in (0.5, 0.8, 0.95):
            ours = Calibration(held_out).apply(scored, ["out"] * 7, coverage)
            with warnings.catch_warnings(action="ignore"):
                theirs = reference.predict_int(
                    scored.mean, sigmas=scored.sd, confidence=coverage, **limits
                )
            assert ours.low.tolist() == theirs[:, 0].tolist()
            assert ours.high.tolist() == theirs[:, 1].tolist()


def test_the_spline_of_differences_is_their_sum():
    from scipy.special import ndtr

    calibration = Calibration(simulated(500, 0))
    delta = np.linspace(-9, 9, 1001)
    told = calibration.difference(delta, 0.0, ["near"] * len(delta)).p_stronger
    errors = calibration._stratum("near").delta_residuals
    both = np.concatenate([errors, -errors])
    share = ndtr((delta[:, None] + both) / (0.25 * both.std() + 1e-9)).mean(axis=1)
    np.testing.assert_allclose(told, (share * len(both) + 1) / (len(both) + 2), atol=2e-7)
