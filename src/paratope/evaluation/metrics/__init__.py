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
    predicted_sd,
    scaled_interval,
    selective_risk_curve,
)
from paratope.evaluation.metrics.points import (
    STRONG_PKD,
    at_threshold,
    best_cut,
    r2_parts,
    strong_binders,
)
from paratope.evaluation.metrics.rows import (
    EvaluationRows,
    Floats,
    RowWeights,
    errors,
    known_at_least,
)

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
    "known_at_least",
    "metric",
    "predicted_sd",
    "r2_parts",
    "scaled_interval",
    "selective_risk_curve",
    "strong_binders",
]

# Above this many rows, metrics over all pairs of rows are not resampled.
PAIRWISE_ROWS = 4000


@dataclasses.dataclass(frozen=True, slots=True)
class MetricInfo:
    """A metric: what computes it, which way is better, and what it needs.

    Attributes
    ----------
    fn : callable
        Rows and weights to the value in each draw, (draws,); NaN where undefined.
    direction : {"max", "min", "zero", "level"}
        Better higher, lower, closer to 0, or closer to the level in its name.
    summary : str
        One line for people.
    unit : str
        ``"pKd"`` (log10 units), ``"%"``, ``"fold"`` or ``""``.
    needs : {"", "intervals", "p_strong", "censored"}
    scale : str
        Name in `paratope.evaluation.bootstrap.SCALES`: where its interval is symmetric.
    pairwise : bool
        Over all pairs of rows: resampled up to `PAIRWISE_ROWS` rows.
    no_interval : str
        Why it is never resampled; empty if it is.
    """

    fn: Callable[[EvaluationRows, RowWeights], Floats]
    direction: Literal["max", "min", "zero", "level"]
    summary: str
    unit: str = ""
    needs: Literal["", "intervals", "p_strong", "censored"] = ""
    scale: str = "identity"
    pairwise: bool = False
    no_interval: str = ""

    def __call__(
        self, measured: ArrayLike | EvaluationRows, predicted: ArrayLike = (), **more: Any
    ) -> float:
        """Value for rows, or for plain arrays (keywords as in `EvaluationRows`)."""
        rows = measured
        if not isinstance(rows, EvaluationRows):
            rows = EvaluationRows(rows, predicted, **more)
        value = float(self._values(rows, RowWeights.once(len(rows)))[0])
        return value if math.isfinite(value) else math.nan

    def draws(self, rows: EvaluationRows, weights: RowWeights) -> Floats | None:
        """Value in each draw, (draws,); None where `why_no_draws` says why."""
        if self.why_no_draws(max(len(rows), weights.drawn.shape[1])):
            return None
        return self._values(rows, weights)

    def why_no_draws(self, rows: int) -> str:
        """Why a table of so many rows is not resampled; empty if it is."""
        if self.pairwise and rows > PAIRWISE_ROWS:
            return f"takes all pairs of rows, which are too many above {PAIRWISE_ROWS:,} rows"
        return self.no_interval

    def applies(self, rows: EvaluationRows) -> bool:
        """Whether the rows carry what the metric needs."""
        given = {
            "": True,
            "intervals": rows.has_intervals,
            "p_strong": rows.p_strong is not None,
            "censored": bool(rows.censoring.any()),
        }
        return given[self.needs]

    def _values(self, rows: EvaluationRows, weights: RowWeights) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.fn(rows, weights)


_on, _Info = functools.partial, MetricInfo
_REGRET = "hangs on the single best row, which a third of all draws leave out"

METRICS: Mapping[str, MetricInfo] = {
    "spearman": _Info(points.spearman, "max", "rank correlation", scale="correlation"),
    "pearson": _Info(points.pearson, "max", "linear correlation", scale="correlation"),
    "kendall": _Info(
        points.kendall, "max", "rank correlation, tau-b", scale="correlation", pairwise=True
    ),
    "concordance": _Info(
        points.concordance, "max", "pairs of known order ranked right", scale="share", pairwise=True
    ),
    "rmse": _Info(points.rmse, "min", "root mean square error", "pKd", scale="positive"),
    "mae": _Info(points.mae, "min", "mean absolute error", "pKd", scale="positive"),
    "bias": _Info(points.bias, "zero", "mean of predicted - measured", "pKd"),
    "r2": _Info(points.r2, "max", "coefficient of determination"),
    **{
        f"within_{name}_log_percent": _Info(
            _on(points.within, limit), "max", f"within {limit:g} log10", "%", scale="percent"
        )
        for name, limit in (("half", 0.5), ("one", 1.0))
    },
    "auroc": _Info(_on(points.auroc, "predicted"), "max", "area under ROC, pKd ≥ 9", scale="share"),
    "average_precision": _Info(
        points.average_precision, "max", "average precision, pKd ≥ 9", scale="share"
    ),
    **{
        f"{name.lower()}_percent": _Info(
            _on(points.at_cut, name.lower()), "max", f"{name} at pKd ≥ 9", "%", scale="percent"
        )
        for name in ("recall", "precision", "F1")
    },
    **{
        f"recall_top_{share}_percent": _Info(
            _on(points.recall_in_budget, share / 100),
            "max",
            f"strong ones in the top {share} %",
            "%",
            scale="percent",
        )
        for share in (5, 10)
    },
    **{
        f"enrichment_top_{share}": _Info(
            _on(points.enrichment, share / 100),
            "max",
            f"enrichment in the top {share} %",
            "fold",
            scale="not negative",
        )
        for share in (5, 10)
    },
    "top_1_regret": _Info(
        _on(points.top_k_regret, 1),
        "min",
        "best measured - that of the top pick",
        "pKd",
        no_interval=_REGRET,
    ),
    "top_10_regret": _Info(
        _on(points.top_k_regret, 10),
        "min",
        "best measured - best of ten picks",
        "pKd",
        no_interval=_REGRET,
    ),
    "auroc_p_strong": _Info(
        _on(points.auroc, "p_strong"),
        "max",
        "area under ROC of p_strong",
        "",
        "p_strong",
        scale="share",
    ),
    **{
        f"coverage_{level:.0%}_percent".replace("%", ""): _Info(
            _on(intervals.coverage, level),
            "level",
            f"inside the {level:.0%} interval",
            "%",
            "intervals",
            scale="percent",
        )
        for level in COVERAGE_LEVELS
    },
    **{
        f"width_{level:.0%}".replace("%", ""): _Info(
            _on(intervals.width, level),
            "min",
            f"mean width of the {level:.0%} interval",
            "pKd",
            "intervals",
            scale="positive",
        )
        for level in COVERAGE_LEVELS
    },
    "miscalibration_area": _Info(
        intervals.miscalibration_area,
        "min",
        "area between calibration curve and diagonal",
        "",
        "intervals",
        scale="not negative",
    ),
    "ence": _Info(
        intervals.ence,
        "min",
        "expected normalised calibration error",
        "",
        "intervals",
        scale="not negative",
    ),
    "selective_gain_percent": _Info(
        intervals.selective_gain, "max", "RMSE saved by keeping the surer half", "%", "intervals"
    ),
    "bounds_respected_percent": _Info(
        intervals.bounds_respected,
        "max",
        "censored rows that agree with the prediction",
        "%",
        "censored",
        scale="percent",
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
