"""How much each candidate is worth next: noisy expected improvement, confidence bound, Thompson.

The model gives one joint normal distribution over the candidates and the best measured variants.
A batch is chosen one by one: after each choice the distribution is the one that would follow from
its measurement, averaged over what might be measured. That leaves the means and shrinks the
variances of the chosen one and of everything like it, so the next choice is something else.

``explore`` means the same to all of them: 0 takes the highest expected value whatever the
uncertainty; 0.5 trades the two as the method's authors do; 1 goes where the model knows least.
"""

import abc
import warnings
from typing import Any, ClassVar, NamedTuple

import numpy as np

from paratope.core.errors import InputError, MissingExtraError, unknown_name

# Draws of the posterior per expected improvement; a power of two, as Sobol sequences want.
_DRAWS = 128
# Standard deviations that an unexplored candidate is worth at explore 0.5.
_UCB_AT_HALF = 2.0
# Below this, the margin of the expected improvement changes nothing any more.
_LEAST_EXPLORE = 0.01
# Covariances of candidates with incumbents that are held at once.
_CELLS = 4_000_000
# Candidates that are valued anew at once.
_AT_ONCE = 64
_JITTER = 1e-6


class Belief(NamedTuple):
    """A joint normal distribution of noise-free values.

    Attributes
    ----------
    mean : np.ndarray, (candidates + baseline,)
        Of the candidates, then of the best measured variants.
    covariance : np.ndarray, (candidates + baseline, candidates + baseline)
    noise_variance : float
        Of one measurement, on the same scale.
    candidates : int
        How many of the entries are candidates.
    """

    mean: np.ndarray
    covariance: np.ndarray
    noise_variance: float
    candidates: int


class Acquisition(abc.ABC):
    """Values candidates given what is believed and what has been chosen.

    Parameters
    ----------
    belief : Belief
    explore : float
        0 to 1.
    seed : int

    Attributes
    ----------
    name, summary : str
    """

    name: ClassVar[str]
    summary: ClassVar[str]

    def __init__(self, belief: Belief, explore: float, seed: int) -> None:
        if not 0.0 <= explore <= 1.0:
            raise InputError(f"explore must be between 0 and 1, got {explore}")
        self.belief = belief
        self.explore = explore
        self.seed = seed
        self.mean = belief.mean[: belief.candidates]
        self.covariance = np.array(belief.covariance, dtype=float)

    def values(self) -> np.ndarray:
        """What each candidate is worth as the next choice, (candidates,)."""
        every = np.arange(self.belief.candidates)
        return self.mean if self.explore == 0.0 else self._values(every)

    def best(self, still_open: np.ndarray) -> int:
        """Number of the candidate that is worth most.

        Parameters
        ----------
        still_open : np.ndarray of bool, (candidates,)
            Which may be chosen; at least one.
        """
        return int(np.argmax(np.where(still_open, self.values(), -np.inf)))

    @abc.abstractmethod
    def choose(self, place: int) -> None:
        """Take a candidate."""

    @abc.abstractmethod
    def _values(self, some: np.ndarray) -> np.ndarray:
        """What some candidates are worth, (some,)."""


