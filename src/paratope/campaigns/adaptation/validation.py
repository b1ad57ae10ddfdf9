"""Cross-validation of a campaign's model: folds, held-out predictions, scores, learning curve."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from paratope.campaigns.campaign import Campaign
from paratope.campaigns.campaign_model import MAX_ROWS, CampaignModel, fit_campaign
from paratope.core.censoring import Censoring
from paratope.core.errors import InputError
from paratope.encoders.likelihood import LanguageModel
from paratope.evaluation.baselines import BASELINES
from paratope.evaluation.bootstrap import Bootstrap, Interval, fisher_z, group_codes
from paratope.evaluation.metrics import METRICS, EvaluationRows, RowWeights
from paratope.molecules.mutations import mutations_between
from paratope.molecules.sequences import Pair, Residues

Kind = Literal["random", "unseen mutation", "unseen position"]
KINDS: tuple[Kind, ...] = ("random", "unseen mutation", "unseen position")
COVERAGES = (0.5, 0.8, 0.9)
# Beside every number, by their names in `BASELINES`; the constant is its assay's mean.
COMPARED_BASELINES = (
    "constant",
    "one_hot_ridge",
    "one_hot_gp",
    "nearest_neighbour",
    "boosted_kmers",
)
# Fewer rows than this can neither train nor judge anything.
MIN_ROWS = 8
# What must be left to train on when mutations or positions are held out.
_MIN_TRAIN_SHARE = 0.25
_MIN_TEST = 4
_DRAWS = 400
# How much one doubling of the measurements adds to Fisher's z of the Spearman correlation, a
# priori: mean and standard deviation over the published learning curves of four antibodies (random
# draws of 24, 96 and 384 variants; one-hot and language-model kernels).
DOUBLING_MEAN, DOUBLING_SD = 0.10, 0.05
# More measurements than this many times the present ones are not spoken about.
_FARTHEST = 8

# Parent, chain, position, and the new residue (not where only positions matter).
MutationKey = tuple[Any, ...]


@dataclasses.dataclass(frozen=True)
class Fold:
    """Rows to train on and rows to judge on."""

    train: np.ndarray
    test: np.ndarray


@dataclasses.dataclass(frozen=True)
class Folds:
    """All folds of one kind."""

    kind: Kind  # One of `KINDS`
    rounds: tuple[tuple[Fold, ...], ...] = ()  # In each round a row is judged at most once
    reason: str = ""  # Why there are none; empty if there are

    @property
    def train_rows(self) -> int:
        """Rows trained on, on average."""
        sizes = [len(fold.train) for folds in self.rounds for fold in folds]
        return round(float(np.mean(sizes))) if sizes else 0


def variant_groups(pairs: Sequence[Pair]) -> np.ndarray:
    """Index of each row's antibody, whatever the assay or antigen, (n,)."""
    return group_codes([pair.antibody.chains for pair in pairs])[0]


