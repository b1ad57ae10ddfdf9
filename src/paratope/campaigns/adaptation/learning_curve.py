"""What more measurements should buy: Spearman by number of measurements, fitted and extended."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from paratope.campaigns.adaptation.folds import MIN_ROWS, Fold, variant_groups
from paratope.campaigns.adaptation.validation import Fit, assay_spearman
from paratope.campaigns.campaign import Campaign
from paratope.evaluation.bootstrap import fisher_z

# How much one doubling of the measurements adds to Fisher's z of the Spearman correlation, before
# this campaign has said anything: mean and standard deviation over the published learning curves
# of four antibodies (random draws of 24, 96 and 384 variants; one-hot and language-model kernels).
DOUBLING_MEAN, DOUBLING_SD = 0.10, 0.05
# More measurements than this many times the present ones are not spoken about.
_FARTHEST = 8


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

    Attributes
    ----------
    points : tuple of Point
        As measured, smallest first.
    variants : int
        Variants measured in the campaign.
    level, level_sd : float
        Fisher's z with all of them, and its standard deviation.
    slope, slope_sd : float
    gains : tuple of Gain
    """

    points: tuple[Point, ...]
    variants: int
    level: float
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
    """Train on some variants, judge on all others, for each size and draw."""
    groups = variant_groups(campaign.pairs)
    count = int(groups.max()) + 1
    points = []
    for size, draws in sizes:
        found = []
        for draw in range(draws):
            chosen = np.random.default_rng((seed, size, draw)).permutation(count)[:size]
            inside = np.isin(groups, chosen)
            fold = Fold(np.flatnonzero(inside), np.flatnonzero(~inside))
            found.append(_spearman(campaign, fold, fit))
            advance()
        known = [one for one in found if not np.isnan(one)]
        if known:
            mean = float(np.tanh(np.mean(fisher_z(np.array(known)))))
            points.append(Point(size, mean, len(known)))
    return points


def _spearman(campaign: Campaign, fold: Fold, fit: Fit) -> float:
    train, test = campaign.rows(fold.train), campaign.rows(fold.test)
    if np.ptp(train.values) == 0:
        return float("nan")
    mean = fit(train).judge(test.pairs, test.assay).mean
    return 0.0 if np.ptp(mean) < 1e-9 else assay_spearman(test.values, mean, test.assay)


def fit_curve(points: Sequence[Point], variants: int, more: Sequence[int]) -> LearningCurve | None:
    """The line through the points, by Bayes' rule; None without a point.

    A doubling adds `DOUBLING_MEAN` ± `DOUBLING_SD` to Fisher's z beforehand; each point pulls on
    that as its sampling error allows (1 / √(rows judged - 3), and what its draws differ in).

    Parameters
    ----------
    points : sequence of Point
    variants : int
        Measured in the campaign.
    more : sequence of int
        Numbers of further measurements to speak about.

    Examples
    --------
    >>> points = [Point(12, 0.3, 4), Point(24, 0.4, 3), Point(48, 0.47, 2)]
    >>> curve = fit_curve(points, 96, [24, 96])
    >>> [round(gain.gain, 2) for gain in curve.gains]
    [0.02, 0.07]
    """
    kept = [point for point in points if point.size < variants]
    if not kept:
        return None
    x = np.array([np.log2(point.size / variants) for point in kept])
    y = fisher_z(np.array([point.spearman for point in kept]))
    judged = np.array([variants - point.size for point in kept])
    # draws share most of their judged rows: they average out the choice of training rows only
    repeats = np.array([point.repeats for point in kept])
    training = 1 / np.sqrt(np.array([point.size for point in kept]) * repeats)
    variance = 1 / np.maximum(judged - 3, 1) + training**2
    design = np.stack([np.ones_like(x), x], axis=1)
    precision = (design / variance[:, None]).T @ design + np.diag([1e-6, DOUBLING_SD**-2])
    target = (design / variance[:, None]).T @ y + np.array([0.0, DOUBLING_MEAN / DOUBLING_SD**2])
    covariance = np.linalg.inv(precision)
    level, slope = covariance @ target
    level_sd, slope_sd = np.sqrt(np.diag(covariance))
    gains = []
    for number in more:
        if number > _FARTHEST * variants:
            continue
        doublings = float(np.log2((variants + number) / variants))
        ends = [slope + shift * slope_sd for shift in (0.0, -1.96, 1.96)]
        gained = [float(np.tanh(level + end * doublings) - np.tanh(level)) for end in ends]
        gains.append(Gain(number, *gained))
    return LearningCurve(
        tuple(sorted(points, key=lambda point: point.size)),
        variants,
        float(level),
        float(level_sd),
        float(slope),
        float(slope_sd),
        tuple(gains),
    )
