"""What a search gives: its trials as a table and a figure, the best of them as a recipe."""

import dataclasses
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from paratope.models.recipes import Recipe
from paratope.training.search.space import Domain, Range

DONE, PRUNED, FAILED = "done", "pruned", "failed"


@dataclasses.dataclass(frozen=True, slots=True)
class Trial:
    """One set of values, and how well it did.

    Attributes
    ----------
    number : int
        From 1; the first has the recipe's own values.
    state : str
        ``"done"``, ``"pruned"`` (given up, as half of the trials did better up to there) or
        ``"failed"``.
    values : dict
        By key of the recipe.
    objective : float or None
        Mean over the folds of the validation Spearman of each fold's best epoch; of a pruned trial
        as far as it came, None of a failed one.
    folds : tuple of float
        Each finished fold's part of it.
    reported : dict of int to float
        The objective as far as known after each epoch, counted through all folds.
    epochs : int
        Trained, in all folds.
    seconds : float
    note : str
        What is to be said of it.
    """

    number: int
    state: str
    values: dict[str, Any]
    objective: float | None
    folds: tuple[float, ...]
    reported: dict[int, float]
    epochs: int
    seconds: float
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values; `from_dict` takes them."""
        content = dataclasses.asdict(self)
        content["reported"] = {str(step): value for step, value in self.reported.items()}
        return {**content, "folds": list(self.folds)}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Trial":
        """A trial of plain values."""
        reported = {int(step): float(value) for step, value in content["reported"].items()}
        return cls(**{**content, "folds": tuple(content["folds"]), "reported": reported})


@dataclasses.dataclass(frozen=True, slots=True)
class SearchResult:
    """A finished search.

    Attributes
    ----------
    recipe : Recipe
        With the best trial's values.
    best : Trial
    trials : tuple of Trial
    split : str
        How the training rows were divided.
    """

    recipe: Recipe
    best: Trial
    trials: tuple[Trial, ...]
    split: str


def best_of(trials: Sequence[Trial]) -> Trial | None:
    """The finished trial with the highest objective, the earliest of equals."""
    done = [trial for trial in trials if trial.state == DONE and trial.objective is not None]
    return max(done, key=lambda trial: (trial.objective, -trial.number), default=None)


def trials_table(trials: Sequence[Trial]) -> pl.DataFrame:
    """One row per trial: state, objective, every searched key, cost, note."""
    best = best_of(trials)
    keys = list(dict.fromkeys(key for trial in trials for key in trial.values))
    columns: dict[str, list[Any]] = {
        "trial": [trial.number for trial in trials],
        "state": [trial.state for trial in trials],
        "best": [trial is best for trial in trials],
        "spearman": [trial.objective for trial in trials],
        **{key: [trial.values.get(key) for trial in trials] for key in keys},
        "epochs": [trial.epochs for trial in trials],
        "seconds": [round(trial.seconds, 3) for trial in trials],
        "note": [trial.note for trial in trials],
    }
    return pl.DataFrame(columns)


def trials_figure(trials: Sequence[Trial], space: Mapping[str, Domain]) -> bytes:
    """The objective by trial with the best so far, and against every searched key, as a PNG."""
    from matplotlib.figure import Figure

    columns = min(3, len(space) + 1)
    rows = math.ceil((len(space) + 1) / columns)
    figure = Figure(figsize=(4 * columns, 3.2 * rows), layout="constrained")
    figure.suptitle("Search: validation Spearman, mean over folds")
    panels = figure.subplots(rows, columns, squeeze=False).flat
    shown = [trial for trial in trials if trial.objective is not None]
    values = [trial.objective or 0.0 for trial in shown]
    first = next(panels)
    _points(first, [trial.number for trial in shown], values, shown)
    done = [(trial.number, trial.objective or 0.0) for trial in shown if trial.state == DONE]
    if done:
        numbers, reached = zip(*done, strict=True)
        first.step(numbers, np.maximum.accumulate(reached), where="post", color="tab:orange")
    first.set(xlabel="trial (line: best so far)", ylabel="Spearman")
    for key, domain in space.items():
        axes = next(panels)
        _points(axes, [trial.values[key] for trial in shown], values, shown)
        if isinstance(domain, Range) and domain.log:
            axes.set_xscale("log")
        axes.set(xlabel=key)
    for axes in panels:
        axes.set_axis_off()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()


def _points(axes: Any, places: list[Any], values: list[float], trials: Sequence[Trial]) -> None:
    """Finished trials as full dots, pruned ones as rings."""
    for state, filled in ((DONE, "tab:blue"), (PRUNED, "none")):
        own = [number for number, trial in enumerate(trials) if trial.state == state]
        axes.scatter(
            [places[number] for number in own],
            [values[number] for number in own],
            facecolors=filled,
            edgecolors="tab:blue",
            s=24,
        )
    axes.grid(alpha=0.3)
