"""The terms of the kernel: ways in which two variants can be alike.

Most terms compare changes: K = Z k Zᵀ, Z saying which variant has which change and k how alike two
changes are, so that a variant is the sum of its changes (a Gaussian process over mutations). The
others compare whole variants. `TERMS` is the table; a term is a function of two `Features` and the
`Scales` that were settled on the training variants. `Blend` adds terms up faster than one by one.
"""

import dataclasses
from collections.abc import Callable
from typing import Protocol

import numpy as np

from paratope.campaigns.kernels.alike import (
    ADDITIVE,
    ChangeKernel,
    Comparison,
    distances,
    lengths,
    squared,
)
from paratope.campaigns.kernels.features import Features
from paratope.campaigns.kernels.scales import Scales, differing, physics
from paratope.molecules.numbering import REGIONS

Rows = Callable[[Features], np.ndarray]


class Term(Protocol):
    """A way in which two variants can be alike."""

    def __call__(self, a: Features, b: Features, scales: Scales) -> np.ndarray:
        """Of each of `a` with each of `b`, (na, nb)."""
        ...

    def own(self, a: Features, scales: Scales) -> np.ndarray:
        """Of each with itself, (na,)."""
        ...


@dataclasses.dataclass(frozen=True)
class Additive:
    """A variant as the sum of its changes."""

    kernel: ChangeKernel

    def __call__(self, a: Features, b: Features, scales: Scales) -> np.ndarray:
        """As `Term`."""
        return a.summed(self.kernel(Comparison(a.changes, b.changes, scales)), b)

    def own(self, a: Features, scales: Scales) -> np.ndarray:
        """As `Term`."""
        return a.summed_own(self.kernel(Comparison(a.changes, a.changes, scales)))


@dataclasses.dataclass(frozen=True)
class Saturating:
    """exp(-d²/2): d the distance of two variants as sums of their changes, by its scale."""

    kernel: ChangeKernel
    scale: str

    def __call__(self, a: Features, b: Features, scales: Scales) -> np.ndarray:
        """As `Term`."""
        inner = Additive(self.kernel)
        left, right = inner.own(a, scales), inner.own(b, scales)
        return self.of(inner(a, b, scales), left, right, scales)

    def of(
        self, inner: np.ndarray, left: np.ndarray, right: np.ndarray, scales: Scales
    ) -> np.ndarray:
        """From the sums' inner products and their squared lengths."""
        return np.exp(-0.5 * distances(inner, left, right) / getattr(scales, self.scale))

    def own(self, a: Features, scales: Scales) -> np.ndarray:
        """As `Term`."""
        return np.ones(len(a))


@dataclasses.dataclass(frozen=True)
class Linear:
    """Inner product of one row of numbers for each variant."""

    rows: Rows

    def __call__(self, a: Features, b: Features, scales: Scales) -> np.ndarray:
        """As `Term`."""
        return np.asarray(self.rows(a) @ self.rows(b).T, float)

    def own(self, a: Features, scales: Scales) -> np.ndarray:
        """As `Term`."""
        return lengths(self.rows(a))


@dataclasses.dataclass(frozen=True)
class Smooth:
    """exp(-d²): d the distance of rows, by its scale."""

    rows: Rows
    scale: str
    factor: float = 1.0

    def __call__(self, a: Features, b: Features, scales: Scales) -> np.ndarray:
        """As `Term`."""
        left, right = self.rows(a), self.rows(b)
        return self.of(left @ right.T, lengths(left), lengths(right), scales)

    def of(
        self, inner: np.ndarray, left: np.ndarray, right: np.ndarray, scales: Scales
    ) -> np.ndarray:
        """From the rows' inner products and their squared lengths."""
        return np.exp(-self.factor * distances(inner, left, right) / getattr(scales, self.scale))

    def own(self, a: Features, scales: Scales) -> np.ndarray:
        """As `Term`."""
        return np.ones(len(a))


class AlikeResidues:
    """exp(-d): d the number of residues that differ, by its scale."""

    def __call__(self, a: Features, b: Features, scales: Scales) -> np.ndarray:
        """As `Term`."""
        return np.exp(-differing(a, b) / scales.hamming)

    def own(self, a: Features, scales: Scales) -> np.ndarray:
        """As `Term`."""
        return np.ones(len(a))


