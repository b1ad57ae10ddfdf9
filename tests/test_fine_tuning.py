"""LoRA: what is trained, what is saved, that it is served as trained, and never mixed up."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import nn

from paratope import DualEncoderWithCrossAttention, Predictor
from paratope.core.errors import MissingExtraError, TrainingError
from paratope.data.measurements import Measurement
from paratope.encoders import load_encoder
from paratope.encoders.embedding_store import EmbeddingStore, list_caches
from paratope.models import fine_tuning
from paratope.models.batches import Examples, collate
from paratope.models.fine_tuning import AdaptedTower, ResidueTokens, build_network
from paratope.models.recipes import LoraSettings, NetworkConfig, Recipe, load_recipe
from paratope.molecules.sequences import ALPHABET, AMINO_ACIDS, Antibody, Antigen, Pair
from paratope.training import FitResult, RunOptions, fit, score, train_table
from paratope.training.runs import write_model_of_run
from small_runs import StopHereError, same_weights
from test_numbering import VHH

pytest.importorskip("peft", reason="the extra [research] is not installed")

ANTIGENS = ("MKTAYIAKQRQISFVKSHFSRQ", "GSHMLEDPVAGTWYRNE")
TINY = (
    *("network.dim=8", "network.heads=2", "network.tower_layers=1", "network.regressor=[8]"),
    *("training.batch_size=4", "training.max_epochs=2", "training.patience=0"),
    *("training.learning_rate=0.01", "data.split=random", "lora.rank=4"),
)


def user_table(folder: Path, count: int = 10) -> Path:
    lines = ["id,heavy,antigen,kd_nM"]
    for number in range(count):
        mutant = VHH[:101] + AMINO_ACIDS[number % 20] + VHH[102:]
        lines.append(f"vhh{number},{mutant},{ANTIGENS[number % 2]},{10 ** (number % 5 - 1)}")
    path = folder / "table.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def plain_rows() -> np.ndarray:
    """What AntiBERTy itself says of the nanobody."""
    return load_encoder("antiberty", "cpu").encode([(VHH,)])[0]


@pytest.fixture(scope="module")
def adapted(tmp_path_factory, plain_rows):
    """A run of the default recipe with AntiBERTy adapted: folder, cache, what training gave."""
    folder = tmp_path_factory.mktemp("lora")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PARATOPE_CACHE", str(folder / "cache"))
        recipe = load_recipe("default", [*TINY, "lora.side=antibody"])
        trained = train_table(user_table(folder), recipe, folder / "run", RunOptions(device="cpu"))
        write_model_of_run(trained, folder / "run")
    return folder, trained


@given(st.lists(st.text(ALPHABET, min_size=1, max_size=9), min_size=1, max_size=4))
def test_letters_read_back(chains):
    letters = ResidueTokens(load_encoder("residue"))
    assert fine_tuning.chains_of(letters.get(tuple(chains))[:, 0]) == tuple(chains)
    assert letters.fill([tuple(chains)]) == 0


@pytest.mark.parametrize("name", ["igt5", "esm2-8m", "igbert", "prott5"])
def test_an_adapter_adds_the_product_of_its_two_matrices(name, tiny_folder):
    spec = f"{name}@{tiny_folder(name)}"
    settings = LoraSettings(rank=3, alpha=6, side="antibody")
    dim = load_encoder(spec, "cpu").dim
    config = NetworkConfig(antibody_dim=dim, antigen_dim=51, dim=8, heads=2)
    tower = build_network(config, settings, {"antibody": spec}, "cpu").antibody_tower
    assert isinstance(tower, AdaptedTower)
    molecules = [("EVQLVES", "DIQM"), ("GGA",)]
    before = tower.encode(molecules, torch.device("cpu"))
    merged = load_encoder(spec, "cpu")
    for molecule, rows in zip(molecules, before, strict=True):
        expected = merged.encode([molecule])[0]
        assert np.allclose(rows[: len(expected)].detach().numpy(), expected, atol=1e-5)
    torch.manual_seed(0)
    modules = merged.language_model.base_model.named_modules()
    projections = {name.replace(".", "-"): part for name, part in modules}
    changed = 0
    with torch.no_grad():
        for key, weight in tower.adapters.items():
            if key.endswith("lora_B"):
                weight.normal_()
                other = tower.adapters[key.replace("lora_B", "lora_A")]
                projection = projections[key.removesuffix("-lora_B")]
                projection.weight += 6 / 3 * weight @ other
                changed += 1
    assert changed == 4  # two projections in each of two layers
    after = tower.encode(molecules, torch.device("cpu"))
    for number, molecule in enumerate(molecules):
        expected = merged.encode([molecule])[0]
        rows = after[number, : len(expected)].detach().numpy()
        assert np.allclose(rows, expected, atol=1e-4)
        assert not np.allclose(rows, before[number, : len(expected)].detach().numpy(), atol=1e-2)


def test_gradients_reach_the_adapter_alone_and_answers_do_not_hang_on_companions(tiny_folder):
    network = small_network(tiny_folder)
    network.train()
    network(six(range(6))).mean.sum().backward()
    for side in (network.antibody_tower, network.antigen_tower):
        grown = [weight for key, weight in side.adapters.items() if key.endswith("lora_B")]
        assert all(weight.grad is not None and weight.grad.abs().max() > 0 for weight in grown)
        weights = side.encoder.language_model.parameters()
        gradients = [weight.grad for weight in weights if not weight.requires_grad]
        assert len(gradients) > 10
        assert set(gradients) == {None}
        assert not side.encoder.language_model.training
    assert not any("embeddings" in name for name in network.state_dict())
    # answers do not depend on padding and companions
    network.eval()
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(torch.randn_like(weight) * 0.05)
        together = network(six(range(6))).mean
        for row in range(6):
            alone = network(six([row])).mean
            assert torch.allclose(alone, together[row : row + 1], atol=1e-5)
    assert together.max() - together.min() > 1e-4


def test_layers_of_one_batch_at_a_time_give_the_same_gradients(tiny_folder, monkeypatch):
    """Several batches: each is passed again for its gradient, and nothing else changes."""
    gradients, passes = [], []
    for budget in (4096, 40):
        network = small_network(tiny_folder)
        tower = network.antibody_tower
        for key, weight in tower.adapters.items():
            if key.endswith("lora_B"):
                nn.init.constant_(weight, 0.01)
        tower.tokens_at_once = budget
        encode, calls = tower.encoder.residue_states, []
        counted = lambda units, e=encode, c=calls: c.append(1) or e(units)  # noqa: E731
        monkeypatch.setattr(tower.encoder, "residue_states", counted)
        network(six(range(6))).mean.sum().backward()
        gradients.append([weight.grad for weight in tower.adapters.values()])
        passes.append(len(calls))
    assert passes[0] == 1
    assert passes[1] in range(4, 99, 2)
    for left, right in zip(*gradients, strict=True):
        assert torch.allclose(left, right, rtol=1e-4, atol=1e-7)


def small_network(tiny_folder: Callable[[str], Path]):
    """Both sides adapted: the antibody's paired, the antigen's chain by chain."""
    names = {"antibody": "igt5", "antigen": "esm2-8m"}
    encoders = {side: f"{name}@{tiny_folder(name)}" for side, name in names.items()}
    torch.manual_seed(0)  # once the folders are there, which the first to ask for them makes
    config = NetworkConfig(antibody_dim=32, antigen_dim=24, dim=8, heads=2, tower_layers=1)
    return build_network(config, LoraSettings(rank=2), encoders, "cpu")


def six(rows):
    """A batch of some of six pairs."""
    letters = ResidueTokens(load_encoder("residue"))
    return collate(Examples.from_measurements(measurements(6)), rows, letters, letters)


def measurements(count: int, seed: int = 0) -> list[Measurement]:
    random = np.random.default_rng(seed)

    def sequence(length: int) -> str:
        return "".join(random.choice(list(AMINO_ACIDS), length))

    antigens = [Antigen((sequence(12), sequence(5))), Antigen((sequence(19),))]
    antibodies = (Antibody(sequence(9 + number % 4), sequence(8)) for number in range(count))
    pairs = (Pair(antibody, antigens[n % 2]) for n, antibody in enumerate(antibodies))
    return [Measurement(pair, float(random.uniform(5, 11))) for pair in pairs]


def test_a_run_trains_the_encoder_and_its_bundle_holds_adapter_and_settings_alone(adapted):
    folder, trained = adapted
    state = trained.result.state
    grown = {name: value for name, value in state.items() if name.endswith("lora_B")}
    assert len(grown) == 16  # query and value in each of eight layers
    assert all(bool(value.abs().max() > 1e-4) for value in grown.values())
    assert not any(name.startswith("antigen_tower.adapters") for name in state)
    history = trained.result.history
    assert history[-1]["train_loss"] < history[0]["train_loss"]
    assert not any("adapters" in record["warning"] for record in history)
    bundle = folder / "run" / "bundle"
    weights = load_file(bundle / "model.safetensors")
    kept = {name.removeprefix("0."): weights[name] for name in weights if name.endswith("lora_B")}
    assert kept.keys() == grown.keys()
    assert all(torch.equal(kept[name], grown[name]) for name in grown)
    assert (bundle / "model.safetensors").stat().st_size < 1e6  # AntiBERTy has 26 M weights
    config = json.loads((bundle / "config.json").read_text())
    lora = {"rank": 4, "alpha": 16, "targets": [], "side": "antibody"}
    assert config["encoders"]["lora"] == lora
    checkpoint = folder / "run" / "checkpoints" / "checkpoint_latest.pth"
    assert checkpoint.stat().st_size < 5e6
    assert "LoRA of rank 4 on the antibody encoder. " in (bundle / "card.md").read_text()


def test_the_model_serves_what_was_trained(adapted, tmp_path):
    folder, trained = adapted
    predictor = Predictor.load(folder / "run", device="cpu", cache=tmp_path)
    for part in ("train", "validation", "test"):
        pairs = [measurement.pair for measurement in trained.part(part)[1]]
        served = predictor.model.score_pairs(pairs)
        expected = trained.scores[part]
        assert np.abs(served.mean - expected.mean).max() < 1e-4
        assert np.abs(served.sd - expected.sd).max() < 1e-4
    frame = predictor.predict(pairs)
    assert frame["error"].to_list() == [""] * len(pairs) or not any(frame["error"].to_list())
    saved = predictor.save(tmp_path / "copy")
    again = Predictor.load(saved, device="cpu", cache=tmp_path).model.score_pairs(pairs)
    assert np.array_equal(again.mean, served.mean)


def test_adapted_and_plain_embeddings_never_meet(adapted, plain_rows, tmp_path, monkeypatch):
    folder, trained = adapted
    stored = {entry.encoder.partition("@")[0] for entry in list_caches(folder / "cache")}
    assert stored == {"residue"}  # nothing of the adapted side was kept
    plain = load_encoder("antiberty", "cpu")
    with EmbeddingStore(plain, tmp_path) as store:
        store.fill([(VHH,)])
    predictor = Predictor.load(folder / "run", device="cpu", cache=tmp_path)
    pairs = [measurement.pair for measurement in trained.rows.usable.cut]
    predictor.model.score_pairs([*pairs, Pair(Antibody(VHH), pairs[0].antigen)])
    with EmbeddingStore(plain, tmp_path) as store:
        assert len(store) == 1  # neither read nor written by the model
        assert np.array_equal(store.get((VHH,)), plain_rows)
    # the adapter sits in a copy of the encoder that is the model's own
    assert np.array_equal(load_encoder("antiberty", "cpu").encode([(VHH,)])[0], plain_rows)
    assert np.array_equal(predictor.model.antibody_store.encoder.encode([(VHH,)])[0], plain_rows)
    tower = predictor.model.networks[0].antibody_tower
    with torch.inference_mode():
        changed = tower.encode([(VHH,)], torch.device("cpu"))[0].numpy()
    assert np.abs(changed - plain_rows).max() > 1e-3


def answers(model, antibodies: list[str], antigens: list[str]) -> np.ndarray:
    tokens = model.antibody_tokenizer(antibodies), model.antigen_tokenizer(antigens)
    with torch.no_grad():
        return model(*tokens[0].values(), *tokens[1].values()).numpy()


def test_the_release_s_class_loads_a_fine_tuned_checkpoint(adapted, tmp_path):
    folder, trained = adapted
    path = folder / "run" / "checkpoints" / "checkpoint_latest.pth"
    model = DualEncoderWithCrossAttention.from_checkpoint(path)
    network = trained.result.network()
    network.load_state_dict(torch.load(path, weights_only=True)["model_state_dict"])
    pairs = [measurement.pair for measurement in trained.rows.usable.cut[:3]]
    antibodies = ["|".join(pair.antibody.chains) for pair in pairs]
    found = answers(model, antibodies, ["|".join(pair.antigen.chains) for pair in pairs])
    letters = ResidueTokens(load_encoder("residue"))
    examples = Examples.from_measurements([Measurement(pair, 8.0) for pair in pairs])
    with EmbeddingStore(load_encoder("residue"), tmp_path) as antigens:
        expected = score(network, examples, (letters, antigens)).mean
    assert np.allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("name", ["v2.5", "v2.6"])
def test_the_releases_encoders_are_trained_and_served(
    name, tiny_folder, tmp_path, monkeypatch, run_paratope
):
    """From the command line, both sides; antigens of two chains; against the release's class."""
    monkeypatch.setenv("PARATOPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PARATOPE_ENCODERS", str(tmp_path / "encoders"))
    (tmp_path / "encoders").mkdir()
    encoders = load_recipe(name).encoders
    for one in {encoders.antibody, encoders.antigen}:
        (tmp_path / "encoders" / one).symlink_to(tiny_folder(one))
    table = user_table(tmp_path)
    table.write_text(table.read_text().replace(ANTIGENS[0], "|".join(ANTIGENS)))
    small = (*TINY, "training.max_epochs=1", "lora.rank=2")
    changes = [item for change in small for item in ("--set", change)]
    run_paratope("train", table, "--recipe", name, *changes, "-o", tmp_path / "run", code=0)
    assert not list_caches(tmp_path / "cache")
    run_paratope("predict", table, "--model", tmp_path / "run", "-o", tmp_path / "p.csv", code=0)
    predicted = pl.read_csv(tmp_path / "p.csv")
    tested = pl.read_csv(tmp_path / "run" / "test_predictions.csv").join(predicted, on="id")
    assert len(tested) > 0
    assert np.allclose(tested["pred"], tested["pkd"], atol=6e-4)  # three decimals are written
    path = tmp_path / "run" / "checkpoints" / "checkpoint_latest.pth"
    model = DualEncoderWithCrossAttention.from_checkpoint(path)
    found = answers(model, predicted["heavy"].to_list(), predicted["antigen"].to_list())
    assert np.allclose(found, predicted["pkd"], atol=6e-4)


