"""What a number hides, in plain words: collapse, floors, foreign units, dominance, bias, ..."""

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from paratope.core.units import PKD_MAX_OUTPUT, PKD_MIN_OUTPUT
from paratope.evaluation.metrics import (
    METRICS,
    STRONG_PKD,
    EvaluationRows,
    errors,
    r2_parts,
    strong_binders,
)
from paratope.evaluation.predictions import PredictionTable

Floats = NDArray[Any]
Severity = Literal["alarm", "warning", "note"]

# Thresholds of the rules; docs/evaluation.md explains each.
COLLAPSE_TIE_SHARE = 0.2
COLLAPSE_SPREAD = 0.1
DOMINANCE_SHARE = 0.5
ISLAND_SHARE = 0.01
FLOOR_SHARE = 0.01
FLOOR_RATIO = 10.0
FLOOR_ROWS = 8


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One thing a reader must know before believing the metrics.

    Attributes
    ----------
    code : str
        Name of the rule.
    severity : {"alarm", "warning", "note"}
    text : str
        One or two sentences.
    numbers : dict of str to float
        What the sentence says, for machines.
    """

    code: str
    severity: Severity
    text: str
    numbers: Mapping[str, float] = dataclasses.field(default_factory=dict)


def percent(share: float) -> str:
    """A share for people.

    >>> percent(0.8184)
    '81.8 %'
    """
    return f"{100 * share:.1f} %"


def _pearson(rows: EvaluationRows) -> float:
    return METRICS["pearson"](rows)


def _spearman(rows: EvaluationRows) -> float:
    return METRICS["spearman"](rows)


def collapse(table: PredictionTable) -> list[Finding]:
    """Few distinct predictions, or hardly any spread."""
    predicted, measured = table.rows.predicted, table.rows.measured
    values, counts = np.unique(predicted, return_counts=True)
    share = counts.max() / len(predicted)
    same = np.unique(measured, return_counts=True)[1].max() / len(measured)
    numbers = {"distinct": len(values), "largest_tie_share": float(share)}
    few = len(values) < 0.05 * min(len(predicted), len(np.unique(measured)))
    if len(predicted) >= 10 and (few or share > max(COLLAPSE_TIE_SHARE, same)):
        plural = "value" if len(values) == 1 else "values"
        return [
            Finding(
                "collapse",
                "alarm",
                f"Predictions have collapsed: {len(values):,} distinct {plural} in "
                f"{len(predicted):,} rows; {counts.max():,} rows ({percent(share)}) are tied at "
                f"{values[counts.argmax()]:.6g}. Most rows cannot be ranked at all.",
                numbers,
            )
        ]
    ratio = predicted.std() / measured.std() if measured.std() > 0 else math.nan
    if len(predicted) >= 10 and ratio < COLLAPSE_SPREAD:
        return [
            Finding(
                "collapse",
                "alarm",
                f"Predictions hardly differ: their standard deviation is {predicted.std():.3f}, "
                f"{percent(ratio)} of that of the measured values ({measured.std():.3f}).",
                numbers | {"spread_ratio": float(ratio)},
            )
        ]
    return []


def constant(table: PredictionTable) -> list[Finding]:
    """The mean of the measured values, for every row, against the model."""
    rows = table.rows
    model = METRICS["rmse"](rows)
    mean = rows.exact().measured.mean() if len(rows.exact()) else rows.measured.mean()
    flat = METRICS["rmse"](dataclasses.replace(rows, predicted=np.full(len(rows), mean)))
    numbers = {"rmse": model, "rmse_of_mean": flat}
    if flat > model or len(rows) < 3:
        return []
    return [
        Finding(
            "constant",
            "alarm",
            f"The mean predictor is better: answering {mean:.2f} (the mean of the measured values) "
            f"for every row gives RMSE {flat:.4f}, the model {model:.4f}.",
            numbers,
        )
    ]


def island(table: PredictionTable) -> list[Finding]:
    """Values outside what affinity assays measure, and what is left of the correlation without."""
    rows = table.rows.exact()
    low, high = rows.measured < PKD_MIN_OUTPUT, rows.measured > PKD_MAX_OUTPUT
    found = []
    for mask, side, limit, strength in (
        (low, "below", PKD_MIN_OUTPUT, "weaker than 100 µM"),
        (high, "above", PKD_MAX_OUTPUT, "tighter than 10 fM"),
    ):
        share = float(mask.mean()) if len(rows) else 0.0
        if not mask.any() or share < ISLAND_SHARE:
            continue
        rest = rows.take(~mask)
        all_r, rest_r, rest_rho = _pearson(rows), _pearson(rest), _spearman(rest)
        sign = "≥" if side == "below" else "≤"
        text = (
            f"{mask.sum():,} measured values ({percent(share)}) are {side} pKd {limit:g}, "
            f"{strength}, which "
            "few assays quantify: probably another unit."
        )
        drop = abs(all_r) - abs(rest_r)
        if math.isfinite(rest_r):
            text += (
                f" On rows with pKd {sign} {limit:g}: Pearson r {rest_r:.3f} (all rows "
                f"{all_r:.3f}), "
                f"Spearman {rest_rho:.3f} (all rows {_spearman(rows):.3f})."
            )
        if drop > 0.1:
            text += " The correlation over all rows is made by that island."
        severity: Severity = "alarm" if drop > 0.1 or share > 0.5 else "warning"
        numbers = {
            "share": share,
            "pearson": all_r,
            "pearson_rest": rest_r,
            "spearman_rest": rest_rho,
        }
        found.append(Finding("island", severity, text, numbers))
    return found


def point_masses(values: Floats) -> list[tuple[float, int]]:
    """Values that recur far more often than their neighbours: floors, ceilings, flags.

    Returns
    -------
    list of (float, int)
        Value and number of rows, most frequent first.

    Examples
    --------
    >>> point_masses(np.concatenate([np.full(30, 6.0), np.linspace(5.5, 9.0, 100)]))
    [(6.0, 30)]
    """
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) < 10:
        return []
    found = []
    for place in np.argsort(-counts, kind="stable"):
        if counts[place] < max(FLOOR_ROWS, FLOOR_SHARE * len(values)):
            break
        around = np.argsort(np.abs(distinct - distinct[place]), kind="stable")[1:11]
        if counts[place] > FLOOR_RATIO * np.median(counts[around]):
            found.append((float(distinct[place]), int(counts[place])))
    return found


def floors(table: PredictionTable) -> list[Finding]:
    """Point masses among the exact measured values."""
    rows = table.rows.exact()
    masses = point_masses(rows.measured)
    if not masses:
        return []
    parts = ", ".join(
        f"{count:,} rows ({percent(count / len(rows))}) at exactly {value:.6g}"
        for value, count in masses
    )
    rest = rows.take(~np.isin(rows.measured, [value for value, _ in masses]))
    inside = rest.take((rest.measured >= PKD_MIN_OUTPUT) & (rest.measured <= PKD_MAX_OUTPUT))
    share = sum(count for _, count in masses) / len(rows)
    return [
        Finding(
            "floor",
            "alarm" if share > 0.1 else "warning",
            f"Measured values sit at a floor: {parts}. Such values are usually an assay's limit "
            "(non-binders), not measurements; mark them with '<' or '>'. Without them, and "
            "inside the "
            f"measurable range: Spearman {_spearman(inside):.3f} over {len(inside):,} rows.",
            {
                "share": share,
                "largest_share": masses[0][1] / len(rows),
                "largest_value": masses[0][0],
                "spearman_rest": _spearman(inside),
            },
        )
    ]


def biased(table: PredictionTable) -> list[Finding]:
    """A mean error that matters."""
    rows = table.rows.exact()
    if len(rows) < 3 or rows.measured.std() == 0:
        return []
    error = rows.predicted - rows.measured
    mean = float(error.mean())
    if abs(mean) < 0.15 * rows.measured.std() or abs(mean) < 3 * error.std() / math.sqrt(len(rows)):
        return []
    parts = r2_parts(rows)
    return [
        Finding(
            "bias",
            "alarm" if parts["bias"] > 0.25 else "warning",
            f"Bias {mean:+.2f}: predictions are on average {abs(mean):.2f} log10 units too "
            f"{'strong' if mean > 0 else 'weak'}, a factor of {10 ** abs(mean):.3g} in Kd. "
            f"R² {parts['r2']:.3f} = correlation {parts['correlation']:.3f} - scale "
            f"{parts['scale']:.3f} - bias "
            f"{parts['bias']:.3f}.",
            {"bias": mean, **{f"r2_{name}": part for name, part in parts.items()}},
        )
    ]


def threshold(table: PredictionTable) -> list[Finding]:
    """Recall that only says on which side of the threshold nearly everything lies."""
    positive, known = strong_binders(table.rows)
    rows = table.rows.take(known)
    called = float((rows.predicted >= STRONG_PKD).mean()) if len(rows) else math.nan
    if len(rows) < 20 or not 0 < positive.sum() < len(rows) or 0.05 < called < 0.95:
        return []
    recall, area = METRICS["recall_percent"](rows), METRICS["auroc"](rows)
    return [
        Finding(
            "threshold",
            "warning",
            f"{percent(called)} of the predictions reach pKd {STRONG_PKD:g}, so the recall of "
            f"{recall:.2f} % "
            f"says where the threshold lies, not how well strong binders are told apart: AUROC "
            f"{area:.3f} (0.5 is chance).",
            {"called_share": called, "recall_percent": recall, "auroc": area},
        )
    ]


def dominance(table: PredictionTable) -> list[Finding]:
    """One antigen, antibody, assay or source that makes most of the table."""
    found = []
    for role in ("antigen", "heavy", "assay", "source"):
        if role not in table.labels:
            continue
        label, count = Counter(table.labels[role].tolist()).most_common(1)[0]
        share = count / len(table)
        kinds = len(set(table.labels[role].tolist()))
        if kinds > 1 and share >= DOMINANCE_SHARE:
            what = "antibody heavy chain" if role == "heavy" else role
            found.append(
                Finding(
                    "dominance",
                    "warning",
                    f"One {what} of {kinds:,} makes {percent(share)} of the rows "
                    f"({shortened(label)}): pooled "
                    "numbers are mostly about it; read the macro averages.",
                    {"share": share, "levels": kinds},
                )
            )
    return found


def shortened(label: object, width: int = 28) -> str:
    """A label for people: long sequences cut, with their length."""
    text = str(label) or "(empty)"
    return text if len(text) <= width else f"{text[: width - 10]}… ({len(text)} aa)"


def censored(table: PredictionTable) -> list[Finding]:
    """How many rows are bounds, and how they were counted."""
    codes = table.rows.censoring
    if not codes.any():
        return []
    at_most, at_least = int((codes < 0).sum()), int((codes > 0).sum())
    wrong = int((errors(table.rows)[codes != 0] != 0).sum())
    return [
        Finding(
            "censored",
            "note",
            f"{at_most + at_least:,} of {len(codes):,} rows are bounds ({at_most:,} at most, "
            f"{at_least:,} "
            f"at least) and count as inequalities; {wrong:,} of them contradict the prediction. "
            "Correlations, R² and bias use the other rows only.",
            {"at_most": at_most, "at_least": at_least, "contradicted": wrong},
        )
    ]


def value_range(table: PredictionTable) -> list[Finding]:
    """Predictions that no affinity can have."""
    predicted = table.rows.predicted
    outside = (predicted < PKD_MIN_OUTPUT) | (predicted > PKD_MAX_OUTPUT)
    if not outside.any():
        return []
    return [
        Finding(
            "range",
            "warning" if outside.mean() >= 0.01 else "note",
            f"{outside.sum():,} predictions ({percent(outside.mean())}) lie outside pKd "
            f"{PKD_MIN_OUTPUT:g} to "
            f"{PKD_MAX_OUTPUT:g} (from {predicted.min():.4g} to {predicted.max():.4g}).",
            {"share": float(outside.mean())},
        )
    ]


def inverted(table: PredictionTable) -> list[Finding]:
    """A ranking that is right when turned round."""
    rho, count = _spearman(table.rows), len(table.rows.exact())
    if not (math.isfinite(rho) and rho < -0.2 and abs(rho) * math.sqrt(count) > 3):
        return []
    return [
        Finding(
            "inverted",
            "alarm",
            f"The ranking is inverted (Spearman {rho:.3f}): is the predicted column a Kd or a ΔG, "
            "where "
            "lower is stronger, instead of a pKd?",
            {"spearman": rho},
        )
    ]


def left_out(table: PredictionTable) -> list[Finding]:
    """Rows of the file that are not judged."""
    if not table.left_out:
        return []
    reasons = "; ".join(
        f"{count:,} {reason}" if count else reason for reason, count in table.left_out.items()
    )
    return [
        Finding(
            "left_out",
            "warning" if table.faulty else "note",
            f"{table.total - len(table):,} of {table.total:,} rows are not judged: {reasons}.",
            {"rows": table.total - len(table)},
        )
    ]


RULES: Mapping[str, Callable[[PredictionTable], list[Finding]]] = {
    "collapse": collapse,
    "constant": constant,
    "island": island,
    "floor": floors,
    "bias": biased,
    "threshold": threshold,
    "inverted": inverted,
    "range": value_range,
    "dominance": dominance,
    "censored": censored,
    "left_out": left_out,
}


def diagnose(table: PredictionTable) -> tuple[Finding, ...]:
    """All findings, alarms first."""
    rank = {"alarm": 0, "warning": 1, "note": 2}
    found = [finding for rule in RULES.values() for finding in rule(table)]
    return tuple(sorted(found, key=lambda finding: rank[finding.severity]))
