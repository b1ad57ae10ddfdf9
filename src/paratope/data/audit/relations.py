"""The same pairs seen twice: in two columns, assays, rows or tables.

Where two numbers describe the same pair, a constant difference of 3, 6 or 9 in log10 is a unit, and
a turned sign is a sign.
"""

import itertools
import statistics
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from paratope.data.audit.table import (
    KCAL_PER_LOG10,
    AuditedTable,
    ValueColumn,
    domains_of,
    log10,
    rank_correlation,
)
from paratope.data.findings import Finding, concise

UNIT_STEPS = (3.0, 6.0, 9.0, 12.0)
MIN_SHARED = 8
MIN_DISPLACED = 4
# log10 between two columns of one row that should say the same
AGREEMENT = 0.1
ASSAY_OFFSET = 1.0
# between tables
MIN_MATCHED = 15
MATCH_R2 = 0.98
# a chain longer than a variable domain may be a single-chain antibody
LONG_CHAIN = 160
_UNIT_SLIPS = {
    3.0: "a factor of 1000: nM against uM or pM",
    6.0: "uM against M, or pM against uM",
    9.0: "nM against M",
}
_Key = TypeVar("_Key", bound=Hashable)


class Form(NamedTuple):
    """A relation y = f(x) of two columns about the same pairs, or of pKd y to what is written."""

    words: str
    function: Callable[[np.ndarray], np.ndarray]
    takes_log: bool = False
    written_as: str = ""  # what x is called where y is pKd; empty if nobody writes that


FORMS = (
    Form("the same values", lambda x: x),
    Form("minus the other's values", lambda x: -x, False, "log10(Kd/M), or a negative pKd"),
    Form("9 minus the other's values", lambda x: 9.0 - x, False, "log10(Kd/nM)"),
    *(
        Form(f"{words} of the other's values", lambda x, a=a: a - log10(x), True, f"Kd in {unit}")
        for words, a, unit in (
            ("9 - log10", 9.0, "nM"),
            ("-log10", 0.0, "M"),
            ("12 - log10", 12.0, "pM"),
            ("6 - log10", 6.0, "uM"),
        )
    ),
    Form("log10 of the other's values", log10, takes_log=True),
    Form("-RT ln(10) times the other's values", lambda x: -KCAL_PER_LOG10 * x),
    Form(
        "the other's values over -RT ln(10)", lambda x: -x / KCAL_PER_LOG10, False, "ΔG in kcal/mol"
    ),
    *(
        Form(
            f"the other's values shifted by {shift:+g}",
            lambda x, shift=shift: x + shift,
            False,
            slip,
        )
        for step in UNIT_STEPS
        for shift in (step, -step)
        for slip in [
            f"pKd shifted by {shift:g} ({_UNIT_SLIPS[step]})" if step in _UNIT_SLIPS else ""
        ]
    ),
)


def check_columns(table: AuditedTable) -> Iterator[Finding]:
    """Columns of one row that should say the same affinity, and do not."""
    columns = [column for column in table.labels if column.is_affinity]
    for first, second in itertools.combinations(columns, 2):
        both = np.flatnonzero(first.exact & second.exact)
        left, right = first.logs()[both], second.logs()[both]
        gap = left - right
        gap = np.where(np.isfinite(gap), gap, np.inf)
        # ΔG depends on the temperature, and texts are rounded
        tolerance = 0.5 if "dg" in (first.kind, second.kind) else AGREEMENT
        wrong = np.abs(gap) > tolerance
        if len(both) < 5 or not wrong.any():
            continue
        step = _unit_step(float(np.median(gap[wrong])), 0.15)
        if wrong.mean() <= 0.9:
            code, reason = "columns_disagree", "they agree in all other rows"
            if step is not None and np.mean(np.abs(np.abs(gap[wrong]) - step) < 0.15) > 0.5:
                reason = f"most of them by a factor of 10^{step:g} (another unit); {reason}"
        elif (np.abs(left + right) < tolerance).mean() > 0.9:
            code, reason = "sign", "one is the other with its sign turned"
        elif step is not None:
            code = "unit_columns"
            reason = f"they differ by a factor of 10^{step:g}: one unit is wrong"
        else:
            continue  # two experiments, perhaps; the assays tell
        rows = both[wrong]
        message = f"{first.name} and {second.name} disagree in {len(rows)} of {len(both)} rows"
        written = zip(first.values[rows[:4]], second.values[rows[:4]], strict=True)
        pairs = [f"{concise(a)} against {concise(b)}" for a, b in written]
        examples = table.shown(rows, dict(zip(rows[:4].tolist(), pairs, strict=True)))
        yield table.finding(code, second, f"{message}: {reason}", rows, examples)


