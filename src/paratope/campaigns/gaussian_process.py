"""Exact Gaussian process regression over given Gram matrices.

``y_i = f_i + e_i`` with ``f ~ N(0, sum_t w_t K_t)`` and ``e_i ~ N(0, s_i v_g(i))``. The weights w
of the terms and the noise variances v of groups of rows have log-normal priors, whose centres are
what several campaigns agree on, and are set to their most probable values: with few rows the
marginal likelihood alone over-fits them (Rasmussen & Williams 2006, ch. 5). A censored row counts
through the probability of the half line beyond its bound, by expectation propagation (Minka 2001;
Rasmussen & Williams 2006, §3.6).
"""

import dataclasses
import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.linalg import cho_solve, cholesky, get_lapack_funcs, solve_triangular
from scipy.optimize import minimize
from scipy.special import log_ndtr

from paratope.core.censoring import Censoring
from paratope.core.errors import TrainingError

# Centres of the priors, relative to a target variance of 1: the signal that the terms share, and
# the noise variance; and the standard deviation of the logarithms.
SIGNAL = 0.8
NOISE = 0.3
SPREAD = 1.0
# Prior correlation between the groups' log noise variances.
_NOISE_CORRELATION = 0.5
JITTER = 1e-4
_MAX_STEPS = 60
# Prior standard deviations within which weights and noise are searched: far beyond, a step of the
# search can meet matrices that cannot be factorised.
_REACH = 4.0
_EP_SWEEPS = 30
_EP_DAMPING = 0.7
# Variance of a bound taken for a value, before the first expectation propagation.
_FIRST_BOUND_VARIANCE = 1.0


@dataclasses.dataclass(frozen=True)
class Observations:
    """Standardised observations."""

    target: np.ndarray  # (n,) value, or bound
    censoring: np.ndarray  # (n,) values of `Censoring`
    noise_group: np.ndarray  # (n,) rows of one group share a noise variance
    # (n,) fraction of that variance, such as 1/2 for the mean of two replicates
    noise_share: np.ndarray

    def __len__(self) -> int:
        return len(self.target)

    @property
    def exact(self) -> np.ndarray:
        """Rows that are no bounds, (n,) of bool."""
        return self.censoring == Censoring.EXACT


class Hyperparameters(NamedTuple):
    """Weights (terms,) and noise variances (groups,)."""

    weights: np.ndarray
    noise: np.ndarray


