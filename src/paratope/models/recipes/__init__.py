"""Recipes: every setting of a training run, as TOML with sections.

A recipe is one of `RECIPES` by name, or any TOML file with the same keys, such as the `run.toml` a
run leaves behind. Keys that are left out take the values of the settings' defaults below.
"""

import os
import tomllib
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import pydantic
import tomli_w
from pydantic import BaseModel, ConfigDict, Field

from paratope.core.errors import TrainingError, unknown_name
from paratope.core.validation import Line, validated, within

RECIPES = ("default", "v2.5", "v2.6", "v2.7")
# Of a recipe's file, in bytes.
_MAX_BYTES = 1_000_000
# Of one network: 4 GB of numbers, and four times as much in training.
_MAX_WEIGHTS = 1_000_000_000

_Epochs = Annotated[int, within(0, 100_000)]
_Width = Annotated[int, within(1, 65_536)]
_Weight = Annotated[float, within(0, 1e6)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class EncoderSettings(_Section):
    """Which encoders read the two sides, and how many residues of a side they may see (0: all)."""

    antibody: Line = "antiberty"
    antigen: Line = "residue"
    max_residues: Annotated[int, within(0, 100_000)] = 0

    @property
    def by_side(self) -> dict[str, str]:
        """Antibody's and antigen's encoder."""
        return {"antibody": self.antibody, "antigen": self.antigen}


class NetworkSettings(_Section):
    """Sizes of the network."""

    dim: Annotated[int, within(2, 8192)] = 64  # Width of the latent of a residue
    heads: Annotated[int, within(1, 256)] = 4  # Attention heads; divides `dim`
    layers: Annotated[int, within(0, 64)] = 1  # Interaction layers; 0 without cross-attention
    tower_layers: Annotated[int, within(0, 64)] = 2  # Convolution blocks in each tower
    kernel: Annotated[int, within(1, 999)] = 7  # Residues a convolution sees; odd
    feed_forward: Annotated[int, within(1, 64)] = 2  # Its hidden width, in multiples of `dim`
    # Hidden widths of the regressor
    regressor: Annotated[tuple[_Width, ...], Field(max_length=16)] = (128,)
    dropout: Annotated[float, within(0, 0.99)] = 0.1
    # False: both sides are averaged over their residues and meet only in the regressor
    use_cross_attention: bool = True
    output: Literal["bounded", "free"] = "bounded"  # "bounded": smooth on [4, 14]; or any number

    @property
    def weights(self) -> int:
        """Those of one network's matrices, but for what reads the embeddings."""
        dim, widths = self.dim, (3 * self.dim, *self.regressor)
        layers = self.layers * self.use_cross_attention
        towers = 2 * self.tower_layers * dim * (dim + self.kernel)
        regressor = sum(a * b for a, b in zip(widths, self.regressor, strict=False))
        return towers + layers * dim * dim * (8 + 4 * self.feed_forward) + regressor

    @pydantic.model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.dim % self.heads or self.dim % 2:
            raise ValueError(
                f"dim must be even and a multiple of heads, got {self.dim} and {self.heads}"
            )
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, got {self.kernel}")
        if self.weights > _MAX_WEIGHTS:
            raise ValueError(
                f"these sizes make a network of {self.weights:,} weights; expected at most "
                f"{_MAX_WEIGHTS:,}: make dim, layers or regressor smaller"
            )
        return self


class NetworkConfig(NetworkSettings):
    """Sizes of a network: a recipe's, with those of what it reads."""

    # antibody_dim, antigen_dim: Width of the encoders' embeddings
    antibody_dim: Annotated[int, within(1, 65_536)]
    antigen_dim: Annotated[int, within(1, 65_536)]

    @property
    def weights(self) -> int:
        """Those of one network's matrices: fewer than it has, by its biases."""
        return super().weights + self.dim * (self.antibody_dim + self.antigen_dim)


class TrainingSettings(_Section):
    """How long, how fast and in what portions to train.

    `patience` epochs without the monitored value getting better by `min_delta` end the run (0:
    never); `balance` as `paratope.models.batches.BatchPlan`; `checkpoint_steps` optimiser steps lie
    between checkpoints inside an epoch (0: at its end only).
    """

    max_epochs: Annotated[int, within(1, 100_000)] = 30
    batch_size: Annotated[int, within(1, 65_536)] = 32
    accumulate: Annotated[int, within(1, 65_536)] = 1
    learning_rate: Annotated[float, within(1e-12, 100)] = 1e-3
    weight_decay: Annotated[float, within(0, 100)] = 0.01
    gradient_clip: Annotated[float, within(0, 1e6)] = 1.0
    patience: _Epochs = 10
    min_delta: Annotated[float, within(0, 100)] = 0.0
    monitor: Literal["spearman", "rmse", "loss"] = "loss"
    balance: Literal["none", "assay", "antigen"] = "none"
    balance_power: Annotated[float, within(0, 1)] = 0.5
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    seed: Annotated[int, within(0, 2**32 - 1)] = 0
    checkpoint_steps: Annotated[int, within(0, 10**9)] = 0
    stop_on_collapse: bool = False


class LossSettings(_Section):
    """Weight of each loss (0: not used), and the losses' own constants."""

    huber: _Weight = 0.0
    mse: _Weight = 0.0
    focal_regression: _Weight = 0.0
    gaussian_nll: _Weight = 0.0
    soft_spearman: _Weight = 0.0
    pairwise_rank: _Weight = 0.0
    strong_binder_bce: _Weight = 0.0
    huber_delta: Annotated[float, within(1e-6, 1e3)] = 1.0
    focal_gamma: Annotated[float, within(0, 100)] = 2.0
    spearman_temperature: Annotated[float, within(1e-6, 1e3)] = 1.0
    rank_margin: Annotated[float, within(0, 100)] = 0.3


class ScheduleSettings(_Section):
    """What drives the learning rate; exactly one thing does.

    ``warmup_cosine``: linear over `warmup_epochs`, then half a cosine down to `min_learning_rate`.
    ``plateau``: times `factor` after `patience` epochs without a better validation Spearman.
    """

    name: Literal["warmup_cosine", "plateau", "constant"] = "constant"
    warmup_epochs: Annotated[float, within(0, 100_000)] = 0.0
    min_learning_rate: Annotated[float, within(0, 100)] = 0.0
    factor: Annotated[float, within(1e-3, 0.999)] = 0.6
    patience: _Epochs = 10


Reaction = Literal["off", "warn", "stop"]


class MonitorSettings(_Section):
    """What each monitor of a run (`paratope.training.monitors`) does about what it finds.

    ``"warn"`` says and records it, ``"stop"`` also ends the run, ``"off"`` does not look. Numbers
    that are not finite always end it; ``training.stop_on_collapse`` is ``monitors.collapse =
    "stop"``.
    """

    collapse: Reaction = "warn"
    overfitting: Reaction = "warn"
    recall: Reaction = "warn"
    range: Reaction = "warn"
    gradients: Reaction = "warn"


class LoraSettings(_Section):
    """Training of the encoders themselves; see `paratope.models.fine_tuning`.

    `rank` 0 leaves them as they are; `alpha` / `rank` is the changes' scale; `targets` names other
    projections than query and value; `side` says whose.
    """

    rank: Annotated[int, within(0, 1024)] = 0
    alpha: Annotated[int, within(1, 65_536)] = 16
    targets: Annotated[tuple[Line, ...], Field(max_length=100)] = ()
    side: Literal["antibody", "antigen", "both"] = "both"


class DataSettings(_Section):
    """What the run was trained on: a table, its columns' names, a split by kind or by file.

    `split_seed` is apart from ``training.seed``: runs that differ in the latter are trained and
    judged on the same rows. Relative paths in a file are from the file's folder; see `load_recipe`.
    """

    table: Line = ""
    columns: Line = ""
    split: Line = ""
    split_seed: Annotated[int, within(0, 2**32 - 1)] = 0


class Recipe(_Section):
    """Every setting of a training run.

    >>> recipe = load_recipe("v2.6", ["training.learning_rate=1e-4"])
    >>> recipe.encoders.antibody, recipe.training.learning_rate
    ('igt5', 0.0001)
    """

    name: Line = "custom"
    summary: Line = ""
    encoders: EncoderSettings = EncoderSettings()
    network: NetworkSettings = NetworkSettings()
    training: TrainingSettings = TrainingSettings()
    loss: LossSettings = LossSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    monitors: MonitorSettings = MonitorSettings()
    lora: LoraSettings = LoraSettings()
    data: DataSettings = DataSettings()

    @pydantic.field_validator("name")
    @classmethod
    def _names_files(cls, name: str) -> str:
        if len(name.encode()) > 200 or set(name) & set("/\\"):
            raise ValueError("should be at most 200 bytes without / and \\, for it names files")
        return name

    @pydantic.model_validator(mode="after")
    def _has_a_loss(self) -> Self:
        if not self.loss_weights():
            raise ValueError("no loss has a weight above 0; set one, such as loss.huber = 1.0")
        return self

    def loss_weights(self) -> dict[str, float]:
        """Weights of the losses that are used, by name."""
        losses = self.loss.model_dump().items()
        return {name: w for name, w in losses if name not in LOSS_CONSTANTS and w > 0}

    def loss_constants(self) -> dict[str, dict[str, float]]:
        """Keyword arguments of the losses that take any, by name."""
        return {
            name: {argument: getattr(self.loss, key)}
            for key, (name, argument) in LOSS_CONSTANTS.items()
        }


# key in [loss] -> the loss and its argument
LOSS_CONSTANTS = {
    "huber_delta": ("huber", "delta"),
    "focal_gamma": ("focal_regression", "gamma"),
    "spearman_temperature": ("soft_spearman", "temperature"),
    "rank_margin": ("pairwise_rank", "margin"),
}


def load_recipe(source: str | Path = "default", changes: Sequence[str] = ()) -> Recipe:
    """A recipe by name (in `RECIPES`) or from a TOML file, with some keys changed.

    `changes` are ``"section.key=value"`` each, the value as in TOML; text needs no quotes. Table
    and split file of a TOML file are looked for from its folder, then from the current one. Raises
    `TrainingError` if there is no such recipe, the file cannot be read, or a key or value is not
    valid.

    >>> load_recipe("default", ["loss.hubert=1"])
    Traceback (most recent call last):
    ...
    paratope.core.errors.TrainingError: unknown key 'loss.hubert'; valid keys of [loss]:
    focal_gamma, focal_regression, gaussian_nll, huber, huber_delta, mse, pairwise_rank,
    rank_margin,
    soft_spearman, spearman_temperature, strong_binder_bce
    """
    path = Path(source)
    if str(source) in RECIPES:
        text = resources.files(__name__).joinpath(f"{source}.toml").read_text(encoding="utf-8")
        settings = tomllib.loads(text)
    elif not path.is_file():
        raise TrainingError(
            f"{unknown_name('recipe', str(source), RECIPES)}; or the path of a TOML file"
        )
    else:
        if (size := path.stat().st_size) > _MAX_BYTES:
            raise TrainingError(f"{path}: {size:,} bytes; a recipe has at most {_MAX_BYTES:,}")
        try:
            settings = _toml(path.read_text(encoding="utf-8"), str(path))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise TrainingError(f"{path}: cannot be read as TOML: {error}") from None
        _from_folder(settings, path.parent)
    for change in changes:
        _set(settings, change)
    where = f"recipe {str(settings.get('name', source))[:100]!r}"
    return validated(Recipe, settings, where, TrainingError, _unknown_key)


def _from_folder(settings: dict[str, Any], folder: Path) -> None:
    """Data of a file in a folder: its paths from the current folder, and the split it was."""
    data, training = settings.get("data"), settings.get("training", {})
    if not isinstance(data, dict) or not isinstance(training, dict):
        return  # which is refused as any wrong value
    for key in ("table", "split"):
        value = data.get(key)
        if not (isinstance(value, str) and value.isprintable()) or value in ("", "-"):
            continue
        there = Path(os.path.realpath(folder), value)
        # a kind of split is no file, a table that is nowhere is missed in the file's folder
        if there.is_file() or (key == "table" and not Path(value).is_file()):
            data[key] = value if Path(value).is_absolute() else os.path.relpath(there)
    # a run once split by the seed of its training
    if data.get("table") and "seed" in training:
        data.setdefault("split_seed", training["seed"])


def in_folder(recipe: Recipe, folder: Path) -> Recipe:
    """The recipe with the relative paths of its data, from the current folder, from another one."""

    def moved(name: str) -> str:
        path = Path(name)
        if path.is_absolute() or not path.is_file():
            return name
        real = os.path.join(os.path.realpath(path.parent), path.name)
        return os.path.relpath(real, os.path.realpath(folder))

    data = recipe.data
    paths = {"table": moved(data.table), "split": moved(data.split)}
    return recipe.model_copy(update={"data": data.model_copy(update=paths)})


def recipe_toml(recipe: Recipe) -> str:
    """The recipe with every key, as TOML that `load_recipe` reads back to an equal recipe.

    But for relative paths, which it takes to be from the file's folder: see `in_folder`.
    """
    return tomli_w.dumps(recipe.model_dump(mode="json"))


def valid_keys() -> Iterator[str]:
    """Every key a recipe may hold, as ``section.key``."""
    for name, field in Recipe.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            yield from (f"{name}.{key}" for key in section.model_fields)
        else:
            yield name


def _set(settings: dict[str, Any], change: str) -> None:
    key, equals, text = change.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise TrainingError(
            f"cannot read the setting {change!r}; expected section.key=value, such as "
            "training.learning_rate=1e-4"
        )
    if key.strip() not in set(valid_keys()):
        raise TrainingError(_unknown_key(tuple(parts)))
    try:
        value = _toml(f"value = {text.strip()}", f"the value of {key.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    section: dict[str, Any] = settings
    for part in parts[:-1]:
        section = section.setdefault(part, {})
        if not isinstance(section, dict):
            raise TrainingError(f"{part} must be a section with keys, got {part} = {section!r}")
    section[parts[-1]] = value


def _toml(text: str, what: str) -> dict[str, Any]:
    """Parsed; raises `tomllib.TOMLDecodeError` for its form, `TrainingError` for its size."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except (ValueError, RecursionError) as error:
        fault = "holds a number of thousands of digits"
        if isinstance(error, RecursionError):
            fault = "is nested hundreds of levels deep"
        raise TrainingError(f"{what} {fault}; no setting needs that") from None


def _unknown_key(parts: tuple[str, ...]) -> str:
    section, key = ".".join(parts[:-1]), ".".join(parts)
    inside = sorted(name for name in valid_keys() if name.startswith(f"{section}."))
    if section and inside:
        names = ", ".join(name.removeprefix(f"{section}.") for name in inside)
        return f"unknown key {key!r}; valid keys of [{section}]: {names}"
    return f"unknown key {key!r}; valid keys: {', '.join(sorted(valid_keys()))}"
