"""How usual residues are among natural antibodies, how human a chain looks, and its embeddings.

All are AntiBERTy's word (Ruffolo, Gray & Sulam 2021, arXiv:2112.07782), a language model of
natural antibody chains. A frequency mixes all its species (human, mouse, rat, rabbit, rhesus,
camel) and knows neither antigen nor other chain; it says how usual, not how good. Results are kept
on disk.
"""

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from paratope.core.progress import Progress, console_progress, silent
from paratope.encoders import load_encoder
from paratope.encoders.antiberty import SPECIES, AntibertyEncoder
from paratope.encoders.embedding_store import EmbeddingStore
from paratope.encoders.protocol import BaseEncoder
from paratope.molecules.sequences import AMINO_ACIDS, Chains

# Rhesus germlines are so close to human ones that the classifier takes one for the other.
PRIMATES = ("human", "rhesus")


class Likelihood:
    """Residue frequencies and humanness of antibody chains, by AntiBERTy.

    What a loaded `encoder` has just encoded costs no second pass; results are kept in `cache`, by
    default as `EmbeddingStore`. Raises `EncoderError` if AntiBERTy's weights are missing.

    >>> import tempfile
    >>> likelihood = Likelihood(cache=tempfile.mkdtemp())
    >>> frequencies = likelihood.frequencies("EVQLVESGGG")
    >>> frequencies.shape, AMINO_ACIDS[frequencies[3].argmax()]
    ((10, 20), 'L')
    """

    def __init__(
        self,
        encoder: AntibertyEncoder | None = None,
        cache: str | os.PathLike[str] | None = None,
        progress: Progress = silent,
    ) -> None:
        self._progress = progress
        antiberty = encoder or AntibertyEncoder()

        def frequencies(chains: list[str]) -> list[np.ndarray]:
            return [antiberty.log_likelihoods(chain, masked=True) for chain in chains]

        def species(chains: list[str]) -> list[np.ndarray]:
            logits = antiberty.species_logits(chains)
            return [np.tile(row, (len(text), 1)) for text, row in zip(chains, logits, strict=True)]

        name, widths = antiberty.name, (len(AMINO_ACIDS), len(SPECIES))
        by_residue = _ByChain(f"{name}+frequencies", widths[0], frequencies)
        self._frequencies = EmbeddingStore(by_residue, cache)
        self._species = EmbeddingStore(_ByChain(f"{name}+species", widths[1], species), cache)

    def frequencies(self, chain: str) -> np.ndarray:
        """Probability (masked) of each residue of `AMINO_ACIDS` at each position, (residues, 20).

        `chain` is one clean variable domain; the first time takes one pass of the model per
        residue.
        """
        self._frequencies.fill([(chain,)], self._progress)
        return np.exp(self._frequencies.get((chain,)).astype(float))

    def humanness(self, chains: Sequence[str]) -> np.ndarray:
        """Natural log-odds of human or rhesus against mouse, rat, rabbit and camel, (chains,).

        No measure of immunogenicity; compares variants of one chain better than different chains.
        """
        molecules = [(chain,) for chain in chains]
        self._species.fill(molecules, self._progress)
        rows = [self._species.get(molecule)[0] for molecule in molecules]
        logits = np.array(rows, dtype=float).reshape(-1, len(SPECIES))
        primate = np.isin(SPECIES, PRIMATES)
        human, other = (np.logaddexp.reduce(logits[:, of], axis=1) for of in (primate, ~primate))
        return human - other


class _ByChain(BaseEncoder):
    """What AntiBERTy says of a chain, a row for each residue, as an encoder: the store keeps it."""

    max_residues = AntibertyEncoder.max_residues

    def __init__(self, name: str, dim: int, rows: Callable[[list[str]], list[np.ndarray]]) -> None:
        self.name, self.dim, self._rows = name, dim, rows

    def _encode_units(self, units: list[Chains]) -> list[np.ndarray]:
        return self._rows([chain for (chain,) in units])


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
