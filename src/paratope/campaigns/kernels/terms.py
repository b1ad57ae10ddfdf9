"""The terms of a campaign's kernel: functions of two variants x, x'.

Most sum a kernel of substitutions over both variants' substitutions, ``sum_c sum_c' k(c, c')``, so
that a variant's value is the sum of its substitutions' effects; the others compare whole variants.
`TERMS` is the table; `SumKernel` adds terms up.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Protocol

import numpy as np

from paratope.campaigns.kernels import mutation_kernels as mk
from paratope.campaigns.kernels.features import (
    Features,
    ParentSites,
    residue_descriptors,
    single_substitutions,
)
from paratope.campaigns.kernels.mutation_kernels import (
    ChangeScales,
    Comparison,
    MutationKernel,
    distances,
    lengths,
    squared,
    within_parent,
)
from paratope.campaigns.kernels.variants import GAP

_TINY = 1e-9
# With fewer rows on either side, inner products are in double precision: differences of variants
# are made of them.
_FEW = 8


@dataclasses.dataclass(frozen=True)
class Scales(ChangeScales):
    """Length scales of all terms, settled once on the training variants."""

    # delta, mean, hamming, physics, additive, by_site: Median (squared) distances between training
    # variants
    delta: float = 1.0
    mean: float = 1.0
    hamming: float = 1.0
    physics: float = 1.0
    additive: float = 1.0
    by_site: float = 1.0
    regional: tuple[float, ...] = ()  # The same for the embedding of each region

    @classmethod
    def of(cls, train: Features, sites: list[ParentSites]) -> "Scales":
        """By the median heuristic, from the parents' sites and the training variants; no labels."""
        known = [one for one in sites[:8] if one.embedding]
        rows = [np.stack(list(one.embedding.values())) for one in known]
        profiles = [np.exp(np.stack(list(one.log_probability.values()))) for one in known]
        singles = np.concatenate([single_substitutions(one) for one in sites])
        table = residue_descriptors()[:GAP]
        apart = ~np.eye(GAP, dtype=bool)
        scales = cls(
            site=float(np.median([_median(squared(one)) for one in rows])) if rows else 1.0,
            profile=float(np.median([_median(squared(one)) for one in profiles])) if rows else 1.0,
            substitution=_median(squared((table[None] - table[:, None])[apart])),
            likelihood_mean=tuple(singles.mean(0).tolist()) if len(singles) else (0.0,) * 3,
            likelihood_sd=tuple((singles.std(0) + _TINY).tolist()) if len(singles) else (1.0,) * 3,
        )
        pairwise = Pairwise(train, train, scales)
        return dataclasses.replace(
            scales,
            delta=_median(squared(train.delta)),
            mean=_median(squared(train.mean)),
            hamming=_median(pairwise.differing()),
            physics=_median(squared(train.physics)),
            additive=_median(pairwise.substitution_distance(mk.same_site_substitution)),
            by_site=_median(pairwise.substitution_distance(mk.site_context_substitution)),
            regional=tuple(_median(squared(one)) for one in np.moveaxis(train.regional, 1, 0)),
        )


def _median(distance: np.ndarray) -> float:
    positive = distance[distance > _TINY * max(float(distance.max(initial=0.0)), _TINY)]
    return float(np.median(positive)) if positive.size else 1.0


