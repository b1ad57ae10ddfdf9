"""Batches by acquisition: noisy expected improvement, upper confidence bound, Thompson sampling.

The posterior is one joint normal distribution over the candidates and the best measured variants.
A batch is chosen greedily: after each choice the posterior is the one that would follow from its
measurement, averaged over what might be measured. That leaves the means and shrinks the variances
of the chosen candidate and of everything correlated with it, so the next choice is something else.

``explore`` means the same to all of them: 0 takes the highest expected value whatever the
uncertainty; 0.5 trades the two as the method's authors do; 1 goes where the model knows least.
"""

import abc
import dataclasses
import warnings
from collections import Counter
from collections.abc import Hashable, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import cdist
from scipy.optimize import minimize
from scipy.special import expit, logit, ndtr

from paratope.campaigns.campaign_model import CampaignModel
from paratope.core.errors import InputError, MissingExtraError, unknown_name
from paratope.molecules.sequences import Antibody, Pair

DEFAULT_ACQUISITION = "ucb"
DEFAULT_EXPLORE = 0.25
# The joint distribution is worked out for this many candidates; of more, the most promising ones.
JOINT_CANDIDATES = 1000
MAX_BATCH = 2000
# Of them, this share by their mean alone, the rest by mean and standard deviation.
_SHARE_BY_MEAN = 0.3
_LEAST_PER_CHOICE = 5
# Generated candidates that are encoded for each choice: the fewest that keep 95 % of the plate that
# encoding all of them gives (docs/LOG.md).
ENCODED_PER_CHOICE = 4
# Measured variants that might be the best one.
BASELINE_VARIANTS = 16
# Standard deviations that an unexplored candidate is worth at explore 1.
SDS_AT_FULL_EXPLORE = 4.0
# Draws of the posterior per expected improvement; a power of two, as Sobol sequences want.
_DRAWS = 128
# Below this, the margin of the expected improvement changes nothing any more.
_LEAST_EXPLORE = 0.01
# Covariances of candidates with incumbents that are held at once.
_CELLS = 4_000_000
# Candidates that are valued anew at once.
_AT_ONCE = 64
# Added to a diagonal before it is factorised, as a share of the largest variance.
_JITTER = 1e-6
# Thresholds about a value: shares of the measured rows that lie below them.
_THRESHOLD_STEPS = (-0.1, -0.05, 0.0, 0.05)
_LOWEST_SHARE, _HIGHEST_SHARE = 0.1, 0.95
# Prior of the calibration: intercept 0 and slope 1 (the model is right), with these deviations.
_INTERCEPT_SD, _SLOPE_SD = 2.0, 0.5
_FEWEST_ROWS = 8
_USUAL_ROWS = 500  # Of the measured variants, whose median standard deviation is the usual one
_TINY = 1e-6
# What log-odds lose as a candidate leaves what was measured: for each e-fold of its standard
# deviation over the measured variants' median one, and for each standard deviation of the measured
# values by which its mean is above the best. Fitted on plates of measured landscapes (docs/LOG.md).
_LOSS_PER_LOG_SD, _LOSS_PER_SD_ABOVE = 1.9, 1.7


class JointPosterior(NamedTuple):
    """A joint normal distribution of noise-free values."""

    mean: np.ndarray  # Of the candidates, then of the best measured variants
    covariance: np.ndarray
    noise_variance: float  # Of one measurement, on the same scale
    candidates: int  # How many of the entries are candidates


class Acquisition(abc.ABC):
    """Values candidates given the posterior and what has been chosen; `explore` is 0 to 1."""

    name: ClassVar[str]
    summary: ClassVar[str]

    def __init__(self, posterior: JointPosterior, explore: float, seed: int) -> None:
        if not 0.0 <= explore <= 1.0:
            raise InputError(f"explore must be between 0 and 1, got {explore}")
        self.posterior, self.explore, self.seed = posterior, explore, seed
        self.mean = posterior.mean[: posterior.candidates]

    def values(self) -> np.ndarray:
        """Value of each candidate as the next choice, (candidates,)."""
        every = np.arange(self.posterior.candidates)
        return self.mean if self.explore == 0.0 else self._values(every)

    def best(self, still_open: np.ndarray) -> int:
        """Index of the best candidate among those that may be chosen, a mask (candidates,)."""
        return int(np.argmax(np.where(still_open, self.values(), -np.inf)))

    @abc.abstractmethod
    def choose(self, index: int) -> None:
        """Take a candidate."""

    @abc.abstractmethod
    def _values(self, indices: np.ndarray) -> np.ndarray:
        """Values of some candidates, (indices,)."""