@dataclasses.dataclass(frozen=True)
class WithinAntigen:
    """As `Additive`, but what is learned against one antigen says nothing of another."""

    kernel: ChangeKernel

    def __call__(self, a: Features, b: Features, scales: Scales) -> np.ndarray:
        """As `Term`; an antigen that is not the campaign's has no part in it."""
        same = (a.antigen[:, None] == b.antigen[None]) & (b.antigen[None] >= 0)
        return Additive(self.kernel)(a, b, scales) * same

    def own(self, a: Features, scales: Scales) -> np.ndarray:
        """As `Term`."""
        return Additive(self.kernel).own(a, scales) * (a.antigen >= 0)


class RegionalEmbedding:
    """Sum over regions of exp(-d²): d the distance of a region's embeddings, by its scale."""

    def __call__(self, a: Features, b: Features, scales: Scales) -> np.ndarray:
        """As `Term`."""
        total = np.zeros((len(a), len(b)))
        for number, scale in enumerate(scales.regional):
            distance = squared(a.regional[:, number], b.regional[:, number])
            total += np.exp(-distance / scale)
        return total

    def own(self, a: Features, scales: Scales) -> np.ndarray:
        """As `Term`."""
        return np.full(len(a), float(len(scales.regional)))


class SameParent:
    """1 where variants have the same parent."""

    def __call__(self, a: Features, b: Features, scales: Scales) -> np.ndarray:
        """As `Term`."""
        return (a.parent[:, None] == b.parent[None]).astype(float)

    def own(self, a: Features, scales: Scales) -> np.ndarray:
        """As `Term`."""
        return np.ones(len(a))


def _delta(one: Features) -> np.ndarray:
    return one.delta


def _mean(one: Features) -> np.ndarray:
    return one.mean


def _log_odds(one: Features) -> np.ndarray:
    return one.totals(one.changes.likelihood[:, :1])


def _prior(one: Features) -> np.ndarray:
    return one.prior[:, None]


# Against several antigens, changes have effects of their own: what specificity is made of.
WITHIN_ANTIGEN: dict[str, Term] = {
    "antigen_same_site_substitution": WithinAntigen(ADDITIVE["same_site_substitution"]),
    "antigen_near_site": WithinAntigen(ADDITIVE["near_site"]),
    "antigen_mutation_count": WithinAntigen(ADDITIVE["mutation_count"]),
    "antigen_region": WithinAntigen(ADDITIVE["region"]),
}
TERMS: dict[str, Term] = {
    **{name: Additive(kernel) for name, kernel in ADDITIVE.items()},
    "saturating_substitution": Saturating(ADDITIVE["same_site_substitution"], "additive"),
    "saturating_site_context": Saturating(ADDITIVE["site_context_substitution"], "by_site"),
    "total_likelihood": Linear(_log_odds),
    "embedding": Smooth(_delta, "delta"),
    "embedding_linear": Linear(_delta),
    "regional_embedding": RegionalEmbedding(),
    "mean_embedding": Smooth(_mean, "mean", 0.25),
    "residues": AlikeResidues(),
    "physics": Smooth(physics, "physics"),
    "general_model": Linear(_prior),
    "parent": SameParent(),
    **WITHIN_ANTIGEN,
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
    "site_context_likelihood": "the language model's likelihood, at sites it sees alike",
    "total_likelihood": "the language model's likelihood, linearly",
    "embedding": "embedding, position by position",
    "embedding_linear": "embedding, position by position, linearly",
    "regional_embedding": "mean embedding of each region",
    "mean_embedding": "mean embedding of the chains",
    "residues": "number of residues that differ",
    "mutation_count": "number of mutations, linearly",
    "region": "which regions are changed",
    "physics": "sum of the physico-chemical changes",
    "general_model": "the general model's pKd, linearly",
    "parent": "the same parent",
    "parent_same_site_substitution": "the same site of one parent changed to a similar residue",
    "parent_near_site": "changes in the same stretch of one parent",
    "parent_mutation_count": "number of mutations in one parent, linearly",
    "parent_region": "which regions of one parent are changed",
    "antigen_same_site_substitution": "the same site changed to a similar residue, by antigen",
    "antigen_near_site": "changes in the same stretch of positions, by antigen",
    "antigen_mutation_count": "number of mutations, linearly, by antigen",
    "antigen_region": "which regions are changed, by antigen",
}
# Terms that need a language model.
LANGUAGE_TERMS = (
    "site_context", "site_context_substitution", "saturating_site_context", "profile_substitution",
    "likelihood", "site_context_likelihood", "total_likelihood", "embedding", "embedding_linear",
    "regional_embedding", "mean_embedding",
)  # fmt: skip
assert set(MEANING) == set(TERMS)
assert len(REGIONS) == 7
