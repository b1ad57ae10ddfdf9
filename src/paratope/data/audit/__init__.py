"""What is wrong with a table, and how sure: units, floors, flags, conflicts, duplicates, shortcuts.

`audit` reads any table, with or without sequences, and hands back an `AuditReport`. Checks of one
table are in ``TABLE_CHECKS``; `paratope.data.audit.overlap.check_tables` compares several.

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

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from paratope.core.errors import InputError
from paratope.data.audit.masses import check_few_values, check_masses
from paratope.data.audit.molecules import check_antibodies, check_antigen_names, check_readable
from paratope.data.audit.overlap import check_tables
from paratope.data.audit.relations import check_assays, check_columns, check_displaced_rows
from paratope.data.audit.report import AuditReport, Finding, TableSummary, ordered
from paratope.data.audit.rows import check_cells, check_dominance, check_duplicates
from paratope.data.audit.scales import check_double_log, check_islands, check_units
from paratope.data.audit.shortcuts import check_copies, check_lengths
from paratope.data.audit.subject import Subject, read_subject
from paratope.data.tables import as_frame, read_frame

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["TABLE_CHECKS", "AuditReport", "Finding", "TableSummary", "audit"]

TABLE_CHECKS: dict[str, Callable[[Subject], Iterator[Finding]]] = {
    "cells": check_cells,
    "units": check_units,
    "columns": check_columns,
    "assays": check_assays,
    "displaced rows": check_displaced_rows,
    "islands": check_islands,
    "double logarithm": check_double_log,
    "masses": check_masses,
    "few values": check_few_values,
    "readable": check_readable,
    "antibodies": check_antibodies,
    "antigen names": check_antigen_names,
    "duplicates": check_duplicates,
    "dominance": check_dominance,
    "lengths": check_lengths,
    "copies": check_copies,
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
    subjects = [_subject(table, number) for number, table in enumerate(tables, start=1)]
    findings: list[Finding] = []
    for subject in subjects:
        for check in TABLE_CHECKS.values():
            findings += check(subject)
    findings += check_tables(subjects)
    return AuditReport(ordered(findings), tuple(_summary(subject) for subject in subjects))


def _subject(table: Any, number: int) -> Subject:
    if isinstance(table, str | Path):
        name, frame = str(table), read_frame(table).frame
    else:
        name = f"table {number}"
        frame = as_frame(table, name=name)
    if frame.height == 0:
        raise InputError(f"{name}: no rows to audit; columns found: {', '.join(frame.columns)}")
    return read_subject(name, frame)


def _summary(subject: Subject) -> TableSummary:
    roles = {name: role for role, name in subject.roles.items()}
    kinds: dict[str, str] = {column.name: column.kind for column in subject.values}
    columns = {name: roles.get(name) or kinds.get(name, "") for name in subject.frame.columns}
    return TableSummary(subject.name, subject.rows, columns)
