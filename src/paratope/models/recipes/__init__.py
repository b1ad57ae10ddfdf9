"""Recipes: every setting of a training run, as TOML with sections.

A recipe is one of `RECIPES` by name, or any TOML file with the same keys, such as the `run.toml` a
run leaves behind. Keys that are left out take the values of the settings' defaults below.
"""

import tomllib
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Self

import pydantic
import tomli_w
from pydantic import BaseModel, ConfigDict, Field

from paratope.core.errors import TrainingError, unknown_name

RECIPES = ("default", "v2.5", "v2.6", "v2.7")


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class EncoderSettings(_Section):
    """Which encoders read the two sides, and how many residues of a side they may see (0: all)."""

    antibody: str = "antiberty"
    antigen: str = "residue"
    max_residues: int = Field(default=0, ge=0)

    @property
    def by_side(self) -> dict[str, str]:
        """Antibody's and antigen's encoder."""
        return {"antibody": self.antibody, "antigen": self.antigen}


class NetworkSettings(_Section):
    """Sizes of the network; see `paratope.models.network.NetworkConfig`."""

    dim: int = Field(default=64, ge=2)
    heads: int = Field(default=4, ge=1)
    layers: int = Field(default=1, ge=0)
    tower_layers: int = Field(default=2, ge=0)
    kernel: int = Field(default=7, ge=1)
    feed_forward: int = Field(default=2, ge=1)
    regressor: tuple[int, ...] = (128,)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    use_cross_attention: bool = True
    output: Literal["bounded", "free"] = "bounded"


class TrainingSettings(_Section):
    """How long, how fast and in what portions to train.

    `patience` epochs without the monitored value getting better by `min_delta` end the run; 0 never
    does. `balance` draws rows so that groups of m rows come up in proportion to m **
    `balance_power`. `checkpoint_steps` is the number of optimiser steps between checkpoints inside
    an epoch; 0: at its end only.
    """

    max_epochs: int = Field(default=30, ge=1)
    batch_size: int = Field(default=32, ge=1)
    accumulate: int = Field(default=1, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    gradient_clip: float = Field(default=1.0, ge=0)
    patience: int = Field(default=10, ge=0)
    min_delta: float = Field(default=0.0, ge=0)
    monitor: Literal["spearman", "rmse", "loss"] = "loss"
    balance: Literal["none", "assay", "antigen"] = "none"
    balance_power: float = Field(default=0.5, ge=0, le=1)
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    seed: int = Field(default=0, ge=0)
    checkpoint_steps: int = Field(default=0, ge=0)
    stop_on_collapse: bool = False


class LossSettings(_Section):
    """Weight of each loss (0: not used), and the losses' own constants."""

    huber: float = Field(default=0.0, ge=0)
    mse: float = Field(default=0.0, ge=0)
    focal_regression: float = Field(default=0.0, ge=0)
    gaussian_nll: float = Field(default=0.0, ge=0)
    soft_spearman: float = Field(default=0.0, ge=0)
    pairwise_rank: float = Field(default=0.0, ge=0)
    strong_binder_bce: float = Field(default=0.0, ge=0)
    huber_delta: float = Field(default=1.0, gt=0)
    focal_gamma: float = Field(default=2.0, ge=0)
    spearman_temperature: float = Field(default=1.0, gt=0)
    rank_margin: float = Field(default=0.3, ge=0)


class ScheduleSettings(_Section):
    """What drives the learning rate; exactly one thing does.

    ``warmup_cosine``: linear over `warmup_epochs`, then half a cosine down to `min_learning_rate`.
    ``plateau``: times `factor` after `patience` epochs without a better validation Spearman.
    """

    name: Literal["warmup_cosine", "plateau", "constant"] = "constant"
    warmup_epochs: float = Field(default=0.0, ge=0)
    min_learning_rate: float = Field(default=0.0, ge=0)
    factor: float = Field(default=0.6, gt=0, lt=1)
    patience: int = Field(default=10, ge=0)


Reaction = Literal["off", "warn", "stop"]


class MonitorSettings(_Section):
    """What each monitor of a run does about what it finds; see `paratope.training.monitors`.

    ``"warn"`` says it and writes it into the history, ``"stop"`` also ends the run, ``"off"`` does
    not look. Numbers that are not finite always end a run. ``training.stop_on_collapse = true`` is
    another way to write ``monitors.collapse = "stop"``.
    """

    collapse: Reaction = "warn"
    overfitting: Reaction = "warn"
    recall: Reaction = "warn"
    range: Reaction = "warn"
    gradients: Reaction = "warn"


class LoraSettings(_Section):
    """Training of the encoders themselves by low-rank changes; see `paratope.models.fine_tuning`.

    `rank` 0 leaves them as they are. `alpha` / `rank` is the changes' scale; `targets` are the
    projections that are changed (none named: query and value); `side` says whose.
    """

    rank: int = Field(default=0, ge=0)
    alpha: int = Field(default=16, ge=1)
    targets: tuple[str, ...] = ()
    side: Literal["antibody", "antigen", "both"] = "both"


class DataSettings(_Section):
    """What the run was trained on: a table, its columns' names, a split by kind or by file."""

    table: str = ""
    columns: str = ""
    split: str = ""


class Recipe(_Section):
    """Every setting of a training run.

    >>> recipe = load_recipe("v2.6", ["training.learning_rate=1e-4"])
    >>> recipe.encoders.antibody, recipe.training.learning_rate
    ('igt5', 0.0001)
    """

    name: str = "custom"
    summary: str = ""
    encoders: EncoderSettings = EncoderSettings()
    network: NetworkSettings = NetworkSettings()
    training: TrainingSettings = TrainingSettings()
    loss: LossSettings = LossSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    monitors: MonitorSettings = MonitorSettings()
    lora: LoraSettings = LoraSettings()
    data: DataSettings = DataSettings()

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

    `changes` are ``"section.key=value"`` each, the value as in TOML; text needs no quotes. Raises
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
        try:
            settings = tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise TrainingError(f"{path}: cannot be read as TOML: {error}") from None
    for change in changes:
        _set(settings, change)
    name = str(settings.get("name", source))
    try:
        return Recipe.model_validate(settings)
    except pydantic.ValidationError as error:
        problems = []
        for problem in error.errors():
            keys = tuple(str(part) for part in problem["loc"])
            if problem["type"] == "extra_forbidden":
                problems.append(_unknown_key(keys))
            elif keys:
                problems.append(f"{'.'.join(keys)}: {problem['msg']}, got {problem['input']!r}")
            else:
                problems.append(problem["msg"].removeprefix("Value error, "))
        raise TrainingError(f"recipe {name}: {'; '.join(problems)}") from None


def recipe_toml(recipe: Recipe) -> str:
    """The recipe with every key, as TOML that `load_recipe` reads back to an equal recipe."""
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
        value = tomllib.loads(f"value = {text.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    section: dict[str, Any] = settings
    for part in parts[:-1]:
        section = section.setdefault(part, {})
        if not isinstance(section, dict):
            raise TrainingError(f"{part} must be a section with keys, got {part} = {section!r}")
    section[parts[-1]] = value


def _unknown_key(parts: tuple[str, ...]) -> str:
    section, key = ".".join(parts[:-1]), ".".join(parts)
    inside = sorted(name for name in valid_keys() if name.startswith(f"{section}."))
    if section and inside:
        names = ", ".join(name.removeprefix(f"{section}.") for name in inside)
        return f"unknown key {key!r}; valid keys of [{section}]: {names}"
    return f"unknown key {key!r}; valid keys: {', '.join(sorted(valid_keys()))}"
