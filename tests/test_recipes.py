"""Recipes: the released numbers, checked keys and ranges, files that read back."""

import re
import shlex
import time
import tomllib
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paratope.core.errors import TrainingError
from paratope.encoders import ENCODERS, load_encoder
from paratope.encoders.language_models import TransformerEncoder
from paratope.evaluation.figures import style
from paratope.models.recipes import RECIPES, Recipe, load_recipe, recipe_toml, valid_keys
from paratope.training.run_folder import history_figure, hyperparameters
from trained_models import simulated_table


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_loads_and_reads_back(name, tmp_path):
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.summary
    assert {recipe.encoders.antibody, recipe.encoders.antigen} <= set(ENCODERS)
    path = tmp_path / "run.toml"
    path.write_text(recipe_toml(recipe), encoding="utf-8")
    assert load_recipe(path) == recipe


RELEASED = {
    "v2.5": [
        *("encoders.antibody=esm2-650m", "encoders.antigen=esm2-650m", "encoders.max_residues=510"),
        *("network.use_cross_attention=false", "network.output=free"),
        *("loss.focal_regression=1.0", "loss.focal_gamma=2.0", "schedule.name=warmup_cosine"),
        *("training.learning_rate=0.004", "training.weight_decay=0.01", "training.batch_size=12"),
        *("training.accumulate=4", "training.patience=10"),
    ],
    "v2.6": [
        *("encoders.antibody=igt5", "encoders.antigen=esm2-3b", "encoders.max_residues=510"),
        *("network.heads=8", "network.dropout=0.3", "network.use_cross_attention=true"),
        *("network.output=free", "schedule.name=warmup_cosine", "schedule.warmup_epochs=5"),
        *("loss.huber=0.5", "loss.huber_delta=1.0", "loss.soft_spearman=0.4"),
        *("loss.spearman_temperature=1.0", "loss.strong_binder_bce=0.1"),
        *("training.learning_rate=0.0005", "training.weight_decay=0.01", "training.batch_size=32"),
        *("training.accumulate=4", "training.patience=10", "training.min_delta=0.001"),
        "training.max_epochs=50",
    ],
    "v2.7": [
        *("encoders.antibody=igt5", "encoders.antigen=esm2-3b"),
        *("network.dropout=0.1", "network.output=bounded"),
        *("loss.mse=0.7", "loss.strong_binder_bce=0.3"),
        *("training.learning_rate=0.001", "training.weight_decay=1e-05", "training.batch_size=16"),
        *("training.accumulate=8", "training.patience=15", "schedule.name=plateau"),
        *("schedule.factor=0.6", "schedule.patience=10", "schedule.min_learning_rate=1e-06"),
    ],
}


@pytest.mark.parametrize("name", RELEASED)
def test_released_recipes_hold_the_released_numbers(name):
    recipe = load_recipe(name)
    assert load_recipe(name, RELEASED[name]) == recipe
    assert {f"loss.{loss}" for loss in recipe.loss_weights()} <= {
        change.partition("=")[0] for change in RELEASED[name]
    }


def test_default_runs_on_bundled_encoders():
    recipe = load_recipe("default")
    assert (recipe.encoders.antibody, recipe.encoders.antigen) == ("antiberty", "residue")
    assert set(recipe.loss_weights()) == {"gaussian_nll", "pairwise_rank", "strong_binder_bce"}


@pytest.mark.parametrize(
    ("change", "section", "key", "value"),
    [
        ("training.learning_rate=1e-4", "training", "learning_rate", 1e-4),
        ("training.max_epochs = 3", "training", "max_epochs", 3),
        ("encoders.antibody=residue", "encoders", "antibody", "residue"),
        ('encoders.antibody="esm2-8m"', "encoders", "antibody", "esm2-8m"),
        ("network.regressor=[64, 32]", "network", "regressor", (64, 32)),
        ("network.use_cross_attention=false", "network", "use_cross_attention", False),
        ("data.columns=heavy=VH,pkd=affinity", "data", "columns", "heavy=VH,pkd=affinity"),
    ],
)
def test_a_key_can_be_set(change, section, key, value):
    assert getattr(getattr(load_recipe("default", [change]), section), key) == value


