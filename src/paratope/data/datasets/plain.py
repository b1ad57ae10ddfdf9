"""A user's own table of measurements, in any format and under any known column names."""

import dataclasses
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from paratope.core.censoring import Censoring
from paratope.core.errors import InputError
from paratope.data.datasets.dataset import Dataset, Imported, tally
from paratope.data.measurements import Measurement
from paratope.data.tables import TableRow, read_table
from paratope.molecules.sequences import Antigen, clean_antigen

SHOWN_ERRORS = 5


def import_table(
    path: Path,
    *,
    columns: Mapping[str, str] | None = None,
    antigens: tuple[Antigen, ...] | None = None,
    licence: str = "own",
) -> Imported:
    """Measurements of a table of the user's.

    Parameters
    ----------
    path : Path
        CSV, TSV, Parquet or XLSX.
    columns : mapping of str to str, optional
        Canonical name to the user's column, where the name is not known.
    antigens : tuple of Antigen, optional
        For a table without an antigen column.
    licence : str
        Terms of the rows.

    Returns
    -------
    Imported
        A bad row does not stop the table: it is counted, and the first few are in the notes.

    Raises
    ------
    InputError
        If the file is no table, lacks a needed column, or not one row can be read.
    """
    table = read_table(path, columns=columns, antigens=antigens, require="measured")
    measurements: list[Measurement] = []
    counts: Counter[str] = Counter()
    for row in table.rows:
        counts[_fate(row)] += 1
        if row.measurement is not None:
            origin = dataclasses.replace(row.measurement.origin, licence=licence)
            measurements.append(dataclasses.replace(row.measurement, origin=origin))
    errors = [row.error for row in table.rows if row.error is not None]
    if not measurements:
        raise InputError(f"{path}: no row can be read; the first error: {errors[0]}")
    notes = (*table.notes, *errors[:SHOWN_ERRORS])
    if len(errors) > SHOWN_ERRORS:
        notes = (*notes, f"… and {len(errors) - SHOWN_ERRORS} more rows in error")
    return Imported(tuple(measurements), tally(counts), notes)


def _fate(row: TableRow) -> str:
    if row.measurement is None:
        return "in error"
    if row.measurement.censoring is not Censoring.EXACT:
        return "censored"
    if row.measurement.pkd is None and row.measurement.score is not None:
        return "score"
    return "measured"


def load(path: Path, *, as_published: bool = False, antigen: str = "") -> Imported:
    """A user's table; `path` is the table itself."""
    del as_published
    antigens = (clean_antigen(antigen, "antigen")[0],) if antigen else None
    return import_table(path, antigens=antigens)


PLAIN = Dataset(
    "plain",
    "Format: your own table, columns as `paratope predict` and `train` know them (give the table)",
    "own",
    permissive=True,
    may_train=True,
    files=(),
    citation="",
    load=load,
)
