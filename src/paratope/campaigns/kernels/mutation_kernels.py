"""Kernels k(c, c') of two substitutions c, c'; a term of the campaign's kernel sums one over them.

Notation: p position, a residue before, b residue after, e embedding of the site in its context,
π residue profile of the site, l likelihood features, ``[.]`` 1 where true; ``s(a, b)`` is the
similarity of two residues, ``exp(-|x_a - x_b|² / median)`` over BLOSUM62 rows and physico-chemical
descriptors x. Scales are those of `ChangeScales`.
"""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np

from paratope.campaigns.kernels.features import CHAIN_GAP, SubstitutionTable, residue_descriptors
from paratope.campaigns.kernels.variants import GAP


@dataclasses.dataclass(frozen=True)
class ChangeScales:
    """Length scales of distances between substitutions."""

    # site, profile: Median squared distance of embeddings, and of residue profiles, between sites
    # of a parent
    site: float = 1.0
    profile: float = 1.0
    # Median squared distance between the descriptor changes of two substitutions
    substitution: float = 1.0
    # likelihood_mean, likelihood_sd: Of the likelihood features over all single substitutions of
    # the parents
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


@functools.cache
def residue_similarity() -> np.ndarray:
    """``exp(-|x_a - x_b|² / median)`` over the descriptors, (21, 21); a gap is like a gap alone."""
    distance = squared(residue_descriptors())
    scale = np.median(distance[:GAP, :GAP][~np.eye(GAP, dtype=bool)])
    similarity = np.exp(-distance / scale)
    similarity[GAP, :GAP] = similarity[:GAP, GAP] = 0.0
    return similarity


class Comparison:
    """Substitutions of `a`, each with each of `b`; what kernels share is computed once."""

    def __init__(self, a: SubstitutionTable, b: SubstitutionTable, scales: ChangeScales) -> None:
        self.a, self.b, self.scales = a, b, scales

    @functools.cached_property
    def new_residue(self) -> np.ndarray:
        """``s(b, b')``."""
        return residue_similarity()[np.ix_(self.a.after, self.b.after)]

    @functools.cached_property
    def old_residue(self) -> np.ndarray:
        """``s(a, a')``."""
        return residue_similarity()[np.ix_(self.a.before, self.b.before)]

    @functools.cached_property
    def same_site(self) -> np.ndarray:
        """1 where both change the same site."""
        codes = np.unique(np.concatenate([self.a.key, self.b.key]), return_inverse=True)[1]
        left, right = codes[: len(self.a.key)], codes[len(self.a.key) :]
        return (left[:, None] == right[None]).astype(float)

    @functools.cached_property
    def site_context(self) -> np.ndarray:
        """``exp(-|e - e'|² / scale)``; where a site has no embedding, 1 with itself and else 0."""
        kernel = np.exp(-squared(self.a.embedding, self.b.embedding) / self.scales.site)
        left, right = ((table.embedding != 0).any(1) for table in (self.a, self.b))
        if left.all() and right.all():
            return kernel
        return np.where(left[:, None] & right[None], kernel, self.same_site)

    def near(self, reach: float) -> np.ndarray:
        """``exp(-(p - p')² / (2 reach²))``, in IMGT numbers."""
        return np.exp(-0.5 * (self.a.position[:, None] - self.b.position[None]) ** 2 / reach**2)


MutationKernel = Callable[[Comparison], np.ndarray]


def same_site_substitution(both: Comparison) -> np.ndarray:
    """``[p = p'] s(b, b')``."""
    return both.same_site * both.new_residue


def near_substitution(both: Comparison) -> np.ndarray:
    """``exp(-(p - p')² / (2 · 2²)) s(a, a') s(b, b')``."""
    return both.near(2.0) * both.new_residue * both.old_residue


def near_site(both: Comparison) -> np.ndarray:
    """``exp(-(p - p')² / (2 · 10²))``."""
    return both.near(10.0)


def substitution(both: Comparison) -> np.ndarray:
    """``exp(-|(x_b - x_a) - (x_b' - x_a')|² / scale)``."""
    table = residue_descriptors()
    left, right = (table[one.after] - table[one.before] for one in (both.a, both.b))
    return np.exp(-squared(left, right) / both.scales.substitution)


def new_residue(both: Comparison) -> np.ndarray:
    """``s(b, b')``."""
    return both.new_residue


def site_context(both: Comparison) -> np.ndarray:
    """``exp(-|e - e'|² / scale)``."""
    return both.site_context


def site_context_substitution(both: Comparison) -> np.ndarray:
    """``exp(-|e - e'|² / scale) s(b, b')``."""
    return both.site_context * both.new_residue


def profile_substitution(both: Comparison) -> np.ndarray:
    """``exp(-|π - π'|² / scale) s(b, b')``."""
    kernel = np.exp(-squared(both.a.profile, both.b.profile) / both.scales.profile)
    return kernel * both.new_residue


def likelihood(both: Comparison) -> np.ndarray:
    """``exp(-|z - z'|² / 4)``, z the standardised l."""
    mean, sd = np.array(both.scales.likelihood_mean), np.array(both.scales.likelihood_sd)
    left, right = ((one.likelihood - mean) / sd for one in (both.a, both.b))
    return np.exp(-squared(left, right) / 4.0)


def site_context_likelihood(both: Comparison) -> np.ndarray:
    """``exp(-|e - e'|² / scale) l_1 l_1'``, l_1 the log-odds of the new residue."""
    return both.site_context * (both.a.likelihood[:, :1] @ both.b.likelihood[:, :1].T)


def mutation_count(both: Comparison) -> np.ndarray:
    """``1``: summed, the product of the numbers of mutations."""
    return np.ones((len(both.a.key), len(both.b.key)))


def region(both: Comparison) -> np.ndarray:
    """1 where both are in the same region of the same chain."""
    chain_a, chain_b = both.a.position // CHAIN_GAP, both.b.position // CHAIN_GAP
    same_region = both.a.region[:, None] == both.b.region[None]
    return (same_region & (chain_a[:, None] == chain_b[None])).astype(float)


def within_parent(kernel: MutationKernel) -> MutationKernel:
    """``[parent = parent'] k``: what is learned of one parent says nothing of another."""

    def within(both: Comparison) -> np.ndarray:
        return kernel(both) * (both.a.parent[:, None] == both.b.parent[None])

    return within
