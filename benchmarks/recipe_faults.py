"""What the network of the v2.6 release was given, for runs that show what its faults did.

Three faults of that release were in what reached the network, and are made again here on purpose:
the tokenizer left of a chain its first residue and an unknown one; each side was one vector, the
mean over all places, so that attention had nothing to choose from; and padding was part of the
mean. The fourth, a step after every batch instead of every fourth, is a setting. That two schedules
drove the learning rate is not made again.
"""

from collections.abc import Callable

import numpy as np

from paratope.encoders.embedding_store import EmbeddingStore
from paratope.models.batches import Chains


class FaultyEmbeddings:
    """One vector of a molecule, as the release pooled it.

    Parameters
    ----------
    pooled : callable
        Vector of a molecule, (dim,).
    """

    def __init__(self, pooled: Callable[[Chains], np.ndarray]) -> None:
        self._pooled = pooled
        self._known: dict[Chains, np.ndarray] = {}

    def get(self, molecule: Chains, /) -> np.ndarray:
        """The molecule's vector as a sequence of one, (1, dim)."""
        if molecule not in self._known:
            self._known[molecule] = self._pooled(molecule)[None, :].astype(np.float32)
        return self._known[molecule]

    @classmethod
    def of_antibodies(cls, store: EmbeddingStore) -> "FaultyEmbeddings":
        """The first residue of each chain, then an unknown one; the rest never arrived."""

        def pooled(chains: Chains) -> np.ndarray:
            left = tuple(chain[0] + "X" for chain in chains)
            store.fill([left])
            return np.array(store.get(left), np.float32).mean(axis=0)

        return cls(pooled)

    @classmethod
    def of_antigens(cls, store: EmbeddingStore, places: int) -> "FaultyEmbeddings":
        """The mean over all places of the input, padding (zeros) and residues alike."""

        def pooled(chains: Chains) -> np.ndarray:
            return np.array(store.get(chains), np.float32).sum(axis=0) / places

        return cls(pooled)
