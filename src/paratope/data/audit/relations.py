"""The same pairs seen twice in one table: between columns, between assays, between rows.

Where two numbers describe the same pair, a constant difference of 3, 6 or 9 in log10 is a unit, and
a turned sign is a sign.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from paratope.data.audit.columns import ValueColumn, rank_correlation
from paratope.data.audit.report import Finding, plain, row_numbers
from paratope.data.audit.subject import Subject

UNIT_STEPS = (3.0, 6.0, 9.0, 12.0)
MIN_SHARED = 8
MIN_DISPLACED = 4
# log10 between two columns of one row that should say the same
AGREEMENT = 0.1
ASSAY_OFFSET = 1.0


def check_columns(subject: Subject) -> Iterator[Finding]:
    """Columns of one row that should say the same affinity, and do not."""
    columns = [c for c in subject.labels if c.kind in ("pkd", "kd", "log_kd", "dg")]
    for k, second in enumerate(columns):
        for first in columns[:k]:
            yield from _two_columns(subject, first, second)
    ddg = next((c for c in subject.labels if c.kind == "ddg"), None)
    if ddg is not None and columns:
        yield from _against_ddg(subject, columns[0], ddg)


def _two_columns(subject: Subject, first: ValueColumn, second: ValueColumn) -> Iterator[Finding]:
    both = np.flatnonzero(first.exact & second.exact)
    if len(both) < 5:
        return
    gap = first.logs()[both] - second.logs()[both]
    gap = np.where(np.isfinite(gap), gap, np.inf)
    # ΔG depends on the temperature, and texts are rounded
    tolerance = 0.5 if "dg" in (first.kind, second.kind) else AGREEMENT
    wrong = np.abs(gap) > tolerance
    if not wrong.any():
        return
    middle = float(np.median(gap[wrong]))
    step = _unit_step(middle, 0.15) if np.isfinite(middle) else None
    turned = np.abs(first.logs()[both] + second.logs()[both]) < tolerance
    if wrong.mean() > 0.9:
        if turned.mean() > 0.9:
            code, what = "sign", "one is the other with its sign turned"
        elif step is not None:
            code, what = (
                "unit_columns",
                f"they differ by a factor of 10^{step:g}: one unit is wrong",
            )
        else:
            return  # two experiments, perhaps; the assays tell
    else:
        code, what = "columns_disagree", "they agree in all other rows"
        if step is not None and float(np.mean(np.abs(np.abs(gap[wrong]) - step) < 0.15)) > 0.5:
            what = f"most of them by a factor of 10^{step:g} (another unit); {what}"
    rows = both[wrong]
    yield Finding(
        code, "error", 0.97, subject.name, second.name,
        f"{first.name} and {second.name} disagree in {len(rows)} of {len(both)} rows: {what}",
        "Find out which column is right in these rows before either is used.",
        len(rows), row_numbers(rows),
        tuple(
            f"{subject.shown(int(r))}: {plain(a)} against {plain(b)}"
            for r, a, b in zip(rows[:4], first.values[rows], second.values[rows], strict=False)
        ),
    )  # fmt: skip


def _unit_step(difference: float, tolerance: float) -> float | None:
    return next((k for k in UNIT_STEPS if abs(abs(difference) - k) <= tolerance), None)


def _against_ddg(subject: Subject, affinity: ValueColumn, ddg: ValueColumn) -> Iterator[Finding]:
    """ΔΔG must fall where pKd rises, within one antigen."""
    both = np.flatnonzero(affinity.exact & ddg.exact)
    if len(both) < 20:
        return
    groups = subject.antigen_codes[both]
    if "parent_heavy" in subject.roles:
        groups = np.unique(
            subject.frame[subject.roles["parent_heavy"]].fill_null("").to_numpy()[both],
            return_inverse=True,
        )[1]
    _, unit = np.unique(groups, return_inverse=True)
    unit = unit.ravel()
    size = np.bincount(unit)
    x, y = affinity.logs()[both], ddg.values[both]
    x = x - (np.bincount(unit, x) / size)[unit]
    y = y - (np.bincount(unit, y) / size)[unit]
    strength = rank_correlation(x, y)
    # four standard errors of no correlation
    if strength > max(0.3, 4.0 / np.sqrt(len(both))):
        yield Finding(
            "ddg_sign", "error", 0.9, subject.name, ddg.name,
            f"ΔΔG rises with {affinity.name} (rank correlation {strength:.2f}): its sign is turned",
            "ΔΔG > 0 means weaker binding; turn the sign of one of the two columns.",
            len(both),
        )  # fmt: skip


def check_assays(subject: Subject) -> Iterator[Finding]:
    """Assays that measured the same pairs: shifts, turned signs."""
    column = subject.label
    codes = subject.assay_codes
    if column is None or len(np.unique(codes[codes >= 0])) < 2:
        return
    logs = column.logs()
    names = subject.text("assay")
    groups = []
    for code in np.unique(codes[codes >= 0]):
        rows = np.flatnonzero((codes == code) & column.exact & np.isfinite(logs))
        if len(rows) >= MIN_SHARED:
            groups.append((names[rows[0]] or "", rows))
    shared_any = False
    for k, (second, second_rows) in enumerate(groups):
        for first, first_rows in groups[:k]:
            matched = _matched(subject.pair_codes, logs, first_rows, second_rows)
            if len(matched) < MIN_SHARED:
                continue
            shared_any = True
            yield from _two_assays(subject, column, (first, second), matched, second_rows)
    if not shared_any:
        yield from _displaced_assay(subject, column, logs, groups)


def _matched(
    pairs: np.ndarray, values: np.ndarray, first: np.ndarray, second: np.ndarray
) -> np.ndarray:
    """Median values of the pairs in both sets of rows; (pairs, 2)."""
    of_first = _medians(pairs[first], values[first])
    of_second = _medians(pairs[second], values[second])
    both = [pair for pair in of_first if pair in of_second and pair >= 0]
    return np.array([[of_first[pair], of_second[pair]] for pair in both]).reshape(-1, 2)


def _medians(keys: np.ndarray, values: np.ndarray) -> dict[int, float]:
    order = np.argsort(keys, kind="stable")
    different, first = np.unique(keys[order], return_index=True)
    parts = np.split(values[order], first[1:])
    return {int(k): float(np.median(part)) for k, part in zip(different, parts, strict=True)}


def _two_assays(
    subject: Subject,
    column: ValueColumn,
    names: tuple[str, str],
    matched: np.ndarray,
    rows: np.ndarray,
) -> Iterator[Finding]:
    gap = matched[:, 1] - matched[:, 0]
    middle = float(np.median(gap))
    spread = 1.4826 * float(np.median(np.abs(gap - middle)))
    correlation = float(np.corrcoef(matched.T)[0, 1]) if np.ptp(matched, axis=0).min() > 0 else 0.0
    pairs = f"{len(matched)} pairs measured in both {names[0]!r} and {names[1]!r}"
    step = _unit_step(middle, 0.75)  # assays differ a little besides
    if correlation < -0.5:
        code, severity, sure = "sign", "error", 0.95
        message = f"{pairs} rank the opposite way (correlation {correlation:.2f})"
        advice = "One assay's sign is turned: higher must mean stronger in both, or weaker in both."
    elif step is not None and spread < 1.0 and column.kind not in ("score", "number"):
        code, severity, sure = "unit_shift", "error", 0.97
        message = f"{pairs} differ by {middle:+.2f} log10: a unit (a factor of 10^{step:g})"
        advice = "One assay is in another unit: convert it before the two are pooled."
    elif abs(middle) > ASSAY_OFFSET and spread < 1.0 and column.kind not in ("score", "number"):
        code, severity, sure = "assay_offset", "warning", 0.9
        message = f"{pairs} differ by {middle:+.2f} log10 throughout"
        advice = "Do not pool the values: compare within each assay, or fit an offset."
    else:
        return
    assert severity in ("error", "warning")
    yield Finding(
        code, severity, sure, subject.name, column.name, message, advice, len(rows),
        row_numbers(rows),
    )  # fmt: skip


def _displaced_assay(
    subject: Subject,
    column: ValueColumn,
    logs: np.ndarray,
    groups: Sequence[tuple[str, np.ndarray]],
) -> Iterator[Finding]:
    """One assay far from all others on the same antigens, where no pair was measured in both."""
    if len(groups) < 2 or column.kind in ("score", "number", "ddg"):
        return
    medians = np.array([float(np.median(logs[rows])) for _, rows in groups])
    for k, (name, rows) in enumerate(groups):
        others = np.delete(medians, k)
        gap = float(medians[k] - np.median(others))
        step = _unit_step(gap, 0.6)
        antigens = set(subject.antigen_codes[rows].tolist())
        same = any(
            antigens & set(subject.antigen_codes[r].tolist())
            for j, (_, r) in enumerate(groups)
            if j != k
        )
        if step is None or not same or np.abs(others - np.median(others)).max() > 1.5:
            continue
        yield Finding(
            "unit_shift", "warning", 0.7, subject.name, column.name,
            f"the median of assay {name!r} lies {gap:+.2f} log10 from the other assays' on the "
            f"same antigens, about a factor of 10^{step:g}",
            "Check its unit; if it is right, never pool it with the others.",
            len(rows), row_numbers(rows),
        )  # fmt: skip


def check_displaced_rows(subject: Subject) -> Iterator[Finding]:
    """Rows a unit away from what their antibody and their antigen show in other rows."""
    column = subject.label
    if column is None or column.kind not in ("pkd", "kd", "log_kd", "dg"):
        return
    logs = column.logs()
    rows = np.flatnonzero(
        column.exact
        & np.isfinite(logs)
        & (subject.antibody_codes >= 0)
        & (subject.antigen_codes >= 0)
    )
    if len(rows) < 30:
        return
    antibody = np.unique(subject.antibody_codes[rows], return_inverse=True)[1].ravel()
    often = np.bincount(antibody)[antibody] >= 3
    rows, antibody = rows[often], antibody[often]
    if len(rows) < 30:
        return
    context = np.stack([subject.antigen_codes[rows], subject.assay_codes[rows]], axis=1)
    context = np.unique(context, axis=0, return_inverse=True)[1].ravel()
    residual = logs[rows].copy()
    for _ in range(5):
        for codes in (context, antibody):
            medians = _medians(codes, residual)
            residual -= np.array([medians[int(code)] for code in codes])
    scale = max(1.4826 * float(np.median(np.abs(residual))), 0.1)
    for step in UNIT_STEPS:
        near = np.abs(np.abs(residual) - step) < 3.0 * scale
        near &= np.abs(residual) > max(6.0 * scale, 0.6 * step)
        if near.sum() < MIN_DISPLACED or abs(np.median(np.abs(residual[near])) - step) > 0.5:
            continue
        wrong = rows[near]
        yield Finding(
            "unit_rows", "error", 0.9, subject.name, column.name,
            f"{len(wrong)} of {len(rows)} values lie about {step:g} log10 from what the same "
            "antibody and the same antigen show in other rows: another unit",
            f"Check the unit of these rows (a factor of 10^{step:g}).",
            len(wrong), row_numbers(wrong),
            tuple(f"{subject.shown(int(r))}: {plain(float(column.values[r]))}" for r in wrong[:4]),
        )  # fmt: skip
        return
