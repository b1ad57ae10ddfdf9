"""How far predictions are off: errors, bias, R² and its parts."""

import math

import numpy as np

from paratope.evaluation.metrics.judged import Judged, errors, finite
from paratope.evaluation.metrics.ranking import correlation


def rmse(rows: Judged) -> float:
    """Root mean square error; a met bound has error 0."""
    return finite(np.sqrt(np.mean(errors(rows) ** 2))) if len(rows) else math.nan


def mae(rows: Judged) -> float:
    """Mean absolute error; a met bound has error 0."""
    return finite(np.mean(np.abs(errors(rows)))) if len(rows) else math.nan


def bias(rows: Judged) -> float:
    """Mean of predicted minus measured over exact rows; positive: predicted too strong."""
    rows = rows.exact()
    return finite(np.mean(rows.predicted - rows.measured)) if len(rows) else math.nan


def r2(rows: Judged) -> float:
    """Coefficient of determination over exact rows: 1 - mean square error / variance."""
    from sklearn.metrics import r2_score

    rows = rows.exact()
    if len(rows) < 2 or np.ptp(rows.measured) == 0:
        return math.nan
    return finite(r2_score(rows.measured, rows.predicted))


def r2_parts(rows: Judged) -> dict[str, float]:
    """R² as what the correlation gives minus what wrong scale and bias cost.

    R² = r² - (r - s_p / s_m)² - (bias / s_m)², with r Pearson's correlation and s the population
    standard deviations of predicted and measured (Murphy 1988, Mon. Weather Rev. 116, 2417).

    Examples
    --------
    >>> from paratope.evaluation.metrics import judged
    >>> r2_parts(judged([1.0, 2.0, 3.0], [2.0, 3.0, 4.0]))
    {'correlation': 1.0, 'scale': 0.0, 'bias': 1.5, 'r2': -0.5}
    """
    rows = rows.exact()
    if len(rows) < 3 or np.ptp(rows.measured) == 0:
        return dict.fromkeys(("correlation", "scale", "bias", "r2"), math.nan)
    spread = rows.measured.std()
    r = correlation("pearsonr", rows)
    r = 0.0 if math.isnan(r) else r  # a constant prediction explains nothing
    parts = {
        "correlation": r**2,
        "scale": (r - rows.predicted.std() / spread) ** 2,
        "bias": (bias(rows) / spread) ** 2,
    }
    total = parts["correlation"] - parts["scale"] - parts["bias"]
    return {name: round(float(part), 12) for name, part in (parts | {"r2": total}).items()}


def within(limit: float, rows: Judged) -> float:
    """Percent of rows whose error is at most `limit`."""
    return 100 * finite(np.mean(np.abs(errors(rows)) <= limit)) if len(rows) else math.nan