class NoisyExpectedImprovement(Acquisition):
    """Logarithm of the expected improvement on the best measured and the best chosen so far.

    ``NEI(x) = E[max(f(x) - max(f(measured), f(chosen)), 0)]`` over the joint posterior (Letham et
    al. 2019), by botorch's ``qLogNoisyExpectedImprovement`` (Ament et al. 2023, arXiv 2310.20708).
    `explore` of 0.5 is just that. Below, what is to be beaten is lowered by the log-odds of
    `explore` times the median standard deviation of the candidates: so much is gained anyway that
    the mean decides. Above, all standard deviations are multiplied by twice `explore`.
    """

    name = "nei"
    summary = "noisy expected improvement over the best measured"

    def __init__(self, posterior: JointPosterior, explore: float, seed: int) -> None:
        super().__init__(posterior, explore, seed)
        self.covariance = posterior.covariance * max(1.0, 2.0 * explore) ** 2
        self._incumbents = list(range(posterior.candidates, len(posterior.mean)))
        self._bounds = np.full(posterior.candidates, np.inf)

    def choose(self, index: int) -> None:
        """Take a candidate: from now on it is to be beaten, too."""
        self._incumbents.append(index)

    def best(self, still_open: np.ndarray) -> int:
        """Index of the best open candidate, by lazy evaluation (Minoux 1978).

        The more there is to beat, the less each candidate is worth: its last value is an upper
        bound, and only those are valued anew whose bound is above the best.
        """
        if self.explore == 0.0:
            return super().best(still_open)
        stale = np.ones(self.posterior.candidates, dtype=bool)
        while True:
            bounds = np.where(still_open, self._bounds, -np.inf)
            order = np.argsort(-bounds, kind="stable")
            if not stale[order[0]]:
                return int(order[0])
            unbounded = bool(np.isinf(bounds[order[0]]))
            indices = order[: len(order) if unbounded else _AT_ONCE]
            indices = indices[stale[indices] & still_open[indices]]
            self._bounds[indices] = self._values(indices)
            stale[indices] = False

    def _values(self, indices: np.ndarray) -> np.ndarray:
        botorch = _botorch()
        count = self.posterior.candidates
        incumbents = np.array(self._incumbents)
        explore = min(max(self.explore, _LEAST_EXPLORE), 0.5)
        deviations = np.sqrt(np.maximum(np.diagonal(self.posterior.covariance)[:count], 0.0))
        margin = float(np.median(deviations)) * float(np.log(explore / (1.0 - explore)))
        # an incumbent's number is beyond those of the candidates: an entry of its own
        mean = np.concatenate([self.mean, self.posterior.mean[incumbents]])
        model = index_model(mean, self.covariance, np.concatenate([np.arange(count), incumbents]))
        objective = botorch.acquisition.objective.GenericMCObjective(
            lambda samples, X: samples[..., 0] + margin * (X[..., 0] >= count)
        )
        sampler = botorch.sampling.SobolQMCNormalSampler(torch.Size([_DRAWS]), seed=self.seed)
        with torch.no_grad():
            acquisition = botorch.acquisition.logei.qLogNoisyExpectedImprovement(
                model,
                _column(np.arange(count, len(mean))),
                sampler=sampler,
                objective=objective,
                prune_baseline=False,
                cache_root=True,
            )
            parts = np.array_split(indices, 1 + len(indices) * len(incumbents) ** 2 // _CELLS)
            values = [acquisition(_column(part)[:, None, :]).numpy() for part in parts]
        return np.concatenate(values)


class UpperConfidenceBound(Acquisition):
    """``UCB(x) = mu(x) + sqrt(beta) * sigma(x)``, with ``sqrt(beta) = 4 * explore``.

    Srinivas et al. 2010 (arXiv 0912.3995); the variance is that given the choices so far, as if
    they had been measured (GP-BUCB, Desautels et al. 2014, JMLR 15:4053).
    """

    name = "ucb"
    summary = "mean plus standard deviations"

    def __init__(self, posterior: JointPosterior, explore: float, seed: int) -> None:
        super().__init__(posterior, explore, seed)
        self.variance = np.diagonal(posterior.covariance).copy()
        # rows of a partial Cholesky factor of what the choices explain
        self._factors = np.zeros((0, len(self.variance)))

    def choose(self, index: int) -> None:
        """Take a candidate: variances become what they will be once it is measured."""
        column = self.posterior.covariance[index] - self._factors[:, index] @ self._factors
        factor = column / np.sqrt(column[index] + self.posterior.noise_variance)
        self._factors = np.vstack([self._factors, factor])
        self.variance = np.maximum(self.variance - factor**2, 0.0)

    def _values(self, indices: np.ndarray) -> np.ndarray:
        root_beta = SDS_AT_FULL_EXPLORE * self.explore
        return self.mean[indices] + root_beta * np.sqrt(self.variance[indices])


class Thompson(Acquisition):
    """``mu(x) + 2 * explore * (f(x) - mu(x))``, f one joint draw of the posterior a choice.

    Thompson 1933; the highest of a draw is taken. The draws themselves are what makes the batch
    diverse: choices do not change the posterior.
    """

    name = "thompson"
    summary = "the best of one joint draw for each choice"

    def __init__(self, posterior: JointPosterior, explore: float, seed: int) -> None:
        super().__init__(posterior, explore, seed)
        self._random = np.random.default_rng(seed)
        count = posterior.candidates
        covariance = torch.from_numpy(posterior.covariance[:count, :count].copy())
        covariance.diagonal().add_(_JITTER * float(covariance.max()))
        self._root = torch.linalg.cholesky(covariance)

    def choose(self, index: int) -> None:
        """Draws are independent of each other: nothing changes."""

    def _values(self, indices: np.ndarray) -> np.ndarray:
        generator = torch.Generator().manual_seed(int(self._random.integers(2**31)))
        normal = torch.randn(self.posterior.candidates, generator=generator, dtype=torch.double)
        deviation = (self._root @ normal).numpy()
        return (self.mean + 2.0 * self.explore * deviation)[indices]


ACQUISITIONS: dict[str, type[Acquisition]] = {
    kind.name: kind for kind in (NoisyExpectedImprovement, UpperConfidenceBound, Thompson)
}


def acquisition_kind(name: str) -> type[Acquisition]:
    """The acquisition of a name; raises `InputError` that lists the valid ones."""
    if name not in ACQUISITIONS:
        raise InputError(unknown_name("acquisition", name, ACQUISITIONS))
    return ACQUISITIONS[name]


def index_model(mean: np.ndarray, covariance: np.ndarray, entries: np.ndarray) -> Any:
    """A botorch ``GPyTorchModel`` whose inputs are indices into a joint normal distribution.

    ``posterior(X)`` for X of shape (…, q, 1) is the joint normal of the q entries of `mean` (n,);
    `entries` (n,) are their rows of `covariance` (m, m). Raises `MissingExtraError` without
    botorch.
    """
    botorch = _botorch()
    from gpytorch.distributions import MultivariateNormal
    from linear_operator import to_linear_operator

    class IndexModel(botorch.models.gpytorch.GPyTorchModel):
        num_outputs = 1
        batch_shape = torch.Size([])

        def posterior(self, X: Any, **options: Any) -> Any:
            indices = X[..., 0].long()  # (…, q)
            rows = all_rows[indices]
            block = all_covariance[rows[..., :, None], rows[..., None, :]]  # (…, q, q)
            block = block + jitter * torch.eye(block.shape[-1], dtype=block.dtype)
            # as an operator: nothing is factorised before it is needed
            normal = MultivariateNormal(all_mean[indices], to_linear_operator(block))
            return botorch.posteriors.GPyTorchPosterior(normal)

    all_mean, all_covariance = torch.from_numpy(mean), torch.from_numpy(covariance)
    jitter = _JITTER * float(covariance.max())
    all_rows = torch.from_numpy(entries)
    return IndexModel()


def _column(indices: np.ndarray) -> torch.Tensor:
    """(n, 1) tensor of indices, which botorch wants as floats."""
    return torch.from_numpy(indices.astype(float))[:, None]


def _botorch() -> Any:
    with warnings.catch_warnings():  # its imports deprecate each other
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            import botorch
            import botorch.acquisition
            import botorch.models.gpytorch
            import botorch.posteriors
            import botorch.sampling
        except ImportError as error:
            raise MissingExtraError("noisy expected improvement (nei)", "campaign") from error
    return botorch


class ExceedanceProbability:
    """Probability that a variant is measured above a value, calibrated on the campaign's own rows.

    The model's normal distribution gives one, ``p = Phi((mu - value) / sqrt(sigma^2 + noise))``.
    Near the top of a campaign it errs: values stop at an assay's ceiling, or tail off. So each
    measured row is predicted from all others and asked whether it is above a value nearby, and
    ``logit(p)`` becomes ``a + b * logit(p)`` (Platt 1999) with a and b at their posterior mode
    under normal priors about 0 and 1: corrected as far as the rows speak against the model.

    A row left out is close to the others; a candidate may not be, and a trend carried beyond the
    measured values promises what landscapes do not keep. So ``logit(p)`` loses
    ``1.9 log(sigma / sigma_measured)`` where its deviation is above the median one of the measured
    variants, and ``1.7 (mu - best) / sd`` where its mean is above the best measured value.
    """

    def __init__(self, model: CampaignModel) -> None:
        self._noise = float(model.noise_variance)
        self._scale = model.scale
        target, mean, variance = model.leave_one_out()
        exact = np.asarray(model.campaign.censoring) == 0
        self._mean = np.asarray(mean, float)[exact]
        self._deviation = np.sqrt(np.maximum(np.asarray(variance, float)[exact], _TINY))
        self._target = np.asarray(target, float)[exact]
        pairs = model.campaign.pairs
        _, deviation = model.marginals(pairs[:: 1 + len(pairs) // _USUAL_ROWS])
        self._usual = max(float(np.median(deviation)), _TINY**0.5)

    def above(self, mean: np.ndarray, deviation: np.ndarray, value: float) -> np.ndarray:
        """Probability of a new measurement above a value, (n,).

        Mean and standard deviation (n,) are of the noise-free values, on the model's own scale, as
        is the value.
        """
        logits, *distances = self.parts(mean, deviation, value)
        losses = zip((_LOSS_PER_LOG_SD, _LOSS_PER_SD_ABOVE), distances, strict=True)
        return expit(logits - sum(loss * distance for loss, distance in losses))

    def parts(
        self, mean: np.ndarray, deviation: np.ndarray, value: float
    ) -> tuple[np.ndarray, ...]:
        """Calibrated log-odds, and how far away from the measured: by deviation, and by mean, (n,).

        The first distance is the log of the deviation over the usual one, the second the mean above
        the best measured value in standard deviations of the measured ones; neither is negative.
        """
        spread = np.sqrt(deviation**2 + self._noise)
        intercept, slope = self.calibration(value)
        logits = intercept + slope * _exceedance_logit(mean, spread, value)
        wider = np.log(np.maximum(deviation / self._usual, 1.0))
        if not len(self._target):
            return logits, wider, np.zeros_like(wider)
        beyond = np.maximum(mean - self._target.max(), 0.0)
        return logits, wider, beyond / max(float(self._target.std()), _TINY)

    def above_label(self, mean: np.ndarray, deviation: np.ndarray, value: float) -> np.ndarray:
        """As `above`, for a value in the campaign's own units."""
        return self.above(mean, deviation, float(self._scale.to_latent(np.array([value]))[0]))

    def calibration(self, value: float) -> tuple[float, float]:
        """Intercept and slope of the logit for being above a value like this one.

        Minimises the mean log loss over the thresholds, summed over the rows, plus the priors'
        ``a^2 / (2 * 2^2) + (b - 1)^2 / (2 * 0.5^2)``.
        """
        if len(self._target) < _FEWEST_ROWS:
            return 0.0, 1.0
        lowest = _LOWEST_SHARE - min(_THRESHOLD_STEPS)
        share = float(np.clip(np.mean(self._target <= value), lowest, _HIGHEST_SHARE))
        shares = np.clip(share + np.array(_THRESHOLD_STEPS), _LOWEST_SHARE, _HIGHEST_SHARE)
        thresholds = np.quantile(self._target, np.unique(shares))
        predicted = _exceedance_logit(self._mean, self._deviation, thresholds[:, None]).ravel()
        above = (self._target > thresholds[:, None]).ravel().astype(float)
        weight = 1.0 / len(thresholds)  # a row answers once for each threshold: it counts once

        def loss(parameters: np.ndarray) -> float:
            intercept, slope = parameters
            logits = intercept + slope * predicted
            log_loss = weight * float(np.sum(np.logaddexp(0.0, logits) - above * logits))
            prior = (intercept / _INTERCEPT_SD) ** 2 + ((slope - 1.0) / _SLOPE_SD) ** 2
            return log_loss + 0.5 * prior

        fitted = minimize(loss, np.array([0.0, 1.0]), bounds=[(None, None), (0.05, None)]).x
        return float(fitted[0]), float(fitted[1])


def _exceedance_logit(
    mean: np.ndarray, deviation: np.ndarray, value: float | np.ndarray
) -> np.ndarray:
    """Logit of the probability of being above a value under a normal distribution."""
    return logit(np.clip(ndtr((mean - value) / deviation), _TINY, 1.0 - _TINY))


@dataclasses.dataclass(frozen=True, slots=True)
class BatchOptions:
    """How a batch is chosen."""

    batch: int = 96
    acquisition: str = DEFAULT_ACQUISITION  # Key of `ACQUISITIONS`
    explore: float = DEFAULT_EXPLORE  # 0 (highest expected value) to 1 (most uncertain)
    min_distance: int = 1  # Residues in which any two of the batch differ at least
    # How many of the batch may be mutated at one position of a parent
    max_per_position: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        acquisition_kind(self.acquisition)
        if self.batch < 1:
            raise InputError(f"a batch has at least 1 antibody, got {self.batch}")
        if self.batch > MAX_BATCH:
            raise InputError(
                f"a batch of {self.batch} antibodies is chosen from {self.joint_candidates} that "
                f"are judged together, {8e-9 * self.joint_candidates**2:.3g} GB of memory; at most "
                f"{MAX_BATCH}: ask several times, and measure in between"
            )
        if not 0.0 <= self.explore <= 1.0:
            raise InputError(f"explore must be between 0 and 1, got {self.explore}")
        if self.min_distance < 1:
            raise InputError(f"the minimal distance is at least 1, got {self.min_distance}")
        if self.max_per_position is not None and self.max_per_position < 1:
            raise InputError(
                f"at least 1 per position must be allowed, got {self.max_per_position}"
            )

    @property
    def joint_candidates(self) -> int:
        """How many candidates to judge jointly.

        >>> BatchOptions(96).joint_candidates, BatchOptions(600).joint_candidates
        (1000, 3000)
        """
        return max(JOINT_CANDIDATES, _LEAST_PER_CHOICE * self.batch)

    @property
    def encoded_candidates(self) -> int:
        """How many of the generated candidates to encode: more where choices exclude others."""
        spaced = self.min_distance > 1 or self.max_per_position is not None
        return self.joint_candidates if spaced else ENCODED_PER_CHOICE * self.batch


class Spacing:
    """Which candidates may still be chosen, given those that were: `open`, a mask (n,).

    `positions` (n,) are those that each of the `antibodies` (n,) mutates.

    >>> three = [Antibody("EVQL"), Antibody("EVQA"), Antibody("EVAA")]
    >>> spacing = Spacing(three, [set()] * 3, BatchOptions(min_distance=2))
    >>> spacing.take(0)
    >>> spacing.open.tolist()
    [False, False, True]
    """

    def __init__(
        self,
        antibodies: Sequence[Antibody],
        positions: Sequence[AbstractSet[Hashable]],
        options: BatchOptions,
    ) -> None:
        self.open = np.ones(len(antibodies), dtype=bool)
        self._texts = ["|".join(antibody.chains) for antibody in antibodies]
        self._limit = options.min_distance - 1
        self._most = options.max_per_position
        self._positions = positions
        self._used: Counter[Hashable] = Counter()

    def take(self, index: int) -> None:
        """Select a candidate; exclude it and its neighbours within `min_distance`."""
        self.open[index] = False
        if self._limit:
            distance = cdist(
                [self._texts[index]],
                self._texts,
                scorer=Levenshtein.distance,
                score_cutoff=self._limit,
                dtype=np.int32,
            )[0]
            self.open &= distance > self._limit
        if self._most is not None:
            self._used.update(self._positions[index])
            full = {position for position, count in self._used.items() if count >= self._most}
            for other in np.flatnonzero(self.open).tolist():
                if self._positions[other] & full:
                    self.open[other] = False


def preselect(mean: np.ndarray, deviation: np.ndarray, explore: float, count: int) -> np.ndarray:
    """Indices of the `count` most promising candidates by mean and deviation (n,), in order.

    Some by the mean alone, the others by ``mean + 4 * explore * deviation``.

    >>> preselect(np.array([0.0, 2.0, 1.0]), np.array([9.0, 0.1, 0.1]), 0.5, 2).tolist()
    [0, 1]
    """
    if len(mean) <= count:
        return np.arange(len(mean))
    by_mean = np.argsort(-mean, kind="stable")[: max(1, round(_SHARE_BY_MEAN * count))]
    bound = mean + SDS_AT_FULL_EXPLORE * explore * deviation
    bound[by_mean] = np.inf
    return np.sort(np.argsort(-bound, kind="stable")[:count])


def select_batch(
    model: CampaignModel,
    candidates: Sequence[Pair],
    marginal: tuple[np.ndarray, np.ndarray],
    baseline: Sequence[Pair],
    positions: Sequence[AbstractSet[Hashable]],
    options: BatchOptions,
) -> list[int]:
    """Indices of the candidates chosen, in order; fewer than asked for if spacing leaves no more.

    Candidates come with their `marginal` means and standard deviations, (n,) each, and the
    `positions` that each mutates. `baseline` are measured variants, best first: the first few are
    to be improved on.
    """
    kept = preselect(*marginal, options.explore, options.joint_candidates)
    pairs = [candidates[index] for index in kept]
    joint = model.posterior([*pairs, *baseline[:BASELINE_VARIANTS]])
    mean, covariance = (np.array(part, dtype=float) for part in (joint.mean, joint.covariance))
    posterior = JointPosterior(mean, covariance, float(model.noise_variance), len(pairs))
    spacing = Spacing([p.antibody for p in pairs], [positions[index] for index in kept], options)
    return kept[choose_batch(posterior, spacing, options)].tolist()


def choose_batch(posterior: JointPosterior, spacing: Spacing, options: BatchOptions) -> list[int]:
    """The greedy choice among candidates of a posterior, as `select_batch` returns it."""
    acquisition = acquisition_kind(options.acquisition)(posterior, options.explore, options.seed)
    chosen: list[int] = []
    while len(chosen) < options.batch and spacing.open.any():
        index = acquisition.best(spacing.open)
        chosen.append(index)
        spacing.take(index)
        acquisition.choose(index)
    return chosen
