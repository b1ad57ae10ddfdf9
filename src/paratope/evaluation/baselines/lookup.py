"""Baselines: what each of them is, and those that only remember: means and nearest rows."""

import abc
import os
from collections import defaultdict
from collections.abc import Hashable, Sequence
from typing import ClassVar, Self

import numpy as np

from paratope.core.censoring import Censoring
from paratope.core.errors import InputError, TrainingError
from paratope.data.measurements import Measurement
from paratope.data.splits.clusters import region_text
from paratope.molecules.sequences import Pair

# The censored fit stops when its mean moves less than this.
_TOLERANCE, _MAX_ROUNDS = 1e-9, 1000
# Molecules of equal chain lengths that differ in at most this share of residues are one family.
_FAMILY_DISTANCE = 0.2
_NEIGHBOURS = 3


class Baseline(abc.ABC):
    """A trivial model that a real one must beat.

    Bounds are not values: a censored row enters with the value expected of it, given its bound,
    under one normal distribution fitted to all rows by maximum likelihood (see `expected_values`).
    Rows without any pKd are left out; where no row has a pKd, scores take its place.
    """

    name: ClassVar[str]  # Key in `BASELINES`
    summary: ClassVar[str]  # What it looks at
    mean: float = np.nan  # Of the training values: the answer where nothing better is known

    def fit(self, measurements: Sequence[Measurement]) -> Self:
        """Learn from measurements; raises `InputError` if none has a pKd or a score."""
        rows, values = training_values(measurements)
        self.mean = float(values.mean())
        self._fit([row.pair for row in rows], values)
        return self

    def predict_pkd(self, pairs: Sequence[Pair]) -> np.ndarray:
        """Predicted pKd (or score, if fitted on scores), finite for every pair, (pairs,).

        Raises `TrainingError` if not fitted.
        """
        if np.isnan(self.mean):
            raise TrainingError(f"baseline {self.name!r} is not fitted; call fit first")
        if not pairs:
            return np.zeros(0)
        return np.asarray(self._predict(list(pairs)), np.float64)

    @abc.abstractmethod
    def _fit(self, pairs: list[Pair], values: np.ndarray) -> None: ...

    @abc.abstractmethod
    def _predict(self, pairs: list[Pair]) -> np.ndarray: ...


def training_values(measurements: Sequence[Measurement]) -> tuple[list[Measurement], np.ndarray]:
    """Rows with a value and the value each is fitted to."""
    for name in ("pkd", "score"):
        rows = [row for row in measurements if getattr(row, name) is not None]
        if rows:
            values = np.array([getattr(row, name) for row in rows], float)
            return rows, expected_values(values, [row.censoring for row in rows])
    raise InputError("a baseline needs at least one measurement with a pKd or a score")


def expected_values(values: np.ndarray, censoring: Sequence[Censoring]) -> np.ndarray:
    """Values with each bound replaced by what is expected beyond it.

    A normal distribution is fitted to exact values and bounds by expectation-maximisation; a bound
    b becomes the mean of that distribution beyond it, µ ± σ φ(z) / (1 - Φ(z)), z = ±(b - µ) / σ.
    The mean of the result is the maximum-likelihood mean (Tobin 1958, Econometrica 26, 24). With
    fewer than two distinct exact values bounds count as values.

    >>> bounds = [Censoring.EXACT, Censoring.EXACT, Censoring.AT_MOST]
    >>> expected_values(np.array([6.0, 8.0, 5.0]), bounds).round(2).tolist()
    [6.0, 8.0, 3.9]
    """
    sign = np.asarray(censoring, dtype=float)
    bound = sign != 0
    if not bound.any() or len(np.unique(values[~bound])) < 2:
        return values.copy()
    from scipy.stats import norm

    filled = values.copy()
    mean, sd = float(values.mean()), float(values.std())
    for _ in range(_MAX_ROUNDS):
        # the bound from the mean, in the direction of the truth and in units of sd
        z = sign[bound] * (values[bound] - mean) / sd
        hazard = np.exp(norm.logpdf(z) - norm.logsf(z))
        filled[bound] = mean + sign[bound] * sd * hazard
        variance = np.zeros(len(values))
        variance[bound] = sd**2 * np.clip(1 + z * hazard - hazard**2, 0, 1)
        moved = abs(filled.mean() - mean)
        mean = float(filled.mean())
        sd = float(np.sqrt(((filled - mean) ** 2 + variance).mean()))
        if moved < _TOLERANCE:
            break
    return filled


