"""Metrics of predicted values: errors, correlations, ranking, finding strong binders.

Each takes rows and weights and returns its value in each draw, (draws,); NaN where it is
undefined. y is the measured value, ŷ the predicted one, w the weight, Σ a sum over rows.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from paratope.core.censoring import Censoring
from paratope.core.units import STRONG_PKD
from paratope.evaluation.metrics.rows import EvaluationRows, Floats, RowWeights, errors, exact_rows

# --- how far predictions are off ---


def rmse(rows: EvaluationRows, weights: RowWeights) -> Floats:
    """Root mean square error, √(Σ w e² / Σ w); the error e of a met bound is 0."""
    return np.sqrt(weights.mean(errors(rows) ** 2))


def mae(rows: EvaluationRows, weights: RowWeights) -> Floats:
    """Mean absolute error, Σ w |e| / Σ w; the error e of a met bound is 0."""
    return weights.mean(np.abs(errors(rows)))


def bias(rows: EvaluationRows, weights: RowWeights) -> Floats:
    """Σ w (ŷ - y) / Σ w over exact rows; positive: predicted too strong."""
    return weights.mean(rows.predicted - rows.measured, rows.censoring == Censoring.EXACT)


def within(limit: float, rows: EvaluationRows, weights: RowWeights) -> Floats:
    """Percent of rows whose error is at most `limit`."""
    return weights.mean(100.0 * (np.abs(errors(rows)) <= limit))


def r2(rows: EvaluationRows, weights: RowWeights) -> Floats:
    """Coefficient of determination over exact rows: 1 - Σ w (ŷ - y)² / Σ w (y - mean y)²."""
    rows, weights = exact_rows(rows, weights)
    if len(rows) < 2 or np.ptp(rows.measured) == 0:
        return weights.undefined()
    variance = _covariances(rows, weights)[0]
    return 1 - weights.mean((rows.predicted - rows.measured) ** 2) / variance


def r2_parts(rows: EvaluationRows) -> dict[str, float]:
    """R² as what the correlation gives minus what wrong scale and bias cost.

    R² = r² - (r - s_p / s_m)² - (bias / s_m)², with r Pearson's correlation and s the population
    standard deviations of predicted and measured (Murphy 1988, Mon. Weather Rev. 116, 2417).

    >>> r2_parts(EvaluationRows([1.0, 2.0, 3.0], [2.0, 3.0, 4.0]))
    {'correlation': 1.0, 'scale': 0.0, 'bias': 1.5, 'r2': -0.5}
    """
    rows = rows.exact()
    if len(rows) < 3 or np.ptp(rows.measured) == 0:
        return dict.fromkeys(("correlation", "scale", "bias", "r2"), math.nan)
    sd = rows.measured.std()
    r = float(pearson(rows, RowWeights.once(len(rows)))[0])
    r = 0.0 if math.isnan(r) else r  # a constant prediction explains nothing
    parts = {
        "correlation": r**2,
        "scale": (r - rows.predicted.std() / sd) ** 2,
        "bias": ((rows.predicted - rows.measured).mean() / sd) ** 2,
    }
    total = parts["correlation"] - parts["scale"] - parts["bias"]
    return {name: round(float(part), 12) for name, part in (parts | {"r2": total}).items()}


# --- how well they rank ---


def _covariances(rows: EvaluationRows, weights: RowWeights) -> Floats:
    """Variance of measured and predicted, and their covariance, (3, draws); NaN for variance 0."""
    x, y = rows.measured - rows.measured.mean(), rows.predicted - rows.predicted.mean()
    count, sx, sy, xx, yy, xy = weights.sums(np.ones(len(rows)), x, y, x * x, y * y, x * y)
    moments = np.stack([xx, yy, xy]) / count
    centred = moments - np.stack([sx * sx, sy * sy, sx * sy]) / count**2
    # below this share of the second moment only rounding errors are left of a variance
    constant = centred[:2] <= 1e-12 * moments[:2]
    centred[:2] = np.where(constant, np.nan, centred[:2])
    return centred


def _varies(rows: EvaluationRows) -> bool:
    return len(rows) >= 3 and bool(np.ptp(rows.measured) > 0 and np.ptp(rows.predicted) > 0)


def pearson(rows: EvaluationRows, weights: RowWeights) -> Floats:
    """Pearson's correlation of exact rows, cov(y, ŷ) / (s_y s_ŷ); NaN if a side is constant."""
    rows, weights = exact_rows(rows, weights)
    if not _varies(rows):
        return weights.undefined()
    vx, vy, cov = _covariances(rows, weights)
    return np.clip(cov / np.sqrt(vx * vy), -1.0, 1.0)


