"""Trivial models that stand beside every reported number, behind one interface, in `BASELINES`.

>>> BASELINES["constant"]().name
'constant'
"""

import abc
import functools
import os
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from typing import Any, ClassVar, Self

import numpy as np

from paratope.core.censoring import Censoring
from paratope.core.errors import InputError, TrainingError
from paratope.data.measurements import Measurement
from paratope.data.splits.clusters import region_text
from paratope.data.splits.kinds import differences, parent_chains
from paratope.molecules.numbering import number_chain
from paratope.molecules.sequences import AMINO_ACIDS, Pair

# The censored fit stops when its mean moves less than this.
_TOLERANCE, _MAX_ROUNDS = 1e-9, 1000
# Molecules of equal chain lengths that differ in at most this share of residues are one family.
_FAMILY_DISTANCE = 0.2
_NEIGHBOURS = 3
_ALPHAS = tuple(float(10.0**power) for power in np.arange(-2, 4.5, 0.5))
# Hyper-parameters are chosen on at most this many rows; more change them little and cost n^3.
_TUNING_ROWS = 800
# One-hot vectors of a campaign are compared as a plain matrix, those of many antigens sparsely.
_DENSE_CELLS = 20_000_000
# An exact GP of more rows than this would take minutes; it keeps an even sample of them.
_GP_ROWS = 4000
_FEW_ROWS = 3


class Baseline(abc.ABC):
    """A trivial model that a real one must beat.

    A censored row enters with its expected value (see `expected_values`); rows without a pKd are
    left out; where no row has a pKd, scores take its place.
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
        """Predicted pKd (or score), finite, (pairs,); `TrainingError` if not fitted."""
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
    """The mean of the three most similar training pairs; all rows as near as the third count.

    The distance is that of the variable domains plus that of the antigens, see `edit_distances`.
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
            distance = sum(map(edit_distances, block, training))
            limit = np.partition(distance, last, axis=1)[:, last : last + 1]
            near = distance <= limit + 1e-6
            means.append((near * self._values).sum(1) / near.sum(1))
        return np.concatenate(means)


def _texts(pairs: list[Pair]) -> tuple[list[str], list[str]]:
    """Variable domains and antigen of each pair."""
    antibodies = ["|".join(variable_chains(pair)) for pair in pairs]
    return antibodies, ["|".join(pair.antigen.chains) for pair in pairs]


def edit_distances(rows: list[str], columns: list[str]) -> np.ndarray:
    """Edit distances over the longer length, (rows, columns) float32.

    What all texts begin and end with changes no distance and is left out, and equal texts are done
    once: variants of one parent share most of their residues.
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
        """Role, parent chain, position from 0, residue before and after of a pair's changes."""
        mutations = []
        for role, chain in chains_of(pair):
            families, parents = self._families.get(role, (Families(), {}))
            parent = parents.get(families.find((chain,)))
            if parent is not None:
                mutations += [
                    (role, parent, position, parent[position], chain[position])
                    for position in differences(parent, chain)
                ]
        return mutations


def chains_of(pair: Pair) -> Iterable[tuple[str, str]]:
    """Variable domains and antigen chains with their roles."""
    yield from zip(("heavy", "light"), variable_chains(pair), strict=False)
    yield from ((f"antigen{index}", chain) for index, chain in enumerate(pair.antigen.chains))


@functools.lru_cache(maxsize=65536)
def _aligned(chain: str, role: str) -> tuple[str, ...]:
    """Tokens role:IMGT position:residue; positions from the start for a chain that is no domain."""
    try:
        domain = number_chain(chain)
    except InputError:
        return tuple(f"{role}:raw{index}:{residue}" for index, residue in enumerate(chain))
    pairs = zip(domain.positions, domain.residues, strict=True)
    return tuple(f"{role}:{position}:{residue}" for position, residue in pairs)


def one_hot_tokens(parents: Parents, pairs: list[Pair]) -> list[dict[str, float]]:
    """Antibody residues by IMGT position (lengths may differ); the antigen and its mutations."""
    rows = []
    for pair in pairs:
        chains = zip(("H", "L"), variable_chains(pair), strict=False)
        tokens = [token for role, chain in chains for token in _aligned(chain, role)]
        mutations = [m for m in parents.mutations(pair) if m[0].startswith("antigen")]
        origin = {role: parent for role, parent, *_ in mutations}
        antigens = [(role, chain) for role, chain in chains_of(pair) if role.startswith("antigen")]
        tokens += [f"{role}={origin.get(role, chain)}" for role, chain in antigens]
        tokens += [
            f"{role}={parent}:{index}:{after}" for role, parent, index, _, after in mutations
        ]
        rows.append(dict.fromkeys(tokens, 1.0))
    return rows


