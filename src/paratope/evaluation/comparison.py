"""Several predictors on the same rows, with a paired test that respects groups."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paratope.core.errors import InputError
from paratope.evaluation.bootstrap import (
    DRAWS,
    LARGE_DRAWS,
    LARGE_ROWS,
    Interval,
    draw_weights,
    group_codes,
    interval_of,
    join_groups,
)
from paratope.evaluation.breakdowns import Estimate, plain
from paratope.evaluation.metrics import METRICS, Judged
from paratope.evaluation.predictions import PredictionTable, read_predictions
from paratope.evaluation.report import evaluate
from paratope.evaluation.statistics import Floats, Statistic, build_statistic

COMPARED = ("spearman", "pearson", "rmse", "mae", "auroc")
PERMUTATIONS = 999
# What a folder may hold, likeliest first: a run folder's test rows, a report folder's judged rows.
FOLDER_FILES = ("test_predictions.csv", "judged_rows.csv", "predictions.csv")


@dataclasses.dataclass(frozen=True, slots=True)
class Difference:
    """One metric of one predictor minus that of the first.

    Attributes
    ----------
    name : str
        Of the predictor.
    metric : str
    value : float
    interval : Interval or None
        95 %, from drawing groups.
    p_value : float
        Of "the two are interchangeable": the predictions of whole groups are swapped at random.
    """

    name: str
    metric: str
    value: float
    interval: Interval | None
    p_value: float


@dataclasses.dataclass(frozen=True, slots=True)
class Comparison:
    """Predictors side by side.

    Attributes
    ----------
    names : tuple of str
        The first is what the others are compared with.
    rows : int
        Rows that all of them have.
    dropped : tuple of int
        Rows of each table that another one lacks.
    grouping : str
    groups : int
    metrics : tuple of dict of str to Estimate
        One per predictor.
    differences : tuple of Difference
    """

    names: tuple[str, ...]
    rows: int
    dropped: tuple[int, ...]
    grouping: str
    groups: int
    metrics: tuple[dict[str, Estimate], ...]
    differences: tuple[Difference, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and text."""
        return {
            "rows": self.rows,
            "intervals": {"level": 0.95, "resampled": self.grouping, "groups": self.groups},
            "predictors": [
                {
                    "name": name,
                    "dropped_rows": dropped,
                    "metrics": {key: value.to_dict() for key, value in metrics.items()},
                }
                for name, dropped, metrics in zip(
                    self.names, self.dropped, self.metrics, strict=True
                )
            ],
            "differences": [
                {
                    "name": one.name,
                    "minus": self.names[0],
                    "metric": one.metric,
                    **Estimate(one.value, one.interval).to_dict(),
                    "p_value": plain(one.p_value),
                }
                for one in self.differences
            ],
        }


def predictions_file(path: str | Path) -> Path:
    """The table behind a path: itself, or the predictions in a run or report folder."""
    target = Path(path)
    if not target.is_dir():
        return target
    for name in FOLDER_FILES:
        if (target / name).is_file():
            return target / name
    raise InputError(
        f"{path}: a folder without predictions; expected one of {', '.join(FOLDER_FILES)} in it"
    )


def _keys(table: PredictionTable) -> list[Any] | None:
    """What identifies each row: its id, else its sequences; None if neither is unique."""
    roles = [role for role in ("heavy", "light", "antigen") if role in table.labels]
    by_sequence = roles if "heavy" in roles else []
    for chosen in (["id"] if "id" in table.labels else [], by_sequence):
        if not chosen:
            continue
        keys = list(zip(*(table.labels[role].tolist() for role in chosen), strict=True))
        if len(set(keys)) == len(keys):
            return [tuple(chosen), *keys]
    return None