class _Ties:
    """Rows sorted by a value, in runs of equal values."""

    def __init__(self, values: Floats) -> None:
        self.order = np.argsort(values, kind="stable")
        ordered = values[self.order]
        first = np.r_[True, ordered[1:] != ordered[:-1]]
        self.starts = np.flatnonzero(first)
        self.run = np.empty(len(values), dtype=np.int64)
        self.run[self.order] = np.cumsum(first) - 1

    def totals(self, weights: Floats) -> Floats:
        """Weight of each run, (draws, runs)."""
        return np.add.reduceat(weights[:, self.order], self.starts, axis=1)

    def mid_ranks(self, weights: Floats) -> Floats:
        """Weighted mid-rank of each row, (draws, rows)."""
        totals = self.totals(weights)
        return (np.cumsum(totals, axis=1) - totals / 2)[:, self.run]


def spearman(rows: EvaluationRows, weights: RowWeights) -> Floats:
    """Spearman's correlation of exact rows: Pearson's of their mid-ranks."""
    rows, weights = exact_rows(rows, weights)
    if not _varies(rows):
        return weights.undefined()
    measured, predicted = _Ties(rows.measured), _Ties(rows.predicted)
    correlations = []
    for w in weights.blocks():
        mean = w.sum(axis=1, keepdims=True) / 2  # of mid-ranks, whatever the ties
        x, y = measured.mid_ranks(w) - mean, predicted.mid_ranks(w) - mean
        wx = w * x
        cov, vx = np.einsum("ij,ij->i", wx, y), np.einsum("ij,ij->i", wx, x)
        correlations.append(cov / np.sqrt(vx * np.einsum("ij,ij,ij->i", w, y, y)))
    return np.concatenate(correlations)


def _bounds(rows: EvaluationRows) -> tuple[Floats, Floats]:
    """Lowest and highest true value that each row allows."""
    lower = np.where(rows.censoring == Censoring.AT_MOST, -np.inf, rows.measured)
    return lower, np.where(rows.censoring == Censoring.AT_LEAST, np.inf, rows.measured)


def _pair_sums(rows: EvaluationRows, weights: RowWeights) -> list[Floats]:
    """Sums over pairs of rows, Σ w_i w_j a_ij, each (draws,).

    a is the product of the two orders (+1, 0, -1), whether the measured order is known, and whether
    the predictions differ. Pairs are summed by groups first, so that draws cost groups², not n².
    """
    lower, upper = _bounds(rows)
    order = np.argsort(weights.groups, kind="stable")
    present, starts = np.unique(weights.groups[order], return_index=True)
    lower, upper, predicted = lower[order], upper[order], rows.predicted[order]
    count = weights.drawn.shape[1]
    by_group = [np.zeros((count, count)) for _ in range(3)]
    ends = np.r_[starts[1:], len(order)]
    for group, first, last in zip(present, starts, ends, strict=True):
        known = (upper[first:last, None] < lower).astype(np.int8)
        known -= (upper < lower[first:last, None]).astype(np.int8)
        step = np.sign(predicted - predicted[first:last, None]).astype(np.int8)
        for sums, pairs in zip(by_group, (known * step, known != 0, step != 0), strict=True):
            sums[group, present] = np.add.reduceat(pairs.sum(axis=0, dtype=np.int64), starts)
    return [np.einsum("ij,ij->i", weights.drawn @ sums, weights.drawn) for sums in by_group]


def kendall(rows: EvaluationRows, weights: RowWeights) -> Floats:
    """Kendall's tau-b of exact rows: (concordant - discordant) / √(pairs untied in y · in ŷ)."""
    rows, weights = exact_rows(rows, weights)
    if not _varies(rows):
        return weights.undefined()
    if weights.drawn.shape[1] == 1:  # one group: its weight cancels
        from scipy.stats import kendalltau

        return np.full(len(weights.drawn), kendalltau(rows.measured, rows.predicted)[0])
    product, untied_measured, untied_predicted = _pair_sums(rows, weights)
    return product / np.sqrt(untied_measured * untied_predicted)


