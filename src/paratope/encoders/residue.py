"""The ``residue`` encoder: each residue by its own properties, nothing learned.

Columns, each standardised over the 20 residues (mean 0, standard deviation 1):

- 20: which residue it is;
- 20: its row of BLOSUM62 (Henikoff & Henikoff 1992, PNAS 89, 10915);
- 11: descriptors, `DESCRIPTORS`.

X is the mean of the 20 residues: a row of zeros.
"""

import functools

import numpy as np

from paratope.encoders.protocol import BaseEncoder
from paratope.molecules.sequences import ALPHABET, AMINO_ACIDS

# Half-bit scores; rows and columns in the order of AMINO_ACIDS (ACDEFGHIKLMNPQRSTVWY).
_BLOSUM62 = """
 4  0 -2 -1 -2  0 -2 -1 -1 -1 -1 -2 -1 -1 -1  1  0  0 -3 -2
 0  9 -3 -4 -2 -3 -3 -1 -3 -1 -1 -3 -3 -3 -3 -1 -1 -1 -2 -2
-2 -3  6  2 -3 -1 -1 -3 -1 -4 -3  1 -1  0 -2  0 -1 -3 -4 -3
-1 -4  2  5 -3 -2  0 -3  1 -3 -2  0 -1  2  0  0 -1 -2 -3 -2
-2 -2 -3 -3  6 -3 -1  0 -3  0  0 -3 -4 -3 -3 -2 -2 -1  1  3
 0 -3 -1 -2 -3  6 -2 -4 -2 -4 -3  0 -2 -2 -2  0 -2 -3 -2 -3
-2 -3 -1  0 -1 -2  8 -3 -1 -3 -2  1 -2  0  0 -1 -2 -3 -2  2
-1 -1 -3 -3  0 -4 -3  4 -3  2  1 -3 -3 -3 -3 -2 -1  3 -3 -1
-1 -3 -1  1 -3 -2 -1 -3  5 -2 -1  0 -1  1  2  0 -1 -2 -3 -2
-1 -1 -4 -3  0 -4 -3  2 -2  4  2 -3 -3 -2 -2 -2 -1  1 -2 -1
-1 -1 -3 -2  0 -3 -2  1 -1  2  5 -2 -2  0 -1 -1 -1  1 -1 -1
-2 -3  1  0 -3  0  1 -3  0 -3 -2  6 -2  0  0  1  0 -3 -4 -2
-1 -3 -1 -1 -4 -2 -2 -3 -1 -3 -2 -2  7 -1 -2 -1 -1 -2 -4 -3
-1 -3  0  2 -3 -2  0 -3  1 -2  0  0 -1  5  1  0 -1 -2 -2 -1
-1 -3 -2  0 -3 -2  0 -3  2 -2 -1  0 -2  1  5 -1 -1 -3 -3 -2
 1 -1  0  0 -2  0 -1 -2  0 -2 -1  1 -1  0 -1  4  1 -2 -3 -2
 0 -1 -1 -1 -2 -2 -2 -1 -1 -1 -1  0 -1 -1 -1  1  5  0 -2 -2
 0 -1 -3 -2 -1 -3 -3  3 -2  1  1 -3 -2 -2 -3 -2  0  4 -3 -1
-3 -2 -4 -3  1 -2 -2 -3 -3 -2 -1 -4 -4 -2 -3 -3 -2 -3 11  2
-2 -2 -3 -2  3 -3  2 -1 -2 -1 -1 -2 -3 -1 -2 -2 -2 -1  2  7
"""

