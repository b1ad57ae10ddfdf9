"""Units within one column: impossible values, a wrong unit, islands, a log of a log."""

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np

from paratope.core.units import PKD_MAX_MEASURABLE, PKD_MIN_MEASURABLE
from paratope.data.audit.columns import KCAL_PER_LOG10, ValueColumn
from paratope.data.audit.report import Finding, percent, plain, row_numbers
from paratope.data.audit.subject import Subject

UNITS = {0.0: "M", -3.0: "mM", -6.0: "uM", -9.0: "nM", -12.0: "pM"}
# where nearly all measured affinities lie
PLAUSIBLE_PKD = (3.0, 13.0)
MAX_DDG_KCAL_MOL = 12.0
MIN_ISLAND = 4
MIN_ISLAND_SHARE = 0.005
# rows a valley between two islands may hold, tried in turn
VALLEY_SHARES = (0.0, 0.002, 0.01, 0.02)
# values next to a valley that tell how dense its shores are
EDGE_ROWS = 12
MIN_VALLEY = 0.8
P_LIMIT = 1e-3

# What an affinity may have been written as instead of pKd -> how pKd is got back.
WRITTEN_AS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "log10(Kd/nM)": lambda x: 9.0 - x,
    "log10(Kd/M), or a negative pKd": lambda x: -x,
    "ΔG in kcal/mol": lambda x: -x / KCAL_PER_LOG10,
    "Kd in nM": lambda x: 9.0 - _log10(x),
    "Kd in pM": lambda x: 12.0 - _log10(x),
    "Kd in uM": lambda x: 6.0 - _log10(x),
    "Kd in M": lambda x: -_log10(x),
    "pKd shifted by 3 (a factor of 1000: nM against uM or pM)": lambda x: x + 3.0,
    "pKd shifted by 6 (uM against M, or pM against uM)": lambda x: x + 6.0,
    "pKd shifted by 9 (nM against M)": lambda x: x + 9.0,
    "pKd shifted by -3 (a factor of 1000: nM against uM or pM)": lambda x: x - 3.0,
    "pKd shifted by -6 (uM against M, or pM against uM)": lambda x: x - 6.0,
    "pKd shifted by -9 (nM against M)": lambda x: x - 9.0,
}

# a column of Kd whose numbers are all of this size, within such a ratio, may hold pKd
PKD_AS_WRITTEN = (3.5, 13.0)
MAX_PKD_RATIO = 2.5


def _log10(values: np.ndarray) -> np.ndarray:
    return np.log10(np.where(values > 0, values, np.nan))


def check_units(subject: Subject) -> Iterator[Finding]:
    """Columns that cannot be in the unit their name says, and values no assay can measure."""
    for column in subject.labels:
        values = column.values[column.exact]
        if len(values) < 5:
            continue
        found = _whole_column(subject, column, values)
        if found is not None:
            yield found
        else:
            yield from _impossible(subject, column)


def _whole_column(subject: Subject, column: ValueColumn, values: np.ndarray) -> Finding | None:
    if column.kind == "pkd":
        return _pkd_column(subject, column, values)
    if column.kind == "kd":
        return _kd_column(subject, column, values)
    if column.kind == "dg":
        if np.mean(values > 0) > 0.8 and np.median(values) > 2:
            return _unit_finding(
                subject, column, "dg_sign", 0.95,
                f"{percent(int((values > 0).sum()), len(values))} of the ΔG are positive: binding "
                "has a negative ΔG",
                "Turn the sign: ΔG = RT ln(Kd), about -12 kcal/mol at 1 nM.",
            )  # fmt: skip
        if np.median(values) < -25:
            return _unit_finding(
                subject, column, "unit_column", 0.9,
                f"the median ΔG is {plain(float(np.median(values)))}, beyond any antibody in "
                "kcal/mol: probably kJ/mol",
                "Divide by 4.184.",
            )  # fmt: skip
    if column.kind == "ddg":
        return _ddg_column(subject, column, values)
    return None


