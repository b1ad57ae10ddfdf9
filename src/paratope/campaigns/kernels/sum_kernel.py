"""The campaign's kernel: a weighted sum of terms, centred on training variants; what it learned."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from paratope.campaigns.kernels.features import Features
from paratope.campaigns.kernels.substitution_prior import SubstitutionPrior
from paratope.campaigns.kernels.terms import (
    ADDITIVE,
    OFFSETS,
    TERMS,
    Comparison,
    MutationKernel,
    Pairwise,
    Scales,
    Term,
)
from paratope.molecules.numbering import REGIONS

_TINY = 1e-9
_EVERY_TERM: Mapping[str, Term] = {**TERMS, **OFFSETS}


@dataclasses.dataclass(frozen=True)
class KernelCenterer:
    """Centring and scaling of a kernel on reference variants r.

    ``k'(x, y) = (k(x, y) - mean_r k(x, r) - mean_r k(r, y) + mean_rr' k(r, r')) / scale``: the
    kernel of features centred on the reference (Schölkopf, Smola & Müller 1998), of mean variance
    1 over it.
    """

    column_mean: np.ndarray  # (n,) mean over the reference of each training variant's column
    mean: float  # Mean over the reference of that
    scale: float

    @classmethod
    def of(cls, gram: np.ndarray, reference: np.ndarray | None = None) -> "KernelCenterer | None":
        """From a training Gram matrix, (n, n); None if the reference variants do not differ."""
        rows = slice(None) if reference is None else reference
        column, diagonal = gram[rows].mean(0), float(np.diag(gram)[rows].mean())
        mean = float(column[rows].mean())
        scale = diagonal - mean
        if scale <= 1e-6 * max(abs(diagonal), _TINY):
            return None
        return cls(column, mean, scale)

    def transform(self, gram: np.ndarray) -> np.ndarray:
        """The training Gram matrix, centred and scaled."""
        return (gram - self.column_mean - self.column_mean[:, None] + self.mean) / self.scale


def centred_grams(
    train: Features, scales: Scales, names: Sequence[str], reference: np.ndarray | None = None
) -> Iterator[tuple[str, np.ndarray, KernelCenterer]]:
    """Centred Gram matrix, (n, n) float32, of each term in which training variants differ.

    `reference` is a mask of the variants whose mean is 0; by default all together.
    """
    both = Pairwise(train, train, scales)
    for name in names:
        gram = _EVERY_TERM[name].gram(both)
        if (centerer := KernelCenterer.of(gram, reference)) is not None:
            yield name, centerer.transform(gram).astype(np.float32), centerer


class NewVariants(NamedTuple):
    """m new variants beside the n training ones."""

    features: Features
    row_mean: np.ndarray  # (m,) mean over the reference of the uncentred covariances
    cross: np.ndarray  # (m, n) prior covariance with the training variants
    variance: np.ndarray  # (m,) prior variance


class SumKernel:
    """``k(x, y) = sum_t w_t k'_t(x, y)``, the ``k'_t`` centred as by `KernelCenterer`.

    Centring is linear: the sum of the terms is centred once, not each of them; and additive terms
    are summed over pairs of substitutions before they are summed over variants. `reference` is a
    mask of the training variants on which terms are centred, by default all; `covariance` (n, n)
    float32 is the training variants' prior covariance.
    """

    def __init__(
        self,
        train: Features,
        scales: Scales,
        weights: Mapping[str, float],
        reference: np.ndarray | None = None,
    ) -> None:
        self.train, self.scales, self.reference = train, scales, reference
        self.covariance = np.zeros((len(train), len(train)), np.float32)
        self.centerers: dict[str, KernelCenterer] = {}
        self._additive: list[tuple[MutationKernel, float]] = []
        self._others: list[tuple[Term, float]] = []
        self.column_mean, self.mean = np.zeros(len(train)), 0.0
        for name, gram, centerer in centred_grams(train, scales, list(weights), reference):
            self.covariance += np.float32(weights[name]) * gram
            self.centerers[name] = centerer
            share, term = weights[name] / centerer.scale, _EVERY_TERM[name]
            if term.additive is not None:
                self._additive.append((term.additive, share))
            else:
                self._others.append((term, share))
            self.column_mean += share * centerer.column_mean
            self.mean += share * centerer.mean

    def compare(self, features: Features) -> NewVariants:
        """New variants with the training ones."""
        cross = self._uncentred(features, self.train)
        rows = cross if self.reference is None else cross[:, self.reference]
        row_mean = rows.mean(1)
        cross -= row_mean[:, None]
        cross -= self.column_mean
        cross += self.mean
        variance = self.mean - 2 * row_mean
        if self._additive:
            changes = Comparison(features.changes, features.changes, self.scales)
            variance += features.summed_diagonal(self.of_substitutions(changes))
        for term, share in self._others:
            variance += share * term.diagonal(features, self.scales)
        return NewVariants(features, row_mean, cross, variance)

    def between(self, a: NewVariants, b: NewVariants) -> np.ndarray:
        """Prior covariance of new variants with others, (ma, mb)."""
        uncentred = self._uncentred(a.features, b.features)
        return uncentred - a.row_mean[:, None] - b.row_mean[None] + self.mean

    def parts_of_mean(self, features: Features, alpha: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What each change adds to posterior means, (u,), and all that is no sum over them, (n,).

        With a = alpha, its sum taken from the reference, and f the terms of effects and others:
        ``mean = sum_c f(c) + rest``, ``f(c) = sum_j k(c, c_j) a_j``; see `KernelCenterer`.
        """
        reference = np.ones(len(self.train)) if self.reference is None else self.reference * 1.0
        weights = alpha - alpha.sum() * reference / reference.sum()
        rest = np.full(len(features), self.mean * alpha.sum() - self.column_mean @ alpha)
        both = Pairwise(features, self.train, self.scales)
        for term, share in self._others:
            rest += share * (term.gram(both) @ weights)
        return self.of_substitutions(both.changes) @ (self.train.has.T @ weights), rest

    def _uncentred(self, a: Features, b: Features) -> np.ndarray:
        both = Pairwise(a, b, self.scales)
        total = np.zeros((len(a), len(b)))
        if self._additive:
            total += both.summed(self.of_substitutions)
        for term, share in self._others:
            total += share * term.gram(both)
        return total

    def of_substitutions(self, both: Comparison) -> np.ndarray:
        """Sum of the additive terms between substitutions, uncentred."""
        total = np.zeros((len(both.a.key), len(both.b.key)))
        for kernel, share in self._additive:
            total += share * kernel(both)
        return total


class Importance(NamedTuple):
    """What was learned where."""

    # ``chain`` (``H``, ``L``, ``A0`` …), ``imgt``, ``region``, ``changes`` (how many were
    # measured), ``effect`` (mean of their learned effects, in the campaign's units, roughly) and
    # ``spread`` (their root mean square); along the chains
    sites: list[dict[str, Any]]
    terms: dict[str, float]  # Share of each term of the kernel in the variance of the fitted values


def importance(
    kernel: SumKernel,
    weights: Mapping[str, float],
    alpha: np.ndarray,
    unit: float,
    elsewhere: SubstitutionPrior | None = None,
) -> Importance:
    """Learned effects of the measured substitutions, by site, and the terms' shares.

    The effect of substitution c is its part in the additive terms, ``sum_t w_t / s_t sum_c' k_t(c,
    c') [Zᵀ alpha]_c'`` with the centred incidence Z of substitutions in variants. The share of a
    term is ``cov(f_t, f) / var(f)``, ``f_t = w_t K_t alpha`` its part in the fitted values f.
    `unit` is the campaign's units for each latent unit. Of a prior mean, an effect takes in that of
    the substitution alone, and its share is called ``prior mean``.
    """
    train = kernel.train
    both = Pairwise(train, train, kernel.scales)
    changes = Comparison(train.changes, train.changes, kernel.scales)
    reference = slice(None) if kernel.reference is None else kernel.reference
    incidence = train.has.toarray()
    pull = (incidence - incidence[reference].mean(0)).T @ alpha
    effects, fitted = np.zeros(len(train.changes.key)), {}
    for name, weight in weights.items():
        centerer = kernel.centerers[name]
        fitted[name] = weight * centerer.transform(_EVERY_TERM[name].gram(both)) @ alpha
        if name in ADDITIVE:
            effects += weight / centerer.scale * (ADDITIVE[name](changes) @ pull)
    if elsewhere is not None and elsewhere.scale:
        fitted["prior_mean"] = elsewhere.mean(train)
        alone = elsewhere.of_sums(elsewhere.of_changes(train.changes), np.ones(len(effects)))
        effects += alone - elsewhere.of_sums(np.zeros((1, 2)), np.ones(1))
    total = np.sum(list(fitted.values()), axis=0)
    variance = float(np.var(total)) or 1.0
    shares = {
        name: round(float(np.mean((part - part.mean()) * (total - total.mean()))) / variance, 4)
        for name, part in fitted.items()
    }
    table, sites = train.changes, []
    first = np.unique(table.key, return_index=True)[1]
    for index in first[np.argsort(table.position[first], kind="stable")].tolist():
        rows, key = table.key == table.key[index], str(table.key[index])
        chain, label = key.split(":") if table.of_antigen[index] else (key[0], key[1:])
        region, effect = int(table.region[index]), unit * effects[rows]
        sites.append(
            {
                "chain": chain,
                "imgt": label,
                "region": REGIONS[region] if region < len(REGIONS) else "",
                "changes": int(rows.sum()),
                "effect": round(float(effect.mean()), 4),
                "spread": round(float(np.sqrt(np.mean(effect**2))), 4),
            }
        )
    return Importance(sites, shares)
