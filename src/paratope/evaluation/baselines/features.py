"""Features of pairs that need no model: aligned residues, mutations, lengths, k-mers."""

import functools
from collections import Counter
from collections.abc import Iterable

import numpy as np

from paratope.core.errors import InputError
from paratope.data.splits.antibodies import region_text
from paratope.data.splits.families import differences, parent_chains
from paratope.evaluation.baselines.lookup import Families, variable_chains
from paratope.molecules.numbering import number_chain
from paratope.molecules.sequences import AMINO_ACIDS, Pair


class Parents:
    """The parents of the training chains, and what other chains change in them."""

    def __init__(self, pairs: Iterable[Pair]) -> None:
        roles: dict[str, list[str]] = {}
        for pair in pairs:
            for role, chain in chains_of(pair):
                roles.setdefault(role, []).append(chain)
        self._families: dict[str, tuple[Families, dict[int, str]]] = {}
        for role, chains in roles.items():
            families, parents = Families(), {}
            for parent in dict.fromkeys(parent_chains(chains).values()):
                parents.setdefault(families.add((parent,)), parent)
            self._families[role] = families, parents

    def mutations(self, pair: Pair) -> list[tuple[str, str, int, str, str]]:
        """Changes of a pair: role, parent chain, position from 0, residue before, residue after.

        A chain like no training chain has none.
        """
        found = []
        for role, chain in chains_of(pair):
            families, parents = self._families.get(role, (Families(), {}))
            parent = parents.get(families.find((chain,)))
            if parent is not None:
                found += [
                    (role, parent, place, parent[place], chain[place])
                    for place in differences(parent, chain)
                ]
        return found


def chains_of(pair: Pair) -> Iterable[tuple[str, str]]:
    """Variable domains and antigen chains with their roles."""
    yield from zip(("heavy", "light"), variable_chains(pair), strict=False)
    for number, chain in enumerate(pair.antigen.chains):
        yield f"antigen{number}", chain


def mutation_counts(parents: Parents, pairs: list[Pair]) -> np.ndarray:
    """Mutations in the antibody and in the antigen, (pairs, 2)."""
    counts = np.zeros((len(pairs), 2))
    for row, pair in enumerate(pairs):
        for role, *_ in parents.mutations(pair):
            counts[row, int(role.startswith("antigen"))] += 1
    return counts


def mutation_types(parents: Parents, pairs: list[Pair]) -> np.ndarray:
    """How often each residue is lost and gained, in antibody and antigen, (pairs, 80)."""
    counts = np.zeros((len(pairs), 2, 2, len(AMINO_ACIDS) + 1))
    for row, pair in enumerate(pairs):
        for role, _, _, before, after in parents.mutations(pair):
            side = int(role.startswith("antigen"))
            counts[row, side, 0, AMINO_ACIDS.find(before)] += 1  # X is the last column
            counts[row, side, 1, AMINO_ACIDS.find(after)] += 1
    return counts[..., :-1].reshape(len(pairs), -1)


def lengths(pairs: list[Pair]) -> np.ndarray:
    """Residues of heavy chain, light chain, CDR-H3 and antigen; antigen chains, (pairs, 5)."""
    return np.array(
        [
            [
                len(pair.antibody.heavy),
                len(pair.antibody.light or ""),
                len(region_text(pair.antibody.chains, "cdr3")[0]),
                sum(map(len, pair.antigen.chains)),
                len(pair.antigen.chains),
            ]
            for pair in pairs
        ],
        float,
    )


@functools.lru_cache(maxsize=65536)
def _aligned(chain: str, role: str) -> tuple[str, ...]:
    """Tokens role:IMGT position:residue; positions from the start for a chain that is no domain."""
    try:
        domain = number_chain(chain)
    except InputError:
        return tuple(f"{role}:raw{place}:{residue}" for place, residue in enumerate(chain))
    pairs = zip(domain.positions, domain.residues, strict=True)
    return tuple(f"{role}:{position}:{residue}" for position, residue in pairs)


def one_hot_tokens(parents: Parents, pairs: list[Pair]) -> list[dict[str, float]]:
    """Aligned residues of the antibody; of the antigen, which one it is and what is mutated.

    Antibody residues are aligned by IMGT position, so lengths may differ.
    """
    rows = []
    for pair in pairs:
        tokens = dict.fromkeys(
            (
                token
                for role, chain in zip(("H", "L"), variable_chains(pair), strict=False)
                for token in _aligned(chain, role)
            ),
            1.0,
        )
        changed = [one for one in parents.mutations(pair) if one[0].startswith("antigen")]
        whole = dict(chains_of(pair))
        origin = {role: parent for role, parent, *_ in changed}
        for role, chain in whole.items():
            if role.startswith("antigen"):
                tokens[f"{role}={origin.get(role, chain)}"] = 1.0
        for role, parent, place, _, after in changed:
            tokens[f"{role}={parent}:{place}:{after}"] = 1.0
        rows.append(tokens)
    return rows


def kmer_counts(pairs: list[Pair]) -> np.ndarray:
    """Counts of residues and of residue pairs in heavy, light, antigen, and of residues in CDRs.

    Returns
    -------
    np.ndarray of float32, (pairs, 1300)
    """
    letters = AMINO_ACIDS
    words = [*letters, *(a + b for a in letters for b in letters)]
    place = {word: column for column, word in enumerate(words)}
    width = len(words)
    found = np.zeros((len(pairs), 3 * width + 2 * len(letters)), np.float32)
    known: dict[str, np.ndarray] = {}
    for row, pair in enumerate(pairs):
        heavy, light = region_text(pair.antibody.chains, "variable")
        texts = (heavy, light, "|".join(pair.antigen.chains))
        for number, text in enumerate(texts):
            if text not in known:
                known[text] = _words(text, place)
            found[row, number * width : (number + 1) * width] = known[text]
        for number, region in enumerate(region_text(pair.antibody.chains, "cdrs")):
            start = 3 * width + number * len(letters)
            for letter, count in Counter(region).items():
                if letter in letters:
                    found[row, start + letters.index(letter)] = count
    return found


def _words(text: str, place: dict[str, int]) -> np.ndarray:
    counts = np.zeros(len(place), np.float32)
    for size in (1, 2):
        for start in range(len(text) - size + 1):
            column = place.get(text[start : start + size])
            if column is not None:
                counts[column] += 1
    return counts
