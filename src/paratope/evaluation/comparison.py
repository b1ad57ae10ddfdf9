"""Several predictors on the same rows, with a paired test that respects groups."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paratope.core.errors import InputError
from paratope.core.files import plain
from paratope.evaluation.bootstrap import LARGE_ROWS, Bootstrap, Interval, group_codes
from paratope.evaluation.breakdowns import Estimate
from paratope.evaluation.metrics import METRICS, EvaluationRows, compute
from paratope.evaluation.predictions import PredictionTable, predictions_file, read_predictions

COMPARED = ("spearman", "pearson", "rmse", "mae", "auroc")
PERMUTATIONS, LARGE_PERMUTATIONS = 999, 199


@dataclasses.dataclass(frozen=True, slots=True)
class Difference:
    """One metric of one predictor minus that of the first."""

    name: str  # Of the predictor
    metric: str
    value: float
    interval: Interval | None  # 95 %, from drawing groups
    p_value: float  # By `swap_test`


@dataclasses.dataclass(frozen=True, slots=True)
class Comparison:
    """Predictors side by side."""

    names: tuple[str, ...]  # The first is what the others are compared with
    rows: int  # Rows that all of them have
    dropped: tuple[int, ...]  # Rows of each table that another one lacks
    grouping: str
    groups: int
    metrics: tuple[dict[str, Estimate], ...]  # One per predictor
    differences: tuple[Difference, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and text; None for NaN."""
        predictors = zip(self.names, self.dropped, self.metrics, strict=True)
        return plain(
            {
                "rows": self.rows,
                "intervals": {"level": 0.95, "resampled": self.grouping, "groups": self.groups},
                "predictors": [
                    {"name": name, "dropped_rows": dropped}
                    | {"metrics": {key: value.to_dict() for key, value in metrics.items()}}
                    for name, dropped, metrics in predictors
                ],
                "differences": [
                    {"name": gap.name, "minus": self.names[0], "metric": gap.metric}
                    | Estimate(gap.value, gap.interval).to_dict()
                    | {"p_value": gap.p_value}
                    for gap in self.differences
                ],
            }
        )


def _row_keys(table: PredictionTable) -> tuple[tuple[str, ...], list[Any]] | None:
    """Columns that identify the rows, id or sequences, and the keys; None if no key is unique."""
    for candidates in (("id",), ("heavy", "light", "antigen")):
        roles = tuple(role for role in candidates if role in table.labels)
        if candidates[0] in roles:
            keys = list(zip(*(table.labels[role].tolist() for role in roles), strict=True))
            if len(set(keys)) == len(keys):
                return roles, keys
    return None


def align(tables: Sequence[PredictionTable]) -> tuple[list[PredictionTable], list[int]]:
    """The rows that all tables have, in the order of the first, and how many each loses.

    Matched by a unique id, else by unique sequences, else by position; `InputError` if they cannot
    be, or disagree about the measured value.
    """
    keyed = [_row_keys(table) for table in tables]
    by_key = [keys for keys in keyed if keys is not None]
    if len(by_key) == len(tables) and len({roles for roles, _ in by_key}) == 1:
        positions = [{key: row for row, key in enumerate(keys)} for _, keys in by_key]
        common = [key for key in positions[0] if all(key in row_of for row_of in positions)]
        if not common:
            raise InputError("compare: the tables have no row in common (matched by id)")
        aligned = [
            table.take(np.array([row_of[key] for key in common]))
            for table, row_of in zip(tables, positions, strict=True)
        ]
    elif len({table.total for table in tables}) == 1:
        index = set(tables[0].index.tolist()).intersection(*(t.index.tolist() for t in tables))
        aligned = [table.take(np.isin(table.index, list(index))) for table in tables]
    else:
        counts = ", ".join(f"{table.source} {table.total:,} rows" for table in tables)
        raise InputError(
            f"compare: rows cannot be matched: no unique id or sequences, and {counts}. Give every "
            "table an id column"
        )
    first = aligned[0]
    for other in aligned[1:]:
        off = np.abs(other.rows.measured - first.rows.measured) > 1e-4
        off |= other.rows.censoring != first.rows.censoring
        if off.any():
            raise InputError(
                f"compare: {other.source} and {first.source} disagree about the measured value of "
                f"{off.sum():,} of {len(first):,} matched rows: are these the same rows?"
            )
    return aligned, [len(table) - len(first) for table in tables]