def _pkd_column(subject: Subject, column: ValueColumn, values: np.ndarray) -> Finding | None:
    middle = np.quantile(values, [0.25, 0.5, 0.75])
    # a score or an enrichment may lie anywhere; what is called pKd may not
    if PLAUSIBLE_PKD[0] - 0.5 <= middle[1] <= PLAUSIBLE_PKD[1]:
        spread = np.quantile(values, 0.98) / max(np.quantile(values, 0.02), 1e-300)
        if values.min() <= 0 or spread < 500:
            return None
    likely = _likely_forms(values, None)
    if not likely:
        return None
    return _unit_finding(
        subject, column, "unit_column", 0.95,
        f"the values (middle half {plain(middle[0])} to {plain(middle[2])}) are no pKd; they look "
        f"like {' or '.join(likely)}",
        "Name the column for what it holds (kd_M, kd_nM, dg_kcal_mol, ...) or convert it.",
    )  # fmt: skip


def _kd_column(subject: Subject, column: ValueColumn, values: np.ndarray) -> Finding | None:
    if np.mean(values <= 0) > 0.02 and (values <= 0).sum() >= 3:
        return _unit_finding(
            subject, column, "log_as_kd", 0.97,
            f"{int((values <= 0).sum())} of {len(values)} values are zero or negative: a Kd cannot "
            "be, its logarithm can",
            "If these are log10(Kd), taking the logarithm once more gives wrong pKd: convert with "
            "9 - value (from nM) or -value (from M) and name the column pkd.",
        )  # fmt: skip
    low, high = np.quantile(values, [0.02, 0.98])
    if len(values) >= 20 and PKD_AS_WRITTEN[0] <= low and high <= PKD_AS_WRITTEN[1]:
        if high < MAX_PKD_RATIO * low:
            return Finding(
                "log_as_kd", "warning", 0.7, subject.name, column.name,
                f"the values lie between {plain(low)} and {plain(high)}: few assays span so little "
                "in Kd, and pKd look like this",
                "If they are pKd, name the column pkd: as a Kd, the strongest would be the "
                "weakest.",
                len(values),
            )  # fmt: skip
    logs = column.logs()[column.exact]
    logs = logs[np.isfinite(logs)]
    if len(logs) < 5 or PLAUSIBLE_PKD[0] - 0.5 <= np.median(logs) <= PLAUSIBLE_PKD[1]:
        return None
    raw = logs + column.unit_log10_M  # -log10 of the number as written
    fitting = [
        name for unit, name in UNITS.items()
        if np.mean((raw - unit > PLAUSIBLE_PKD[0]) & (raw - unit < PLAUSIBLE_PKD[1])) > 0.9
    ]  # fmt: skip
    said = UNITS[column.unit_log10_M]
    return _unit_finding(
        subject, column, "unit_column", 0.97,
        f"as {said} these values would be a median pKd of {np.median(logs):.1f}, which no antibody "
        "has"
        + (f"; they are plausible as {' or '.join(fitting)}" if fitting else ""),
        f"Check the unit; {said} is what the column's name says.",
    )  # fmt: skip


def _ddg_column(subject: Subject, column: ValueColumn, values: np.ndarray) -> Finding | None:
    moved = values[np.abs(values) > 1e-9]
    if len(moved) < 30:
        return None
    strengthening = float(np.mean(moved < 0))
    # most mutations weaken binding: a clear majority the other way is a turned sign
    margin = 0.5 + 3.0 * np.sqrt(0.25 / len(moved))
    if strengthening > max(0.62, margin) and np.median(moved) < -0.1:
        return _unit_finding(
            subject, column, "ddg_sign", 0.8,
            f"{100 * strengthening:.0f} % of the ΔΔG are negative, as if most mutations "
            "strengthened binding",
            "ΔΔG > 0 means weaker binding here; some sources use the reverse. Turn the sign if so.",
        )  # fmt: skip
    return None


def _unit_finding(
    subject: Subject, column: ValueColumn, code: str, confidence: float, message: str, advice: str
) -> Finding:
    severity = "error" if confidence >= 0.9 else "warning"
    count = int(column.exact.sum())
    return Finding(
        code, severity, confidence, subject.name, column.name, message, advice, count,
        examples=tuple(plain(value) for value in column.values[column.exact][:5]),
    )  # fmt: skip