class Families:
    """Molecules up to point mutations: each belongs to the first one it differs little from."""

    def __init__(self) -> None:
        self._heads: dict[tuple[int, ...], list[tuple[np.ndarray, int]]] = {}
        self._known: dict[tuple[str, ...], int] = {}
        self.count = 0

    def find(self, chains: tuple[str, ...]) -> int:
        """Index of the family of a molecule, -1 if it is of none."""
        if chains in self._known:
            return self._known[chains]
        residues, heads = _residues(chains), self._heads.get(tuple(map(len, chains)), ())
        nearest = [(float((residues != head).mean()), family) for head, family in heads]
        distance, family = min(nearest, default=(1.0, -1))
        return family if distance <= _FAMILY_DISTANCE else -1

    def add(self, chains: tuple[str, ...]) -> int:
        """Index of the family of a molecule, a new one if need be."""
        family = self.find(chains)
        if family < 0:
            family, self.count = self.count, self.count + 1
            heads = self._heads.setdefault(tuple(map(len, chains)), [])
            heads.append((_residues(chains), family))
        self._known[chains] = family
        return family


def _residues(chains: tuple[str, ...]) -> np.ndarray:
    return np.frombuffer("".join(chains).encode(), np.uint8)


def variable_chains(pair: Pair) -> tuple[str, ...]:
    """Variable domains of a pair's antibody."""
    heavy, light = region_text(pair.antibody.chains, "variable")
    return (heavy, light) if light else (heavy,)


class Constant(Baseline):
    """The mean of the training values; with bounds, the maximum-likelihood mean."""

    name = "constant"
    summary = "one family for everything"

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
        for pair in pairs:
            self._antibodies.add(variable_chains(pair))
        self._complex_means = _means(self._complexes(pairs), values)

    def _complexes(self, pairs: list[Pair]) -> list[tuple[int, int]]:
        """Families of antibody and antigen of each pair."""
        find_antibody, find_antigen = self._antibodies.find, self._antigens.find
        return [(find_antibody(variable_chains(p)), find_antigen(p.antigen.chains)) for p in pairs]

    def _predict(self, pairs: list[Pair]) -> np.ndarray:
        means = zip(self._complexes(pairs), super()._predict(pairs), strict=True)
        return np.array([self._complex_means.get(key, by_antigen) for key, by_antigen in means])


def _means(keys: Sequence[Hashable], values: np.ndarray) -> dict[Hashable, float]:
    by_key = defaultdict(list)
    for key, value in zip(keys, values.tolist(), strict=True):
        by_key[key].append(value)
    return {key: float(np.mean(group)) for key, group in by_key.items()}


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
        last = min(_NEIGHBOURS, len(self._pairs)) - 1
        training, means = _texts(self._pairs), []
        for start in range(0, len(pairs), step):
            block = _texts(pairs[start : start + step])
            distance = sum(map(_distances, block, training))
            limit = np.partition(distance, last, axis=1)[:, last : last + 1]
            near = distance <= limit + 1e-6
            means.append((near * self._values).sum(1) / near.sum(1))
        return np.concatenate(means)


def _texts(pairs: list[Pair]) -> tuple[list[str], list[str]]:
    """Variable domains and antigen of each pair."""
    return ["|".join(variable_chains(pair)) for pair in pairs], [
        "|".join(pair.antigen.chains) for pair in pairs
    ]


def _distances(rows: list[str], columns: list[str]) -> np.ndarray:
    """Edit distances over the longer length, (rows, columns) float32; equal texts are done once.

    What all texts begin and end with changes no distance and is left out: variants of one parent
    share most of their residues.
    """
    from rapidfuzz.distance import Levenshtein
    from rapidfuzz.process import cdist

    row_texts, row_of = np.unique(np.array(rows, object), return_inverse=True)
    column_texts, column_of = np.unique(np.array(columns, object), return_inverse=True)
    texts, split = [*row_texts.tolist(), *column_texts.tolist()], len(row_texts)
    left = len(os.path.commonprefix(texts))
    right = len(os.path.commonprefix([text[left:][::-1] for text in texts]))
    cores = [text[left : len(text) - right] for text in texts]
    edits = cdist(cores[:split], cores[split:], scorer=Levenshtein.distance)
    lengths = np.array([len(text) for text in texts], float)
    longer = np.maximum.outer(lengths[:split], lengths[split:])
    distances = (edits / np.maximum(longer, 1.0)).astype(np.float32)
    return distances[np.ix_(row_of, column_of)]
