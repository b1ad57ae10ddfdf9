"""What a model must beat on the same rows: constants and means, and fitted baselines."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from paratope.core.censoring import Censoring
from paratope.core.errors import ParatopeError
from paratope.data.measurements import Measurement
from paratope.data.tables import match_columns, read_table, table_from_frame
from paratope.evaluation.bootstrap import group_codes
from paratope.evaluation.metrics import METRICS, Judged
from paratope.evaluation.predictions import PredictionTable
from paratope.molecules.sequences import Pair

REFERENCE_METRICS = ("spearman", "pearson", "rmse", "mae", "r2", "auroc", "within_one_log_percent")


@dataclasses.dataclass(frozen=True, slots=True)
class Reference:
    """A simple predictor's metrics on the judged rows.

    Attributes
    ----------
    name : str
    note : str
        What it was made from, or why it could not be.
    values : dict of str to float
        Empty where it could not be made.
    """

    name: str
    note: str
    values: Mapping[str, float]


def _judge(name: str, note: str, rows: Judged, predicted: np.ndarray) -> Reference:
    bare = Judged(rows.measured, np.asarray(predicted, dtype=np.float64), rows.censoring)
    return Reference(name, note, {key: METRICS[key].fn(bare) for key in REFERENCE_METRICS})


def _mean_of_others(values: np.ndarray, exact: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Mean of the other exact rows with the same code, or of all of them if there is none."""
    kept = np.where(exact, values, 0.0)
    total = kept.sum() - kept
    count = exact.sum() - exact
    sums = np.bincount(codes, kept)[codes] - kept
    counts = np.bincount(codes, exact)[codes] - exact
    overall = total / np.maximum(count, 1)
    return np.where(counts > 0, sums / np.maximum(counts, 1), overall)


def table_references(table: PredictionTable, train: PredictionTable | None) -> list[Reference]:
    """Constants and group means, from training rows where there are any, else from the table.

    Means of the table itself leave out the row they predict; the constant is the mean of all judged
    rows, the best constant in hindsight.
    """
    rows = table.rows
    exact = (rows.censoring == 0).astype(np.float64)
    made_from = rows.exact() if len(rows.exact()) else rows
    found = [
        _judge(
            "constant (hindsight)",
            "mean of these very rows",
            rows,
            np.full(len(rows), made_from.measured.mean()),
        )
    ]
    fitted = None if train is None or not len(train.rows.exact()) else train.rows.exact()
    if fitted is not None and train is not None:
        mean = float(fitted.measured.mean())
        note = f"mean of {len(fitted):,} training rows"
        found.append(_judge("constant", note, rows, np.full(len(rows), mean)))
    for role in ("antigen", "assay", "source"):
        if role not in table.labels or len(set(table.labels[role].tolist())) < 2:
            continue
        labels = table.labels[role].tolist()
        if fitted is not None and train is not None and role in train.labels:
            seen = train.labels[role][train.rows.censoring == 0]
            codes, count = group_codes(seen.tolist())
            means = np.bincount(codes, fitted.measured, count) / np.bincount(codes, minlength=count)
            by_label = dict(zip(dict.fromkeys(seen.tolist()), means, strict=True))
            known = sum(label in by_label for label in labels)
            predicted = np.array([by_label.get(label, fitted.measured.mean()) for label in labels])
            note = f"mean of its training rows; {known:,} of {len(labels):,} rows have any"
        else:
            predicted = _mean_of_others(rows.measured, exact, group_codes(labels)[0])
            note = (
                f"mean of the other rows of the same {role} in this table, measured ones included"
            )
        found.append(_judge(f"{role} mean", note, rows, predicted))
    return found


def pairs_of(table: PredictionTable) -> tuple[Pair | None, ...] | None:
    """Pairs of the rows from their sequence columns; None without these columns."""
    if not {"heavy", "antigen"} <= set(table.labels):
        return None
    roles = [role for role in ("heavy", "light", "antigen") if role in table.labels]
    frame = pl.DataFrame({role: table.labels[role].tolist() for role in roles})
    return tuple(row.pair for row in table_from_frame(frame).rows)


def measurements_of(table: PredictionTable) -> tuple[Measurement, ...]:
    """Measurements of the rows that have sequences."""
    code = {-1: Censoring.AT_MOST, 0: Censoring.EXACT, 1: Censoring.AT_LEAST}
    assays: Sequence[Any] = table.labels.get("assay", np.full(len(table), "")).tolist()
    return tuple(
        Measurement(pair, float(value), code[int(censoring)], assay=str(assay))
        for pair, value, censoring, assay in zip(
            pairs_of(table) or (), table.rows.measured, table.rows.censoring, assays, strict=False
        )
        if pair is not None
    )


def _residues(pair: Pair) -> tuple[str, str | None, tuple[str, ...]]:
    """What makes two pairs the same under any name."""
    return pair.antibody.heavy, pair.antibody.light, pair.antigen.chains


def _training_rows(path: str | Path) -> tuple[Measurement, ...]:
    """Measurements of a table; of its training rows alone where it has a split."""
    table = read_table(path, require="measured")
    split = match_columns(table.frame.columns, wanted=("split",)).get("split")
    parts = table.frame[split].cast(pl.String).fill_null("").to_list() if split else []
    parts = [part.strip().lower() for part in parts]
    chosen = {"train", "training"} & set(parts)
    return tuple(
        row.measurement
        for row in table.rows
        if row.measurement is not None and (not chosen or parts[row.index] in chosen)
    )


def fitted_references(
    table: PredictionTable,
    train: PredictionTable | None,
    train_file: str | Path | None = None,
    names: Sequence[str] | None = None,
) -> list[Reference]:
    """Every baseline of `paratope.evaluation.baselines.BASELINES`, fitted on training rows.

    Parameters
    ----------
    table : PredictionTable
        Rows to judge, with sequences; without them nothing can be fitted.
    train : PredictionTable, optional
        Training rows of the same table.
    train_file : path, optional
        A table of measurements to fit on instead: its ``train`` rows where it has a split, without
        the pairs that are judged.
    names : sequence of str, optional
        Which baselines; all by default.
    """
    pairs = pairs_of(table)
    if pairs is None:
        return []
    seen = 0
    if train_file is not None:
        measurements = _training_rows(train_file)
        judged_pairs = {_residues(pair) for pair in pairs if pair is not None}
        unseen = tuple(row for row in measurements if _residues(row.pair) not in judged_pairs)
        seen, measurements = len(measurements) - len(unseen), unseen
    elif train is not None:
        measurements = measurements_of(train)
    else:
        return []
    measured = [row for row in measurements if row.pkd is not None]
    keep = np.array([pair is not None for pair in pairs])
    if not measured and seen:
        note = f"not fitted: all {seen:,} training rows hold pairs that are judged"
        return [Reference("fitted baselines", note, {})]
    if not measured or not keep.any():
        return []
    from paratope.evaluation.baselines import BASELINES

    rows = table.rows.take(keep)
    kept = [pair for pair in pairs if pair is not None]
    found = []
    for name in names or BASELINES:
        note = f"fitted on {len(measured):,} training rows"
        if seen:
            note += f" ({seen:,} more hold pairs that are judged, left out)"
        if not keep.all():
            note += f"; on the {len(kept):,} rows with readable sequences"
        try:
            predicted = BASELINES[name]().fit(measured).predict_pkd(kept)
        except ParatopeError as error:
            found.append(Reference(name, f"not fitted: {error}", {}))
        else:
            found.append(_judge(name, note, rows, np.asarray(predicted)))
    return found
