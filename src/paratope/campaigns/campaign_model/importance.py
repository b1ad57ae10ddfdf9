"""What a campaign's model has learned, and where."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from paratope.campaigns.kernels import (
    ADDITIVE,
    Comparison,
    Pairwise,
    SubstitutionTable,
    SumKernel,
    term_named,
)
from paratope.molecules.numbering import REGIONS


class Importance(NamedTuple):
    """What was learned where."""

    # ``chain`` (``H``, ``L``, ``A0`` …), ``imgt``, ``region``, ``changes`` (how many were
    # measured), ``effect`` (mean of their learned effects, in the campaign's units, roughly) and
    # ``spread`` (their root mean square); along the chains
    sites: list[dict[str, Any]]
    terms: dict[str, float]  # Share of each term of the kernel in the variance of the fitted values


def importance(
    kernel: SumKernel, weights: Mapping[str, float], alpha: np.ndarray, unit: float
) -> Importance:
    """Learned effects of the measured substitutions, by site, and the terms' shares.

    The effect of substitution c is its part in the additive terms, ``sum_t w_t / s_t sum_c' k_t(c,
    c') [Zᵀ alpha]_c'`` with the centred incidence Z of substitutions in variants. The share of a
    term is ``cov(f_t, f) / var(f)``, ``f_t = w_t K_t alpha`` its part in the fitted values f.
    `unit` is the campaign's units for each latent unit.
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
        fitted[name] = weight * centerer.transform(term_named(name).gram(both)) @ alpha
        if name in ADDITIVE:
            effects += weight / centerer.scale * (ADDITIVE[name](changes) @ pull)
    total = np.sum(list(fitted.values()), axis=0)
    variance = float(np.var(total)) or 1.0
    shares = {
        name: round(float(np.mean((part - part.mean()) * (total - total.mean()))) / variance, 4)
        for name, part in fitted.items()
    }
    return Importance(_by_site(train.changes, effects * unit), shares)


def _by_site(table: SubstitutionTable, effects: np.ndarray) -> list[dict[str, Any]]:
    keys, first = np.unique(table.key, return_index=True)
    sites = []
    for key, index in sorted(zip(keys, first, strict=True), key=lambda one: table.position[one[1]]):
        rows = table.key == key
        antigen = bool(table.of_antigen[index])
        chain, label = str(key).split(":") if antigen else (str(key[0]), str(key[1:]))
        region = int(table.region[index])
        sites.append(
            {
                "chain": chain,
                "imgt": label,
                "region": REGIONS[region] if region < len(REGIONS) else "",
                "changes": int(rows.sum()),
                "effect": round(float(effects[rows].mean()), 4),
                "spread": round(float(np.sqrt(np.mean(effects[rows] ** 2))), 4),
            }
        )
    return sites