class StoppingTokens(ResidueTokens):
    """Fails after so many molecules."""

    left = -1

    def get(self, molecule):
        self.left -= 1
        if self.left == 0:
            raise StopHereError
        return super().get(molecule)


def small_run(tiny_folder, recipe: Recipe, folder: Path, stop_after=-1, **options) -> FitResult:
    letters = StoppingTokens(load_encoder(f"igt5@{tiny_folder('igt5')}"))
    letters.left = stop_after
    others = ResidueTokens(load_encoder(f"esm2-8m@{tiny_folder('esm2-8m')}"))
    parts = [Examples.from_measurements(measurements(count, count)) for count in (14, 4)]
    run_options = RunOptions(device="cpu", **options)
    return fit(*parts, recipe, (letters, others), run_options, folder=folder)


@pytest.mark.parametrize("stop_after", [9, 27])  # inside the first epoch, and the second
def test_a_resumed_run_is_the_same_to_the_bit(stop_after, tiny_folder, tmp_path):
    changes = [
        *("training.max_epochs=3", "training.checkpoint_steps=1", "training.accumulate=2"),
        *("training.batch_size=3", "training.balance=none"),
        f"encoders.antibody='igt5@{tiny_folder('igt5')}'",
        f"encoders.antigen='esm2-8m@{tiny_folder('esm2-8m')}'",
    ]
    recipe = load_recipe("default", [*TINY, *changes])
    whole = small_run(tiny_folder, recipe, tmp_path / "whole")
    with pytest.raises(StopHereError):
        small_run(tiny_folder, recipe, tmp_path / "parts", stop_after)
    state = torch.load(tmp_path / "parts" / "checkpoint_latest.pth", weights_only=True)
    assert state["plan"]["position"] > 0  # between two steps of an epoch
    torch.manual_seed(99)
    resumed = small_run(tiny_folder, recipe, tmp_path / "parts", resume=True)
    assert same_weights(whole, resumed)
    assert any("lora_A" in name for name in whole.state)
    losses = [[record["train_loss"] for record in one.history] for one in (whole, resumed)]
    assert losses[0] == losses[1]
    other = recipe.model_copy(update={"lora": LoraSettings(rank=4, alpha=8)})
    with pytest.raises(TrainingError, match="other settings of lora"):
        small_run(tiny_folder, other, tmp_path / "parts", resume=True)


