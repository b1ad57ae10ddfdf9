"""95 % intervals of metrics by drawing groups (antigen clusters, antigens, ...) with replacement.

Rows of one antigen are not independent, so whole groups are drawn. The interval is the metric plus
or minus Student's t times the bootstrap standard error, on a scale that stabilises the variance
(Fisher's z, logarithm, arcsine), with the degrees of freedom of the groups' influences. Percentile
and BCa intervals were measured beside it: too narrow with forty unequal groups.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from paratope.evaluation.metrics import METRICS, EvaluationRows, Floats, MetricInfo, RowWeights

DRAWS = 1000
# Larger tables: fewer draws, and groups joined at random into this many blocks.
LARGE_ROWS = 5000
LARGE_DRAWS = 500
MAX_BLOCKS = 1000
LEVEL = 0.95
MIN_GROUPS = 5
# Below this many groups an interval is shown, with a warning that it is rough.
FEW_GROUPS = 20
_JACKKNIFE_GROUPS = 200


def _arcsine(x: Floats) -> Floats:
    return np.arcsin(np.sqrt(np.clip(x, 0.0, 1.0)))


def _share(z: Floats) -> Floats:
    return np.sin(np.clip(z, 0.0, np.pi / 2)) ** 2


# A scale and the way back from it; correlations have `fisher_z`.
SCALES: Mapping[str, tuple[Callable[[Floats], Floats], Callable[[Floats], Floats]]] = {
    "identity": (lambda x: x, lambda z: z),
    "difference": (lambda x: x, lambda z: z),
    "not negative": (lambda x: x, lambda z: np.maximum(z, 0.0)),
    "positive": (lambda x: np.log(np.maximum(x, 1e-12)), np.exp),
    "share": (_arcsine, _share),
    "percent": (lambda x: _arcsine(x / 100), lambda z: 100 * _share(z)),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Interval:
    """Ends of a bootstrap interval."""

    low: float
    high: float


def fisher_z(correlation: ArrayLike, bound: float = 0.999) -> Floats:
    """Fisher's z = artanh(r) of correlations, those beyond ±`bound` taken as ±`bound`."""
    return np.arctanh(np.clip(correlation, -bound, bound))


def group_codes(labels: Sequence[object] | NDArray[Any]) -> tuple[NDArray[np.int64], int]:
    """Groups as 0 ... count - 1, in order of first appearance, and their count."""
    index: dict[object, int] = {}
    values = labels.tolist() if isinstance(labels, np.ndarray) else labels
    codes = np.array([index.setdefault(label, len(index)) for label in values], dtype=np.int64)
    return codes, len(index)


def effective_freedom(left_out: Floats) -> float:
    """Degrees of freedom, 2 to n - 1, from a metric with each of n groups left out, (n,).

    2 (Σ u)² / (Σ u² - (Σ u)² / n), u the squared influence of each group: the variance of a normal
    sample of n has this ratio at n - 1 (Satterthwaite 1946, Biometrics Bull. 2, 110).
    """
    squares = (left_out - left_out.mean()) ** 2
    excess = float(np.sum(squares**2) - np.sum(squares) ** 2 / len(squares))
    most = len(squares) - 1.0
    return most if excess <= 0 else float(np.clip(2 * np.sum(squares) ** 2 / excess, 2.0, most))


class Bootstrap:
    """Draws of whole groups of rows, and the intervals that values in these draws give.

    `labels` name the group of each row, (n,); more than 1000 groups are joined at random into 1000
    blocks. `draws` is 1000 by default, 500 for more than 5000 rows. `weights` are those of all rows
    once, then of the draws, then with each group left out (of more than 200, each of 200 blocks).
    """

    def __init__(
        self, labels: Sequence[object] | NDArray[Any], *, draws: int | None = None, seed: int = 0
    ) -> None:
        groups, count = group_codes(labels)
        if count > MAX_BLOCKS:
            block = np.random.default_rng(seed).permutation(count) % MAX_BLOCKS
            groups, count = block.astype(np.int64)[groups], MAX_BLOCKS
        self.groups = count
        self._draws = draws or (DRAWS if len(groups) <= LARGE_ROWS else LARGE_DRAWS)
        rng = np.random.default_rng(seed)
        drawn = [
            np.bincount(rng.integers(0, count, count), minlength=count) for _ in range(self._draws)
        ]
        blocks = min(count, _JACKKNIFE_GROUPS)
        left_out = np.ones((blocks, count))
        left_out[np.random.default_rng(seed).permutation(count) % blocks, np.arange(count)] = 0.0
        rows = [np.ones((1, count)), np.array(drawn, float).reshape(-1, count), left_out]
        self.weights = RowWeights(groups, np.concatenate(rows))

    def interval(
        self, values: Floats | None, scale: str = "identity", level: float = LEVEL
    ) -> Interval | None:
        """Interval of a value known in every draw, (1 + draws + groups left out,) by `weights`.

        `scale`, a name in `SCALES` or ``"correlation"``, is where it is symmetric. None with fewer
        than 5 groups, where a tenth of the draws leave it undefined, or where all agree, which says
        nothing about its error; a ``"difference"`` in which all agree is a point.
        """
        from scipy.stats import t

        if values is None or self.groups < MIN_GROUPS:
            return None
        value, drawn, left_out = np.split(values, [1, 1 + self._draws])
        drawn, left_out = drawn[np.isfinite(drawn)], left_out[np.isfinite(left_out)]
        if not np.isfinite(value[0]) or len(drawn) < 0.9 * self._draws:
            return None
        if np.ptp(drawn) < 1e-12:  # only the difference of two predictors may be known exactly
            return Interval(float(value[0]), float(value[0])) if scale == "difference" else None
        if len(left_out) < MIN_GROUPS:
            return None
        if scale == "correlation":
            # A draw of few distinct rows may rank perfectly, where z is infinite: no draw counts as
            # nearer to ±1 than this share of the value's own distance. A bound that is the same for
            # every value would cut the draws of high correlations, and miss the truth.
            distance = (1 - abs(value[0])) / max(4, self.groups / 2)
            bound = 1 - max(distance, 1e-12)
            forward, back = (lambda r: fisher_z(r, bound)), np.tanh
        else:
            forward, back = SCALES[scale]
        error = forward(drawn).std(ddof=1) * np.sqrt(self.groups / (self.groups - 1))
        reach = error * t.ppf((1 + level) / 2, effective_freedom(forward(left_out)))
        low, high = back(forward(value) + np.array([-reach, reach]))
        return Interval(float(low), float(high))

    def metric_interval(self, metric: MetricInfo, rows: EvaluationRows) -> Interval | None:
        """Interval of a metric of the rows; None where it has none."""
        if self.groups < MIN_GROUPS:
            return None
        return self.interval(metric.draws(rows, self.weights), metric.scale)


def metric_intervals(
    rows: EvaluationRows,
    groups: Sequence[object] | NDArray[Any],
    names: Sequence[str],
    *,
    draws: int | None = None,
    seed: int = 0,
) -> dict[str, Interval]:
    """Intervals of the named `METRICS` that have one, by drawing the groups of the rows, (n,)."""
    bootstrap = Bootstrap(groups, draws=draws, seed=seed)
    intervals = {name: bootstrap.metric_interval(METRICS[name], rows) for name in names}
    return {name: interval for name, interval in intervals.items() if interval is not None}
