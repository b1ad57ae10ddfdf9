"""Residue frequencies and humanness, by the real AntiBERTy."""

import numpy as np
import polars as pl
import pytest

from paratope.cli.doctor import D13_HEAVY, D13_LIGHT
from paratope.encoders.antiberty import SPECIES, AntibertyEncoder
from paratope.encoders.embedding_store import EmbeddingStore
from paratope.encoders.likelihood import Likelihood
from paratope.molecules.sequences import AMINO_ACIDS
from test_numbering import VH, VHH

SHORT = VH[:26]


@pytest.fixture(scope="module")
def encoder() -> AntibertyEncoder:
    return AntibertyEncoder("cpu")


@pytest.fixture(scope="module")
def likelihood(encoder: AntibertyEncoder, tmp_path_factory: pytest.TempPathFactory) -> Likelihood:
    return Likelihood(encoder, tmp_path_factory.mktemp("cache"))


def test_frequencies_are_those_of_the_masked_model(likelihood, encoder):
    frequencies = likelihood.frequencies(SHORT)
    assert frequencies.shape == (len(SHORT), 20)
    np.testing.assert_allclose(frequencies.sum(axis=1), 1, atol=1e-5)
    direct = np.exp(encoder.log_likelihoods(SHORT, masked=True))
    np.testing.assert_allclose(frequencies, direct, atol=1e-5)
    # the cysteine that every domain has
    assert AMINO_ACIDS[frequencies[SHORT.index("C")].argmax()] == "C"


def test_results_are_read_the_second_time(likelihood, tmp_path, monkeypatch):
    fresh = Likelihood(AntibertyEncoder("cpu"), tmp_path)
    first = fresh.frequencies(SHORT[:12]), fresh.humanness([VH, VHH, VH])

    def fail(*_: object) -> None:
        raise AssertionError("the model ran again")

    monkeypatch.setattr(AntibertyEncoder, "_forward", fail)
    again = Likelihood(AntibertyEncoder("cpu"), tmp_path)
    np.testing.assert_array_equal(first[0], again.frequencies(SHORT[:12]))
    np.testing.assert_array_equal(first[1], again.humanness([VH, VHH, VH]))
    assert first[1][0] == first[1][2]


def test_what_was_just_encoded_costs_no_second_pass(tmp_path, monkeypatch):
    encoder = AntibertyEncoder("cpu")
    expected = AntibertyEncoder("cpu").species_logits([VH, VHH])
    EmbeddingStore(encoder, tmp_path).fill([(VHH, VH)])
    monkeypatch.setattr(AntibertyEncoder, "_hidden", None)
    np.testing.assert_allclose(encoder.species_logits([VH, VHH]), expected, atol=1e-4)


def test_species_of_well_known_chains(likelihood, encoder):
    logits = encoder.species_logits([VH, D13_HEAVY, D13_LIGHT, VHH])
    assert [SPECIES[one] for one in logits.argmax(axis=1)] == ["human", "mouse", "mouse", "camel"]
    humanised, mouse, mouse_light, camel = likelihood.humanness([VH, D13_HEAVY, D13_LIGHT, VHH])
    assert humanised > 2 > -2 > max(mouse, mouse_light, camel)
    assert likelihood.humanness([]).shape == (0,)


@pytest.mark.slow
def test_human_antibodies_are_taken_for_human_ones(likelihood, data_root):
    folder = data_root / "sabdab"
    summary = pl.read_csv(folder / "sabdab_summary.tsv", separator="\t", infer_schema=False)
    species = dict(zip(summary["pdb"], summary["heavy_species"], strict=True))
    table = pl.read_csv(folder / "sabdab_affinity.csv", infer_schema=False)
    human = {
        heavy
        for pdb, heavy in zip(table["pdb"], table["vh"], strict=True)
        if heavy and species.get(pdb) == "homo sapiens"
    }
    assert len(human) >= 20
    share = (likelihood.humanness(sorted(human)) > 0).mean()
    print(f"{share:.2f} of {len(human)}")
    assert share > 0.9
