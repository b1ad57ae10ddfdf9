"""What the bootstrap draws for metrics of prediction intervals."""

from collections.abc import Callable, Sequence

import numpy as np

from paratope.evaluation.metrics import Judged, errors, predicted_sd, scaled_interval
from paratope.evaluation.weighted import Floats, Groups, Statistic, group_sums, mean_of


def coverage(level: float, rows: Judged, groups: Groups, count: int) -> Statistic:
    """Percent of exact rows inside their interval rescaled to a level."""
    low, high = scaled_interval(rows, level)
    inside = ((rows.measured >= low) & (rows.measured <= high)).astype(float)
    return mean_of(100 * inside, rows.censoring == 0, groups, count)


def width(level: float, rows: Judged, groups: Groups, count: int) -> Statistic:
    """Mean width of the intervals rescaled to a level."""
    low, high = scaled_interval(rows, level)
    return mean_of(high - low, np.ones(len(rows), dtype=bool), groups, count)


def miscalibration(rows: Judged, groups: Groups, count: int) -> Statistic:
    """Mean gap between claimed and observed coverage."""
    groups, rows = groups[rows.censoring == 0], rows.exact()
    levels = np.arange(1, 100) / 100
    inside = []
    for level in levels:
        low, high = scaled_interval(rows, float(level))
        inside.append(((rows.measured >= low) & (rows.measured <= high)).astype(float))
    table = group_sums([np.ones(len(rows)), *inside], groups, count)

    def statistic(weights: Floats) -> Floats:
        total = weights @ table
        return np.abs(total[:, 1:] / total[:, :1] - levels).mean(axis=1)

    return statistic


def bounds_respected(rows: Judged, groups: Groups, count: int) -> Statistic:
    """Percent of bounds that are met."""
    if rows.has_intervals:
        low, high = scaled_interval(rows, 0.9)
        met = np.where(rows.censoring < 0, low <= rows.measured, high >= rows.measured)
    else:
        met = errors(rows) == 0
    return mean_of(100.0 * met, rows.censoring != 0, groups, count)


def _surest_first(
    rows: Judged, groups: Groups, values: Sequence[Floats], at: Callable[[float], Floats]
) -> Callable[[Floats], Floats]:
    """Running sums of values at places `at(rows drawn)`, surest rows first: (draws, 1 + k, places).

    The first of them is the places themselves. A row drawn twice stands twice.
    """
    order = np.argsort(predicted_sd(rows), kind="stable")
    ordered, columns = groups[order], [column[order] for column in values]

    def sums(weights: Floats) -> Floats:
        out = []
        for drawn in weights:
            by_row = drawn[ordered]
            reached = np.r_[0.0, np.cumsum(by_row)]
            places = at(reached[-1])
            running = [np.r_[0.0, np.cumsum(by_row * column)] for column in columns]
            out.append([places, *(np.interp(places, reached, one) for one in running)])
        return np.array(out)

    return sums


def ence(rows: Judged, groups: Groups, count: int, bins: int = 10) -> Statistic:
    """Expected normalised calibration error over bins of equal size by predicted SD."""
    groups, rows = groups[rows.censoring == 0], rows.exact()
    squares = [predicted_sd(rows) ** 2, (rows.predicted - rows.measured) ** 2]

    def edges(total: float) -> Floats:
        number = np.arange(bins + 1)
        place = number * (total // bins) + np.minimum(number, total % bins)
        return place if total >= 2 * bins else np.full(bins + 1, np.nan)

    sums = _surest_first(rows, groups, squares, edges)

    def statistic(weights: Floats) -> Floats:
        size, variance, error = np.diff(sums(weights), axis=2).transpose(1, 0, 2)
        rmv = np.sqrt(variance / size)
        return np.mean(np.abs(rmv - np.sqrt(error / size)) / rmv, axis=1)

    return statistic


def selective_gain(rows: Judged, groups: Groups, count: int) -> Statistic:
    """Percent of the RMSE saved by keeping the surer half."""

    def half_and_all(total: float) -> Floats:
        return np.array([round(0.5 * total), total]) if total >= 10 else np.full(2, np.nan)

    sums = _surest_first(rows, groups, [errors(rows) ** 2], half_and_all)

    def statistic(weights: Floats) -> Floats:
        size, error = sums(weights).transpose(1, 0, 2)
        half, whole = np.sqrt(error / size).T
        return 100 * (1 - half / whole)

    return statistic
