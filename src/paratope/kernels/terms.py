"""The terms of the kernel: ways in which two variants can be alike.

Most terms compare changes: K = Z k Zᵀ, Z saying which variant has which change and k how alike two
changes are, so that a variant is the sum of its changes (a Gaussian process over mutations). The
others compare whole variants. `TERMS` is the table; a term is a function of two `Features` and the
`Scales` that were settled on the training variants.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from paratope.kernels.changes import (
    GAP,
    ParentSites,
    residue_descriptors,
    residue_similarity,
)
from paratope.kernels.features import (
    ChangeTable,
    Features,
    single_changes,
    substitution_descriptors,
)
from paratope.numbering import REGIONS

_TINY = 1e-9


@dataclasses.dataclass(frozen=True)
class Scales:
    """Lengths that make distances comparable, settled once.

    Attributes
    ----------
    site, profile : float
        Median squared distance of embeddings, and of residue profiles, between sites of a parent.
    substitution : float
        Median squared distance between the descriptor changes of two substitutions.
    likelihood_mean, likelihood_sd : tuple of float
        Of the likelihood features over all single changes of the parents.
    delta, mean, hamming, physics, additive, by_site : float
        Median distances between training variants.
    """

    site: float = 1.0
    profile: float = 1.0
    substitution: float = 1.0
    likelihood_mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    likelihood_sd: tuple[float, ...] = (1.0, 1.0, 1.0)
    delta: float = 1.0
    mean: float = 1.0
    hamming: float = 1.0
    physics: float = 1.0
    additive: float = 1.0
    by_site: float = 1.0

    @classmethod
    def of(cls, train: Features, sites: list[ParentSites]) -> "Scales":
        """Settled on the parents' sites and the training variants."""
        rows = [np.stack(list(one.embedding.values())) for one in sites[:8] if one.embedding]
        tables = [np.stack(list(one.log_probability.values())) for one in sites[:8]
                  if one.log_probability]  # fmt: skip
        singles = np.concatenate([single_changes(one) for one in sites] or [np.zeros((0, 3))])
        moved = substitution_descriptors()
        scales = cls(
            site=float(np.median([_median(squared(part)) for part in rows])) if rows else 1.0,
            profile=float(np.median([_median(squared(np.exp(part))) for part in tables]))
            if tables
            else 1.0,
            substitution=_median(squared(moved)),
            likelihood_mean=tuple(singles.mean(0).tolist()) if len(singles) else (0.0,) * 3,
            likelihood_sd=tuple((singles.std(0) + _TINY).tolist()) if len(singles) else (1.0,) * 3,
        )
        physics = _physics(train)
        found = {
            "delta": _median(squared(train.delta)),
            "mean": _median(squared(train.mean)),
            "hamming": _median(_hamming(train, train)),
            "physics": _median(squared(physics)),
            "additive": _median(_distance(_same_site_substitution, train, scales)),
            "by_site": _median(_distance(_site_substitution, train, scales)),
        }
        return dataclasses.replace(scales, **found)


ChangeKernel = Callable[[ChangeTable, ChangeTable, Scales], np.ndarray]
Term = Callable[[Features, Features, Scales], np.ndarray]


def squared(a: np.ndarray, b: np.ndarray | None = None) -> np.ndarray:
    """Squared Euclidean distances of rows, (rows of a, rows of b)."""
    b = a if b is None else b
    cross = np.asarray(a @ b.T, float)
    left = np.einsum("ij,ij->i", a, a, dtype=float)
    right = np.einsum("ij,ij->i", b, b, dtype=float)
    return np.maximum(left[:, None] + right[None] - 2 * cross, 0.0)


def _median(distance: np.ndarray) -> float:
    positive = distance[distance > _TINY * max(float(distance.max(initial=0.0)), _TINY)]
    return float(np.median(positive)) if positive.size else 1.0


