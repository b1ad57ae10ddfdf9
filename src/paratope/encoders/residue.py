"""The ``residue`` encoder: each residue by its own properties, nothing learned.

Columns, each standardised over the 20 residues (mean 0, standard deviation 1):

- 20: which residue it is;
- 20: its row of BLOSUM62 (Henikoff & Henikoff 1992, PNAS 89, 10915);
- 11: descriptors, `DESCRIPTORS`.

X is the mean of the 20 residues: a row of zeros.
"""

import csv
import functools
import importlib.resources

import numpy as np

from paratope.encoders.protocol import BaseEncoder
from paratope.molecules.sequences import ALPHABET, AMINO_ACIDS, Chains

_FILE = importlib.resources.files("paratope.encoders") / "residues.csv"
_LINES = [line for line in _FILE.read_text("utf-8").splitlines() if not line.startswith("#")]
_ROWS = {row["residue"]: row for row in csv.DictReader(_LINES)}
# One value per residue in the order of AMINO_ACIDS; donors and acceptors are side chains', by the
# classes of Pommie et al. 2004, J. Mol. Recognit. 17, 17.
DESCRIPTORS: dict[str, tuple[float, ...]] = {
    name: tuple(float(_ROWS[residue][name]) for residue in AMINO_ACIDS)
    for name in _ROWS["A"]
    if name not in ("residue", *AMINO_ACIDS)
} | {
    name: tuple(float(residue in having) for residue in AMINO_ACIDS)
    for name, having in (
        ("aromatic", "FWY"),
        ("hydrogen_donor", "HKNQRSTWY"),
        ("hydrogen_acceptor", "DEHNQSTY"),
    )
}


@functools.cache
def blosum62() -> np.ndarray:
    """BLOSUM62 scores, (20, 20), rows and columns in the order of `AMINO_ACIDS`."""
    cells = [[_ROWS[residue][other] for other in AMINO_ACIDS] for residue in AMINO_ACIDS]
    scores = np.array(cells, dtype=np.float32)
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

    def _encode_units(self, units: list[Chains]) -> list[np.ndarray]:
        letters = np.zeros(128, dtype=np.intp)
        letters[np.frombuffer(ALPHABET.encode(), dtype=np.uint8)] = np.arange(len(ALPHABET))
        return [
            residue_table()[letters[np.frombuffer(chain.encode(), dtype=np.uint8)]]
            for (chain,) in units
        ]
