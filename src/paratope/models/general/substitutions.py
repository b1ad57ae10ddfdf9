"""What mutations do to a pKd on average: a sum over them, learned from measured mutants.

A substitution is scored by how unlike its residues are and by what it does to aromatic side
chains, ``s = BLOSUM62(before, after) / SD + AROMATIC (aromatic(after) - aromatic(before))``: Tyr,
Trp and Phe make most contacts of a paratope (Koide & Sidhu 2009, ACS Chem. Biol. 4:325). In the
antibody each is weighted by how much single mutants of that IMGT position change on average, in
the antigen by whether it is in the epitope, where that is known. n mutations add up to
``sum / sqrt(n)``: those of a library were selected together and cost less than their sum. Any
mutation of the antibody costs something besides, by the mean weight of its positions.
"""

import dataclasses
import functools
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from paratope.core.errors import InputError
from paratope.encoders.residue import blosum62
from paratope.molecules.mutations import Mutation, mutations_between
from paratope.molecules.numbering import find_domains
from paratope.molecules.sequences import AMINO_ACIDS, Antibody, Antigen, Pair

# Chosen on mutants of other antigens and landscapes of other families (benchmark_general).
AROMATIC = 2.0
# Single mutants that the mean of a position's region is worth, and those the mean of all is worth.
_REGION_MUTANTS, _ALL_MUTANTS = 4.0, 5.0
# Positions of frameworks of which no mutant was measured weigh this share of the mean.
_FRAMEWORK = 0.5
_DELTA_RANGE_PKD = (-5.0, 2.0)
# Any mutation within the epitope costs this much, in the unit of s, before its residues count.
_EPITOPE_COST = 3.0
# Weights of antigen mutations inside the epitope, outside, and where no epitope is named.
INSIDE, OUTSIDE, UNKNOWN = 1.0, 0.1, 0.4
# An antigen that differs in a larger share of residues is another one, not a mutant.
_MOST_CHANGED = 0.3
_GAP_SCORE = -4.0  # of BLOSUM62, for a residue that is gone or new


class Change(NamedTuple):
    """One residue that differs from the parent's; an inserted or deleted one is ``-``."""

    chain: str  # H, L, A, A2, …
    number: str  # IMGT number, such as 111A; in an antigen counted from 1
    region: str  # CDR1, …; empty in an antigen
    before: str
    after: str

    def __str__(self) -> str:
        """As scans write it: ``H:31S→A``."""
        return f"{self.chain}:{self.number}{self.before}→{self.after}"


def changes_between(parent: Pair, variant: Pair) -> tuple[Change, ...]:
    """What differs from a parent of the same format, antibody first, residue by residue.

    An antigen of other chains, or less than 70 % like the parent's, is another antigen: its
    residues are not compared. Raises `InputError` if one antibody lacks a chain of the other.
    """
    mutations: list[Mutation] = list(mutations_between(parent.antibody, variant.antibody))
    if is_mutant(parent.antigen, variant.antigen):
        both = (Pair(parent.antibody, antigen) for antigen in (parent.antigen, variant.antigen))
        mutations += mutations_between(*both)
    changes = []
    for mutation in mutations:
        place = _place(parent.antibody, mutation)
        letters = mutation.after or "-" if mutation.before else mutation.after
        changes += [Change(*place, mutation.before or "-", letter) for letter in letters]
    return tuple(changes)


def is_mutant(parent: Antigen, variant: Antigen) -> bool:
    """Whether an antigen is a mutant of another: as many chains, of equal lengths, mostly alike."""
    chains = tuple(zip(parent.chains, variant.chains, strict=False))
    if [*map(len, parent.chains)] != [*map(len, variant.chains)] or parent.chains == variant.chains:
        return False
    apart = sum(a != b for old, new in chains for a, b in zip(old, new, strict=True))
    return apart <= _MOST_CHANGED * sum(map(len, parent.chains))


def _place(parent: Antibody, mutation: Mutation) -> tuple[str, str, str]:
    if mutation.chain not in ("H", "L"):
        return mutation.chain, str(mutation.position), ""
    chain = parent.heavy if mutation.chain == "H" else parent.light or ""
    if not (domains := find_domains(chain)):
        raise InputError("the parent is no antibody: no variable domain was found")
    index = min(max(mutation.position - 1, 0), len(domains[0].positions) - 1)
    return mutation.chain, domains[0].positions[index], domains[0].regions[index]


