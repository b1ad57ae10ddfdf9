"""Checks of measured values: units, impossible values, point masses, logs of logs, refusals."""

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np

from paratope.core.errors import InputError
from paratope.core.units import PKD_MAX_MEASURABLE, PKD_MIN_MEASURABLE
from paratope.data.audit.relations import FORMS, check_columns
from paratope.data.audit.table import AuditedTable, ValueColumn, is_continuous
from paratope.data.findings import (
    MIN_GAP,
    Finding,
    PointMass,
    UnitCluster,
    collapse,
    concise,
    outlying_cluster,
    percent,
    point_masses,
)
from paratope.data.tables.values import ABSOLUTE, SpreadError, canonical_of, numbers_of, read_values

UNITS = {0.0: "M", -3.0: "mM", -6.0: "uM", -9.0: "nM", -12.0: "pM"}
# where nearly all measured affinities lie
PLAUSIBLE_PKD = (3.0, 13.0)
MAX_DDG_KCAL_MOL = 12.0
# a column of Kd whose numbers are all of this size, within such a ratio, may hold pKd
PKD_AS_WRITTEN = (3.5, 13.0)
MAX_PKD_RATIO = 2.5
# Kd and the quotient of the rates beside it agree better than this (log10) where both are right.
RATE_AGREEMENT = 0.5

# Code, message and, where it is not the usual one, advice
UnitFault = tuple[str, str, str]


def check_units(table: AuditedTable) -> Iterator[Finding]:
    """Columns that cannot be in the unit their name says, and values no assay can measure."""
    for column in table.labels:
        values = column.values[column.exact]
        if len(values) < 5:
            continue
        rule = UNIT_RULES.get(column.kind)
        if rule is None or (fault := rule(column, values)) is None:
            yield from _impossible(table, column)
            continue
        code, message, advice = fault
        examples = [concise(value) for value in values[:5]]
        yield table.finding(code, column, message, len(values), examples, advice=advice)


def _pkd_unit(_: ValueColumn, values: np.ndarray) -> UnitFault | None:
    tail_low, low, middle, high, tail_high = np.quantile(values, [0.02, 0.25, 0.5, 0.75, 0.98])
    if PLAUSIBLE_PKD[0] - 0.5 <= middle <= PLAUSIBLE_PKD[1]:
        if values.min() <= 0 or tail_high < 500 * max(tail_low, 1e-300):
            return None
    if not (likely := _likely_forms(values, None)):
        return None
    half = f"(middle half {concise(low)} to {concise(high)})"
    return "unit_column", f"the values {half} are no pKd; they look like {' or '.join(likely)}", ""


def _kd_unit(column: ValueColumn, values: np.ndarray) -> UnitFault | None:
    below_zero, count = int((values <= 0).sum()), len(values)
    if below_zero > 0.02 * count and below_zero >= 3:
        share = f"{below_zero} of {count} values"
        return "log_as_kd", f"{share} are zero or negative: a Kd cannot be, its logarithm can", ""
    low, high = np.quantile(values, [0.02, 0.98])
    within = PKD_AS_WRITTEN[0] <= low and high <= PKD_AS_WRITTEN[1]
    if count >= 20 and within and high < MAX_PKD_RATIO * low:
        between = f"the values lie between {concise(low)} and {concise(high)}"
        few = "few assays span so little in Kd, and pKd look like this"
        return "log_as_kd:narrow", f"{between}: {few}", ""
    logs = column.logs()[column.exact]
    logs = logs[np.isfinite(logs)]
    if len(logs) < 5 or PLAUSIBLE_PKD[0] - 0.5 <= np.median(logs) <= PLAUSIBLE_PKD[1]:
        return None
    fitting, said = [], UNITS[column.unit_log10_M]
    for unit, name in UNITS.items():
        pkd = logs + column.unit_log10_M - unit
        if np.mean((pkd > PLAUSIBLE_PKD[0]) & (pkd < PLAUSIBLE_PKD[1])) > 0.9:
            fitting.append(name)
    median = f"a median pKd of {np.median(logs):.1f}, which no antibody has"
    plausible = f"; they are plausible as {' or '.join(fitting)}" if fitting else ""
    advice = f"Check the unit; {said} is what the column's name says."
    return "unit_column:kd", f"as {said} these values would be {median}{plausible}", advice