def kmer_counts(pairs: list[Pair]) -> np.ndarray:
    """Residues and residue pairs in heavy, light, antigen; residues in CDRs: float32 (n, 1300)."""
    from sklearn.feature_extraction.text import CountVectorizer

    residues = list(AMINO_ACIDS)
    words = [*residues, *(first + second for first in residues for second in residues)]
    variable = zip(*(region_text(pair.antibody.chains, "variable") for pair in pairs), strict=True)
    cdrs = zip(*(region_text(pair.antibody.chains, "cdrs") for pair in pairs), strict=True)
    texts = [*variable, tuple("|".join(pair.antigen.chains) for pair in pairs)]
    counts = []
    for column, vocabulary in (*((text, words) for text in texts), *((c, residues) for c in cdrs)):
        distinct, row_of = np.unique(np.array(column, object), return_inverse=True)
        counter = CountVectorizer(
            analyzer="char", ngram_range=(1, 2), lowercase=False, vocabulary=vocabulary
        )
        counts.append(counter.transform(distinct).toarray()[row_of].astype(np.float32))
    return np.hstack(counts)


class _MutationRegression(Baseline):
    """Ridge regression on features of the mutations to the nearest parent or consensus."""

    @abc.abstractmethod
    def _features(self, pairs: list[Pair]) -> np.ndarray: ...

    def _fit(self, pairs: list[Pair], values: np.ndarray) -> None:
        from sklearn.linear_model import Ridge

        self._parents = Parents(pairs)
        self._model = Ridge(alpha=1.0).fit(self._features(pairs), values)

    def _predict(self, pairs: list[Pair]) -> np.ndarray:
        return self._model.predict(self._features(pairs))


class MutationCount(_MutationRegression):
    """How many residues of antibody and antigen differ from the nearest parent, linearly."""

    name = "mutation_count"
    summary = "how many mutations there are"

    def _features(self, pairs: list[Pair]) -> np.ndarray:
        counts = np.zeros((len(pairs), 2))  # in the antibody, in the antigen
        for row, pair in enumerate(pairs):
            for role, *_ in self._parents.mutations(pair):
                counts[row, int(role.startswith("antigen"))] += 1
        return counts


class MutationType(_MutationRegression):
    """Which residues the mutations remove and bring, wherever they are, linearly."""

    name = "mutation_type"
    summary = "which residues are lost and gained, not where"

    def _features(self, pairs: list[Pair]) -> np.ndarray:
        counts = np.zeros((len(pairs), 2, 2, len(AMINO_ACIDS) + 1))  # side, lost or gained, residue
        for row, pair in enumerate(pairs):
            for role, _, _, before, after in self._parents.mutations(pair):
                side = int(role.startswith("antigen"))
                counts[row, side, 0, AMINO_ACIDS.find(before)] += 1  # X is the last column
                counts[row, side, 1, AMINO_ACIDS.find(after)] += 1
        return counts[..., :-1].reshape(len(pairs), -1)


