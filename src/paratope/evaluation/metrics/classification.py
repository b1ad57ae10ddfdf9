"""Telling strong binders from the rest, at a threshold or at all of them."""

import math

import numpy as np
from numpy.typing import NDArray

from paratope.evaluation.metrics.judged import Judged, finite, known_at_least

STRONG_PKD = 9.0


def classified(rows: Judged, threshold: float = STRONG_PKD) -> tuple[NDArray[np.bool_], Judged]:
    """Whether each row reaches the threshold, and the rows, where that is known."""
    positive, known = known_at_least(rows, threshold)
    return positive[known], rows.take(known)


def auroc(by: str, rows: Judged) -> float:
    """Area under the ROC curve of a field of `Judged` for pKd >= 9; NaN if a class is empty."""
    from sklearn.metrics import roc_auc_score

    positive, rows = classified(rows)
    if positive.all() or not positive.any():
        return math.nan
    return finite(roc_auc_score(positive, getattr(rows, by)))


def average_precision(by: str, rows: Judged) -> float:
    """Average precision of a field of `Judged` for pKd >= 9; NaN if a class is empty."""
    from sklearn.metrics import average_precision_score

    positive, rows = classified(rows)
    if positive.all() or not positive.any():
        return math.nan
    return finite(average_precision_score(positive, getattr(rows, by)))


def at_threshold(
    rows: Judged, cut: float = STRONG_PKD, threshold: float = STRONG_PKD
) -> dict[str, float]:
    """Recall, precision and F1, in percent, of "predicted >= cut" for "measured >= threshold".

    >>> from paratope.evaluation.metrics import judged
    >>> at_threshold(judged([9.5, 8.0, 9.1], [9.2, 9.3, 7.0]))
    {'recall_percent': 50.0, 'precision_percent': 50.0, 'f1_percent': 50.0}
    """
    positive, rows = classified(rows, threshold)
    called = rows.predicted >= cut
    hits = float((positive & called).sum())
    recall = 100 * hits / positive.sum() if positive.any() else math.nan
    precision = 100 * hits / called.sum() if called.any() else math.nan
    denominator = positive.sum() + called.sum()
    f1 = 200 * hits / denominator if positive.any() else math.nan
    return {
        "recall_percent": float(recall),
        "precision_percent": float(precision),
        "f1_percent": float(f1),
    }


def best_cut(rows: Judged, threshold: float = STRONG_PKD) -> float:
    """Cut on the predictions with the best F1 for "measured >= threshold"; NaN if a class is empty.

    Meant for validation rows; the cut then judges other rows.
    """
    from sklearn.metrics import precision_recall_curve

    positive, rows = classified(rows, threshold)
    if positive.all() or not positive.any():
        return math.nan
    precision, recall, cuts = precision_recall_curve(positive, rows.predicted)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    return float(cuts[int(np.argmax(f1[:-1]))])