# One value per residue in the order of AMINO_ACIDS.
DESCRIPTORS: dict[str, tuple[float, ...]] = {
    # Kyte & Doolittle 1982, J. Mol. Biol. 157, 105
    "hydropathy": (
        1.8, 2.5, -3.5, -3.5, 2.8, -0.4, -3.2, 4.5, -3.9, 3.8,
        1.9, -3.5, -1.6, -3.5, -4.5, -0.8, -0.7, 4.2, -0.9, -1.3,
    ),
    # cubic angstrom; Zamyatnin 1972, Prog. Biophys. Mol. Biol. 24, 107
    "volume": (
        88.6, 108.5, 111.1, 138.4, 189.9, 60.1, 153.2, 166.7, 168.6, 166.7,
        162.9, 114.1, 112.7, 143.8, 173.4, 89.0, 116.1, 140.0, 227.8, 193.6,
    ),
    # square angstrom in an extended tripeptide; Chothia 1976, J. Mol. Biol. 105, 1
    "accessible_surface": (
        115, 135, 150, 190, 210, 75, 195, 175, 200, 170,
        185, 160, 145, 180, 225, 115, 140, 155, 255, 230,
    ),
    # Grantham 1974, Science 185, 862
    "polarity": (
        8.1, 5.5, 13.0, 12.3, 5.2, 9.0, 10.4, 5.2, 11.3, 4.9,
        5.7, 11.6, 8.0, 10.5, 10.5, 9.2, 8.6, 5.9, 5.4, 6.2,
    ),
    # pH; Zimmerman, Eliezer & Simha 1968, J. Theor. Biol. 21, 170
    "isoelectric_point": (
        6.00, 5.05, 2.77, 3.22, 5.48, 5.97, 7.59, 6.02, 9.74, 5.98,
        5.74, 5.41, 6.30, 5.65, 10.76, 5.68, 5.66, 5.96, 5.89, 5.66,
    ),
    # of the side chain at pH 7; histidine about a tenth protonated
    "charge": (0, 0, -1, -1, 0, 0, 0.1, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0),
    # kcal/mol against alanine; Pace & Scholtz 1998, Biophys. J. 75, 422
    "helix_cost": (
        0.00, 0.68, 0.69, 0.40, 0.54, 1.00, 0.61, 0.41, 0.26, 0.21,
        0.24, 0.65, 3.16, 0.39, 0.21, 0.50, 0.66, 0.61, 0.49, 0.53,
    ),
    # Chou & Fasman 1978, Adv. Enzymol. 47, 45
    "strand_preference": (
        0.83, 1.19, 0.54, 0.37, 1.38, 0.75, 0.87, 1.60, 0.74, 1.30,
        1.05, 0.89, 0.55, 1.10, 0.93, 0.75, 1.19, 1.70, 1.37, 1.47,
    ),
    "aromatic": tuple(float(residue in "FWY") for residue in AMINO_ACIDS),
    # side chain, by the classes of Pommie et al. 2004, J. Mol. Recognit. 17, 17
    "hydrogen_donor": tuple(float(residue in "HKNQRSTWY") for residue in AMINO_ACIDS),
    "hydrogen_acceptor": tuple(float(residue in "DEHNQSTY") for residue in AMINO_ACIDS),
}  # fmt: skip


@functools.cache
def blosum62() -> np.ndarray:
    """BLOSUM62 scores, (20, 20), rows and columns in the order of `AMINO_ACIDS`."""
    scores = np.array(_BLOSUM62.split(), dtype=np.float32).reshape(20, 20)
    scores.flags.writeable = False
    return scores


@functools.cache
def residue_table() -> np.ndarray:
    """Vector of every letter of `ALPHABET`, (21, 51) float32; the last row, X, is zero."""
    columns = [np.eye(20), blosum62().astype(np.float64), np.array([*DESCRIPTORS.values()]).T]
    residues = np.concatenate(columns, axis=1)  # (20, 51)
    residues = (residues - residues.mean(axis=0)) / residues.std(axis=0)
    table = np.concatenate([residues, np.zeros((1, residues.shape[1]))]).astype(np.float32)
    table.flags.writeable = False
    return table


class ResidueEncoder(BaseEncoder):
    """Each residue's own properties; a residue's row does not depend on its neighbours.

    >>> [rows.shape for rows in ResidueEncoder().encode([("EVQL", "DIQ"), ("MK",)])]
    [(7, 51), (2, 51)]
    """

    name = "residue@1"
    dim = 51

    def __init__(self, device: str = "auto") -> None:
        """Nothing here runs on a GPU; `device` is taken as by every encoder."""

    def _encode_units(self, units: list[tuple[str, ...]]) -> list[np.ndarray]:
        letters = np.zeros(128, dtype=np.intp)
        letters[np.frombuffer(ALPHABET.encode(), dtype=np.uint8)] = np.arange(len(ALPHABET))
        return [
            residue_table()[letters[np.frombuffer(chain.encode(), dtype=np.uint8)]]
            for (chain,) in units
        ]