def _dg_unit(_: ValueColumn, values: np.ndarray) -> UnitFault | None:
    middle, positive = float(np.median(values)), float(np.mean(values > 0))
    if positive > 0.8 and middle > 2:
        return (
            "dg_sign",
            f"{percent(positive)} of the ΔG are positive: binding has a negative ΔG",
            "",
        )
    if middle >= -25:
        return None
    beyond = "beyond any antibody in kcal/mol: probably kJ/mol"
    return "unit_column:dg", f"the median ΔG is {concise(middle)}, {beyond}", ""


def _ddg_sign(_: ValueColumn, values: np.ndarray) -> UnitFault | None:
    moved = values[np.abs(values) > 1e-9]
    if len(moved) < 30:
        return None
    strengthening = float(np.mean(moved < 0))
    # most mutations weaken binding: a clear majority the other way is a turned sign
    margin = 0.5 + 3.0 * np.sqrt(0.25 / len(moved))
    if strengthening <= max(0.62, margin) or np.median(moved) >= -0.1:
        return None
    share = f"{100 * strengthening:.0f} % of the ΔΔG"
    return "ddg_sign", f"{share} are negative, as if most mutations strengthened binding", ""


UNIT_RULES: dict[str, Callable[[ValueColumn, np.ndarray], UnitFault | None]] = {
    "pkd": _pkd_unit,
    "kd": _kd_unit,
    "dg": _dg_unit,
    "ddg": _ddg_sign,
}


def _impossible(table: AuditedTable, column: ValueColumn) -> Iterator[Finding]:
    """Single values that no assay can measure."""
    logs, exact = column.logs(), column.exact
    if column.kind == "ddg":
        bad = exact & (np.abs(column.values) > MAX_DDG_KCAL_MOL)
        limits = f"beyond ±{MAX_DDG_KCAL_MOL:g} kcal/mol"
    elif column.is_affinity:
        bad = exact & ~((logs >= PKD_MIN_MEASURABLE) & (logs <= PKD_MAX_MEASURABLE))
        limits = f"outside a pKd of {PKD_MIN_MEASURABLE:g} to {PKD_MAX_MEASURABLE:g}"
    else:
        return
    if (cluster := _cluster(column)) is not None:
        bad[cluster.members] = False
    rows, good = np.flatnonzero(bad), exact & ~bad
    likely = _likely_forms(logs[rows], logs[good]) if len(rows) >= 3 and good.sum() >= 20 else []
    message = f"{len(rows)} of {int(exact.sum())} values are {limits}: no assay measures that"
    written = {row: column.values[row].item() for row in rows.tolist()}
    yield from table.about_rows("impossible_value", column, written, message + _would_fit(likely))


def _cluster(column: ValueColumn) -> UnitCluster | None:
    """The column's outlying cluster, its members as rows of the table."""
    logs = column.logs()
    rows = np.flatnonzero(column.exact & np.isfinite(logs))
    min_gap = MIN_GAP if column.is_affinity or column.kind == "ddg" else 0.0
    cluster = outlying_cluster(logs[rows], min_gap)
    return cluster and dataclasses.replace(cluster, members=rows[cluster.members])