class Pairwise:
    """Variants a, each compared with each of variants b; what terms share is computed once."""

    def __init__(self, a: Features, b: Features, scales: Scales) -> None:
        self.a, self.b, self.scales = a, b, scales
        self._inner: dict[str, np.ndarray] = {}

    @functools.cached_property
    def changes(self) -> Comparison:
        """Their substitutions."""
        return Comparison(self.a.changes, self.b.changes, self.scales)

    def summed(self, kernel: MutationKernel) -> np.ndarray:
        """``sum_c sum_c' k(c, c')``, (na, nb)."""
        return self.a.summed(kernel(self.changes), self.b)

    def substitution_distance(self, kernel: MutationKernel) -> np.ndarray:
        """Squared distances of the variants as sums of their substitutions, (na, nb)."""
        left, right = (summed_diagonal(one, kernel, self.scales) for one in (self.a, self.b))
        return distances(self.summed(kernel), left, right)

    def inner(self, rows: str) -> np.ndarray:
        """Inner products of an array of `Features`, (na, nb)."""
        if rows not in self._inner:
            self._inner.clear()  # one is enough: terms of the same array follow each other
            left, right = getattr(self.a, rows), getattr(self.b, rows)
            if min(len(left), len(right)) < _FEW:
                left, right = left.astype(float), right.astype(float)
            self._inner[rows] = np.asarray(left @ right.T, float)
        return self._inner[rows]

    def distance(self, rows: str) -> np.ndarray:
        """Squared distances of an array of `Features`, (na, nb)."""
        left, right = (squared_lengths(one, rows) for one in (self.a, self.b))
        return distances(self.inner(rows), left, right)

    def differing(self) -> np.ndarray:
        """Antibody sites with another residue, and antigen changes not shared, (na, nb)."""
        a, b = self.a.residues, self.b.residues
        same = np.zeros((len(a), len(b)))
        if not same.size:
            return same
        # where all of b have one residue, each of a is like all of them or like none
        varied = (b != b[0]).any(0)
        same += (a[:, ~varied] == b[0][~varied]).sum(1)[:, None]
        for residue in range(GAP + 1):
            ours, theirs = a[:, varied] == residue, b[:, varied] == residue
            used = np.flatnonzero(ours.any(0) & theirs.any(0))
            same += ours[:, used].astype(np.float32) @ theirs[:, used].T.astype(np.float32)
        total = a.shape[1] - same
        of_antigen = [one.changes.of_antigen.astype(float) for one in (self.a, self.b)]
        if any(one.any() for one in of_antigen):
            after = self.a.changes.after[:, None] == self.b.changes.after[None]
            shared = self.changes.same_site * after * of_antigen[0][:, None] * of_antigen[1][None]
            total += self.a.totals(of_antigen[0])[:, None] + self.b.totals(of_antigen[1])[None]
            total -= 2 * self.a.summed(shared, self.b)
        return total


def squared_lengths(variants: Features, rows: str) -> np.ndarray:
    """Of each row of an array of `Features`, (n,); computed once."""
    if rows not in variants.remembered:
        variants.remembered[rows] = lengths(getattr(variants, rows))
    return variants.remembered[rows]


def summed_diagonal(variants: Features, kernel: MutationKernel, scales: Scales) -> np.ndarray:
    """``sum_c sum_c' k(c, c')`` of each variant with itself, (n,); computed once."""
    key = kernel, scales
    if key not in variants.remembered:
        changes = Comparison(variants.changes, variants.changes, scales)
        variants.remembered[key] = variants.summed_diagonal(kernel(changes))
    return variants.remembered[key]


class Term(Protocol):
    """A kernel of variants, positive semi-definite."""

    def __call__(self, both: Pairwise) -> np.ndarray:
        """``k(x, x')`` of each of a with each of b, (na, nb)."""
        ...

    def diagonal(self, a: Features, scales: Scales) -> np.ndarray:
        """``k(x, x)`` of each, (na,)."""
        ...


@dataclasses.dataclass(frozen=True)
class Additive:
    """``sum_c sum_c' k(c, c')`` over the substitutions of both."""

    kernel: MutationKernel

    def __call__(self, both: Pairwise) -> np.ndarray:  # noqa: D102
        return both.summed(self.kernel)

    def diagonal(self, a: Features, scales: Scales) -> np.ndarray:  # noqa: D102
        return summed_diagonal(a, self.kernel, scales)


@dataclasses.dataclass(frozen=True)
class WithinAntigen:
    """``[antigen = antigen'] sum_c sum_c' k(c, c')``; 0 for another antigen than the campaign's."""

    kernel: MutationKernel

    def __call__(self, both: Pairwise) -> np.ndarray:  # noqa: D102
        return both.summed(self.kernel) * SameAntigen()(both)

    def diagonal(self, a: Features, scales: Scales) -> np.ndarray:  # noqa: D102
        return summed_diagonal(a, self.kernel, scales) * (a.antigen >= 0)


