"""How usual residues are among natural antibodies, and how human a chain looks.

Both are AntiBERTy's word (Ruffolo, Gray & Sulam 2021, arXiv:2112.07782), a language model of
natural antibody chains. A frequency mixes all its species (human, mouse, rat, rabbit, rhesus,
camel) and knows neither antigen nor other chain; it says how usual, not how good. Results are kept
on disk.
"""

import os
from collections.abc import Sequence

import numpy as np

from paratope.core.progress import Progress, silent
from paratope.encoders.antiberty import SPECIES, AntibertyEncoder
from paratope.encoders.embedding_store import EmbeddingStore
from paratope.encoders.protocol import BaseEncoder
from paratope.molecules.sequences import AMINO_ACIDS

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
        encoder = AntibertyEncoder() if encoder is None else encoder
        self._frequencies = EmbeddingStore(_Frequencies(encoder), cache)
        self._species = EmbeddingStore(_Species(encoder), cache)

    def frequencies(self, chain: str) -> np.ndarray:
        """Probability of each residue at each position, masked, (residues, 20).

        Columns are in the order of `AMINO_ACIDS`, rows sum to 1. `chain` is one clean variable
        domain; the first time takes one pass of the model for each residue.
        """
        self._frequencies.fill([(chain,)], self._progress)
        return np.exp(self._frequencies.get((chain,)).astype(float))

    def humanness(self, chains: Sequence[str]) -> np.ndarray:
        """Natural log-odds of human or rhesus against mouse, rat, rabbit and camel, (chains,).

        Above 0 its classifier takes the chain for a primate's. It is no measure of immunogenicity,
        and compares variants of one chain better than chains of different kinds.
        """
        molecules = [(chain,) for chain in chains]
        self._species.fill(molecules, self._progress)
        rows = [self._species.get(molecule)[0] for molecule in molecules]
        logits = np.array(rows, dtype=float)
        logits = logits.reshape(len(molecules), len(SPECIES))
        primate = np.isin(SPECIES, PRIMATES)
        return _log_sum(logits[:, primate]) - _log_sum(logits[:, ~primate])


class _Frequencies(BaseEncoder):
    """Masked log-probabilities as an encoder, so that the store keeps them."""

    dim = len(AMINO_ACIDS)
    max_residues = AntibertyEncoder.max_residues

    def __init__(self, encoder: AntibertyEncoder) -> None:
        self.name = f"{encoder.name}+frequencies"
        self._encoder = encoder

    def _encode_units(self, units: list[tuple[str, ...]]) -> list[np.ndarray]:
        return [self._encoder.log_likelihoods(chain, masked=True) for (chain,) in units]


class _Species(BaseEncoder):
    """Logits of species as an encoder: a chain's, repeated for each residue."""

    dim = len(SPECIES)
    max_residues = AntibertyEncoder.max_residues

    def __init__(self, encoder: AntibertyEncoder) -> None:
        self.name = f"{encoder.name}+species"
        self._encoder = encoder

    def _encode_units(self, units: list[tuple[str, ...]]) -> list[np.ndarray]:
        chains = [chain for (chain,) in units]
        logits = self._encoder.species_logits(chains)
        return [np.tile(row, (len(chain), 1)) for chain, row in zip(chains, logits, strict=True)]


def _log_sum(logits: np.ndarray) -> np.ndarray:
    """Logarithm of the sum of exponentials of each row."""
    top = logits.max(axis=1, keepdims=True)
    return np.log(np.exp(logits - top).sum(axis=1)) + top[:, 0]
