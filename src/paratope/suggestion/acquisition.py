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

from paratope.errors import InputError, MissingExtraError, unknown_name

# Draws of the posterior per expected improvement; a power of two, as Sobol sequences want.
_DRAWS = 128
# Standard deviations that an unexplored candidate is worth at explore 0.5.
_UCB_AT_HALF = 2.0
# Beyond these, the margin of the expected improvement changes nothing any more.
_LEAST_EXPLORE, _MOST_EXPLORE = 0.01, 0.99
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
        covariance = np.array(belief.covariance, dtype=float)
        places = np.arange(len(covariance))
        covariance[places, places] += _JITTER * float(np.mean(covariance[places, places]) + 1e-12)
        self.covariance = covariance

    def values(self) -> np.ndarray:
        """What each candidate is worth as the next choice, (candidates,)."""
        return self.mean if self.explore == 0.0 else self._values()

    def choose(self, place: int) -> None:
        """Take a candidate: the covariance becomes what it will be once that is measured."""
        column = self.covariance[:, place].copy()
        self.covariance -= np.outer(column, column) / (column[place] + self.belief.noise_variance)

    @abc.abstractmethod
    def _values(self) -> np.ndarray: ...


class NoisyExpectedImprovement(Acquisition):
    """By how much the candidate is expected to beat the best measured, whose truth is uncertain.

    botorch's ``qLogNoisyExpectedImprovement`` (Ament et al. 2023, arXiv 2310.20708) with a margin
    on the best measured: the log-odds of `explore` times the median standard deviation of the
    candidates. 0.5 is no margin; a positive one asks for more than a slight improvement.
    """

    name = "nei"
    summary = "noisy expected improvement over the best measured"

    def _values(self) -> np.ndarray:
        torch, botorch = _libraries()
        count, total = self.belief.candidates, len(self.belief.mean)
        explore = min(max(self.explore, _LEAST_EXPLORE), _MOST_EXPLORE)
        spread = float(np.median(_deviations(self.belief.covariance)[:count]))
        margin = spread * float(np.log(explore / (1.0 - explore)))
        objective = botorch.acquisition.objective.GenericMCObjective(
            lambda samples, X: samples[..., 0] + margin * (X[..., 0] >= count)
        )
        sampler = botorch.sampling.SobolQMCNormalSampler(torch.Size([_DRAWS]), seed=self.seed)
        with torch.no_grad():
            acquisition = botorch.acquisition.logei.qLogNoisyExpectedImprovement(
                index_model(self.belief.mean, self.covariance),
                _column(np.arange(count, total)),
                sampler=sampler,
                objective=objective,
                prune_baseline=False,
                cache_root=True,
            )
            return acquisition(_column(np.arange(count))[:, None, :]).numpy()


class UpperConfidence(Acquisition):
    """Mean plus so many standard deviations: none at explore 0, 2 at 0.5, 4 at 1.

    botorch's ``UpperConfidenceBound`` on the belief that follows from the choices so far (GP-BUCB,
    Desautels et al. 2014, JMLR 15:4053).
    """

    name = "ucb"
    summary = "mean plus standard deviations"

    def _values(self) -> np.ndarray:
        torch, botorch = _libraries()
        count = self.belief.candidates
        beta = (2.0 * _UCB_AT_HALF * self.explore) ** 2
        model = index_model(self.belief.mean, self.covariance)
        acquisition = botorch.acquisition.analytic.UpperConfidenceBound(model, beta=beta)
        with torch.no_grad():
            return acquisition(_column(np.arange(count))[:, None, :]).numpy()


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

    def _values(self) -> np.ndarray:
        torch, botorch = _libraries()
        count = self.belief.candidates
        sampler = botorch.sampling.IIDNormalSampler(
            torch.Size([1]), seed=int(self._random.integers(2**31))
        )
        if self._posterior is None:
            some = self.covariance[:count, :count]
            self._posterior = index_model(self.mean, some).posterior(_column(np.arange(count)))
        with torch.no_grad():
            draw = sampler(self._posterior)[0, :, 0].numpy()
        return self.mean + 2.0 * self.explore * (draw - self.mean)


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


def index_model(mean: np.ndarray, covariance: np.ndarray) -> Any:
    """A botorch model whose inputs are numbers of entries of a joint normal distribution.

    Parameters
    ----------
    mean : np.ndarray, (n,)
    covariance : np.ndarray, (n, n)

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

    class IndexModel(botorch.models.gpytorch.GPyTorchModel):
        num_outputs = 1
        batch_shape = torch.Size([])

        def posterior(self, X: Any, **options: Any) -> Any:
            entries = X[..., 0].long()  # (…, q)
            block = all_covariance[entries[..., :, None], entries[..., None, :]]  # (…, q, q)
            return botorch.posteriors.GPyTorchPosterior(
                MultivariateNormal(all_mean[entries], block)
            )

    all_mean, all_covariance = torch.from_numpy(mean), torch.from_numpy(covariance)
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
