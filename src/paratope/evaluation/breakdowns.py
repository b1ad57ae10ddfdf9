"""Metrics per antigen, assay, source, part of the split and range of affinity; averages."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paratope.evaluation.bootstrap import (
    DRAWS,
    LARGE_DRAWS,
    LARGE_ROWS,
    Interval,
    draw_weights,
    group_codes,
    interval_of,
    join_groups,
    scale_of,
)
from paratope.evaluation.metrics import METRICS, Judged
from paratope.evaluation.predictions import PredictionTable
from paratope.evaluation.statistics import build_statistic
from paratope.evaluation.weighted import Floats, Statistic, mean_of

BIN_EDGES = (5.0, 7.0, 9.0, 11.0)
BIN_NAMES = ("< 5", "5–7", "7–9", "9–11", "≥ 11")
LEVEL_METRICS = (
    "spearman",
    "pearson",
    "kendall",
    "rmse",
    "mae",
    "bias",
    "r2",
    "within_half_log_percent",
    "within_one_log_percent",
    "auroc",
    "average_precision",
    "recall_percent",
    "precision_percent",
    "f1_percent",
    "coverage_90_percent",
    "width_90",
)
# Below this many exact rows a level counts in no average and has no correlation.
MIN_LEVEL_ROWS = 5
# Averages over levels that groups cross have intervals of these metrics, up to so many levels.
CROSSED_METRICS = (
    "spearman", "pearson", "rmse", "mae", "bias", "r2", "within_half_log_percent",
    "within_one_log_percent", "coverage_90_percent", "width_90",
)  # fmt: skip
MAX_CROSSED_LEVELS = 30


@dataclasses.dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its 95 % interval, where there is one."""

    value: float
    interval: Interval | None = None

    def to_dict(self) -> dict[str, float | None]:
        """Value, low and high; None for NaN and for a missing interval."""
        ends = (None, None) if self.interval is None else (self.interval.low, self.interval.high)
        return {"value": plain(self.value), "low": plain(ends[0]), "high": plain(ends[1])}


@dataclasses.dataclass(frozen=True, slots=True)
class Level:
    """One antigen, assay, ...: its rows and metrics."""

    name: str
    rows: int
    exact: int
    values: Mapping[str, float]


@dataclasses.dataclass(frozen=True, slots=True)
class Breakdown:
    """Metrics by the levels of one column.

    Attributes
    ----------
    by : str
        ``"antigen"``, ``"assay"``, ``"source"``, ``"split"`` or ``"bin"``.
    levels : tuple of Level
        Largest first; bins and parts of the split in their own order.
    macro : dict of str to Estimate
        Mean over the levels with at least 5 exact rows (each counting once).
    macro_levels : int
        How many those are.
    undecided : int
        Rows whose bound leaves their level open.
    """

    by: str
    levels: tuple[Level, ...]
    macro: Mapping[str, Estimate]
    macro_levels: int
    undecided: int = 0


def plain(value: float | None) -> float | None:
    """The number for JSON: None instead of NaN."""
    return None if value is None or not math.isfinite(value) else float(value)


def bin_of(rows: Judged) -> NDArray[np.int64]:
    """Range of measured pKd of each row, 0 to 4; -1 where a bound leaves it open.

    "At most 5" lies in "< 5" (up to the point itself), "at most 6" may lie anywhere below.
    """
    place = np.searchsorted(BIN_EDGES, rows.measured, side="right")
    lowest = rows.measured <= BIN_EDGES[0]
    highest = rows.measured >= BIN_EDGES[-1]
    place = np.where(rows.censoring < 0, np.where(lowest, 0, -1), place)
    return np.where(rows.censoring > 0, np.where(highest, len(BIN_EDGES), -1), place)


def _level(name: str, rows: Judged) -> Level:
    exact = int((rows.censoring == 0).sum())
    names = LEVEL_METRICS if exact >= MIN_LEVEL_ROWS else ("rmse", "mae", "bias")
    values = {
        key: METRICS[key].fn(rows) for key in names if METRICS[key].applies(rows) and len(rows)
    }
    return Level(name, len(rows), exact, values)


