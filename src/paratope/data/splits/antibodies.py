"""Groups of related antibodies, by the identity of their CDR-H3 or of all their CDRs."""

import functools
from collections.abc import Iterator, Sequence

import numpy as np

from paratope.core.errors import InputError, unknown_name
from paratope.data.splits.clusters import renumber, single_linkage
from paratope.molecules.numbering import cdrs, prepare_antibody
from paratope.molecules.sequences import Antibody

REGIONS = ("cdr3", "cdrs", "variable")
# Loops whose lengths differ by more than this factor are different loops.
_LENGTH_RATIO = 0.8
_BLOCK_CELLS = 4_000_000
# Edit distances that `highest_identity` tries before full ones.
_CUTOFFS = (3, 12, 40)


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
