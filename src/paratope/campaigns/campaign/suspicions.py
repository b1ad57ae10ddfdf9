"""What the audit suspects in a campaign's own table: floors taken for values, mixed-up units."""

from collections.abc import Callable, Iterator, Sequence

import polars as pl

from paratope.data.audit.masses import check_few_values, check_masses
from paratope.data.audit.relations import check_assays, check_columns, check_displaced_rows
from paratope.data.audit.report import Finding
from paratope.data.audit.scales import check_double_log, check_islands, check_units
from paratope.data.audit.subject import Subject, read_subject
from paratope.data.measurements import Measurement
from paratope.data.tables import InputTable, frame_from_measurements

# What would teach a model something wrong. Replicates that disagree, copies of rows and values that
# no assay can measure are told of where they are read.
_CHECKS: tuple[Callable[[Subject], Iterator[Finding]], ...] = (
    check_units,
    check_columns,
    check_assays,
    check_displaced_rows,
    check_islands,
    check_double_log,
    check_masses,
    check_few_values,
)
CODES = frozenset(
    {
        *("floor", "ceiling", "flag", "point_mass", "few_values"),
        *("unit_column", "unit_columns", "unit_rows", "unit_shift", "columns_disagree"),
        *("log_as_kd", "double_log", "unusual_range", "island", "dg_sign", "ddg_sign", "sign"),
    }
)
_MOST_NOTES = 6
# What to do about a mass of one value, where the audit's advice is of tables in general.
_ADVICE = {
    "flag": "If it stands for 'too weak to measure', write it as a bound (<7 for a pKd of at most "
    "7); if for something else, leave these rows out.",
    "few_values": "Such values are classes: the order within one is unknown, and so is what lies "
    "between.",
}


def suspicions(source: InputTable | Sequence[Measurement]) -> tuple[str, ...]:
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
    >>> suspicions(rows)
    ()
    >>> floored = [dataclasses.replace(row, pkd=max(row.pkd or 0.0, 7.0)) for row in rows]
    >>> (note,) = suspicions(floored)
    >>> print(note.rpartition(". ")[2])
    Write <7 in these rows: bounds (too weak to measure), not measurements.
    """
    if isinstance(source, InputTable):
        names = source.columns
        frame = source.frame.select(
            pl.col(own).cast(pl.String).alias(canonical) for canonical, own in names.items()
        )
    else:
        frame = frame_from_measurements(source)
        names = {name: name for name in frame.columns}
    subject = read_subject("the table", frame)
    found = [
        finding
        for check in _CHECKS
        for finding in check(subject)
        if finding.code in CODES and finding.severity != "info"
    ]
    found.sort(key=lambda finding: (finding.severity != "error", -finding.confidence))
    notes = [_note(finding, names) for finding in found[:_MOST_NOTES]]
    if len(found) > _MOST_NOTES:
        notes.append(
            f"{len(found) - _MOST_NOTES} more things look doubtful: paratope data audit TABLE"
        )
    return tuple(notes)


def _note(finding: Finding, names: dict[str, str]) -> str:
    column = names.get(finding.column, finding.column)
    where = f"column {column!r}: " if column else ""
    rows = [text for text in finding.examples if text.startswith("row")]
    first = f"; first {rows[0]}" if rows else ""
    advice = _ADVICE.get(finding.code, finding.advice)
    return f"{where}{finding.message}{first}. {advice}"
