"""The replay: a first plate at random, then plate after plate as each strategy chooses."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from paratope.campaigns.campaign_simulation.landscape import Landscape
from paratope.campaigns.campaign_simulation.strategies import Strategy
from paratope.core.censoring import Censoring
from paratope.core.errors import InputError
from paratope.core.files import write_json
from paratope.core.progress import Progress, silent
from paratope.data.tables import write_table
from paratope.evaluation.figures import campaign_rounds, save_figure

# The best variants that are to be found, as a share of the landscape, and at least so many.
_TOP_SHARE, _LEAST_TOP = 0.01, 10
MAX_REPEATS = 100
METRICS = ("best", "regret", "recall", "batch_mean")
# In which more rounds bring more, so that "rounds needed" means something.
_REACHED = ("best", "recall")


@dataclasses.dataclass(frozen=True, slots=True)
class ReplayOptions:
    """How a landscape is replayed."""

    batch: int = 24  # Variants of a round
    rounds: int = 5  # After the first plate
    repeats: int = 5  # With other first plates
    start: int = 0  # Variants of the first plate, drawn at random; 0: as many as of a round
    top: int = 0  # The best so many are to be found; 0: one per cent of the landscape, at least ten
    seed: int = 0

    def settled(self, landscape: Landscape) -> "ReplayOptions":
        """With the first plate and top filled in; raises `InputError` if they do not fit."""
        for name in ("batch", "rounds", "repeats"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.repeats > MAX_REPEATS:
            raise InputError(
                f"{self.repeats} repeats: each fits {self.rounds} models; at most {MAX_REPEATS}"
            )
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
    """What a strategy has found after a round."""

    repeat: int
    strategy: str
    round: int  # 0 is the first plate
    measured: int  # Variants so far
    best: float  # Best value found
    regret: float  # By how much the landscape's best is better
    recall: float  # Share of the landscape's top that was found
    batch_mean: float  # Mean value of the round's variants
    # Of the round's variants, how many the strategy expected to beat the best one before, and how
    # many did; NaN where it does not say
    expected_better: float = float("nan")
    found_better: float = float("nan")


@dataclasses.dataclass(frozen=True)
class Replay:
    """All rounds of all strategies and repeats."""

    options: ReplayOptions
    results: tuple[RoundResult, ...]

    @property
    def strategies(self) -> tuple[str, ...]:
        """Names, in order."""
        return tuple(dict.fromkeys(result.strategy for result in self.results))

    def curves(self, strategy: str, metric: str) -> np.ndarray:
        """A field of `RoundResult` by repeat and round, (repeats, rounds + 1)."""
        curves = np.full((self.options.repeats, self.options.rounds + 1), np.nan)
        for result in self.results:
            if result.strategy == strategy:
                curves[result.repeat, result.round] = getattr(result, metric)
        return curves


def replay(
    landscape: Landscape,
    strategies: Sequence[Strategy],
    options: ReplayOptions,
    progress: Progress = silent,
) -> Replay:
    """Replay a landscape with every strategy, all from the same first plates.

    Raises `InputError` if the options take more variants than there are.

    >>> from paratope.campaigns.campaign_simulation.landscape import landscape_of
    >>> from paratope.campaigns.campaign_simulation.strategies import RandomStrategy
    >>> from paratope.data.datasets.simulated import simulate
    >>> landscape = landscape_of(simulate(antibodies=40, antigens=1, seed=1).measurements)
    >>> options = ReplayOptions(batch=10, rounds=3, repeats=1)
    >>> replay(landscape, [RandomStrategy()], options).curves("random", "recall")[0].tolist()[-1]
    1.0
    """
    options = options.settled(landscape)
    values, top = landscape.values, landscape.top(options.top)

    def result(where: tuple[int, str, int], measured: np.ndarray, rows: np.ndarray) -> RoundResult:
        best = float(values[measured].max())
        return RoundResult(
            *where,
            measured=len(measured),
            best=best,
            regret=float(values.max()) - best,
            recall=float(top[measured].sum() / top.sum()),
            batch_mean=float(values[rows].mean()),
        )

    results: list[RoundResult] = []
    total = options.repeats * options.rounds * len(strategies)
    for repeat in range(options.repeats):
        # at random, with at least one variant measured inside the assay's range
        random = np.random.default_rng([options.seed, repeat])
        exact = random.choice(np.flatnonzero(landscape.campaign.censoring == Censoring.EXACT), 1)
        others = np.setdiff1d(np.arange(len(landscape)), exact)
        others = random.choice(others, options.start - 1, replace=False)
        first = np.concatenate([exact, others])
        for strategy in strategies:
            measured = first
            results.append(result((repeat, strategy.name, 0), first, first))
            for index in range(1, options.rounds + 1):
                seed = options.seed + 1000 * repeat + index
                plate = strategy.choose(landscape, measured, options.batch, seed)
                rows = np.array(plate.rows, dtype=int)
                assert not np.isin(rows, measured).any()
                before = float(values[measured].max())
                measured = np.concatenate([measured, rows])
                outcome = result((repeat, strategy.name, index), measured, rows)
                if np.isfinite(plate.expected_better):
                    outcome = outcome._replace(
                        expected_better=plate.expected_better,
                        found_better=float((values[rows] > before).sum()),
                    )
                results.append(outcome)
                progress("rounds", sum(done.round > 0 for done in results), total)
    return Replay(options, tuple(results))


class MeanInterval(NamedTuple):
    """A mean over repeats and its 95 % interval; NaN where one repeat gives none."""

    mean: float
    low: float
    high: float


class Saved(NamedTuple):
    """Rounds that a strategy saves against a rival."""

    rival: str
    metric: str  # ``best`` or ``recall``
    # Rounds the rival needed for what it found in the end, minus those the strategy needed for as
    # much. Where the strategy never found as much, the same with the roles exchanged, negative.
    rounds: MeanInterval
    variants: float  # The mean as measurements


class Comparison(NamedTuple):
    """A replay in numbers."""

    # Strategy to metric to one `MeanInterval` for each round, the first plate's first
    rounds: dict[str, dict[str, list[MeanInterval]]]
    saved: tuple[Saved, ...]  # Of the first strategy against each other one


def compare(replayed: Replay) -> Comparison:
    """All strategies round by round, and what the first of them saves against the others."""
    rounds = {
        name: {m: list(map(mean_interval, replayed.curves(name, m).T)) for m in METRICS}
        for name in replayed.strategies
    }
    first, *rivals = replayed.strategies
    saved = []
    for rival in rivals:
        for metric in _REACHED:
            curves = (replayed.curves(name, metric) for name in (first, rival))
            mean = mean_interval(saved_rounds(*curves))
            saved.append(Saved(rival, metric, mean, mean.mean * replayed.options.batch))
    return Comparison(rounds, tuple(saved))


def saved_rounds(curves: np.ndarray, rival: np.ndarray) -> np.ndarray:
    """Rounds saved in each repeat, (repeats,).

    Curves, (repeats, rounds + 1), never decrease along the rounds.

    >>> curves = np.array([[1.0, 3.0, 3.0], [1.0, 1.5, 2.0]])
    >>> rival = np.array([[1.0, 2.0, 3.0], [1.0, 2.5, 3.0]])
    >>> saved_rounds(curves, rival).tolist()
    [1.0, -1.0]
    """
    target = np.minimum(curves[:, -1:], rival[:, -1:]) - 1e-12
    return (np.argmax(rival >= target, axis=1) - np.argmax(curves >= target, axis=1)).astype(float)


def mean_interval(values: np.ndarray) -> MeanInterval:
    """Mean over repeats, and its 95 % interval by Student's t."""
    from scipy.stats import t

    mean = float(np.mean(values))
    if len(values) < 2:
        return MeanInterval(mean, float("nan"), float("nan"))
    error = float(np.std(values, ddof=1)) / len(values) ** 0.5
    reach = float(t.ppf(0.975, len(values) - 1)) * error
    return MeanInterval(mean, mean - reach, mean + reach)


