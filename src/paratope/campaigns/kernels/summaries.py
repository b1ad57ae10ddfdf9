"""What is kept of a chain's embedding: its residues projected, and their mean."""

import weakref
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from paratope.campaigns.kernels.changes import LanguageModel, numbered

# Chains of one language model that are remembered, at some 32 kB each.
REMEMBERED = 16_384


class ChainSummary(NamedTuple):
    """Of a chain's variable domain.

    Attributes
    ----------
    projected : np.ndarray, (residues, projected) float32
    mean : np.ndarray, (dim,) float32
    """

    projected: np.ndarray
    mean: np.ndarray


# A campaign is refitted for its report, and a pool is asked about more than once: each chain's
# embedding is read and projected once for as long as its language model is used.
_known: "weakref.WeakKeyDictionary[LanguageModel, dict[str, ChainSummary]]" = (
    weakref.WeakKeyDictionary()
)


def chain_summaries(
    language: LanguageModel, chains: Iterable[str], projection: np.ndarray
) -> dict[str, ChainSummary]:
    """Of each distinct chain; embeddings of those not remembered are asked of the language model.

    Parameters
    ----------
    language : LanguageModel
    chains : iterable of str
    projection : np.ndarray, (dim, projected)
        The same whenever the language model is the same.
    """
    remembered = _known.setdefault(language, {})
    wanted = dict.fromkeys(chains)
    found = {chain: remembered[chain] for chain in wanted if chain in remembered}
    new = [chain for chain in wanted if chain not in found]
    if not new:
        return found
    if len(remembered) + len(new) > REMEMBERED:
        remembered.clear()
    for chain, embedding in zip(new, language.embeddings(new), strict=True):
        own = numbered(chain)
        rows = embedding[own.start : own.end]
        found[chain] = ChainSummary(rows @ projection, rows.mean(0))
        if len(remembered) < REMEMBERED:
            remembered[chain] = found[chain]
    return found
