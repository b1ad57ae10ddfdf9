"""Metrics per antigen, assay, source, part of the split and range of affinity; averages."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paratope.core.censoring import Censoring
from paratope.evaluation.bootstrap import Bootstrap, Interval, group_codes
from paratope.evaluation.metrics import METRICS, EvaluationRows, Floats, compute
from paratope.evaluation.predictions import PredictionTable

BIN_EDGES = (5.0, 7.0, 9.0, 11.0)
BIN_NAMES = ("< 5", "5–7", "7–9", "9–11", "≥ 11")
# Averages over levels that share groups have intervals of these metrics, up to so many levels.
CROSSED_METRICS = tuple(
    "spearman pearson rmse mae bias r2 within_half_log_percent within_one_log_percent "
    "coverage_90_percent width_90".split()
)
MAX_CROSSED_LEVELS = 30
LEVEL_METRICS = CROSSED_METRICS + tuple(
    "kendall auroc average_precision recall_percent precision_percent f1_percent".split()
)
# Below this many exact rows a level counts in no average and has no correlation.
MIN_LEVEL_ROWS = 5
_SPLIT_ORDER = {"train": 0, "validation": 1, "test": 2}


@dataclasses.dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its 95 % interval, where there is one."""

    value: float
    interval: Interval | None = None

    def to_dict(self) -> dict[str, float | None]:
        """Value, low and high; None for a missing interval."""
        low, high = (None, None) if self.interval is None else dataclasses.astuple(self.interval)
        return {"value": self.value, "low": low, "high": high}


@dataclasses.dataclass(frozen=True, slots=True)
class Level:
    """One antigen, assay, ...: its rows and metrics."""

    name: str
    rows: int
    exact: int
    values: Mapping[str, float]


@dataclasses.dataclass(frozen=True, slots=True)
class Breakdown:
    """Metrics by the levels of one column."""

    by: str  # ``"antigen"``, ``"assay"``, ``"source"``, ``"split"`` or ``"bin"``
    levels: tuple[Level, ...]  # Largest first; bins and parts of the split in their own order
    macro: Mapping[str, Estimate]  # Mean over levels with at least 5 exact rows, each counting once
    macro_levels: int  # How many those are
    undecided: int = 0  # Rows whose bound leaves their level open

    def to_dict(self) -> dict[str, Any]:
        """The breakdown as plain numbers and text."""
        return {
            "macro": {name: estimate.to_dict() for name, estimate in self.macro.items()},
            "macro_levels": self.macro_levels,
            "undecided_rows": self.undecided,
            "levels": [
                {"name": level.name, "rows": level.rows, "exact": level.exact}
                | {"metrics": dict(level.values)}
                for level in self.levels
            ],
        }


def bin_of(rows: EvaluationRows) -> NDArray[np.int64]:
    """Range of measured pKd of each row, 0 to 4; -1 where a bound leaves it open.

    "At most 5" lies in "< 5" (up to the point itself), "at most 6" may lie anywhere below.
    """
    bins = np.searchsorted(BIN_EDGES, rows.measured, side="right")
    lowest = np.where(rows.measured <= BIN_EDGES[0], 0, -1)
    highest = np.where(rows.measured >= BIN_EDGES[-1], len(BIN_EDGES), -1)
    bins = np.where(rows.censoring == Censoring.AT_MOST, lowest, bins)
    return np.where(rows.censoring == Censoring.AT_LEAST, highest, bins)


def _answers_one_number(rows: EvaluationRows) -> bool:
    """Whether exact rows of different values all have the same prediction: no ranking at all."""
    rows = rows.exact()
    return bool(np.ptp(rows.measured) > 0 and np.ptp(rows.predicted) == 0)


def _level_metrics(rows: EvaluationRows, names: Sequence[str]) -> dict[str, float]:
    """Metrics of a level; the correlation of a single number with what varies is 0."""
    values = compute(rows, names)
    if len(rows.exact()) and _answers_one_number(rows):
        flat = {name: 0.0 for name in values if METRICS[name].scale == "correlation"}
        values |= flat
    return values


def _members(labels: NDArray[Any]) -> list[NDArray[np.int64]]:
    """Rows of each level, levels in order of first appearance."""
    codes, _ = group_codes(labels)
    order = np.argsort(codes, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)


