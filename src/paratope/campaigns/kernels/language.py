"""The language model of antibody chains: what kernels ask of one, and AntiBERTy for it."""

import functools
import os
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from paratope.core.progress import console_progress
from paratope.encoders import load_encoder
from paratope.encoders.embedding_store import EmbeddingStore


class LanguageModel(Protocol):
    """A masked language model of antibody chains."""

    def embeddings(self, chains: Sequence[str]) -> Iterator[np.ndarray]:
        """(residues, dim) float32 of each chain."""
        ...

    def log_probabilities(self, chain: str) -> np.ndarray:
        """(residues, 20) log-probability of every residue at every position, in its context."""
        ...


class AntibodyLanguage:
    """The language model of antibody chains that campaigns use; `EncoderError` without weights.

    `cache` is the folder of the embedding stores, by default that of `EmbeddingStore`.
    """

    def __init__(self, device: str = "auto", cache: str | os.PathLike[str] | None = None) -> None:
        self.encoder: Any = load_encoder("antiberty", device)
        self._store = EmbeddingStore(self.encoder, cache)
        # parents are read again whenever a campaign is refitted
        self.log_probabilities = functools.lru_cache(maxsize=256)(self.encoder.log_likelihoods)

    def close(self) -> None:
        """Close the store; nothing can be embedded afterwards."""
        self._store.close()

    def embeddings(self, chains: Sequence[str]) -> Iterator[np.ndarray]:
        """(residues, 512) float32 of each chain; those not in the store are encoded first."""
        missing = self._store.lacking(list(dict.fromkeys((chain,) for chain in chains)))
        with console_progress() as progress:
            self._store.fill(missing, progress)
        for chain in chains:
            yield self._store.get((chain,))
