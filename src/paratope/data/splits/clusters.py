"""Groups of related molecules: antigens by alignment, antibodies by their CDRs, or one molecule."""

import dataclasses
import functools
import re
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from paratope.core.errors import InputError, unknown_name
from paratope.molecules.alignment import Hits, align_chains
from paratope.molecules.numbering import cdrs, prepare_antibody
from paratope.molecules.sequences import Antibody, Antigen

# A containment of fewer residues than this is chance.
MIN_FRAGMENT = 5
# What is put into constructs of unrelated proteins, so that sharing it relates none of them.
TAGS = {
    "His": "H{6,}",
    "Myc": "EQKLISEEDL",
    "Avi": "GLNDIFEAQKIEWHE",
    "foldon": "GYIPEAPRDGQAYVRKDGEWVLLSTFL",
    "Strep": "W[SR]HPQFEK",
    "FLAG": "(?:DYKDHDGDYKDHDI)?DYKDDDDK",
    # gp41 helices in a stem of influenza haemagglutinin (PDB 5C0S), which is no HIV antigen for it
    "gp41 of 5C0S": "GDPEWDREINNYTSIIYSLIEESQNQQENGTGGGSGIVQQQNNLLRAIEAQQHLLQLTVWGIKQLQ",
}
_TAG = re.compile("|".join(f"(?:{tag})" for tag in TAGS.values()))
# Residues between tags, or beyond one, that are more than a linker or a cleavage site.
_LINKER = 30
# Ends that two constructs of one molecule may differ in, as a share of the shorter.
_LOOSE_END = 0.05
_ANCHOR = 12
# Chains of one length this close to a representative are aligned through it.
_REPRESENTATIVE_DISTANCE = 0.05

REGIONS = ("cdr3", "cdrs", "variable")
# Loops whose lengths differ by more than this factor are different loops.
_LENGTH_RATIO = 0.8
_BLOCK_CELLS = 4_000_000
# Edit distances that `highest_identity` tries before full ones.
_CUTOFFS = (3, 12, 40)


def single_linkage(count: int, links: np.ndarray) -> np.ndarray:
    """Connected components, (count,), of items joined by links, (2, links); see `renumber`.

    >>> single_linkage(4, np.array([[0, 3], [2, 2]])).tolist()
    [0, 1, 0, 0]
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    graph = coo_matrix((np.ones(links.shape[1], np.int8), links), shape=(count, count))
    return renumber(connected_components(graph, directed=False)[1].tolist())


def renumber(labels: Iterable[object]) -> np.ndarray:
    """Labels of any kind as integers in order of first appearance.

    >>> renumber(["b", "a", "b"]).tolist()
    [0, 1, 0]
    """
    numbers: dict[object, int] = {}
    return np.array([numbers.setdefault(label, len(numbers)) for label in labels], np.int64)


def join_groups(*groupings: np.ndarray) -> np.ndarray:
    """The finest grouping that cuts none of those given.

    >>> join_groups(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 2])).tolist()
    [0, 0, 0, 1]
    """
    rows = len(groupings[0])
    # groups are items behind the rows, those of each grouping behind those of the one before
    ends = rows + np.cumsum([0, *(int(grouping.max()) + 1 for grouping in groupings)])
    groups = [grouping + start for grouping, start in zip(groupings, ends, strict=False)]
    links = np.stack([np.tile(np.arange(rows), len(groupings)), np.concatenate(groups)])
    return single_linkage(int(ends[-1]), links)[:rows]


def strip_tags(antigen: Antigen) -> Antigen:
    """An antigen without `TAGS`, and without linkers between or beyond them, for linking.

    A chain with a tag inside gives a chain for either side. An antigen that is a tag and nothing
    else, such as the epitope of 9E10, stays as it is.

    >>> strip_tags(Antigen(("MGSSHHHHHHSSGLVPRGSH" + "KVFGRCELAAAMKRHGLDNYRGYSLGNWVCAA",))).chains
    ('SSGLVPRGSHKVFGRCELAAAMKRHGLDNYRGYSLGNWVCAA',)
    >>> strip_tags(Antigen(("EQKLISEEDLN",))).chains
    ('EQKLISEEDLN',)
    """
    chains = tuple(piece for chain in antigen.chains for piece in _without_tags(chain))
    return antigen if chains == antigen.chains else dataclasses.replace(antigen, chains=chains)


@functools.lru_cache(maxsize=65536)
def _without_tags(chain: str) -> tuple[str, ...]:
    pieces = _TAG.split(chain)
    longest = max(pieces, key=len)
    kept = [piece for piece in pieces if piece is longest or len(piece) > _LINKER]
    # what is left of an antigen that is a tag itself, a linker at most, is no part of others
    tag_residues = len(chain) - sum(map(len, pieces))
    is_tag = len(longest) < max(MIN_FRAGMENT, min(_ANCHOR, tag_residues))
    return (chain,) if is_tag and tag_residues else tuple(kept)


def antigen_clusters(
    antigens: Sequence[Antigen], identity: float = 0.3, coverage: float = 0.5
) -> np.ndarray:
    """Clusters of related antigens by single linkage, (antigens,), numbered by first appearance.

    Two antigens are linked if any chain of one is related to any chain of the other: by a local
    alignment (MMseqs2, BLOSUM62) whose identity and coverage, both of the shorter chain, reach the
    thresholds and whose identity is above the twilight zone of its length; by an ungapped placement
    of a peptide that chance does not give; or by containment, however long (fragments). Tags and
    foldons are no part of a chain here (see `strip_tags`): they join unrelated antigens.

    Raises `InputError` if `identity` is not in (0, 1], `coverage` not in [0, 1] or an antigen has
    no chain, and `ParatopeError` if MMseqs2 is missing or fails.

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
    antigens = [strip_tags(antigen) for antigen in antigens]
    chains = sorted({chain for antigen in antigens for chain in antigen.chains})
    index_of = {chain: index for index, chain in enumerate(chains)}
    aligned = align_by_representatives(tuple(chains))
    hits, representatives = aligned.hits, aligned.representatives
    # a member may be this much closer to another chain than its representative is
    slack = np.zeros(len(chains))
    np.maximum.at(slack, aligned.representative, aligned.distance)
    slack = slack[representatives]
    allowed = slack[hits.first] + slack[hits.second]
    keep = hits.related & (hits.identity >= identity - allowed - 1e-9)
    keep &= hits.coverage >= coverage - allowed - 1e-9
    mutants = np.flatnonzero(aligned.representative != np.arange(len(chains)))
    mutants = mutants[aligned.distance[mutants] <= 1 - identity + 1e-9]
    # antigens are items behind the chains, each linked to its own: so chains of one stay together
    members = [
        (len(chains) + row, index_of[chain])
        for row, antigen in enumerate(antigens)
        for chain in antigen.chains
    ]
    links = (
        representatives[[hits.first[keep], hits.second[keep]]],
        _containments(chains),
        np.stack([mutants, aligned.representative[mutants]]),
        np.array(members, np.int64).reshape(-1, 2).T,
    )
    labels = single_linkage(len(chains) + len(antigens), np.concatenate(links, axis=1))
    return renumber(labels[len(chains) :].tolist())


