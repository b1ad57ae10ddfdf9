"""Where a measured pair differs from its parent: the positions mutated, whatever the table says."""

import functools
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence

import numpy as np

from paratope.data.measurements import Measurement
from paratope.molecules.sequences import Pair

# Chains that differ in at most this share of residues belong to one family.
_FAMILY_DISTANCE = 0.2


def mutated_positions(measurements: Sequence[Measurement]) -> list[frozenset[Hashable]]:
    """Positions in which each pair differs from its parent: (role, parent chain, position from 0).

    The parent is the measurement's own; where it names none, the parent chain nearest to its chain,
    or else the consensus of the chains of the same length within 20 % of each other. A parent's set
    is empty.

    >>> from paratope.molecules.sequences import Antibody, Antigen
    >>> heavies = ("EVQLV", "EVQAV", "EVQLV")
    >>> rows = [Measurement(Pair(Antibody(h), Antigen(("MKV",))), 8.0) for h in heavies]
    >>> [len(positions) for positions in mutated_positions(rows)]
    [0, 1, 0]
    """
    pairs = [_chains(row.pair) for row in measurements]
    stated = [_chains(row.parent) for row in measurements]
    chains: dict[str, list[str]] = defaultdict(list)
    parents: dict[str, list[str]] = defaultdict(list)
    for by_role, pairs_chains in ((chains, pairs), (parents, stated)):
        for role, chain in (item for each in pairs_chains for item in each.items()):
            by_role[role].append(chain)
    references = {role: parent_chains(chains[role], parents[role]) for role in chains}
    differences_of = functools.cache(differences)  # of a parent and a chain, which many rows share
    mutated = []
    for pair, parent_pair in zip(pairs, stated, strict=True):
        positions: set[Hashable] = set()
        for role, chain in pair.items():
            parent = parent_pair.get(role, references[role][chain])
            positions.update((role, parent, at) for at in differences_of(parent, chain))
        mutated.append(frozenset(positions))
    return mutated


def _chains(pair: Pair | None) -> dict[str, str]:
    """Chains by role; none without a pair."""
    if pair is None:
        return {}
    light = {} if pair.antibody.light is None else {"light": pair.antibody.light}
    antigen = {f"antigen{index}": chain for index, chain in enumerate(pair.antigen.chains)}
    return {"heavy": pair.antibody.heavy, **light, **antigen}


def differences(parent: str, chain: str) -> tuple[int, ...]:
    """Positions of `parent` (from 0) in which a chain differs; an insertion counts where it stands.

    Equal lengths are compared position by position, others by the fewest edits.

    >>> differences("ACDEF", "ACEEF"), differences("ACDEF", "ACEF")
    ((2,), (2,))
    """
    if len(parent) == len(chain):
        pairs = enumerate(zip(parent, chain, strict=True))
        return tuple(position for position, (before, after) in pairs if before != after)
    from rapidfuzz.distance import Levenshtein

    return tuple(sorted({edit.src_pos for edit in Levenshtein.editops(parent, chain)}))


def parent_chains(chains: Sequence[str], parents: Iterable[str] = ()) -> dict[str, str]:
    """The parent of each chain: a given parent within reach, or its family's consensus.

    >>> parent_chains(["AAAAAA", "AAAAAC", "AAAAGA", "WWWW"])["AAAAAC"]
    'AAAAAA'
    """
    parent_of: dict[str, str] = {}
    given = dict.fromkeys(parents)
    by_length: dict[int, list[str]] = defaultdict(list)
    rows = Counter(chains)
    for chain in rows:
        by_length[len(chain)].append(chain)
    for length, members in by_length.items():
        residues = _residues(members)
        left = np.arange(len(members))
        for parent in (parent for parent in given if len(parent) == length):
            near = (residues[left] != _residues([parent])).mean(1) <= _FAMILY_DISTANCE
            parent_of.update({members[row]: parent for row in left[near]})
            left = left[~near]
        while len(left):
            near = (residues[left] != residues[left[0]]).mean(1) <= _FAMILY_DISTANCE
            family = [members[row] for row in left[near]]
            measured = [chain for chain in family for _ in range(rows[chain])]
            parent_of.update(dict.fromkeys(family, consensus(measured)))
            left = left[~near]
    return parent_of


def _residues(chains: Sequence[str]) -> np.ndarray:
    return np.frombuffer("".join(chains).encode(), np.uint8).reshape(len(chains), -1)


def consensus(chains: Sequence[str]) -> str:
    """Most frequent residue of each position of equally long chains; ties go to the first letter.

    >>> consensus(["ACD", "ACE", "GCE"])
    'ACE'
    """
    columns = (Counter(sorted(column)) for column in zip(*chains, strict=True))
    return "".join(counts.most_common(1)[0][0] for counts in columns)
