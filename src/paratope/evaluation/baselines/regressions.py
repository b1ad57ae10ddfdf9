"""Baselines that regress on simple features: mutations, lengths, one-hot residues, k-mers."""

import abc
import functools
from collections import Counter
from collections.abc import Iterable

import numpy as np

from paratope.core.errors import InputError
from paratope.data.splits.antibodies import region_text
from paratope.data.splits.families import differences, parent_chains
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
            early_stopping=False,
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
