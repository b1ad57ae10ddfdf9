"""An exact Gaussian process whose kernel is a weighted sum of given Gram matrices.

The logarithms of the weights and of the noise have normal priors, whose centre is what several
campaigns agree on: with few rows the marginal likelihood alone over-fits them. They are set to
their most probable values (gpytorch). Rows that are bounds count through the probability of
what lies beyond them, by expectation propagation (Minka 2001; Rasmussen & Williams 2006, §3.6).
"""

import dataclasses
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.special import log_ndtr

from paratope.core.errors import TrainingError

# Of the prior over logarithms: centre of the signal to be shared by the terms, and of the noise;
# both relative to a target variance of 1. Their spread, in log units.
SIGNAL = 0.8
NOISE = 0.3
SPREAD = 1.0
# How alike the noises of different groups are beforehand: correlation of their logarithms.
ALIKE_NOISE = 0.5
JITTER = 1e-4
_MAX_STEPS = 60
# Spreads of the prior within which weights and noise are looked for: far beyond, a step of the
# search can meet matrices that cannot be factorised.
_REACH = 4.0
SWEEPS = 30
# Times that a covariance that cannot be factorised is given ten times more on its diagonal.
_JITTERS = 6
DAMPING = 0.7
# What a bound counts as before the model has said how likely it is: a value there, with this noise.
_FIRST_BOUND_VARIANCE = 1.0
_ROUNDS = 2


@dataclasses.dataclass(frozen=True)
class Observations:
    """What was seen, standardised.

    Attributes
    ----------
    target : np.ndarray, (n,)
        Value, or bound.
    censoring : np.ndarray of int, (n,)
        -1 at most, 0 exact, 1 at least.
    noise_group : np.ndarray of int, (n,)
        Rows of one group share a noise variance.
    noise_share : np.ndarray, (n,)
        Of that variance, such as 1/2 for the mean of two replicates.
    """

    target: np.ndarray
    censoring: np.ndarray
    noise_group: np.ndarray
    noise_share: np.ndarray

    def __len__(self) -> int:
        return len(self.target)

    def rows(self, index: np.ndarray) -> "Observations":
        """Some of the rows."""
        return Observations(*(array[index] for array in dataclasses.astuple(self)))


