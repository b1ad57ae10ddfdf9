"""Gaussian processes, and the scale that turns labels into what they are fitted on."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal, truncnorm
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

from paratope.campaigns import gaussian_process as gp
from paratope.campaigns.campaign_model.training import HalfRankNormalTransform
from paratope.campaigns.gaussian_process import GaussianProcess, Observations
from paratope.core.errors import ModelError, TrainingError
from paratope.core.files import plain


def exact(target: np.ndarray, groups: np.ndarray | None = None) -> Observations:
    zeros = np.zeros(len(target), int)
    return Observations(target, zeros, zeros if groups is None else groups, np.ones(len(target)))


def gram(x: np.ndarray, y: np.ndarray, length: float = 1.0) -> np.ndarray:
    return np.exp(-0.5 * (x[:, None] - y[None]) ** 2 / length**2)


@pytest.fixture(scope="module")
def curve() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    x = np.sort(random.uniform(0, 10, 60))
    y = np.sin(x) + random.normal(0, 0.2, 60)
    return x, (y - y.mean()) / y.std(), np.linspace(0, 10, 25)


def test_mean_and_variance_are_those_of_another_implementation(curve):
    x, y, new = curve
    kernel = ConstantKernel(0.7, "fixed") * RBF(1.0, "fixed")
    white = WhiteKernel(0.1 + gp.JITTER, "fixed")
    reference = GaussianProcessRegressor(kernel + white, optimizer=None, alpha=0.0)
    reference.fit(x[:, None], y)
    mean, sd = reference.predict(new[:, None], return_std=True)
    process = GaussianProcess(0.7 * gram(x, x), np.array([0.1]), exact(y))
    cross = 0.7 * gram(new, x)
    own = process.variance(cross, np.full(len(new), 0.7))
    np.testing.assert_allclose(process.mean(cross), mean, atol=1e-9)
    np.testing.assert_allclose(own + 0.1 + gp.JITTER, sd**2, atol=1e-9)
    joint = process.posterior_covariance(cross, 0.7 * gram(new, new))
    np.testing.assert_allclose(np.diag(joint), own, atol=1e-9)


def test_rows_left_out_are_predicted_as_if_never_seen(curve):
    x, y, _ = curve
    process = GaussianProcess(0.7 * gram(x, x), np.array([0.1]), exact(y))
    mean, variance = process.leave_one_out()
    block_mean, block_variance = process.leave_rows_out(np.array([7]), np.array([7]))
    rest = np.delete(np.arange(len(x)), 7)
    other = GaussianProcess(0.7 * gram(x[rest], x[rest]), np.array([0.1]), exact(y[rest]))
    cross = 0.7 * gram(x[[7]], x[rest])
    assert mean[7] == pytest.approx(other.mean(cross)[0], abs=1e-9)
    expected = other.variance(cross, np.array([0.7]))[0] + 0.1 + gp.JITTER
    assert variance[7] == pytest.approx(expected, abs=1e-9)
    assert block_mean[0] == pytest.approx(mean[7], abs=1e-9)
    assert block_variance[0] == pytest.approx(expected, abs=1e-9)


def test_the_fit_is_the_most_probable_one(curve):
    x, y, _ = curve
    grams = np.stack([gram(x, x, 1.0), gram(x, x, 5.0)])
    centre = np.log([0.4, 0.4, 0.3])

    def log_posterior(values: np.ndarray) -> float:
        total = np.tensordot(np.exp(values[:2]), grams, 1)
        total += (np.exp(values[2]) + gp.JITTER) * np.eye(len(x))
        return multivariate_normal(cov=total).logpdf(y) - 0.5 * np.sum((values - centre) ** 2)

    found = gp.fit_hyperparameters(grams, exact(y), gp.prior_weights(["a", "b"]))
    best = np.log([*found.weights, *found.noise])
    for direction in np.vstack([np.eye(3), -np.eye(3)]):
        assert log_posterior(best + 0.05 * direction) < log_posterior(best)


def test_a_prior_holds_the_weights_of_few_rows_and_a_search_cut_short_is_said(curve, monkeypatch):
    x, y, _ = curve
    grams = np.stack([gram(x, x, 1.0), gram(x, x, 5.0)])[:, :6, :6]
    prior = gp.prior_weights(["a", "b"])
    firm = gp.fit_hyperparameters(grams, exact(y[:6]), prior, spread=0.01)
    loose = gp.fit_hyperparameters(grams, exact(y[:6]), prior, spread=3.0)
    assert np.abs(np.log(firm.weights / prior)).max() < 0.01
    assert np.abs(np.log(loose.weights / prior)).max() > 0.1
    monkeypatch.setattr("paratope.campaigns.gaussian_process._MAX_STEPS", 1)
    with pytest.warns(RuntimeWarning, match="before it converged"):
        gp.fit_hyperparameters(gram(x, x)[None], exact(y), np.array([0.8]))


def test_assays_have_their_own_noise_and_a_group_of_few_rows_about_that_of_the_others():
    random = np.random.default_rng(3)
    x = random.uniform(0, 10, 160)
    groups = np.arange(160) % 2
    y = np.sin(x) + random.normal(0, np.where(groups == 0, 0.05, 0.8))
    rows = exact(y - y.mean(), groups)
    found = gp.fit_hyperparameters(gram(x, x)[None], rows, np.array([0.8]), spread=2.0)
    assert found.noise[1] > 10 * found.noise[0]
    random = np.random.default_rng(4)
    x = np.sort(random.uniform(0, 6, 62))
    few = (np.arange(62) >= 60).astype(int)

    def noise(sd: float) -> np.ndarray:
        y = np.sin(x) + random.normal(0, sd, 62)
        return gp.fit_hyperparameters(
            gram(x, x)[None], exact(y / y.std(), few), np.array([1.0])
        ).noise

    precise, rough = noise(0.02), noise(1.0)
    assert precise[0] < precise[1] < gp.NOISE  # drawn towards the others, not all the way
    assert rough[1] > precise[1]


def test_replicates_have_less_noise(curve):
    x, y, _ = curve
    share = np.where(np.arange(len(x)) == 30, 0.01, 1.0)
    zeros = np.zeros(len(x), int)
    covariance, noise = 0.7 * gram(x, x), np.array([0.5])
    once = GaussianProcess(covariance, noise, exact(y))
    often = GaussianProcess(covariance, noise, Observations(y, zeros, zeros, share))
    here = 0.7 * gram(x[[30]], x)
    assert abs(often.mean(here)[0] - y[30]) < abs(once.mean(here)[0] - y[30])


@settings(max_examples=30, deadline=None)
@given(st.floats(-2, 2), st.floats(0.1, 3), st.floats(-2, 2), st.sampled_from([-1.0, 1.0]))
def test_one_bound_gives_the_truncated_normal(mean, sd, bound, sign):
    target, variance = gp.expectation_propagation(
        np.array([mean]), np.array([[sd**2]]), np.array([bound]), np.array([sign]), np.array([1e-8])
    )
    posterior = (mean / sd**2 + target[0] / variance[0]) / (1 / sd**2 + 1 / variance[0])
    edge = (bound - mean) / sd
    limits = (edge, np.inf) if sign > 0 else (-np.inf, edge)
    expected = truncnorm(*limits, loc=mean, scale=sd).mean()
    assert posterior == pytest.approx(expected, abs=2e-3 + 1e-3 * abs(expected))


def test_bounds_count_as_inequalities_not_as_values():
    x = np.arange(12.0)
    y = np.where(x < 6, -1.5, 1.5)
    censoring = np.where(x == 2, -1, 0)
    target = np.where(x == 2, 0.0, y)
    zeros, ones = np.zeros(12, int), np.ones(12)
    covariance, noise = gram(x, x, 2.0), np.array([0.05])
    bound = GaussianProcess(covariance, noise, Observations(target, censoring, zeros, ones))
    value = GaussianProcess(covariance, noise, Observations(target, zeros, zeros, ones))
    here = gram(x[[2]], x, 2.0)
    assert bound.mean(here)[0] < -1.0  # its neighbours say -1.5, which is at most 0
    assert value.mean(here)[0] > -0.8
    above = GaussianProcess(covariance, noise, Observations(target, -censoring, zeros, ones))
    assert above.mean(here)[0] > value.mean(here)[0] - 0.5


def test_all_rows_bounded_can_still_be_fitted():
    x = np.arange(8.0)
    zeros = np.zeros(8, int)
    observed = Observations(np.zeros(8), np.where(x < 4, -1, 1), zeros, np.ones(8))
    found = gp.fit_hyperparameters(gram(x, x, 2.0)[None], observed, np.array([0.8]))
    covariance = found.weights[0] * gram(x, x, 2.0)
    mean = GaussianProcess(covariance, found.noise, observed).mean(covariance)
    assert mean[:3].max() < mean[5:].min()


def test_a_covariance_that_is_none_is_refused_and_added_jitter_is_said_and_counts_as_noise():
    """An eigenvalue of -0.0013 is beyond what the noise makes up for."""
    with pytest.raises(TrainingError, match="not positive definite"):
        GaussianProcess(-5 * np.ones((3, 3)), np.array([0.1]), exact(np.arange(3.0)))
    wrong = np.full((1, 6, 6), -3.0) + np.eye(6)
    with pytest.raises(TrainingError, match="could not be fitted|not positive definite"):
        gp.fit_hyperparameters(wrong, exact(np.arange(6.0)), np.array([5.0]), spread=0.01)
    random = np.random.default_rng(0)
    vectors = np.linalg.qr(random.normal(size=(6, 6)))[0]
    covariance = vectors @ np.diag([2.0, 1.0, 0.5, 0.2, 0.1, -0.0013]) @ vectors.T
    with pytest.warns(RuntimeWarning, match="0.01 was added"):
        process = GaussianProcess(covariance, np.array([1e-3]), exact(random.normal(size=6)))
    mean, variance = process.leave_one_out()
    for row in range(6):
        alone = process.leave_rows_out(np.array([row]), np.array([row]))
        assert (alone[0][0], alone[1][0]) == pytest.approx((mean[row], variance[row]))


values = st.lists(st.floats(-20, 20).map(lambda x: round(x, 3)), min_size=2, max_size=60).filter(
    lambda xs: max(xs) - min(xs) > 0.1
)


@settings(max_examples=60, deadline=None)
@given(values, st.lists(st.floats(-30, 30), min_size=1, max_size=10))
def test_labels_go_there_and_back_in_their_order(measured, new):
    scale = HalfRankNormalTransform.of(np.array(measured))
    latent = scale.to_latent(np.sort(new))
    np.testing.assert_allclose(scale.to_label(latent), np.sort(new), atol=1e-6)
    assert (np.diff(latent) >= -1e-12).all()


def test_labels_become_standardised_and_a_floor_does_not_rule():
    """Half the rows at a floor: what is above it keeps more room than by standardising."""
    latent = HalfRankNormalTransform.of(np.random.default_rng(0).gamma(1.0, size=500)).latent
    assert (abs(latent.mean()), latent.std()) == pytest.approx((0.0, 1.0), abs=0.01)
    random = np.random.default_rng(0)
    measured = np.concatenate([np.full(100, 5.0), random.normal(9.0, 0.3, 100)])
    latent = HalfRankNormalTransform.of(measured).to_latent(measured)
    plain = (measured - measured.mean()) / measured.std()
    assert latent[100:].std() > 2 * plain[100:].std()


def test_json_and_damage():
    scale = HalfRankNormalTransform.of(np.array([1.0, 2.0, 4.0]))
    again = HalfRankNormalTransform.from_json(plain(scale))
    assert again.to_label(np.array([0.3])) == scale.to_label(np.array([0.3]))
    with pytest.raises(ModelError, match="must increase"):
        HalfRankNormalTransform.from_json({**plain(scale), "values": [2.0, 1.0, 4.0]})
    with pytest.raises(ModelError, match="not a campaign"):
        HalfRankNormalTransform.from_json({"values": [2.0]})


@pytest.mark.parametrize("unit", [1e-10, 1.0, 1e12])
def test_the_size_of_the_values_is_no_matter(unit):
    scale = HalfRankNormalTransform.of(unit * np.array([7.0, 7.5, 8.0, 9.0]))
    assert scale.to_label(np.array([0.0, 3.0])) / unit == pytest.approx([7.79, 10.09], abs=0.1)
    flat = HalfRankNormalTransform.of(unit * np.array([7.0, 7.0]))
    assert flat.to_label(np.array([0.0]))[0] == 7.0 * unit