@dataclasses.dataclass(frozen=True)
class Linear:
    """``xᵀ x'`` of one array of `Features`."""

    rows: str

    def __call__(self, both: Pairwise) -> np.ndarray:  # noqa: D102
        return both.inner(self.rows)

    def diagonal(self, a: Features, scales: Scales) -> np.ndarray:  # noqa: D102
        return squared_lengths(a, self.rows)


class Stationary:
    """A kernel that is 1 on the diagonal."""

    def diagonal(self, a: Features, scales: Scales) -> np.ndarray:  # noqa: D102
        return np.ones(len(a))


@dataclasses.dataclass(frozen=True)
class Saturating(Stationary):
    """``exp(-d² / (2 scale))``, d² the squared distance that belongs to `Additive`."""

    kernel: MutationKernel
    scale: str

    def __call__(self, both: Pairwise) -> np.ndarray:  # noqa: D102
        distance = both.substitution_distance(self.kernel)
        return np.exp(-0.5 * distance / getattr(both.scales, self.scale))


@dataclasses.dataclass(frozen=True)
class RBF(Stationary):
    """``exp(-f |x - x'|² / scale)`` of one array of `Features`."""

    rows: str
    factor: float = 1.0

    def __call__(self, both: Pairwise) -> np.ndarray:  # noqa: D102
        return np.exp(-self.factor * both.distance(self.rows) / getattr(both.scales, self.rows))


class Hamming(Stationary):
    """``exp(-d / scale)``, d the number of residues that differ."""

    def __call__(self, both: Pairwise) -> np.ndarray:  # noqa: D102
        return np.exp(-both.differing() / both.scales.hamming)


@dataclasses.dataclass(frozen=True)
class Same(Stationary):
    """``[x = x']`` of one array of `Features`, such as an offset of each assay."""

    index: str

    def __call__(self, both: Pairwise) -> np.ndarray:  # noqa: D102
        left, right = getattr(both.a, self.index), getattr(both.b, self.index)
        return (left[:, None] == right[None]).astype(float)


class SameAntigen:
    """``[antigen = antigen']``: an offset of each antigen of the campaign; 0 for any other."""

    def __call__(self, both: Pairwise) -> np.ndarray:  # noqa: D102
        theirs = both.b.antigen[None]
        return ((both.a.antigen[:, None] == theirs) & (theirs >= 0)).astype(float)

    def diagonal(self, a: Features, scales: Scales) -> np.ndarray:  # noqa: D102
        return (a.antigen >= 0).astype(float)


class RegionalEmbedding:
    """``sum_r exp(-|x_r - x'_r|² / scale_r)`` over regions r."""

    def __call__(self, both: Pairwise) -> np.ndarray:  # noqa: D102
        total = np.zeros((len(both.a), len(both.b)))
        for region, scale in enumerate(both.scales.regional):
            distance = squared(both.a.regional[:, region], both.b.regional[:, region])
            total += np.exp(-distance / scale)
        return total

    def diagonal(self, a: Features, scales: Scales) -> np.ndarray:  # noqa: D102
        return np.full(len(a), float(len(scales.regional)))


