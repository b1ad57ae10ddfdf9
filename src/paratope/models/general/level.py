"""The level of a pair: its pKd before any mutation is counted, as a sum of shrunken effects.

A linear mixed model (Henderson 1975, Biometrics 31:423): fixed noise of one pKd, and effects with
normal priors of mean 0 whose standard deviations are `PRIOR_SD_PKD`. Peptide or protein and paired
or single domain make four cells; a peptide's composition refines its cell, and so does what was
measured of similar pairs (a Gaussian process, `PairKernel`); the antigen's cluster, the antigen
itself and an antibody family against a cluster add what was measured of them. An effect of few rows
is shrunk, one of none is 0. Slopes of the substitution scores are fitted with them.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu

from paratope.models.general.pair_kernel import COMPOSITION, composition
from paratope.molecules.sequences import Antigen

# Antigens of fewer residues are peptides.
PEPTIDE_RESIDUES = 40
CELLS = ("protein, VH+VL", "protein, single domain", "peptide, VH+VL", "peptide, single domain")
# Chosen on folds inside the training rows (benchmark_general).
PRIOR_SD_PKD: dict[str, float] = {
    "cell": 1.0,
    "peptide": 0.3,
    "cluster": 0.7,
    "antigen": 0.3,
    "family": 0.5,
    "slope": 1.0,
}
NEW = -1  # a cluster, antigen or family that no training row has
PEPTIDE_COLUMNS = (*COMPOSITION, "log of residues")


def is_peptide(antigen: Antigen) -> bool:
    """Whether an antigen is a peptide: fewer than `PEPTIDE_RESIDUES` in all."""
    return sum(map(len, antigen.chains)) < PEPTIDE_RESIDUES


def cell_of(antigen: Antigen, is_single_domain: bool) -> int:
    """Index into `CELLS`."""
    return 2 * is_peptide(antigen) + is_single_domain


def peptide_features(antigen: Antigen) -> np.ndarray:
    """Mean hydropathy, charge, aromaticity and volume of residues, log of their number; (5,).

    Means of unknown residues alone (X) are NaN.
    """
    residues = "".join(antigen.chains)
    return np.array([*composition(residues), np.log(max(1, len(residues)))])


@dataclasses.dataclass(frozen=True)
class LevelRows:
    """What the level reads of n pairs.

    `cell`, `cluster`, `antigen`, `family`: (n,) index, or `NEW`; `peptide`: (n, 5), standardised,
    rows of zeros for proteins; `similar`: (n, m) kernel with landmarks; `scores`: (n, 3) of the
    mutations: substitutions in the antibody, in the antigen, and what any mutation of the antibody
    costs.
    """

    cell: np.ndarray
    peptide: np.ndarray
    similar: np.ndarray
    cluster: np.ndarray
    antigen: np.ndarray
    family: np.ndarray
    scores: np.ndarray

    def rows(self, chosen: np.ndarray) -> "LevelRows":
        """Some of the rows, by mask or index."""
        return LevelRows(*(getattr(self, f.name)[chosen] for f in dataclasses.fields(self)))


@dataclasses.dataclass(frozen=True)
class Level:
    """Fitted effects in pKd; arrays by the index that `LevelRows` use, `slopes` (3,)."""

    mean: float
    cell: np.ndarray
    peptide: np.ndarray
    similar: np.ndarray  # (m,) weights of the kernel's landmarks
    cluster: np.ndarray
    antigen: np.ndarray
    family: np.ndarray
    slopes: np.ndarray

    @classmethod
    def fit(
        cls,
        rows: LevelRows,
        pkd: np.ndarray,
        sizes: Sequence[int],
        kernel: np.ndarray,
        prior_sd: Mapping[str, float] = PRIOR_SD_PKD,
    ) -> "Level":
        """Effects from n measured rows; `sizes` are numbers of clusters, antigens and families.

        `kernel`: (m, m) among the landmarks of `rows.similar`.

        A row weighs n(cluster)^-1/2, so that an antigen with a thousand rows is no thousand
        antigens. Slopes are held to be at least 0.
        """
        counts = np.bincount(rows.cluster, minlength=sizes[0])[rows.cluster]
        weight = 1 / np.sqrt(counts)
        weight /= weight.mean()
        mean = float(np.average(pkd, weights=weight))
        blocks = {
            "cell": _indicators(rows.cell, len(CELLS)),
            "peptide": sparse.csr_matrix(rows.peptide),
            "cluster": _indicators(rows.cluster, sizes[0]),
            "antigen": _indicators(rows.antigen, sizes[1]),
            "family": _indicators(rows.family, sizes[2]),
            "slope": sparse.csr_matrix(rows.scores),
        }
        scaled = [block * prior_sd[name] for name, block in blocks.items()]
        widths = [len(CELLS), len(PEPTIDE_COLUMNS), *sizes, rows.scores.shape[1]]
        x = sparse.csr_matrix(sparse.hstack(scaled))
        weighted = sparse.csr_matrix(x.multiply(weight[:, None]))
        gram = sparse.csc_matrix(weighted.T @ x + sparse.identity(sum(widths)))
        # effects are sparse and the kernel is dense: the kernel by the Schur complement
        across, target = weighted.T @ rows.similar, weighted.T @ (pkd - mean)
        solved = splu(gram).solve(np.column_stack([across, target]))
        similar_weighted = rows.similar * weight[:, None]
        inner = similar_weighted.T @ rows.similar + kernel - across.T @ solved[:, :-1]
        outer = similar_weighted.T @ (pkd - mean) - across.T @ solved[:, -1]
        similar = np.linalg.solve(inner, outer)
        solution = solved[:, -1] - solved[:, :-1] @ similar
        parts = zip(blocks, np.split(solution, np.cumsum(widths)[:-1]), strict=True)
        effects = {name: values * prior_sd[name] for name, values in parts}
        slopes = np.maximum(effects.pop("slope"), 0.0)
        return cls(mean, similar=similar, **effects, slopes=slopes)

    def parts(self, rows: LevelRows) -> dict[str, np.ndarray]:
        """Each effect on n pairs, (n,) each, in pKd; their sum is the prediction."""
        return {
            "mean of all": np.full(len(rows.cell), self.mean),
            "kind of pair": self.cell[rows.cell],
            "peptide": rows.peptide @ self.peptide,
            # a sum by row, so that no row's rounding depends on its companions
            "similar pairs": (rows.similar * self.similar).sum(axis=1),
            "antigen's cluster": _effect(self.cluster, rows.cluster),
            "antigen": _effect(self.antigen, rows.antigen),
            "antibody family": _effect(self.family, rows.family),
        }

    def level(self, rows: LevelRows) -> np.ndarray:
        """pKd of n pairs before mutations, (n,)."""
        return np.sum(list(self.parts(rows).values()), axis=0)

    def delta(self, rows: LevelRows) -> np.ndarray:
        """ΔpKd of their mutations, (n,)."""
        return rows.scores @ self.slopes


def _indicators(index: np.ndarray, size: int) -> sparse.csr_matrix:
    known = np.flatnonzero(index != NEW)
    shape = len(index), size
    return sparse.csr_matrix((np.ones(len(known)), (known, index[known])), shape)


def _effect(effects: np.ndarray, index: np.ndarray) -> np.ndarray:
    return np.where(index == NEW, 0.0, effects[index] if len(effects) else 0.0)
