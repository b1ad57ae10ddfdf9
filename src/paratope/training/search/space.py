"""What a search may change in a recipe, and how far: a range or a choice for every key."""

import dataclasses
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

from paratope.core.errors import TrainingError
from paratope.models.recipes import Recipe


@dataclasses.dataclass(frozen=True, slots=True)
class Range:
    """Numbers from `low` to `high`, both included.

    Attributes
    ----------
    low, high : float
    log : bool
        Equal factors are equally likely, not equal differences.
    """

    low: float
    high: float
    log: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Choice:
    """One of some whole numbers, in rising order."""

    values: tuple[int, ...]


Domain = Range | Choice


class Searched(NamedTuple):
    """An entry of `SPACE`.

    Attributes
    ----------
    what : str
        What is tried, in words.
    domains : callable
        Domain of each key, for a recipe.
    """

    what: str
    domains: Callable[[Recipe], dict[str, Domain]]


def _learning_rate(recipe: Recipe) -> dict[str, Domain]:
    rate = recipe.training.learning_rate
    return {"training.learning_rate": Range(rate / 10, rate * 10, log=True)}


def _dropout(recipe: Recipe) -> dict[str, Domain]:
    return {"network.dropout": Range(0.0, max(0.5, recipe.network.dropout))}


def _width(recipe: Recipe) -> dict[str, Domain]:
    network = recipe.network
    widths = sorted({network.dim // 2, network.dim, 2 * network.dim})
    return {
        "network.dim": Choice(
            tuple(one for one in widths if one >= 2 and one % (2 * network.heads) == 0)
        )
    }


def _layers(recipe: Recipe) -> dict[str, Domain]:
    network = recipe.network
    if not network.use_cross_attention:
        return {}
    return {"network.layers": Choice(tuple(range(1, max(2, network.layers + 1) + 1)))}


def _batch_size(recipe: Recipe) -> dict[str, Domain]:
    size = recipe.training.batch_size
    return {"training.batch_size": Choice(tuple(sorted({max(1, size // 2), size, 2 * size})))}


def _loss_weights(recipe: Recipe) -> dict[str, Domain]:
    weights = recipe.loss_weights()
    heaviest = max(weights, key=lambda name: weights[name])  # only proportions matter
    return {
        f"loss.{name}": Range(weight / 10, weight * 10, log=True)
        for name, weight in weights.items()
        if name != heaviest
    }


SPACE: dict[str, Searched] = {
    "training.learning_rate": Searched("a tenth to ten times the recipe's", _learning_rate),
    "network.dropout": Searched("0 to 0.5", _dropout),
    "network.dim": Searched("half the recipe's width, the same, twice as wide", _width),
    "network.layers": Searched(
        "1 to one more than the recipe has, at least to 2; not without cross-attention", _layers
    ),
    "training.batch_size": Searched("half the recipe's, the same, twice as many", _batch_size),
    "loss.<name>": Searched(
        "weights of the losses in use, a tenth to ten times the recipe's; the heaviest stays",
        _loss_weights,
    ),
}


def search_space(recipe: Recipe, pins: Collection[str] = ()) -> dict[str, Domain]:
    """What a search around a recipe may change.

    Parameters
    ----------
    recipe : Recipe
    pins : collection of str
        Keys that stay as they are.

    Returns
    -------
    dict of str to Range or Choice
        By key; only those that leave something to choose.

    Raises
    ------
    TrainingError
        If nothing is left.

    Examples
    --------
    >>> from paratope.models.recipes import load_recipe
    >>> space = search_space(load_recipe("v2.7"), pins=["network.dim", "network.layers"])
    >>> list(space)
    ['training.learning_rate', 'network.dropout', 'training.batch_size', 'loss.strong_binder_bce']
    >>> space["training.batch_size"]
    Choice(values=(8, 16, 32))
    """
    space = {
        key: domain
        for entry in SPACE.values()
        for key, domain in entry.domains(recipe).items()
        if key not in pins and not (isinstance(domain, Choice) and len(domain.values) < 2)
    }
    if not space:
        raise TrainingError(
            f"there is nothing to search: all of {', '.join(SPACE)} are set; leave out a --set"
        )
    return space


def own_values(recipe: Recipe, space: Mapping[str, Domain]) -> dict[str, Any]:
    """The recipe's own values of the keys of a space."""
    return {key: _of(recipe.model_dump(), key) for key in space}


def with_values(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """The recipe with other values, by key.

    >>> from paratope.models.recipes import load_recipe
    >>> with_values(load_recipe("v2.7"), {"network.dropout": 0.4}).network.dropout
    0.4
    """
    settings = recipe.model_dump()
    for key, value in values.items():
        section, _, name = key.partition(".")
        settings[section][name] = value
    return Recipe.model_validate(settings)


def _of(settings: dict[str, Any], key: str) -> Any:
    section, _, name = key.partition(".")
    return settings[section][name]
