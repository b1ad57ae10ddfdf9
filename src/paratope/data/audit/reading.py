"""What the reader of measured values makes of a table: rates, types, units, one meaning twice."""

from collections.abc import Iterator

import numpy as np

from paratope.core.errors import InputError
from paratope.data.audit.relations import check_columns
from paratope.data.audit.table import AuditedTable
from paratope.data.audit.values import check_units
from paratope.data.findings import Finding
from paratope.data.tables.values import ABSOLUTE, SpreadError, canonical_of, numbers_of, read_values

# Kd and the quotient of the rates beside it agree better than this (log10) where both are right.
RATE_AGREEMENT = 0.5


def check_reading(table: AuditedTable) -> Iterator[Finding]:
    """Values that other columns of the table say to be no Kd, of another unit, or turned."""
    columns, rows, refusal = table.reading
    names = columns.columns
    first = next(iter(names.values()), "")
    if isinstance(refusal, SpreadError):
        column = names.get("score") if refusal.code == "direction" else columns.rates[1] or first
        message = str(refusal).removeprefix(f"{table.name}: ")
        yield table.finding(refusal.code, column or first, message, table.rows, severity="error")
    if columns.left_out:
        yield table.finding("direction", names["score"], columns.left_out, table.rows)
    absolute = [key for key in names if canonical_of(key) in ABSOLUTE]
    problems: dict[str, dict[int, str]] = {}
    pkds = np.full(table.rows, np.nan)
    for index, row in enumerate(rows):
        problem = row.problem
        if problem is None and (len(absolute) > 1 or all(columns.rates)):
            try:
                pkds[index] = read_values(row.cells, names).pkd or np.nan
            except SpreadError as disagreement:
                problem = disagreement
            except InputError:
                continue
        if problem is not None:
            problems.setdefault(problem.code, {})[index] = str(problem)
    if any(True for _ in check_columns(table)):
        problems.pop("columns_disagree", None)
    if any(finding.code == "unit_column" for finding in check_units(table)):
        problems.pop("unit_column", None)
    for code, texts in problems.items():
        indices = list(texts)
        message = f"{len(indices)} of {table.rows} rows are not read: {texts[indices[0]]}"
        column = columns.roles.get("value_type", first) if code == "not_kd" else first
        shown = table.shown(indices)
        yield table.finding(code, column, message, indices, shown, severity="error")
    if all(columns.rates) and rows:
        yield from _rates(table, pkds)
    for role in ("relation", "unit"):
        if role in columns.roles and "split_value" not in problems:
            column = columns.roles[role]
            filled = np.flatnonzero([bool(text) for text in table.frame[column]])
            message = f"the {role} of {first!r} stands in column {column!r}"
            yield table.finding("split_value", column, message, filled)


def _rates(table: AuditedTable, pkds: np.ndarray) -> Iterator[Finding]:
    """A Kd beside its rates: whether one may be taken for the other, and whether they agree."""
    on, off = table.reading.columns.rates
    assert on is not None
    assert off is not None
    rates = [numbers_of([text or "" for text in table.frame[name]]) for name in (on, off)]
    with np.errstate(divide="ignore", invalid="ignore"):
        gap = np.abs(pkds + np.log10(rates[1] / rates[0]))
    wrong = np.flatnonzero(gap > RATE_AGREEMENT)
    columns = table.reading.columns.columns
    if columns.get("kd_M") == f"{off} / {on}":
        message = f"no column holds Kd: it is read as {off} / {on}"
    elif len(wrong) > 0.5 * np.isfinite(gap).sum():
        message = f"{off} / {on} is not the Kd beside it in {len(wrong)} rows"
    elif off.strip().lower() in ("kd", "k_d"):
        held = next(iter(columns.values()), "")
        message = f"column {off!r} beside {on!r} holds off rates, and {held!r} the Kd"
    else:
        return
    yield table.finding("rate_column", off, message, wrong if len(wrong) else table.rows)
