"""The release's model class: token ids of both sides in, the network's pKd out."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import paratope
from paratope import DualEncoderWithCrossAttention, Predictor
from paratope.core.errors import EncoderError, InputError, ModelError
from paratope.encoders import load_encoder
from paratope.models.dual_encoder import ChainTokenizer
from paratope.models.recipes import load_recipe
from paratope.molecules.sequences import ALPHABET
from paratope.training import RunOptions, train_table
from paratope.training.runs import write_model_of_run
from test_numbering import VH, VK
from tiny_models import tokenizer_of
from trained_models import simulated_table

HEAVY, LIGHT = VH[:60], VK[:50]
ANTIGEN = "MQIFVKTLTGKTITLEVEPSDTIENVKAKIQDKEGIPPDQQRLIFAGKQLEDGRTLSDYNIQKESTLHLVLRLRGG"
SMALL = ("network.dim=16", "network.heads=2", "network.regressor=[16]", "network.feed_forward=1")


def answer(model: Any, antibodies: list[str], antigens: list[str]) -> torch.Tensor:
    with torch.no_grad():
        return model(*tokens_of(model, antibodies, antigens))


def tokens_of(model: Any, antibodies, antigens) -> tuple[torch.Tensor, ...]:
    left, right = model.antibody_tokenizer(antibodies), model.antigen_tokenizer(antigens)
    names = ("input_ids", "attention_mask")
    return (*(left[name] for name in names), *(right[name] for name in names))


@pytest.fixture(scope="module")
def model(tiny_folder: Callable[[str], Path]) -> DualEncoderWithCrossAttention:
    torch.manual_seed(0)
    return DualEncoderWithCrossAttention(
        num_labels=1,
        dropout=0.3,
        use_cross_attention=True,
        antibody_encoder=f"igt5@{tiny_folder('igt5')}",
        antigen_encoder=f"esm2-3b@{tiny_folder('esm2-3b')}",
        recipe=load_recipe("v2.6", SMALL),
    ).eval()


def test_the_release_s_call_builds_the_network_of_recipe_v26(monkeypatch):
    """Without any encoder on the machine: those are needed for the first answer only."""
    monkeypatch.delenv("PARATOPE_ENCODERS", raising=False)
    arguments = {"dropout": 0.3, "use_cross_attention": True}
    model = paratope.DualEncoderWithCrossAttention(num_labels=1, **arguments)
    assert (model.config.antibody_dim, model.config.antigen_dim) == (1024, 2560)
    assert 45e6 <= sum(parameter.numel() for parameter in model.parameters()) <= 55e6
    assert model.config.dropout == 0.3
    with pytest.raises(EncoderError, match="paratope encoders download igt5"):
        model.antibody_tokenizer  # noqa: B018 - the access itself is what is tested
    with pytest.raises(ModelError, match="num_labels=3; this network has one label, the pKd"):
        DualEncoderWithCrossAttention(num_labels=3)


def test_without_cross_attention_it_pools_as_v25(model, tiny_folder):
    pooled = DualEncoderWithCrossAttention(
        use_cross_attention=False,
        dropout=0.1,
        antibody_encoder=model.antibody_encoder,
        antigen_encoder=model.antigen_encoder,
        recipe=model.recipe,
    ).eval()
    assert len(pooled.interactions) == 0
    assert pooled.config.dropout == 0.1
    assert type(pooled.antibody_pooling).__name__ == "MeanPooling"
    antibody, antigen = f"{HEAVY}|{LIGHT}", ANTIGEN
    with torch.no_grad():
        means = []
        for side, text in (("antibody", antibody), ("antigen", antigen)):
            tokens = getattr(pooled, f"{side}_tokenizer")(text)
            latents, _ = pooled._latent(side, tokens["input_ids"], tokens["attention_mask"])
            means.append(latents[0].mean(dim=0))
        both = torch.cat([*means, means[0] * means[1]])
        expected = pooled.output_center + pooled.output_spread * pooled.regressor(both)[0]
    assert torch.allclose(answer(pooled, [antibody], [antigen])[0], expected, atol=1e-5)


@pytest.mark.parametrize("name", ["igt5", "prott5", "esm2-8m", "igbert"])
def test_token_ids_are_those_of_the_published_tokenizer(name, tiny_folder, vocabularies, tmp_path):
    encoder = load_encoder(f"{name}@{tiny_folder(name)}", device="cpu")
    tokenizer = ChainTokenizer(encoder, "antibody")
    published = tokenizer_of(name, vocabularies, tmp_path)
    chain = ALPHABET + HEAVY
    texts = {chain: chain if name.startswith("esm2") else " ".join(chain)}
    if name == "igt5":
        texts[f"{HEAVY}|{LIGHT}"] = f"{' '.join(HEAVY)} </s> {' '.join(LIGHT)}"
    for chains, text in texts.items():
        expected = published(text, return_tensors="pt")
        assert published.unk_token_id not in expected["input_ids"]
        for key, values in tokenizer(chains).items():
            assert values.tolist() == expected[key].tolist()


def test_text_without_spaces_through_t5_s_own_tokenizer_is_refused(model, vocabularies, tmp_path):
    """What the v2.6 release did, unseen: one residue and one unknown token for any antibody."""
    published = tokenizer_of("igt5", vocabularies, tmp_path)
    raw = published(HEAVY, return_tensors="pt")
    antigen = model.antigen_tokenizer(ANTIGEN)
    with pytest.raises(InputError, match="antibody: row 0 .* unknown token.*spaces between"):
        model(raw["input_ids"], raw["attention_mask"], *antigen.values())


def test_truncation_is_said(model):
    with pytest.warns(UserWarning, match="the last 4 of 76 residues are left out"):
        found = model.antigen_tokenizer(ANTIGEN, truncation=True, max_length=74)
    assert found["input_ids"].shape == (1, 74)
    with pytest.raises(InputError, match="may be done with truncation=True only"):
        model.antigen_tokenizer(ANTIGEN, truncation=False, max_length=74)
    with pytest.warns(UserWarning, match="left out"):
        long = model.antigen_tokenizer("MKV" * 250)
    assert long["input_ids"].shape == (1, 512)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("EVQ1",), {}, "'1' at position 4"),
        (([],), {}, "no sequence"),
        ((["EVQ", "EV"],), {"padding": False}, "need padding=True"),
        (("EVQ",), {"return_tensors": "np"}, "expected 'pt'"),
        (("EVQ",), {"max_length": 1}, "no room beside"),
    ],
)
def test_what_the_tokenizer_refuses(model, arguments, options, message):
    with pytest.raises(InputError, match=message):
        model.antibody_tokenizer(*arguments, **options)


def test_padding_and_companions_do_not_matter(model):
    antibodies = [f"{HEAVY}|{LIGHT}", HEAVY[:20], f"{HEAVY[:40]}|{LIGHT[:30]}"]
    antigens = [ANTIGEN[:30], f"{ANTIGEN}|{ANTIGEN[:12]}", ANTIGEN[:7]]
    together = answer(model, antibodies, antigens)
    for row in range(3):
        alone = answer(model, [antibodies[row]], [antigens[row]])
        assert torch.allclose(alone, together[row : row + 1], atol=1e-5)
    tokens = tokens_of(model, antibodies, antigens)
    wider = [torch.nn.functional.pad(values, (0, 9), value=0) for values in tokens]
    for filler in (model.antigen_encoder.token_table.pad, 5):  # whatever is where the mask is 0
        wider[2][wider[3] == 0] = filler
        with torch.no_grad():
            assert torch.allclose(model(*wider), together, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a, g: (a[0].float(), a[1], *g), "whole numbers of one shape"),
        (lambda a, g: (a[0], a[1][:, :3], *g), "whole numbers of one shape"),
        (lambda a, g: (a[0], torch.zeros_like(a[1]), *g), "no residue in it"),
        (lambda a, g: (torch.full_like(a[0], 30), a[1], *g), "id 30, which is no residue"),
        (lambda a, g: (a[0].repeat(2, 1), a[1].repeat(2, 1), *g), "2 antibodies and 1 antigens"),
    ],
)
def test_tokens_that_are_none_are_explained(model, change, message):
    tokens = tokens_of(model, HEAVY, ANTIGEN)
    with pytest.raises(InputError, match=message):
        model(*change(tokens[:2], tokens[2:]))


def test_the_network_can_be_trained_through_it(model):
    model(*tokens_of(model, HEAVY, ANTIGEN)).sum().backward()
    assert model.antibody_tower.project.weight.grad.abs().sum() > 0
    weights = model.antibody_encoder.language_model.parameters()
    assert not any(weight.requires_grad for weight in weights)
    model.zero_grad()


@pytest.fixture
def here(tiny_folder, tmp_path, monkeypatch) -> None:
    """Small encoders where the published ones are looked for."""
    monkeypatch.setenv("PARATOPE_ENCODERS", str(tmp_path))
    for name in ("igt5", "esm2-3b", "esm2-650m"):
        (tmp_path / name).symlink_to(tiny_folder(name))


@pytest.mark.parametrize(
    "encoders", [("igt5", "esm2-3b"), ("esm2-650m", "esm2-650m"), ("antiberty", "residue")]
)
def test_a_checkpoint_of_a_run_gives_the_pkd_of_its_model(encoders, here, tmp_path):
    names = dict(zip(("antibody", "antigen"), encoders, strict=True))
    run = tmp_path / "run"
    table = simulated_table(tmp_path / "table.csv", antibodies=8, antigens=2, seed=3)
    settings = ["training.max_epochs=1", "training.batch_size=4", "data.split='random'"]
    settings += [f"encoders.{side}={name}" for side, name in names.items()]
    recipe = load_recipe("v2.6", [*SMALL, *settings])
    trained = train_table(table, recipe, run, RunOptions(device="cpu"))
    write_model_of_run(trained, run)
    path = run / "checkpoints" / "checkpoint_latest.pth"
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    names = {f"{side}_encoder": name for side, name in names.items()}
    model = DualEncoderWithCrossAttention(1, 0.3, True, **names, recipe=run / "run.toml")
    model.load_state_dict(checkpoint["model_state_dict"])
    model.eval()
    pairs = [measurement.pair for measurement in trained.rows.usable.cut[:5]]
    antibodies = ["|".join(pair.antibody.chains) for pair in pairs]
    antigens = ["|".join(pair.antigen.chains) for pair in pairs]
    found = answer(model, antibodies, antigens).numpy()
    predictor = Predictor.load(run, device="cpu")
    expected = predictor.model.score_pairs(pairs).mean
    assert np.ptp(expected) > 1e-3
    assert np.allclose(found, expected, atol=1e-4)
    for saved in (path, *(run / "checkpoints").glob("best_epoch_*.pth")):
        again = DualEncoderWithCrossAttention.from_checkpoint(saved)
        first = answer(again, antibodies[:1], antigens[:1]).numpy()
        assert np.allclose(first, found[:1], atol=1e-5)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", None])
def test_a_file_that_is_no_checkpoint_is_explained(content, tmp_path):
    path = tmp_path / "checkpoint_latest.pth"
    torch.save({"epoch": 1}, path)
    if content is not None:
        path.write_bytes(content)
    message = r"checkpoint_latest.pth: (cannot be read|not a checkpoint)"
    with pytest.raises(ModelError, match=message):
        DualEncoderWithCrossAttention.from_checkpoint(path)
    with pytest.raises(ModelError, match="cannot be read"):
        DualEncoderWithCrossAttention.from_checkpoint(tmp_path / "nowhere.pth")


def test_a_checkpoint_of_other_sizes_is_explained(model):
    residue = {"antibody_encoder": "residue", "antigen_encoder": "residue"}
    other = DualEncoderWithCrossAttention(**residue, recipe="default")
    with pytest.raises(ModelError, match=r"other sizes or encoders; .*from_checkpoint\(path\)"):
        model.load_state_dict(other.state_dict())


def test_the_example_of_the_documents_runs(repository, here, tmp_path, monkeypatch, capsys):
    """As it stands, but that the encoders of these names are small."""
    text = (repository / "docs" / "recipes.md").read_text(encoding="utf-8")
    section = text.partition("## The release's Python example")[2].partition("\n## ")[0]
    code = section.partition("```python\n")[2].partition("```")[0]
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "run" / "checkpoints"
    folder.mkdir(parents=True)
    trained = DualEncoderWithCrossAttention()
    trained.set_output_scale(7.5, 1.0)
    state = {"model_state_dict": trained.state_dict(), "epoch": 12, "best_val_spearman": 0.39}
    state |= {"optimizer_state_dict": {}, "scheduler_state_dict": {}}
    torch.save(state, folder / "checkpoint_latest.pth")
    exec(compile(code, "docs/recipes.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["Loaded model from epoch 12", "Best validation Spearman: 0.39"]
    found = float(lines[2].removeprefix("Predicted pKd: "))
    heavy = re.findall(r'^    "([A-Z]+)"$', code, re.MULTILINE)
    (antigen,) = re.findall(r'^antigen_seq = "([A-Z]+)"$', code, re.MULTILINE)
    assert found == round(float(answer(trained.eval(), ["".join(heavy)], [antigen])), 2)
    assert 4 < found < 11
