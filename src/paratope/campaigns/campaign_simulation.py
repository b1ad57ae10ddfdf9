"""A measured landscape replayed round by round: what a strategy finds, and how soon.

A first plate at random, then plate after plate as each strategy chooses.
"""

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from paratope.campaigns.campaign import Campaign, campaign_of
from paratope.campaigns.campaign_model import CampaignModel
from paratope.campaigns.suggestion.acquisition import (
    DEFAULT_ACQUISITION,
    DEFAULT_EXPLORE,
    BatchOptions,
    ExceedanceProbability,
    select_batch,
)
from paratope.core.censoring import Censoring
from paratope.core.errors import InputError, unknown_name
from paratope.core.files import write_json
from paratope.core.progress import Progress, silent
from paratope.data.tables import write_table
from paratope.evaluation.baselines import BASELINES
from paratope.evaluation.figures.campaigns import campaign_rounds
from paratope.evaluation.figures.style import save_figure

# Of fewer variants nothing can be replayed.
MIN_VARIANTS = 20


@dataclasses.dataclass(frozen=True, eq=False)
class Landscape:
    """The variants that there are to be found."""

    campaign: Campaign  # n rows, one for each variant
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.campaign)

    @property
    def values(self) -> np.ndarray:
        """Measured value of each variant, higher = stronger; the bound of a censored one, (n,)."""
        return self.campaign.values

    @property
    def label(self) -> str:
        """Name of the values in tables and figures."""
        return "pKd" if self.campaign.label == "pkd" else "score"

    def top(self, count: int) -> np.ndarray:
        """Which variants are among the best `count`, ties with the last of them included, (n,)."""
        least = np.sort(self.values)[-min(count, len(self))]
        return self.values >= least


def landscape_of(source: Any, columns: Mapping[str, str] | None = None) -> Landscape:
    """The landscape that a table of measurements describes.

    Of several antigens or assays, the one with the most variants is taken, and noted. `source` is
    a campaign, or what `campaign_of` reads; raises `InputError` if it cannot be read, or holds too
    few different variants.

    >>> from paratope.data.datasets.simulated import simulate
    >>> landscape = landscape_of(simulate(antibodies=30, antigens=2, seed=1).measurements)
    >>> len(landscape), landscape.notes
    (30, ('2 antigens: antigen-1 alone is replayed (30 of 60 rows)',))
    """
    whole = source if isinstance(source, Campaign) else campaign_of(source, columns=columns)
    notes: list[str] = []
    antigens = Counter(pair.antigen.chains for pair in whole.pairs)
    kept = np.ones(len(whole), dtype=bool)
    if len(antigens) > 1:
        most = max(antigens, key=lambda chains: antigens[chains])
        kept = np.array([pair.antigen.chains == most for pair in whole.pairs])
        name = next(pair.antigen.name for pair in whole.pairs if pair.antigen.chains == most)
        notes.append(
            f"{len(antigens)} antigens: {name or 'the one measured most'} alone is replayed "
            f"({kept.sum():,} of {len(whole):,} rows)"
        )
    assays = Counter(whole.assay[kept].tolist())
    if len(assays) > 1:
        assay = max(assays, key=lambda index: assays[index])
        rows = kept & (whole.assay == assay)
        notes.append(
            f"{len(assays)} assays, whose values do not compare: {whole.assays[assay]!r} alone "
            f"is replayed ({rows.sum():,} of {kept.sum():,} rows)"
        )
        kept = rows
    campaign = whole.rows(kept)
    if len(campaign) < MIN_VARIANTS:
        raise InputError(
            f"a landscape of {len(campaign)} variants; expected at least {MIN_VARIANTS} to replay "
            "a campaign in it"
        )
    if np.ptp(campaign.values) == 0:
        raise InputError(
            f"all {len(campaign)} variants have the value {campaign.values[0]:g}: there is nothing "
            "to find"
        )
    return Landscape(campaign, tuple(notes))


# Campaign to a fitted model of it.
FitModel = Callable[[Campaign], CampaignModel]

# What can be compared, by name.
STRATEGIES: dict[str, str] = {
    "model": "the campaign model and its acquisition",
    "greedy": "the campaign model's highest expected values",
    "one_hot_gp": "highest expected values of a Gaussian process on one-hot residues",
    "one_hot_ridge": "highest expected values of a ridge regression on one-hot residues",
    "random": "variants drawn at random",
}


class Plate(NamedTuple):
    """The variants of one round."""

    rows: tuple[int, ...]  # Of the landscape
    # How many of them the strategy expects above the best value measured; NaN if it does not say
    expected_better: float = float("nan")


@dataclasses.dataclass(frozen=True)
class Strategy:
    """Chooses plates; this one draws variants at random."""

    name: str = dataclasses.field(default="random", kw_only=True)

    def choose(self, landscape: Landscape, measured: np.ndarray, batch: int, seed: int) -> Plate:
        """Rows to measure next; of the values only those of the rows in `measured` are used."""
        left = _unmeasured(landscape, measured)
        random = np.random.default_rng([seed, len(measured)])
        drawn = random.choice(left, min(batch, len(left)), replace=False)
        return Plate(tuple(drawn.tolist()))