class NoisyExpectedImprovement(Acquisition):
    """By how much the candidate is expected to beat the best measured and the best chosen so far.

    botorch's ``qLogNoisyExpectedImprovement`` (Ament et al. 2023, arXiv 2310.20708): the truth of
    the measured ones is uncertain, and the choices so far are pending, drawn jointly with the
    candidate. `explore` of 0.5 is just that. Below, what is to be beaten is lowered by its log-odds
    times the median standard deviation of the candidates: so much is gained anyway that the mean
    decides. Above, all standard deviations are multiplied by twice `explore`.
    """

    name = "nei"
    summary = "noisy expected improvement over the best measured"

    def __init__(self, belief: Belief, explore: float, seed: int) -> None:
        super().__init__(belief, explore, seed)
        self.covariance *= max(1.0, 2.0 * explore) ** 2
        self._incumbents = list(range(belief.candidates, len(belief.mean)))
        self._bounds = np.full(belief.candidates, np.inf)

    def choose(self, place: int) -> None:
        """Take a candidate: from now on it is to be beaten, too."""
        self._incumbents.append(place)

    def best(self, still_open: np.ndarray) -> int:
        """As `Acquisition.best`.

        The more there is to beat, the less each candidate is worth: what it was worth before is a
        bound, and only those are valued anew whose bound is above the best (Minoux 1978).
        """
        if self.explore == 0.0:
            return super().best(still_open)
        stale = np.ones(self.belief.candidates, dtype=bool)
        while True:
            bounds = np.where(still_open, self._bounds, -np.inf)
            order = np.argsort(-bounds, kind="stable")
            if not stale[order[0]]:
                return int(order[0])
            unbounded = bool(np.isinf(bounds[order[0]]))
            some = order[: len(order) if unbounded else _AT_ONCE]
            some = some[stale[some] & still_open[some]]
            self._bounds[some] = self._values(some)
            stale[some] = False

    def _values(self, some: np.ndarray) -> np.ndarray:
        torch, botorch = _libraries()
        count = self.belief.candidates
        incumbents = np.array(self._incumbents)
        margin = self._margin()
        # an incumbent's number is beyond those of the candidates: an entry of its own
        mean = np.concatenate([self.mean, self.belief.mean[incumbents]])
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
            parts = np.array_split(some, 1 + len(some) * len(incumbents) ** 2 // _CELLS)
            found = [acquisition(_column(part)[:, None, :]).numpy() for part in parts]
        return np.concatenate(found)

    def _margin(self) -> float:
        """What is added to the values that are to be beaten."""
        explore = min(max(self.explore, _LEAST_EXPLORE), 0.5)
        spread = float(np.median(_deviations(self.belief.covariance)[: self.belief.candidates]))
        return spread * float(np.log(explore / (1.0 - explore)))


class UpperConfidence(Acquisition):
    """Mean plus so many standard deviations: none at explore 0, 2 at 0.5, 4 at 1.

    botorch's ``UpperConfidenceBound`` on the belief that follows from the choices so far (GP-BUCB,
    Desautels et al. 2014, JMLR 15:4053).
    """

    name = "ucb"
    summary = "mean plus standard deviations"

    def __init__(self, belief: Belief, explore: float, seed: int) -> None:
        super().__init__(belief, explore, seed)
        self.variance = np.diagonal(self.covariance).copy()
        self._factors = np.zeros((0, len(self.variance)))

    def choose(self, place: int) -> None:
        """Take a candidate: variances become what they will be once it is measured."""
        own = self._factors[:, place]
        column = self.covariance[place] - own @ self._factors
        factor = column / np.sqrt(column[place] + self.belief.noise_variance)
        self._factors = np.vstack([self._factors, factor])
        self.variance = np.maximum(self.variance - factor**2, 0.0)

    def _values(self, some: np.ndarray) -> np.ndarray:
        torch, botorch = _libraries()
        beta = (2.0 * _UCB_AT_HALF * self.explore) ** 2
        model = index_model(self.belief.mean, self.variance)
        acquisition = botorch.acquisition.analytic.UpperConfidenceBound(model, beta=beta)
        with torch.no_grad():
            return acquisition(_column(some)[:, None, :]).numpy()


class Thompson(Acquisition):
    """One joint draw of what the values might be for each choice; the highest of it is taken.

    The draws' deviations from the mean are multiplied by twice `explore`. The draws themselves are
    what makes the batch diverse: choices do not change the belief.
    """

    name = "thompson"
    summary = "the best of one joint draw for each choice"

    def __init__(self, belief: Belief, explore: float, seed: int) -> None:
        super().__init__(belief, explore, seed)
        self._random = np.random.default_rng(seed)
        self._posterior: Any = None

    def choose(self, place: int) -> None:
        """Draws are independent of each other: nothing changes."""

    def _values(self, some: np.ndarray) -> np.ndarray:
        torch, botorch = _libraries()
        count = self.belief.candidates
        sampler = botorch.sampling.IIDNormalSampler(
            torch.Size([1]), seed=int(self._random.integers(2**31))
        )
        if self._posterior is None:
            model = index_model(self.mean, self.covariance[:count, :count])
            self._posterior = model.posterior(_column(np.arange(count)))
        with torch.no_grad():
            draw = sampler(self._posterior)[0, :, 0].numpy()
        return (self.mean + 2.0 * self.explore * (draw - self.mean))[some]


ACQUISITIONS: dict[str, type[Acquisition]] = {
    kind.name: kind for kind in (NoisyExpectedImprovement, UpperConfidence, Thompson)
}


def acquisition_kind(name: str) -> type[Acquisition]:
    """The acquisition of a name; raises `InputError` that lists the valid ones.

    >>> acquisition_kind("ucb").summary
    'mean plus standard deviations'
    """
    if name not in ACQUISITIONS:
        raise InputError(unknown_name("acquisition", name, ACQUISITIONS))
    return ACQUISITIONS[name]


def index_model(mean: np.ndarray, covariance: np.ndarray, entries: np.ndarray | None = None) -> Any:
    """A botorch model whose inputs are numbers of entries of a joint normal distribution.

    Parameters
    ----------
    mean : np.ndarray, (n,)
    covariance : np.ndarray, (m, m) or (m,)
        Variances alone are enough for one entry at a time.
    entries : np.ndarray of int, (n,), optional
        Row of the covariance that each entry has; by default its own.

    Returns
    -------
    botorch.models.gpytorch.GPyTorchModel
        ``posterior(X)`` for X of shape (…, q, 1) is the joint normal of the q entries.

    Raises
    ------
    MissingExtraError
        If botorch is not installed.
    """
    torch, botorch = _libraries()
    from gpytorch.distributions import MultivariateNormal
    from linear_operator import to_linear_operator

    class IndexModel(botorch.models.gpytorch.GPyTorchModel):
        num_outputs = 1
        batch_shape = torch.Size([])

        def posterior(self, X: Any, **options: Any) -> Any:
            numbers = X[..., 0].long()  # (…, q)
            rows = all_rows[numbers]
            if all_covariance.ndim == 1:
                block = all_covariance[rows][..., None]  # (…, 1, 1)
            else:
                block = all_covariance[rows[..., :, None], rows[..., None, :]]  # (…, q, q)
                block = block + jitter * torch.eye(block.shape[-1], dtype=block.dtype)
            # as an operator: nothing is factorised before it is needed
            normal = MultivariateNormal(all_mean[numbers], to_linear_operator(block))
            return botorch.posteriors.GPyTorchPosterior(normal)

    all_mean, all_covariance = torch.from_numpy(mean), torch.from_numpy(covariance)
    jitter = _JITTER * float(covariance.max())
    all_rows = torch.from_numpy(np.arange(len(mean)) if entries is None else entries)
    return IndexModel()


def _column(numbers: np.ndarray) -> Any:
    """(n, 1) tensor of entries' numbers, which botorch wants as floats."""
    import torch

    return torch.from_numpy(numbers.astype(float))[:, None]


def _deviations(covariance: np.ndarray) -> np.ndarray:
    return np.sqrt(np.maximum(np.diagonal(covariance), 0.0))


def _libraries() -> tuple[Any, Any]:
    """Torch and botorch; their import warns of deprecations among themselves."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            import botorch
            import botorch.acquisition
            import botorch.models.gpytorch
            import botorch.posteriors
            import botorch.sampling
        except ImportError as error:
            raise MissingExtraError("suggesting the next round", "campaign") from error
    return torch, botorch
