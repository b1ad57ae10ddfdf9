"""Baselines that regress on simple features: mutations, lengths, one-hot residues, k-mers."""

import abc
import functools
from collections.abc import Iterable

import numpy as np

from paratope.core.errors import InputError
from paratope.data.splits.clusters import region_text
from paratope.data.splits.kinds import differences, parent_chains
from paratope.evaluation.baselines.lookup import Baseline, Families, variable_chains
from paratope.molecules.numbering import number_chain
from paratope.molecules.sequences import AMINO_ACIDS, Pair

_ALPHAS = tuple(float(10.0**power) for power in np.arange(-2, 4.5, 0.5))
# Hyper-parameters are chosen on at most this many rows; more change them little and cost n^3.
_TUNING_ROWS = 800
# One-hot vectors of a campaign are compared as a plain matrix, those of many antigens sparsely.
_DENSE_CELLS = 20_000_000
# An exact GP of more rows than this would take minutes; it keeps an even sample of them.
_GP_ROWS = 4000
_FEW_ROWS = 3


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

    def _lengths(self, pairs: list[Pair]) -> np.ndarray:
        rows = []
        for pair in pairs:
            antibody, chains = pair.antibody, pair.antigen.chains
            cdr3 = region_text(antibody.chains, "cdr3")[0]
            of_chains = [len(antibody.heavy), len(antibody.light or ""), len(cdr3)]
            rows.append([*of_chains, sum(map(len, chains)), len(chains)])
        return np.array(rows, float)

    def _fit(self, pairs: list[Pair], values: np.ndarray) -> None:
        from sklearn.tree import DecisionTreeRegressor

        leaf = max(1, min(10, len(pairs) // 20))
        tree = DecisionTreeRegressor(max_depth=6, min_samples_leaf=leaf, random_state=0)
        self._model = tree.fit(self._lengths(pairs), values)

    def _predict(self, pairs: list[Pair]) -> np.ndarray:
        return self._model.predict(self._lengths(pairs))


class OneHotRidge(Baseline):
    """Ridge regression on residues aligned by IMGT position; the penalty by cross-validation."""

    name = "one_hot_ridge"
    summary = "aligned residues, additively"

    def _fit(self, pairs: list[Pair], values: np.ndarray) -> None:
        from sklearn.feature_extraction import DictVectorizer
        from sklearn.linear_model import Ridge, RidgeCV

        self._parents = Parents(pairs)
        self._vectoriser = DictVectorizer(sparse=True)
        features = self._vectoriser.fit_transform(one_hot_tokens(self._parents, pairs))
        alpha = 1.0
        if len(pairs) > _FEW_ROWS:
            rows = _even_sample(len(pairs), _TUNING_ROWS)
            # leave-one-out by the Gram matrix
            tuned = RidgeCV(alphas=_ALPHAS).fit(features[rows], values[rows])
            alpha = float(tuned.alpha_)  # type: ignore[arg-type]
        self._model = Ridge(alpha=alpha, solver="sparse_cg", tol=1e-6).fit(features, values)

    def _predict(self, pairs: list[Pair]) -> np.ndarray:
        tokens = one_hot_tokens(self._parents, pairs)
        return self._model.predict(self._vectoriser.transform(tokens))


class OneHotGP(Baseline):
    """Exact Gaussian process on the number of aligned residues in which two pairs differ.

    The kernel is exp(-d / 2 l), d the squared distance of the one-hot vectors. Length l and noise
    maximise the marginal likelihood over a grid. Of more than 4,000 rows an even sample is kept.
    """

    name = "one_hot_gp"
    summary = "aligned residues, by similarity"

    def _fit(self, pairs: list[Pair], values: np.ndarray) -> None:
        from scipy.linalg import cho_factor, cho_solve
        from sklearn.feature_extraction import DictVectorizer

        kept = _even_sample(len(pairs), _GP_ROWS)
        pairs, values = [pairs[row] for row in kept], values[kept]
        self._parents = Parents(pairs)
        self._vectoriser = DictVectorizer(sparse=True)
        self._features = self._vectoriser.fit_transform(one_hot_tokens(self._parents, pairs))
        distance = _squared_distances(self._features, self._features)
        residuals = values - self.mean
        rows = _even_sample(len(values), _TUNING_ROWS)
        self._length, noise = _likeliest(distance[np.ix_(rows, rows)], residuals[rows])
        kernel = np.exp(-distance / (2 * self._length))
        kernel[np.diag_indices_from(kernel)] += noise
        self._weights = cho_solve(cho_factor(kernel, lower=True, overwrite_a=True), residuals)

    def _predict(self, pairs: list[Pair]) -> np.ndarray:
        tokens = one_hot_tokens(self._parents, pairs)
        predictions = []
        for start in range(0, len(pairs), 1000):
            block = tokens[start : start + 1000]
            features = self._vectoriser.transform(block)
            # residues never seen in training are distance too
            seen = np.asarray(features.multiply(features).sum(1)).ravel()
            unseen = [sum(t.values()) for t in block] - seen
            distance = _squared_distances(features, self._features) + unseen[:, None]
            predictions.append(np.exp(-distance / (2 * self._length)) @ self._weights)
        return self.mean + np.concatenate(predictions)


def _squared_distances(first, second) -> np.ndarray:
    """Squared Euclidean distances of the rows of two sparse matrices."""
    left = np.asarray(first.multiply(first).sum(1)).ravel()
    right = np.asarray(second.multiply(second).sum(1)).ravel()
    if second.shape[0] * second.shape[1] <= _DENSE_CELLS:  # much faster than two sparse ones
        inner = first @ second.toarray().T
    else:
        inner = (first @ second.T).toarray()
    return left[:, None] + right[None, :] - 2 * inner


def _likeliest(distance: np.ndarray, residuals: np.ndarray) -> tuple[float, float]:
    """Kernel length and noise ratio of the greatest marginal likelihood, signal variance free."""
    count = len(residuals)
    typical = float(np.median(distance[distance > 0])) if (distance > 0).any() else 1.0
    best = (-np.inf, typical, 1.0)
    for factor in (0.1, 0.3, 1.0, 3.0, 10.0):
        values, vectors = np.linalg.eigh(np.exp(-distance / (2 * factor * typical)))
        projected = (vectors.T @ residuals) ** 2
        for noise in (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0):
            spread = np.maximum(values, 0) + noise
            variance = max(float((projected / spread).mean()), 1e-12)
            score = -0.5 * (count * np.log(variance) + float(np.log(spread).sum()))
            if score > best[0] + 1e-9:
                best = (score, factor * typical, noise)
    return best[1], best[2]


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
