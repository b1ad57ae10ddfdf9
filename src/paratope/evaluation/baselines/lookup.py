"""Baselines that remember: the mean of all, of an antigen, of a complex, of the nearest rows."""

import os
from collections.abc import Hashable, Sequence

import numpy as np

from paratope.data.splits.antibodies import region_text
from paratope.evaluation.baselines.baseline import Baseline
from paratope.molecules.sequences import Pair

# Molecules of equal chain lengths that differ in at most this share of residues are one family.
_FAMILY_DISTANCE = 0.2
_NEIGHBOURS = 3


class Families:
    """Molecules up to point mutations: each belongs to the first one it differs little from."""

    def __init__(self) -> None:
        self._heads: dict[tuple[int, ...], list[tuple[np.ndarray, int]]] = {}
        self._known: dict[tuple[str, ...], int] = {}
        self.count = 0

    def find(self, chains: tuple[str, ...]) -> int:
        """Number of the family of a molecule, -1 if it is of none."""
        if chains in self._known:
            return self._known[chains]
        residues = _residues(chains)
        nearest = min(
            (
                (float((residues != head).mean()), number)
                for head, number in self._heads.get(tuple(map(len, chains)), ())
            ),
            default=(1.0, -1),
        )
        return nearest[1] if nearest[0] <= _FAMILY_DISTANCE else -1

    def add(self, chains: tuple[str, ...]) -> int:
        """Number of the family of a molecule, a new one if need be."""
        number = self.find(chains)
        if number < 0:
            number, self.count = self.count, self.count + 1
            heads = self._heads.setdefault(tuple(map(len, chains)), [])
            heads.append((_residues(chains), number))
        self._known[chains] = number
        return number


def _residues(chains: tuple[str, ...]) -> np.ndarray:
    return np.frombuffer("".join(chains).encode(), np.uint8)


def variable_chains(pair: Pair) -> tuple[str, ...]:
    """Variable domains of a pair's antibody."""
    heavy, light = region_text(pair.antibody.chains, "variable")
    return (heavy, light) if light else (heavy,)


class Constant(Baseline):
    """The mean of the training values; with bounds, the maximum-likelihood mean."""

    name = "constant"
    summary = "one number for everything"

    def _fit(self, pairs: list[Pair], values: np.ndarray) -> None:
        pass

    def _predict(self, pairs: list[Pair]) -> np.ndarray:
        return np.full(len(pairs), self.mean)


class AntigenMean(Baseline):
    """The mean over the antigen and its point mutants; over all rows for an unseen antigen."""

    name = "antigen_mean"
    summary = "which antigen it is"

    def _fit(self, pairs: list[Pair], values: np.ndarray) -> None:
        self._antigens = Families()
        self._means = _means([self._antigens.add(pair.antigen.chains) for pair in pairs], values)

    def _predict(self, pairs: list[Pair]) -> np.ndarray:
        keys = [self._antigens.find(pair.antigen.chains) for pair in pairs]
        return np.array([self._means.get(key, self.mean) for key in keys])


class ComplexMean(AntigenMean):
    """The mean over the complex and its point mutants; else over the antigen, else over all."""

    name = "complex_mean"
    summary = "which antibody and antigen it is, mutations aside"

    def _fit(self, pairs: list[Pair], values: np.ndarray) -> None:
        super()._fit(pairs, values)
        self._antibodies = Families()
        keys = [
            (self._antibodies.add(variable_chains(pair)), self._antigens.find(pair.antigen.chains))
            for pair in pairs
        ]
        self._complex_means = _means(keys, values)

    def _predict(self, pairs: list[Pair]) -> np.ndarray:
        by_antigen = super()._predict(pairs)
        for row, pair in enumerate(pairs):
            antibody = self._antibodies.find(variable_chains(pair))
            key = (antibody, self._antigens.find(pair.antigen.chains))
            by_antigen[row] = self._complex_means.get(key, by_antigen[row])
        return by_antigen


def _means(keys: Sequence[Hashable], values: np.ndarray) -> dict[Hashable, float]:
    found: dict[Hashable, list[float]] = {}
    for key, value in zip(keys, values.tolist(), strict=True):
        found.setdefault(key, []).append(value)
    return {key: float(np.mean(own)) for key, own in found.items()}


class NearestNeighbour(Baseline):
    """The mean of the three most similar training pairs.

    The distance of two pairs is that of their variable domains plus that of their antigens, each an
    edit distance over the longer length; all rows as near as the third count.
    """

    name = "nearest_neighbour"
    summary = "the values of the most similar sequences"

    def _fit(self, pairs: list[Pair], values: np.ndarray) -> None:
        self._pairs, self._values = pairs, values

    def _predict(self, pairs: list[Pair]) -> np.ndarray:
        # blocks keep the distance matrix small for long tables
        step = max(1, 4_000_000 // len(self._pairs))
        blocks = [pairs[start : start + step] for start in range(0, len(pairs), step)]
        return np.concatenate([self._block(block) for block in blocks])

    def _block(self, pairs: list[Pair]) -> np.ndarray:
        distance = _distances(
            ["|".join(variable_chains(pair)) for pair in pairs],
            ["|".join(variable_chains(pair)) for pair in self._pairs],
        )
        distance += _distances(
            ["|".join(pair.antigen.chains) for pair in pairs],
            ["|".join(pair.antigen.chains) for pair in self._pairs],
        )
        place = min(_NEIGHBOURS, len(self._pairs)) - 1
        limit = np.partition(distance, place, axis=1)[:, place : place + 1]
        near = distance <= limit + 1e-6
        return (near * self._values).sum(1) / near.sum(1)


def _distances(rows: list[str], columns: list[str]) -> np.ndarray:
    """Edit distances over the longer length, (rows, columns) float32; equal texts are done once.

    What all texts begin and end with changes no distance and is left out: variants of one parent
    share most of their residues.
    """
    from rapidfuzz.distance import Levenshtein
    from rapidfuzz.process import cdist

    row_texts, row_of = np.unique(np.array(rows, object), return_inverse=True)
    column_texts, column_of = np.unique(np.array(columns, object), return_inverse=True)
    texts = [*row_texts.tolist(), *column_texts.tolist()]
    left = len(os.path.commonprefix(texts))
    right = len(os.path.commonprefix([text[left:][::-1] for text in texts]))
    cores = [text[left : len(text) - right] for text in texts]
    edits = cdist(cores[: len(row_texts)], cores[len(row_texts) :], scorer=Levenshtein.distance)
    lengths = np.array([len(text) for text in texts], float)
    longer = np.maximum(lengths[: len(row_texts), None], lengths[None, len(row_texts) :])
    apart = (edits / np.maximum(longer, 1.0)).astype(np.float32)
    return apart[np.ix_(row_of, column_of)]
