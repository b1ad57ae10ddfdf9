"""What learns: network, optimiser, loss and learning rate; and how one step is made."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from paratope.core.interruption import Resumable
from paratope.models.batches import PairBatch
from paratope.models.losses import Objective
from paratope.models.network import Network, NetworkOutput
from paratope.models.recipes import Recipe, ScheduleSettings
from paratope.training.checkpoints import weights_of
from paratope.training.monitors import Monitors, check_finite_output


class Schedule(Resumable):
    """Learning rate of each optimiser step. One schedule drives it, and nothing else does.

    ``warmup_cosine`` rises linearly over w steps, then falls from r to r_min over the other n as
    r_min + (r - r_min) (1 + cos(π t / n)) / 2 (Loshchilov & Hutter 2017, "SGDR: stochastic gradient
    descent with warm restarts", without restarts).

    >>> settings = ScheduleSettings(name="warmup_cosine", warmup_epochs=2)
    >>> schedule = Schedule(settings, base_rate=1.0, steps_per_epoch=2, max_epochs=4)
    >>> [round(schedule.rate(step), 2) for step in range(8)]
    [0.25, 0.5, 0.75, 1.0, 0.85, 0.5, 0.15, 0.0]
    """

    kept = ("plateau_rate", "best", "waited")

    def __init__(
        self, settings: ScheduleSettings, base_rate: float, steps_per_epoch: int, max_epochs: int
    ) -> None:
        self.settings, self.base_rate = settings, base_rate
        self.lowest = min(settings.min_learning_rate, base_rate)
        self.steps = steps_per_epoch * max_epochs
        self.warmup_steps = min(round(settings.warmup_epochs * steps_per_epoch), self.steps)
        self.plateau_rate = base_rate
        self.best = -math.inf
        self.waited = 0

    def rate(self, step: int) -> float:
        """Learning rate of optimiser step `step`, counted from 0."""
        if self.settings.name == "plateau":
            return self.plateau_rate
        if step < self.warmup_steps:
            return self.base_rate * (step + 1) / self.warmup_steps
        if self.settings.name == "constant":
            return self.base_rate
        part = (step + 1 - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        cosine = math.cos(math.pi * min(1.0, part))
        return self.lowest + (self.base_rate - self.lowest) * 0.5 * (1 + cosine)

    def after_epoch(self, spearman: float) -> None:
        """Tell the schedule the epoch's validation Spearman; only a plateau schedule listens."""
        if self.settings.name != "plateau":
            return
        if spearman > self.best:
            self.best, self.waited = spearman, 0
            return
        self.waited += 1
        if self.waited > self.settings.patience:
            self.plateau_rate = max(self.lowest, self.plateau_rate * self.settings.factor)
            self.waited = 0


class Learner:
    """A network, which is moved to the device, and everything that changes it."""

    def __init__(
        self, network: Network, recipe: Recipe, steps_per_epoch: int, device: torch.device
    ) -> None:
        settings = recipe.training
        self.network, self.device = network.to(device), device
        self.optimizer = torch.optim.AdamW(
            network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.objective = Objective(recipe.loss_weights(), recipe.loss_constants())
        self.schedule = Schedule(
            recipe.schedule, settings.learning_rate, steps_per_epoch, settings.max_epochs
        )
        self.gradient_clip = settings.gradient_clip
        self.mixed_precision = settings.precision == "bf16-mixed"

    @property
    def rate(self) -> float:
        """Learning rate of the last step."""
        return float(self.optimizer.param_groups[0]["lr"])

    def predict(self, batch: PairBatch) -> NetworkOutput:
        """The network's output for a batch, in the recipe's precision."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.mixed_precision):
            return self.network(batch)

    def step(
        self,
        index: int,
        batches: Iterable[PairBatch],
        labels: Sequence[PairBatch],
        places: Sequence[str],
        monitors: Monitors,
        before_batch: Callable[[int], None],
    ) -> dict[str, float]:
        """Optimiser step `index` (from 0) over some batches; its loss, parts and unused rows.

        `labels` are the same batches without molecules, `places` their names for error messages;
        `before_batch` is called with the position of each and may raise. Raises `TrainingError`,
        without a step made, if an output, a loss or a gradient is not finite.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.rate(index)
        self.optimizer.zero_grad()
        sums: dict[str, float] = {"loss": 0.0}
        shares = self.objective.shares(labels)
        for position, (batch, share) in enumerate(zip(batches, shares, strict=True)):
            before_batch(position)
            output = self.predict(batch)
            total, values, dropped = self.objective(output, batch, share)
            check_finite_output(output, values, batch, places[position])
            total.backward()
            sums["loss"] += float(total.detach())
            for name, value in values.items():
                sums[f"loss_{name}"] = sums.get(f"loss_{name}", 0.0) + value * share[name]
                sums[f"dropped_{name}"] = sums.get(f"dropped_{name}", 0.0) + dropped[name]
        rows = np.concatenate([batch.row.cpu().numpy() for batch in labels])
        monitors.gradients.add(self.network, f"{places[0]} on", rows)
        if self.gradient_clip:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.gradient_clip)
        self.optimizer.step()
        return sums

    def state_dict(self) -> dict[str, Any]:
        """Weights, optimiser and schedule, under the names of the release's checkpoints."""
        return {
            "model_state_dict": weights_of(self.network),
            "optimizer_state_dict": self.optimizer.state_dict(),
            "scheduler_state_dict": self.schedule.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from another's state."""
        self.network.load_state_dict(state["model_state_dict"])
        self.optimizer.load_state_dict(state["optimizer_state_dict"])
        self.schedule.load_state_dict(state["scheduler_state_dict"])
