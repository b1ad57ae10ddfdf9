"""What a model must beat on the same rows, and how good any model could look on them."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from paratope.core.censoring import Censoring
from paratope.core.errors import InputError, ParatopeError
from paratope.data.measurements import Measurement
from paratope.data.tables import match_columns, read_table, table_from_frame
from paratope.evaluation.baselines import BASELINES
from paratope.evaluation.bootstrap import group_codes
from paratope.evaluation.breakdowns import within_antigen_spearman
from paratope.evaluation.metrics import METRICS, EvaluationRows, Floats
from paratope.evaluation.predictions import PredictionTable
from paratope.molecules.sequences import Pair

WITHIN_ANTIGEN = "within_antigen_spearman"
# A run's own training rows are fitted on unasked: of more than this, an even sample, for the time.
MAX_RUN_ROWS = 20_000
REFERENCE_METRICS = ("spearman", "pearson", "rmse", "mae", "r2", "auroc", "within_one_log_percent")


@dataclasses.dataclass(frozen=True, slots=True)
class Reference:
    """A simple predictor's metrics on the judged rows."""

    name: str
    note: str  # What it was made from, or why it could not be
    values: Mapping[str, float]  # `WITHIN_ANTIGEN` and others; empty where it could not be made
    fitted: bool = False  # A baseline that was fitted on training rows


def _reference(
    name: str, note: str, table: PredictionTable, predicted: ArrayLike, fitted: bool = False
) -> Reference:
    rows = table.rows
    bare = EvaluationRows(rows.measured, np.broadcast_to(predicted, len(rows)), rows.censoring)
    values = {WITHIN_ANTIGEN: within_antigen_spearman(dataclasses.replace(table, rows=bare))}
    values |= {key: METRICS[key](bare) for key in REFERENCE_METRICS}
    return Reference(name, note, values, fitted)


def table_references(table: PredictionTable, train: PredictionTable | None) -> list[Reference]:
    """Constants (of all judged rows: the best in hindsight) and group means.

    From training rows, or else from the table without the row itself.
    """
    rows = table.rows
    exact = rows.exact() if len(rows.exact()) else rows
    note = "mean of these very rows"
    references = [_reference("constant (hindsight)", note, table, exact.measured.mean())]
    if train is not None:
        train = train.take(train.rows.censoring == Censoring.EXACT)
        train = train if len(train) else None
    mean = math.nan
    if train is not None:
        mean = float(train.rows.measured.mean())
        note = f"mean of {len(train):,} training rows"
        references.append(_reference("constant", note, table, mean))
    for role in ("antigen", "assay", "source"):
        labels = table.labels[role].tolist() if role in table.labels else []
        if len(set(labels)) < 2:
            continue
        if train is not None and role in train.labels:
            codes, _ = group_codes(train.labels[role])
            means = np.bincount(codes, train.rows.measured) / np.bincount(codes)
            by_label = dict(zip(dict.fromkeys(train.labels[role].tolist()), means, strict=True))
            known = sum(label in by_label for label in labels)
            predicted = np.array([by_label.get(label, mean) for label in labels])
            note = f"mean of its training rows; {known:,} of {len(labels):,} rows have any"
        else:
            # the mean of the other exact rows with the same label, or of all others if none has it
            exact, codes = rows.censoring == Censoring.EXACT, group_codes(labels)[0]
            kept = np.where(exact, rows.measured, 0.0)
            sums = np.bincount(codes, kept)[codes] - kept
            counts = np.bincount(codes, exact)[codes] - exact
            overall = (kept.sum() - kept) / np.maximum(exact.sum() - exact, 1)
            predicted = np.where(counts > 0, sums / np.maximum(counts, 1), overall)
            note = (
                f"mean of the other rows of the same {role} in this table, measured ones included"
            )
        reference = _reference(f"{role} mean", note, table, predicted)
        if train is None or role not in train.labels:
            # a mean without the row itself is low where the row is high: no ranking of a level
            values = {**reference.values, WITHIN_ANTIGEN: math.nan}
            reference = dataclasses.replace(reference, values=values)
        references.append(reference)
    return references


def pairs_of(table: PredictionTable) -> tuple[Pair | None, ...] | None:
    """Pairs of the rows from their sequence columns; None without these columns."""
    if not {"heavy", "antigen"} <= set(table.labels):
        return None
    roles = [role for role in ("heavy", "light", "antigen") if role in table.labels]
    frame = pl.DataFrame({role: table.labels[role].tolist() for role in roles})
    return tuple(row.pair for row in table_from_frame(frame).rows)


def measurements_of(table: PredictionTable) -> tuple[Measurement, ...]:
    """Measurements of the rows that have sequences."""
    assays = table.labels.get("assay", np.full(len(table), "")).tolist()
    columns = (pairs_of(table) or (), table.rows.measured, table.rows.censoring, assays)
    return tuple(
        Measurement(pair, float(value), Censoring(censoring), assay=str(assay))
        for pair, value, censoring, assay in zip(*columns, strict=False)
        if pair is not None
    )


def _training_rows(file: str | Path) -> tuple[list[Measurement], bool]:
    """Measurements of a file, of its ``train`` rows where it has a split; whether it has one."""
    read = read_table(file, require="measured")
    split = match_columns(read.frame.columns, wanted=("split",)).get("split")
    parts = read.frame[split].cast(pl.String).fill_null("").to_list() if split else []
    parts = [part.strip().lower() for part in parts]
    chosen = {"train", "training"} & set(parts)
    rows = [
        row.measurement
        for row in read.rows
        if row.measurement is not None and (not chosen or parts[row.index] in chosen)
    ]
    return rows, bool(chosen)


