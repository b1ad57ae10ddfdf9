"""The terms of a campaign's kernel: functions of two variants x, x'.

Most sum a kernel k(c, c') of substitutions over both variants' substitutions, ``sum_c sum_c' k(c,
c')``, so that a variant's value is the sum of its substitutions' effects; the others compare whole
variants. `TERMS` is the table; `SumKernel` adds terms up.

Notation of substitutions: p position, a residue before, b residue after, e embedding of the site in
its context, π residue profile of the site, l likelihood features, ``[.]`` 1 where true; ``s(a, b)``
is the similarity of two residues, ``exp(-|x_a - x_b|² / median)`` over BLOSUM62 rows and
physico-chemical descriptors x. Scales are those of `Scales`.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from paratope.campaigns.kernels.features import (
    CHAIN_GAP,
    Features,
    ParentSites,
    SubstitutionTable,
    residue_descriptors,
    single_substitutions,
)
from paratope.campaigns.kernels.variants import GAP

_TINY = 1e-9
# With fewer rows on either side, inner products are in double precision: differences of variants
# are made of them.
_FEW = 8


@dataclasses.dataclass(frozen=True)
class Scales:
    """Length scales of all terms, settled once on the training variants."""

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
        known = [parent for parent in sites[:8] if parent.embedding]
        rows = [np.stack(list(parent.embedding.values())) for parent in known]
        profiles = [np.exp(np.stack(list(parent.log_probability.values()))) for parent in known]
        singles = np.concatenate([single_substitutions(parent) for parent in sites])
        table = residue_descriptors()[:GAP]
        apart = ~np.eye(GAP, dtype=bool)
        scales = cls(
            site=float(np.median([_median(squared(r)) for r in rows])) if rows else 1.0,
            profile=float(np.median([_median(squared(p)) for p in profiles])) if rows else 1.0,
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
            additive=_median(pairwise.substitution_distance(KERNELS["same_site_substitution"])),
            by_site=_median(pairwise.substitution_distance(KERNELS["site_context_substitution"])),
            regional=tuple(_median(squared(array)) for array in np.moveaxis(train.regional, 1, 0)),
        )


def _median(distance: np.ndarray) -> float:
    positive = distance[distance > _TINY * max(float(distance.max(initial=0.0)), _TINY)]
    return float(np.median(positive)) if positive.size else 1.0


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

    def __init__(self, a: SubstitutionTable, b: SubstitutionTable, scales: Scales) -> None:
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


def substitution(both: Comparison) -> np.ndarray:
    """``exp(-|(x_b - x_a) - (x_b' - x_a')|² / scale)``."""
    table = residue_descriptors()
    left, right = (table[changes.after] - table[changes.before] for changes in (both.a, both.b))
    return np.exp(-squared(left, right) / both.scales.substitution)


def profile_substitution(both: Comparison) -> np.ndarray:
    """``exp(-|π - π'|² / scale) s(b, b')``."""
    kernel = np.exp(-squared(both.a.profile, both.b.profile) / both.scales.profile)
    return kernel * both.new_residue


def likelihood(both: Comparison) -> np.ndarray:
    """``exp(-|z - z'|² / 4)``, z the standardised l."""
    mean, sd = np.array(both.scales.likelihood_mean), np.array(both.scales.likelihood_sd)
    left, right = ((changes.likelihood - mean) / sd for changes in (both.a, both.b))
    return np.exp(-squared(left, right) / 4.0)


def site_context_likelihood(both: Comparison) -> np.ndarray:
    """``exp(-|e - e'|² / scale) l_1 l_1'``, l_1 the log-odds of the new residue."""
    return both.site_context * (both.a.likelihood[:, :1] @ both.b.likelihood[:, :1].T)


def region(both: Comparison) -> np.ndarray:
    """1 where both are in the same region of the same chain."""
    chain_a, chain_b = both.a.position // CHAIN_GAP, both.b.position // CHAIN_GAP
    same_region = both.a.region[:, None] == both.b.region[None]
    return (same_region & (chain_a[:, None] == chain_b[None])).astype(float)


# Kernels of two substitutions; each gives a term that sums it.
KERNELS: Mapping[str, MutationKernel] = {
    # [p = p'] s(b, b')
    "same_site_substitution": lambda both: both.same_site * both.new_residue,
    # exp(-(p - p')² / (2 · 2²)) s(a, a') s(b, b')
    "near_substitution": lambda both: both.near(2.0) * both.new_residue * both.old_residue,
    # exp(-(p - p')² / (2 · 10²))
    "near_site": lambda both: both.near(10.0),
    "substitution": substitution,
    "new_residue": lambda both: both.new_residue,
    "site_context": lambda both: both.site_context,
    # exp(-|e - e'|² / scale) s(b, b')
    "site_context_substitution": lambda both: both.site_context * both.new_residue,
    "profile_substitution": profile_substitution,
    "likelihood": likelihood,
    "site_context_likelihood": site_context_likelihood,
    # 1: summed, the product of the numbers of mutations
    "mutation_count": lambda both: np.ones((len(both.a.key), len(both.b.key))),
    "region": region,
}
# Those that are also summed within each parent, and within each antigen.
_WITHIN = ("same_site_substitution", "near_site", "mutation_count", "region")


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
        left, right = (
            summed_diagonal(kernel, variants, self.scales) for variants in (self.a, self.b)
        )
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
        left, right = (squared_lengths(variants, rows) for variants in (self.a, self.b))
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
        of_antigen = [features.changes.of_antigen.astype(float) for features in (self.a, self.b)]
        if any(mask.any() for mask in of_antigen):
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


def summed_diagonal(kernel: MutationKernel, variants: Features, scales: Scales) -> np.ndarray:
    """``sum_c sum_c' k(c, c')`` of each variant with itself, (n,); computed once."""
    key = kernel, scales
    if key not in variants.remembered:
        changes = Comparison(variants.changes, variants.changes, scales)
        variants.remembered[key] = variants.summed_diagonal(kernel(changes))
    return variants.remembered[key]


class Term(NamedTuple):
    """A kernel of variants, positive semi-definite."""

    gram: Callable[[Pairwise], np.ndarray]  # ``k(x, x')`` of each of a with each of b, (na, nb)
    # ``k(x, x)`` of each, (na,)
    diagonal: Callable[[Features, Scales], np.ndarray] = lambda a, _: np.ones(len(a))
    additive: MutationKernel | None = None  # What is summed, if nothing else is done


def additive(kernel: MutationKernel) -> Term:
    """``sum_c sum_c' k(c, c')`` over the substitutions of both."""
    diagonal = functools.partial(summed_diagonal, kernel)
    return Term(lambda both: both.summed(kernel), diagonal, kernel)


def within_parent(kernel: MutationKernel) -> MutationKernel:
    """``[parent = parent'] k``: what is learned of one parent says nothing of another."""
    return lambda both: kernel(both) * (both.a.parent[:, None] == both.b.parent[None])


def within_antigen(kernel: MutationKernel) -> Term:
    """``[antigen = antigen'] sum_c sum_c' k(c, c')``; 0 for another antigen than the campaign's."""
    return Term(
        lambda both: both.summed(kernel) * same_antigen(both),
        lambda a, scales: summed_diagonal(kernel, a, scales) * (a.antigen >= 0),
    )


def same_antigen(both: Pairwise) -> np.ndarray:
    """``[antigen = antigen']``: an offset of each antigen of the campaign; 0 for any other."""
    theirs = both.b.antigen[None]
    return ((both.a.antigen[:, None] == theirs) & (theirs >= 0)).astype(float)


def same(index: str) -> Term:
    """``[x = x']`` of one array of `Features`, such as an offset of each assay."""
    return Term(
        lambda both: (getattr(both.a, index)[:, None] == getattr(both.b, index)).astype(float)
    )


def linear(rows: str) -> Term:
    """``xᵀ x'`` of one array of `Features`."""
    return Term(lambda both: both.inner(rows), lambda a, _: squared_lengths(a, rows))


def saturating(kernel: MutationKernel, scale: str) -> Term:
    """``exp(-d² / (2 scale))``, d² the squared distance that belongs to `additive`."""

    def gram(both: Pairwise) -> np.ndarray:
        return np.exp(-0.5 * both.substitution_distance(kernel) / getattr(both.scales, scale))

    return Term(gram)


def rbf(rows: str, factor: float = 1.0) -> Term:
    """``exp(-f |x - x'|² / scale)`` of one array of `Features`."""
    return Term(lambda both: np.exp(-factor * both.distance(rows) / getattr(both.scales, rows)))


def regional_embedding(both: Pairwise) -> np.ndarray:
    """``sum_r exp(-|x_r - x'_r|² / scale_r)`` over regions r."""
    total = np.zeros((len(both.a), len(both.b)))
    for region, scale in enumerate(both.scales.regional):
        distance = squared(both.a.regional[:, region], both.b.regional[:, region])
        total += np.exp(-distance / scale)
    return total


# Of several parents, each has effects of its own: its paratope, and how far it can still fall.
_OF_PARENTS = {f"parent_{name}": additive(within_parent(KERNELS[name])) for name in _WITHIN}
# Against several antigens, substitutions have effects of their own: what specificity is made of.
_OF_ANTIGENS = {f"antigen_{name}": within_antigen(KERNELS[name]) for name in _WITHIN}
TERMS: Mapping[str, Term] = {
    **{name: additive(kernel) for name, kernel in KERNELS.items()},
    **_OF_PARENTS,
    "saturating_substitution": saturating(KERNELS["same_site_substitution"], "additive"),
    "saturating_site_context": saturating(KERNELS["site_context_substitution"], "by_site"),
    "total_likelihood": linear("log_odds"),
    "embedding": rbf("delta"),
    "embedding_linear": linear("delta"),
    "regional_embedding": Term(
        regional_embedding, lambda a, scales: np.full(len(a), float(len(scales.regional)))
    ),
    "mean_embedding": rbf("mean", 0.25),
    # exp(-d / scale), d the number of residues that differ
    "residues": Term(lambda both: np.exp(-both.differing() / both.scales.hamming)),
    "physics": rbf("physics"),
    "general_model": linear("general_model"),
    "parent": same("parent"),
    **_OF_ANTIGENS,
}
WITHIN_PARENT, WITHIN_ANTIGEN = tuple(_OF_PARENTS), tuple(_OF_ANTIGENS)
# Offsets of assays and antigens; their weights are not shared out, as an offset may be large.
OFFSETS: Mapping[str, Term] = {
    "assay": same("assay"),
    "antigen": Term(same_antigen, lambda a, _: (a.antigen >= 0).astype(float)),
}
ADDITIVE: Mapping[str, MutationKernel] = {
    name: term.additive for name, term in TERMS.items() if term.additive is not None
}
# Terms that need a language model.
LANGUAGE_TERMS = tuple(
    name
    for name in TERMS
    if any(word in name for word in ("site_context", "profile", "likelihood", "embedding"))
)
# Terms that must encode a variant; the others know it by its changes, and the parent's context.
ENCODED_TERMS = (*(name for name in TERMS if "embedding" in name), "general_model")