def _impossible(subject: Subject, column: ValueColumn) -> Iterator[Finding]:
    """Single values that no assay can measure."""
    if column.kind == "ddg":
        bad = column.exact & (np.abs(column.values) > MAX_DDG_KCAL_MOL)
        limits = f"beyond ±{MAX_DDG_KCAL_MOL:g} kcal/mol"
    elif column.kind in ("pkd", "kd", "dg", "log_kd"):
        logs = column.logs()
        bad = column.exact & ~((logs >= PKD_MIN_MEASURABLE) & (logs <= PKD_MAX_MEASURABLE))
        limits = f"outside a pKd of {PKD_MIN_MEASURABLE:g} to {PKD_MAX_MEASURABLE:g}"
    else:
        return
    island = find_island(column)
    if island is not None:
        bad[list(island.rows)] = False
    rows = np.flatnonzero(bad)
    if len(rows) == 0:
        return
    logs, good = column.logs(), column.exact & ~bad
    likely = _likely_forms(logs[rows], logs[good]) if len(rows) >= 3 and good.sum() >= 20 else []
    yield Finding(
        "impossible_value", "error", 0.95, subject.name, column.name,
        f"{len(rows)} of {int(column.exact.sum())} values are {limits}: no assay measures that"
        + (f". They would fit the others if they were {' or '.join(likely[:2])}" if likely else ""),
        "Look for another unit, a flag (-1, 0, 999) or a slip of the decimal point in these rows.",
        len(rows), row_numbers(rows),
        tuple(f"{subject.shown(int(r))}: {plain(float(column.values[r]))}" for r in rows[:4]),
    )  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True)
class Island:
    """Rows whose values lie apart from the others, across a nearly empty valley.

    Attributes
    ----------
    rows : tuple of int
        Indices of the smaller side.
    low, high : float
        Its range, as written.
    valley : float
        Width of the valley, log10 where the column is an affinity.
    log10_p : float
    """

    rows: tuple[int, ...]
    low: float
    high: float
    valley: float
    log10_p: float


def find_island(column: ValueColumn) -> Island | None:
    """The smaller of two groups of values with a valley between them, if there are two."""
    logs = column.logs() if column.kind in ("kd", "log_kd") else column.values
    if column.kind in ("dg", "ddg"):
        logs = logs / KCAL_PER_LOG10
    rows = np.flatnonzero(column.exact & np.isfinite(logs))
    if len(rows) < 20:
        return None
    order = rows[np.argsort(logs[rows], kind="stable")]
    candidates = [
        island
        for share in VALLEY_SHARES
        if (island := _split_at_valley(column, order, logs[order], int(share * len(rows))))
    ]
    return min(candidates, key=lambda island: island.log10_p, default=None)


def _split_at_valley(
    column: ValueColumn, order: np.ndarray, ordered: np.ndarray, allowed: int
) -> Island | None:
    """The widest valley with so many rows in it, if it is too wide for the values around it."""
    count = len(ordered)
    least = max(MIN_ISLAND, int(np.ceil(MIN_ISLAND_SHARE * count)))
    left = np.arange(least - 1, count - least - allowed)
    if len(left) == 0:
        return None
    widths = ordered[left + allowed + 1] - ordered[left]
    at = int(left[np.argmax(widths)])
    width = float(widths.max())
    low, high = ordered[: at + 1], ordered[at + allowed + 1 :]
    # what little lies in the valley belongs to the side of its widest gap
    cut = at + 1 + int(np.argmax(np.diff(ordered[at : at + allowed + 2])))
    small_is_low = len(low) <= len(high)
    main = high if small_is_low else low
    needed = MIN_VALLEY if column.kind not in ("score", "number", "prediction") else 0.0
    needed = max(needed, 0.5 * float(np.std(main)))
    spacing = max(_edge_spacing(low[::-1]), _edge_spacing(high))
    log10_p = _empty_valley(width / max(spacing, 1e-9), allowed) + np.log10(count)
    if width < needed or log10_p > np.log10(P_LIMIT):
        return None
    members = order[:cut] if small_is_low else order[cut:]
    values = column.values[members]
    return Island(
        tuple(np.sort(members).tolist()), float(values.min()), float(values.max()), width,
        float(log10_p),
    )  # fmt: skip


