"""What is wrong with a table, and how sure: units, floors, flags, conflicts, duplicates, shortcuts.

`audit` reads any table, with or without sequences, and hands back an `AuditReport`. Each check is
one function in ``TABLE_CHECKS``, each code one line of ``faults.csv``;
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
from paratope.data.audit import molecules, relations, rows, values
from paratope.data.audit.report import CASES, FAULTS, AuditReport, TableSummary
from paratope.data.audit.table import AuditedTable, read_audited
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

Check = Callable[[AuditedTable], Iterator[Finding]]
# A campaign is told of these, too: they would teach its model something wrong.
VALUE_CHECKS: tuple[Check, ...] = (
    values.check_units,
    relations.check_columns,
    relations.check_ddg_column,
    relations.check_assays,
    relations.check_displaced_rows,
    values.check_clusters,
    values.check_double_log,
    values.check_point_masses,
    values.check_few_values,
)
TABLE_CHECKS: tuple[Check, ...] = (
    rows.check_cells,
    rows.check_ids,
    values.check_reading,
    *VALUE_CHECKS,
    molecules.check_readable,
    molecules.check_antigen_cells,
    molecules.check_antibodies,
    molecules.check_halves,
    molecules.check_spelt_cells,
    molecules.check_antigen_names,
    molecules.check_fragments,
    molecules.check_mutations,
    molecules.check_spellings,
    rows.check_duplicates,
    rows.check_conflicts,
    rows.check_near_duplicates,
    rows.check_dominance,
    rows.check_lengths,
    rows.check_copies,
)
MAX_NOTES = 6
# The reading of a campaign's rows tells these itself.
_NOT_NOTED = ("impossible_value", "assay_offset")


def audit(*tables: "str | Path | pl.DataFrame | pd.DataFrame") -> AuditReport:
    """Look for everything that may be wrong with one or several tables.

    Several (paths, polars or pandas frames) are also compared with each other where they share
    pairs or antibodies.

    Raises
    ------
    InputError
        If no table is given, or one cannot be read or has no rows.
    """
    if not tables:
        raise InputError("audit: no table given")
    audited = []
    for index, source in enumerate(tables, start=1):
        if isinstance(source, str | Path):
            name, frame = str(source), read_frame(source).frame
        else:
            name = f"table {index}"
            frame = as_frame(source, name=name)
        if frame.height == 0:
            raise InputError(f"{name}: no rows to audit; columns found: {', '.join(frame.columns)}")
        audited.append(read_audited(name, frame))
    findings = [finding for table in audited for check in TABLE_CHECKS for finding in check(table)]
    findings += relations.check_tables(audited)
    summaries = []
    for table in audited:
        meanings: dict[str, str] = {column.name: column.kind for column in table.values}
        meanings |= {name: role for role, name in table.roles.items()}
        columns = {name: meanings.get(name, "") for name in table.frame.columns}
        summaries.append(TableSummary(table.name, table.rows, columns))
    return AuditReport(ordered(findings), tuple(summaries))


def audit_notes(source: InputTable | Sequence[Measurement]) -> tuple[str, ...]:
    """What may be wrong with a campaign's values, the gravest first, each with what to do.

    >>> import dataclasses
    >>> from paratope.data.datasets.simulated import simulate
    >>> rows = simulate(antibodies=120, antigens=1, seed=1).measurements
    >>> audit_notes(rows)
    ()
    >>> floored = [dataclasses.replace(row, pkd=max(row.pkd or 0.0, 7.0)) for row in rows]
    >>> print(audit_notes(floored)[0].rpartition(". ")[2])
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
    findings = [
        finding
        for check in VALUE_CHECKS
        for finding in check(table)
        if finding.severity != "info" and finding.code not in _NOT_NOTED
    ]
    notes = []
    for finding in ordered(findings)[:MAX_NOTES]:
        column = names.get(finding.column, finding.column)
        first = next((text for text in finding.examples if text.startswith("row")), "")
        notes.append(
            (f"column {column!r}: " if column else "")
            + finding.message
            + (f"; first {first}" if first else "")
            + f". {CASES.get(f'{finding.code}:campaign', finding).advice}"
        )
    if (more := len(findings) - MAX_NOTES) > 0:
        notes.append(f"{more} more things look doubtful: paratope data audit TABLE")
    return tuple(notes)
