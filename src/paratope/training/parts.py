"""Which measurements train, validate and test: by a kind of split or by a file."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from paratope.core.errors import InputError, TrainingError
from paratope.data.measurements import Measurement
from paratope.data.splits import split_measurements
from paratope.data.tables import read_frame

PARTS = ("train", "validation", "test")
# With fewer different antigens than this, a split by antigen cannot fill the parts.
_MIN_ANTIGENS = len(PARTS)


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
        return _split(measurements, split, seed), split
    antigens = {measurement.pair.antigen.chains for measurement in measurements}
    kinds = (
        ("antigen", "antibody", "random")
        if len(antigens) >= _MIN_ANTIGENS
        else (
            "antibody",
            "random",
        )
    )
    failure = InputError("there are no measurements to split")
    for kind in kinds:
        try:
            return _split(measurements, kind, seed), kind
        except InputError as error:
            failure = error  # too few groups of this kind: the next kind is less strict
    raise failure


def _split(measurements: Sequence[Measurement], kind: str, seed: int) -> np.ndarray:
    return split_measurements(measurements, kind, seed=seed).assignment.astype(str)


def _parts_in_file(path: Path, ids: Sequence[str]) -> np.ndarray:
    table = read_frame(path)
    frame = table.frame
    if "split" not in frame.columns:
        raise TrainingError(
            f"{path}: no column split; a split file has a column split and the rows' id (or the "
            f"table's own rows in order), found {', '.join(frame.columns)}"
        )
    numbers = [str(number) for number in range(1, len(frame) + 1)]
    own_ids = frame[table.columns["id"]].to_list() if "id" in table.columns else numbers
    part: dict[str, str] = {}
    for one, value in zip(own_ids, frame["split"].to_list(), strict=True):
        name = str(value or "")
        if name not in ("", *PARTS):
            raise TrainingError(
                f"{path}: column split holds {name!r}; expected {', '.join(PARTS)}, or nothing "
                "for rows to be left out"
            )
        if part.setdefault(str(one), name) != name:
            raise TrainingError(f"{path}: id {one!r} is in two parts, {part[str(one)]} and {name}")
    if not set(ids) & set(part):
        raise TrainingError(f"{path}: none of its ids is in the table; it is of another table")
    return np.array([part.get(one, "") for one in ids], dtype=str)
