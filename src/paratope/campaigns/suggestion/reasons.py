"""Why a candidate was chosen, in words."""

from collections import Counter
from typing import NamedTuple

from paratope.campaigns.suggestion.candidates import Candidate
from paratope.campaigns.suggestion.knowledge import Knowledge
from paratope.molecules.mutations import Mutation, chain_domain

# So much more than the median standard deviation is called uncertain, not just unusual.
_UNCERTAIN = 1.1
_NAMED_POSITIONS = 3
_SUFFIXES = {1: "st", 2: "nd", 3: "rd"}


class Standing(NamedTuple):
    """Where a candidate stands among all of them.

    Attributes
    ----------
    rank : int
        By expected value, from 1.
    of : int
        Candidates in all.
    uncertainty : float
        Its standard deviation as a multiple of the median one.
    """

    rank: int
    of: int
    uncertainty: float


class Coverage:
    """How often the campaign has measured each position and each region mutated."""

    def __init__(self, knowledge: Knowledge) -> None:
        self._knowledge = knowledge
        self.variants = len(knowledge.variants)
        self.positions: Counter[tuple[int, str, int]] = Counter()
        self.regions: Counter[str] = Counter()
        for variant in knowledge.variants:
            places = {(variant.parent, one.chain, one.position) for one in variant.mutations}
            self.positions.update(places)
            self.regions.update({self.region(variant.parent, one) for one in variant.mutations})
        counts = sorted(len(variant.mutations) for variant in knowledge.variants)
        self.usual_mutations = counts[len(counts) // 2] if counts else 0

    def region(self, parent: int, mutation: Mutation) -> str:
        """Region of a mutation, as ``H3`` or ``LFR1``."""
        domain = chain_domain(self._knowledge.parents[parent].antibody, mutation.chain)
        region = domain.regions[max(mutation.position, 1) - 1]
        return mutation.chain + region.removeprefix("CDR")

    def unseen(self, candidate: Candidate) -> list[str]:
        """Its positions that no measured variant mutates, by IMGT number."""
        parent = self._knowledge.parents[candidate.parent].antibody
        found = []
        for one in candidate.mutations:
            if not self.positions[candidate.parent, one.chain, one.position]:
                labels = chain_domain(parent, one.chain).positions
                found.append(f"{one.chain}:{labels[max(one.position, 1) - 1]}")
        return list(dict.fromkeys(found))


def reason(candidate: Candidate, standing: Standing, batch: int, coverage: Coverage) -> str:
    """One sentence: what it is meant to do, and where it comes from.

    Parameters
    ----------
    candidate : Candidate
    standing : Standing
    batch : int
        Size of the batch: one of so many highest expected values is exploitation.
    coverage : Coverage
    """
    parts = []
    if standing.rank <= batch:
        which = "highest" if standing.rank == 1 else f"{_ordinal(standing.rank)} highest"
        parts.append(f"exploit: {which} expected of {standing.of:,}")
        if standing.uncertainty >= _UNCERTAIN:
            parts.append(f"uncertain: {_little_known(candidate, coverage)}")
    else:
        why = "uncertain" if standing.uncertainty >= _UNCERTAIN else "unlike those before it"
        rank = f"{_ordinal(standing.rank)} highest expected of {standing.of:,}"
        parts += [f"explore: {why}, {_little_known(candidate, coverage)}", rank]
    parts.append(provenance(candidate, coverage))
    return "; ".join(part for part in parts if part)


def provenance(candidate: Candidate, coverage: Coverage) -> str:
    """Where a candidate comes from.

    Parameters
    ----------
    candidate : Candidate
    coverage : Coverage
    """
    if candidate.origin == "recombination":
        return f"recombination of {' and '.join(candidate.sources)}"
    if candidate.origin == "neighbour":
        return f"{candidate.sources[0]} with one residue changed"
    known = sum(
        coverage.positions[candidate.parent, one.chain, one.position] > 0
        for one in candidate.mutations
    )
    if candidate.origin in ("double", "combinatorial"):
        return f"{len(candidate.mutations)} promising mutations together"
    if candidate.origin == "single":
        return f"single mutation, position {'measured' if known else 'never measured'} before"
    return ""


def _little_known(candidate: Candidate, coverage: Coverage) -> str:
    """What the campaign knows least of it: positions, a number of mutations, or a region."""
    unseen = coverage.unseen(candidate)
    if unseen:
        more = "…" * (len(unseen) > _NAMED_POSITIONS)
        return f"{', '.join(unseen[:_NAMED_POSITIONS])}{more} never mutated before"
    regions = dict.fromkeys(coverage.region(candidate.parent, one) for one in candidate.mutations)
    if not regions:
        return "the parent itself"
    usual = coverage.usual_mutations
    if len(candidate.mutations) > usual:
        return (
            f"{len(candidate.mutations)} mutations, where half of the measured have at most {usual}"
        )
    rarest = min(regions, key=lambda name: coverage.regions[name])
    if 2 * coverage.regions[rarest] > coverage.variants:  # nothing of it is rare by itself
        return "a combination unlike those measured"
    return (
        f"region {rarest} mutated in {coverage.regions[rarest]:,} of {coverage.variants:,} measured"
    )


def _ordinal(number: int) -> str:
    """English ordinal.

    >>> [_ordinal(n) for n in (2, 3, 11, 21, 112)]
    ['2nd', '3rd', '11th', '21st', '112th']
    """
    last = 0 if 10 <= number % 100 <= 20 else number % 10
    return f"{number:,}{_SUFFIXES.get(last, 'th')}"
