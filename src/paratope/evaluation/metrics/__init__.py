"""Metrics of predicted against measured pKd: one table, `METRICS`.

Censored measurements count as inequalities. A row "pKd at most 5" predicted at 4.2 has no error,
predicted at 6 it has an error of 1; at a threshold above 5 it is a known negative, else unknown.
Pearson, R², bias, Spearman and Kendall need values and use exact rows only; `concordance` is the
ranking metric that also uses every pair of rows whose order a bound settles.

Shares (recall, coverage, ...) are in percent and end in ``_percent``.
"""

from paratope.evaluation.metrics.classification import (
    STRONG_PKD,
    at_threshold,
    best_cut,
    classified,
)
from paratope.evaluation.metrics.intervals import (
    COVERAGE_LEVELS,
    calibration_curve,
    predicted_sd,
    scaled_interval,
    selective_risk_curve,
)
from paratope.evaluation.metrics.judged import Judged, errors, judged, known_at_least
from paratope.evaluation.metrics.regression import r2_parts
from paratope.evaluation.metrics.table import METRICS, MetricInfo, compute, metric

__all__ = [
    "COVERAGE_LEVELS",
    "METRICS",
    "STRONG_PKD",
    "Judged",
    "MetricInfo",
    "at_threshold",
    "best_cut",
    "calibration_curve",
    "classified",
    "compute",
    "errors",
    "judged",
    "known_at_least",
    "metric",
    "predicted_sd",
    "r2_parts",
    "scaled_interval",
    "selective_risk_curve",
]
