"""Whether prediction intervals are true: coverage, width, calibration, selective risk."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from paratope.core.censoring import Censoring
from paratope.core.errors import InputError
from paratope.evaluation.metrics.rows import EvaluationRows, Floats, RowWeights, errors, exact_rows

COVERAGE_LEVELS = (0.50, 0.80, 0.90, 0.95)


def scaled_interval(rows: EvaluationRows, level: float) -> tuple[Floats, Floats]:
    """Ends of the interval at another level, each side rescaled as a Gaussian's would be."""
    if rows.low is None or rows.high is None or rows.coverage is None:
        raise InputError("this metric needs prediction intervals (columns pkd_low and pkd_high)")
    factor = ndtri((1 + level) / 2) / ndtri((1 + rows.coverage) / 2)
    low = rows.predicted - (rows.predicted - rows.low) * factor
    return low, rows.predicted + (rows.high - rows.predicted) * factor


def predicted_sd(rows: EvaluationRows) -> Floats:
    """Standard deviation a Gaussian with each row's interval would have."""
    low, high = scaled_interval(rows, 0.9)
    return (high - low) / (2 * ndtri(0.95))


def _inside(rows: EvaluationRows, level: float) -> NDArray[np.bool_]:
    low, high = scaled_interval(rows, level)
    return (rows.measured >= low) & (rows.measured <= high)


def coverage(level: float, rows: EvaluationRows, weights: RowWeights) -> Floats:
    """Percent of exact rows inside their interval rescaled to a level."""
    return weights.mean(100.0 * _inside(rows, level), rows.censoring == Censoring.EXACT)


def width(level: float, rows: EvaluationRows, weights: RowWeights) -> Floats:
    """Mean width of the intervals rescaled to a level, log10 units."""
    low, high = scaled_interval(rows, level)
    return weights.mean(high - low)


def bounds_respected(rows: EvaluationRows, weights: RowWeights) -> Floats:
    """Percent of censored rows whose interval (without one: whose prediction) meets the bound."""
    met = errors(rows) == 0
    if rows.has_intervals:
        low, high = scaled_interval(rows, 0.9)
        at_most = rows.censoring == Censoring.AT_MOST
        met = np.where(at_most, low <= rows.measured, high >= rows.measured)
    return weights.mean(100.0 * met, rows.censoring != Censoring.EXACT)


def _observed_coverage(rows: EvaluationRows, weights: RowWeights, levels: Floats) -> Floats:
    """Share of exact rows inside their intervals, (levels, draws)."""
    rows, weights = exact_rows(rows, weights)
    total = weights.sums(np.ones(len(rows)), *(_inside(rows, level) for level in levels))
    return total[1:] / total[0]


def calibration_curve(rows: EvaluationRows, points: int = 99) -> tuple[Floats, Floats]:
    """Claimed and observed coverage of exact rows, both as shares, at evenly spaced levels."""
    levels = np.arange(1, points + 1) / (points + 1)
    with np.errstate(invalid="ignore"):
        return levels, _observed_coverage(rows, RowWeights.once(len(rows)), levels)[:, 0]


def miscalibration_area(rows: EvaluationRows, weights: RowWeights) -> Floats:
    """Mean |observed - claimed| coverage over 99 levels, 0 to 0.5.

    The area between calibration curve and diagonal (Tran et al. 2020, Mach. Learn.: Sci. Technol.
    1, 025006).
    """
    levels = np.arange(1, 100) / 100
    return np.abs(_observed_coverage(rows, weights, levels) - levels[:, None]).mean(axis=0)


def _surest_first(
    rows: EvaluationRows,
    weights: RowWeights,
    values: list[Floats],
    edges: Callable[[float], Floats],
) -> Floats:
    """Running sums of values, rows of smallest predicted SD first, (1 + values, draws, edges).

    `edges` maps how many rows are drawn to the counts at which sums are taken, the first sum.
    """
    order = np.argsort(predicted_sd(rows), kind="stable")
    groups, columns = weights.groups[order], [column[order] for column in values]
    sums = []
    for drawn in weights.drawn:
        row_weights = drawn[groups]
        reached = np.r_[0.0, np.cumsum(row_weights)]
        at = edges(reached[-1])
        running = [np.r_[0.0, np.cumsum(row_weights * column)] for column in columns]
        sums.append([at, *(np.interp(at, reached, column) for column in running)])
    return np.array(sums).transpose(1, 0, 2)


def ence(rows: EvaluationRows, weights: RowWeights, bins: int = 10) -> Floats:
    """Expected normalised calibration error of exact rows: mean over bins of |RMV - RMSE| / RMV.

    Bins are of equal size by predicted SD; RMV is the root of the mean predicted variance in a bin
    (Levi et al. 2022, Sensors 22, 5540). NaN for fewer than two rows a bin.
    """
    rows, weights = exact_rows(rows, weights)

    def edges(total: float) -> Floats:
        index = np.arange(bins + 1)
        even = np.asarray(index * (total // bins) + np.minimum(index, total % bins), float)
        return even if total >= 2 * bins else np.full(bins + 1, np.nan)

    squares = [predicted_sd(rows) ** 2, (rows.predicted - rows.measured) ** 2]
    size, variance, error = np.diff(_surest_first(rows, weights, squares, edges), axis=2)
    rmv = np.sqrt(variance / size)
    return np.mean(np.abs(rmv - np.sqrt(error / size)) / rmv, axis=1)


def selective_gain(rows: EvaluationRows, weights: RowWeights) -> Floats:
    """Percent by which keeping the more certain half of the rows lowers the RMSE."""

    def half_and_all(total: float) -> Floats:
        return np.array([round(0.5 * total), total]) if total >= 10 else np.full(2, np.nan)

    size, error = _surest_first(rows, weights, [errors(rows) ** 2], half_and_all)
    half, whole = np.sqrt(error / size).T
    return 100 * (1 - half / whole)


def selective_risk_curve(rows: EvaluationRows, points: int = 20) -> tuple[Floats, Floats]:
    """Shares of rows kept, the most certain first, and the RMSE of those kept, both (points,)."""
    share = np.arange(1, points + 1) / points
    kept = np.maximum(1.0, np.round(share * len(rows)))
    squares = [errors(rows) ** 2]
    _, total = _surest_first(rows, RowWeights.once(len(rows)), squares, lambda _: kept)
    return share, np.sqrt(total[0] / kept)
