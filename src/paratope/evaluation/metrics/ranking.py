"""How well predictions rank: correlations, concordance, what a budget finds."""

import math
import warnings

import numpy as np

from paratope.evaluation.metrics.classification import classified
from paratope.evaluation.metrics.judged import Floats, Judged, finite


def correlation(name: str, rows: Judged) -> float:
    """A correlation of `scipy.stats` over exact rows; NaN if either side is constant."""
    from scipy import stats

    rows = rows.exact()
    if len(rows) < 3 or np.ptp(rows.measured) == 0 or np.ptp(rows.predicted) == 0:
        return math.nan
    with warnings.catch_warnings():  # a nearly constant input is what the diagnostics are for
        warnings.simplefilter("ignore")
        return finite(getattr(stats, name)(rows.measured, rows.predicted)[0])


def concordance(rows: Judged) -> float:
    """Share of row pairs of known order that are predicted in that order; ties count half.

    The order of two rows is known if the upper bound of one lies below the lower bound of the
    other (Harrell et al. 1982, JAMA 247, 2543); exact rows are both of their bounds.

    Examples
    --------
    >>> from paratope.evaluation.metrics import judged
    >>> concordance(judged([5.0, 7.0, 8.0], [6.0, 5.0, 9.0], censoring=[-1, 0, 0]))
    0.6666666666666666
    """
    upper = np.where(rows.censoring > 0, np.inf, rows.measured)
    lower = np.where(rows.censoring < 0, -np.inf, rows.measured)
    weaker = np.isfinite(upper)
    stronger = np.isfinite(lower)
    pairs = _dominance(upper[weaker], None, lower[stronger], None)
    if pairs == 0:
        return math.nan
    below = _dominance(
        upper[weaker], rows.predicted[weaker], lower[stronger], rows.predicted[stronger]
    )
    above = _dominance(
        upper[weaker], -rows.predicted[weaker], lower[stronger], -rows.predicted[stronger]
    )
    return (below + 0.5 * (pairs - below - above)) / pairs


def _dominance(upper: Floats, left: Floats | None, lower: Floats, right: Floats | None) -> int:
    """Number of (i, j) with upper[i] < lower[j] and, if given, left[i] < right[j]; O(n log² n).

    Rows are sorted by their bound; in block pairs of doubling size every left half is counted
    against its right half by one sorted search.
    """
    if left is None or right is None:
        return int(np.searchsorted(np.sort(upper), lower, side="left").sum())
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
        found = np.searchsorted(keys, (block * span + rank)[seekers], side="left")
        count += int((found - np.searchsorted(keys, block[seekers] * span, side="left")).sum())
        size *= 2
    return count


def picking_probability(predicted: Floats, budget: int) -> Floats:
    """Probability of each row to be among the `budget` highest predictions, ties at random."""
    edge = np.partition(predicted, len(predicted) - budget)[len(predicted) - budget]
    above, tied = predicted > edge, predicted == edge
    return above + tied * (budget - above.sum()) / tied.sum()


def recall_at_budget(share: float, rows: Judged) -> float:
    """Percent of the strong binders found when the top `share` of predictions is tested.

    Ties at the edge of the budget are broken at random; this is the expectation.
    """
    positive, rows = classified(rows)
    if not positive.any():
        return math.nan
    picked = picking_probability(rows.predicted, max(1, round(share * len(rows))))
    return 100 * float(picked[positive].sum() / positive.sum())


def enrichment(share: float, rows: Judged) -> float:
    """Strong binders among the top `share` of predictions, relative to picking at random."""
    recall = recall_at_budget(share, rows)
    _, rows = classified(rows)
    return recall / (100 * max(1, round(share * len(rows))) / len(rows)) if len(rows) else math.nan


def top_k_regret(count: int, rows: Judged) -> float:
    """How far the best of the `count` highest predictions stays below the best measured value.

    Ties at the edge are broken at random; this is the expectation. Bounds count as their value.
    """
    from scipy.stats import hypergeom

    if len(rows) == 0:
        return math.nan
    count = min(count, len(rows))
    picked = picking_probability(rows.predicted, count)
    sure = rows.measured[picked == 1].max(initial=-np.inf)
    tied = np.sort(rows.measured[(picked > 0) & (picked < 1)])
    if len(tied) == 0:
        return float(rows.measured.max() - sure)
    draws = count - int((picked == 1).sum())
    # P(best drawn <= tied[r]) = P(no draw from the len - r - 1 larger ones)
    larger = np.arange(len(tied) - 1, -1, -1)
    up_to = hypergeom.pmf(0, len(tied), larger, draws)
    expected = float(np.sum(np.maximum(tied, sure) * np.diff(up_to, prepend=0.0)))
    return float(rows.measured.max() - expected)
