"""How far a run has come: its history, its best weights, the sums of the epoch under way."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from paratope.models.network import NetworkConfig
from paratope.models.recipes import Recipe
from paratope.training.results import FitResult, Record


@dataclasses.dataclass(slots=True)
class Progress:
    """State of a run beside its weights, optimiser, schedule and random numbers.

    Attributes
    ----------
    step : int
        Optimiser steps done.
    sums : dict
        Sums over the steps of the epoch under way.
    seconds : float
        That epoch has taken so far, in whichever processes.
    history : list of dict
        Records of the epochs done.
    best_epoch : int
        0 before the first.
    best_value : float
        Monitored value of the best epoch, higher = better.
    best_spearman : float
    best_state : dict of str to Tensor
        Weights of the best epoch.
    stopped : str
        Why the run has ended; empty while it has not.
    """

    step: int = 0
    sums: dict[str, float] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0
    history: list[Record] = dataclasses.field(default_factory=list)
    best_epoch: int = 0
    best_value: float = -math.inf
    best_spearman: float = math.nan
    best_state: dict[str, Tensor] = dataclasses.field(default_factory=dict)
    stopped: str = ""

    def add(self, values: Mapping[str, float]) -> None:
        """Add to the epoch's sums."""
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def take_sums(self) -> Record:
        """Means per step of what was summed up (counts stay sums), and begin anew."""
        steps = self.sums.pop("steps")
        means = {
            f"train_{name}": int(value) if name.startswith("dropped_") else value / steps
            for name, value in sorted(self.sums.items())
        }
        self.sums = {}
        return means

    def take_seconds(self) -> float:
        """How long the epoch took, and begin anew."""
        seconds, self.seconds = round(self.seconds, 3), 0.0
        return seconds

    def highest_spearman(self) -> float:
        """Of all epochs; NaN if there is none."""
        spearmans = [record["validation_spearman"] for record in self.history]
        return max((value for value in spearmans if not math.isnan(value)), default=math.nan)

    def result(self, config: NetworkConfig, recipe: Recipe) -> FitResult:
        """What a run that has ended gives."""
        return FitResult(
            config=config,
            recipe=recipe,
            state=self.best_state,
            history=tuple(self.history),
            best_epoch=self.best_epoch,
            best_spearman=self.best_spearman,
            stopped=self.stopped,
        )

    def is_best(self, epoch: int, value: float, spearman: float) -> bool:
        """Take in an epoch's monitored value; True if its weights are the best so far.

        Without a number to go by, the latest weights are the best known.
        """
        unknown = math.isnan(value) and self.best_value == -math.inf
        if not unknown and not value > self.best_value:
            return False
        self.best_epoch, self.best_spearman = epoch, spearman
        self.best_value = -math.inf if unknown else value
        return True

    def state_dict(self) -> dict[str, Any]:
        """Every attribute by name."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from another's state; without best weights in it, keep these, the untrained."""
        for field in dataclasses.fields(self):
            setattr(self, field.name, state.get(field.name, getattr(self, field.name)))