@dataclasses.dataclass(frozen=True)
class BaselineStrategy(Strategy):
    """Takes the highest predictions of one of `paratope.evaluation.baselines.BASELINES`."""

    def choose(self, landscape: Landscape, measured: np.ndarray, batch: int, seed: int) -> Plate:
        """As `Strategy.choose`; ties in an order drawn by the seed."""
        left = _unmeasured(landscape, measured)
        model = BASELINES[self.name]().fit(landscape.campaign.rows(measured).measurements())
        predicted = model.predict_pkd([landscape.campaign.pairs[row] for row in left])
        order = np.random.default_rng(seed).permutation(len(left))
        highest = order[np.argsort(-predicted[order], kind="stable")[:batch]]
        return Plate(tuple(left[highest].tolist()))


@dataclasses.dataclass(frozen=True)
class ModelStrategy(Strategy):
    """Fits a campaign model to what is measured, and chooses by its acquisition.

    After plates from which nothing can be learned (all bounds, all equal), the next is random.
    """

    fit: FitModel  # Campaign to a campaign model
    name: str = dataclasses.field(default="model", kw_only=True)
    acquisition: str = DEFAULT_ACQUISITION
    explore: float = DEFAULT_EXPLORE  # 0 takes the highest expected values

    def choose(self, landscape: Landscape, measured: np.ndarray, batch: int, seed: int) -> Plate:
        """As `Strategy.choose`."""
        left = _unmeasured(landscape, measured)
        size = min(batch, len(left))
        options = BatchOptions(size, self.acquisition, self.explore, seed=seed)
        try:
            model = self.fit(landscape.campaign.rows(measured))
        except InputError:  # a plate of bounds, or of one value: nothing to learn from it yet
            return Strategy().choose(landscape, measured, batch, seed)
        pairs = landscape.campaign.pairs
        candidates = [pairs[row] for row in left]
        mean, deviation = model.marginals(candidates)
        posterior_mean, _ = model.marginals([pairs[row] for row in measured])
        best_first = measured[np.argsort(-posterior_mean, kind="stable")]
        chosen = select_batch(
            model,
            candidates,
            (mean, deviation),
            [pairs[row] for row in best_first],
            [set()] * len(left),
            options,
        )
        highest = float(landscape.values[measured].max())
        exceedance = ExceedanceProbability(model)
        better = exceedance.above_label(mean[chosen], deviation[chosen], highest)
        return Plate(tuple(left[chosen].tolist()), float(better.sum()))


def _unmeasured(landscape: Landscape, measured: np.ndarray) -> np.ndarray:
    return np.setdiff1d(np.arange(len(landscape)), measured)


def parse_strategies(text: str, fit: FitModel, acquisition: str, explore: float) -> list[Strategy]:
    """The strategies of a list of keys of `STRATEGIES`, or ``"all"``, separated by ``,``.

    Raises `InputError` if a name is none of them.

    >>> [one.name for one in parse_strategies("one_hot_gp,random", len, "ucb", 0.25)]
    ['one_hot_gp', 'random']
    """
    names: Sequence[str] = [part.strip() for part in text.split(",") if part.strip()]
    if "all" in names:
        names = list(STRATEGIES)
    fitted: dict[tuple[object, ...], CampaignModel] = {}

    def fit_once(campaign: Campaign) -> CampaignModel:
        """Strategies that start from the same plate share the last fits."""
        values = campaign.values.tolist()
        chains = [pair.antibody.chains for pair in campaign.pairs]
        key = tuple(sorted(zip(chains, values, strict=True)))
        if key not in fitted:
            if len(fitted) > 1:
                fitted.clear()
            fitted[key] = fit(campaign)
        return fitted[key]

    strategies: list[Strategy] = []
    for name in dict.fromkeys(names):
        if name not in STRATEGIES:
            raise InputError(unknown_name("strategy", name, [*STRATEGIES, "all"]))
        if name == "random":
            strategies.append(Strategy())
        elif name in BASELINES:
            strategies.append(BaselineStrategy(name=name))
        else:
            explored = explore if name == "model" else 0.0
            strategies.append(ModelStrategy(fit_once, acquisition, explored, name=name))
    if not strategies:
        raise InputError(f"no strategy is named; valid names: {', '.join(STRATEGIES)}")
    return strategies


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

    >>> from paratope.data.datasets.simulated import simulate
    >>> landscape = landscape_of(simulate(antibodies=40, antigens=1, seed=1).measurements)
    >>> options = ReplayOptions(batch=10, rounds=3, repeats=1)
    >>> replay(landscape, [Strategy()], options).curves("random", "recall")[0].tolist()[-1]
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
    from scipy.stats import sem, t

    mean = float(np.mean(values))
    if len(values) < 2:
        return MeanInterval(mean, float("nan"), float("nan"))
    reach = float(t.ppf(0.975, len(values) - 1) * sem(values))
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
                "expected": sum(result.expected_better for result in rows) / len(rows),
                "found": sum(result.found_better for result in rows) / len(rows),
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
            name: {metric: [spread._asdict() for spread in by_metric[metric]] for metric in METRICS}
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
