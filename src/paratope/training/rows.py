"""Rows of a table that a recipe can train on, and which of them train, validate and test."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from paratope.core.errors import EncoderError, InputError, TrainingError
from paratope.data.measurements import Measurement
from paratope.data.splits import split_measurements
from paratope.data.tables import InputTable, parse_columns, read_frame, read_table
from paratope.encoders import Encoder, load_encoder
from paratope.models.network_model import fit_pair
from paratope.models.recipes import Recipe

PARTS = ("train", "validation", "test")
# With fewer different antigens than this, a split by antigen cannot fill the parts.
_MIN_ANTIGENS = len(PARTS)


@dataclasses.dataclass(frozen=True, slots=True)
class UsableRows:
    """Rows of a table that can be trained on.

    Attributes
    ----------
    ids : tuple of str
    measurements, cut : tuple of Measurement
        As read, and as cut to what the encoders see.
    left_out : dict of str to int
        Rows that could not be used, by why.
    notes : dict of str to int
        What was changed in rows, and in how many.
    """

    ids: tuple[str, ...]
    measurements: tuple[Measurement, ...]
    cut: tuple[Measurement, ...]
    left_out: dict[str, int]
    notes: dict[str, int]


@dataclasses.dataclass(frozen=True, slots=True)
class TrainingRows:
    """What a table holds for a recipe: usable rows in parts, and the encoders that read them.

    Attributes
    ----------
    encoders : tuple of Encoder
        Of antibodies and of antigens.
    usable : UsableRows
    parts : ndarray of str, (n,)
        ``"train"``, ``"validation"`` or ``"test"``; empty for rows that a split file leaves out.
    split : str
        How the parts were found.
    table_notes : tuple of str
        What is to be known about the table as a whole.
    """

    encoders: tuple[Encoder, Encoder]
    usable: UsableRows
    parts: np.ndarray
    split: str
    table_notes: tuple[str, ...]

    @classmethod
    def read(cls, recipe: Recipe, device: str) -> "TrainingRows":
        """Read the table that the recipe's section ``data`` names.

        Raises
        ------
        InputError, TrainingError
            If the table cannot be read or split, or no row can be trained on.
        """
        data = recipe.data
        columns = parse_columns(data.columns) if data.columns else None
        table = read_table(data.table, columns=columns, require="measured")
        names = recipe.encoders
        encoders = load_encoder(names.antibody, device), load_encoder(names.antigen, device)
        usable = usable_rows(table, *encoders, names.max_residues)
        parts, split = parts_of(usable.measurements, usable.ids, data.split, recipe.training.seed)
        return cls(encoders, usable, parts, split, tuple(table.notes))


def usable_rows(
    table: InputTable, antibody_encoder: Encoder, antigen_encoder: Encoder, max_residues: int
) -> UsableRows:
    """Rows with a pKd and molecules the encoders take, cut to what these see.

    Raises
    ------
    TrainingError
        If there is none; the message tells the first row's error.
    """
    left_out: Counter[str] = Counter()
    notes: Counter[str] = Counter()
    errors: list[str] = []
    ids, kept, cut = [], [], []
    for row in table.rows:
        measurement = row.measurement
        if row.error is not None or measurement is None:
            left_out["rows in error"] += 1
            errors.append(row.error or f"row {row.id!r}: no measured value")
            continue
        if measurement.pkd is None:
            left_out["rows without a pKd"] += 1
            errors.append(f"row {row.id!r}: no pKd")
            continue
        try:
            pair, note = fit_pair(measurement.pair, antibody_encoder, antigen_encoder, max_residues)
        except EncoderError as error:
            left_out["rows refused by an encoder"] += 1
            errors.append(f"row {row.id!r}: {error}")
            continue
        if note:
            notes["rows cut to what the encoders see"] += 1
        ids.append(row.id)
        kept.append(measurement)
        cut.append(dataclasses.replace(measurement, pair=pair))
    if not kept:
        first = errors[0] if errors else "the table has no rows"
        raise TrainingError(f"{table.source}: no row can be trained on; first error: {first}")
    return UsableRows(tuple(ids), tuple(kept), tuple(cut), dict(left_out), dict(notes))


def parts_of(
    measurements: Sequence[Measurement], ids: Sequence[str], split: str, seed: int
) -> tuple[np.ndarray, str]:
    """Part of each measurement, and in words how it was found.

    Parameters
    ----------
    measurements : sequence of Measurement
    ids : sequence of str
        Identifiers of the measurements' rows, for a split file.
    split : str
        A kind of split, the path of a table with a column ``split``, or empty for the strictest
        kind the data allow: by antigen cluster, by antibody, random.
    seed : int

    Returns
    -------
    parts : ndarray of str, (n,)
        ``"train"``, ``"validation"``, ``"test"``; empty for rows that a file leaves out.
    how : str

    Raises
    ------
    TrainingError
        If no row is left to train on, or the file does not name the parts of these rows.
    InputError
        If the kind of split is unknown or cannot be made of these rows.
    """
    if split and Path(split).is_file():
        parts = _parts_in_file(Path(split), ids)
        how = f"file {split}"
    else:
        parts, how = _parts_by_kind(measurements, split, seed)
    if not (parts == "train").any():
        raise TrainingError(f"split by {how}: no row is in the part 'train'")
    return parts, how


def _parts_by_kind(
    measurements: Sequence[Measurement], split: str, seed: int
) -> tuple[np.ndarray, str]:
    if split:
        return split_measurements(measurements, split, seed=seed).assignment.astype(str), split
    antigens = {measurement.pair.antigen.chains for measurement in measurements}
    kinds = ("antigen", "antibody", "random")[len(antigens) < _MIN_ANTIGENS :]
    failure = InputError("there are no measurements to split")
    for kind in kinds:
        try:
            assignment = split_measurements(measurements, kind, seed=seed).assignment
            return assignment.astype(str), kind
        except InputError as error:
            failure = error  # too few groups of this kind: the next kind is less strict
    raise failure


def _parts_in_file(path: Path, ids: Sequence[str]) -> np.ndarray:
    table = read_frame(path)
    frame = table.frame
    if "split" not in frame.columns:
        raise TrainingError(
            f"{path}: no column split; a split file has a column split and the rows' id (or the "
            f"table's own rows in order), found {', '.join(frame.columns)}"
        )
    numbers = [str(number) for number in range(1, len(frame) + 1)]
    row_ids = frame[table.columns["id"]].to_list() if "id" in table.columns else numbers
    part: dict[str, str] = {}
    for row_id, value in zip(row_ids, frame["split"].to_list(), strict=True):
        name = str(value or "")
        if name not in ("", *PARTS):
            raise TrainingError(
                f"{path}: column split holds {name!r}; expected {', '.join(PARTS)}, or nothing "
                "for rows to be left out"
            )
        if part.setdefault(str(row_id), name) != name:
            raise TrainingError(
                f"{path}: id {row_id!r} is in two parts, {part[str(row_id)]} and {name}"
            )
    if not set(ids) & set(part):
        raise TrainingError(f"{path}: none of its ids is in the table; it is of another table")
    return np.array([part.get(row_id, "") for row_id in ids], dtype=str)
