"""Similarity of two pairs by their loops and their antigens' composition, as a kernel.

``k(x, x') = PAIR² exp(-(|a - a'|² + |g - g'|²) / 2 l²) + PEPTIDE² exp(-|a - a'|² / 2 l'²)``, the
second term between pairs with peptides alone: a is the antibody's descriptors and g the antigen's,
each standardised and over the root of their number. A Gaussian process of a few landmarks stands
for that of all pairs (Rasmussen & Williams 2006, section 8.3.4). Far from all it says 0.
"""

import dataclasses
import functools
import re
from collections.abc import Sequence

import numpy as np

from paratope.encoders.residue import DESCRIPTORS
from paratope.molecules.numbering import cdrs
from paratope.molecules.sequences import AMINO_ACIDS, Antibody, Pair

# Looked for on folds of the training rows; the benchmark's part `nested` chooses the standard
# deviations anew inside each training part (docs/LOG.md).
PAIR_SD_PKD, PAIR_LENGTH = 0.4, 1.4
PEPTIDE_SD_PKD, PEPTIDE_LENGTH = 1.4, 0.7
COMPOSITION = ("hydropathy", "charge", "aromatic", "volume")
# Of the heavy chain, the light chain, CDR-H3 and whether there is a light chain.
ANTIBODY_DESCRIPTORS = 2 * (len(COMPOSITION) + 3) + len(COMPOSITION) + 1
_COUNTED = "CPGWD"
ANTIGEN_DESCRIPTORS = len(COMPOSITION) + 3 + len(_COUNTED)
_GLYCOSYLATION = re.compile("N[^P][ST]")


def composition(residues: str) -> list[float]:
    """Mean of each of `COMPOSITION` over residues; NaN where all are unknown (X)."""
    index = [AMINO_ACIDS.index(letter) for letter in residues if letter in AMINO_ACIDS]
    if not index:
        return [np.nan] * len(COMPOSITION)
    return [float(np.mean(np.array(DESCRIPTORS[name])[index])) for name in COMPOSITION]


def pair_descriptors(pair: Pair) -> np.ndarray:
    """Descriptors of the antibody, then of the antigen; NaN where residues are not known.

    Lengths and `composition` of the CDRs by chain and of CDR-H3; of the antigen its composition,
    log of residues, chains, glycosylation motifs and some residues in a hundred.
    """
    return np.array([*_of_antibody(pair.antibody.chains), *_of_antigen(pair.antigen.chains)])


@functools.lru_cache(maxsize=16384)
def _of_antibody(chains: tuple[str, ...]) -> tuple[float, ...]:
    loops = cdrs(Antibody(*chains))
    values: list[float] = []
    for chain in "HL":
        of_chain = [loops.get(f"{chain}{number}", "") for number in (1, 2, 3)]
        if chain == "L" and len(chains) == 1:
            values += [0.0] * (len(COMPOSITION) + 3)
        else:
            values += [*composition("".join(of_chain)), *map(float, map(len, of_chain))]
    return (*values, *composition(loops.get("H3", "")), float(len(chains) > 1))


@functools.lru_cache(maxsize=16384)
def _of_antigen(chains: tuple[str, ...]) -> tuple[float, ...]:
    residues = "".join(chains)
    length = max(1, len(residues))
    motifs = len(_GLYCOSYLATION.findall(residues))
    counts = (100 * count / length for count in (motifs, *map(residues.count, _COUNTED)))
    return (*composition(residues), float(np.log(length)), float(len(chains)), *counts)


@dataclasses.dataclass(frozen=True)
class PairKernel:
    """Kernel to m landmarks.

    `mean`, `scale`: (d,) that standardise `pair_descriptors`; `landmarks`: (m, d), standardised;
    `peptide`: (m,) 1 where a landmark's antigen is a peptide, else 0.
    """

    mean: np.ndarray
    scale: np.ndarray
    landmarks: np.ndarray
    peptide: np.ndarray

    @classmethod
    def of_pairs(
        cls, pairs: Sequence[Pair], is_peptide: Sequence[bool], landmarks: Sequence[int]
    ) -> "PairKernel":
        """Standardised over `pairs`, of which `landmarks` are indices."""
        raw = np.array([pair_descriptors(pair) for pair in pairs])
        mean = np.nanmean(raw, axis=0)
        parts = ANTIBODY_DESCRIPTORS, ANTIGEN_DESCRIPTORS
        root = np.sqrt(np.repeat(parts, parts))
        scale = (np.nanstd(raw, axis=0) + 1e-6) * root
        index = np.asarray(landmarks, int)
        flags = np.asarray(is_peptide, float)[index]
        return cls(mean, scale, np.nan_to_num((raw[index] - mean) / scale), flags)

    def __call__(self, pairs: Sequence[Pair], is_peptide: np.ndarray) -> np.ndarray:
        """Kernel of n pairs with the landmarks, (n, m); each row depends on its pair alone."""
        raw = np.array([pair_descriptors(pair) for pair in pairs]).reshape(-1, len(self.mean))
        # what is not known is taken as average
        return self._between(np.nan_to_num((raw - self.mean) / self.scale), is_peptide)

    def prior(self) -> np.ndarray:
        """Kernel among the landmarks, (m, m), with a jitter on its diagonal."""
        kernel = self._between(self.landmarks, self.peptide > 0)
        return kernel + 1e-6 * np.identity(len(kernel))

    def _between(self, points: np.ndarray, is_peptide: np.ndarray) -> np.ndarray:
        from scipy.spatial.distance import cdist

        cut = ANTIBODY_DESCRIPTORS
        antibody = cdist(points[:, :cut], self.landmarks[:, :cut], "sqeuclidean")
        antigen = cdist(points[:, cut:], self.landmarks[:, cut:], "sqeuclidean")
        kernel = PAIR_SD_PKD**2 * np.exp(-(antibody + antigen) / (2 * PAIR_LENGTH**2))
        peptides = np.asarray(is_peptide, float)[:, None] * self.peptide
        return kernel + peptides * PEPTIDE_SD_PKD**2 * np.exp(-antibody / (2 * PEPTIDE_LENGTH**2))