def concordance(rows: EvaluationRows, weights: RowWeights) -> Floats:
    """Share of row pairs of known order that are predicted in that order; ties count half.

    The order of two rows is known if the upper bound of one lies below the lower bound of the other
    (Harrell et al. 1982, JAMA 247, 2543); exact rows are both of their bounds.
    """
    if weights.drawn.shape[1] > 1:
        product, pairs, _ = _pair_sums(rows, weights)
        return 0.5 + product / (2 * pairs)
    lower, upper = _bounds(rows)
    weaker, stronger = np.isfinite(upper), np.isfinite(lower)
    lower, upper = lower[stronger], upper[weaker]
    pairs = int(np.searchsorted(np.sort(upper), lower).sum())
    if pairs == 0:
        return weights.undefined()
    left, right = rows.predicted[weaker], rows.predicted[stronger]
    ordered = _count_pairs(upper, left, lower, right)
    reversed_ = _count_pairs(upper, -left, lower, -right)
    return np.full(len(weights.drawn), 0.5 + (ordered - reversed_) / (2 * pairs))


def _count_pairs(upper: Floats, left: Floats, lower: Floats, right: Floats) -> int:
    """Number of (i, j) with upper[i] < lower[j] and left[i] < right[j], in O(n log² n).

    In block pairs of doubling size every left half is counted against its right half.
    """
    bounds = np.concatenate([upper, lower])
    is_right = np.repeat([False, True], [len(upper), len(lower)])
    order = np.lexsort((~is_right, bounds))  # at equal bounds the stronger row first: not below
    values = np.concatenate([left, right])
    rank = np.unique(values, return_inverse=True)[1][order]
    is_right = is_right[order]
    count, size, position = 0, 1, np.arange(len(rank))
    span = int(rank.max(initial=0)) + 1
    while size < len(rank):
        block, second = position // (2 * size), (position // size) % 2 == 1
        keys = np.sort((block * span + rank)[~second & ~is_right])
        seekers = second & is_right
        below = np.searchsorted(keys, (block * span + rank)[seekers], side="left")
        count += int((below - np.searchsorted(keys, block[seekers] * span, side="left")).sum())
        size *= 2
    return count


# --- finding strong binders ---


