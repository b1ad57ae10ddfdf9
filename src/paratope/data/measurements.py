"""Measured affinities: value, censoring, origin; bounds of non-binders, values of parents."""

import dataclasses
import math
import statistics
from collections import defaultdict
from collections.abc import Sequence
from typing import Literal, NamedTuple

from paratope.core.censoring import Censoring
from paratope.core.errors import InputError
from paratope.molecules.epitope import Epitope
from paratope.molecules.sequences import Pair

# Exact values of one pair in one assay that are further apart than this contradict each other.
REPLICATE_TOLERANCE_LOG10 = 1.0


@dataclasses.dataclass(frozen=True, slots=True)
class Origin:
    """Where a measurement was read."""

    source: str = ""  # Data set or file name
    # Number of the row in the file as published, from 1, header not counted; 0 if unknown
    row: int = 0
    licence: str = ""  # Terms under which the row may be used, such as ``"CC-BY-4.0"``
    complex_id: str = ""  # The source's own name of the complex, such as a PDB code with its chains
    mutations: tuple[str, ...] = ()  # In the source's notation; empty for a parent
    date: str = ""  # ISO date (``YYYY-MM-DD``) or empty
    reference: str = ""  # PubMed identifier or citation
    fold: int | None = None  # The source's own fold number
    note: str = ""  # What a reader should know, in words, such as an approximate antigen


@dataclasses.dataclass(frozen=True, slots=True)
class Conditions:
    """How it was measured."""

    format: str = ""  # Construct: Fab, IgG, scFv, VHH
    method: str = ""  # SPR, BLI, ITC, KinExA,
    temperature_K: float | None = None


ParentKind = Literal["germline", "mature", "lead"]
PARENT_KINDS: tuple[ParentKind, ...] = ("germline", "mature", "lead")


class PairContext(NamedTuple):
    """What is known of a pair beside its residues; each is optional."""

    parent: Pair | None = None  # What its mutations are counted from
    parent_pkd: float | None = None  # Measured
    parent_is: ParentKind | None = None
    epitope: Epitope | None = None  # None: not known


@dataclasses.dataclass(frozen=True, slots=True)
class Measurement:
    """One measured value of one pair; at least one of `pkd`, `delta_pkd`, `score` is set."""

    pair: Pair
    # -log10(Kd / M); None with ``AT_MOST``: a non-binder whose bound is not known yet
    pkd: float | None = None
    # About the value that is set: a Kd "> 10 uM" is a pKd ``AT_MOST`` 5
    censoring: Censoring = Censoring.EXACT
    assay: str = ""  # Source or campaign: the unit inside which values compare
    # pKd minus the parent's, where a parent was measured beside it
    delta_pkd: float | None = None
    parent: Pair | None = None  # What `delta_pkd` is relative to
    score: float | None = None  # A value of any other unit, higher = stronger
    conditions: Conditions = Conditions()
    origin: Origin = Origin()

    def __post_init__(self) -> None:
        got = (self.pkd, self.delta_pkd, self.score)
        if any(value is not None and not math.isfinite(value) for value in got):
            raise InputError(f"a measured value must be finite, got pkd, delta_pkd, score = {got}")
        if not self.has_value and self.censoring is not Censoring.AT_MOST:
            raise InputError("a measurement needs a pKd, a ΔpKd or a score")

    @property
    def has_value(self) -> bool:
        """Whether any value is set; a non-binder whose bound is not known yet has none."""
        return not (self.pkd is None and self.delta_pkd is None and self.score is None)


def bound_non_binders(
    measurements: Sequence[Measurement], default_pkd: float | None = None
) -> list[Measurement]:
    """Give every non-binder without a Kd its bound: the weakest pKd measured in its assay.

    Where an assay measured scores and no pKd, the bound is its weakest score; `default_pkd`, the
    assay's stated limit, goes before both. Those that cannot be bounded keep None.

    >>> from paratope.molecules.sequences import Antibody, Antigen
    >>> pair = Pair(Antibody("EVQL"), Antigen(("MKV",)))
    >>> rows = [Measurement(pair, 7.5), Measurement(pair, None, Censoring.AT_MOST)]
    >>> bound_non_binders(rows)[1].pkd
    7.5
    """
    weakest: dict[tuple[str, str], float] = {}
    for row in measurements:
        for kind, value in (("pkd", row.pkd), ("score", row.score)):
            if value is not None and row.censoring is not Censoring.AT_LEAST:
                key = kind, row.assay
                weakest[key] = min(value, weakest.get(key, math.inf))
    bounded = []
    for row in measurements:
        if not row.has_value:
            limit = weakest.get(("pkd", row.assay)) if default_pkd is None else default_pkd
            score = weakest.get(("score", row.assay)) if limit is None else None
            row = dataclasses.replace(row, pkd=limit, score=score)
        bounded.append(row)
    return bounded


class ParentValues:
    """Measured pKd of parents: what a ΔΔG is counted from.

    Parents are known by their residues, whatever their rows are called.

    >>> from paratope.molecules.sequences import Antibody, Antigen
    >>> parent = Pair(Antibody("EVQL", None, "wt"), Antigen(("MKV",)))
    >>> values = ParentValues()
    >>> for pkd in (6.0, 9.0, 9.1):
    ...     values.add(Measurement(parent, pkd, assay="SPR"))
    >>> values.median(parent, "SPR")[0]
    9.0
    """

    def __init__(self) -> None:
        self._of_assay: dict[object, list[float]] = defaultdict(list)
        self._anywhere: dict[object, list[float]] = defaultdict(list)
        self._medians: dict[tuple[Pair, str], tuple[float | None, str]] = {}

    def add(self, row: Measurement) -> None:
        """Take a row's pKd, if it has one that is no bound."""
        if row.pkd is not None and row.censoring is Censoring.EXACT:
            self._of_assay[row.assay, row.pair.residues].append(row.pkd)
            self._anywhere[row.pair.residues].append(row.pkd)
            self._medians.clear()

    def median(self, parent: Pair, assay: str) -> tuple[float | None, str]:
        """Median pKd of a parent, in the assay if it was measured there, and a note on it.

        None if it was measured nowhere; the note is empty unless replicates disagree.
        """
        if (parent, assay) not in self._medians:
            residues = parent.residues
            values = self._of_assay.get((assay, residues)) or self._anywhere.get(residues, [])
            median, note = statistics.median(values) if values else None, ""
            if values and max(values) - min(values) > REPLICATE_TOLERANCE_LOG10:
                note = (
                    f"parent {parent.antibody.name!r} was measured {len(values)} times, from "
                    f"{min(values):.3g} to {max(values):.3g}: differences are counted from its "
                    f"median pKd, {median:.3g}"
                )
            self._medians[parent, assay] = median, note
        return self._medians[parent, assay]
