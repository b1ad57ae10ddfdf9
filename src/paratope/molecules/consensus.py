"""The consensus of an antibody family: what its members were likely made from."""

from collections import Counter
from collections.abc import Sequence

from paratope.molecules.numbering import find_domains
from paratope.molecules.sequences import Antibody, Antigen, Pair

CONSENSUS = "consensus"


def consensus_pair(members: Sequence[Pair]) -> Pair:
    """The commonest residue at each IMGT number of the commonest numbering, or a member like it."""
    heavy = _consensus_chain([pair.antibody.heavy for pair in members])
    lights = [pair.antibody.light for pair in members if pair.antibody.light is not None]
    light = _consensus_chain(lights) if lights else None
    antigen = members[0].antigen
    for pair in members:
        if (pair.antibody.heavy, pair.antibody.light) == (heavy, light):
            return Pair(pair.antibody, antigen)
    return Pair(Antibody(heavy, light, CONSENSUS), Antigen(antigen.chains, antigen.name))


def _consensus_chain(chains: Sequence[str]) -> str:
    numbered: list[tuple[tuple[str, ...], str]] = []
    for chain in chains:
        if domains := find_domains(chain):
            numbered.append((domains[0].positions, domains[0].residues))
        else:  # counted from 1
            numbered.append((tuple(map(str, range(1, len(chain) + 1))), chain))
    patterns = Counter(positions for positions, _ in numbered)
    pattern = min(patterns, key=lambda positions: (-patterns[positions], len(positions), positions))
    counts: dict[str, Counter[str]] = {position: Counter() for position in pattern}
    for positions, residues in numbered:
        for position, residue in zip(positions, residues, strict=True):
            if position in counts:
                counts[position][residue] += 1
    return "".join(
        min(count, key=lambda residue: (-count[residue], residue)) for count in counts.values()
    )