def test_a_recipe_needs_a_loss_and_a_known_name():
    off = [f"loss.{name}=0" for name in load_recipe("default").loss_weights()]
    with pytest.raises(TrainingError, match="no loss has a weight above 0"):
        load_recipe("default", off)
    for name in ("v3", "/dev/zero", "/dev/full", "nothing\0here"):  # only files are read
        with pytest.raises(TrainingError, match="unknown recipe .*; valid names: default, v2.5"):
            load_recipe(name)


names = st.characters(codec="utf-8", exclude_categories=("Cs", "Cc"), exclude_characters="/\\")


@given(
    name=st.text(names, max_size=30),
    rate=st.floats(1e-9, 10),
    widths=st.lists(st.integers(1, 4096), max_size=4),
    steps=st.integers(0, 10**6),
)
def test_any_values_survive_the_file(tmp_path_factory, name, rate, widths, steps):
    settings = load_recipe("default").model_dump()
    settings["network"]["regressor"] = widths
    settings["training"] |= {"learning_rate": rate, "checkpoint_steps": steps}
    settings |= {"name": name, "data": {"table": f"/{name}", "split": "antigen"}}
    recipe = Recipe.model_validate(settings)
    path = tmp_path_factory.mktemp("recipes") / "run.toml"
    path.write_text(recipe_toml(recipe), encoding="utf-8")
    assert load_recipe(path) == recipe


@pytest.mark.parametrize("name", RELEASED)
def test_no_side_of_a_release_has_more_than_512_tokens(name, tiny_folder):
    settings = load_recipe(name).encoders
    for spec in (settings.antibody, settings.antigen):
        encoder = load_encoder(f"{spec}@{tiny_folder(spec)}", device="cpu")
        assert isinstance(encoder, TransformerEncoder)
        heavy = 260 if encoder.paired else settings.max_residues
        chains = ("W" * heavy, *["W" * (settings.max_residues - heavy)] * encoder.paired)
        assert len(encoder.tokenize(chains).ids) == 512


@pytest.fixture(scope="module")
def translated(repository: Path) -> list[tuple[str, str, str]]:
    """The release's options, each with its value and what stands for it here."""
    text = (repository / "docs" / "recipes.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `--(\w+) (\S+)` \| `--set (\S+)` \|$", text, re.MULTILINE)
    assert len(rows) == 7
    return rows


def test_every_option_of_the_release_s_command_is_translated(translated, reference_root):
    note = (reference_root / "v2.6_release" / "README_v2.6.md").read_text(encoding="utf-8")
    command = note.partition("train_ultra_speed_v26.py")[2].partition("```")[0]
    options = re.findall(r"--(\w+) (\S+)", command)
    assert options == [(option, value) for option, value, _ in translated]
    for _, value, change in translated:
        assert change.endswith(f"={value}")


def test_the_translated_command_gives_the_run_toml_of_the_recipe(
    translated, repository, tiny_folder, tmp_path, monkeypatch, run_paratope
):
    text = (repository / "docs" / "recipes.md").read_text(encoding="utf-8")
    (command,) = re.findall(
        r"^paratope (train table.csv --recipe v2.6 -o run/ \\\n(?:.*\\\n)*.*)$", text, re.M
    )
    words = shlex.split(command.replace("\\\n", " "))
    assert [word for word in words if "=" in word] == [change for _, _, change in translated]
    encoders = tmp_path / "encoders"
    encoders.mkdir()
    for name in ("igt5", "esm2-3b"):
        (encoders / name).symlink_to(tiny_folder(name))
    monkeypatch.setenv("PARATOPE_ENCODERS", str(encoders))
    monkeypatch.chdir(tmp_path)
    simulated_table(tmp_path / "table.csv", antibodies=6, antigens=2, seed=3)
    small = ["network.dim=8", "network.regressor=[8]", "training.max_epochs=1"]
    cut = [item for change in small for item in ("--set", change)]
    for arguments in (words, ["train", "table.csv", "--recipe", "v2.6", "-o", "plain/"]):
        run_paratope(*arguments, *cut, "--split", "random", code=0)
    written = (tmp_path / "run" / "run.toml").read_bytes()
    assert written == (tmp_path / "plain" / "run.toml").read_bytes()
    shown = run_paratope(*words, "--show").out
    assert shown == run_paratope("train", "--recipe", "v2.6", "--show").out
    assert tomllib.loads(shown)["loss"]["soft_spearman"] == 0.4


