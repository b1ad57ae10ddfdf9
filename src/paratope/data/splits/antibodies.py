"""Groups of related antibodies, by the identity of their CDR-H3 or of all their CDRs."""

import functools
from collections.abc import Iterator, Sequence

import numpy as np

from paratope.core.errors import InputError, unknown_name
from paratope.data.splits.clusters import linked
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

    Parameters
    ----------
    chains : tuple of str
        Heavy chain, and the light chain if there is one.
    region : str
        ``"cdr3"``: CDR-H3; ``"cdrs"``: all IMGT CDRs; ``"variable"``: the variable domains.

    Returns
    -------
    heavy, light : str
        `light` is empty for a single domain and for ``"cdr3"``. Chains that are no antibody domains
        are compared whole.
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
    """Clusters of related antibodies by single linkage.

    Identity is matched residues over the length of the shorter: (longer - edit distance) / shorter,
    with the Levenshtein distance of the CDRs joined in order. Loops whose lengths differ by more
    than a fifth are not linked. Where one antibody has no light chain, the heavy chains decide.

    Parameters
    ----------
    antibodies : sequence of Antibody
    region : str
        ``"cdr3"`` (CDR-H3), ``"cdrs"`` (all CDRs) or ``"variable"`` (variable domains).
    identity : float
        In (0, 1].

    Returns
    -------
    np.ndarray of int, (antibodies,)
        Cluster of each, numbered by first appearance.

    Raises
    ------
    InputError
        If the region is unknown or the threshold out of range.

    Examples
    --------
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
    first, second = [], []
    for start, values in identity_blocks(distinct):
        row, column = np.nonzero(values >= identity - 1e-6)
        keep = row + start < column
        first.append(row[keep] + start)
        second.append(column[keep])
    none = np.zeros(0, np.int64)
    labels = linked(len(distinct), np.concatenate([none, *first]), np.concatenate([none, *second]))
    label = dict(zip(distinct, labels.tolist(), strict=True))
    numbers: dict[int, int] = {}
    return np.array([numbers.setdefault(label[text], len(numbers)) for text in texts], np.int64)


def identity_blocks(
    texts: Sequence[tuple[str, str]], others: Sequence[tuple[str, str]] | None = None
) -> Iterator[tuple[int, np.ndarray]]:
    """Identities of all pairs, some rows at a time.

    Parameters
    ----------
    texts : sequence of (heavy, light)
    others : sequence of (heavy, light), optional
        The columns; `texts` by default.

    Yields
    ------
    start : int
        First row of the block.
    identity : np.ndarray of float32, (rows, columns)
        Of the shorter; 0 where the lengths differ too much.
    """
    columns = texts if others is None else others
    for start, identity, _ in _blocks(texts, columns, None):
        yield start, identity


def highest_identity(texts: Sequence[tuple[str, str]], others: Sequence[tuple[str, str]]) -> float:
    """Highest identity between two lists, as in `identity_blocks`, without all full distances.

    Distances are first computed only up to a few edits, which is fast; more only while a pair
    beyond them could still be the most alike.

    >>> highest_identity([("ARDYW", "")], [("ARDFW", ""), ("GGGGG", "")])
    0.8
    """
    for cutoff in (*_CUTOFFS, None):
        best = beyond = 0.0
        for _, identity, exact in _blocks(texts, others, cutoff):
            best = max(best, float(identity.max(initial=0.0, where=exact)))
            beyond = max(beyond, float(identity.max(initial=0.0, where=~exact)))
        if best >= beyond:
            break
    return round(best, 4)


def _blocks(
    texts: Sequence[tuple[str, str]], columns: Sequence[tuple[str, str]], cutoff: int | None
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Identities by blocks, and which are exact: beyond the cutoff they are upper bounds."""
    rows = max(1, _BLOCK_CELLS // max(1, len(columns)))
    for start in range(0, len(texts), rows):
        block = texts[start : start + rows]
        heavy = _compared([t[0] for t in block], [t[0] for t in columns], cutoff)
        longer, shorter, distance = heavy
        exact = np.full(distance.shape, True) if cutoff is None else distance <= cutoff
        if any(t[1] for t in block) and any(t[1] for t in columns):
            light = _compared([t[1] for t in block], [t[1] for t in columns], cutoff)
            both = np.array([bool(t[1]) for t in block])[:, None]
            both = both & np.array([bool(t[1]) for t in columns])[None, :]
            longer += np.where(both, light[0], 0)
            shorter += np.where(both, light[1], 0)
            distance += np.where(both, light[2], 0)
            if cutoff is not None:
                exact &= ~both | (light[2] <= cutoff)
        matched = (longer - distance).astype(np.float32) / np.maximum(shorter, 1)
        matched[shorter < _LENGTH_RATIO * longer] = 0
        yield start, matched, exact


def _compared(
    rows: Sequence[str], columns: Sequence[str], cutoff: int | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Longer length, shorter length and edit distance of all pairs, each int32 (rows, columns)."""
    from rapidfuzz.distance import Levenshtein
    from rapidfuzz.process import cdist

    row_texts, row_of = np.unique(np.array(rows, object), return_inverse=True)
    column_texts, column_of = np.unique(np.array(columns, object), return_inverse=True)
    distance = cdist(
        row_texts.tolist(),
        column_texts.tolist(),
        scorer=Levenshtein.distance,
        score_cutoff=cutoff,
        dtype=np.int32,
        workers=2,
    )[np.ix_(row_of, column_of)]
    left = np.array([len(text) for text in rows], np.int32)[:, None]
    right = np.array([len(text) for text in columns], np.int32)[None, :]
    return np.maximum(left, right), np.minimum(left, right), distance
