"""Baselines that regress on simple features: mutations, lengths, one-hot residues, k-mers."""

import abc

import numpy as np

from paratope.evaluation.baselines.baseline import Baseline
from paratope.evaluation.baselines.features import (
    Parents,
    kmer_counts,
    lengths,
    mutation_counts,
    mutation_types,
    one_hot_tokens,
)
from paratope.molecules.sequences import Pair

_ALPHAS = tuple(float(10.0**power) for power in np.arange(-2, 4.5, 0.5))
# Hyper-parameters are chosen on at most this many rows; more change them little and cost n^3.
_TUNING_ROWS = 800
# One-hot vectors of a campaign are compared as a plain matrix, those of many antigens sparsely.
_DENSE_CELLS = 20_000_000
# An exact GP of more rows than this would take minutes; it keeps an even sample of them.
_GP_ROWS = 4000
_FEW_ROWS = 3


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
        return mutation_counts(self._parents, pairs)


class MutationType(_MutationRegression):
    """Which residues the mutations remove and bring, wherever they are, linearly."""

    name = "mutation_type"
    summary = "which residues are lost and gained, not where"

    def _features(self, pairs: list[Pair]) -> np.ndarray:
        return mutation_types(self._parents, pairs)


class LengthOnly(Baseline):
    """A regression tree on the lengths of the chains: it reads no residue."""

    name = "length_only"
    summary = "the lengths of the chains"

    def _fit(self, pairs: list[Pair], values: np.ndarray) -> None:
        from sklearn.tree import DecisionTreeRegressor

        leaf = max(1, min(10, len(pairs) // 20))
        tree = DecisionTreeRegressor(max_depth=6, min_samples_leaf=leaf, random_state=0)
        self._model = tree.fit(lengths(pairs), values)

    def _predict(self, pairs: list[Pair]) -> np.ndarray:
        return self._model.predict(lengths(pairs))


class OneHotRidge(Baseline):
    """Ridge regression on residues aligned by IMGT position; the penalty by cross-validation."""

    name = "one_hot_ridge"
    summary = "aligned residues, additively"

    def _fit(self, pairs: list[Pair], values: np.ndarray) -> None:
        from sklearn.linear_model import Ridge, RidgeCV

        self._parents = Parents(pairs)
        features = self._vectorised(pairs)
        alpha = 1.0
        if len(pairs) > _FEW_ROWS:
            rows = _even_sample(len(pairs), _TUNING_ROWS)
            # leave-one-out by the Gram matrix
            tuned = RidgeCV(alphas=_ALPHAS).fit(features[rows], values[rows])
            alpha = float(tuned.alpha_)  # type: ignore[arg-type]
        self._model = Ridge(alpha=alpha, solver="sparse_cg", tol=1e-6).fit(features, values)

    def _vectorised(self, pairs: list[Pair]):  # noqa: ANN202 - scipy.sparse matrix
        from sklearn.feature_extraction import DictVectorizer

        self._vectoriser = DictVectorizer(sparse=True)
        return self._vectoriser.fit_transform(one_hot_tokens(self._parents, pairs))

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
        found = np.empty(len(pairs))
        step = 1000
        for start in range(0, len(pairs), step):
            features = self._vectoriser.transform(tokens[start : start + step])
            # residues never seen in training are distance too
            seen = np.asarray(features.multiply(features).sum(1)).ravel()
            unseen = [sum(t.values()) for t in tokens[start : start + step]] - seen
            distance = _squared_distances(features, self._features) + unseen[:, None]
            found[start : start + step] = np.exp(-distance / (2 * self._length)) @ self._weights
        return self.mean + found


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
    """Gradient-boosted trees (LightGBM) on counts of residues and residue pairs."""

    name = "boosted_kmers"
    summary = "k-mer counts of antibody and antigen"

    def _fit(self, pairs: list[Pair], values: np.ndarray) -> None:
        import lightgbm

        settings = {
            "objective": "regression",
            "num_leaves": 15,
            "learning_rate": 0.05,
            "feature_fraction": 0.3,
            "min_data_in_leaf": max(1, min(10, len(pairs) // 10)),
            "seed": 0,
            "deterministic": True,
            "force_row_wise": True,
            "num_threads": 1,
            "verbosity": -1,
        }
        self._model = None
        if len(pairs) > _FEW_ROWS and np.ptp(values) > 0:
            data = lightgbm.Dataset(kmer_counts(pairs), label=values)
            self._model = lightgbm.train(settings, data, num_boost_round=200)

    def _predict(self, pairs: list[Pair]) -> np.ndarray:
        if self._model is None:
            return np.full(len(pairs), self.mean)
        return np.asarray(self._model.predict(kmer_counts(pairs), num_threads=1))


def _even_sample(count: int, most: int) -> np.ndarray:
    """At most `most` of `count` row numbers, evenly spread."""
    if count <= most:
        return np.arange(count)
    return np.unique(np.linspace(0, count - 1, most).astype(int))
