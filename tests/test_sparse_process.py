import numpy as np
import pytest
from scipy.stats import norm

from paratope.campaigns.gaussian_process import GaussianProcess, Observations
from paratope.campaigns.sparse_process import SparseFit, SparseProcess, inducing_rows
from paratope.core.errors import ModelError

NOISE = np.array([0.05, 0.2])


def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of points on a plane: smooth, and linear."""
    squared = ((a[:, None] - b[None]) ** 2).sum(-1)
    return np.exp(-0.5 * squared) + 0.3 * a @ b.T


def observed_of(points: np.ndarray, random: np.random.Generator, bounded: float) -> Observations:
    """Two assays of unlike noise; some rows are known only to be beyond a limit."""
    count = len(points)
    group = np.arange(count) % 2
    true = np.sin(2 * points[:, 0]) + 0.3 * points[:, 1]
    value = true + random.normal(size=count) * np.sqrt(NOISE[group])
    limit = np.quantile(value, bounded) if bounded else -np.inf
    censoring = np.where(value < limit, -1, 0)
    return Observations(
        np.maximum(value, limit), censoring, group, random.choice([1.0, 0.5], count)
    )


def both(
    count: int, bounded: float, inducing: np.ndarray | None = None, jitter: float = 1e-10
) -> tuple[GaussianProcess, SparseFit, np.ndarray, np.ndarray]:
    random = np.random.default_rng(3)
    points = random.uniform(-2, 2, (count, 2))
    observed = observed_of(points, random, bounded)
    gram = kernel(points, points)
    exact = GaussianProcess(gram, NOISE, observed)
    rows = np.arange(count) if inducing is None else inducing
    sparse = SparseFit(
        gram[np.ix_(rows, rows)], gram[:, rows], np.diag(gram), NOISE, observed, jitter
    )
    return exact, sparse, points, rows


def test_with_every_row_inducing_it_is_the_exact_process():
    exact, fitted, points, _ = both(60, bounded=0.0)
    process, new = fitted.process(), np.random.default_rng(4).uniform(-2, 2, (15, 2))
    cross, between = kernel(new, points), kernel(new, new)
    np.testing.assert_allclose(process.mean(cross), exact.mean(cross), atol=1e-6)
    own = np.diag(between)
    np.testing.assert_allclose(process.variance(cross, own), exact.variance(cross, own), atol=1e-6)
    joint = process.posterior_covariance(cross, between)
    np.testing.assert_allclose(joint, exact.posterior_covariance(cross, between), atol=1e-6)
    for ours, true in zip(process.leave_one_out(), exact.leave_one_out(), strict=True):
        np.testing.assert_allclose(ours, true, atol=1e-6)
    others = cross[:4], kernel(new[:4], new[9:]), cross[9:]
    np.testing.assert_allclose(
        process.posterior_cross_covariance(others[0], others[2], others[1]),
        joint[:4, 9:],
        atol=1e-6,
    )
    rows = np.arange(5, 20)
    ours_and_true = fitted.leave_rows_out(rows, rows), exact.leave_rows_out(rows, rows)
    for ours, true in zip(*ours_and_true, strict=True):
        np.testing.assert_allclose(ours, true, atol=1e-6)


def test_with_every_row_inducing_bounds_count_as_in_the_exact_process():
    exact, fitted, points, _ = both(60, bounded=0.3)
    process, new = fitted.process(), np.random.default_rng(4).uniform(-2, 2, (15, 2))
    cross = kernel(new, points)
    np.testing.assert_allclose(process.mean(cross), exact.mean(cross), atol=2e-3)
    own = np.diag(kernel(new, new))
    np.testing.assert_allclose(process.variance(cross, own), exact.variance(cross, own), atol=2e-3)


@pytest.mark.parametrize("bounded", [0.0, 0.4])
def test_few_inducing_rows_come_close_to_the_exact_process(bounded):
    random = np.random.default_rng(3)
    points = random.uniform(-2, 2, (400, 2))
    rows = inducing_rows(kernel(points, points), np.arange(5), 60)
    exact, fitted, points, _ = both(400, bounded, rows, 1e-6)
    process, new = fitted.process(), np.random.default_rng(4).uniform(-2, 2, (100, 2))
    mean = process.mean(kernel(new, points[rows]))
    own = np.diag(kernel(new, new))
    spread = process.variance(kernel(new, points[rows]), own)
    true_spread = exact.variance(kernel(new, points), own)
    error = mean - exact.mean(kernel(new, points))
    assert np.sqrt(np.mean(error**2)) < 0.1 * np.sqrt(true_spread.mean())
    assert np.abs(np.log(spread / true_spread)).max() < 0.2


def test_chosen_rows_leave_no_row_alone_as_drawn_ones_do():
    points = np.random.default_rng(3).normal(0, 1.2, (300, 2))
    gram = kernel(points, points)

    def open_variance(rows: np.ndarray) -> float:
        solved = np.linalg.solve(gram[np.ix_(rows, rows)] + 1e-6 * np.eye(len(rows)), gram[rows])
        return float(np.max(np.diag(gram) - np.einsum("ij,ij->j", gram[rows], solved)))

    chosen, drawn = inducing_rows(gram, np.arange(3), 25), np.arange(25)
    assert len(chosen) == 25
    assert set(range(3)) <= set(chosen.tolist())
    assert open_variance(chosen) < 0.5 * open_variance(drawn)


def test_bounds_are_respected_and_are_no_values():
    """Rows known to be at most 0 pull down; far below the limit they say nothing."""
    points = np.array([[0.0, 0.0], [0.1, 0.0], [1.8, 1.8], [-1.8, 1.8]])
    gram = kernel(points, points)
    share, group = np.ones(4), np.zeros(4, int)
    target = np.array([0.0, 0.0, 0.5, -1.5])
    bounds = Observations(target, np.array([-1, -1, 0, 0]), group, share)
    values = Observations(target, np.zeros(4, int), group, share)
    low = SparseFit(gram, gram, np.diag(gram), NOISE, bounds).process()
    equal = SparseFit(gram, gram, np.diag(gram), NOISE, values).process()
    assert low.mean(gram)[0] < equal.mean(gram)[0] - 0.2
    # one bound of a standard normal value: its posterior is a half normal
    one = Observations(np.zeros(1), -np.ones(1, int), np.zeros(1, int), np.ones(1))
    half = SparseFit(np.eye(1), np.eye(1), np.ones(1), np.array([1e-6]), one).process()
    expected = norm.pdf(0) / norm.cdf(0)
    assert half.mean(np.eye(1))[0] == pytest.approx(-expected, abs=2e-3)
    assert half.variance(np.eye(1), np.ones(1))[0] == pytest.approx(1 - expected**2, abs=2e-3)


def test_arrays_hold_all_of_it():
    _, fitted, points, _ = both(40, bounded=0.2)
    process = fitted.process()
    arrays = process.to_arrays()
    again = SparseProcess.from_arrays(arrays)
    cross = kernel(points[:7] + 0.1, points)
    np.testing.assert_array_equal(again.mean(cross), process.mean(cross))
    np.testing.assert_array_equal(
        again.variance(cross, np.ones(7)), process.variance(cross, np.ones(7))
    )
    np.testing.assert_array_equal(again.loo_mean, process.loo_mean)
    with pytest.raises(ModelError, match="sparse process"):
        SparseProcess.from_arrays({**arrays, "factor": arrays["factor"][:-1]})
    with pytest.raises(ModelError, match="numbers"):
        SparseProcess.from_arrays({**arrays, "site_target": arrays["site_target"][:-1]})