def write_replay(
    landscape: Landscape, replayed: Replay, comparison: Comparison, folder: Path
) -> list[Path]:
    """Write ``rounds.csv``, ``summary.json`` and ``rounds.png`` into a folder, made if needed."""
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / name for name in ("rounds.csv", "summary.json", "rounds.png")]
    rows = [result._asdict() for result in replayed.results]
    write_table(pl.DataFrame(rows, infer_schema_length=None).fill_nan(None), written[0])
    write_json(written[1], summary(landscape, replayed, comparison), sort_keys=True)
    save_figure(replay_figure(landscape, replayed, comparison), written[2])
    return written


def replay_figure(landscape: Landscape, replayed: Replay, comparison: Comparison) -> Any:
    """The figure of ``rounds.png``: best found and top found, strategy by strategy."""
    options = replayed.options
    return campaign_rounds(
        [options.start + index * options.batch for index in range(options.rounds + 1)],
        {name: comparison.rounds[name]["best"] for name in replayed.strategies},
        {name: comparison.rounds[name]["recall"] for name in replayed.strategies},
        label=f"best {landscape.label} found",
        recall_label=f"share of the best {options.top} found, %",
        limit=float(landscape.values.max()),
    )


def summary(landscape: Landscape, replayed: Replay, comparison: Comparison) -> dict[str, Any]:
    """The contents of ``summary.json``."""
    better = {}
    for name in replayed.strategies:
        rows = [
            result
            for result in replayed.results
            if result.strategy == name and math.isfinite(result.expected_better)
        ]
        if rows:
            better[name] = {
                "expected": sum(one.expected_better for one in rows) / len(rows),
                "found": sum(one.found_better for one in rows) / len(rows),
            }
    return {
        "landscape": {
            "variants": len(landscape),
            "label": landscape.campaign.label,
            "best": float(landscape.values.max()),
            "top": int(landscape.top(replayed.options.top).sum()),
            "notes": list(landscape.notes),
        },
        "plan": dataclasses.asdict(replayed.options),
        "rounds": {
            name: {metric: [one._asdict() for one in by_metric[metric]] for metric in METRICS}
            for name, by_metric in comparison.rounds.items()
        },
        "saved": [
            {
                "against": rival,
                "metric": metric,
                "rounds": rounds._asdict(),
                "measurements": variants,
            }
            for rival, metric, rounds, variants in comparison.saved
        ],
        "better_than_best": better,
    }
