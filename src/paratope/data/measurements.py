"""Measured affinities: value, censoring, origin; merging of replicates and conflicts."""

import dataclasses
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

from paratope.core.censoring import Censoring
from paratope.core.errors import InputError
from paratope.molecules.sequences import Pair

__all__ = [
    "Conditions",
    "Measurement",
    "Merged",
    "Origin",
    "bound_non_binders",
    "merge_replicates",
]


@dataclasses.dataclass(frozen=True, slots=True)
class Origin:
    """Where a measurement was read.

    Attributes
    ----------
    source : str
        Data set or file name.
    row : int
        Number of the row in the file as published, from 1, header not counted; 0 if unknown.
    licence : str
        Terms under which the row may be used, such as ``"CC-BY-4.0"``.
    complex_id : str
        The source's own name of the complex, such as a PDB code with its chains.
    mutations : tuple of str
        In the source's notation; empty for a parent.
    date : str
        ISO date (``YYYY-MM-DD``) or empty.
    reference : str
        PubMed identifier or citation.
    fold : int or None
        The source's own fold number.
    """

    source: str = ""
    row: int = 0
    licence: str = ""
    complex_id: str = ""
    mutations: tuple[str, ...] = ()
    date: str = ""
    reference: str = ""
    fold: int | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Conditions:
    """How it was measured.

    Attributes
    ----------
    format : str
        Construct: Fab, IgG, scFv, VHH.
    method : str
        SPR, BLI, ITC, KinExA, ...
    temperature_K : float or None
    """

    format: str = ""
    method: str = ""
    temperature_K: float | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Measurement:
    """One measured value of one pair; at least one of `pkd`, `delta_pkd`, `score` is set.

    Attributes
    ----------
    pair : Pair
    pkd : float or None
        -log10(Kd / M). None with ``AT_MOST``: a non-binder whose bound is not known yet.
    censoring : Censoring
        About the value that is set: a Kd "> 10 uM" is a pKd ``AT_MOST`` 5.
    assay : str
        Source or campaign: the unit inside which values compare.
    delta_pkd : float or None
        pKd minus the parent's, where a parent was measured beside it.
    parent : Pair or None
        What `delta_pkd` is relative to.
    score : float or None
        A value of any other unit, higher = stronger.
    conditions : Conditions
    origin : Origin
    """

    pair: Pair
    pkd: float | None = None
    censoring: Censoring = Censoring.EXACT
    assay: str = ""
    delta_pkd: float | None = None
    parent: Pair | None = None
    score: float | None = None
    conditions: Conditions = Conditions()
    origin: Origin = Origin()

    def __post_init__(self) -> None:
        values = (self.pkd, self.delta_pkd, self.score)
        if any(value is not None and not math.isfinite(value) for value in values):
            raise InputError(
                f"a measured value must be finite, got pkd, delta_pkd, score = {values}"
            )
        if all(value is None for value in values) and self.censoring is not Censoring.AT_MOST:
            raise InputError("a measurement needs a pKd, a ΔpKd or a score")


@dataclasses.dataclass(frozen=True, slots=True)
class Merged:
    """Replicates of one pair in one assay as one measurement.

    Attributes
    ----------
    measurement : Measurement
        Median of the exact values; the tightest bound if there are only bounds.
    count : int
        Rows merged.
    sd : float
        Sample standard deviation of the exact values; NaN with fewer than two.
    conflict : bool
        True if exact values differ by more than the tolerance, or a bound contradicts them.
    """

    measurement: Measurement
    count: int
    sd: float
    conflict: bool