class LengthOnly(Baseline):
    """A regression tree on the lengths of the chains: it reads no residue."""

    name = "length_only"
    summary = "the lengths of the chains"

    def _fit(self, pairs: list[Pair], values: np.ndarray) -> None:
        from sklearn.tree import DecisionTreeRegressor

        leaf = max(1, min(10, len(pairs) // 20))
        tree = DecisionTreeRegressor(max_depth=6, min_samples_leaf=leaf, random_state=0)
        self._model = tree.fit(_lengths(pairs), values)

    def _predict(self, pairs: list[Pair]) -> np.ndarray:
        return self._model.predict(_lengths(pairs))


def _lengths(pairs: list[Pair]) -> np.ndarray:
    """Lengths of heavy and light chain, CDR H3 and antigen, and antigen chains: (n, 5)."""
    rows = []
    for pair in pairs:
        antibody, chains = pair.antibody, pair.antigen.chains
        cdr3 = region_text(antibody.chains, "cdr3")[0]
        of_chains = [len(antibody.heavy), len(antibody.light or ""), len(cdr3)]
        rows.append([*of_chains, sum(map(len, chains)), len(chains)])
    return np.array(rows, float)


class _OneHot(Baseline):
    """What a model of aligned residues knows of its features."""

    def _learn_features(self, pairs: list[Pair]) -> Any:
        """One-hot vectors of the training pairs, sparse."""
        from sklearn.feature_extraction import DictVectorizer

        self._parents, self._vectoriser = Parents(pairs), DictVectorizer(sparse=True)
        return self._vectoriser.fit_transform(one_hot_tokens(self._parents, pairs))


class OneHotRidge(_OneHot):
    """Ridge regression on residues aligned by IMGT position; the penalty by cross-validation."""

    name = "one_hot_ridge"
    summary = "aligned residues, additively"

    def _fit(self, pairs: list[Pair], values: np.ndarray) -> None:
        from sklearn.linear_model import Ridge, RidgeCV

        features, alpha = self._learn_features(pairs), 1.0
        if len(pairs) > _FEW_ROWS:
            rows = _even_sample(len(pairs), _TUNING_ROWS)
            # leave-one-out by the Gram matrix
            tuned = RidgeCV(alphas=_ALPHAS).fit(features[rows], values[rows])
            alpha = float(tuned.alpha_)  # type: ignore[arg-type]
        self._model = Ridge(alpha=alpha, solver="sparse_cg", tol=1e-6).fit(features, values)

    def _predict(self, pairs: list[Pair]) -> np.ndarray:
        tokens = one_hot_tokens(self._parents, pairs)
        return self._model.predict(self._vectoriser.transform(tokens))


class OneHotGP(_OneHot):
    """Exact Gaussian process on the number of aligned residues in which two pairs differ.

    The kernel is exp(-d / 2 l), d the squared distance of the one-hot vectors; l and noise maximise
    the marginal likelihood over a grid. Of more than 4,000 rows an even sample is kept.
    """

    name = "one_hot_gp"
    summary = "aligned residues, by similarity"

    def _fit(self, pairs: list[Pair], values: np.ndarray) -> None:
        from scipy.linalg import cho_factor, cho_solve

        kept = _even_sample(len(pairs), _GP_ROWS)
        pairs, residuals = [pairs[row] for row in kept], values[kept] - self.mean
        self._features = self._learn_features(pairs)
        distance = _squared_distances(self._features, self._features)
        rows = _even_sample(len(pairs), _TUNING_ROWS)
        sample, best = distance[np.ix_(rows, rows)], -np.inf
        typical = float(np.median(sample[sample > 0])) if (sample > 0).any() else 1.0
        self._length, noise = typical, 1.0
        for factor in (0.1, 0.3, 1.0, 3.0, 10.0):
            eigenvalues, vectors = np.linalg.eigh(np.exp(-sample / (2 * factor * typical)))
            projected = (vectors.T @ residuals[rows]) ** 2
            for ratio in (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0):
                spread = np.maximum(eigenvalues, 0) + ratio
                variance = max(float((projected / spread).mean()), 1e-12)
                score = -0.5 * (len(rows) * np.log(variance) + float(np.log(spread).sum()))
                if score > best + 1e-9:
                    best, self._length, noise = score, factor * typical, ratio
        kernel = np.exp(-distance / (2 * self._length))
        kernel[np.diag_indices_from(kernel)] += noise
        self._weights = cho_solve(cho_factor(kernel, lower=True, overwrite_a=True), residuals)

    def _predict(self, pairs: list[Pair]) -> np.ndarray:
        tokens = one_hot_tokens(self._parents, pairs)
        predictions = []
        for start in range(0, len(pairs), 1000):
            block = tokens[start : start + 1000]
            features: Any = self._vectoriser.transform(block)
            # residues never seen in training are distance too
            unseen = np.array([len(row) for row in block]) - features.getnnz(axis=1)
            distance = _squared_distances(features, self._features) + unseen[:, None]
            predictions.append(np.exp(-distance / (2 * self._length)) @ self._weights)
        return self.mean + np.concatenate(predictions)


def _squared_distances(first: Any, second: Any) -> np.ndarray:
    """Squared Euclidean distances of the rows of two sparse matrices of zeros and ones."""
    if second.shape[0] * second.shape[1] <= _DENSE_CELLS:  # much faster than two sparse ones
        inner = first @ second.toarray().T
    else:
        inner = (first @ second.T).toarray()
    return first.getnnz(axis=1)[:, None] + second.getnnz(axis=1) - 2 * inner


class BoostedKmers(Baseline):
    """Gradient-boosted trees (histograms, scikit-learn) on counts of residues and residue pairs."""

    name = "boosted_kmers"
    summary = "k-mer counts of antibody and antigen"

    def _fit(self, pairs: list[Pair], values: np.ndarray) -> None:
        from sklearn.ensemble import HistGradientBoostingRegressor

        self._model = None
        if len(pairs) <= _FEW_ROWS or np.ptp(values) == 0:
            return
        # variants of one parent share most counts: each distinct column is searched once
        counts = kmer_counts(pairs)
        self._columns = np.sort(np.unique(counts, axis=1, return_index=True)[1])
        trees = HistGradientBoostingRegressor(
            max_iter=100,
            learning_rate=0.1,
            max_leaf_nodes=15,
            max_features=0.3,
            max_bins=32,
            min_samples_leaf=max(1, min(10, len(pairs) // 10)),
            early_stopping=False,  # type: ignore[arg-type] - scikit-learn allows it
            random_state=0,
        )
        self._model = trees.fit(counts[:, self._columns], values)

    def _predict(self, pairs: list[Pair]) -> np.ndarray:
        if self._model is None:
            return np.full(len(pairs), self.mean)
        return self._model.predict(kmer_counts(pairs)[:, self._columns])


def _even_sample(count: int, most: int) -> np.ndarray:
    """At most `most` of `count` row numbers, evenly spread."""
    if count <= most:
        return np.arange(count)
    return np.unique(np.linspace(0, count - 1, most).astype(int))


BASELINES: dict[str, type[Baseline]] = {
    baseline.name: baseline
    for baseline in (
        Constant,
        AntigenMean,
        ComplexMean,
        NearestNeighbour,
        MutationCount,
        MutationType,
        LengthOnly,
        OneHotRidge,
        OneHotGP,
        BoostedKmers,
    )
}