def _macro(levels: list[tuple[Level, int]], seed: int) -> tuple[dict[str, Estimate], int]:
    """Mean over levels, with the interval from drawing the groups they belong to."""
    used = [(level, group) for level, group in levels if level.exact >= MIN_LEVEL_ROWS]
    macro: dict[str, Estimate] = {}
    groups, blocks = join_groups(group_codes([group for _, group in used])[0], seed)
    weights = draw_weights(blocks, seed=seed)
    for name in LEVEL_METRICS:
        values = np.array([level.values.get(name, math.nan) for level, _ in used])
        known = np.isfinite(values)
        if not known.any():
            continue
        statistic = mean_of(np.where(known, values, 0.0), known, groups, weights.shape[1])
        macro[name] = Estimate(
            float(values[known].mean()), interval_of(statistic, weights, scale=_macro_scale(name))
        )
    return macro, len(used)


def break_down(table: PredictionTable, by: str, *, seed: int = 0) -> Breakdown:
    """Metrics by the levels of a label, or by ``"bin"`` of measured pKd."""
    if by == "bin":
        place = bin_of(table.rows)
        levels = tuple(
            _level(name, table.rows.take(place == number))
            for number, name in enumerate(BIN_NAMES)
            if (place == number).any()
        )
        macro, used_levels = _crossed_macro(table, levels, np.array([*BIN_NAMES, ""])[place], seed)
        return Breakdown(by, levels, macro, used_levels, int((place < 0).sum()))
    labels = table.labels[by]
    codes, _ = group_codes(labels.tolist())
    grouping, group_labels = table.grouping()
    clusters, _ = group_codes(group_labels.tolist())
    found: list[tuple[Level, int]] = []
    order = np.argsort(codes, kind="stable")
    for index in np.split(order, np.flatnonzero(np.diff(codes[order])) + 1):
        found.append(
            (_level(str(labels[index[0]]), table.rows.take(index)), int(clusters[index[0]]))
        )
    inside = by in ("antigen", "group") or grouping == by
    if inside:
        macro, used_levels = _macro(found, seed)
    else:  # a level spans groups: drawing groups does not draw levels
        macro, used_levels = _crossed_macro(table, [level for level, _ in found], labels, seed)
    ordered = [level for level, _ in found]
    if by == "split":
        rank = {"train": 0, "validation": 1, "test": 2}
        ordered.sort(key=lambda level: (rank.get(level.name, 3), level.name))
    else:
        ordered.sort(key=lambda level: -level.rows)
    return Breakdown(by, tuple(ordered), macro, used_levels)


def _crossed_macro(
    table: PredictionTable, levels: Sequence[Level], labels: NDArray[Any], seed: int
) -> tuple[dict[str, Estimate], int]:
    """Mean over levels that share groups: each draw of groups gives every level new rows."""
    used = [level for level in levels if level.exact >= MIN_LEVEL_ROWS]
    groups, count = join_groups(group_codes(table.grouping()[1].tolist())[0], seed)
    draws = DRAWS if len(table) <= LARGE_ROWS else LARGE_DRAWS
    weights = draw_weights(count, draws, seed)
    members = [np.flatnonzero(labels == level.name) for level in used]
    macro: dict[str, Estimate] = {}
    for name in LEVEL_METRICS:
        values = np.array([level.values.get(name, math.nan) for level in used])
        known = np.isfinite(values)
        if not known.any():
            continue
        interval = None
        if name in CROSSED_METRICS and len(used) <= MAX_CROSSED_LEVELS:
            kept = [index for index, there in zip(members, known, strict=True) if there]
            statistic = _mean_over(name, table.rows, groups, count, kept)
            interval = interval_of(statistic, weights, scale=_macro_scale(name), seed=seed)
        macro[name] = Estimate(float(values[known].mean()), interval)
    return macro, len(used)


def _mean_over(
    name: str, rows: Judged, groups: NDArray[np.int64], count: int, members: list[NDArray[Any]]
) -> Statistic:
    """Mean of a metric over levels; a level that a draw leaves without rows counts in no mean."""
    built = (build_statistic(name, rows.take(index), groups[index], count) for index in members)
    statistics = [statistic for statistic in built if statistic is not None]

    def mean(weights: Floats) -> Floats:
        values = np.stack([statistic(weights) for statistic in statistics])
        known = np.isfinite(values)
        return np.where(known, values, 0.0).sum(axis=0) / known.sum(axis=0)

    return mean


def _macro_scale(name: str) -> str:
    scale = scale_of(name)
    return "identity" if scale == "correlation" else scale
