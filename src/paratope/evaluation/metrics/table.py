"""`METRICS`: every metric by name, with its direction and needs."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from numpy.typing import ArrayLike

from paratope.core.errors import InputError, unknown_name
from paratope.evaluation.metrics.classification import at_threshold, auroc, average_precision
from paratope.evaluation.metrics.intervals import (
    COVERAGE_LEVELS,
    bounds_respected,
    coverage,
    ence,
    miscalibration_area,
    selective_gain,
    width,
)
from paratope.evaluation.metrics.judged import Judged, judged
from paratope.evaluation.metrics.ranking import (
    concordance,
    correlation,
    enrichment,
    recall_at_budget,
    top_k_regret,
)
from paratope.evaluation.metrics.regression import bias, mae, r2, rmse, within


@dataclasses.dataclass(frozen=True, slots=True)
class MetricInfo:
    """A metric: what computes it, which way is better, and what it needs.

    Attributes
    ----------
    fn : callable
        `Judged` to float; NaN where undefined.
    direction : {"max", "min", "zero", "level"}
        Better higher, lower, closer to 0, or closer to the level in its name.
    summary : str
        One line for people.
    unit : str
        ``"pKd"`` (log10 units), ``"%"`` or ``""``.
    needs : {"", "intervals", "p_strong", "censored"}
    """

    fn: Callable[[Judged], float]
    direction: Literal["max", "min", "zero", "level"]
    summary: str
    unit: str = ""
    needs: Literal["", "intervals", "p_strong", "censored"] = ""

    def __call__(
        self, measured: ArrayLike | Judged, predicted: ArrayLike = (), **more: Any
    ) -> float:
        """Value for plain arrays (keywords as in `judged`) or for a `Judged`."""
        rows = measured if isinstance(measured, Judged) else judged(measured, predicted, **more)
        return self.fn(rows)

    def applies(self, rows: Judged) -> bool:
        """Whether the rows carry what the metric needs."""
        given = {
            "": True,
            "intervals": rows.has_intervals,
            "p_strong": rows.p_strong is not None,
            "censored": bool(rows.censoring.any()),
        }
        return given[self.needs]


def _at(key: str, rows: Judged) -> float:
    return at_threshold(rows)[key]


def _m(
    function: Callable[..., float],
    first: object,
    direction: Literal["max", "min", "zero", "level"],
    summary: str,
    unit: str = "",
    needs: Literal["", "intervals", "p_strong", "censored"] = "",
) -> MetricInfo:
    """A metric whose function takes one more argument before the rows."""
    return MetricInfo(functools.partial(function, first), direction, summary, unit, needs)


METRICS: Mapping[str, MetricInfo] = {
    "spearman": _m(correlation, "spearmanr", "max", "rank correlation"),
    "pearson": _m(correlation, "pearsonr", "max", "linear correlation"),
    "kendall": _m(correlation, "kendalltau", "max", "rank correlation, tau-b"),
    "concordance": MetricInfo(concordance, "max", "pairs of known order ranked right"),
    "rmse": MetricInfo(rmse, "min", "root mean square error", "pKd"),
    "mae": MetricInfo(mae, "min", "mean absolute error", "pKd"),
    "bias": MetricInfo(bias, "zero", "mean of predicted - measured", "pKd"),
    "r2": MetricInfo(r2, "max", "coefficient of determination"),
    "within_half_log_percent": _m(within, 0.5, "max", "within 0.5 log10", "%"),
    "within_one_log_percent": _m(within, 1.0, "max", "within 1 log10", "%"),
    "auroc": _m(auroc, "predicted", "max", "area under ROC, pKd ≥ 9"),
    "average_precision": _m(average_precision, "predicted", "max", "average precision, pKd ≥ 9"),
    "recall_percent": _m(_at, "recall_percent", "max", "recall at pKd ≥ 9", "%"),
    "precision_percent": _m(_at, "precision_percent", "max", "precision at pKd ≥ 9", "%"),
    "f1_percent": _m(_at, "f1_percent", "max", "F1 at pKd ≥ 9", "%"),
    "recall_top_5_percent": _m(recall_at_budget, 0.05, "max", "strong ones in the top 5 %", "%"),
    "recall_top_10_percent": _m(recall_at_budget, 0.1, "max", "strong ones in the top 10 %", "%"),
    "enrichment_top_5": _m(enrichment, 0.05, "max", "enrichment in the top 5 %", "fold"),
    "enrichment_top_10": _m(enrichment, 0.1, "max", "enrichment in the top 10 %", "fold"),
    "top_1_regret": _m(top_k_regret, 1, "min", "best measured - that of the top pick", "pKd"),
    "top_10_regret": _m(top_k_regret, 10, "min", "best measured - best of ten picks", "pKd"),
    "auroc_p_strong": _m(auroc, "p_strong", "max", "area under ROC of p_strong", "", "p_strong"),
    **{
        f"coverage_{round(100 * level)}_percent": _m(
            coverage, level, "level", f"inside the {level:.0%} interval", "%", "intervals"
        )
        for level in COVERAGE_LEVELS
    },
    **{
        f"width_{round(100 * level)}": _m(
            width, level, "min", f"mean width of the {level:.0%} interval", "pKd", "intervals"
        )
        for level in COVERAGE_LEVELS
    },
    "miscalibration_area": MetricInfo(
        miscalibration_area, "min", "area between calibration curve and diagonal", "", "intervals"
    ),
    "ence": MetricInfo(ence, "min", "expected normalised calibration error", "", "intervals"),
    "selective_gain_percent": MetricInfo(
        selective_gain, "max", "RMSE saved by keeping the surer half", "%", "intervals"
    ),
    "bounds_respected_percent": MetricInfo(
        bounds_respected, "max", "censored rows that agree with the prediction", "%", "censored"
    ),
}


def metric(name: str) -> MetricInfo:
    """The metric of a name; a wrong name raises `InputError` listing the right ones."""
    if name not in METRICS:
        raise InputError(unknown_name("metric", name, METRICS))
    return METRICS[name]


def compute(rows: Judged, names: Sequence[str] | None = None) -> dict[str, float]:
    """Every metric (or those named) that the rows carry enough for.

    >>> values = compute(judged([6.0, 7.0, 9.5], [6.5, 7.0, 9.0]), ["rmse", "spearman"])
    >>> round(values["rmse"], 3), round(values["spearman"], 3)
    (0.408, 1.0)
    """
    table = METRICS if names is None else {name: metric(name) for name in names}
    return {name: info.fn(rows) for name, info in table.items() if info.applies(rows)}