def bound_non_binders(
    measurements: Sequence[Measurement], default_pkd: float | None = None
) -> list[Measurement]:
    """Give every non-binder without a Kd its bound: the weakest pKd measured in its assay.

    Where an assay measured scores and no pKd, the bound is its weakest score.

    Parameters
    ----------
    measurements : sequence of Measurement
    default_pkd : float, optional
        The assay's stated limit, used instead where it is given; also for assays without any value.

    Returns
    -------
    list of Measurement
        In the same order; those that cannot be bounded (nothing measured, no default) keep None.

    Examples
    --------
    >>> from paratope.molecules.sequences import Antibody, Antigen
    >>> pair = Pair(Antibody("EVQL"), Antigen(("MKV",)))
    >>> rows = [Measurement(pair, 7.5), Measurement(pair, None, Censoring.AT_MOST)]
    >>> bound_non_binders(rows)[1].pkd
    7.5
    """
    weakest_pkd: dict[str, float] = {}
    weakest_score: dict[str, float] = {}
    for row in measurements:
        if row.censoring is Censoring.AT_LEAST:
            continue
        if row.pkd is not None:
            weakest_pkd[row.assay] = min(row.pkd, weakest_pkd.get(row.assay, math.inf))
        if row.score is not None:
            weakest_score[row.assay] = min(row.score, weakest_score.get(row.assay, math.inf))
    bounded = []
    for row in measurements:
        if row.pkd is None and row.delta_pkd is None and row.score is None:
            limit = default_pkd if default_pkd is not None else weakest_pkd.get(row.assay)
            score = weakest_score.get(row.assay) if limit is None else None
            row = dataclasses.replace(row, pkd=limit, score=score)
        bounded.append(row)
    return bounded


def merge_replicates(
    measurements: Iterable[Measurement], tolerance_log10: float = 1.0
) -> list[Merged]:
    """Merge measurements of the same pair (residues, not names) in the same assay.

    Parameters
    ----------
    measurements : iterable of Measurement
        Rows with a `pkd`; others are not merged and raise.
    tolerance_log10 : float
        Exact values further apart than this are a conflict.

    Returns
    -------
    list of Merged
        In order of first appearance. Where exact values exist, bounds they satisfy are dropped.

    Raises
    ------
    InputError
        If a row has no pKd.
    """
    groups: dict[tuple[object, ...], list[Measurement]] = defaultdict(list)
    for row in measurements:
        if row.pkd is None:
            raise InputError(
                "merge_replicates needs a pKd in every row; call bound_non_binders first"
            )
        key = (row.pair.antibody.chains, row.pair.antigen.chains, row.assay)
        groups[key].append(row)
    return [_merge(rows, tolerance_log10) for rows in groups.values()]


def _merge(rows: list[Measurement], tolerance: float) -> Merged:
    exact = sorted(
        row.pkd for row in rows if row.censoring is Censoring.EXACT and row.pkd is not None
    )
    upper = [row.pkd for row in rows if row.censoring is Censoring.AT_MOST and row.pkd is not None]
    lower = [row.pkd for row in rows if row.censoring is Censoring.AT_LEAST and row.pkd is not None]
    if exact:
        middle = len(exact) // 2
        value = exact[middle] if len(exact) % 2 else (exact[middle - 1] + exact[middle]) / 2
        mean = sum(exact) / len(exact)
        sd = (
            math.sqrt(sum((x - mean) ** 2 for x in exact) / (len(exact) - 1))
            if len(exact) > 1
            else math.nan
        )
        conflict = exact[-1] - exact[0] > tolerance
        conflict |= any(value > bound + tolerance for bound in upper) or any(
            value < bound - tolerance for bound in lower
        )
        best = next(row for row in rows if row.censoring is Censoring.EXACT)
        delta = best.delta_pkd
        if delta is not None and best.pkd is not None:
            delta += value - best.pkd  # relative to the same parent
        merged = dataclasses.replace(best, pkd=value, delta_pkd=delta)
        return Merged(merged, len(rows), sd, conflict)
    conflict = bool(upper and lower and min(upper) < max(lower) - tolerance)
    if upper:
        best = min(
            (row for row in rows if row.censoring is Censoring.AT_MOST),
            key=lambda row: row.pkd or 0.0,
        )
    else:
        best = max(rows, key=lambda row: row.pkd or 0.0)
    return Merged(best, len(rows), math.nan, conflict)
