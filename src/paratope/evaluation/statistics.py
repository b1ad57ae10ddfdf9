"""Metrics as functions of group weights: what the bootstrap evaluates a thousand times at once.

Drawing groups with replacement is weighting each group by how often it was drawn. Every builder
here takes rows and the group of each row and returns a statistic: weights (draws, groups) -> values
(draws,). With all weights 1 it equals the metric of the same name in `METRICS`.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from paratope.evaluation import interval_statistics
from paratope.evaluation.metrics import (
    COVERAGE_LEVELS,
    STRONG_PKD,
    Judged,
    errors,
    known_at_least,
)
from paratope.evaluation.weighted import Floats, Groups, Statistic, group_sums, mean_of

# Above this many rows, statistics over all pairs of rows get no interval.
PAIRWISE_ROWS = 4000
PAIRWISE = ("kendall", "concordance")


def _all(rows: Judged) -> NDArray[np.bool_]:
    return np.ones(len(rows), dtype=bool)


def _rmse(rows: Judged, groups: Groups, count: int) -> Statistic:
    mean = mean_of(errors(rows) ** 2, _all(rows), groups, count)
    return lambda weights: np.sqrt(mean(weights))


def _mae(rows: Judged, groups: Groups, count: int) -> Statistic:
    return mean_of(np.abs(errors(rows)), _all(rows), groups, count)


def _bias(rows: Judged, groups: Groups, count: int) -> Statistic:
    return mean_of(rows.predicted - rows.measured, rows.censoring == 0, groups, count)


def _within(limit: float, rows: Judged, groups: Groups, count: int) -> Statistic:
    inside = (np.abs(errors(rows)) <= limit).astype(float)
    return mean_of(100 * inside, _all(rows), groups, count)


def _moments(rows: Judged, groups: Groups, count: int) -> Statistic:
    """Weighted counts, means and (co)variances of exact rows, (draws, 6)."""
    keep = (rows.censoring == 0).astype(float)
    shift = rows.measured.mean() if len(rows) else 0.0
    x, y = (rows.measured - shift) * keep, (rows.predicted - shift) * keep
    table = group_sums([keep, x, y, x * x, y * y, x * y], groups, count)

    def statistic(weights: Floats) -> Floats:
        total = weights @ table
        mean = total[:, 1:] / total[:, :1]
        mx, my, xx, yy, xy = mean.T
        return np.stack([mx, my, xx - mx**2, yy - my**2, xy - mx * my], axis=1)

    return statistic


def _pearson(rows: Judged, groups: Groups, count: int) -> Statistic:
    moments = _moments(rows, groups, count)

    def statistic(weights: Floats) -> Floats:
        _, _, vx, vy, cov = moments(weights).T
        return cov / np.sqrt(vx * vy)

    return statistic


def _r2(rows: Judged, groups: Groups, count: int) -> Statistic:
    moments = _moments(rows, groups, count)

    def statistic(weights: Floats) -> Floats:
        mx, my, vx, vy, cov = moments(weights).T
        return 1 - (vx + vy - 2 * cov + (mx - my) ** 2) / vx

    return statistic


class _Ties:
    """Rows sorted by a value, with the borders of equal runs."""

    def __init__(self, values: Floats) -> None:
        self.order = np.argsort(values, kind="stable")
        ordered = values[self.order]
        self.starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
        self.run = np.empty(len(values), dtype=np.int64)
        self.run[self.order] = np.cumsum(np.r_[False, ordered[1:] != ordered[:-1]])

    def totals(self, weights: Floats) -> Floats:
        """Weight of each run of equal values, (draws, runs)."""
        return np.add.reduceat(weights[:, self.order], self.starts, axis=1)

    def ranks(self, weights: Floats) -> Floats:
        """Weighted middle ranks of the rows, (draws, rows)."""
        totals = self.totals(weights)
        return (np.cumsum(totals, axis=1) - totals / 2)[:, self.run]


def _in_blocks(statistic: Statistic, rows: int) -> Statistic:
    """The statistic evaluated on a few draws at a time, to bound memory."""
    block = max(1, 60_000 // max(rows, 1))  # stays in the processor's cache

    def blocked(weights: Floats) -> Floats:
        starts = range(0, len(weights), block)
        return np.concatenate([statistic(weights[i : i + block]) for i in starts])

    return blocked


def _spearman(rows: Judged, groups: Groups, count: int) -> Statistic:
    groups, rows = groups[rows.censoring == 0], rows.exact()
    left, right = _Ties(rows.measured), _Ties(rows.predicted)

    def statistic(weights: Floats) -> Floats:
        by_row = weights[:, groups]
        total = by_row.sum(axis=1, keepdims=True)
        x, y = left.ranks(by_row) - total / 2, right.ranks(by_row) - total / 2
        wx = by_row * x
        cov = np.einsum("ij,ij->i", wx, y)
        vx = np.einsum("ij,ij->i", wx, x)
        vy = np.einsum("ij,ij,ij->i", by_row, y, y)
        return cov / np.sqrt(vx * vy)

    return _in_blocks(statistic, len(rows))


def _strong(rows: Judged, groups: Groups) -> tuple[Floats, Judged, Groups]:
    positive, known = known_at_least(rows, STRONG_PKD)
    return positive[known].astype(float), rows.take(known), groups[known]


def _auroc(rows: Judged, groups: Groups, count: int) -> Statistic:
    positive, rows, groups = _strong(rows, groups)
    ties = _Ties(rows.predicted)

    def statistic(weights: Floats) -> Floats:
        by_row = weights[:, groups]
        hits = ties.totals(by_row * positive)
        misses = ties.totals(by_row) - hits
        below = np.cumsum(misses, axis=1) - misses / 2
        return (hits * below).sum(axis=1) / (hits.sum(axis=1) * misses.sum(axis=1))

    return _in_blocks(statistic, len(rows))


def _average_precision(rows: Judged, groups: Groups, count: int) -> Statistic:
    positive, rows, groups = _strong(rows, groups)
    ties = _Ties(-rows.predicted)

    def statistic(weights: Floats) -> Floats:
        by_row = weights[:, groups]
        hits = ties.totals(by_row * positive)
        called = np.cumsum(ties.totals(by_row), axis=1)
        precision = np.cumsum(hits, axis=1) / np.maximum(called, 1e-12)
        return (hits * precision).sum(axis=1) / hits.sum(axis=1)

    return _in_blocks(statistic, len(rows))


def _at_threshold(which: str, rows: Judged, groups: Groups, count: int) -> Statistic:
    positive, rows, groups = _strong(rows, groups)
    called = (rows.predicted >= STRONG_PKD).astype(float)
    table = group_sums([positive * called, positive, called], groups, count)

    def statistic(weights: Floats) -> Floats:
        hits, positives, calls = (weights @ table).T
        below = {"recall": positives, "precision": calls, "f1": (positives + calls) / 2}[which]
        return 100 * hits / below

    return statistic


def _pairwise(rows: Judged, groups: Groups, count: int) -> tuple[Floats, Floats, Floats, Floats]:
    """Group-by-group sums of pair signs: concordance, untied measured, untied predicted, known."""
    upper = np.where(rows.censoring > 0, np.inf, rows.measured)
    lower = np.where(rows.censoring < 0, -np.inf, rows.measured)
    order = np.argsort(groups, kind="stable")
    present, starts = np.unique(groups[order], return_index=True)
    upper, lower, predicted = upper[order], lower[order], rows.predicted[order]
    out = [np.zeros((count, count)) for _ in range(4)]
    ends = np.r_[starts[1:], len(order)]
    for row, first, last in zip(present, starts, ends, strict=True):
        known = (upper[first:last, None] < lower).astype(np.int8)
        known -= (upper < lower[first:last, None]).astype(np.int8)
        step = np.sign(predicted - predicted[first:last, None]).astype(np.int8)
        for target, matrix in zip(
            out, (known * step, known != 0, step != 0, known != 0), strict=True
        ):
            target[row, present] = np.add.reduceat(matrix.sum(axis=0, dtype=np.int64), starts)
    return out[0], out[1], out[2], out[3]


def _kendall(rows: Judged, groups: Groups, count: int) -> Statistic:
    groups, rows = groups[rows.censoring == 0], rows.exact()
    sign, untied_x, untied_y, _ = _pairwise(rows, groups, count)

    def statistic(weights: Floats) -> Floats:
        s, x, y = (
            np.einsum("ij,ij->i", weights @ matrix, weights)
            for matrix in (sign, untied_x, untied_y)
        )
        return s / np.sqrt(x * y)

    return statistic


def _concordance(rows: Judged, groups: Groups, count: int) -> Statistic:
    sign, _, _, known = _pairwise(rows, groups, count)

    def statistic(weights: Floats) -> Floats:
        s, pairs = (np.einsum("ij,ij->i", weights @ m, weights) for m in (sign, known))
        return 0.5 + s / (2 * pairs)

    return statistic


def _p_strong_auroc(rows: Judged, groups: Groups, count: int) -> Statistic:
    assert rows.p_strong is not None
    return _auroc(dataclasses.replace(rows, predicted=rows.p_strong), groups, count)


def _found_in_budget(
    share: float, relative: bool, rows: Judged, groups: Groups, count: int
) -> Statistic:
    """Percent of strong binders in the top share, or that over the share itself."""
    positive, rows, groups = _strong(rows, groups)
    ties = _Ties(-rows.predicted)

    def statistic(weights: Floats) -> Floats:
        by_row = weights[:, groups]
        total = by_row.sum(axis=1, keepdims=True)
        budget = np.maximum(1, np.round(share * total))
        run, hits = ties.totals(by_row), ties.totals(by_row * positive)
        before = np.cumsum(run, axis=1) - run
        taken = np.clip((budget - before) / np.maximum(run, 1e-12), 0.0, 1.0)
        recall = (hits * taken).sum(axis=1) / hits.sum(axis=1)
        return recall * total[:, 0] / budget[:, 0] if relative else 100 * recall

    return _in_blocks(statistic, len(rows))


_on = functools.partial
STATISTICS: Mapping[str, Callable[[Judged, Groups, int], Statistic]] = {
    "spearman": _spearman,
    "pearson": _pearson,
    "kendall": _kendall,
    "concordance": _concordance,
    "rmse": _rmse,
    "mae": _mae,
    "bias": _bias,
    "r2": _r2,
    "within_half_log_percent": _on(_within, 0.5),
    "within_one_log_percent": _on(_within, 1.0),
    "auroc": _auroc,
    "average_precision": _average_precision,
    "recall_percent": _on(_at_threshold, "recall"),
    "precision_percent": _on(_at_threshold, "precision"),
    "f1_percent": _on(_at_threshold, "f1"),
    "auroc_p_strong": _p_strong_auroc,
    **{
        name: _on(_found_in_budget, share / 100, relative)
        for share in (5, 10)
        for name, relative in (
            (f"recall_top_{share}_percent", False),
            (f"enrichment_top_{share}", True),
        )
    },
    **{
        f"coverage_{round(100 * at)}_percent": _on(interval_statistics.coverage, at)
        for at in COVERAGE_LEVELS
    },
    **{f"width_{round(100 * at)}": _on(interval_statistics.width, at) for at in COVERAGE_LEVELS},
    "miscalibration_area": interval_statistics.miscalibration,
    "ence": interval_statistics.ence,
    "selective_gain_percent": interval_statistics.selective_gain,
    "bounds_respected_percent": interval_statistics.bounds_respected,
}
# Metrics without an interval, and why.
WITHOUT_INTERVAL: Mapping[str, str] = dict.fromkeys(
    ("top_1_regret", "top_10_regret"),
    "hangs on the single best row, which a third of all draws leave out",
)


def build_statistic(name: str, rows: Judged, groups: Groups, count: int) -> Statistic | None:
    """The statistic of a metric's name, or None where it has none or the table is too large."""
    if name not in STATISTICS:
        return None
    if name in PAIRWISE and max(len(rows), count) > PAIRWISE_ROWS:
        return None
    return STATISTICS[name](rows, groups, count)


def missing_interval(name: str, rows: int) -> str:
    """Why a metric of a table has no interval, for people."""
    if name in WITHOUT_INTERVAL:
        return WITHOUT_INTERVAL[name]
    if name in PAIRWISE and rows > PAIRWISE_ROWS:
        return f"takes all pairs of rows, which are too many above {PAIRWISE_ROWS:,} rows"
    return "too many draws leave it undefined"