def strong_binders(
    rows: EvaluationRows, threshold: float = STRONG_PKD
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Whether the true value reaches a threshold, (known,), and where that is known, (n,).

    A bound may leave it open: "at most 10" may or may not reach 9.
    """
    positive = rows.measured >= threshold
    is_open = np.where(positive, Censoring.AT_MOST, Censoring.AT_LEAST) == rows.censoring
    return positive[~is_open], ~is_open


def _strong_in_runs(
    values: Floats,
    rows: EvaluationRows,
    weights: RowWeights,
    value_of: Callable[[Floats, Floats], Floats],
    *,
    both: bool = True,
) -> Floats:
    """`value_of` the weight of strong and of all rows in each run of equal values, (draws, runs).

    Rows whose class is open are left out. NaN without strong rows, or with `both` without others.
    """
    positive, known = strong_binders(rows)
    weights, ties = weights.take(known), _Ties(values[known])
    if not positive.any() or (both and positive.all()):
        return weights.undefined()
    blocks = (value_of(ties.totals(w * positive), ties.totals(w)) for w in weights.blocks())
    return np.concatenate([*blocks])


def auroc(by: str, rows: EvaluationRows, weights: RowWeights) -> Floats:
    """Area under the ROC curve of a field of `EvaluationRows` for pKd >= 9; NaN without a class.

    Σ w_i w_j ([ŷ_i > ŷ_j] + [ŷ_i = ŷ_j] / 2) / Σ w_i w_j, over strong i and other j.
    """

    def areas(hits: Floats, every: Floats) -> Floats:
        misses = every - hits
        below = np.cumsum(misses, axis=1) - misses / 2
        return (hits * below).sum(axis=1) / (hits.sum(axis=1) * misses.sum(axis=1))

    return _strong_in_runs(getattr(rows, by), rows, weights, areas)


def average_precision(rows: EvaluationRows, weights: RowWeights) -> Floats:
    """Σ_n (R_n - R_(n-1)) P_n over descending cuts for pKd >= 9, recall R and precision P."""

    def precisions(hits: Floats, every: Floats) -> Floats:
        called, strong = np.cumsum(every, axis=1), hits.sum(axis=1)
        precision = np.cumsum(hits, axis=1) / np.maximum(called, 1e-12)
        strong = np.where(strong < called[:, -1], strong, np.nan)  # no other class in this draw
        return (hits * precision).sum(axis=1) / strong

    return _strong_in_runs(-rows.predicted, rows, weights, precisions)


def at_cut(
    which: str,
    rows: EvaluationRows,
    weights: RowWeights,
    cut: float = STRONG_PKD,
    threshold: float = STRONG_PKD,
) -> Floats:
    """Recall (hits / strong), precision (hits / called) or F1 (2 hits / both), in percent.

    Called is "predicted >= cut", strong "measured >= threshold", hits are both.
    """
    positive, known = strong_binders(rows, threshold)
    called = rows.predicted[known] >= cut
    hits, positives, calls = weights.take(known).sums(positive & called, positive, called)
    if which == "precision":
        return 100 * hits / calls
    below = positives if which == "recall" else (positives + calls) / 2
    return 100 * np.where(positives > 0, hits, np.nan) / below


def at_threshold(
    rows: EvaluationRows, cut: float = STRONG_PKD, threshold: float = STRONG_PKD
) -> dict[str, float]:
    """All three of `at_cut`, ``recall_percent``, ``precision_percent`` and ``f1_percent``."""
    once = RowWeights.once(len(rows))
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            f"{which}_percent": float(at_cut(which, rows, once, cut, threshold)[0])
            for which in ("recall", "precision", "f1")
        }


def best_cut(rows: EvaluationRows, threshold: float = STRONG_PKD) -> float:
    """Cut on the predictions with the best F1 for "measured >= threshold"; NaN without a class."""
    from sklearn.metrics import precision_recall_curve

    positive, known = strong_binders(rows, threshold)
    if positive.all() or not positive.any():
        return math.nan
    precision, recall, cuts = precision_recall_curve(positive, rows.predicted[known])
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    return float(cuts[int(np.argmax(f1[:-1]))])


def recall_in_budget(share: float, rows: EvaluationRows, weights: RowWeights) -> Floats:
    """Percent of the strong binders in the top `share`; of ties at the edge, the expectation."""

    def recalls(hits: Floats, every: Floats) -> Floats:
        budget = np.maximum(1, np.round(share * every.sum(axis=1, keepdims=True)))
        left = budget - (np.cumsum(every, axis=1) - every)
        taken = np.clip(left / np.maximum(every, 1e-12), 0.0, 1.0)
        return 100 * (hits * taken).sum(axis=1) / hits.sum(axis=1)

    return _strong_in_runs(-rows.predicted, rows, weights, recalls, both=False)


def enrichment(share: float, rows: EvaluationRows, weights: RowWeights) -> Floats:
    """Strong binders in the top `share` of predictions, relative to picking rows at random."""
    (total,) = weights.sums(strong_binders(rows)[1])
    budget = np.maximum(1, np.round(share * total))
    return recall_in_budget(share, rows, weights) * total / (100 * budget)


def top_k_regret(count: int, rows: EvaluationRows, weights: RowWeights) -> Floats:
    """How far the best of the `count` highest predictions stays below the best measured value.

    Of ties at the edge, the expectation. Bounds count as their value, and every row counts once.
    """
    from scipy.stats import hypergeom

    if len(rows) == 0:
        return weights.undefined()
    count = min(count, len(rows))
    edge = np.partition(rows.predicted, len(rows) - count)[len(rows) - count]
    above, at_edge = rows.predicted > edge, rows.predicted == edge
    if above.sum() + at_edge.sum() == count:
        above |= at_edge
    sure = rows.measured[above].max(initial=-np.inf)
    expected, draws = sure, count - int(above.sum())
    if draws:
        tied = np.sort(rows.measured[at_edge])
        # P(best drawn <= tied[r]) = P(no draw from the len - r - 1 larger ones)
        up_to = hypergeom.pmf(0, len(tied), np.arange(len(tied) - 1, -1, -1), draws)
        expected = np.sum(np.maximum(tied, sure) * np.diff(up_to, prepend=0.0))
    return np.full(len(weights.drawn), rows.measured.max() - expected)
