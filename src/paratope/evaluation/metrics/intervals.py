"""Whether prediction intervals are true: coverage, width, calibration, selective risk."""

import math

import numpy as np

from paratope.core.errors import InputError
from paratope.evaluation.metrics.judged import Floats, Judged, errors, finite
from paratope.evaluation.metrics.regression import rmse

COVERAGE_LEVELS = (0.50, 0.80, 0.90, 0.95)


def scaled_interval(rows: Judged, level: float) -> tuple[Floats, Floats]:
    """Ends of the interval at another level, each side rescaled as a Gaussian's would be."""
    from scipy.stats import norm

    if rows.low is None or rows.high is None or rows.coverage is None:
        raise InputError("this metric needs prediction intervals (columns pkd_low and pkd_high)")
    factor = norm.ppf((1 + level) / 2) / norm.ppf((1 + rows.coverage) / 2)
    low = rows.predicted - (rows.predicted - rows.low) * factor
    return low, rows.predicted + (rows.high - rows.predicted) * factor


def coverage(level: float, rows: Judged) -> float:
    """Percent of exact rows inside their interval rescaled to a level."""
    rows = rows.exact()
    low, high = scaled_interval(rows, level)
    inside = (rows.measured >= low) & (rows.measured <= high)
    return 100 * finite(inside.mean()) if len(rows) else math.nan


def width(level: float, rows: Judged) -> float:
    """Mean width of the intervals rescaled to a level, log10 units."""
    low, high = scaled_interval(rows, level)
    return finite(np.mean(high - low)) if len(rows) else math.nan


def bounds_respected(rows: Judged) -> float:
    """Percent of censored rows whose interval (without one: whose prediction) meets the bound."""
    if not rows.has_intervals:
        met = errors(rows) == 0
        return 100 * float(met[rows.censoring != 0].mean()) if rows.censoring.any() else math.nan
    low, high = scaled_interval(rows, 0.9)
    kept = np.where(rows.censoring < 0, low <= rows.measured, high >= rows.measured)
    return 100 * float(kept[rows.censoring != 0].mean()) if rows.censoring.any() else math.nan


def calibration_curve(rows: Judged, points: int = 99) -> tuple[Floats, Floats]:
    """Observed against claimed coverage of exact rows, both as shares, at evenly spaced levels."""
    levels = np.arange(1, points + 1) / (points + 1)
    return levels, np.array([coverage(level, rows) / 100 for level in levels])


def miscalibration_area(rows: Judged) -> float:
    """Area between the calibration curve and the diagonal (Tran et al. 2020), 0 to 0.5."""
    levels, observed = calibration_curve(rows)
    return finite(np.mean(np.abs(observed - levels)))


def predicted_sd(rows: Judged) -> Floats:
    """Standard deviation a Gaussian with each row's interval would have."""
    from scipy.stats import norm

    low, high = scaled_interval(rows, 0.9)
    return (high - low) / (2 * norm.ppf(0.95))


def ence(rows: Judged, bins: int = 10) -> float:
    """Expected normalised calibration error (Levi et al. 2022, Sensors 22, 5540) of exact rows.

    Rows are cut into bins of equal size by predicted SD; the mean of |RMV - RMSE| / RMV over bins.
    """
    rows = rows.exact()
    if len(rows) < 2 * bins:
        return math.nan
    sd = predicted_sd(rows)
    squares = (rows.predicted - rows.measured) ** 2
    terms = []
    for index in np.array_split(np.argsort(sd, kind="stable"), bins):
        rmv = math.sqrt(float(np.mean(sd[index] ** 2)))
        gap = abs(rmv - math.sqrt(float(np.mean(squares[index]))))
        terms.append(gap / rmv if rmv > 0 else math.nan)
    return finite(np.mean(terms))


def selective_risk_curve(rows: Judged, points: int = 20) -> tuple[Floats, Floats]:
    """RMSE when only the most certain share of rows is kept.

    Returns
    -------
    share : array (points,)
        0.05 ... 1 by default.
    risk : array (points,)
    """
    squares = errors(rows)[np.argsort(predicted_sd(rows), kind="stable")] ** 2
    share = np.arange(1, points + 1) / points
    kept = np.maximum(1, np.round(share * len(rows)).astype(int))
    return share, np.sqrt(np.cumsum(squares)[kept - 1] / kept)


def selective_gain(rows: Judged) -> float:
    """Percent by which keeping the more certain half of the rows lowers the RMSE."""
    if len(rows) < 10 or (whole := rmse(rows)) == 0:
        return math.nan
    _, risk = selective_risk_curve(rows, points=2)
    return 100 * (1 - float(risk[0]) / whole)