def fitted_references(
    table: PredictionTable,
    train: PredictionTable | None,
    train_file: str | Path | None = None,
) -> list[Reference]:
    """Every baseline of `BASELINES`, fitted on training rows.

    `table` holds the rows to judge, `train` the training rows of the same table. Instead of these
    a `train_file` is fitted on, or else what the run of the table was trained on: ``train`` rows
    where there is a split, without the pairs that are judged. Without sequences nothing can be
    fitted; of a file the only entry says so. Raises `InputError` if the file trains on what the run
    held out.
    """
    pairs, file = pairs_of(table), train_file or table.run_split
    if file is None and (train is None or pairs is None):
        return []
    if pairs is None:
        why = f"the judged table has no columns heavy and antigen, so {Path(str(file)).name} is of"
        return [Reference("fitted baselines", f"not fitted: {why} no use", {})]
    seen, note = 0, ""
    if file is not None:
        every, has_split = _training_rows(file)
        judged = {pair.residues for pair in pairs if pair is not None}
        if train_file is not None and table.run_split is not None and has_split:
            held_out = judged - {row.pair.residues for row in _training_rows(table.run_split)[0]}
            shared = held_out & {row.pair.residues for row in every}
            if shared:
                raise InputError(
                    f"--train {train_file} contradicts the run's own split: {len(shared):,} of "
                    f"{len(held_out):,} pairs that the run held out are 'train' in it. Leave out "
                    f"--train: the run's own training rows are in {table.run_split} and are fitted "
                    "on"
                )
        measurements = [row for row in every if row.pair.residues not in judged]
        seen = len(every) - len(measurements)
        if train_file is None and len(measurements) > MAX_RUN_ROWS:
            note = f" (an even sample of {len(measurements):,})"
            kept = np.linspace(0, len(measurements) - 1, MAX_RUN_ROWS).astype(int)
            measurements = [measurements[row] for row in kept]
    else:
        assert train is not None
        measurements = measurements_of(train)
    measured = [row for row in measurements if row.pkd is not None]
    if not measured and seen:
        note = f"not fitted: all {seen:,} training rows hold pairs that are judged"
        return [Reference("fitted baselines", note, {})]
    of_run = " of the run" if train_file is None and table.run_split is not None else ""
    note = f"fitted on {len(measured):,} training rows{of_run}{note}"
    if seen:
        note += f" ({seen:,} more hold pairs that are judged, left out)"
    return _fitted(table, pairs, measured, note)


def _fitted(
    table: PredictionTable,
    pairs: Sequence[Pair | None],
    measured: Sequence[Measurement],
    note: str,
) -> list[Reference]:
    """Every baseline, fitted on measurements and judged on the rows with readable pairs."""
    keep = np.array([pair is not None for pair in pairs])
    if not measured or not keep.any():
        return []
    table, readable = table.take(keep), [pair for pair in pairs if pair is not None]
    if not keep.all():
        note += f"; on the {len(readable):,} rows with readable sequences"
    references = []
    for name, baseline in BASELINES.items():
        try:
            predicted = baseline().fit(measured).predict_pkd(readable)
        except ParatopeError as error:
            references.append(Reference(name, f"not fitted: {error}", {}))
        else:
            references.append(_reference(name, note, table, predicted, fitted=True))
    return references


@dataclasses.dataclass(frozen=True, slots=True)
class NoiseCeiling:
    """Measurement noise seen in replicates of the same pair."""

    pairs: int  # Pairs measured more than once
    rows: int  # Their rows
    sd: float  # Standard deviation of one measurement about its pair's mean, log10 units
    sd_within_assay: float  # The same inside one assay; NaN without such replicates
    rmse_floor: float  # RMSE of a perfect model against single measurements: `sd`
    pearson_ceiling: float  # Correlation of a perfect model: √(1 - sd² / variance of measured)


def _pooled_sd(values: Floats, codes: NDArray[np.int64]) -> tuple[float, int, int]:
    """Standard deviation within codes, √(Σ (y - mean)² / Σ (n - 1)); repeated codes, their rows."""
    counts = np.bincount(codes)
    means = np.bincount(codes, values) / counts
    repeated = counts > 1
    freedom = int((counts[repeated] - 1).sum())
    if freedom == 0:
        return math.nan, 0, 0
    sd = math.sqrt(float(((values - means[codes]) ** 2).sum()) / freedom)
    return sd, int(repeated.sum()), int(counts[repeated].sum())


def noise_ceiling(table: PredictionTable) -> NoiseCeiling | None:
    """Noise from replicates, exact rows with the same sequences; None without any."""
    table = table.take(table.rows.censoring == Censoring.EXACT)
    if not {"heavy", "antigen"} <= set(table.labels) or not len(table):
        return None
    roles = [role for role in ("heavy", "light", "antigen") if role in table.labels]
    codes, _ = group_codes(list(zip(*(table.labels[role] for role in roles), strict=True)))
    sd, pairs, rows = _pooled_sd(table.rows.measured, codes)
    if pairs == 0:
        return None
    inside = math.nan
    if "assay" in table.labels:
        by_assay, _ = group_codes(list(zip(codes, table.labels["assay"], strict=True)))
        inside = _pooled_sd(table.rows.measured, by_assay)[0]
    variance = float(table.rows.measured.var())
    ceiling = math.sqrt(max(0.0, 1 - sd**2 / variance)) if variance > 0 else math.nan
    return NoiseCeiling(pairs, rows, sd, inside, sd, ceiling)