def _similar(kind: str) -> ChangeKernel:
    def kernel(a: ChangeTable, b: ChangeTable, scales: Scales) -> np.ndarray:
        return residue_similarity()[np.ix_(getattr(a, kind), getattr(b, kind))]

    return kernel


_to, _from = _similar("after"), _similar("before")


def _same_site(a: ChangeTable, b: ChangeTable, scales: Scales) -> np.ndarray:
    return (a.key[:, None] == b.key[None]).astype(float)


def _same_site_substitution(a: ChangeTable, b: ChangeTable, scales: Scales) -> np.ndarray:
    return _same_site(a, b, scales) * _to(a, b, scales)


def _near(length: float) -> ChangeKernel:
    """Sites within some IMGT numbers of each other."""

    def kernel(a: ChangeTable, b: ChangeTable, scales: Scales) -> np.ndarray:
        return np.exp(-0.5 * (a.place[:, None] - b.place[None]) ** 2 / length**2)

    return kernel


def _near_substitution(a: ChangeTable, b: ChangeTable, scales: Scales) -> np.ndarray:
    return _near(2.0)(a, b, scales) * _to(a, b, scales) * _from(a, b, scales)


def _substitution(a: ChangeTable, b: ChangeTable, scales: Scales) -> np.ndarray:
    table = residue_descriptors()
    moved = [table[part.after] - table[part.before] for part in (a, b)]
    return np.exp(-squared(*moved) / scales.substitution)


def _site(a: ChangeTable, b: ChangeTable, scales: Scales) -> np.ndarray:
    alike = np.exp(-squared(a.embedding, b.embedding) / scales.site)
    # sites the language model does not know, those of antigens, are alike only to themselves
    left, right = _known(a), _known(b)
    return np.where(left[:, None] & right[None], alike, _same_site(a, b, scales))


def _known(table: ChangeTable) -> np.ndarray:
    return np.abs(table.embedding).sum(1) > 0


def _site_substitution(a: ChangeTable, b: ChangeTable, scales: Scales) -> np.ndarray:
    return _site(a, b, scales) * _to(a, b, scales)


def _profile_substitution(a: ChangeTable, b: ChangeTable, scales: Scales) -> np.ndarray:
    alike = np.exp(-squared(a.profile, b.profile) / scales.profile)
    return alike * _to(a, b, scales)


def _likelihood(a: ChangeTable, b: ChangeTable, scales: Scales) -> np.ndarray:
    mean, sd = np.array(scales.likelihood_mean), np.array(scales.likelihood_sd)
    return np.exp(-squared((a.likelihood - mean) / sd, (b.likelihood - mean) / sd) / 4.0)


def _count(a: ChangeTable, b: ChangeTable, scales: Scales) -> np.ndarray:
    return np.ones((len(a.key), len(b.key)))


def _region(a: ChangeTable, b: ChangeTable, scales: Scales) -> np.ndarray:
    same_chain = a.place[:, None] // 1000 == b.place[None] // 1000
    return ((a.region[:, None] == b.region[None]) & same_chain).astype(float)


def _additive(kernel: ChangeKernel) -> Term:
    """A variant as the sum of its changes."""

    def term(a: Features, b: Features, scales: Scales) -> np.ndarray:
        return a.incidence() @ kernel(a.changes, b.changes, scales) @ b.incidence().T

    return term


def _own(kernel: ChangeKernel, a: Features, scales: Scales) -> np.ndarray:
    """Diagonal of an additive term, (n,)."""
    found = np.zeros(len(a))
    order = np.argsort(a.row, kind="stable")
    starts = np.searchsorted(a.row[order], np.arange(len(a) + 1))
    between = kernel(a.changes, a.changes, scales)
    for number in range(len(a)):
        columns = a.column[order[starts[number] : starts[number + 1]]]
        found[number] = between[np.ix_(columns, columns)].sum()
    return found


def _distance(kernel: ChangeKernel, train: Features, scales: Scales) -> np.ndarray:
    inner = _additive(kernel)(train, train, scales)
    own = np.diag(inner)
    return np.maximum(own[:, None] + own[None] - 2 * inner, 0.0)