@functools.cache
def similarity(before: str, after: str) -> float:
    """The score s of one substitution; see the module. X and unknown letters count as no change.

    >>> similarity("Y", "A") < similarity("S", "A") < similarity("S", "Y")
    True
    """
    aromatic = ("FWY".find(after) >= 0) - 1.0 * ("FWY".find(before) >= 0)
    if "-" in (before, after):
        return _GAP_SCORE / _blosum_sd() + AROMATIC * aromatic
    if before not in AMINO_ACIDS or after not in AMINO_ACIDS:
        return 0.0
    score = blosum62()[AMINO_ACIDS.index(before), AMINO_ACIDS.index(after)]
    return float(score) / _blosum_sd() + AROMATIC * aromatic


@functools.cache
def _blosum_sd() -> float:
    return float(blosum62().std())


class MeasuredChange(NamedTuple):
    """A mutant measured beside its parent."""

    changes: tuple[Change, ...]
    delta_pkd: float
    group: str  # complex; mutants of one count as one where means are taken


@dataclasses.dataclass(frozen=True)
class SubstitutionScore:
    """Scores of changes, in units that the level's slopes turn into pKd.

    `weights` are of positions (``H31``; insertions count as their number) and of regions
    (``H CDR1``); what is in neither has `mean_weight`.
    """

    weights: Mapping[str, float]
    mean_weight: float

    @classmethod
    def of_mutants(cls, mutants: Iterable[MeasuredChange]) -> "SubstitutionScore":
        """Learn the weights: mean absolute ΔpKd of single mutants, shrunk to region and to all."""
        by_site: dict[tuple[str, str], list[float]] = defaultdict(list)
        for mutant in mutants:
            if len(mutant.changes) == 1 and mutant.changes[0].region:
                change = mutant.changes[0]
                size = abs(float(np.clip(mutant.delta_pkd, *_DELTA_RANGE_PKD)))
                by_site[_site(change), _region(change)].append(size)
        sizes = [size for values in by_site.values() for size in values]
        if not sizes:
            return cls({}, 1.0)
        mean = float(np.mean(sizes))
        by_region: dict[str, list[float]] = defaultdict(list)
        for (_, region), values in by_site.items():
            by_region[region] += values
        weights = {
            region: (sum(values) + _ALL_MUTANTS * mean) / (len(values) + _ALL_MUTANTS)
            for region, values in by_region.items()
        }
        sites = {
            site: (sum(values) + _REGION_MUTANTS * weights[region])
            / (len(values) + _REGION_MUTANTS)
            for (site, region), values in by_site.items()
        }
        return cls({**weights, **sites}, mean)

    def weight(self, change: Change) -> float:
        """Weight of a position of the antibody."""
        framework = _FRAMEWORK if change.region.startswith("FR") else 1.0
        of_region = self.weights.get(_region(change), framework * self.mean_weight)
        return self.weights.get(_site(change), of_region)

    def antibody(self, changes: Sequence[Change]) -> np.ndarray:
        """Contribution of each change to the antibody's score, (n,); antigen changes are 0."""
        inside = [change for change in changes if change.region]
        scale = max(1.0, np.sqrt(len(inside)))
        return np.array(
            [
                self.weight(change) * similarity(change.before, change.after) / scale
                if change.region
                else 0.0
                for change in changes
            ]
        )

    def cost(self, changes: Sequence[Change]) -> np.ndarray:
        """Each change's share, (n,), of what any mutation of the antibody costs."""
        count = max(1, sum(bool(change.region) for change in changes))
        return np.array(
            [-self.weight(change) / count if change.region else 0.0 for change in changes]
        )

    @staticmethod
    def antigen(
        changes: Sequence[Change], epitope: frozenset[tuple[str, int]] | None = None
    ) -> np.ndarray:
        """Contribution of each change to the antigen's score, (n,); antibody changes are 0.

        `epitope` holds (chain, position), such as ("A", 93).
        """
        scale = max(1.0, np.sqrt(sum(not change.region for change in changes)))
        values = []
        for change in changes:
            weight = UNKNOWN
            if epitope:
                inside = (change.chain, int(change.number)) in epitope if not change.region else 0
                weight = INSIDE if inside else OUTSIDE
            cost = similarity(change.before, change.after) - _EPITOPE_COST
            values.append(0.0 if change.region else weight * cost / scale)
        return np.array(values)


def _site(change: Change) -> str:
    return change.chain + change.number.rstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ")


def _region(change: Change) -> str:
    return f"{change.chain} {change.region}"
