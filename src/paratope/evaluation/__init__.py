"""Judging predictions: metrics with honest intervals, baselines, diagnostics in plain words.

`evaluate` turns any table of measured and predicted values into a `Report`; `compare` puts several
on the same rows. Neither needs a model.
"""

from paratope.data.findings import Finding
from paratope.evaluation.comparison import Comparison, compare
from paratope.evaluation.diagnostics import diagnose
from paratope.evaluation.page import render_page, write_report, write_tiers
from paratope.evaluation.predictions import PredictionTable, read_predictions
from paratope.evaluation.report import Report, TierReport, evaluate, evaluate_tiers

__all__ = [
    "Comparison",
    "Finding",
    "PredictionTable",
    "Report",
    "TierReport",
    "compare",
    "diagnose",
    "evaluate",
    "evaluate_tiers",
    "read_predictions",
    "render_page",
    "write_report",
    "write_tiers",
]
