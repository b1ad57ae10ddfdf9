"""Point masses: floors, ceilings and flags that are stored as if they were measurements.

A measured value recurs only as often as the density of its neighbours and the rounding allow. The
number of rows at one value is compared with a Poisson count of that expectation, widened by how
much other equally round values are favoured in the same column (people write 1 nM sooner than
1.1 nM), and corrected for the number of values looked at.
"""

import dataclasses
from collections.abc import Iterator
from typing import Literal

import numpy as np

from paratope.data.audit.columns import ValueColumn, is_continuous
from paratope.data.audit.report import Finding, percent, plain, row_numbers
from paratope.data.audit.subject import Subject

Place = Literal["low end", "high end", "apart", "within"]

MIN_ROWS = 20
MIN_COUNT = 4
MIN_SHARE = 0.004
P_LIMIT = 1e-4
NEIGHBOURS = 60
NEIGHBOURING_VALUES = 8
# a step this common among the other values is the grid on which they were rounded
GRID_SHARE = 0.95


@dataclasses.dataclass(frozen=True, slots=True)
class Mass:
    """One value that recurs too often.

    Attributes
    ----------
    value : float
    count : int
    expected : float
        Rows that its neighbours' density and the rounding would give.
    log10_p : float
        Of so many or more by chance, all values of the column considered.
    place : Place
        Where it lies among the others: at an end, apart from all others, or within.
    """

    value: float
    count: int
    expected: float
    log10_p: float
    place: Place


def point_masses(values: np.ndarray) -> list[Mass]:
    """Values of a measured column that recur too often, most frequent first.

    Parameters
    ----------
    values : numpy.ndarray
        Finite numbers, declared bounds and repeated rows left out.

    Returns
    -------
    list of Mass

    Examples
    --------
    >>> measured = np.round(np.random.default_rng(0).normal(8.0, 1.0, 300), 2)
    >>> point_masses(measured)
    []
    >>> [(mass.value, mass.place) for mass in point_masses(np.maximum(measured, 7.0))]
    [(7.0, 'low end')]
    """
    if len(values) < MIN_ROWS:
        return []
    different, counts = np.unique(values, return_counts=True)
    suspects = np.flatnonzero(counts >= max(MIN_COUNT, MIN_SHARE * len(values)))
    if len(suspects) == 0 or len(different) < 8:
        return []
    # the grid and the tie rate are those of the values that are not suspected themselves
    heavy = counts > max(MIN_COUNT, 5 * np.median(counts))
    others = np.repeat(different[~heavy], counts[~heavy])
    grid = _Grid(others)
    expected = _expected(values, different, counts, grid)
    roundness = _roundness(different)
    masses = []
    for k in suspects:
        rate = expected[k] * _favour(counts, expected, roundness, int(k))
        log10_p = _log10_tail(counts[k], rate) + np.log10(len(different))
        if log10_p < np.log10(P_LIMIT) and counts[k] >= 2 * rate + 3:
            place = _place(values, different[k])
            masses.append(
                Mass(float(different[k]), int(counts[k]), float(rate), float(log10_p), place)
            )
    return sorted(masses, key=lambda mass: -mass.count)