def test_changed_options_land_in_run_toml_under_their_keys(translated, run_paratope, tmp_path):
    values = {"batch_size": 8, "gradient_accumulation": 3, "learning_rate": 2e-4, "dropout": 0.15}
    values |= {"huber_weight": 0.7, "spearman_weight": 0.2, "class_weight": 0.05}
    assert set(values) == {option for option, _, _ in translated}
    before = hyperparameters(load_recipe("v2.6"))
    for option, value, change in translated:
        setting = f"{change.partition('=')[0]}={values[option]}"
        shown = run_paratope("train", "--recipe", "v2.6", "--set", setting, "--show")
        (tmp_path / "run.toml").write_text(shown.out)
        changed = hyperparameters(load_recipe(tmp_path / "run.toml"))
        assert before[option] == float(value)
        assert changed[option] == values[option]
        assert {name for name in before if before[name] != changed[name]} <= {option, "loss"}


def test_the_keys_of_fine_tuning_are_documented(repository):
    text = (repository / "docs" / "recipes.md").read_text(encoding="utf-8")
    keys = [key for key in valid_keys() if key.startswith("lora.")]
    assert len(keys) == 4
    assert [key for key in keys if f"| `{key}` |" not in text] == []


NUMBERS = [
    f"{section}.{key}"
    for section, field in Recipe.model_fields.items()
    if isinstance(field.annotation, type) and not issubclass(field.annotation, str)
    for key, inner in field.annotation.model_fields.items()
    if inner.annotation in (int, float)
]
assert len(NUMBERS) == 37


@pytest.mark.parametrize("key", NUMBERS)
@pytest.mark.parametrize("value", ["-1", "1" + "0" * 30, "-inf", "nan", "0x" + "f" * 5000, "'9x'"])
def test_every_number_has_two_ends(key: str, value: str):
    with pytest.raises(TrainingError, match=rf"{key}: .*, got ") as refused:
        load_recipe("default", [f"{key}={value}"])
    assert len(str(refused.value)) < 300
    if value in ("-1", "1" + "0" * 30):
        assert re.search(r"should be from \S+ to \S+, got ", str(refused.value))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["training.lr=1"], r"unknown key 'training.lr'; valid keys of \[training\]: accumulate"),
        (["trainig.seed=1"], "unknown key 'trainig.seed'; valid keys: .*training.seed"),
        (["seed=1"], "unknown key 'seed'; valid keys: "),
        (["training.seed"], "expected section.key=value, such as training.learning_rate=1e-4"),
        (["training.seed=-1"], "training.seed: should be from 0 to 4294967295, got -1"),
        (["training.learning_rate=fast"], "training.learning_rate: .*number.*got 'fast'"),
        (["training.learning_rate=nan"], "training.learning_rate: .*, got nan"),
        (["schedule.name=cosine"], "schedule.name: .*'warmup_cosine', 'plateau' or 'constant'"),
        (["network.dropout=1.0"], "network.dropout: should be from 0 to 0.99, got 1.0"),
        (["network.kernel=8"], "network: kernel must be odd, got 8"),
        (["network.dim=30", "network.heads=4"], "dim must be even and a multiple of heads, got 30"),
        (["network.regressor=[-4]"], "network.regressor.0: should be from 1 to 65536, got -4"),
        (["network.regressor=[" + "1," * 99 + "]"], "network.regressor: .*at most 16 items"),
        (["network.dim=8192", "network.layers=64"], r"weights; expected at most 1,000,000,000"),
        (["network.regressor=[65536,65536]"], r"weights; expected at most .*smaller"),
        (["training.seed=4294967296"], "seed: should be from 0 to 4294967295, got 4294967296"),
        (["training.seed=" + "9" * 5000], "value of training.seed holds a number of thousands"),
        (["network.regressor=" + "[" * 9999], "value of network.regressor is nested hundreds"),
        (["network.regressor=" + "[" * 90 + "]" * 90], r"got \[+\.\.\.\]+$"),
        (['name="a\\u0000b"'], r"name: should be one line .*got 'a\\x00b'"),
        (['name="a\\u001b[31mb"'], r"name: should be one line .*got 'a\\x1b\[31mb'"),
        (["name=../../etc"], "name: should be at most 200 bytes without / and"),
        (["name=" + "é" * 101], "name: should be at most 200 bytes"),
        (["name=\udcff"], "name: should be one line"),
        (["data.table='a\\u0000'", 'data.split="\\u0000"'], "data.split: should be one line"),
        (["encoders.antibody=7"], "encoders.antibody: should be a valid string, got 7"),
        (["lora.targets=[1, 2, 3, 4, 5, 6]"], "lora.targets.2: .*; and 3 more"),
    ],
)
def test_a_wrong_setting_says_what_is_right(changes: list[str], message: str):
    began = time.perf_counter()
    with pytest.raises(TrainingError, match=message) as refused:
        load_recipe("default", changes)
    assert time.perf_counter() - began < 1
    assert "\n" not in str(refused.value)
    assert "\x1b" not in str(refused.value)