def _unit_step(difference: float, tolerance: float) -> float | None:
    return next((step for step in UNIT_STEPS if abs(abs(difference) - step) <= tolerance), None)


def check_ddg_column(table: AuditedTable) -> Iterator[Finding]:
    """A ΔΔG that rises with pKd within one antigen (or parent), where it must fall."""
    affinity = next((column for column in table.labels if column.is_affinity), None)
    ddg = next((column for column in table.labels if column.kind == "ddg"), None)
    if affinity is None or ddg is None:
        return
    both = np.flatnonzero(affinity.exact & ddg.exact)
    if len(both) < 20:
        return
    groups = table.antigen_codes[both]
    if "parent_heavy" in table.roles:
        groups = np.array([text or "" for text in table.text("parent_heavy")])[both]
    x = centred(affinity.logs()[both], groups)
    correlation = rank_correlation(x, centred(ddg.values[both], groups))
    # four standard errors of no correlation
    if correlation > max(0.3, 4.0 / np.sqrt(len(both))):
        seen = f"(rank correlation {correlation:.2f})"
        message = f"ΔΔG rises with {affinity.name} {seen}: its sign is turned"
        yield table.finding("ddg_sign:pkd", ddg, message, len(both))


def group_means(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Mean of each group, in the order of `numpy.unique`; (groups,)."""
    codes = np.unique(groups, return_inverse=True)[1].ravel()
    return np.bincount(codes, values) / np.bincount(codes)


def centred(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Values less the mean of their group; (n,)."""
    codes = np.unique(groups, return_inverse=True)[1].ravel()
    return values - group_means(values, groups)[codes]


def check_assays(table: AuditedTable) -> Iterator[Finding]:
    """Assays that measured the same pairs: shifts, turned signs."""
    column, codes = table.label, table.assay_codes
    if column is None or len(np.unique(codes[codes >= 0])) < 2:
        return
    logs, names = column.logs(), table.text("assay")
    assays: dict[str, np.ndarray] = {}
    for code in np.unique(codes[codes >= 0]):
        rows = np.flatnonzero((codes == code) & column.exact & np.isfinite(logs))
        if len(rows) >= MIN_SHARED:
            assays[names[rows[0]] or ""] = rows
    pairs_of = table.pair_codes
    medians = {name: _medians(pairs_of[rows].tolist(), logs[rows]) for name, rows in assays.items()}
    any_shared = False
    for first, second in itertools.combinations(assays, 2):
        before, after = medians[first], medians[second]
        shared = [pair for pair in before if pair in after and pair >= 0]
        if len(shared) < MIN_SHARED:
            continue
        any_shared = True
        matched = np.array([[before[pair], after[pair]] for pair in shared])
        gap = matched[:, 1] - matched[:, 0]
        middle = float(np.median(gap))
        spread = 1.4826 * float(np.median(np.abs(gap - middle)))
        varied = np.ptp(matched, axis=0).min() > 0
        correlation = float(np.corrcoef(matched.T)[0, 1]) if varied else 0.0
        pairs = f"{len(shared)} pairs measured in both {first!r} and {second!r}"
        step = _unit_step(middle, 0.75)  # assays differ a little besides
        comparable = spread < 1.0 and column.kind not in ("score", "number")
        if correlation < -0.5:
            message = f"{pairs} rank the opposite way (correlation {correlation:.2f})"
            yield table.finding("sign:assays", column, message, assays[second])
        elif step is not None and comparable:
            message = f"{pairs} differ by {middle:+.2f} log10: a unit (a factor of 10^{step:g})"
            yield table.finding("unit_shift", column, message, assays[second])
        elif abs(middle) > ASSAY_OFFSET and comparable:
            message = f"{pairs} differ by {middle:+.2f} log10 throughout"
            yield table.finding("assay_offset", column, message, assays[second])
    if not any_shared:
        yield from _displaced_assays(table, column, assays)


def _medians(keys: Iterable[_Key], values: np.ndarray) -> dict[_Key, float]:
    grouped: dict[_Key, list[float]] = {}
    for key, value in zip(keys, values.tolist(), strict=True):
        grouped.setdefault(key, []).append(value)
    return {key: statistics.median(each) for key, each in grouped.items()}


def _displaced_assays(
    table: AuditedTable, column: ValueColumn, assays: Mapping[str, np.ndarray]
) -> Iterator[Finding]:
    """One assay far from all others on the same antigens, where no pair was measured in both."""
    if len(assays) < 2 or column.kind in ("score", "number", "ddg"):
        return
    logs = column.logs()
    medians = np.array([float(np.median(logs[rows])) for rows in assays.values()])
    antigens = [set(table.antigen_codes[rows].tolist()) for rows in assays.values()]
    for index, (name, rows) in enumerate(assays.items()):
        others = np.delete(medians, index)
        gap = float(medians[index] - np.median(others))
        step = _unit_step(gap, 0.6)
        rest = set().union(*antigens[:index], *antigens[index + 1 :])
        others_agree = np.abs(others - np.median(others)).max() <= 1.5
        if step is not None and antigens[index] & rest and others_agree:
            message = (
                f"the median of assay {name!r} lies {gap:+.2f} log10 from the other assays' on "
                f"the same antigens, about a factor of 10^{step:g}"
            )
            yield table.finding("unit_shift:assay", column, message, rows)


def check_displaced_rows(table: AuditedTable) -> Iterator[Finding]:
    """Rows a unit away from what their antibody and their antigen show in other rows."""
    column = table.label
    if column is None or not column.is_affinity:
        return
    logs = column.logs()
    known = (table.antibody_codes >= 0) & (table.antigen_codes >= 0)
    rows = np.flatnonzero(column.exact & np.isfinite(logs) & known)
    antibody = np.unique(table.antibody_codes[rows], return_inverse=True)[1].ravel()
    often = np.bincount(antibody)[antibody] >= 3
    rows, antibody = rows[often], antibody[often]
    if len(rows) < 30:
        return
    context = np.stack([table.antigen_codes[rows], table.assay_codes[rows]], axis=1)
    context = np.unique(context, axis=0, return_inverse=True)[1].ravel()
    residual = logs[rows].copy()
    for _ in range(5):  # median polish (Tukey 1977) of antibody by antigen and assay
        for codes in (context, antibody):
            medians = _medians(codes.tolist(), residual)
            residual -= np.array([medians[code] for code in codes.tolist()])
    scale = max(1.4826 * float(np.median(np.abs(residual))), 0.1)
    for step in UNIT_STEPS:
        near = np.abs(np.abs(residual) - step) < 3.0 * scale
        near &= np.abs(residual) > max(6.0 * scale, 0.6 * step)
        if near.sum() < MIN_DISPLACED or abs(np.median(np.abs(residual[near])) - step) > 0.5:
            continue
        yield table.finding(
            "unit_rows",
            column,
            f"{int(near.sum())} of {len(rows)} values lie about {step:g} log10 from what the same "
            "antibody and the same antigen show in other rows: another unit",
            rows[near],
            table.shown(rows[near], column.values.tolist()),
            advice=f"Check the unit of these rows (a factor of 10^{step:g}).",
        )
        return


def check_tables(tables: Sequence[AuditedTable]) -> Iterator[Finding]:
    """Columns of different tables about the same pairs (or antibodies)."""
    for index, second in enumerate(tables):
        for first in tables[:index]:
            keys = _shared_keys(first, second)
            if keys is None:
                continue
            for y, x in itertools.product(first.independent, second.independent):
                if "prediction" not in (x.kind, y.kind):
                    yield from _compare_tables((first, y, keys[0]), (second, x, keys[1]))


def _shared_keys(
    first: AuditedTable, second: AuditedTable
) -> tuple[list[Hashable], list[Hashable]] | None:
    """Keys by which rows of two tables match: as many molecules as both tables hold, or ids."""
    roles = ("heavy", "light", "antigen")
    used = [role for role in roles if any(getattr(first, role)) and any(getattr(second, role))]
    for chosen in (used, ["heavy"]):
        if "heavy" in chosen:
            keys = _molecule_keys(first, chosen), _molecule_keys(second, chosen)
            if len(set(keys[0]) & set(keys[1]) - {None}) >= MIN_MATCHED:
                return keys
    ids = first.text("id"), second.text("id")
    if len(set(ids[0]) & set(ids[1]) - {None}) >= MIN_MATCHED and not used:
        return list(ids[0]), list(ids[1])
    return None


def _molecule_keys(table: AuditedTable, roles: list[str]) -> list[Hashable]:
    """Chains of each row, of a single-chain antibody the heavy domain; None without a heavy one."""
    cut = {
        chain: next((domain.residues for domain in domains_of(chain) if domain.is_heavy), chain)
        for chain in set(table.heavy)
        if chain and len(chain) > LONG_CHAIN
    }
    heavy = [cut.get(chain, chain) if chain else None for chain in table.heavy]
    columns = [heavy if role == "heavy" else getattr(table, role) for role in roles]
    return [key if key[0] is not None else None for key in zip(*columns, strict=True)]


def _compare_tables(
    left: tuple[AuditedTable, ValueColumn, list[Hashable]],
    right: tuple[AuditedTable, ValueColumn, list[Hashable]],
) -> Iterator[Finding]:
    """Whether one of two columns is made from the other, nearly exactly."""
    medians = []
    for _, column, keys in (left, right):
        rows = [row for row in np.flatnonzero(column.exact).tolist() if keys[row] is not None]
        medians.append(_medians([keys[row] for row in rows], column.values[rows]))
    shared = [key for key in medians[0] if key in medians[1]]
    if len(shared) < MIN_MATCHED:
        return
    y, x = (np.array([values[key] for key in shared]) for values in medians)
    for source, target, given, made in ((right, left, x, y), (left, right, y, x)):
        if np.ptp(made) == 0 or len(np.unique(given)) < 5:
            continue
        for form in FORMS:
            expected = form.function(given)
            usable = np.isfinite(expected)
            if usable.mean() < 0.7:
                continue
            error = float(np.sum((made[usable] - expected[usable]) ** 2))
            total = float(np.sum((made[usable] - made[usable].mean()) ** 2))
            if total > 0 and 1.0 - error / total >= MATCH_R2:
                yield from _related(source[:2], target[:2], form, len(shared))
                return


def _related(
    source: tuple[AuditedTable, ValueColumn],
    target: tuple[AuditedTable, ValueColumn],
    form: Form,
    shared: int,
) -> Iterator[Finding]:
    """What it means that one table's column is made from another's."""
    (table, x), (made, y) = source, target
    seen = f"in {shared} shared rows {y.name} is {form.words} ({x.name} of {table.name})"
    same_kind = x.kind == y.kind and x.kind != "number"
    if form.takes_log:
        if reasons := _already_log(x):
            yield made.finding(
                "double_log",
                y,
                f"{seen}, which are logarithms already ({'; '.join(reasons)}): a log of a log",
                shared,
                confidence=min(0.99, 0.8 + 0.1 * len(reasons)),
                advice=f"Its order holds, its scale is wrong. Use {x.name} of {table.name}: pKd = "
                "9 - log10(Kd/nM).",
            )
    elif form.words == "the same values":
        yield made.finding("shared_rows", y, f"{seen}: the tables overlap", shared)
    elif form.words == "minus the other's values" and x.kind != "kd":
        yield made.finding("sign", y, f"{seen}: one sign is turned", shared)
    elif "shifted" in form.words and (same_kind or {x.kind, y.kind} <= {"pkd", "score"}):
        yield made.finding("unit_shift", y, f"{seen}: another unit", shared)
    elif form.words.startswith("9 minus") and same_kind:
        message = f"{seen}: one is pKd, the other log10(Kd/nM)"
        yield made.finding("unit_shift", y, message, shared, confidence=0.95)


def _already_log(column: ValueColumn) -> list[str]:
    """Why a column's numbers are logarithms and no Kd; empty if they may be a Kd."""
    from scipy import stats

    values = column.values[column.exact]
    reasons = []
    if column.kind == "log_kd" or "log" in column.name.lower():
        reasons.append("its name says so")
    if (values <= 0).sum() >= 2:
        reasons.append(f"{int((values <= 0).sum())} are zero or negative")
    positive = values[values > 0]
    if len(positive) >= 30:
        skew = abs(float(stats.skew(positive)))
        log_skew = abs(float(stats.skew(np.log10(positive))))
        if skew < 1.0 and log_skew > 1.5 * skew + 0.5 and positive.max() < 15:
            reasons.append(
                f"they spread evenly between {concise(positive.min())} and "
                f"{concise(positive.max())}, as a logarithm does and a Kd does not"
            )
    return reasons