class _Grid:
    """Distance between neighbouring values that rounding leaves possible."""

    def __init__(self, others: np.ndarray) -> None:
        self.decimals = next((d for d in range(5) if _on_decimals(others, d)), None)
        self.digits = None
        if self.decimals is None and len(others) and others.min() > -20 and others.max() < 20:
            # a Kd of a few significant digits, turned into a logarithm
            self.digits = next((d for d in (1, 2, 3) if _on_digits(others, d)), None)
        different = len(np.unique(others))
        self.tie_rate = max(0.02, (len(others) - different) / max(different, 1))

    def expected(self, density: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Rows at each value where `density` rows fall on one unit."""
        if self.decimals is not None:
            return np.maximum(density * 10.0**-self.decimals, 0.01)
        if self.digits is not None:
            mantissa = 10.0 ** (-values % 1.0)
            step = np.log10(1.0 + 10.0 ** -(self.digits - 1) / mantissa)
            return np.maximum(density * step, self.tie_rate)
        return np.full(len(values), self.tie_rate)


def _on_decimals(values: np.ndarray, decimals: int) -> bool:
    scaled = values * 10.0**decimals
    return bool(len(values)) and bool(
        (np.abs(scaled - np.round(scaled)) < 1e-4).mean() >= GRID_SHARE
    )


def _on_digits(values: np.ndarray, digits: int) -> bool:
    mantissa = 10.0 ** (-values % 1.0) * 10.0 ** (digits - 1)
    return bool((np.abs(mantissa - np.round(mantissa)) < 2e-4 * mantissa).mean() >= GRID_SHARE)


def _expected(
    values: np.ndarray, different: np.ndarray, counts: np.ndarray, grid: _Grid
) -> np.ndarray:
    """Rows expected at each different value from the density of its nearest neighbours."""
    ordered = np.sort(values)
    last = np.cumsum(counts)
    first = last - counts
    # enough rows and enough different values on either side, or rounding alone makes it jump
    k = np.arange(len(different))
    start = np.minimum(
        np.maximum(first - NEIGHBOURS // 2, 0), first[np.maximum(k - NEIGHBOURING_VALUES, 0)]
    )
    end = np.maximum(
        np.minimum(last + NEIGHBOURS // 2, len(ordered)),
        last[np.minimum(k + NEIGHBOURING_VALUES, len(different) - 1)],
    )
    below, above = first - start, end - last
    to_start = np.maximum(different - ordered[start], 1e-9)
    to_end = np.maximum(ordered[end - 1] - different, 1e-9)
    density = np.maximum(
        np.where(below >= 3, below / to_start, 0.0), np.where(above >= 3, above / to_end, 0.0)
    )
    return grid.expected(density, different)


def _favour(counts: np.ndarray, expected: np.ndarray, roundness: np.ndarray, k: int) -> float:
    """How many times too often other values as round as this one occur."""
    if roundness[k] > 1:
        return 1.0
    peers = roundness <= roundness[k]
    peers[k] = False
    if peers.sum() < 3:
        return 1.0
    return float(max(1.0, np.median(counts[peers] / np.maximum(expected[peers], 1.0))))


def _roundness(values: np.ndarray) -> np.ndarray:
    """Decimals each value needs: 0, 1, or 2 for more."""
    scaled = values[:, None] * np.array([1.0, 10.0])
    whole = np.abs(scaled - np.round(scaled)) < 1e-6
    return np.where(whole[:, 0], 0, np.where(whole[:, 1], 1, 2))


def _log10_tail(count: int, rate: float) -> float:
    from scipy import stats

    return float(stats.poisson.logsf(count - 1, rate) / np.log(10.0))


def _place(values: np.ndarray, value: float) -> Place:
    others = values[values != value]
    middle = others[(others > np.quantile(others, 0.02)) & (others < np.quantile(others, 0.98))]
    spread = float(np.std(middle)) if len(middle) > 2 else float(np.std(others))
    reach = 0.5 * spread
    below = int(((others < value) & (others >= value - reach)).sum())
    above = int(((others > value) & (others <= value + reach)).sum())
    if below + above == 0:
        return "apart"
    share_below, share_above = np.mean(others < value), np.mean(others > value)
    if share_below <= 0.01 or (below <= 0.1 * above and share_below < 0.5):
        return "low end"
    if share_above <= 0.01 or (above <= 0.1 * below and share_above < 0.5):
        return "high end"
    return "within"


def check_masses(subject: Subject) -> Iterator[Finding]:
    """Floors, ceilings and flags in every column of measured numbers."""
    for column in subject.independent:
        chosen = _one_row_a_pair(subject, column)
        if column.kind == "prediction":
            continue
        values = column.values[chosen]
        if not (is_continuous(values) or (column.is_label and len(np.unique(values)) >= 8)):
            continue
        scaled = column.logs()[chosen] if column.kind == "kd" else values
        finite = np.isfinite(scaled)
        written = dict(zip(scaled[finite].tolist(), values[finite].tolist(), strict=True))
        within = []
        for mass in point_masses(scaled[finite]):
            mass = dataclasses.replace(mass, value=written[mass.value])
            if mass.place == "within":
                within.append(mass)
            else:
                yield _at_an_end(subject, column, mass)
        if within:
            yield _within(subject, column, within)


def _one_row_a_pair(subject: Subject, column: ValueColumn) -> np.ndarray:
    """Rows with a plain number, a repeated pair with the same number taken once."""
    rows = np.flatnonzero(column.exact)
    pairs = subject.pair_codes[rows]
    if (pairs < 0).all():
        return rows
    keys = np.stack(
        [np.where(pairs < 0, -1 - rows, pairs).astype(float), column.values[rows]], axis=1
    )
    _, first = np.unique(keys, axis=0, return_index=True)
    return rows[np.sort(first)]


def _at_an_end(subject: Subject, column: ValueColumn, mass: Mass) -> Finding:
    """Finding about a mass at one end of the values, or apart from all others."""
    rows = _rows_at(column, mass.value)
    total = int(column.exact.sum())
    value = f"{mass.value:.6g}"
    high = mass.place == "high end"
    if column.kind == "kd":
        high = not high  # the test ran on pKd, whose ends are the other way round
    weak = high == (column.weak_end > 0)
    sign = ">" if high else "<"
    if mass.place == "apart":
        code, what = "flag", "a flag stored as a measurement, for nothing else lies near it"
        advice = "Find out what it stands for, often a non-binder; make it a bound or leave it out."
    elif weak:
        code, what = "floor", "an assay's floor, or a flag for non-binders, stored as a measurement"
        advice = (
            f"Write {sign}{value} in these rows: bounds (too weak to measure), not measurements."
        )
    else:
        code, what = "ceiling", "an assay's ceiling stored as a measurement"
        advice = f"Write {sign}{value} in these rows: they bind at least this tightly."
    message = (
        f"{len(rows)} of {total} values ({percent(len(rows), total)}) are exactly {value}, where "
        f"the values around it would give about {max(mass.expected, 0.1):.1f}: {what}"
    )
    confidence = _confidence(mass)
    grave = column.is_label and confidence > 0.95 and len(rows) >= 0.01 * total
    return Finding(
        code,
        "error" if grave else "warning",
        confidence,
        subject.name,
        column.name,
        message,
        advice,
        len(rows),
        row_numbers(rows),
        tuple(subject.shown(int(row)) for row in rows[:3]),
    )


def _within(subject: Subject, column: ValueColumn, masses: list[Mass]) -> Finding:
    """One finding about all masses amid the other values of a column."""
    rows = np.concatenate([_rows_at(column, mass.value) for mass in masses])
    total = int(column.exact.sum())
    top = masses[0]
    count = len(_rows_at(column, top.value))
    values = "value recurs" if len(masses) == 1 else "values recur"
    return Finding(
        "point_mass",
        "warning",
        _confidence(top),
        subject.name,
        column.name,
        f"{len(masses)} {values} too often amid the others: {plain(top.value)} in {count} of "
        f"{total} rows ({percent(count, total)}), where the values around it would give about "
        f"{max(top.expected, 0.1):.1f}",
        "Look where these rows come from: one assay's limit, a default, 'no change', or values "
        "copied from the parent. Make them bounds or leave them out.",
        len(rows),
        row_numbers(np.sort(rows)),
        tuple(f"{plain(mass.value)} in {mass.count} rows" for mass in masses[:5]),
    )


def _rows_at(column: ValueColumn, value: float) -> np.ndarray:
    return np.flatnonzero(column.exact & (column.values == value))


def _confidence(mass: Mass) -> float:
    return float(np.clip(0.6 - 0.04 * mass.log10_p, 0.6, 0.99))


def check_few_values(subject: Subject) -> Iterator[Finding]:
    """Columns of numbers that hold hardly any different ones."""
    for column in subject.values:
        values = column.values[column.exact]
        if len(values) < 50 or column.kind == "number":
            continue
        different, counts = np.unique(values, return_counts=True)
        if len(different) > max(2, min(20, 0.05 * len(values))) or (different % 1 == 0).all():
            continue
        top = int(counts.argmax())
        yield Finding(
            "few_values",
            "warning",
            0.95,
            subject.name,
            column.name,
            f"only {len(different)} different values in {len(values)} rows; "
            f"{percent(int(counts[top]), len(values))} are {plain(different[top])}",
            "A model that answers like this has collapsed; a measured column like this holds "
            "classes, not affinities.",
            len(values),
        )