def swap_test(
    metric: str,
    left: EvaluationRows,
    right: EvaluationRows,
    groups: NDArray[np.int64],
    *,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> float:
    """Two-sided p-value of "the predictors `left` and `right` are interchangeable".

    (1 + permutations with a difference as large as the observed one) / (1 + permutations), swapping
    the predictions of whole groups, coded in `groups` (n,); NaN where the metric is undefined.
    """
    count = int(groups.max(initial=-1)) + 1
    rng = np.random.default_rng(seed)
    value = METRICS[metric]

    def gap(swap: NDArray[np.bool_] | bool) -> float:
        mine, other = (
            dataclasses.replace(a, predicted=np.where(swap, b.predicted, a.predicted))
            for a, b in ((left, right), (right, left))
        )
        return abs(value(other) - value(mine))

    observed = gap(False)
    if not math.isfinite(observed):
        return math.nan
    swaps = ((rng.random(count) < 0.5)[groups] for _ in range(permutations))
    as_large = sum(gap(swap) >= observed - 1e-12 for swap in swaps)
    return (1 + as_large) / (1 + permutations)


def compare(
    sources: Sequence[Any],
    *,
    names: Sequence[str] | None = None,
    true: str | None = None,
    preds: Sequence[str] = (),
    group: str | None = None,
    metrics: Sequence[str] = COMPARED,
    permutations: int | None = None,
    seed: int = 0,
) -> Comparison:
    """Put predictors side by side on the rows that all of them have.

    Parameters
    ----------
    sources : sequence of path or frame
        Tables, run folders or report folders; one table with several `preds` will do.
    names : sequence of str, optional
        What to call them.
    true, group : str, optional
        Columns, as in `read_predictions`.
    preds : sequence of str
        Prediction columns: of the one table, or one per table, or the same for all.
    metrics : sequence of str
        Names in `METRICS`.
    permutations : int, optional
        Of the swap test; 999 by default, 199 for tables of more than 5000 rows.
    seed : int

    Raises
    ------
    InputError
        With fewer than two predictors, or rows that cannot be matched.
    """
    files = [predictions_file(s) if isinstance(s, str | Path) else s for s in sources]
    columns: list[str | None] = list(preds) or [None]
    if len(files) == 1:
        files = files * len(columns)
    if len(columns) == 1:
        columns = columns * len(files)
    if len(files) < 2 or len(columns) != len(files):
        raise InputError(
            f"compare needs at least two predictors, got {len(files)} tables and {len(preds)} "
            "prediction columns; give several tables, or one with --pred A --pred B"
        )
    tables = []
    for file, column in zip(files, columns, strict=True):
        table = read_predictions(file, true=true, pred=column, group=group)
        tables.append(table.part("test") or table)
    aligned, dropped = align(tables)
    if not names and len(sources) == 1:
        names = [str(column) for column in columns]
    elif not names:
        names = [
            Path(source).name if isinstance(source, str | Path) else f"table {count}"
            for count, source in enumerate(sources, start=1)
        ]
        names = names if len(set(names)) == len(names) else [str(source) for source in sources]
    grouping, labels = aligned[0].grouping()
    codes, count = group_codes(labels)
    if permutations is None:
        permutations = LARGE_PERMUTATIONS if len(codes) > LARGE_ROWS else PERMUTATIONS
    bootstrap = Bootstrap(codes, seed=seed)
    estimates = [
        {
            name: Estimate(value, bootstrap.metric_interval(METRICS[name], table.rows))
            for name, value in compute(table.rows).items()
        }
        for table in aligned
    ]
    differences = []
    first = aligned[0].rows
    for predictor, table in zip(names[1:], aligned[1:], strict=True):
        for name in metrics:
            drawn = [METRICS[name].draws(rows, bootstrap.weights) for rows in (first, table.rows)]
            gaps = None if drawn[0] is None or drawn[1] is None else drawn[1] - drawn[0]
            value = METRICS[name](table.rows) - METRICS[name](first)
            p = swap_test(name, first, table.rows, codes, permutations=permutations, seed=seed)
            interval = bootstrap.interval(gaps, "difference")
            differences.append(Difference(predictor, name, value, interval, p))
    return Comparison(
        names=tuple(names),
        rows=len(first),
        dropped=tuple(dropped),
        grouping=grouping,
        groups=count,
        metrics=tuple(estimates),
        differences=tuple(differences),
    )
