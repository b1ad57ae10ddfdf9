"""What a campaign's variants were made from: named, called wild type, or the family's consensus."""

import re
from collections.abc import Sequence

import numpy as np

from paratope.data.measurements import Measurement
from paratope.molecules.alignment import consensus_pair
from paratope.molecules.sequences import Antibody, Pair

# Antibodies whose variable domains agree in this share of residues are variants of one parent.
FAMILY_IDENTITY = 0.85
# A parent that agrees with its variants in less is another antibody.
PARENT_IDENTITY = 0.7
# "trastuzumab WT", "parental Fab"; not "WT_S31A" or "parent HS31del", which are mutants.
_WILD_TYPE = re.compile(r"(?<![a-z0-9])(wt|wild[ _-]?type|parent(al)?)(?![a-z0-9])", re.IGNORECASE)
_MUTATED = re.compile(r"(?<![A-Za-z0-9])([HL]:?)?[A-Z]\d{1,3}[A-Z]?([A-Z]|del)(?![A-Za-z0-9])|ins")
# Of a family, one in so many may be called wild type.
_ONE_WILD_TYPE_IN = 10


def antibody_families(antibodies: Sequence[Antibody]) -> np.ndarray:
    """Families of antibodies that are variants of each other, numbered by first appearance, (n,).

    An antibody belongs to the first family to whose first member it is at least 85 % identical,
    over all its variable domains (1 - edit distance / length).

    >>> a, b = "EVQLVESGGGLVQPGGSLRL", "QVQLVESGGGLVQPGGSLRL"
    >>> antibody_families([Antibody(a), Antibody(b), Antibody("DIVMTQSPLSLPVTPGEPAS")]).tolist()
    [0, 0, 1]
    """
    from rapidfuzz.distance import Levenshtein
    from rapidfuzz.process import cdist

    distinct = list(dict.fromkeys(antibody.chains for antibody in antibodies))
    texts = ["".join(chains) for chains in distinct]
    family = np.full(len(distinct), -1)
    sizes = np.array([len(chains) for chains in distinct])
    while (left := np.flatnonzero(family < 0)).size:
        head = left[0]  # stands for its family
        candidates = left[sizes[left] == sizes[head]]
        identity = cdist(
            [texts[head]],
            [texts[row] for row in candidates],
            scorer=Levenshtein.normalized_similarity,
            score_cutoff=FAMILY_IDENTITY,
            dtype=np.float32,
        )[0]
        family[candidates[identity >= FAMILY_IDENTITY]] = family.max() + 1
    number = dict(zip(distinct, family.tolist(), strict=True))
    return np.array([number[antibody.chains] for antibody in antibodies], dtype=int)


def find_parents(
    measurements: Sequence[Measurement],
) -> tuple[tuple[Pair, ...], tuple[str, ...]]:
    """The parents of a campaign, none for unrelated antibodies, and notes on wrong ones.

    A parent is what rows name as theirs; else a row whose id says wild type or parent; else the
    consensus of a family of at least two antibodies, residue by residue of their IMGT numbers, with
    the antigen of the family's first row.
    """
    named, notes = _named(measurements)
    rows = [row.pair for row in measurements]
    candidates = {row.antibody.chains for row in rows if called_wild_type(row.antibody.name)}
    everything = [*named, *rows]
    family = antibody_families([pair.antibody for pair in everything])
    parents = list(named)
    settled = set(family[: len(named)].tolist())
    for label in dict.fromkeys(family[len(named) :].tolist()):
        if label in settled:
            continue
        members = [everything[index] for index in np.flatnonzero(family == label)]
        distinct = {pair.antibody.chains: pair for pair in members}
        called = [pair for chains, pair in distinct.items() if chains in candidates]
        if 0 < len(called) <= max(2, len(distinct) // _ONE_WILD_TYPE_IN):
            parents += called
        elif len(distinct) > 1:
            if called:
                notes += (
                    f"{len(called)} of {len(distinct)} variants are called wild type or parent "
                    f"(first {called[0].antibody.name!r}), so none is taken: their consensus "
                    "stands in; name it in a column 'parent'",
                )
            parents.append(consensus_pair(list(distinct.values())))
    return tuple(parents), notes


def called_wild_type(name: str) -> bool:
    """Whether an id says wild type or parent anywhere, and names no mutation.

    >>> [*map(called_wild_type, ("trastuzumab WT", "parental_Fab", "WT_S31A", "newton"))]
    [True, True, False, False]
    """
    return bool(_WILD_TYPE.search(name)) and not _MUTATED.search(name)


def _named(measurements: Sequence[Measurement]) -> tuple[list[Pair], tuple[str, ...]]:
    """Parents that rows name and that resemble them, and a note for each that does not."""
    from rapidfuzz.distance import Levenshtein

    children: dict[tuple[str, ...], list[Measurement]] = {}
    for row in measurements:
        if row.parent is not None:
            children.setdefault(row.parent.antibody.chains, []).append(row)
    parents, notes = [], []
    for chains, rows in children.items():
        text, strange = "".join(chains), []
        for antibody in (row.pair.antibody for row in rows):
            identity = Levenshtein.normalized_similarity(text, "".join(antibody.chains))
            if len(antibody.chains) != len(chains) or identity < PARENT_IDENTITY:
                strange.append(antibody.name)
        parent = rows[0].parent
        assert parent is not None
        if len(strange) < len(rows):
            parents.append(parent)
        if strange:
            notes.append(
                f"wrong parent: {parent.antibody.name!r} agrees with {len(strange)} of the "
                f"{len(rows)} rows that name it (first {strange[0]!r}) in less than "
                f"{PARENT_IDENTITY:.0%} of their residues, so it is not what they were made from; "
                "the consensus of their family stands in; check the parent column"
            )
    return parents, tuple(notes)
