"""Metrics of predicted against measured pKd: one table, `METRICS`.

Censored measurements count as inequalities. A row "pKd at most 5" predicted at 4.2 has no error,
predicted at 6 it has an error of 1; at a threshold above 5 it is a known negative, else unknown.
Pearson, R², bias, Spearman and Kendall need values and use exact rows only; `concordance` is the
ranking metric that also uses every pair of rows whose order a bound settles.

Shares (recall, coverage, ...) are in percent and end in ``_percent``.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from paratope.core.errors import InputError, unknown_name
from paratope.evaluation.metrics import intervals, points
from paratope.evaluation.metrics.intervals import (
    COVERAGE_LEVELS,
    calibration_curve,
    selective_risk_curve,
)
from paratope.evaluation.metrics.points import (
    STRONG_PKD,
    at_threshold,
    best_cut,
    r2_parts,
    strong_binders,
)
from paratope.evaluation.metrics.rows import EvaluationRows, Floats, RowWeights, errors

__all__ = [
    "COVERAGE_LEVELS",
    "METRICS",
    "STRONG_PKD",
    "EvaluationRows",
    "Floats",
    "MetricInfo",
    "RowWeights",
    "at_threshold",
    "best_cut",
    "calibration_curve",
    "compute",
    "errors",
    "metric",
    "r2_parts",
    "selective_risk_curve",
    "strong_binders",
]

# Above this many rows, metrics over all pairs of rows are not resampled.
PAIRWISE_ROWS = 4000


@dataclasses.dataclass(frozen=True, slots=True)
class MetricInfo:
    """A metric: what computes it, which way is better, and what it needs."""

    # Rows and weights to the value in each draw, (draws,); NaN where undefined
    fn: Callable[[EvaluationRows, RowWeights], Floats]
    # Better higher, lower, closer to 0, or closer to the level in its name
    direction: Literal["max", "min", "zero", "level"]
    summary: str  # One line for people
    unit: str = ""  # ``"pKd"`` (log10 units), ``"%"``, ``"fold"`` or ``""``
    needs: Literal["", "intervals", "p_strong", "censored"] = ""
    # Name in `paratope.evaluation.bootstrap.SCALES`: where its interval is symmetric
    scale: str = "identity"
    pairwise: bool = False  # Over all pairs of rows: resampled up to `PAIRWISE_ROWS` rows
    no_interval: str = ""  # Why it is never resampled; empty if it is

    def __call__(
        self, measured: ArrayLike | EvaluationRows, predicted: ArrayLike = (), **more: Any
    ) -> float:
        """Value for rows, or for plain arrays (keywords as in `EvaluationRows`)."""
        rows = measured
        if not isinstance(rows, EvaluationRows):
            rows = EvaluationRows(rows, predicted, **more)
        with np.errstate(divide="ignore", invalid="ignore"):
            value = float(self.fn(rows, RowWeights.once(len(rows)))[0])
        return value if math.isfinite(value) else math.nan

    def draws(self, rows: EvaluationRows, weights: RowWeights) -> Floats | None:
        """Value in each draw, (draws,); None where `why_no_draws` says why."""
        if self.why_no_draws(max(len(rows), weights.drawn.shape[1])):
            return None
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.fn(rows, weights)

    def why_no_draws(self, rows: int) -> str:
        """Why a table of so many rows is not resampled; empty if it is."""
        if self.pairwise and rows > PAIRWISE_ROWS:
            return f"takes all pairs of rows, which are too many above {PAIRWISE_ROWS:,} rows"
        return self.no_interval

    def applies(self, rows: EvaluationRows) -> bool:
        """Whether the rows carry what the metric needs."""
        given = {"": True, "intervals": rows.has_intervals, "p_strong": rows.p_strong is not None}
        return given[self.needs] if self.needs in given else bool(rows.censoring.any())


_on = functools.partial
_correlation = _on(MetricInfo, direction="max", scale="correlation")
_share = _on(MetricInfo, direction="max", scale="share")
_percent = _on(MetricInfo, direction="max", unit="%", scale="percent")
_error = _on(MetricInfo, direction="min", unit="pKd", scale="positive")
_calibration = _on(MetricInfo, direction="min", needs="intervals", scale="not negative")
_enrichment = _on(MetricInfo, direction="max", unit="fold", scale="not negative")
_single = "hangs on the single best row, which a third of all draws leave out"
_regret = _on(MetricInfo, direction="min", unit="pKd", no_interval=_single)

METRICS: Mapping[str, MetricInfo] = {
    "spearman": _correlation(points.spearman, summary="rank correlation"),
    "pearson": _correlation(points.pearson, summary="linear correlation"),
    "kendall": _correlation(points.kendall, summary="rank correlation, tau-b", pairwise=True),
    "concordance": _share(
        points.concordance, summary="pairs of known order ranked right", pairwise=True
    ),
    "rmse": _error(points.rmse, summary="root mean square error"),
    "mae": _error(points.mae, summary="mean absolute error"),
    "bias": MetricInfo(points.bias, "zero", "mean of predicted - measured", "pKd"),
    "r2": MetricInfo(points.r2, "max", "coefficient of determination"),
    "within_half_log_percent": _percent(_on(points.within, 0.5), summary="within 0.5 log10"),
    "within_one_log_percent": _percent(_on(points.within, 1.0), summary="within 1 log10"),
    "auroc": _share(_on(points.auroc, "predicted"), summary="area under ROC, pKd ≥ 9"),
    "average_precision": _share(points.average_precision, summary="average precision, pKd ≥ 9"),
    "recall_percent": _percent(_on(points.at_cut, "recall"), summary="recall at pKd ≥ 9"),
    "precision_percent": _percent(_on(points.at_cut, "precision"), summary="precision at pKd ≥ 9"),
    "f1_percent": _percent(_on(points.at_cut, "f1"), summary="F1 at pKd ≥ 9"),
    **{
        f"recall_top_{share}_percent": _percent(
            _on(points.recall_in_budget, share / 100), summary=f"strong ones in the top {share} %"
        )
        for share in (5, 10)
    },
    **{
        f"enrichment_top_{share}": _enrichment(
            _on(points.enrichment, share / 100), summary=f"enrichment in the top {share} %"
        )
        for share in (5, 10)
    },
    **{
        f"top_{count}_regret": _regret(
            _on(points.top_k_regret, count), summary=f"best measured - {picks}"
        )
        for count, picks in ((1, "that of the top pick"), (10, "best of ten picks"))
    },
    "auroc_p_strong": _share(
        _on(points.auroc, "p_strong"), summary="area under ROC of p_strong", needs="p_strong"
    ),
    **{
        f"coverage_{round(100 * level)}_percent": _percent(
            _on(intervals.coverage, level),
            direction="level",
            summary=f"inside the {level:.0%} interval",
            needs="intervals",
        )
        for level in COVERAGE_LEVELS
    },
    **{
        f"width_{round(100 * level)}": _error(
            _on(intervals.width, level),
            summary=f"mean width of the {level:.0%} interval",
            needs="intervals",
        )
        for level in COVERAGE_LEVELS
    },
    "miscalibration_area": _calibration(
        intervals.miscalibration_area, summary="area between calibration curve and diagonal"
    ),
    "ence": _calibration(intervals.ence, summary="expected normalised calibration error"),
    "selective_gain_percent": MetricInfo(
        intervals.selective_gain, "max", "RMSE saved by keeping the surer half", "%", "intervals"
    ),
    "bounds_respected_percent": _percent(
        intervals.bounds_respected,
        summary="censored rows that agree with the prediction",
        needs="censored",
    ),
}


def metric(name: str) -> MetricInfo:
    """The metric of a name; a wrong name raises `InputError` listing the right ones."""
    if name not in METRICS:
        raise InputError(unknown_name("metric", name, METRICS))
    return METRICS[name]


def compute(rows: EvaluationRows, names: Sequence[str] | None = None) -> dict[str, float]:
    """Every metric (or those named) that the rows carry enough for.

    >>> rows = EvaluationRows([6.0, 7.0, 9.5], [6.5, 7.0, 9.0])
    >>> values = compute(rows, ["rmse", "spearman"])
    >>> round(values["rmse"], 3), round(values["spearman"], 3)
    (0.408, 1.0)
    """
    table = METRICS if names is None else {name: metric(name) for name in names}
    return {name: info(rows) for name, info in table.items() if info.applies(rows)}