def within_antigen_spearman(table: PredictionTable) -> float:
    """Mean Spearman correlation inside an antigen; NaN where no antigen has 5 exact rows.

    The macro average of `break_down` by antigen: each antigen (with its point mutants) counts once,
    one that is answered with a single number as 0. What sets antigens apart adds nothing to it.
    """
    antigens = table.antigens()
    if antigens is None:
        return math.nan
    levels = [table.rows.take(index) for index in _members(antigens)]
    values = [
        _level_metrics(rows, ["spearman"])["spearman"]
        for rows in levels
        if len(rows.exact()) >= MIN_LEVEL_ROWS
    ]
    known = [value for value in values if math.isfinite(value)]
    return float(np.mean(known)) if known else math.nan


def break_down(table: PredictionTable, by: str, *, seed: int = 0) -> Breakdown:
    """Metrics by the levels of a label, or by ``"bin"`` of measured pKd.

    Point mutants of an antigen count with it.
    """
    bins = bin_of(table.rows)
    antigens = table.antigens() if by == "antigen" else None
    labels = table.labels[by] if by != "bin" else np.array([*BIN_NAMES, ""])[bins]
    labels = labels if antigens is None else antigens
    members = [index for index in _members(labels) if by != "bin" or labels[index[0]]]
    levels = []
    for index in members:
        rows = table.rows.take(index)
        exact = int((rows.censoring == Censoring.EXACT).sum())
        names = LEVEL_METRICS if exact >= MIN_LEVEL_ROWS else ("rmse", "mae", "bias")
        levels.append(Level(str(labels[index[0]]), len(rows), exact, _level_metrics(rows, names)))
    macro, macro_levels = _macro(table, by, levels, members, seed)
    if by == "bin":
        levels.sort(key=lambda level: BIN_NAMES.index(level.name))
    elif by == "split":
        levels.sort(key=lambda level: (_SPLIT_ORDER.get(level.name, 3), level.name))
    else:
        levels.sort(key=lambda level: -level.rows)
    undecided = int((bins < 0).sum()) if by == "bin" else 0
    return Breakdown(by, tuple(levels), macro, macro_levels, undecided)


def _macro(
    table: PredictionTable,
    by: str,
    levels: Sequence[Level],
    members: Sequence[NDArray[Any]],
    seed: int,
) -> tuple[dict[str, Estimate], int]:
    """Mean over levels with enough rows, with its interval, and how many levels these are."""
    used = [index for index, level in enumerate(levels) if level.exact >= MIN_LEVEL_ROWS]
    grouping, groups = table.grouping()
    # A level inside one group is drawn with it. Of levels that share groups, each draw of groups
    # gives every level new rows.
    nested = by in ("antigen", "group") or grouping == by
    bootstrap = None
    if used and nested:
        bootstrap = Bootstrap([groups[members[index][0]] for index in used], seed=seed)
    elif used and len(used) <= MAX_CROSSED_LEVELS:
        bootstrap = Bootstrap(groups, seed=seed)
    macro: dict[str, Estimate] = {}
    for name in LEVEL_METRICS:
        values = np.array([levels[index].values.get(name, math.nan) for index in used])
        known = np.isfinite(values)
        if not known.any():
            continue
        interval = None
        if bootstrap is not None:
            drawn: Floats | None = None
            if nested:
                drawn = bootstrap.weights.mean(values, known)
            elif name in CROSSED_METRICS:
                rows = [members[used[level]] for level in np.flatnonzero(known)]
                drawn = _mean_of_levels(name, table.rows, rows, bootstrap)
            # a mean of correlations is no correlation: it needs no transform
            scale = METRICS[name].scale
            interval = bootstrap.interval(drawn, "identity" if scale == "correlation" else scale)
        macro[name] = Estimate(float(values[known].mean()), interval)
    return macro, len(used)


def _mean_of_levels(
    name: str, rows: EvaluationRows, members: Sequence[NDArray[Any]], bootstrap: Bootstrap
) -> Floats:
    """Mean of a metric over levels in each draw, of those that the draw leaves any rows."""
    weights = bootstrap.weights
    draws = []
    for index in members:
        level = rows.take(index)
        drawn = METRICS[name].draws(level, weights.take(index))
        if METRICS[name].scale == "correlation" and _answers_one_number(level):
            drawn = np.zeros(len(weights.drawn))
        draws.append(drawn)
    values = np.stack([drawn for drawn in draws if drawn is not None])
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.where(known, values, 0.0).sum(axis=0) / known.sum(axis=0)
