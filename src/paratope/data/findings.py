"""Findings: what is wrong with a table, its predictions or a training run, and how it is found.

The audit of a table, the diagnostics of predictions and the monitors of a run all hand back a
`Finding`. Each fault that numbers show by themselves has one rule and one threshold here; a rule
takes arrays and knows nothing of tables, and who asks it puts the answer into words.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from paratope.core.units import PKD_MAX_OUTPUT, PKD_MIN_OUTPUT

Severity = Literal["error", "warning", "info"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")
Position = Literal["low end", "high end", "apart", "within"]
CollapseFault = Literal["", "few values", "no spread"]

# ---- point masses: a value is looked at if it recurs in so many rows
MIN_MASS_VALUES = 20
MIN_MASS_COUNT = 4
MIN_MASS_SHARE = 0.004
MASS_P_LIMIT = 1e-4
NEIGHBOURS = 60
NEIGHBOURING_VALUES = 8
# a step this common among the other values is the grid on which they were rounded
GRID_SHARE = 0.95

# ---- clusters of another unit
MIN_CLUSTER_VALUES = 20
MIN_CLUSTER_ROWS = 4
MIN_CLUSTER_SHARE = 0.005
# rows that a gap between two clusters may hold, tried in turn
GAP_SHARES = (0.0, 0.002, 0.01, 0.02)
# values next to a gap that tell how dense its edges are
EDGE_ROWS = 12
# log10 units: half of the smallest slip of a unit is 1.5, less what assays scatter
MIN_GAP = 0.8
CLUSTER_P_LIMIT = 1e-3

# ---- collapse
MIN_COLLAPSE_ROWS = 10
# without measured values beside them, fewer rows may well share a few values
MIN_ALONE_ROWS = 50
FEW_SHARE = 0.05
# fewer distinct predictions than this are few in any table; more than that are a rounding
FEW_ALWAYS, FEW_AT_MOST = 10, 20
# one antibody measured over and over, or a clipped range, may well tie a fifth of the predictions
MAX_TIE_SHARE = 0.3
# A calibrated model's predictions have r times the SD of the measured values, so that a tenth
# would call an honest model of a hard table collapsed; at a twentieth it explains 0.25 % of them.
MIN_SPREAD_RATIO = 0.05
# predictions of a pKd that agree to this many decimals are one value
_DECIMALS = 4

# ---- range
MAX_OUTSIDE_SHARE = 0.01

# ---- dominance: the share above which one group makes pooled numbers its own
DOMINANT_SHARE = {"antigen": 0.5, "antibody": 0.15, "assay": 0.5, "source": 0.5}
MIN_DOMINANCE_ROWS = 20
# ... if it is also so many times an even share, or so large a share whatever the others are
EVEN_SHARES, ALWAYS_DOMINANT = 2.5, 0.75


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, or worth knowing."""

    code: str  # Stable short name, such as ``"floor"``; the documentation lists all of them
    # error: numbers computed from this will mislead; warning: look before using it; info: no fault
    severity: Severity
    message: str  # What was found, with numbers
    advice: str = ""  # What to do
    confidence: float = 1.0  # How sure the rule is, 0 to 1
    # table, column: Where; empty where it is all of it
    table: str = ""
    column: str = ""
    count: int = 0  # Rows concerned
    rows: tuple[int, ...] = ()  # Their numbers, from 1, header not counted
    examples: tuple[str, ...] = ()
    # The message's numbers, for programs
    numbers: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        assert self.severity in SEVERITIES, self.severity
        assert 0.0 <= self.confidence <= 1.0, self.confidence


