"""The replay: a first plate at random, then plate after plate as a strategy chooses."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from paratope.campaigns.campaign_simulation.landscape import Landscape
from paratope.campaigns.campaign_simulation.strategies import Strategy
from paratope.core.errors import InputError

# The best variants that are to be found, as a share of the landscape, and at least so many.
_TOP_SHARE, _LEAST_TOP = 0.01, 10


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """How a landscape is replayed.

    Attributes
    ----------
    batch : int
        Variants of a round.
    rounds : int
        After the first plate.
    repeats : int
        With other first plates.
    start : int
        Variants of the first plate, drawn at random; 0: as many as of a round.
    top : int
        The best so many are to be found; 0: one per cent of the landscape, at least ten.
    seed : int
    """

    batch: int = 24
    rounds: int = 5
    repeats: int = 5
    start: int = 0
    top: int = 0
    seed: int = 0

    def settled(self, landscape: Landscape) -> "Plan":
        """The plan with its own first plate and top; raises `InputError` if it does not fit."""
        for name in ("batch", "rounds", "repeats"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.start < 0 or self.start == 1 or self.top < 0:
            raise InputError("the first plate holds at least 2 variants, and the top at least 1")
        start = self.start or max(self.batch, 2)
        needed = start + self.batch * self.rounds
        if needed > len(landscape):
            most = max((len(landscape) - start) // self.batch, 0)
            raise InputError(
                f"a first plate of {start} and {self.rounds} rounds of {self.batch} take {needed} "
                f"variants, the landscape has {len(landscape)}: ask for at most {most} rounds, or "
                "smaller batches"
            )
        top = self.top or max(round(_TOP_SHARE * len(landscape)), _LEAST_TOP)
        return dataclasses.replace(self, start=start, top=min(top, len(landscape)))


class RoundResult(NamedTuple):
    """Where a strategy stands after a round.

    Attributes
    ----------
    repeat, round : int
        Round 0 is the first plate.
    strategy : str
    measured : int
        Variants so far.
    best, regret : float
        Best value found; by how much the landscape's best is better.
    recall : float
        Share of the landscape's top that was found.
    batch_mean : float
        Mean value of the round's variants.
    expected_better, found_better : float
        Of the round's variants, how many the strategy expected to beat the best one before, and how
        many did; NaN where it does not say.
    """

    repeat: int
    strategy: str
    round: int
    measured: int
    best: float
    regret: float
    recall: float
    batch_mean: float
    expected_better: float
    found_better: float


@dataclasses.dataclass(frozen=True)
class Replay:
    """All rounds of all strategies and repeats."""

    plan: Plan
    results: tuple[RoundResult, ...]

    @property
    def strategies(self) -> tuple[str, ...]:
        """Names, in order."""
        return tuple(dict.fromkeys(one.strategy for one in self.results))

    def curves(self, strategy: str, metric: str) -> np.ndarray:
        """A field of `RoundResult` by repeat and round, (repeats, rounds + 1)."""
        found = np.full((self.plan.repeats, self.plan.rounds + 1), np.nan)
        for one in self.results:
            if one.strategy == strategy:
                found[one.repeat, one.round] = getattr(one, metric)
        return found


def replay(
    landscape: Landscape,
    strategies: Sequence[Strategy],
    plan: Plan,
    advance: Callable[[], None] = lambda: None,
) -> Replay:
    """Replay a landscape with every strategy, all from the same first plates.

    Parameters
    ----------
    landscape : Landscape
    strategies : sequence of Strategy
    plan : Plan
    advance : callable
        Called after every round of every strategy.

    Returns
    -------
    Replay

    Raises
    ------
    InputError
        If the plan takes more variants than there are.

    Examples
    --------
    >>> from paratope.campaigns.campaign_simulation.landscape import landscape_of
    >>> from paratope.campaigns.campaign_simulation.strategies import RandomStrategy
    >>> from paratope.data.datasets.simulated import simulate
    >>> landscape = landscape_of(simulate(antibodies=40, antigens=1, seed=1).measurements)
    >>> found = replay(landscape, [RandomStrategy()], Plan(batch=10, rounds=3, repeats=1))
    >>> found.curves("random", "recall")[0].tolist()[-1]
    1.0
    """
    plan = plan.settled(landscape)
    top = landscape.top(plan.top)
    results: list[RoundResult] = []
    for repeat in range(plan.repeats):
        random = np.random.default_rng([plan.seed, repeat])
        first = _first_plate(landscape, plan, random)
        for strategy in strategies:
            measured = first
            results.append(_result(landscape, top, repeat, strategy.name, 0, first, first))
            for number in range(1, plan.rounds + 1):
                seed = plan.seed + 1000 * repeat + number
                choice = strategy.choose(landscape, measured, plan.batch, seed)
                rows = np.array(choice.rows, dtype=int)
                assert not np.isin(rows, measured).any()
                before = float(landscape.values[measured].max())
                measured = np.concatenate([measured, rows])
                result = _result(landscape, top, repeat, strategy.name, number, measured, rows)
                if np.isfinite(choice.expected_better):
                    better = float((landscape.values[rows] > before).sum())
                    result = result._replace(
                        expected_better=choice.expected_better, found_better=better
                    )
                results.append(result)
                advance()
    return Replay(plan, tuple(results))


def _first_plate(landscape: Landscape, plan: Plan, random: np.random.Generator) -> np.ndarray:
    """Variants drawn at random, at least one of them measured inside the assay's range."""
    exact = np.flatnonzero(landscape.campaign.censoring == 0)
    kept = random.choice(exact, 1)
    others = np.setdiff1d(np.arange(len(landscape)), kept)
    return np.concatenate([kept, random.choice(others, plan.start - 1, replace=False)])


def _result(
    landscape: Landscape,
    top: np.ndarray,
    repeat: int,
    name: str,
    number: int,
    measured: np.ndarray,
    rows: np.ndarray,
) -> RoundResult:
    best = float(landscape.values[measured].max())
    return RoundResult(
        repeat,
        name,
        number,
        len(measured),
        best,
        float(landscape.values.max()) - best,
        float(top[measured].sum() / top.sum()),
        float(landscape.values[rows].mean()),
        float("nan"),
        float("nan"),
    )