@pytest.mark.parametrize(
    ("content", "changes", "message"),
    [
        ("[training]\nlearning_rate = ", [], "cannot be read as TOML"),
        ("[training]\nlr = 1", [], "unknown key 'training.lr'"),
        ("[trainer]\nlr = 1", [], "unknown key 'trainer'; valid keys: "),
        ("training = 1", [], "training: .*got 1"),
        ("training = 1", ["training.seed=2"], "training must be a section with keys"),
        ("", [], "no loss has a weight"),
        ("[network]\nregressor = " + "[" * 3000 + "]" * 3000, [], "mine.toml is nested hundreds"),
        ("name = " + "{a=" * 3000 + "1" + "}" * 3000, [], "mine.toml is nested hundreds"),
        (".".join("a" * 3000) + " = 1\n", [], "unknown key 'a'"),
        ("[network]\ndim." + ".".join("a" * 3000) + " = 1\n", [], "network.dim: .* a valid int"),
        ("[training]\nseed = " + "9" * 5000, [], "mine.toml holds a number of thousands of digits"),
        ("#" * 1_000_001, [], "mine.toml: 1,000,001 bytes; a recipe has at most 1,000,000"),
        ("name = 'a\0'", [], "mine.toml: cannot be read as TOML"),
        (b"\xff\xfe\0", [], "mine.toml: cannot be read as TOML"),
    ],
)
def test_a_file_that_no_recipe_is(tmp_path: Path, content: str | bytes, changes, message: str):
    path = tmp_path / "mine.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(TrainingError, match=message):
        load_recipe(path, changes)


def test_the_command_ends_with_one_sentence(run_paratope, tmp_path: Path):
    done = run_paratope("train", "no.csv", "--set", "network.dim=-8", "-o", tmp_path / "run")
    assert done.code == 2
    assert done.err == "Error: recipe 'default': network.dim: should be from 2 to 8192, got -8\n"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("seed", [-1, 2**32])
@pytest.mark.parametrize(
    "command",
    ["adapt", "compare", "evaluate", "suggest", "simulate-campaign", "data split", "data simulate"],
)
def test_seeds_of_commands_have_the_range_of_a_recipe_s(run_paratope, command: str, seed: int):
    done = run_paratope(*command.split(), "table.csv", "--seed", seed)
    assert done.code == 2
    assert re.search(r"or equal to (0|4294967295)\b", " ".join(done.err.split()))


@pytest.mark.parametrize("name", ["cost in $", "$x$", "$^{$"])
def test_a_name_is_a_title_as_it_stands(name: str):
    names = ("Epoch", "Train Loss", "Val Spearman", "Val Recall", "Learning Rate")
    history = pl.DataFrame({column: [1] for column in names})
    assert history_figure(history, f"Recipe {load_recipe('default', [f'name={name}']).name}")
    assert style.STYLE["text.parse_math"] is False
