"""Every setting of a recipe has a range: what is outside is refused in a sentence, at once."""

import re
import time
from pathlib import Path

import polars as pl
import pytest

from paratope.core.errors import TrainingError
from paratope.evaluation.figures import style
from paratope.models.recipes import Recipe, load_recipe
from paratope.training.history import history_figure

NUMBERS = [
    f"{section}.{key}"
    for section, field in Recipe.model_fields.items()
    if isinstance(field.annotation, type) and not issubclass(field.annotation, str)
    for key, inner in field.annotation.model_fields.items()
    if inner.annotation in (int, float)
]
assert len(NUMBERS) == 36


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
        (["network.kernel=1000001"], "network.kernel: should be from 1 to 999, got 1000001"),
        (["network.kernel=8"], "network: kernel must be odd, got 8"),
        (["network.layers=1000000"], "network.layers: should be from 0 to 64, got 1000000"),
        (["network.dim=0"], "network.dim: should be from 2 to 8192, got 0"),
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
def test_settings_out_of_range(changes: list[str], message: str):
    began = time.perf_counter()
    with pytest.raises(TrainingError, match=message) as refused:
        load_recipe("default", changes)
    assert time.perf_counter() - began < 1
    assert "\n" not in str(refused.value)
    assert "\x1b" not in str(refused.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[network]\nregressor = " + "[" * 3000 + "]" * 3000, "mine.toml is nested hundreds"),
        ("name = " + "{a=" * 3000 + "1" + "}" * 3000, "mine.toml is nested hundreds"),
        (".".join("a" * 3000) + " = 1\n", "unknown key 'a'"),
        ("[network]\ndim." + ".".join("a" * 3000) + " = 1\n", "network.dim: should be a valid int"),
        ("[training]\nseed = " + "9" * 5000, "mine.toml holds a number of thousands of digits"),
        ("#" * 1_000_001, "mine.toml: 1,000,001 bytes; a recipe has at most 1,000,000"),
        ("name = 'a\0'", "mine.toml: cannot be read as TOML"),
        (b"\xff\xfe\0", "mine.toml: cannot be read as TOML"),
    ],
)
def test_files_that_no_recipe_is(tmp_path: Path, content: str | bytes, message: str):
    path = tmp_path / "mine.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(TrainingError, match=message):
        load_recipe(path)


@pytest.mark.parametrize("special", ["/dev/zero", "/dev/full", "nothing\0here"])
def test_only_files_are_read(special: str):
    with pytest.raises(TrainingError, match="unknown recipe"):
        load_recipe(special)


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