def check_clusters(table: AuditedTable) -> Iterator[Finding]:
    """Rows that lie apart from all others: another unit, another scale, or flags."""
    for column in table.independent:
        if column.kind in ("number", "prediction"):
            continue
        cluster = _cluster(column)
        if cluster is None or len(set(column.values[cluster.members])) < 3:
            continue  # one or two repeated values are a flag, which the point masses tell
        rows, exact, logs = cluster.members, column.exact, column.logs()
        main = exact.copy()
        main[rows] = False
        apart, rest, total = column.values[rows], column.values[main], int(exact.sum())
        message = (
            f"{len(rows)} of {total} values ({percent(len(rows), total)}) lie apart, between "
            f"{concise(apart.min())} and {concise(apart.max())}; the others lie between "
            f"{concise(rest.min())} and {concise(rest.max())}"
        )
        possible = (logs[rows] >= PKD_MIN_MEASURABLE) & (logs[rows] <= PKD_MAX_MEASURABLE)
        group = _whole_group(table, rows, exact)
        if group and (not column.is_affinity or possible.mean() > 0.9):
            message += f"; they are all the rows of {group}"
            yield table.finding("outlying_cluster:group", column, message, rows)
            continue
        likely = _likely_forms(logs[rows], logs[main]) if column.is_affinity else []
        yield table.finding(
            "outlying_cluster",
            column,
            message + _would_fit(likely),
            rows,
            table.shown(rows, column.values.tolist()),
            severity="error" if column.is_affinity and possible.mean() < 0.9 else None,
            confidence=float(np.clip(0.7 - 0.03 * cluster.log10_p, 0.7, 0.99)),
        )


def _whole_group(table: AuditedTable, rows: np.ndarray, exact: np.ndarray) -> str:
    """Antigens, or very few pairs, whose rows a cluster consists of, if it cuts through none."""
    inside = np.isin(np.arange(table.rows), rows)
    for codes, noun, most in (
        (table.antigen_codes, "antigen", len(rows)),
        (table.pair_codes, "pair", 3),
    ):
        members = np.unique(codes[rows])
        if (members < 0).any() or len(members) > most or len(np.unique(codes[exact])) < 2:
            continue
        if inside[exact & np.isin(codes, members)].mean() >= 0.95:
            return f"one {noun}" if len(members) == 1 else f"{len(members)} {noun}s"
    return ""


def _likely_forms(values: np.ndarray, others: np.ndarray | None) -> list[str]:
    """What values may have been written as, so that they fit the others or any plausible pKd."""
    low, high = PLAUSIBLE_PKD if others is None else np.quantile(others, [0.005, 0.995])
    middle = 0.5 * (PLAUSIBLE_PKD[0] + PLAUSIBLE_PKD[1]) if others is None else np.median(others)
    fits = []
    for form in FORMS:
        name = form.written_as
        if not name or (others is None and "shifted" in name):
            continue
        pkd = form.function(values)
        inside = np.isfinite(pkd) & (pkd >= low - 0.5) & (pkd <= high + 0.5)
        # a Kd spans decades: numbers close together are none
        if inside.mean() > 0.9 and not ("Kd in" in name and np.nanstd(pkd) < 0.2):
            fits.append((abs(float(np.nanmedian(pkd)) - float(middle)), name))
    return [name for _, name in sorted(fits)[:3]]


def _would_fit(likely: list[str]) -> str:
    return f". They would fit the others if they were {' or '.join(likely[:2])}" if likely else ""


def check_double_log(table: AuditedTable) -> Iterator[Finding]:
    """A column that is itself the logarithm of logarithms, by its range and shape."""
    from scipy import stats

    for column in table.labels:
        values = column.values[column.exact]
        # bounds cut a distribution's tail, which leaves it as skewed
        if len(values) < 100 or (column.bounds != 0).any():
            continue
        if column.kind == "kd":
            inner = values[values > 0]
            values = 9.0 - np.log10(inner)
        elif column.kind in ("pkd", "score"):
            inner = 10.0 ** (9.0 - np.clip(values, -50.0, 50.0))
        else:
            continue
        low, high = np.quantile(values, [0.01, 0.99])
        if not (7.0 < low and high - low < 2.5 and 0 < inner.min() and inner.max() < 12.0):
            continue
        skew, inner_skew = float(stats.skew(values)), float(stats.skew(inner))
        if skew < 0.8 or abs(inner_skew) > 0.5 * skew:
            continue
        message = (
            f"98 % of the values are a pKd between {low:.2f} and {high:.2f}, with a sharp lower "
            "edge and a long upper tail. Undone, they are symmetric and look like log10(Kd/nM): a "
            "logarithm may have been taken of a logarithm"
        )
        yield table.finding("unusual_range", column, message, len(values))