class GaussianProcess:
    """A fitted process: weights, noise, and the training rows' solved system.

    Parameters
    ----------
    weights : np.ndarray, (terms,)
    noise : np.ndarray, (noise groups,)
        Variances.
    grams : np.ndarray, (terms, n, n)
        Of the training rows.
    observed : Observations
    sites : tuple of np.ndarray, optional
        Target and variance (n,) that stand for each censored row; found if not given.

    Raises
    ------
    TrainingError
        If the covariance of the training rows cannot be factorised.
    """

    def __init__(
        self,
        weights: np.ndarray,
        noise: np.ndarray,
        grams: np.ndarray,
        observed: Observations,
        sites: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> None:
        self.weights, self.noise, self.observed = weights, noise, observed
        signal = np.tensordot(weights, grams, 1).astype(np.float64)
        if sites is None:
            sites = _sites(signal, noise, observed)
        self.site_target, self.site_variance = sites
        self.covariance = signal
        self._noise_row = _row_noise(noise, observed, self.site_variance)
        total = signal + np.diag(self._noise_row)
        self._factor = _factorised(total)
        self.alpha = cho_solve(self._factor, self.site_target)

    def mean(self, cross: np.ndarray) -> np.ndarray:
        """Expected value, (m,), from the covariance with the training rows, (m, n)."""
        return cross @ self.alpha

    def variance(self, cross: np.ndarray, own: np.ndarray) -> np.ndarray:
        """Variance without noise, (m,), from (m, n) and prior variances (m,)."""
        half = solve_triangular(self._factor[0], cross.T, lower=True)
        return np.maximum(own - np.einsum("ij,ij->j", half, half), 1e-9)

    def joint(self, cross: np.ndarray, between: np.ndarray) -> np.ndarray:
        """Covariance without noise, (m, m), from (m, n) and the prior covariance (m, m)."""
        half = solve_triangular(self._factor[0], cross.T, lower=True)
        return between - half.T @ half

    def shared(self, a: np.ndarray, b: np.ndarray, between: np.ndarray) -> np.ndarray:
        """Covariance of some with few others, (m, k), from (m, n), (k, n) and the prior (m, k)."""
        return between - a @ cho_solve(self._factor, b.T)

    def left_out(self) -> tuple[np.ndarray, np.ndarray]:
        """Each row's mean and variance (noise included) from all others, (n,) each.

        Rasmussen & Williams 2006, eq. 5.12; nothing is fitted again.
        """
        inverse = cho_solve(self._factor, np.eye(len(self.observed)))
        diagonal = np.diag(inverse)
        mean = self.site_target - self.alpha / diagonal
        return mean, 1.0 / diagonal

    def without(self, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance (noise included) of some rows from the others; indices (m,)."""
        keep = np.setdiff1d(np.arange(len(self.observed)), test)
        inner = self.covariance[np.ix_(keep, keep)] + np.diag(self._noise_row[keep])
        factor = _factorised(inner)
        cross = self.covariance[np.ix_(test, keep)]
        mean = cross @ cho_solve(factor, self.site_target[keep])
        half = solve_triangular(factor[0], cross.T, lower=True)
        own = np.diag(self.covariance)[test] - np.einsum("ij,ij->j", half, half)
        return mean, np.maximum(own, 1e-9) + self._noise_row[test]


def fit(
    grams: np.ndarray,
    observed: Observations,
    prior_weight: np.ndarray,
    prior_noise: float = NOISE,
    spread: float = SPREAD,
) -> GaussianProcess:
    """The process with its most probable weights and noise.

    Parameters
    ----------
    grams : np.ndarray, (terms, n, n)
        Of the training rows, each of mean 0 and mean variance 1.
    observed : Observations
    prior_weight : np.ndarray, (terms,)
        Centre of the prior of each weight.
    prior_noise : float
        Centre of the prior of the noise variance.
    spread : float
        Standard deviation of the logarithms' priors; those of noises are correlated.

    Raises
    ------
    TrainingError
        If gpytorch is missing, or the fit fails.
    """
    groups = int(observed.noise_group.max(initial=0)) + 1
    centre = np.log(np.concatenate([prior_weight, np.full(groups, prior_noise)]))
    bounds = observed.censoring != 0
    sites = (observed.target.copy(), np.where(bounds, _FIRST_BOUND_VARIANCE, 0.0))
    found = centre
    process = None
    for _ in range(_ROUNDS if bounds.any() else 1):
        found = _most_probable(grams, observed, sites, centre, spread, found)
        weights, noise = np.exp(found[: len(prior_weight)]), np.exp(found[len(prior_weight) :])
        process = GaussianProcess(
            weights, noise, grams, observed, None if bounds.any() else sites
        )  # fmt: skip
        sites = (process.site_target, process.site_variance)
    assert process is not None
    return process


def _most_probable(
    grams: np.ndarray,
    observed: Observations,
    sites: tuple[np.ndarray, np.ndarray],
    centre: np.ndarray,
    spread: float,
    start: np.ndarray,
) -> np.ndarray:
    import torch
    from scipy.optimize import minimize

    gpytorch = _gpytorch()
    from linear_operator.utils.errors import NotPSDError
    from linear_operator.utils.warnings import NumericalWarning

    model, objective = _model(gpytorch, grams, observed, sites, centre, spread, start)
    parameter = model.covar_module.log_scale

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(values))
        parameter.grad = None
        inputs = model.train_inputs[0]
        value = -objective(model(inputs), model.train_targets) * len(observed)
        value.backward()
        assert parameter.grad is not None
        return float(value.detach()), parameter.grad.numpy().copy()

    # exact algebra at every size: the library's default turns to iterations from 800 rows on
    exact = gpytorch.settings.fast_computations(False, False, False)
    patient = gpytorch.settings.cholesky_max_tries(_JITTERS)
    steps = {"maxiter": _MAX_STEPS}
    reach = list(zip(centre - _REACH * spread, centre + _REACH * spread, strict=True))
    try:
        with exact, patient, warnings.catch_warnings():
            warnings.simplefilter("ignore", NumericalWarning)  # of the jitter that was asked for
            found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=reach, options=steps)
    except NotPSDError as error:
        raise TrainingError(f"the Gaussian process could not be fitted: {error}") from error
    if not np.isfinite(found.x).all():
        raise TrainingError("the Gaussian process could not be fitted: weights are not finite")
    return found.x


def _model(
    gpytorch: Any,
    grams: np.ndarray,
    observed: Observations,
    sites: tuple[np.ndarray, np.ndarray],
    centre: np.ndarray,
    spread: float,
    start: np.ndarray,
) -> tuple[Any, Any]:
    """A gpytorch model of the training rows, which are its inputs by number."""
    import torch
    from linear_operator.operators import to_linear_operator

    bank = torch.from_numpy(np.ascontiguousarray(grams))
    share = torch.from_numpy(np.where(observed.censoring == 0, observed.noise_share, 0.0))
    fixed = torch.from_numpy(sites[1]) + JITTER
    group = torch.from_numpy(observed.noise_group)

    class SumOfTerms(gpytorch.kernels.Kernel):
        """Weighted sum of Gram matrices, with the rows' noise on its diagonal."""

        def __init__(self) -> None:
            super().__init__()
            scale = torch.nn.Parameter(torch.from_numpy(start.copy()))
            self.register_parameter("log_scale", scale)
            spreads = torch.from_numpy(_prior_covariance(len(bank), len(centre), spread))
            prior = gpytorch.priors.MultivariateNormalPrior(torch.from_numpy(centre), spreads)
            self.register_prior("log_scale_prior", prior, "log_scale")

        def forward(self, x1: Any, x2: Any, diag: bool = False, **unused: Any) -> Any:
            weights = self.log_scale[: len(bank)].exp().to(bank.dtype)
            signal = torch.tensordot(weights, bank, 1).double()
            noise = self.log_scale[len(bank) :].exp()[group] * share + fixed
            total = signal + torch.diag(noise)
            return total.diagonal() if diag else to_linear_operator(total)

    class Process(gpytorch.models.ExactGP):
        def __init__(self, inputs: Any, targets: Any, likelihood: Any) -> None:
            super().__init__(inputs, targets, likelihood)
            self.mean_module = gpytorch.means.ZeroMean()
            self.covar_module = SumOfTerms()

        def forward(self, x: Any) -> Any:
            return gpytorch.distributions.MultivariateNormal(
                self.mean_module(x), self.covar_module(x)
            )

    nothing = torch.full((len(observed),), 1e-6, dtype=torch.float64)
    likelihood = gpytorch.likelihoods.FixedNoiseGaussianLikelihood(nothing)
    inputs = torch.arange(len(observed), dtype=torch.float64)[:, None]
    model = Process(inputs, torch.from_numpy(sites[0]), likelihood).double()
    model.train()
    return model, gpytorch.mlls.ExactMarginalLogLikelihood(likelihood, model)


def _prior_covariance(terms: int, count: int, spread: float) -> np.ndarray:
    """Of the logarithms of the terms' weights, then of the groups' noises, (count, count)."""
    covariance = np.eye(count)
    covariance[terms:, terms:] += ALIKE_NOISE * (1.0 - np.eye(count - terms))
    return spread**2 * covariance


def _gpytorch() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of torch.jit, which it still uses
        try:
            import gpytorch
        except ImportError as error:
            raise TrainingError(
                'adapting a model needs gpytorch; install it with: pip install "paratope[campaign]"'
            ) from error
    return gpytorch


def _row_noise(noise: np.ndarray, observed: Observations, site_variance: np.ndarray) -> np.ndarray:
    own = noise[observed.noise_group] * observed.noise_share
    return np.where(observed.censoring == 0, own, site_variance) + JITTER


def _factorised(total: np.ndarray) -> tuple[np.ndarray, bool]:
    for jitter in (0.0, 1e-6, 1e-4, 1e-2):
        try:
            factor, lower = cho_factor(total + jitter * np.eye(len(total)), lower=True)
        except np.linalg.LinAlgError:
            continue
        return np.tril(factor), lower
    raise TrainingError("the covariance of the training rows is not positive definite")


def _sites(
    signal: np.ndarray, noise: np.ndarray, observed: Observations
) -> tuple[np.ndarray, np.ndarray]:
    """Gaussian stand-ins of the censored rows: expectation propagation given the exact rows."""
    target, variance = observed.target.astype(float).copy(), np.zeros(len(observed))
    bounds = np.flatnonzero(observed.censoring)
    if not len(bounds):
        return target, variance
    exact = np.flatnonzero(observed.censoring == 0)
    prior = signal[np.ix_(bounds, bounds)] + JITTER * np.eye(len(bounds))
    mean = np.zeros(len(bounds))
    if len(exact):
        own = noise[observed.noise_group[exact]] * observed.noise_share[exact] + JITTER
        factor = _factorised(signal[np.ix_(exact, exact)] + np.diag(own))
        cross = signal[np.ix_(bounds, exact)]
        mean = cross @ cho_solve(factor, observed.target[exact])
        half = solve_triangular(factor[0], cross.T, lower=True)
        prior = prior - half.T @ half
    sign = observed.censoring[bounds].astype(float)
    spread = noise[observed.noise_group[bounds]] * observed.noise_share[bounds] + JITTER
    found = propagate_bounds(mean, prior, observed.target[bounds], sign, spread)
    target[bounds], variance[bounds] = found
    return target, variance


def propagate_bounds(
    mean: np.ndarray,
    covariance: np.ndarray,
    bound: np.ndarray,
    sign: np.ndarray,
    noise: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Gaussian observations that stand for bounds on noisy values of a Gaussian vector.

    Parameters
    ----------
    mean : np.ndarray, (m,)
    covariance : np.ndarray, (m, m)
    bound : np.ndarray, (m,)
    sign : np.ndarray, (m,)
        1 where the noisy value is at least the bound, -1 where it is at most.
    noise : np.ndarray, (m,)
        Variances.

    Returns
    -------
    target, variance : np.ndarray, (m,)

    Examples
    --------
    >>> one = np.ones(1)
    >>> target, variance = propagate_bounds(0 * one, np.eye(1), 0 * one, one, 1e-6 * one)
    >>> posterior = target / (1 + variance)  # the mean of a half normal is sqrt(2 / pi)
    >>> bool(abs(posterior[0] - np.sqrt(2 / np.pi)) < 1e-3)
    True
    """
    precision, shift = np.full(len(mean), 1e-6), np.zeros(len(mean))
    for _ in range(SWEEPS):
        factor = _factorised(covariance + np.diag(1.0 / precision))
        half = solve_triangular(factor[0], covariance, lower=True)
        spread = np.maximum(np.diag(covariance) - np.einsum("ij,ij->j", half, half), 1e-9)
        centre = mean + covariance @ cho_solve(factor, shift / precision - mean)
        cavity = 1.0 / np.maximum(1.0 / spread - precision, 1e-9)
        middle = cavity * (centre / spread - shift)
        new, moved = stand_in(middle, cavity, bound, sign, noise)
        change = float(np.abs(new - precision).max())
        precision = precision + DAMPING * (new - precision)
        shift = shift + DAMPING * (moved - shift)
        if change < 1e-6:
            break
    return shift / precision, 1.0 / precision


def stand_in(
    middle: np.ndarray, cavity: np.ndarray, bound: np.ndarray, sign: np.ndarray, noise: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Precision and precision times target of what stands for each bound, (m,) each.

    Parameters
    ----------
    middle, cavity : np.ndarray, (m,)
        Mean and variance of each value as all else tells it.
    bound, sign, noise : np.ndarray, (m,)
        As in `propagate_bounds`.
    """
    width = np.sqrt(cavity + noise)
    reach = sign * (middle - bound) / width
    ratio = np.exp(-0.5 * reach**2 - 0.5 * np.log(2 * np.pi) - log_ndtr(reach))
    tilted = middle + sign * cavity * ratio / width
    narrowed = cavity - cavity**2 * ratio * (reach + ratio) / width**2
    precision = np.clip(1.0 / np.maximum(narrowed, 1e-9) - 1.0 / cavity, 1e-6, 1e6)
    return precision, tilted / np.maximum(narrowed, 1e-9) - middle / cavity


def shared_weights(terms: Sequence[str], offsets: Sequence[str] = ()) -> np.ndarray:
    """Centre of the prior of each term's weight: the signal in equal shares, offsets in full.

    >>> shared_weights(["a", "b", "assay"], ["assay"]).tolist()
    [0.4, 0.4, 1.0]
    """
    count = sum(term not in offsets for term in terms)
    return np.array([1.0 if term in offsets else SIGNAL / max(count, 1) for term in terms])
