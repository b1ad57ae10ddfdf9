"""What the general model says of rows it did not see, and how good that is; with its baseline."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from paratope.evaluation.bootstrap import Bootstrap
from paratope.evaluation.metrics import EvaluationRows, RowWeights
from paratope.evaluation.metrics.points import spearman
from paratope.models.general.fitting import HeldOut, TrainingTable
from paratope.models.general.intervals import STRATA, Intervals, stratum_of

# A cluster with fewer rows says nothing about ranking inside it.
MIN_ROWS_FOR_RANKING = 8
COVERAGES = (0.5, 0.8, 0.9, 0.95)


def rank_correlation(score: np.ndarray, measured: np.ndarray) -> float:
    """Spearman correlation; 0 for a constant score, which ranks nothing."""
    if len(measured) < 2 or np.ptp(np.round(score, 9)) == 0 or np.ptp(measured) == 0:
        return 0.0
    rows = EvaluationRows(measured, np.round(score, 9))
    return float(spearman(rows, RowWeights.once(len(rows)))[0])


def by_cluster(values: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """Mean of each cluster that has rows, in ascending order of cluster."""
    _, index = np.unique(clusters, return_inverse=True)
    return np.bincount(index, values) / np.bincount(index)


def votes(errors: np.ndarray, constant: np.ndarray, clusters: np.ndarray) -> dict[str, Any]:
    """RMSE with one vote for every cluster, of a model and the constant, and their difference."""
    both = [by_cluster(values**2, clusters) for values in (errors, constant)]
    bootstrap = Bootstrap(np.arange(len(both[0])))
    drawn = bootstrap.weights.drawn
    model, base = (np.sqrt(drawn @ values / drawn.sum(axis=1)) for values in both)
    answer: dict[str, Any] = {"rows": len(errors), "clusters": len(both[0])}
    scales = ("positive", "positive", "difference")
    for name, values, scale in zip(
        ("rmse", "rmse_constant", "difference"), (model, base, model - base), scales, strict=True
    ):
        interval = bootstrap.interval(values, scale)
        answer[name] = round(float(values[0]), 4)
        if interval is not None:
            answer[f"{name}_95"] = [round(interval.low, 4), round(interval.high, 4)]
    answer["rmse_of_rows"] = round(float(np.sqrt((errors**2).mean())), 4)
    answer["rmse_of_rows_constant"] = round(float(np.sqrt((constant**2).mean())), 4)
    return answer


def mean_with_interval(values: Sequence[float]) -> dict[str, Any]:
    """Mean over groups with its bootstrap interval."""
    bootstrap = Bootstrap(np.arange(len(values)))
    drawn = bootstrap.weights.drawn
    means = drawn @ np.asarray(values, float) / drawn.sum(axis=1)
    interval = bootstrap.interval(means)
    answer: dict[str, Any] = {"mean": round(float(means[0]), 4), "groups": len(values)}
    if interval is not None:
        answer["mean_95"] = [round(interval.low, 4), round(interval.high, 4)]
    return answer


def within_clusters(score: np.ndarray, measured: np.ndarray, clusters: np.ndarray) -> list[float]:
    """Spearman inside each cluster of at least `MIN_ROWS_FOR_RANKING` rows."""
    inside = [clusters == cluster for cluster in np.unique(clusters)]
    return [
        rank_correlation(score[rows], measured[rows])
        for rows in inside
        if rows.sum() >= MIN_ROWS_FOR_RANKING
    ]


def judged(table: TrainingTable, held: HeldOut, rows: np.ndarray | None = None) -> dict[str, Any]:
    """Errors and ranking of held-out rows beside the constant's."""
    chosen = np.ones(len(table), bool) if rows is None else rows
    clusters, measured = table.cluster[chosen], table.pkd[chosen]
    answer = votes(held.pkd[chosen] - measured, held.constant[chosen] - measured, clusters)
    ranked = within_clusters(held.pkd[chosen], measured, clusters)
    answer["within_antigen_spearman"] = mean_with_interval(ranked) if ranked else None
    variants = np.array([bool(changes) for changes in table.changes])[chosen]
    with_variants = set(np.unique(clusters[variants]).tolist())
    keep = np.array([cluster in with_variants for cluster in clusters.tolist()])
    ranked = within_clusters(held.pkd[chosen][keep], measured[keep], clusters[keep])
    answer["within_antigen_spearman_where_variants_are"] = (
        mean_with_interval(ranked) if ranked else None
    )
    return answer


def strata_of(table: TrainingTable, held: HeldOut) -> np.ndarray:
    """Stratum of each held-out row whose parent's value is not given."""
    known = zip(held.rows_in_cluster.tolist(), table.single_domain.tolist(), strict=True)
    return np.array([stratum_of(count, single, parent_measured=False) for count, single in known])


def coverage(
    table: TrainingTable, held: HeldOut, intervals: Intervals, rows: np.ndarray
) -> dict[str, Any]:
    """Width and coverage of intervals on rows of a mask, by stratum and nominal coverage.

    Of rows weighted by n(cluster)^-1/2, and of clusters' mean values.
    """
    error = np.abs(table.pkd - held.pkd)
    strata = strata_of(table, held)
    answer: dict[str, Any] = {}
    for name in (*STRATA, "all"):
        chosen = rows & ((strata == name) if name != "all" else True)
        if chosen.sum() < 20:
            continue
        weight = 1 / np.sqrt(np.bincount(table.cluster[chosen])[table.cluster[chosen]])
        line: dict[str, Any] = {"rows": int(chosen.sum())}
        line["clusters"] = len(np.unique(table.cluster[chosen]))
        for level in COVERAGES:
            half = np.array([intervals.of(text).half_width(level) for text in strata[chosen]])
            covered = error[chosen] <= half
            line[f"{level:.0%}"] = {
                "half_width": round(float(np.average(half, weights=weight)), 3),
                "rows": round(float(np.average(covered, weights=weight)), 4),
                "clusters": round(float(by_cluster(covered, table.cluster[chosen]).mean()), 4),
            }
        answer[name] = line
    return answer


def per_group(
    score: np.ndarray, measured: np.ndarray, groups: np.ndarray, fewest: int
) -> dict[str, float]:
    """Spearman of each group with enough rows."""
    members: dict[str, list[int]] = defaultdict(list)
    for row, name in enumerate(groups.tolist()):
        members[name].append(row)
    return {
        name: rank_correlation(score[rows], measured[rows])
        for name, rows in members.items()
        if len(rows) >= fewest
    }
