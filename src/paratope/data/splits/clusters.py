"""Groups of related molecules: antigens by alignment, both kinds by being the same molecule."""

import functools
from collections.abc import Iterable, Sequence

import numpy as np

from paratope.core.errors import InputError
from paratope.molecules.alignment import Hits, search
from paratope.molecules.sequences import Antigen

# A containment of fewer residues than this is chance.
MIN_FRAGMENT = 5
# Ends that two constructs of one molecule may differ in, as a share of the shorter.
_LOOSE_END = 0.05
_ANCHOR = 12
# Chains of one length this close to a leader are aligned through it.
_LEADER_DISTANCE = 0.05


def linked(count: int, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Single linkage: the connected components of links, numbered by first appearance.

    Parameters
    ----------
    count : int
        Number of items.
    first, second : np.ndarray of int, (links,)

    Returns
    -------
    np.ndarray of int, (count,)

    Examples
    --------
    >>> linked(4, np.array([0, 3]), np.array([2, 2])).tolist()
    [0, 1, 0, 0]
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    links = coo_matrix((np.ones(len(first), np.int8), (first, second)), shape=(count, count))
    _, labels = connected_components(links, directed=False)
    return renumbered(labels)


def renumbered(labels: Iterable[object]) -> np.ndarray:
    """Labels of any kind as integers in order of first appearance.

    >>> renumbered(["b", "a", "b"]).tolist()
    [0, 1, 0]
    """
    numbers: dict[object, int] = {}
    return np.array([numbers.setdefault(label, len(numbers)) for label in _items(labels)], np.int64)


def _items(labels: Iterable[object]) -> Iterable[object]:
    return labels.tolist() if isinstance(labels, np.ndarray) else labels


def antigen_clusters(
    antigens: Sequence[Antigen], identity: float = 0.3, coverage: float = 0.5
) -> np.ndarray:
    """Clusters of related antigens by single linkage.

    Two antigens are linked if any chain of one is related to any chain of the other: by a local
    alignment (MMseqs2, BLOSUM62) whose identity and coverage, both of the shorter chain, reach the
    thresholds and whose identity is above the twilight zone of its length; by an ungapped placement
    of a peptide that chance does not give; or by containment, however long (fragments).

    Parameters
    ----------
    antigens : sequence of Antigen
    identity : float
        Identical residues over the length of the shorter chain, in (0, 1].
    coverage : float
        Aligned residues of the shorter chain over its length, in [0, 1].

    Returns
    -------
    np.ndarray of int, (antigens,)
        Cluster of each, numbered by first appearance.

    Raises
    ------
    InputError
        If a threshold is out of range or an antigen has no chain.
    ParatopeError
        If MMseqs2 is missing or fails.

    Examples
    --------
    >>> lysozyme = "KVFGRCELAAAMKRHGLDNYRGYSLGNWVCAAKFESNFNTQATNRNTDGSTDYGILQINSRWW"
    >>> other = "MTEYKLVVVGAGGVGKSALTIQLIQNHFVDEYDPTIEDSYRKQVVIDGETCLLDILDTAGQEE"
    >>> antigens = [Antigen((chain,)) for chain in (lysozyme, other, lysozyme[5:50])]
    >>> antigen_clusters(antigens).tolist()
    [0, 1, 0]
    """
    if not 0 < identity <= 1 or not 0 <= coverage <= 1:
        raise InputError(
            f"identity must be in (0, 1] and coverage in [0, 1], got {identity} and {coverage}"
        )
    if not all(antigen.chains for antigen in antigens):
        raise InputError("an antigen without chains cannot be clustered")
    chains = sorted({chain for antigen in antigens for chain in antigen.chains})
    number = {chain: place for place, chain in enumerate(chains)}
    first, second = chain_links(chains, identity, coverage)
    # chains of one antigen hold together; the antigen stands behind its chains
    members = [
        (len(chains) + row, number[chain])
        for row, antigen in enumerate(antigens)
        for chain in antigen.chains
    ]
    ends = np.array(members, np.int64).reshape(-1, 2)
    labels = linked(
        len(chains) + len(antigens),
        np.concatenate([first, ends[:, 0]]),
        np.concatenate([second, ends[:, 1]]),
    )
    return renumbered(labels[len(chains) :])


def chain_links(
    chains: Sequence[str], identity: float, coverage: float
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of distinct chains that belong together, as two arrays of their numbers."""
    leader, distance, heads, hits = leader_hits(tuple(chains))
    place = {int(head): row for row, head in enumerate(heads)}
    # a follower may be this much more alike to another chain than its leader is
    slack = np.zeros(len(heads))
    for follower, head in enumerate(leader.tolist()):
        slack[place[head]] = max(slack[place[head]], distance[follower])
    allowed = slack[hits.first] + slack[hits.second]
    keep = hits.related & (hits.identity >= identity - allowed - 1e-9)
    keep &= hits.coverage >= coverage - allowed - 1e-9
    same_first, same_second = _same_chain_links(chains)
    followers = np.flatnonzero(leader != np.arange(len(chains)))
    near = distance[followers] <= 1 - identity + 1e-9
    first = [heads[hits.first[keep]], same_first, followers[near]]
    second = [heads[hits.second[keep]], same_second, leader[followers][near]]
    return np.concatenate(first), np.concatenate(second)


@functools.lru_cache(maxsize=2)
def leader_hits(chains: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray, Hits]:
    """Alignments of chains among which mutants are aligned through one of them, their leader.

    Returns
    -------
    leader : np.ndarray of int, (chains,)
        The leader of each chain; itself for most.
    distance : np.ndarray of float, (chains,)
        Share of residues in which a chain differs from its leader, at most 5 %.
    heads : np.ndarray of int, (leaders,)
    hits : Hits
        Between leaders, numbered by their place in `heads`.
    """
    leader, distance = _leaders(chains)
    heads = np.flatnonzero(leader == np.arange(len(chains)))
    return leader, distance, heads, search([chains[head] for head in heads.tolist()])


def _leaders(chains: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """For each chain the first one of its length within a small Hamming distance; the distance."""
    leader, distance = np.arange(len(chains)), np.zeros(len(chains))
    lengths = np.array([len(chain) for chain in chains], np.int64)
    for length in np.unique(lengths[lengths > 0]):
        left = np.flatnonzero(lengths == length)
        residues = np.frombuffer("".join(chains[row] for row in left.tolist()).encode(), np.uint8)
        residues = residues.reshape(-1, int(length))
        while len(left) > 1:
            apart = (residues != residues[0]).mean(1)
            near = apart <= _LEADER_DISTANCE
            leader[left[near]], distance[left[near]] = left[0], apart[near]
            left, residues = left[~near], residues[~near]
    return leader, distance


def same_molecule(molecules: Sequence[tuple[str, ...]]) -> np.ndarray:
    """Clusters of molecules that are one up to fragments, tags, constant domains and loose ends.

    Two molecules are the same if every chain of one lies in some chain of the other, up to 5 % of
    the chain at either end. A substitution in between makes them different molecules.

    Parameters
    ----------
    molecules : sequence of tuple of str
        Chains of each.

    Returns
    -------
    np.ndarray of int, (molecules,)
        Cluster of each, numbered by first appearance.

    Examples
    --------
    >>> same_molecule([("EVQLVESGGGLV",), ("MKAEVQLVESGGGLVHHHHHH",), ("EVQLVESPGGLV",)]).tolist()
    [0, 0, 1]
    """
    chains = list(dict.fromkeys(chain for molecule in molecules for chain in molecule))
    inside: dict[str, set[str]] = {chain: {chain} for chain in chains}
    for shorter, longer in zip(*_same_chain_links(chains), strict=True):
        inside[chains[shorter]].add(chains[longer])
    holders: dict[str, list[int]] = {chain: [] for chain in chains}
    distinct = list(dict.fromkeys(molecules))
    for number, molecule in enumerate(distinct):
        for chain in set(molecule):
            holders[chain].append(number)
    first, second = [], []
    for number, molecule in enumerate(distinct):
        own = set(molecule)
        # start from the chain that fewest molecules could hold: a common light chain is in all
        rarest = min(own, key=lambda chain: sum(len(holders[one]) for one in inside[chain]))
        for place in {place for longer in inside[rarest] for place in holders[longer]}:
            others = distinct[place]
            if all(not inside[chain].isdisjoint(others) for chain in own):
                first.append(number)
                second.append(place)
    labels = linked(len(distinct), np.array(first, np.int64), np.array(second, np.int64))
    by_molecule = dict(zip(distinct, labels.tolist(), strict=True))
    return renumbered([by_molecule[molecule] for molecule in molecules])


def _same_chain_links(chains: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (shorter, longer) of distinct chains where the core of one lies in the other."""
    anchors: dict[str, dict[tuple[int, int], dict[str, list[int]]]] = {}
    short: list[tuple[int, str]] = []
    for number, chain in enumerate(chains):
        loose = int(_LOOSE_END * len(chain))
        core = chain[loose : len(chain) - loose]
        if len(core) < _ANCHOR:
            if len(chain) >= MIN_FRAGMENT:
                short.append((number, chain))
            continue
        start = (len(core) - _ANCHOR) // 2
        by_shape = anchors.setdefault(core[start : start + _ANCHOR], {})
        by_shape.setdefault((start, len(core)), {}).setdefault(core, []).append(number)
    first: list[int] = []
    second: list[int] = []
    for number, chain in enumerate(chains):
        found = {other for other, peptide in short if peptide in chain}
        for place in range(len(chain) - _ANCHOR + 1):
            shapes = anchors.get(chain[place : place + _ANCHOR])
            for (start, length), cores in (shapes or {}).items():
                if place >= start:
                    found.update(cores.get(chain[place - start : place - start + length], ()))
        found = {other for other in found if len(chains[other]) <= len(chain)} - {number}
        first += sorted(found)
        second += [number] * len(found)
    return np.array(first, np.int64), np.array(second, np.int64)