def check_point_masses(table: AuditedTable) -> Iterator[Finding]:
    """Floors, ceilings and flags in every column of measured numbers."""
    for column in table.independent:
        if column.kind == "prediction":
            continue
        # a repeated pair with the same number counts once
        rows = np.flatnonzero(column.exact)
        pairs = table.pair_codes[rows]
        pairs = np.where(pairs < 0, -1 - rows, pairs).astype(float)
        keys = np.stack([pairs, column.values[rows]], axis=1)
        rows = rows[np.sort(np.unique(keys, axis=0, return_index=True)[1])]
        values = column.values[rows]
        if not (is_continuous(values) or (column.is_label and len(np.unique(values)) >= 8)):
            continue
        scaled = column.logs()[rows] if column.kind == "kd" else values
        finite = np.isfinite(scaled)
        written = dict(zip(scaled[finite].tolist(), values[finite].tolist(), strict=True))
        within = []
        for mass in point_masses(scaled[finite]):
            rows = np.flatnonzero(column.exact & (column.values == written[mass.value]))
            if mass.position == "within":
                within.append((mass, rows))
            else:
                yield _mass_at_an_end(table, column, mass, rows)
        if within:
            first = within[0][0]
            shown = [
                f"{concise(float(column.values[rows[0]]))} in {len(rows)} rows"
                for _, rows in within
            ]
            count, total = len(within[0][1]), int(column.exact.sum())
            recur = "value recurs" if len(within) == 1 else "values recur"
            yield table.finding(
                "point_mass",
                column,
                f"{len(within)} {recur} too often amid the others: "
                f"{shown[0].removesuffix(' rows')} of {total} rows ({percent(count, total)}), "
                f"{_around(first)}",
                np.sort(np.concatenate([rows for _, rows in within])),
                shown[:5],
                confidence=first.confidence,
            )


def _around(mass: PointMass) -> str:
    return f"where the values around it would give about {max(mass.expected, 0.1):.1f}"


def _mass_at_an_end(
    table: AuditedTable, column: ValueColumn, mass: PointMass, rows: np.ndarray
) -> Finding:
    """A mass at one end of the values, or apart from all others."""
    total = int(column.exact.sum())
    # of a Kd, the rule ran on pKd, whose ends are the other way round
    high = (mass.position == "high end") != (column.kind == "kd")
    value = f"{column.values[rows[0]]:.6g}"
    write = f"Write {'>' if high else '<'}{value} in these rows:"
    if mass.position == "apart":
        code, advice = "flag", ""
        meaning = "a flag stored as a measurement, for nothing else lies near it"
    elif high == (column.weak_end > 0):
        code, advice = "floor", f"{write} bounds (too weak to measure), not measurements."
        meaning = "an assay's floor, or a flag for non-binders, stored as a measurement"
    else:
        code, advice = "ceiling", f"{write} they bind at least this tightly."
        meaning = "an assay's ceiling stored as a measurement"
    grave = column.is_label and mass.confidence > 0.95 and len(rows) >= 0.01 * total
    return table.finding(
        code,
        column,
        f"{len(rows)} of {total} values ({percent(len(rows), total)}) are exactly {value}, "
        f"{_around(mass)}: {meaning}",
        rows,
        table.shown(rows),
        severity="error" if grave else "warning",
        confidence=mass.confidence,
        advice=advice,
    )


def check_few_values(table: AuditedTable) -> Iterator[Finding]:
    """Columns of numbers that hold hardly any different ones."""
    for column in table.values:
        values = column.values[column.exact]
        spread = collapse(values)
        if column.kind != "number" and spread.fault and (values % 1 != 0).any():
            message = f"only {spread.distinct} different values in {len(values)} rows; "
            message += f"{percent(spread.tie_share)} are {concise(spread.commonest)}"
            yield table.finding("few_values", column, message, len(values))


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
