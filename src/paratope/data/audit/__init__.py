"""What is wrong with a table, and how sure: units, floors, flags, conflicts, duplicates, shortcuts.

`audit` reads any table, with or without sequences, and hands back an `AuditReport`. Each check is
one function in ``TABLE_CHECKS``, each code of a finding one line of ``faults.csv``;
`paratope.data.audit.relations.check_tables` compares several tables.

>>> from paratope.data.datasets.simulated import simulate
>>> import polars as pl
>>> rows = simulate(antibodies=150, antigens=1, seed=1).measurements
>>> frame = pl.DataFrame({
...     "heavy": [row.pair.antibody.heavy for row in rows],
...     "pkd": [max(row.pkd, 7.0) for row in rows],
... })
>>> for finding in audit(frame).of("floor"):
...     print(finding.severity, finding.column, finding.advice)
error pkd Write <7 in these rows: bounds (too weak to measure), not measurements.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from paratope.core.errors import InputError
from paratope.data.audit.molecules import check_antibodies, check_antigen_names, check_readable
from paratope.data.audit.relations import (
    check_assays,
    check_columns,
    check_displaced_rows,
    check_tables,
)
from paratope.data.audit.report import FAULTS, AuditReport, TableSummary
from paratope.data.audit.rows import check_cells, check_dominance, check_duplicates
from paratope.data.audit.shortcuts import check_copies, check_lengths
from paratope.data.audit.table import AuditedTable, read_audited
from paratope.data.audit.values import (
    check_clusters,
    check_double_log,
    check_few_values,
    check_point_masses,
    check_units,
)
from paratope.data.findings import Finding, ordered
from paratope.data.measurements import Measurement
from paratope.data.tables import InputTable, as_frame, frame_from_measurements, read_frame

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "FAULTS",
    "TABLE_CHECKS",
    "AuditReport",
    "Finding",
    "TableSummary",
    "audit",
    "audit_notes",
]

# Of these a campaign is told, too: they would teach its model something wrong.
VALUE_CHECKS: dict[str, Callable[[AuditedTable], Iterator[Finding]]] = {
    "units": check_units,
    "columns": check_columns,
    "assays": check_assays,
    "displaced rows": check_displaced_rows,
    "clusters": check_clusters,
    "double logarithm": check_double_log,
    "point masses": check_point_masses,
    "few values": check_few_values,
}
TABLE_CHECKS: dict[str, Callable[[AuditedTable], Iterator[Finding]]] = {
    "cells": check_cells,
    **VALUE_CHECKS,
    "readable": check_readable,
    "antibodies": check_antibodies,
    "antigen names": check_antigen_names,
    "duplicates": check_duplicates,
    "dominance": check_dominance,
    "lengths": check_lengths,
    "copies": check_copies,
}
MAX_NOTES = 6
# Said of impossible values and of offsets where a campaign's rows are read.
_NOT_NOTED = ("impossible_value", "assay_offset")
# What to do about a mass of one value in a campaign, where the usual advice is of any table.
_CAMPAIGN_ADVICE = {
    "flag": "If it stands for 'too weak to measure', write it as a bound (<7 for a pKd of at most "
    "7); if for something else, leave these rows out.",
    "few_values": "Such values are classes: the order within one is unknown, and so is what lies "
    "between.",
}


def audit(*tables: "str | Path | pl.DataFrame | pd.DataFrame") -> AuditReport:
    """Look for everything that may be wrong with one or several tables.

    Parameters
    ----------
    *tables : path, polars or pandas frame
        Several tables are also compared with each other where they share pairs or antibodies.

    Returns
    -------
    AuditReport

    Raises
    ------
    InputError
        If no table is given, or one cannot be read or has no rows.
    """
    if not tables:
        raise InputError("audit: no table given")
    audited = []
    for number, source in enumerate(tables, start=1):
        if isinstance(source, str | Path):
            name, frame = str(source), read_frame(source).frame
        else:
            name = f"table {number}"
            frame = as_frame(source, name=name)
        if frame.height == 0:
            raise InputError(f"{name}: no rows to audit; columns found: {', '.join(frame.columns)}")
        audited.append(read_audited(name, frame))
    found = [
        finding for table in audited for check in TABLE_CHECKS.values() for finding in check(table)
    ]
    found += check_tables(audited)
    return AuditReport(ordered(found), tuple(_summary(table) for table in audited))


def _summary(table: AuditedTable) -> TableSummary:
    meanings: dict[str, str] = {column.name: column.kind for column in table.values}
    meanings |= {name: role for role, name in table.roles.items()}
    columns = {name: meanings.get(name, "") for name in table.frame.columns}
    return TableSummary(table.name, table.rows, columns)


def audit_notes(source: InputTable | Sequence[Measurement]) -> tuple[str, ...]:
    """What may be wrong with a campaign's values, each with what to do; nothing is changed.

    Parameters
    ----------
    source : InputTable, or sequence of Measurement

    Returns
    -------
    tuple of str
        Gravest first.

    Examples
    --------
    >>> import dataclasses
    >>> from paratope.data.datasets.simulated import simulate
    >>> rows = simulate(antibodies=120, antigens=1, seed=1).measurements
    >>> audit_notes(rows)
    ()
    >>> floored = [dataclasses.replace(row, pkd=max(row.pkd or 0.0, 7.0)) for row in rows]
    >>> (note,) = audit_notes(floored)
    >>> print(note.rpartition(". ")[2])
    Write <7 in these rows: bounds (too weak to measure), not measurements.
    """
    if isinstance(source, InputTable):
        names = source.columns
        frame = source.frame.select(
            pl.col(name).cast(pl.String).alias(canonical) for canonical, name in names.items()
        )
    else:
        frame = frame_from_measurements(source)
        names = {name: name for name in frame.columns}
    table = read_audited("the table", frame)
    found = [
        finding
        for check in VALUE_CHECKS.values()
        for finding in check(table)
        if finding.severity != "info" and finding.code not in _NOT_NOTED
    ]
    notes = []
    for finding in ordered(found)[:MAX_NOTES]:
        column = names.get(finding.column, finding.column)
        rows = [text for text in finding.examples if text.startswith("row")]
        notes.append(
            (f"column {column!r}: " if column else "")
            + finding.message
            + (f"; first {rows[0]}" if rows else "")
            + f". {_CAMPAIGN_ADVICE.get(finding.code, finding.advice)}"
        )
    if len(found) > MAX_NOTES:
        notes.append(
            f"{len(found) - MAX_NOTES} more things look doubtful: paratope data audit TABLE"
        )
    return tuple(notes)