def align(tables: Sequence[PredictionTable]) -> tuple[list[PredictionTable], list[int]]:
    """The rows that all tables have, in the order of the first, and how many each loses.

    Rows are matched by a unique id, else by unique sequences, else by position.

    Raises
    ------
    InputError
        If rows cannot be matched, or matched rows disagree about the measured value.
    """
    keyed = [_keys(table) for table in tables]
    if all(keys is not None and keys[0] == (keyed[0] or [None])[0] for keys in keyed):
        places = [{key: i for i, key in enumerate((keys or [])[1:])} for keys in keyed]
        common = [key for key in places[0] if all(key in place for place in places)]
        if not common:
            raise InputError("compare: the tables have no row in common (matched by id)")
        aligned = [
            table.take(np.array([place[key] for key in common]))
            for table, place in zip(tables, places, strict=True)
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
    dropped = [len(table) - len(first) for table in tables]
    return aligned, dropped


def _difference(left: Statistic, right: Statistic) -> Statistic:
    return lambda weights: right(weights) - left(weights)


def swap_test(
    metric: str,
    left: Judged,
    right: Judged,
    groups: NDArray[np.int64],
    *,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> float:
    """p-value of "the two predictors are interchangeable within groups".

    Parameters
    ----------
    metric : str
        Name in `METRICS`.
    left, right : Judged
        The same rows with the two predictions.
    groups : int array (n,)
        The predictions of a whole group are swapped or not.
    permutations : int
    seed : int

    Returns
    -------
    float
        Two-sided; NaN where the metric is undefined.
    """
    count = int(groups.max(initial=-1)) + 1
    rng = np.random.default_rng(seed)
    fn = METRICS[metric].fn

    def gap(a: Floats, b: Floats) -> float:
        return abs(
            fn(dataclasses.replace(right, predicted=b)) - fn(dataclasses.replace(left, predicted=a))
        )

    observed = gap(left.predicted, right.predicted)
    if not math.isfinite(observed):
        return math.nan
    as_far = 1
    for _ in range(permutations):
        swap = (rng.random(count) < 0.5)[groups]
        a = np.where(swap, right.predicted, left.predicted)
        b = np.where(swap, left.predicted, right.predicted)
        as_far += gap(a, b) >= observed - 1e-12
    return as_far / (permutations + 1)


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

    Returns
    -------
    Comparison

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
    called = tuple(names or _names(sources, columns))
    label, group_labels = aligned[0].grouping()
    codes, count = group_codes(group_labels.tolist())
    large = len(codes) > LARGE_ROWS
    permutations = permutations or (199 if large else PERMUTATIONS)
    weights_groups, blocks = join_groups(codes, seed)
    weights = draw_weights(blocks, LARGE_DRAWS if large else DRAWS, seed)
    shared = [dataclasses.replace(t, labels={"group": group_labels}, columns={"group": label})
              for t in aligned]  # fmt: skip
    reports = [evaluate(_bare(table), baselines=False, seed=seed) for table in shared]
    differences = []
    for place in range(1, len(aligned)):
        left, right = aligned[0].rows, aligned[place].rows
        for name in metrics:
            pair = [build_statistic(name, rows, weights_groups, blocks) for rows in (left, right)]
            interval = None
            if pair[0] is not None and pair[1] is not None:
                interval = interval_of(_difference(pair[0], pair[1]), weights, seed=seed)
            value = METRICS[name].fn(right) - METRICS[name].fn(left)
            p = swap_test(name, left, right, codes, permutations=permutations, seed=seed)
            differences.append(Difference(called[place], name, value, interval, p))
    return Comparison(
        names=called,
        rows=len(aligned[0]),
        dropped=tuple(dropped),
        grouping=label,
        groups=count,
        metrics=tuple(dict(report.metrics) for report in reports),
        differences=tuple(differences),
    )


def _bare(table: PredictionTable) -> PredictionTable:
    return dataclasses.replace(table, left_out={}, faulty=0)


def _names(sources: Sequence[Any], columns: Sequence[str | None]) -> list[str]:
    if len(sources) == 1:
        return [str(column) for column in columns]
    names = [
        Path(source).name if isinstance(source, str | Path) else f"table {place}"
        for place, source in enumerate(sources, start=1)
    ]
    if len(set(names)) < len(names):
        names = [str(source) for source in sources]
    return names