class GaussianProcess:
    """Posterior given training rows, from their prior covariance (n, n) and noise variances.

    `ep` are target and variance (n,) of each row's Gaussian factor (exact rows: their value, and
    0), by default found by expectation propagation. Raises `TrainingError` if the covariance cannot
    be factorised, and warns if only with more noise, which all results then take in.
    """

    def __init__(
        self,
        covariance: np.ndarray,
        noise: np.ndarray,
        observed: Observations,
        ep: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> None:
        self.covariance, self.noise, self.observed = covariance.astype(np.float64), noise, observed
        if ep is None:
            ep = _ep_factors(self.covariance, noise, observed)
        self.ep_target, self.ep_variance = ep
        measured = noise[observed.noise_group] * observed.noise_share
        row_noise = np.where(observed.exact, measured, self.ep_variance) + JITTER
        self._factor, jitter = safe_cholesky(plus_diagonal(self.covariance, row_noise))
        if jitter:
            warnings.warn(
                f"the covariance of the training rows is not positive definite: {jitter:g} was "
                "added to the noise variance of every row",
                RuntimeWarning,
                stacklevel=2,
            )
        self._row_noise = row_noise + jitter
        self.alpha = cho_solve((self._factor, True), self.ep_target)

    def mean(self, cross: np.ndarray) -> np.ndarray:
        """Posterior mean, (m,), from the covariance with the training rows, (m, n)."""
        return cross @ self.alpha

    def variance(self, cross: np.ndarray, prior: np.ndarray) -> np.ndarray:
        """Posterior variance without noise, (m,), from (m, n) and prior variances (m,)."""
        half = solve_triangular(self._factor, cross.T, lower=True)
        return np.maximum(prior - np.einsum("ij,ij->j", half, half), 1e-9)

    def posterior_covariance(self, cross: np.ndarray, prior: np.ndarray) -> np.ndarray:
        """Posterior covariance without noise, (m, m), from (m, n) and the prior's (m, m)."""
        half = solve_triangular(self._factor, cross.T, lower=True)
        return prior - half.T @ half

    def posterior_cross_covariance(
        self, a: np.ndarray, b: np.ndarray, prior: np.ndarray
    ) -> np.ndarray:
        """Posterior covariance with few others, (m, k), from (m, n), (k, n) and the prior's."""
        return prior - a @ cho_solve((self._factor, True), b.T)

    def leave_one_out(self) -> tuple[np.ndarray, np.ndarray]:
        """Each row's mean and variance (noise included) from all others, (n,) each.

        ``mu_i = y_i - [K⁻¹ y]_i / [K⁻¹]_ii`` and ``var_i = 1 / [K⁻¹]_ii`` (Rasmussen & Williams
        2006, eq. 5.12); hyper-parameters stay.
        """
        precision = np.diag(_lower_inverse(self._factor))
        return self.ep_target - self.alpha / precision, 1.0 / precision

    def leave_rows_out(
        self, left_out: np.ndarray, test: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance (noise included) of some rows from all that are not left out."""
        keep = np.setdiff1d(np.arange(len(self.observed)), left_out)
        rest = plus_diagonal(self.covariance[np.ix_(keep, keep)], self._row_noise[keep])
        factor, _ = safe_cholesky(rest)
        cross = self.covariance[np.ix_(test, keep)]
        mean = cross @ cho_solve((factor, True), self.ep_target[keep])
        half = solve_triangular(factor, cross.T, lower=True)
        variance = np.diag(self.covariance)[test] - np.einsum("ij,ij->j", half, half)
        return mean, np.maximum(variance, 1e-9) + self._row_noise[test]


def fit_hyperparameters(
    grams: np.ndarray, observed: Observations, prior_weight: np.ndarray, spread: float = SPREAD
) -> Hyperparameters:
    """Most probable weights and noise variances, given Gram matrices of mean variance 1.

    `prior_weight` is the centre of each weight's prior and `spread` the standard deviation of the
    logarithms' priors; those of noises are correlated. Raises `TrainingError` if a covariance
    cannot be factorised or a weight is not finite; warns if the search does not converge.
    """
    # the line search stalls on the rounding of single precision
    grams, terms = grams.astype(np.float64), len(prior_weight)
    groups = int(observed.noise_group.max(initial=0)) + 1
    centre = np.log(np.concatenate([prior_weight, np.full(groups, NOISE)]))
    ep = (observed.target.copy(), np.where(observed.exact, 0.0, _FIRST_BOUND_VARIANCE))
    log_scale = _most_probable(grams, observed, ep, centre, spread, centre)
    if not observed.exact.all():  # once more, with what that makes of the bounds
        weights, noise = np.exp(log_scale[:terms]), np.exp(log_scale[terms:])
        ep = _ep_factors(np.tensordot(weights, grams, 1), noise, observed)
        log_scale = _most_probable(grams, observed, ep, centre, spread, log_scale)
    return Hyperparameters(np.exp(log_scale[:terms]), np.exp(log_scale[terms:]))


def _most_probable(
    grams: np.ndarray,
    observed: Observations,
    ep: tuple[np.ndarray, np.ndarray],
    centre: np.ndarray,
    spread: float,
    start: np.ndarray,
) -> np.ndarray:
    """Maximum of log marginal likelihood plus log prior over log weights and log noise."""
    terms, (target, ep_variance) = len(grams), ep
    share = np.where(observed.exact, observed.noise_share, 0.0)
    prior = np.eye(len(centre))
    prior[terms:, terms:] += _NOISE_CORRELATION * (1.0 - np.eye(len(centre) - terms))
    prior_precision = np.linalg.inv(spread**2 * prior)

    def loss(log_scale: np.ndarray) -> tuple[float, np.ndarray]:
        weights, noise = np.exp(log_scale[:terms]), np.exp(log_scale[terms:])
        row_noise = noise[observed.noise_group] * share + ep_variance + JITTER
        factor, _ = safe_cholesky(plus_diagonal(np.tensordot(weights, grams, 1), row_noise))
        alpha = cho_solve((factor, True), target)
        inverse = _lower_inverse(factor)
        # d log p / d K = (alpha alphaᵀ - K⁻¹) / 2 (Rasmussen & Williams 2006, eq. 5.9)
        slope = np.outer(alpha, alpha) - inverse - np.tril(inverse, -1).T
        by_term = grams.reshape(terms, -1) @ slope.ravel()
        by_group = np.bincount(observed.noise_group, share * np.diag(slope), len(noise))
        away = log_scale - centre
        pull = prior_precision @ away
        value = 0.5 * (target @ alpha + away @ pull) + np.log(np.diag(factor)).sum()
        return float(value), pull - 0.5 * np.concatenate([weights * by_term, noise * by_group])

    reach = list(zip(centre - _REACH * spread, centre + _REACH * spread, strict=True))
    try:
        result = minimize(
            loss, start, jac=True, method="L-BFGS-B", bounds=reach, options={"maxiter": _MAX_STEPS}
        )
    except TrainingError as error:
        raise TrainingError(f"the Gaussian process could not be fitted: {error}") from error
    if not np.isfinite(result.x).all():
        raise TrainingError("the Gaussian process could not be fitted: weights are not finite")
    if not result.success:
        warnings.warn(
            f"the search for the kernel's weights stopped before it converged: {result.message}",
            RuntimeWarning,
            stacklevel=3,
        )
    return result.x


def plus_diagonal(matrix: np.ndarray, values: np.ndarray | float) -> np.ndarray:
    """A copy of a square matrix with values added to its diagonal."""
    total = matrix.astype(np.float64)
    total.flat[:: len(total) + 1] += values
    return total


def safe_cholesky(matrix: np.ndarray) -> tuple[np.ndarray, float]:
    """Lower Cholesky factor, and what it took on the diagonal; `TrainingError` beyond 0.01."""
    for jitter in (0.0, 1e-6, 1e-4, 1e-2):
        try:
            return cholesky(plus_diagonal(matrix, jitter) if jitter else matrix, lower=True), jitter
        except np.linalg.LinAlgError:
            continue
    raise TrainingError("the covariance of the training rows is not positive definite")


def _lower_inverse(factor: np.ndarray) -> np.ndarray:
    """Lower triangle of the inverse of a matrix, from its lower Cholesky factor."""
    (potri,) = get_lapack_funcs(("potri",), (factor,))
    return np.tril(potri(factor, lower=1)[0])


def _ep_factors(
    covariance: np.ndarray, noise: np.ndarray, observed: Observations
) -> tuple[np.ndarray, np.ndarray]:
    """Target and variance of each row's Gaussian factor; bounds are conditioned on exact rows."""
    target, variance = observed.target.astype(float), np.zeros(len(observed))
    bounds, exact = np.flatnonzero(~observed.exact), np.flatnonzero(observed.exact)
    if not len(bounds):
        return target, variance
    row_noise = noise[observed.noise_group] * observed.noise_share + JITTER
    mean, prior = np.zeros(len(bounds)), plus_diagonal(covariance[np.ix_(bounds, bounds)], JITTER)
    if len(exact):
        total = plus_diagonal(covariance[np.ix_(exact, exact)], row_noise[exact])
        factor, _ = safe_cholesky(total)
        cross = covariance[np.ix_(bounds, exact)]
        mean = cross @ cho_solve((factor, True), target[exact])
        half = solve_triangular(factor, cross.T, lower=True)
        prior = prior - half.T @ half
    sign = observed.censoring[bounds].astype(float)
    target[bounds], variance[bounds] = expectation_propagation(
        mean, prior, target[bounds], sign, row_noise[bounds]
    )
    return target, variance


def expectation_propagation(
    mean: np.ndarray, covariance: np.ndarray, bound: np.ndarray, sign: np.ndarray, noise: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Target and variance of the Gaussian factors of bounds on noisy Gaussian values, (m,) each.

    `sign` is 1 where the noisy value is at least the bound, -1 where it is at most.

    >>> one = np.ones(1)
    >>> target, variance = expectation_propagation(0 * one, np.eye(1), 0 * one, one, 1e-6 * one)
    >>> posterior = target / (1 + variance)  # the mean of a half normal is sqrt(2 / pi)
    >>> bool(abs(posterior[0] - np.sqrt(2 / np.pi)) < 1e-3)
    True
    """

    def cavity(precision: np.ndarray, shift: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        factor, _ = safe_cholesky(plus_diagonal(covariance, 1.0 / precision))
        half = solve_triangular(factor, covariance, lower=True)
        variance = np.maximum(np.diag(covariance) - np.einsum("ij,ij->j", half, half), 1e-9)
        posterior = mean + covariance @ cho_solve((factor, True), shift / precision - mean)
        cavity_variance = 1.0 / np.maximum(1.0 / variance - precision, 1e-9)
        return cavity_variance * (posterior / variance - shift), cavity_variance

    return match_moments(cavity, bound, sign, noise)


# Precision, and precision times target, of all factors -> mean and variance without each of them.
Cavity = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def match_moments(
    cavity: Cavity, bound: np.ndarray, sign: np.ndarray, noise: np.ndarray, tolerance: float = 1e-6
) -> tuple[np.ndarray, np.ndarray]:
    """Target and variance of each bound's Gaussian factor, (m,) each, by parallel updates.

    The tilted distribution ``N(f; m, v) Phi(sign (f - bound) / sqrt(noise))`` has mean
    ``m + sign v r / s`` and variance ``v - v² r (z + r) / s²``, with ``s² = v + noise``,
    ``z = sign (m - bound) / s`` and ``r = phi(z) / Phi(z)`` (Rasmussen & Williams 2006, eq. 3.58).
    """
    precision, shift = np.full(len(bound), 1e-6), np.zeros(len(bound))
    for _ in range(_EP_SWEEPS):
        centre, spread = cavity(precision, shift)
        scale = np.sqrt(spread + noise)
        z = sign * (centre - bound) / scale
        ratio = np.exp(-0.5 * z**2 - 0.5 * np.log(2 * np.pi) - log_ndtr(z))
        mean = centre + sign * spread * ratio / scale
        variance = np.maximum(spread - spread**2 * ratio * (z + ratio) / scale**2, 1e-9)
        new = np.clip(1.0 / variance - 1.0 / spread, 1e-6, 1e6)
        change = float(np.abs(new / precision - 1.0).max())
        precision = precision + _EP_DAMPING * (new - precision)
        shift = shift + _EP_DAMPING * (mean / variance - centre / spread - shift)
        if change < tolerance:
            break
    return shift / precision, 1.0 / precision


def prior_weights(terms: Sequence[str], offsets: Sequence[str] = ()) -> np.ndarray:
    """Centre of the prior of each term's weight: equal shares of the signal, offsets 1 each.

    >>> prior_weights(["a", "b", "assay"], ["assay"]).tolist()
    [0.4, 0.4, 1.0]
    """
    count = sum(term not in offsets for term in terms)
    return np.array([1.0 if term in offsets else SIGNAL / max(count, 1) for term in terms])
