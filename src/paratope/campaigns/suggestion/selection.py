"""The batch: candidates chosen one after the other, each in view of those before it."""

import dataclasses
from collections import Counter
from collections.abc import Hashable, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np
from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import cdist

from paratope.campaigns.suggestion.acquisition import Belief, acquisition_kind
from paratope.core.errors import InputError
from paratope.molecules.sequences import Antibody, Pair

DEFAULT_ACQUISITION = "ucb"
DEFAULT_EXPLORE = 0.25
# The joint distribution is worked out for this many candidates; of more, the most promising ones.
JOINT_CANDIDATES = 1000
# Of them, this share by their mean alone, the rest by mean and standard deviation.
_SHARE_BY_MEAN = 0.3
_LEAST_PER_CHOICE = 5
# Measured variants that might be the best one.
BASELINE_VARIANTS = 16


@dataclasses.dataclass(frozen=True, slots=True)
class Choosing:
    """How a batch is chosen.

    Attributes
    ----------
    batch : int
    acquisition : str
        Key of `paratope.campaigns.suggestion.acquisition.ACQUISITIONS`.
    explore : float
        0 (highest expected value) to 1 (most uncertain).
    min_distance : int
        Residues in which any two of the batch differ at least.
    max_per_position : int or None
        How many of the batch may be mutated at one position of a parent.
    seed : int
    """

    batch: int = 96
    acquisition: str = DEFAULT_ACQUISITION
    explore: float = DEFAULT_EXPLORE
    min_distance: int = 1
    max_per_position: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        acquisition_kind(self.acquisition)
        if self.batch < 1:
            raise InputError(f"a batch has at least 1 antibody, got {self.batch}")
        if not 0.0 <= self.explore <= 1.0:
            raise InputError(f"explore must be between 0 and 1, got {self.explore}")
        if self.min_distance < 1:
            raise InputError(f"the minimal distance is at least 1, got {self.min_distance}")
        if self.max_per_position is not None and self.max_per_position < 1:
            raise InputError(
                f"at least 1 per position must be allowed, got {self.max_per_position}"
            )


class Spacing:
    """Which candidates may still be chosen, given those that were.

    Parameters
    ----------
    antibodies : sequence of Antibody, (n,)
    positions : sequence of set, (n,)
        What each of them mutates.
    choosing : Choosing

    Attributes
    ----------
    open : np.ndarray of bool, (n,)

    Examples
    --------
    >>> three = [Antibody("EVQL"), Antibody("EVQA"), Antibody("EVAA")]
    >>> spacing = Spacing(three, [set()] * 3, Choosing(min_distance=2))
    >>> spacing.take(0)
    >>> spacing.open.tolist()
    [False, False, True]
    """

    def __init__(
        self,
        antibodies: Sequence[Antibody],
        positions: Sequence[AbstractSet[Hashable]],
        choosing: Choosing,
    ) -> None:
        self.open = np.ones(len(antibodies), dtype=bool)
        self._texts = ["|".join(one.chains) for one in antibodies]
        self._limit = choosing.min_distance - 1
        self._most = choosing.max_per_position
        self._positions = positions
        self._used: Counter[Hashable] = Counter()

    def take(self, place: int) -> None:
        """Choose a candidate: it, and whatever is too close to it, is closed."""
        self.open[place] = False
        if self._limit:
            distance = cdist(
                [self._texts[place]],
                self._texts,
                scorer=Levenshtein.distance,
                score_cutoff=self._limit,
                dtype=np.int32,
            )[0]
            self.open &= distance > self._limit
        if self._most is not None:
            self._used.update(self._positions[place])
            full = {position for position, count in self._used.items() if count >= self._most}
            for other in np.flatnonzero(self.open).tolist():
                if self._positions[other] & full:
                    self.open[other] = False


def preselect(mean: np.ndarray, deviation: np.ndarray, explore: float, count: int) -> np.ndarray:
    """Numbers of the most promising candidates, in order; all if there are no more than `count`.

    Parameters
    ----------
    mean, deviation : np.ndarray, (n,)
    explore : float
        0 to 1; what counts beside the mean is 4 times this standard deviations.
    count : int

    Examples
    --------
    >>> preselect(np.array([0.0, 2.0, 1.0]), np.array([9.0, 0.1, 0.1]), 0.5, 2).tolist()
    [0, 1]
    """
    if len(mean) <= count:
        return np.arange(len(mean))
    by_mean = np.argsort(-mean, kind="stable")[: max(1, round(_SHARE_BY_MEAN * count))]
    bound = mean + 4.0 * explore * deviation
    bound[by_mean] = np.inf
    return np.sort(np.argsort(-bound, kind="stable")[:count])


def choose_batch(belief: Belief, spacing: Spacing, choosing: Choosing) -> list[int]:
    """Numbers of the candidates chosen, in order; fewer than asked for if spacing leaves no more.

    Parameters
    ----------
    belief : Belief
        Over the candidates and the best measured variants.
    spacing : Spacing
        Of the same candidates.
    choosing : Choosing
    """
    acquisition = acquisition_kind(choosing.acquisition)(belief, choosing.explore, choosing.seed)
    chosen: list[int] = []
    while len(chosen) < choosing.batch and spacing.open.any():
        place = acquisition.best(spacing.open)
        chosen.append(place)
        spacing.take(place)
        acquisition.choose(place)
    return chosen


def joint_belief(model: Any, candidates: Sequence[Pair], baseline: Sequence[Pair]) -> Belief:
    """What a campaign model believes of candidates and measured variants together.

    Parameters
    ----------
    model : CampaignModel
    candidates, baseline : sequence of Pair
    """
    posterior = model.posterior([*candidates, *baseline])
    return Belief(
        np.array(posterior.mean, dtype=float),
        np.array(posterior.covariance, dtype=float),
        float(model.noise_variance),
        len(candidates),
    )


def enough(batch: int) -> int:
    """How many candidates to judge jointly for a batch.

    >>> enough(96), enough(600)
    (1000, 3000)
    """
    return max(JOINT_CANDIDATES, _LEAST_PER_CHOICE * batch)
