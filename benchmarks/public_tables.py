"""Lines of the public tables: a predictor judged on rows, with intervals over groups."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from paratope.evaluation.bootstrap import group_codes, metric_intervals
from paratope.evaluation.metrics import METRICS, EvaluationRows

JUDGED = ("pearson", "spearman", "rmse")
TITLES = {
    "predictor": "predictor",
    "rows": "rows",
    "pearson": "Pearson",
    "spearman": "Spearman",
    "per_complex": "Spearman within a complex",
    "rmse": "RMSE",
    "published": "published",
}
# A complex with fewer rows says nothing about ranking inside it.
MIN_ROWS_OF_COMPLEX = 10
DRAWS = 2000

Line = dict[str, Any]


def judge(
    name: str,
    measured: np.ndarray,
    predicted: np.ndarray,
    groups: Sequence[object],
    *,
    published: float | None = None,
    calibrated: bool = True,
    within: bool = True,
) -> Line:
    """Metrics of a predictor with 95 % intervals, on the rows for which it gives a number.

    Parameters
    ----------
    name : str
    measured, predicted : np.ndarray
        Not finite where a predictor gives nothing.
    groups : sequence
        What the bootstrap draws: the complex of every row.
    published : float, optional
        What the publication states.
    calibrated : bool
        Whether predictions have the label's unit; RMSE is left out if not.
    within : bool
        Whether the mean Spearman within a group is given too.
    """
    known = np.isfinite(predicted) & np.isfinite(measured)
    rows = EvaluationRows(measured[known], predicted[known])
    codes, _ = group_codes([group for group, keep in zip(groups, known, strict=True) if keep])
    names = JUDGED if calibrated else JUDGED[:2]
    intervals = metric_intervals(rows, codes, names)
    line: Line = {"predictor": name, "rows": len(rows)}
    for metric in names:
        value = METRICS[metric](rows)
        line[metric] = _finite(value)
        interval = intervals.get(metric)
        if interval is not None and np.isfinite(value):
            line[f"{metric}_95"] = [_finite(interval.low), _finite(interval.high)]
    if within:
        line |= within_groups(measured[known], predicted[known], codes)
    if published is not None:
        line["published"] = published
    return line


def within_groups(measured: np.ndarray, predicted: np.ndarray, codes: np.ndarray) -> Line:
    """Mean Spearman over complexes with ten rows; one that is told one number only counts as 0."""
    values = []
    for code in np.unique(codes):
        inside = codes == code
        if inside.sum() >= MIN_ROWS_OF_COMPLEX and np.ptp(measured[inside]) > 0:
            rho = METRICS["spearman"](measured[inside], predicted[inside])
            values.append(rho if np.isfinite(rho) else 0.0)
    if not values:
        return {}
    correlations = np.array(values)
    line: Line = {
        "per_complex": _finite(float(correlations.mean())),
        "complexes": len(correlations),
    }
    if len(correlations) >= 5:
        draws = np.random.default_rng(0).integers(0, len(correlations), (DRAWS, len(correlations)))
        line["per_complex_95"] = [
            _finite(float(end)) for end in np.percentile(correlations[draws].mean(1), [2.5, 97.5])
        ]
    return line


def _finite(value: float) -> float | None:
    return round(float(value), 6) if np.isfinite(value) else None


def table(lines: Sequence[Line], titles: dict[str, str] | None = None) -> str:
    """Lines as a Markdown table; a number's interval stands beside it."""
    titles = titles or {key: title for key, title in TITLES.items() if any(key in x for x in lines)}
    cells = [[cell(line, key) for key in titles] for line in lines]
    rows = [list(titles.values()), ["---"] * len(titles), *cells]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def cell(line: Line, key: str) -> str:
    """One value as text, with its interval if it has one."""
    value = line.get(key)
    if value is None:
        return "" if key == "published" else "–"
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    ends = line.get(f"{key}_95")
    return text if not ends or None in ends else f"{text} ({ends[0]:.2f} to {ends[1]:.2f})"