TERMS: Mapping[str, Term] = {
    "same_site_substitution": Additive(mk.same_site_substitution),
    "near_substitution": Additive(mk.near_substitution),
    "near_site": Additive(mk.near_site),
    "substitution": Additive(mk.substitution),
    "new_residue": Additive(mk.new_residue),
    "site_context": Additive(mk.site_context),
    "site_context_substitution": Additive(mk.site_context_substitution),
    "profile_substitution": Additive(mk.profile_substitution),
    "likelihood": Additive(mk.likelihood),
    "site_context_likelihood": Additive(mk.site_context_likelihood),
    "mutation_count": Additive(mk.mutation_count),
    "region": Additive(mk.region),
    "parent_same_site_substitution": Additive(within_parent(mk.same_site_substitution)),
    "parent_near_site": Additive(within_parent(mk.near_site)),
    "parent_mutation_count": Additive(within_parent(mk.mutation_count)),
    "parent_region": Additive(within_parent(mk.region)),
    "saturating_substitution": Saturating(mk.same_site_substitution, "additive"),
    "saturating_site_context": Saturating(mk.site_context_substitution, "by_site"),
    "total_likelihood": Linear("log_odds"),
    "embedding": RBF("delta"),
    "embedding_linear": Linear("delta"),
    "regional_embedding": RegionalEmbedding(),
    "mean_embedding": RBF("mean", 0.25),
    "residues": Hamming(),
    "physics": RBF("physics"),
    "general_model": Linear("general_model"),
    "parent": Same("parent"),
    "antigen_same_site_substitution": WithinAntigen(mk.same_site_substitution),
    "antigen_near_site": WithinAntigen(mk.near_site),
    "antigen_mutation_count": WithinAntigen(mk.mutation_count),
    "antigen_region": WithinAntigen(mk.region),
}
# What each term compares, for the card and the ablation.
MEANING: Mapping[str, str] = {
    "same_site_substitution": "the same site changed to a similar residue",
    "near_substitution": "similar substitutions at neighbouring IMGT positions",
    "near_site": "changes in the same stretch of IMGT positions",
    "substitution": "changes with the same effect on size, charge, hydropathy, …",
    "new_residue": "changes to similar residues, wherever they are",
    "site_context": "sites the language model sees alike",
    "site_context_substitution": "similar residues at sites the language model sees alike",
    "profile_substitution": "similar residues at sites with similar residue preferences",
    "likelihood": "changes the language model finds similarly likely",
    "site_context_likelihood": "the language model's likelihood, at sites it sees alike",
    "mutation_count": "number of mutations, linearly",
    "region": "which regions are changed",
    "parent_same_site_substitution": "the same site of one parent changed to a similar residue",
    "parent_near_site": "changes in the same stretch of one parent",
    "parent_mutation_count": "number of mutations in one parent, linearly",
    "parent_region": "which regions of one parent are changed",
    "saturating_substitution": "same_site_substitution, saturating: interactions of changes",
    "saturating_site_context": "site_context_substitution, saturating: interactions of changes",
    "total_likelihood": "the language model's likelihood, linearly",
    "embedding": "embedding, position by position",
    "embedding_linear": "embedding, position by position, linearly",
    "regional_embedding": "mean embedding of each region",
    "mean_embedding": "mean embedding of the chains",
    "residues": "number of residues that differ",
    "physics": "sum of the physico-chemical changes",
    "general_model": "the general model's pKd, linearly",
    "parent": "the same parent",
    "antigen_same_site_substitution": "the same site changed to a similar residue, by antigen",
    "antigen_near_site": "changes in the same stretch of positions, by antigen",
    "antigen_mutation_count": "number of mutations, linearly, by antigen",
    "antigen_region": "which regions are changed, by antigen",
}
# Offsets of assays and antigens; their weights are not shared out, as an offset may be large.
OFFSETS: Mapping[str, Term] = {"assay": Same("assay"), "antigen": SameAntigen()}
ADDITIVE: Mapping[str, MutationKernel] = {
    name: term.kernel for name, term in TERMS.items() if isinstance(term, Additive)
}
# Of several parents, each has effects of its own: its paratope, and how far it can still fall.
WITHIN_PARENT = tuple(name for name in TERMS if name.startswith("parent_"))
# Against several antigens, substitutions have effects of their own: what specificity is made of.
WITHIN_ANTIGEN = tuple(name for name in TERMS if name.startswith("antigen_"))
# Terms that need a language model.
LANGUAGE_TERMS = tuple(
    name
    for name in TERMS
    if any(word in name for word in ("site_context", "profile", "likelihood", "embedding"))
)
