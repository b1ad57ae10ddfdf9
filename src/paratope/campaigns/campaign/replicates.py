"""Replicates of one pair in one assay as one row, with its standard deviation."""

import dataclasses
from collections import defaultdict
from collections.abc import Hashable, Sequence

import numpy as np

from paratope.core.censoring import Censoring

# Replicates further apart than this many standard deviations of the assay's values, or than one
# log10 of Kd, contradict each other.
CONTRADICTION_SDS = 1.5
CONTRADICTION_LOG10 = 1.0
# A variance of two or three replicates says little: it is averaged with that of all replicates of
# the assay, which counts as much as this many degrees of freedom (as limma does; Smyth 2004).
_PRIOR_FREEDOM = 4.0


@dataclasses.dataclass(frozen=True, slots=True)
class Readings:
    """All measurements of one pair in one assay."""

    first: int  # Index of the first of them among all measurements
    # exact, upper, lower: Values, bounds from above (the true value is at most this), bounds from
    # below
    exact: tuple[float, ...]
    upper: tuple[float, ...]
    lower: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.exact) + len(self.upper) + len(self.lower)

    def value(self) -> tuple[float, Censoring]:
        """The merged value and what it is: median, tightest bound, or midpoint of bounds."""
        if self.exact:
            return float(np.median(self.exact)), Censoring.EXACT
        if self.upper and self.lower:
            return (min(self.upper) + max(self.lower)) / 2, Censoring.EXACT
        if self.upper:
            return min(self.upper), Censoring.AT_MOST
        return max(self.lower), Censoring.AT_LEAST

    def spread(self) -> np.ndarray:
        """Values that tell the noise: the exact ones and the bounds that they contradict."""
        if not self.exact:
            both = [min(self.upper), max(self.lower)] if self.upper and self.lower else []
            return np.array(both)
        middle = float(np.median(self.exact))
        broken = [bound for bound in self.upper if bound < middle]
        broken += [bound for bound in self.lower if bound > middle]
        return np.array([*self.exact, *broken])


@dataclasses.dataclass(frozen=True, slots=True)
class MergedRows:
    """One row for each pair in each assay; arrays (rows,)."""

    first: np.ndarray  # Index of a measurement of each
    values: np.ndarray
    censoring: np.ndarray
    replicates: np.ndarray
    noise_sd: np.ndarray
    notes: tuple[str, ...]


def merge(
    keys: Sequence[Hashable],
    assays: Sequence[str],
    values: Sequence[float],
    censoring: Sequence[int],
    *,
    log10: bool,
) -> MergedRows:
    """Merge the measurements of each key in each assay, in order of first appearance.

    Where exact values are there, their median counts, and bounds they satisfy say nothing more. On
    a `log10` scale a difference of 1 contradicts in any assay.

    >>> rows = merge("aab", ["spr"] * 3, [7.0, 7.4, 9.0], [0, 0, 0], log10=True)
    >>> rows.values.tolist(), rows.replicates.tolist(), rows.noise_sd.round(2).tolist()
    ([7.2, 9.0], [2, 1], [0.2, nan])
    """
    groups: dict[tuple[str, Hashable], list[int]] = defaultdict(list)
    for index, (key, assay) in enumerate(zip(keys, assays, strict=True)):
        groups[assay, key].append(index)
    readings = [
        Readings(
            rows[0],
            *(
                tuple(float(values[row]) for row in rows if censoring[row] == kind)
                for kind in (Censoring.EXACT, Censoring.AT_MOST, Censoring.AT_LEAST)
            ),
        )
        for rows in groups.values()
    ]
    merged = [reading.value() for reading in readings]
    medians, codes = (np.array(column) for column in zip(*merged, strict=True))
    of_group = np.array([assay for assay, _ in groups])
    noise = np.full(len(readings), np.nan)
    counts = np.array([len(reading) for reading in readings])
    notes: list[str] = []
    for assay in dict.fromkeys(of_group.tolist()):
        rows = np.flatnonzero(of_group == assay)
        spreads = [readings[row].spread() for row in rows]
        noise[rows], copies, said = _noise(spreads, medians[rows], assay, log10)
        notes += said
        if copies:
            counts[rows] = 1
    first = np.array([reading.first for reading in readings])
    return MergedRows(first, medians, codes, counts, noise, tuple(notes))


def _noise(
    spreads: Sequence[np.ndarray], merged: np.ndarray, assay: str, log10: bool
) -> tuple[np.ndarray, bool, list[str]]:
    """Standard deviation of each merged value of one assay; whether all are copies; a warning.

    ``v_i' = (d_0 v_0 + d_i v_i) / (d_0 + d_i)``, v the variances and d their degrees of freedom,
    v_0 the pooled variance (Smyth 2004).
    """
    counts = np.array([len(values) for values in spreads])
    repeated = counts > 1
    noise = np.full(len(spreads), np.nan)
    if not repeated.any():
        return noise, False, []
    variance = np.array([values.var(ddof=1) if len(values) > 1 else 0.0 for values in spreads])
    freedom = np.maximum(counts - 1, 0)
    pooled = float((variance * freedom).sum() / freedom.sum())
    if pooled == 0:
        said = (
            f"assay {assay!r}: all {int(repeated.sum())} repeated variants have exactly the same "
            "value again: read as copies of one measurement, not as replicates"
        )
        return noise, True, [said]
    moderated = (_PRIOR_FREEDOM * pooled + freedom * variance) / (_PRIOR_FREEDOM + freedom)
    noise[repeated] = np.sqrt(moderated / np.maximum(counts, 1))[repeated]
    total = float(np.std(merged, ddof=1)) if len(merged) > 1 else 0.0
    tolerance = CONTRADICTION_SDS * total if total > 0 else CONTRADICTION_LOG10
    if log10:
        tolerance = min(tolerance, CONTRADICTION_LOG10)
    wide = sum(len(values) > 1 and float(np.ptp(values)) > tolerance for values in spreads)
    if not wide:
        return noise, False, []
    unit = " log10" if log10 else ""
    said = (
        f"assay {assay!r}: replicates of {wide} of {repeated.sum()} repeated variants contradict "
        f"each other (more than {tolerance:.2g}{unit} apart); one measurement has a standard "
        f"deviation of {np.sqrt(pooled):.2g}{unit} where variants differ by {total:.2g}: such rows "
        "count for less, and intervals are wider"
    )
    return noise, False, [said]