def ordered(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Findings by severity, the surest first."""
    return tuple(sorted(findings, key=lambda f: (SEVERITIES.index(f.severity), -f.confidence)))


def percent(part: float, whole: float = 1.0) -> str:
    """A share for people: ``"1.5 %"``."""
    return f"{100 * part / (whole or 1):.1f} %"


def concise(number: float) -> str:
    """A number to four digits, without a minus sign before a zero."""
    return f"{number + 0.0:.4g}"


def counted(number: int, noun: str) -> str:
    """A number with its noun: ``"1 table"``, ``"no errors"``."""
    return f"{number or 'no'} {noun}{'s' * (number != 1)}"


def named(names: Sequence[str], limit: int = 5) -> str:
    """Some names and how many more: ``"a, b and 1 more"``."""
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"


@dataclasses.dataclass(frozen=True, slots=True)
class PointMass:
    """One value that recurs too often: in how many rows, and where among the others it lies.

    `expected` rows are what the density of its neighbours and the rounding would give, `log10_p`
    is of so many or more by chance, corrected for the number of values.
    """

    value: float
    count: int
    expected: float
    log10_p: float
    position: Position

    @property
    def confidence(self) -> float:
        """How surely it is no coincidence, 0.6 to 0.99."""
        return float(np.clip(0.6 - 0.04 * self.log10_p, 0.6, 0.99))


def point_masses(values: np.ndarray) -> list[PointMass]:
    """Values that recur too often (floors, ceilings, flags, defaults), most frequent first.

    `values` are finite numbers, (n,), declared bounds and repeated rows left out. The number of
    rows at one is compared with a Poisson count of the rate that the density of its neighbours and
    the rounding allow, times how much other equally round values are favoured in the same column
    (people write 1 nM sooner than 1.1 nM), with a Bonferroni correction for the number of values.
    """
    from scipy import stats

    if len(values) < MIN_MASS_VALUES:
        return []
    distinct, counts = np.unique(values, return_counts=True)
    suspects = np.flatnonzero(counts >= max(MIN_MASS_COUNT, MIN_MASS_SHARE * len(values)))
    if len(suspects) == 0 or len(distinct) < 8:
        return []
    # the grid and the rate of ties are those of the values that are not suspected themselves
    light = counts <= max(MIN_MASS_COUNT, 5 * np.median(counts))
    expected = _expected_counts(values, distinct, counts, np.repeat(distinct[light], counts[light]))
    scaled = distinct[:, None] * np.array([1.0, 10.0])
    whole = np.abs(scaled - np.round(scaled)) < 1e-6
    decimals = np.where(whole[:, 0], 0, np.where(whole[:, 1], 1, 2))  # 2 for more
    masses = []
    for index in suspects:
        as_round = decimals <= decimals[index]
        as_round[index] = False
        favour = 1.0
        if decimals[index] < 2 and as_round.sum() >= 3:
            ratios = counts[as_round] / np.maximum(expected[as_round], 1.0)
            favour = max(1.0, float(np.median(ratios)))
        rate, count = float(expected[index] * favour), int(counts[index])
        log10_p = float(stats.poisson.logsf(count - 1, rate) / np.log(10.0))
        log10_p += float(np.log10(len(distinct)))
        if log10_p < np.log10(MASS_P_LIMIT) and count >= 2 * rate + 3:
            value = float(distinct[index])
            masses.append(PointMass(value, count, rate, log10_p, _position(values, value)))
    return sorted(masses, key=lambda mass: -mass.count)


def _expected_counts(
    values: np.ndarray, distinct: np.ndarray, counts: np.ndarray, others: np.ndarray
) -> np.ndarray:
    """Rows expected at each distinct value: local density times the step of the rounding."""
    ordered = np.sort(values)
    last = np.cumsum(counts)
    first = last - counts
    # enough rows and enough distinct values on either side, or rounding alone makes it jump
    index, most, half = np.arange(len(distinct)), len(distinct) - 1, NEIGHBOURS // 2
    start = first[np.maximum(index - NEIGHBOURING_VALUES, 0)]
    start = np.minimum(np.maximum(first - half, 0), start)
    end = last[np.minimum(index + NEIGHBOURING_VALUES, most)]
    end = np.maximum(np.minimum(last + half, len(ordered)), end)
    below, above = first - start, end - last
    left = np.where(below >= 3, below / np.maximum(distinct - ordered[start], 1e-9), 0.0)
    right = np.where(above >= 3, above / np.maximum(ordered[end - 1] - distinct, 1e-9), 0.0)
    density = np.maximum(left, right)
    ties = max(0.02, len(others) / max(len(np.unique(others)), 1) - 1.0)
    for decimals in range(5):
        scaled = others * 10.0**decimals
        if len(others) and (np.abs(scaled - np.round(scaled)) < 1e-4).mean() >= GRID_SHARE:
            return np.maximum(density * 10.0**-decimals, 0.01)
    if len(others) and others.min() > -20 and others.max() < 20:
        # a Kd of a few significant digits, turned into a logarithm
        mantissa = 10.0 ** (-others % 1.0)
        for digits in (1, 2, 3):
            scaled = mantissa * 10.0 ** (digits - 1)
            if (np.abs(scaled - np.round(scaled)) < 2e-4 * scaled).mean() >= GRID_SHARE:
                step = np.log10(1.0 + 10.0 ** (1 - digits) / 10.0 ** (-distinct % 1.0))
                return np.maximum(density * step, ties)
    return np.full(len(distinct), ties)


def _position(values: np.ndarray, value: float) -> Position:
    others = values[values != value]
    middle = others[(others > np.quantile(others, 0.02)) & (others < np.quantile(others, 0.98))]
    reach = 0.5 * float(np.std(middle if len(middle) > 2 else others))
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


@dataclasses.dataclass(frozen=True, slots=True)
class UnitCluster:
    """Values that lie apart from the others, across a nearly empty gap.

    `members` are indices, ascending; `log10_p` is of a gap so wide and so empty, given how dense
    the values at its edges are.
    """

    members: np.ndarray
    gap: float
    log10_p: float


def outlying_cluster(values: np.ndarray, min_gap: float = MIN_GAP) -> UnitCluster | None:
    """The smaller of two groups of finite values, (n,), with a gap between them, if there are two.

    Affinities are in log10 units. A gap narrower than `min_gap`, or than half the standard
    deviation of the larger group, is none.
    """
    if len(values) < MIN_CLUSTER_VALUES:
        return None
    order = np.argsort(values, kind="stable")
    splits = [_split_at_gap(order, values[order], share, min_gap) for share in GAP_SHARES]
    return min(filter(None, splits), key=lambda cluster: cluster.log10_p, default=None)


def _split_at_gap(
    order: np.ndarray, ordered: np.ndarray, share: float, min_gap: float
) -> UnitCluster | None:
    """The widest gap with so many rows in it, if it is too wide for the values around it."""
    from scipy import stats

    count = len(ordered)
    inside = int(share * count)
    least = max(MIN_CLUSTER_ROWS, int(np.ceil(MIN_CLUSTER_SHARE * count)))
    left = np.arange(least - 1, count - least - inside)
    if len(left) == 0:
        return None
    widths = ordered[left + inside + 1] - ordered[left]
    at, width = int(left[np.argmax(widths)]), float(widths.max())
    low, high = ordered[: at + 1], ordered[at + inside + 1 :]
    # what little lies in the gap belongs to the side of its widest step
    cut = at + 1 + int(np.argmax(np.diff(ordered[at : at + inside + 2])))
    main, members = (high, order[:cut]) if len(low) <= len(high) else (low, order[cut:])
    spacing = 1e-9
    for side in (low[::-1], high):  # point masses count once
        nearest = np.unique(side[: max(EDGE_ROWS, len(side) // 10)])
        if len(nearest) >= 3:
            spacing = max(spacing, float(np.ptp(nearest)) / (len(nearest) - 1))
    log10_p = float(stats.poisson.logcdf(inside, width / spacing) / np.log(10.0) + np.log10(count))
    if width < max(min_gap, 0.5 * float(np.std(main))) or log10_p > np.log10(CLUSTER_P_LIMIT):
        return None
    return UnitCluster(np.sort(members), width, log10_p)


class Collapse(NamedTuple):
    """How varied a set of values is.

    `tie_share` of the rows, 0 to 1, hold the commonest value; `spread_ratio` is the SD of the
    values over that of the measured ones, NaN where that is unknown or zero.
    """

    rows: int
    distinct: int
    commonest: float
    tie_share: float
    spread_ratio: float
    fault: CollapseFault

    @property
    def message(self) -> str:
        """The fault in words; empty where there is none."""
        plural = "s" * (self.distinct != 1)
        shown = f"{self.distinct} distinct value{plural} in {self.rows} rows"
        return {
            "": "",
            "few values": f"predictions have collapsed: {shown}, {percent(self.tie_share)} of the "
            f"rows at {self.commonest:.3f}",
            "no spread": "predictions have collapsed: their standard deviation is "
            f"{percent(self.spread_ratio)} of the measured values' ({shown})",
        }[self.fault]


def collapse(values: np.ndarray, measured: np.ndarray | None = None) -> Collapse:
    """Whether values have become (nearly) one, or a handful.

    Few are fewer than 5 % of the rows (or of the distinct measured values, where those are fewer),
    but never more than 20; of predictions, always fewer than 10. Predictions have also collapsed
    if 30 % of them are equal, and more than of the measured values, or if their standard deviation
    is below 5 % of the measured values'. `values`, (n,), are a column that stands alone, or with
    the `measured` values of the same rows predictions: each pair once, since equal pairs rightly
    have equal predictions.
    """
    rows = len(values)
    if not rows:
        return Collapse(0, 0, float("nan"), 0.0, float("nan"), "")
    rounded = values if measured is None else np.round(values, _DECIMALS)
    different, counts = np.unique(rounded, return_counts=True)
    tie_share, ratio, tied = float(counts.max()) / rows, float("nan"), False
    if measured is None:
        enough, few = rows >= MIN_ALONE_ROWS, max(3.0, min(FEW_AT_MOST, FEW_SHARE * rows))
    else:
        if (sd := float(np.std(measured))) > 0:
            ratio = float(np.std(values)) / sd
        measured_counts = np.unique(measured, return_counts=True)[1]
        possible = min(rows, len(measured_counts))
        enough = rows >= MIN_COLLAPSE_ROWS
        few = max(min(FEW_ALWAYS, possible / 2), min(FEW_AT_MOST, FEW_SHARE * possible))
        tied = tie_share > max(MAX_TIE_SHARE, measured_counts.max() / rows)
    fault: CollapseFault = ""
    if enough and (tied or len(different) < few):
        fault = "few values"
    elif enough and ratio < MIN_SPREAD_RATIO:
        fault = "no spread"
    commonest = float(different[counts.argmax()])
    return Collapse(rows, len(different), commonest, tie_share, ratio, fault)


def outside_share(
    values: np.ndarray, low: float = PKD_MIN_OUTPUT, high: float = PKD_MAX_OUTPUT
) -> float:
    """Share of values outside a range, by default that of the models' pKd; NaN without values."""
    return float(np.mean((values < low) | (values > high))) if len(values) else float("nan")


@dataclasses.dataclass(frozen=True, slots=True)
class DominantGroup:
    """A group that makes up much of a table: which, its rows, and how many groups there are."""

    label: object
    count: int
    share: float
    groups: int


def dominant_group(labels: Sequence[object] | np.ndarray, kind: str) -> DominantGroup | None:
    """The group that makes pooled numbers mostly its own, if there is one among several.

    `labels` hold the group of each row, (n,); `kind` is a key of ``DOMINANT_SHARE``.
    """
    counts = Counter(labels.tolist() if isinstance(labels, np.ndarray) else labels)
    if len(labels) < MIN_DOMINANCE_ROWS or len(counts) < 2:
        return None
    ((label, count),) = counts.most_common(1)
    needed = max(DOMINANT_SHARE[kind], min(EVEN_SHARES / len(counts), ALWAYS_DOMINANT))
    if count < needed * len(labels):
        return None
    return DominantGroup(label, count, count / len(labels), len(counts))
