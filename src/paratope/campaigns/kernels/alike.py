"""How alike two changes are, in many ways."""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np

from paratope.campaigns.kernels.changes import residue_descriptors, residue_similarity
from paratope.campaigns.kernels.features import ChangeTable


@dataclasses.dataclass(frozen=True)
class ChangeScales:
    """Lengths that make distances between changes comparable.

    Attributes
    ----------
    site, profile : float
        Median squared distance of embeddings, and of residue profiles, between sites of a parent.
    substitution : float
        Median squared distance between the descriptor changes of two substitutions.
    likelihood_mean, likelihood_sd : tuple of float
        Of the likelihood features over all single changes of the parents.
    """

    site: float = 1.0
    profile: float = 1.0
    substitution: float = 1.0
    likelihood_mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    likelihood_sd: tuple[float, ...] = (1.0, 1.0, 1.0)


def squared(a: np.ndarray, b: np.ndarray | None = None) -> np.ndarray:
    """Squared Euclidean distances of rows, (rows of a, rows of b)."""
    b = a if b is None else b
    return distances(a @ b.T, lengths(a), lengths(b))


def lengths(rows: np.ndarray) -> np.ndarray:
    """Squared length of each row."""
    return np.einsum("ij,ij->i", rows, rows, dtype=float)


def distances(inner: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Squared distances, (a, b), from inner products (a, b) and squared lengths (a,), (b,)."""
    return np.maximum(left[:, None] + right[None] - 2 * np.asarray(inner, float), 0.0)


class Comparison:
    """The changes of two tables, each of `a` with each of `b`; what kernels share is made once.

    Parameters
    ----------
    a, b : ChangeTable
    scales : ChangeScales
    """

    def __init__(self, a: ChangeTable, b: ChangeTable, scales: ChangeScales) -> None:
        self.a, self.b, self.scales = a, b, scales

    @functools.cached_property
    def new_residue(self) -> np.ndarray:
        """Alike after the change."""
        return _similarity()[np.ix_(self.a.after, self.b.after)]

    @functools.cached_property
    def old_residue(self) -> np.ndarray:
        """Alike before the change."""
        return _similarity()[np.ix_(self.a.before, self.b.before)]

    @functools.cached_property
    def same_site(self) -> np.ndarray:
        """1 where both change the same site."""
        codes = np.unique(np.concatenate([self.a.key, self.b.key]), return_inverse=True)[1]
        left, right = codes[: len(self.a.key)], codes[len(self.a.key) :]
        return (left[:, None] == right[None]).astype(float)

    @functools.cached_property
    def same_parent(self) -> np.ndarray:
        """1 where both change the same parent."""
        return (self.a.parent[:, None] == self.b.parent[None]).astype(float)

    @functools.cached_property
    def site(self) -> np.ndarray:
        """Alike in context, as the language model sees it."""
        alike = np.exp(-squared(self.a.embedding, self.b.embedding) / self.scales.site)
        # sites the language model does not know, those of antigens, are alike only to themselves
        left, right = _known(self.a), _known(self.b)
        if left.all() and right.all():
            return alike
        return np.where(left[:, None] & right[None], alike, self.same_site)

    def near(self, reach: float) -> np.ndarray:
        """Sites within some IMGT numbers of each other."""
        return np.exp(-0.5 * (self.a.place[:, None] - self.b.place[None]) ** 2 / reach**2)


ChangeKernel = Callable[[Comparison], np.ndarray]


def _same_site_substitution(both: Comparison) -> np.ndarray:
    return both.same_site * both.new_residue


def _near_substitution(both: Comparison) -> np.ndarray:
    return both.near(2.0) * both.new_residue * both.old_residue


def _near_site(both: Comparison) -> np.ndarray:
    return both.near(10.0)


def _substitution(both: Comparison) -> np.ndarray:
    table = residue_descriptors()
    moved = [table[part.after] - table[part.before] for part in (both.a, both.b)]
    return np.exp(-squared(*moved) / both.scales.substitution)


def _new_residue(both: Comparison) -> np.ndarray:
    return both.new_residue


def _site_context(both: Comparison) -> np.ndarray:
    return both.site


def _site_context_substitution(both: Comparison) -> np.ndarray:
    return both.site * both.new_residue


def _profile_substitution(both: Comparison) -> np.ndarray:
    alike = np.exp(-squared(both.a.profile, both.b.profile) / both.scales.profile)
    return alike * both.new_residue


def _likelihood(both: Comparison) -> np.ndarray:
    mean, sd = np.array(both.scales.likelihood_mean), np.array(both.scales.likelihood_sd)
    standard = [(part.likelihood - mean) / sd for part in (both.a, both.b)]
    return np.exp(-squared(*standard) / 4.0)


def _site_context_likelihood(both: Comparison) -> np.ndarray:
    return both.site * (both.a.likelihood[:, :1] @ both.b.likelihood[:, :1].T)


def _mutation_count(both: Comparison) -> np.ndarray:
    return np.ones((len(both.a.key), len(both.b.key)))


def _region(both: Comparison) -> np.ndarray:
    same_chain = both.a.place[:, None] // 1000 == both.b.place[None] // 1000
    return ((both.a.region[:, None] == both.b.region[None]) & same_chain).astype(float)


def _within_parent(kernel: ChangeKernel) -> ChangeKernel:
    """As the kernel, but what is learned of one parent says nothing of another."""

    def within(both: Comparison) -> np.ndarray:
        return kernel(both) * both.same_parent

    return within


# Of several parents, each has effects of its own: its paratope, and how far it can still fall.
WITHIN_PARENT: dict[str, ChangeKernel] = {
    "parent_same_site_substitution": _within_parent(_same_site_substitution),
    "parent_near_site": _within_parent(_near_site),
    "parent_mutation_count": _within_parent(_mutation_count),
    "parent_region": _within_parent(_region),
}
ADDITIVE: dict[str, ChangeKernel] = {
    "same_site_substitution": _same_site_substitution,
    "near_substitution": _near_substitution,
    "near_site": _near_site,
    "substitution": _substitution,
    "new_residue": _new_residue,
    "site_context": _site_context,
    "site_context_substitution": _site_context_substitution,
    "profile_substitution": _profile_substitution,
    "likelihood": _likelihood,
    "site_context_likelihood": _site_context_likelihood,
    "mutation_count": _mutation_count,
    "region": _region,
    **WITHIN_PARENT,
}


@functools.cache
def _similarity() -> np.ndarray:
    return residue_similarity()


def _known(table: ChangeTable) -> np.ndarray:
    return np.abs(table.embedding).sum(1) > 0