def shuffled_variants(groups: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Rank of each row's variant in a random order of the variants, (n,), from 0.

    All rows of a variant have one rank, so whatever deals rows by it keeps a variant together.

    >>> shuffled_variants(np.array([0, 0, 1, 2]), np.random.default_rng(0)).tolist()
    [1, 1, 2, 0]
    """
    variants, codes = np.unique(groups, return_inverse=True)
    rank = np.empty(len(variants), int)
    rank[random.permutation(len(variants))] = np.arange(len(variants))
    return rank[codes]


def random_folds(campaign: Campaign, folds: int, rounds: int, seed: int) -> Folds:
    """Variants dealt out at random, `rounds` times; all rows of a variant are in one fold.

    >>> from paratope.campaigns.campaign import campaign_of
    >>> from paratope.data.datasets.simulated import simulate
    >>> campaign = campaign_of(simulate(antibodies=30, antigens=1, seed=1).measurements)
    >>> [len(fold.test) for fold in random_folds(campaign, 5, 1, 0).rounds[0]]
    [6, 6, 6, 6, 6]
    """
    groups = variant_groups(campaign.pairs)
    count = int(groups.max()) + 1
    if count < MIN_ROWS:
        return Folds(
            "random",
            reason=f"{count} variant{'s' * (count != 1)} cannot be both learned from and judged "
            f"on; at least {MIN_ROWS} are needed",
        )
    folds = min(folds, count)
    random = np.random.default_rng(seed)
    parts = [shuffled_variants(groups, random) % folds for _ in range(rounds)]
    dealt = [
        tuple(Fold(np.flatnonzero(part != i), np.flatnonzero(part == i)) for i in range(folds))
        for part in parts
    ]
    return Folds("random", tuple(dealt))


def mutations_of(campaign: Campaign) -> list[frozenset[MutationKey]]:
    """Mutations of each row against the parent it differs least from.

    Empty for parents, and for antibodies that are like no parent.
    """
    known: dict[tuple[str, ...], frozenset[MutationKey]] = {}
    for antibody in (pair.antibody for pair in campaign.pairs):
        if antibody.chains in known:
            continue
        against: list[frozenset[MutationKey]] = []
        for index, parent in enumerate(campaign.parents):
            with contextlib.suppress(InputError):  # of another kind: a single domain and a pair
                changes = mutations_between(parent.antibody, antibody)
                against.append(frozenset((index, m.chain, m.position, m.after) for m in changes))
        known[antibody.chains] = min(against, key=len, default=frozenset())
    return [known[pair.antibody.chains] for pair in campaign.pairs]


def unseen_folds(campaign: Campaign, kind: Kind, folds: int, seed: int) -> Folds:
    """At most `folds` folds whose judged rows have a mutation (position) that no trained row has.

    Mutations (positions) are held out one after the other, in random order, while at least a
    quarter of the rows are left to train on, until a fold's share of the rows is to be judged. Each
    fold begins with those that no fold before it held out.
    """
    by_position = kind == "unseen position"
    what = "position" if by_position else "mutation"
    rows = mutations_of(campaign)
    positions = [frozenset(key[:3] for key in row) for row in rows]
    counts = [len(frozenset().union(*of_rows)) for of_rows in (rows, positions)]
    if not by_position and counts[0] and counts[0] == counts[1]:
        return Folds(kind, reason="each position is mutated in one way only: as for positions")
    rows = positions if by_position else rows
    keys = sorted({key for row in rows for key in row}, key=str)
    if not campaign.parents:
        return Folds(kind, reason="the antibodies are unrelated: no parent whose mutations to tell")
    if len(keys) < 2:
        return Folds(kind, reason=f"fewer than two {what}s are measured")
    has = np.array([[key in row for key in keys] for row in rows])
    order = np.random.default_rng(seed).permutation(len(keys)).tolist()
    held_out: list[Fold] = []
    used: set[int] = set()
    for _ in range(folds):
        queue = [key for key in order if key not in used]
        if not queue:
            break
        held = _held_out(has, [*queue, *(key for key in order if key in used)], folds)
        if not held or used.issuperset(held):
            break
        used.update(held)
        touched = has[:, held].any(1)
        if touched.sum() >= _MIN_TEST:
            held_out.append(Fold(np.flatnonzero(~touched), np.flatnonzero(touched)))
    if len(held_out) < 2:
        return Folds(
            kind,
            reason=f"no {what} can be held out: each is in too many or too few of the "
            f"{len(campaign)} rows",
        )
    return Folds(kind, tuple((fold,) for fold in held_out))


def _held_out(has: np.ndarray, queue: Sequence[int], folds: int) -> list[int]:
    """Columns of `has` to hold out in one fold, from the front of the queue."""
    least = max(MIN_ROWS, int(np.ceil(_MIN_TRAIN_SHARE * len(has))))
    wanted = max(_MIN_TEST, len(has) // folds)
    held: list[int] = []
    touched = np.zeros(len(has), bool)
    for column in queue:
        more = touched | has[:, column]
        if (~more).sum() < least:
            continue
        held.append(column)
        touched = more
        if touched.sum() >= wanted:
            break
    return held


class IntervalPredictions(NamedTuple):
    """Predicted new measurements of n variants, in the campaign's units."""

    mean: np.ndarray  # (n,)
    # low, high: (coverages, n) ends of the intervals that claim `COVERAGES`
    low: np.ndarray
    high: np.ndarray


class AssayPredictor:
    """A fitted campaign model, asked in the assays of the rows."""

    def __init__(self, model: CampaignModel) -> None:
        self.model = model

    @property
    def fast(self) -> "AssayPredictor | None":
        """Its fast form; None where it is the fast form itself."""
        fast = self.model.fast
        return None if fast is self.model else AssayPredictor(fast)

    def predict(self, pairs: Sequence[Pair], assay: np.ndarray) -> IntervalPredictions:
        """Medians and intervals of new measurements of pairs, each in the assay of that index."""
        mean = np.empty(len(pairs))
        low, high = np.empty((2, len(COVERAGES), len(pairs)))
        for index in np.unique(assay):
            rows = np.flatnonzero(assay == index)
            answer = self.model.predict_latent([pairs[row] for row in rows.tolist()], int(index))
            mean[rows] = self.model.to_label(answer.mean)
            for which, claimed in enumerate(COVERAGES):
                low[which, rows], high[which, rows] = self.model.interval(answer, claimed)
        return IntervalPredictions(mean, low, high)


Fit = Callable[[Campaign], AssayPredictor]


def campaign_fitter(
    language: LanguageModel | None = None, prior: Any = None, exact_rows: int = MAX_ROWS
) -> Callable[[Campaign], CampaignModel]:
    """Fits campaigns with a language model and a general model, asked once for each pair.

    Campaigns of more than `exact_rows` rows get a sparse process.
    """
    asks = hasattr(prior, "predict_pkd")
    asked = AskedOnce(prior) if asks else prior
    return functools.partial(fit_campaign, language=language, prior=asked, exact_rows=exact_rows)


class AskedOnce:
    """A general model that is asked once for each pair; `known` are pKd by residues."""

    def __init__(self, prior: Any, known: Mapping[Residues, float] | None = None) -> None:
        self._prior, self._known = prior, dict(known or {})

    def predict_pkd(self, pairs: Sequence[Pair], parents: Sequence[Pair] = ()) -> np.ndarray:
        """pKd, (n,)."""
        new = {pair.residues: pair for pair in pairs if pair.residues not in self._known}
        if new:
            predicted = self._prior.predict_pkd(list(new.values()), parents)
            self._known.update(zip(new, np.asarray(predicted, float).tolist(), strict=True))
        return np.array([self._known[pair.residues] for pair in pairs])


@dataclasses.dataclass(frozen=True)
class HeldOutPredictions:
    """Predictions of rows by models that did not see them; m predictions of a campaign's rows."""

    row: np.ndarray  # (m,) row of the campaign
    round: np.ndarray  # (m,)
    # (m,) middle of the training rows of the row's assay: what the constant predicts
    centre: np.ndarray
    mean: np.ndarray  # (m,)
    # low, high: (coverages, m) as `IntervalPredictions`, of the campaign's model
    low: np.ndarray
    high: np.ndarray
    baselines: Mapping[str, np.ndarray]  # (m,) predictions of the trivial models
    fast: np.ndarray | None = None  # (m,) of the model's fast form, if it has one


@dataclasses.dataclass(frozen=True, slots=True)
class Score:
    """How good predictions are."""

    spearman: float  # Within assays, averaged by rows; NaN where all predictions are equal
    # low, high: Its 95 % interval; NaN where there is none
    low: float
    high: float
    rmse: float


def cross_validate(
    campaign: Campaign,
    folds: Folds,
    fit: Fit,
    *,
    baselines: Sequence[str] = COMPARED_BASELINES,
    advance: Callable[[], None] = lambda: None,
) -> HeldOutPredictions:
    """Fit on each fold's training rows and predict its others; `advance` is called after a fold."""
    parts: list[dict[str, Any]] = []
    has_fast = False
    for index, of_round in enumerate(folds.rounds):
        for fold in of_round:
            train, test = campaign.rows(fold.train), campaign.rows(fold.test)
            # baselines know no assays: they learn differences from the mean of each row's assay
            means = np.full(len(campaign.assays), train.values.mean())
            for assay in np.unique(train.assay):
                means[assay] = train.values[train.assay == assay].mean()
            centred = dataclasses.replace(train, values=train.values - means[train.assay])
            measurements, offset = centred.measurements(), means[test.assay]
            trivial = {
                name: offset + BASELINES[name]().fit(measurements).predict_pkd(test.pairs)
                for name in dict.fromkeys(("constant", *baselines))
            }
            rows = {"row": fold.test, "round": np.full(len(fold.test), index)}
            fitted = fit(train)
            predicted = fitted.predict(test.pairs, test.assay)
            fast = fitted.fast and fitted.fast.predict(test.pairs, test.assay)
            rows["fast"] = (fast or predicted).mean
            has_fast |= fast is not None
            parts.append({**rows, "centre": trivial["constant"], **predicted._asdict(), **trivial})
            advance()
    joined = {name: np.concatenate([part[name] for part in parts], axis=-1) for name in parts[0]}
    of_baselines = {name: joined[name] for name in baselines}
    columns = ("row", "round", "centre", *IntervalPredictions._fields)
    fast = joined["fast"] if has_fast else None
    kept = {name: joined[name] for name in columns}
    return HeldOutPredictions(**kept, baselines=of_baselines, fast=fast)


def assay_spearman(measured: np.ndarray, predicted: np.ndarray, assay: np.ndarray) -> float:
    """Spearman correlation within each assay, averaged by its rows; NaN where none has one."""
    parts = [np.flatnonzero(assay == index) for index in np.unique(assay)]
    return float(_mean_spearman(measured, predicted, parts, RowWeights.once(len(measured)))[0])


def _mean_spearman(
    measured: np.ndarray, predicted: np.ndarray, parts: Sequence[np.ndarray], weights: RowWeights
) -> np.ndarray:
    """Spearman within each part, averaged by its rows, in each draw, (draws,)."""
    total, weight = np.zeros(len(weights.drawn)), np.zeros(len(weights.drawn))
    for rows in parts:
        of_rows = weights.take(rows)
        pairs = EvaluationRows(measured[rows], predicted[rows])
        spearman = METRICS["spearman"].draws(pairs, of_rows)
        assert spearman is not None
        (size,) = of_rows.sums(np.ones(len(rows)))
        known = np.isfinite(spearman) & (size > 0)
        total[known] += (size * spearman)[known]
        weight[known] += size[known]
    with np.errstate(divide="ignore", invalid="ignore"):
        return total / weight


class Ranking:
    """Spearman correlations of predictions of one set of held-out rows, with their intervals.

    Ranks are compared within assays, over all folds of a round, each prediction taken against the
    mean of the rows its model was trained on: the mean of the others is low where a row is high,
    which would turn even a constant into a bad ranking. A bound takes part as its value. Intervals
    draw variants with replacement: Student's t times the standard deviation over the draws.
    """

    def __init__(self, campaign: Campaign, held_out: HeldOutPredictions, seed: int) -> None:
        self._campaign, self._held_out = campaign, held_out
        self._measured = campaign.values[held_out.row]
        assay = campaign.assay[held_out.row]
        self._parts = [
            np.flatnonzero((held_out.round == fold_round) & (assay == index))
            for fold_round in np.unique(held_out.round)
            for index in np.unique(assay)
        ]
        groups = variant_groups(campaign.pairs)[held_out.row]
        self._bootstrap = Bootstrap(groups, draws=_DRAWS, seed=seed)

    def draws(self, predicted: np.ndarray) -> np.ndarray:
        """Spearman in each draw of the bootstrap, that of all rows first."""
        relative = predicted - self._held_out.centre
        # a constant has no ranking
        relative[np.abs(relative) < 1e-9 * np.ptp(self._measured)] = 0.0
        return _mean_spearman(self._measured, relative, self._parts, self._bootstrap.weights)

    def score(self, predicted: np.ndarray) -> Score:
        """How good predictions of these rows are; a bound counts as an error where it is broken."""
        spearman = self.draws(predicted)
        low, high = _ends(self._bootstrap.interval(spearman, "correlation"))
        censoring = self._campaign.censoring[self._held_out.row]
        rmse = METRICS["rmse"](EvaluationRows(self._measured, predicted, censoring))
        return Score(float(spearman[0]), low, high, rmse)

    def ahead(self, first: np.ndarray, second: np.ndarray) -> tuple[float, float, float]:
        """Spearman of one prediction minus that of another, with its interval; none counts as 0."""
        gap = np.nan_to_num(self.draws(first)) - np.nan_to_num(self.draws(second))
        return (float(gap[0]), *_ends(self._bootstrap.interval(gap, "difference")))


def _ends(interval: Interval | None) -> tuple[float, float]:
    return (float("nan"), float("nan")) if interval is None else (interval.low, interval.high)


def coverage(campaign: Campaign, held_out: HeldOutPredictions) -> dict[str, float]:
    """Share of exact held-out values inside the model's intervals, by what these claim."""
    exact = campaign.censoring[held_out.row] == Censoring.EXACT
    value = campaign.values[held_out.row]
    inside = (held_out.low <= value) & (value <= held_out.high)
    return {
        f"{claimed:.0%}": float(np.mean(covered[exact]))
        for claimed, covered in zip(COVERAGES, inside, strict=True)
        if exact.any()
    }


@dataclasses.dataclass(frozen=True, slots=True)
class Point:
    """Spearman of held-out rows after training on `size` variants, over `repeats` draws."""

    size: int
    spearman: float
    repeats: int


@dataclasses.dataclass(frozen=True, slots=True)
class Gain:
    """What `more` measurements should add to the Spearman correlation, with its 95 % interval."""

    more: int
    gain: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class LearningCurve:
    """Spearman by number of measured variants.

    On Fisher's scale it is a straight line in the logarithm of their number: `level` at all of
    them, `slope` for each doubling.
    """

    points: tuple[Point, ...]  # As measured, smallest first
    variants: int  # Variants measured in the campaign
    level: float  # Fisher's z with all of them
    level_sd: float
    slope: float
    slope_sd: float
    gains: tuple[Gain, ...]

    def spearman(self, variants: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Expected Spearman with so many variants, and the ends of its 95 % interval."""
        doublings = np.log2(np.asarray(variants, float) / self.variants)
        middle = self.level + self.slope * doublings
        spread = 1.96 * np.sqrt(self.level_sd**2 + (self.slope_sd * doublings) ** 2)
        return np.tanh(middle), np.tanh(middle - spread), np.tanh(middle + spread)


def curve_sizes(variants: int) -> tuple[tuple[int, int], ...]:
    """Sizes to train on, and how many draws of each.

    >>> curve_sizes(96)
    ((12, 4), (24, 3), (48, 2))
    """
    plan = ((variants // 8, 4), (variants // 4, 3), (variants // 2, 2))
    return tuple((size, draws) for size, draws in plan if size >= MIN_ROWS)


def measure_points(
    campaign: Campaign,
    fit: Fit,
    sizes: Sequence[tuple[int, int]],
    seed: int,
    advance: Callable[[], None] = lambda: None,
) -> list[Point]:
    """Train on some variants, predict all others, for each size and draw."""
    groups = variant_groups(campaign.pairs)
    points = []
    for size, draws in sizes:
        spearman = []
        for draw in range(draws):
            random = np.random.default_rng((seed, size, draw))
            inside = shuffled_variants(groups, random) < size
            train, test = campaign.rows(inside), campaign.rows(~inside)
            if np.ptp(train.values) > 0:
                mean = fit(train).predict(test.pairs, test.assay).mean
                flat = np.ptp(mean) < 1e-9 * np.ptp(train.values)
                spearman.append(0.0 if flat else assay_spearman(test.values, mean, test.assay))
            advance()
        known = [value for value in spearman if not np.isnan(value)]
        if known:
            mean = float(np.tanh(np.mean(fisher_z(np.array(known)))))
            points.append(Point(size, mean, len(known)))
    return points


def fit_curve(points: Sequence[Point], variants: int, more: Sequence[int]) -> LearningCurve | None:
    """The line through the points, by Bayes' rule; None without a point.

    A doubling adds `DOUBLING_MEAN` ± `DOUBLING_SD` to Fisher's z beforehand; each point pulls on
    that as its sampling error allows (1 / √(rows judged - 3), and what its draws differ in).
    `variants` were measured in the campaign; `more` are numbers of further measurements.

    >>> points = [Point(12, 0.3, 4), Point(24, 0.4, 3), Point(48, 0.47, 2)]
    >>> curve = fit_curve(points, 96, [24, 96])
    >>> [round(gain.gain, 2) for gain in curve.gains]
    [0.02, 0.07]
    """
    kept = [point for point in points if point.size < variants]
    if not kept:
        return None
    size, spearman, repeats = np.array(
        [(point.size, point.spearman, point.repeats) for point in kept], float
    ).T
    y = fisher_z(spearman)
    # draws share most of their judged rows: they average out the choice of training rows only
    variance = 1 / np.maximum(variants - size - 3, 1) + 1 / (size * repeats)
    design = np.stack([np.ones(len(kept)), np.log2(size / variants)], axis=1)
    precision = (design / variance[:, None]).T @ design + np.diag([1e-6, DOUBLING_SD**-2])
    target = (design / variance[:, None]).T @ y + np.array([0.0, DOUBLING_MEAN / DOUBLING_SD**2])
    covariance = np.linalg.inv(precision)
    level, slope = covariance @ target
    level_sd, slope_sd = np.sqrt(np.diag(covariance))
    gains = []
    for added in more:
        if added > _FARTHEST * variants:
            continue
        doublings = float(np.log2((variants + added) / variants))
        slopes = [slope + shift * slope_sd for shift in (0.0, -1.96, 1.96)]
        gained = [float(np.tanh(level + each * doublings) - np.tanh(level)) for each in slopes]
        gains.append(Gain(added, *gained))
    return LearningCurve(
        tuple(sorted(points, key=lambda point: point.size)),
        variants,
        *map(float, (level, level_sd, slope, slope_sd)),
        gains=tuple(gains),
    )