def _edge_spacing(side: np.ndarray) -> float:
    """Mean distance between the values nearest to the valley, point masses counted once."""
    number = max(EDGE_ROWS, len(side) // 10)
    nearest = np.unique(side[:number])
    if len(nearest) < 3:
        return 0.0
    return float((nearest[-1] - nearest[0]) / (len(nearest) - 1))


def _empty_valley(expected: float, seen: int) -> float:
    from scipy import stats

    return float(stats.poisson.logcdf(seen, expected) / np.log(10.0))


def check_islands(subject: Subject) -> Iterator[Finding]:
    """Rows that lie apart from all others: another unit, another scale, or flags."""
    for column in subject.independent:
        if column.kind in ("number", "prediction"):
            continue
        island = find_island(column)
        if island is None or len(set(column.values[list(island.rows)])) < 3:
            continue  # one or two repeated values are a flag, which the point masses tell
        yield _island_finding(subject, column, island)


def _island_finding(subject: Subject, column: ValueColumn, island: Island) -> Finding:
    rows = np.array(island.rows)
    main = column.exact.copy()
    main[rows] = False
    total = int(column.exact.sum())
    reason = _explained_by(subject, rows, column.exact)
    affinity = column.kind in ("pkd", "kd", "log_kd", "dg")
    logs = column.logs()
    possible = (logs[rows] >= PKD_MIN_MEASURABLE) & (logs[rows] <= PKD_MAX_MEASURABLE)
    likely = _likely_forms(logs[rows], logs[main]) if affinity else []
    message = (
        f"{len(rows)} of {total} values ({percent(len(rows), total)}) form an island between "
        f"{plain(island.low)} and {plain(island.high)}; the others lie between "
        f"{plain(float(column.values[main].min()))} and {plain(float(column.values[main].max()))}"
    )
    if reason and (not affinity or possible.mean() > 0.9):
        return Finding(
            "island", "info", 0.6, subject.name, column.name,
            f"{message}; they are all the rows of {reason}",
            "Probably real, if that group binds this differently. Report metrics per group.",
            len(rows), row_numbers(rows),
        )  # fmt: skip
    grave = affinity and possible.mean() < 0.9
    if likely:
        message += f". They would fit the others if they were {' or '.join(likely[:2])}"
    return Finding(
        "island", "error" if grave else "warning",
        float(np.clip(0.7 - 0.03 * island.log10_p, 0.7, 0.99)), subject.name, column.name, message,
        "Rows of another unit or source, most likely. Convert them, or give them their own assay. "
        "Correlations over both groups measure only that they differ.",
        len(rows), row_numbers(rows),
        tuple(f"{subject.shown(int(r))}: {plain(float(column.values[r]))}" for r in rows[:4]),
    )  # fmt: skip


def _explained_by(subject: Subject, rows: np.ndarray, exact: np.ndarray) -> str:
    """Antigens, or very few pairs, whose rows the island consists of, if it cuts through none."""
    inside = np.zeros(subject.rows, dtype=bool)
    inside[rows] = True
    for codes, noun, most in (
        (subject.antigen_codes, "antigen", len(rows)),
        (subject.pair_codes, "pair", 3),
    ):
        members = np.unique(codes[rows])
        if (members < 0).any() or len(members) > most or len(np.unique(codes[exact])) < 2:
            continue
        theirs = exact & np.isin(codes, members)
        if inside[theirs].mean() >= 0.95:
            return f"one {noun}" if len(members) == 1 else f"{len(members)} {noun}s"
    return ""


def _likely_forms(values: np.ndarray, others: np.ndarray | None) -> list[str]:
    """What values may have been written as, so that they fit the others or any plausible pKd."""
    low, high = PLAUSIBLE_PKD if others is None else np.quantile(others, [0.005, 0.995])
    middle = 0.5 * (PLAUSIBLE_PKD[0] + PLAUSIBLE_PKD[1]) if others is None else np.median(others)
    fits = []
    for name, back in WRITTEN_AS.items():
        if others is None and "shifted" in name:
            continue
        pkd = back(values)
        inside = np.isfinite(pkd) & (pkd >= low - 0.5) & (pkd <= high + 0.5)
        # a Kd spans decades: numbers close together are none
        if inside.mean() > 0.9 and not ("Kd in" in name and np.nanstd(pkd) < 0.2):
            fits.append((abs(float(np.nanmedian(pkd)) - float(middle)), name))
    return [name for _, name in sorted(fits)[:3]]


def check_double_log(subject: Subject) -> Iterator[Finding]:
    """A column that is itself the logarithm of logarithms, by its range and shape."""
    from scipy import stats

    for column in subject.labels:
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
        yield Finding(
            "unusual_range", "warning", 0.75, subject.name, column.name,
            f"98 % of the values are a pKd between {low:.2f} and {high:.2f}, with a sharp lower "
            "edge and a long upper tail. Undone, they are symmetric and look like log10(Kd/nM): a "
            "logarithm may have been taken of a logarithm",
            "Use the order only, or find the source: if it holds log10(Kd/nM), pKd is 9 minus "
            "that; audit both tables together to make sure.",
            len(values),
        )  # fmt: skip