def near_groups(
    chains: Sequence[str], distance: float, centres: Iterable[str] = ()
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Groups of equally long chains, each taken once, near to a centre or to the first one left.

    Yields indices, ascending, and the share of residues, at most `distance`, that differ.
    """
    residues = np.frombuffer("".join([*chains, *centres]).encode(), np.uint8)
    residues = residues.reshape(-1, len(chains[0]))
    left, centre = np.arange(len(chains)), len(chains)
    while len(left):
        apart = (residues[left] != residues[centre if centre < len(residues) else left[0]]).mean(1)
        near = apart <= distance
        yield left[near], apart[near]
        left, centre = left[~near], centre + 1


@dataclasses.dataclass(frozen=True, slots=True)
class RepresentativeHits:
    """Alignments among chains of which mutants are aligned through one of them."""

    representative: np.ndarray  # (chains,) index of each chain's representative, mostly itself
    distance: np.ndarray  # (chains,) share of residues that differ from it, at most 5 %
    representatives: np.ndarray  # indices of all representatives
    hits: Hits  # between representatives, by their position in `representatives`


@functools.lru_cache(maxsize=2)
def align_by_representatives(chains: tuple[str, ...]) -> RepresentativeHits:
    """Align chains with each other, close mutants of equal length through one of them."""
    representative, distance = np.arange(len(chains)), np.zeros(len(chains))
    lengths = np.array([len(chain) for chain in chains], np.int64)
    for length in np.unique(lengths[lengths > 0]):
        rows = np.flatnonzero(lengths == length)
        equally_long = [chains[row] for row in rows.tolist()]
        for near, apart in near_groups(equally_long, _REPRESENTATIVE_DISTANCE):
            representative[rows[near]], distance[rows[near]] = rows[near[0]], apart
    representatives = np.flatnonzero(representative == np.arange(len(chains)))
    hits = align_chains([chains[index] for index in representatives.tolist()])
    return RepresentativeHits(representative, distance, representatives, hits)


def same_molecule(molecules: Sequence[tuple[str, ...]]) -> np.ndarray:
    """Clusters of molecules that are one up to fragments, tags, constant domains and loose ends.

    Two molecules, each given by its chains, are the same if every chain of one lies in some chain
    of the other, up to 5 % of the chain at either end. A substitution in between makes them
    different. Returns (molecules,), numbered by first appearance.

    >>> same_molecule([("EVQLVESGGGLV",), ("MKAEVQLVESGGGLVHHHHHH",), ("EVQLVESPGGLV",)]).tolist()
    [0, 0, 1]
    """
    chains = list(dict.fromkeys(chain for molecule in molecules for chain in molecule))
    containers: dict[str, set[str]] = {chain: {chain} for chain in chains}
    for shorter, longer in zip(*_containments(chains), strict=True):
        containers[chains[shorter]].add(chains[longer])
    holders: dict[str, set[int]] = {chain: set() for chain in chains}
    distinct = list(dict.fromkeys(molecules))
    for index, molecule in enumerate(distinct):
        for chain in molecule:
            holders[chain].add(index)
    links = []
    for index, molecule in enumerate(distinct):
        # start from the chain that fewest molecules could hold: a common light chain is in all
        rarest = min(
            set(molecule), key=lambda chain: sum(len(holders[other]) for other in containers[chain])
        )
        for candidate in set().union(*(holders[longer] for longer in containers[rarest])):
            others = distinct[candidate]
            if all(not containers[chain].isdisjoint(others) for chain in molecule):
                links.append((index, candidate))
    labels = single_linkage(len(distinct), np.array(links, np.int64).reshape(-1, 2).T)
    by_molecule = dict(zip(distinct, labels.tolist(), strict=True))
    return renumber(by_molecule[molecule] for molecule in molecules)


def _containments(chains: Sequence[str]) -> np.ndarray:
    """Pairs (shorter, longer) of chains where the core of one lies in the other, (2, pairs)."""
    # cores by their middle residues, then by where those stand and how long the core is
    anchors: dict[str, dict[tuple[int, int], dict[str, list[int]]]] = {}
    short: list[tuple[int, str]] = []
    for index, chain in enumerate(chains):
        loose = int(_LOOSE_END * len(chain))
        core = chain[loose : len(chain) - loose]
        if len(core) >= _ANCHOR:
            start = (len(core) - _ANCHOR) // 2
            by_shape = anchors.setdefault(core[start : start + _ANCHOR], {})
            by_shape.setdefault((start, len(core)), {}).setdefault(core, []).append(index)
        elif len(chain) >= MIN_FRAGMENT:
            short.append((index, chain))
    links: list[tuple[int, int]] = []
    for index, chain in enumerate(chains):
        contained = {other for other, peptide in short if peptide in chain}
        for position in range(len(chain) - _ANCHOR + 1):
            shapes = anchors.get(chain[position : position + _ANCHOR], {})
            for (start, length), cores in shapes.items():
                if position >= start:
                    core = chain[position - start : position - start + length]
                    contained.update(cores.get(core, ()))
        contained = {other for other in contained if len(chains[other]) <= len(chain)} - {index}
        links += [(other, index) for other in sorted(contained)]
    return np.array(links, np.int64).reshape(-1, 2).T


# antibodies


@functools.lru_cache(maxsize=65536)
def region_text(chains: tuple[str, ...], region: str) -> tuple[str, str]:
    """Residues by which an antibody is compared: of the heavy chain, of the light chain.

    ``"cdr3"`` is CDR-H3, ``"cdrs"`` all IMGT CDRs, ``"variable"`` the variable domains. The second
    text is empty for a single domain and for ``"cdr3"``. Chains that are no antibody domains are
    compared whole.
    """
    antibody = Antibody(chains[0], chains[1] if len(chains) > 1 else None)
    try:
        if region == "variable":
            prepared, _ = prepare_antibody(antibody)
            return prepared.heavy, prepared.light or ""
        loops = cdrs(antibody)
    except InputError:  # no antibody, as some published tables hold; its own sequence groups it
        return antibody.heavy, "" if region == "cdr3" else antibody.light or ""
    if region == "cdr3":
        return loops["H3"] or antibody.heavy, ""
    heavy, light = ("".join(loops.get(letter + number, "") for number in "123") for letter in "HL")
    return heavy or antibody.heavy, light


def antibody_clusters(
    antibodies: Sequence[Antibody], region: str = "cdr3", identity: float = 0.8
) -> np.ndarray:
    """Clusters of related antibodies by single linkage, (antibodies,), by first appearance.

    Identity is matched residues over the length of the shorter: (longer - edit distance) / shorter,
    with the Levenshtein distance of the region's residues (see `region_text`) joined in order.
    Loops whose lengths differ by more than a fifth are not linked. Where one antibody has no light
    chain, the heavy chains decide. Raises `InputError` if the region is unknown or `identity` not
    in (0, 1].

    >>> frame = ("EVQLVESGGGLVQPGGSLRLSCAASGFNIKDTYIHWVRQAPGKGLEWVARIYPTNGYTRYADSVKGRFTISADTSKN"
    ...          "TAYLQMNSLRAEDTAVYYC{}WGQGTLVTVSS")
    >>> loops = ("SRWGGDGFYAMDY", "SRWGGDGFYALDY", "ARDLSTTYYFDP")
    >>> antibody_clusters([Antibody(frame.format(loop)) for loop in loops]).tolist()
    [0, 0, 1]
    """
    if region not in REGIONS:
        raise InputError(unknown_name("antibody region", region, REGIONS))
    if not 0 < identity <= 1:
        raise InputError(f"identity must be in (0, 1], got {identity}")
    texts = [region_text(antibody.chains, region) for antibody in antibodies]
    distinct = sorted(set(texts))
    links = [np.zeros((2, 0), np.int64)]
    for start, values, _ in _identity_blocks(distinct, distinct, None):
        first, second = np.nonzero(values >= identity - 1e-6)
        links.append(np.stack([first + start, second])[:, first + start < second])
    labels = single_linkage(len(distinct), np.concatenate(links, axis=1))
    label = dict(zip(distinct, labels.tolist(), strict=True))
    return renumber(label[text] for text in texts)


def highest_identity(texts: Sequence[tuple[str, str]], others: Sequence[tuple[str, str]]) -> float:
    """Highest identity between two lists of (heavy, light), without all full distances.

    Distances are first computed only up to a few edits, which is fast; more only while a pair
    beyond them could still have a higher identity.

    >>> highest_identity([("ARDYW", "")], [("ARDFW", ""), ("GGGGG", "")])
    0.8
    """
    for cutoff in (*_CUTOFFS, None):
        best = beyond = 0.0
        for _, identity, is_exact in _identity_blocks(texts, others, cutoff):
            best = max(best, float(identity.max(initial=0.0, where=is_exact)))
            beyond = max(beyond, float(identity.max(initial=0.0, where=~is_exact)))
        if best >= beyond:
            break
    return round(best, 4)


def _identity_blocks(
    texts: Sequence[tuple[str, str]], columns: Sequence[tuple[str, str]], cutoff: int | None
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Some rows at a time: the first, identities (rows, columns), and which of them are exact.

    Identities are 0 where the lengths differ too much; beyond the cutoff they are upper bounds.
    """
    rows = max(1, _BLOCK_CELLS // max(1, len(columns)))
    for start in range(0, len(texts), rows):
        block = texts[start : start + rows]
        longer, shorter, distance = _compare(block, columns, 0, cutoff)
        is_exact = np.full(distance.shape, True) if cutoff is None else distance <= cutoff
        if any(light for _, light in block) and any(light for _, light in columns):
            light_longer, light_shorter, light_distance = _compare(block, columns, 1, cutoff)
            # a distance between two light chains; nothing where one of them is missing
            both = light_shorter > 0
            longer += np.where(both, light_longer, 0)
            shorter += light_shorter
            distance += np.where(both, light_distance, 0)
            if cutoff is not None:
                is_exact &= ~both | (light_distance <= cutoff)
        identity = (longer - distance).astype(np.float32) / np.maximum(shorter, 1)
        identity[shorter < _LENGTH_RATIO * longer] = 0
        yield start, identity, is_exact


def _compare(
    rows: Sequence[tuple[str, str]],
    columns: Sequence[tuple[str, str]],
    chain: int,
    cutoff: int | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Longer length, shorter length and edit distance of all pairs, each int32 (rows, columns)."""
    from rapidfuzz.distance import Levenshtein
    from rapidfuzz.process import cdist

    row_texts, row_of = np.unique([texts[chain] for texts in rows], return_inverse=True)
    column_texts, column_of = np.unique([texts[chain] for texts in columns], return_inverse=True)
    distance = cdist(
        row_texts.tolist(),
        column_texts.tolist(),
        scorer=Levenshtein.distance,
        score_cutoff=cutoff,
        dtype=np.int32,
        workers=2,
    )[np.ix_(row_of, column_of)]
    left = np.array([len(texts[chain]) for texts in rows], np.int32)[:, None]
    right = np.array([len(texts[chain]) for texts in columns], np.int32)[None, :]
    return np.maximum(left, right), np.minimum(left, right), distance
