"""The level's Gaussian process: what the kernel sees, and that the sparse fit is the full one."""

import numpy as np
import pytest

from paratope.models.general.level import NEW, PRIOR_SD_PKD, Level, LevelRows
from paratope.models.general.pair_kernel import (
    ANTIBODY_DESCRIPTORS,
    ANTIGEN_DESCRIPTORS,
    PAIR_SD_PKD,
    PEPTIDE_SD_PKD,
    PairKernel,
    pair_descriptors,
)
from paratope.molecules.sequences import Antibody, Antigen, Pair

VHH = (
    "QVQLVESGGGLVQPGGSLRLSCAASGFTFSSYAMSWVRQAPGKGLEWVSAISGSGGSTYYADSVKGRFTISRDNSKN"
    "TLYLQMNSLRAEDTAVYYCAKDRLSITIRPRYYGLDVWGQGTLVTVSS"
)
SHORT = VHH.replace("AKDRLSITIRPRYYGLDV", "ARDLGDY")
PEPTIDE, PROTEIN = "EQKLISEEDLN", "MKVLAEGRYWDNKHTSQPLIVCFMKDE" * 5
PAIRS = [Pair(Antibody(h), Antigen(a)) for h in (VHH, SHORT) for a in (PEPTIDE, PROTEIN)]
IS_PEPTIDE = np.array([True, False, True, False])


def test_descriptors_read_loops_and_antigen():
    long, short = (pair_descriptors(Pair(Antibody(h), Antigen(PEPTIDE))) for h in (VHH, SHORT))
    assert len(long) == ANTIBODY_DESCRIPTORS + ANTIGEN_DESCRIPTORS
    assert long[6] - short[6] == len("AKDRLSITIRPRYYGLDV") - len("ARDLGDY")
    np.testing.assert_array_equal(long[ANTIBODY_DESCRIPTORS:], short[ANTIBODY_DESCRIPTORS:])
    chains = pair_descriptors(Pair(Antibody(VHH), Antigen((PEPTIDE, "NGSC"))))
    antigen = chains[ANTIBODY_DESCRIPTORS + 4 :]
    assert antigen[:3] == pytest.approx([np.log(15), 2, 100 / 15])


def test_the_kernel_falls_with_the_distance_and_knows_peptides():
    kernel = PairKernel.of_pairs(PAIRS, IS_PEPTIDE.tolist(), range(4))
    values = kernel(PAIRS, IS_PEPTIDE)
    of_itself = PAIR_SD_PKD**2 + IS_PEPTIDE * PEPTIDE_SD_PKD**2
    np.testing.assert_allclose(np.diag(values), of_itself)
    np.testing.assert_allclose(values, values.T)
    assert values[0, 2] > values[0, 1] > values[0, 3] > 0  # peptides, then the same antibody
    np.testing.assert_array_equal(kernel(PAIRS[2:3], IS_PEPTIDE[2:3])[0], values[2])
    far = Pair(Antibody(VHH), Antigen("W" * 2000))
    assert kernel([far], np.array([False])).max() < 1e-6


def test_unknown_residues_count_as_average():
    kernel = PairKernel.of_pairs(PAIRS, IS_PEPTIDE.tolist(), [0])
    assert np.isfinite(kernel([Pair(Antibody(VHH), Antigen("XXXXXX"))], np.array([True]))).all()


def test_the_fit_is_the_posterior_mean_of_all_effects_at_once():
    rng = np.random.default_rng(0)
    n, points = 30, rng.normal(size=(6, 2))
    kernel = np.exp(-((points[:, None] - points[None]) ** 2).sum(axis=2))
    place = rng.integers(0, 6, n)
    indices = (rng.integers(0, size, n) for size in (4, 5, 6))
    rows = LevelRows(
        rng.integers(0, 4, n), rng.normal(size=(n, 5)), kernel[place], *indices, np.zeros((n, 3))
    )
    pkd = 8 + rng.normal(size=n)
    fitted = Level.fit(rows, pkd, (4, 5, 6), kernel)
    weight = 1 / np.sqrt(np.bincount(rows.cluster, minlength=4)[rows.cluster])
    weight /= weight.mean()
    covariance = kernel[np.ix_(place, place)]
    covariance = covariance + PRIOR_SD_PKD["peptide"] ** 2 * rows.peptide @ rows.peptide.T
    for name in ("cell", "cluster", "antigen", "family"):
        index = getattr(rows, name)
        covariance = covariance + PRIOR_SD_PKD[name] ** 2 * (index[:, None] == index)
    mean = np.average(pkd, weights=weight)
    expected = mean + covariance @ np.linalg.solve(covariance + np.diag(1 / weight), pkd - mean)
    np.testing.assert_allclose(fitted.level(rows), expected, atol=1e-9)
    new = LevelRows(
        *(rows.cell[:1], rows.peptide[:1] * 0, np.zeros((1, 6))),
        *(np.array([NEW]) for _ in range(3)),
        np.zeros((1, 3)),
    )
    assert fitted.level(new)[0] == pytest.approx(fitted.mean + fitted.cell[rows.cell[0]])