def _saturating(kernel: ChangeKernel, scale: str) -> Term:
    """exp(-d²): d the distance of two variants as sums of their changes."""

    def term(a: Features, b: Features, scales: Scales) -> np.ndarray:
        inner = _additive(kernel)(a, b, scales)
        left = _own(kernel, a, scales)
        right = left if b is a else _own(kernel, b, scales)
        distance = np.maximum(left[:, None] + right[None] - 2 * inner, 0.0)
        return np.exp(-0.5 * distance / getattr(scales, scale))

    return term


def _hamming(a: Features, b: Features) -> np.ndarray:
    """Antibody sites with another residue, and antigen changes that are not shared, (na, nb)."""
    same = np.zeros((len(a), len(b)))
    for letter in range(GAP + 1):
        left, right = (a.residues == letter), (b.residues == letter)
        used = np.flatnonzero(left.any(0) & right.any(0))
        same += left[:, used].astype(np.float32) @ right[:, used].T.astype(np.float32)
    return a.residues.shape[1] - same + _antigen_distance(a, b)


def _antigen_distance(a: Features, b: Features) -> np.ndarray:
    parts = []
    for one in (a, b):
        of_antigen = np.char.startswith(one.changes.key, "A") if len(one.changes.key) else []
        parts.append(one.incidence() * np.asarray(of_antigen, float)[None])
    keys = [np.char.add(one.changes.key, one.changes.after.astype(np.str_)) for one in (a, b)]
    shared = parts[0] @ (keys[0][:, None] == keys[1][None]).astype(float) @ parts[1].T
    return parts[0].sum(1)[:, None] + parts[1].sum(1)[None] - 2 * shared


def _alike_residues(a: Features, b: Features, scales: Scales) -> np.ndarray:
    return np.exp(-_hamming(a, b) / scales.hamming)


def _embedding(a: Features, b: Features, scales: Scales) -> np.ndarray:
    return np.exp(-squared(a.delta, b.delta) / scales.delta)


def _embedding_linear(a: Features, b: Features, scales: Scales) -> np.ndarray:
    return np.asarray(a.delta @ b.delta.T, float)


def _mean_embedding(a: Features, b: Features, scales: Scales) -> np.ndarray:
    return np.exp(-0.25 * squared(a.mean, b.mean) / scales.mean)


def _physics(one: Features) -> np.ndarray:
    table = residue_descriptors()
    return one.totals(table[one.changes.after] - table[one.changes.before])


def _physics_term(a: Features, b: Features, scales: Scales) -> np.ndarray:
    return np.exp(-squared(_physics(a), _physics(b)) / scales.physics)


def _total_likelihood(a: Features, b: Features, scales: Scales) -> np.ndarray:
    left, right = (one.totals(one.changes.likelihood[:, 0]) for one in (a, b))
    return left[:, None] * right[None]


def _prior(a: Features, b: Features, scales: Scales) -> np.ndarray:
    return a.prior[:, None] * b.prior[None]


def _parent(a: Features, b: Features, scales: Scales) -> np.ndarray:
    return (a.parent[:, None] == b.parent[None]).astype(float)