def test_without_peft_the_extra_is_named(adapted, monkeypatch, tmp_path, run_paratope):
    monkeypatch.setitem(sys.modules, "peft", None)
    extra = r"pip install 'paratope\[research\]'"
    with pytest.raises(MissingExtraError, match=extra):
        Predictor.load(adapted[0] / "run", device="cpu")
    config = NetworkConfig(antibody_dim=512, antigen_dim=51, dim=8, heads=2)
    with pytest.raises(MissingExtraError, match=extra):
        build_network(config, LoraSettings(rank=1, side="antibody"), {"antibody": "antiberty"})
    small = [item for change in TINY for item in ("--set", change)]
    options = ("--set", "lora.side=antibody", "-o", tmp_path / "run")
    done = run_paratope("train", user_table(tmp_path), *small, *options, code=2)
    assert "LoRA fine-tuning" in done.err
    assert "paratope[research]" in done.err
    assert "Traceback" not in done.err


def test_wrong_settings_are_explained_and_rank_0_is_no_adapter():
    both, wrong = LoraSettings(rank=1), ("query", "qkv")
    encoders, config = {"antibody": "antiberty", "antigen": "residue"}, {"dim": 8, "heads": 2}
    for settings, message in (
        (both, "lora.side=both: the antigen encoder residue@1 is not one that LoRA can train; use "
               "lora.side=antibody"),
        (LoraSettings(rank=1, side="antibody", targets=wrong),
         "antiberty@0.1.3 has no projection 'qkv'; valid names: dense, key, query, value"),
    ):  # fmt: skip
        sizes = NetworkConfig(antibody_dim=512, antigen_dim=51, **config)
        with pytest.raises(TrainingError, match=message):
            build_network(sizes, settings, encoders, "cpu")
    with pytest.raises(TrainingError, match="use lora.side=antibody"):  # before encoding anything
        fine_tuning.open_store(load_encoder("residue"), "antigen", both)
    encoders["antibody"] = "residue"
    sizes = NetworkConfig(antibody_dim=51, antigen_dim=51, **config)
    network = build_network(sizes, LoraSettings(), encoders)
    assert not any(isinstance(part, AdaptedTower) for part in network.modules())
    assert load_recipe("v2.6").lora.rank == 0