# Terms in which a variant is the sum of its changes, with how alike two changes are.
ADDITIVE: dict[str, ChangeKernel] = {
    "same_site_substitution": _same_site_substitution,
    "near_substitution": _near_substitution,
    "near_site": _near(10.0),
    "substitution": _substitution,
    "new_residue": _to,
    "site_context": _site,
    "site_context_substitution": _site_substitution,
    "profile_substitution": _profile_substitution,
    "likelihood": _likelihood,
    "mutation_count": _count,
    "region": _region,
}
TERMS: dict[str, Term] = {
    **{name: _additive(kernel) for name, kernel in ADDITIVE.items()},
    "saturating_substitution": _saturating(_same_site_substitution, "additive"),
    "saturating_site_context": _saturating(_site_substitution, "by_site"),
    "total_likelihood": _total_likelihood,
    "embedding": _embedding,
    "embedding_linear": _embedding_linear,
    "mean_embedding": _mean_embedding,
    "residues": _alike_residues,
    "physics": _physics_term,
    "general_model": _prior,
    "parent": _parent,
}
# Of each term, in words: for the card and the ablation.
MEANING = {
    "same_site_substitution": "the same site changed to a similar residue",
    "saturating_substitution": "the same, saturating: interactions of changes",
    "near_substitution": "similar substitutions at neighbouring IMGT positions",
    "near_site": "changes in the same stretch of IMGT positions",
    "substitution": "changes with the same effect on size, charge, hydropathy, …",
    "new_residue": "changes to similar residues, wherever they are",
    "site_context": "sites the language model sees alike",
    "site_context_substitution": "similar residues at sites the language model sees alike",
    "saturating_site_context": "the same, saturating: interactions of changes",
    "profile_substitution": "similar residues at sites with similar residue preferences",
    "likelihood": "changes the language model finds similarly likely",
    "total_likelihood": "the language model's likelihood, linearly",
    "embedding": "embedding, position by position",
    "embedding_linear": "embedding, position by position, linearly",
    "mean_embedding": "mean embedding of the chains",
    "residues": "number of residues that differ",
    "mutation_count": "number of mutations, linearly",
    "region": "which regions are changed",
    "physics": "sum of the physico-chemical changes",
    "general_model": "the general model's pKd, linearly",
    "parent": "the same parent",
}
# Terms that need a language model.
LANGUAGE_TERMS = (
    "site_context", "site_context_substitution", "saturating_site_context", "profile_substitution",
    "likelihood", "total_likelihood", "embedding", "embedding_linear", "mean_embedding",
)  # fmt: skip
assert set(MEANING) == set(TERMS)
assert len(REGIONS) == 7


@dataclasses.dataclass(frozen=True)
class Centring:
    """What brings a term to mean 0 and variance 1 over the training variants.

    k'(x, y) = (k(x, y) - mean_t k(x, t) - mean_t k(t, y) + mean k) / scale: the kernel of features
    centred on the training variants, or on those of them that are the `reference`.
    """

    column_mean: np.ndarray  # (n,)
    mean: float
    scale: float
    reference: np.ndarray | None = None  # (n,), of bool

    @classmethod
    def of(cls, gram: np.ndarray, reference: np.ndarray | None = None) -> "Centring | None":
        """Of a term's training Gram matrix; None if the training variants are all alike."""
        rows = slice(None) if reference is None else reference
        column, diagonal = gram[rows].mean(0), float(np.diag(gram)[rows].mean())
        mean = float(column[rows].mean())
        scale = diagonal - mean
        if scale <= 1e-6 * max(abs(diagonal), _TINY):
            return None
        return cls(column, mean, scale, reference)

    def middle(self, gram: np.ndarray) -> np.ndarray:
        """Mean over the reference of (new, training) values of the term, (new,)."""
        return (gram if self.reference is None else gram[:, self.reference]).mean(1)

    def train(self, gram: np.ndarray) -> np.ndarray:
        """The training Gram matrix, centred and scaled."""
        centred = gram - self.column_mean[None] - self.column_mean[:, None] + self.mean
        return centred / self.scale

    def cross(self, gram: np.ndarray) -> np.ndarray:
        """(new, training) values of the term."""
        own = self.middle(gram)[:, None]
        return (gram - own - self.column_mean[None] + self.mean) / self.scale

    def between(self, gram: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """(new, new) values; `left` and `right` are their `middle`."""
        return (gram - left[:, None] - right[None] + self.mean) / self.scale

    def own(self, diagonal: np.ndarray, mean: np.ndarray) -> np.ndarray:
        """Values of new variants with themselves; `mean` is their `middle`."""
        return (diagonal - 2 * mean + self.mean) / self.scale
