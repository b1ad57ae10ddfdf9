"""What learns: network, optimiser, loss and learning rate; and how one step is made."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric

from paratope.models.batches import PairBatch, Window
from paratope.models.losses import Objective
from paratope.models.network import Network
from paratope.models.recipes import Recipe
from paratope.training.checkpoints import weights_of
from paratope.training.gradients import check_finite_output
from paratope.training.monitors import Monitors
from paratope.training.schedules import Schedule


class Learner:
    """A network and everything that changes it.

    Parameters
    ----------
    network : Network
        It is changed.
    recipe : Recipe
    steps_per_epoch : int
    fabric : Fabric
        Device and precision.
    """

    def __init__(
        self, network: Network, recipe: Recipe, steps_per_epoch: int, fabric: Fabric
    ) -> None:
        settings = recipe.training
        optimizer = torch.optim.AdamW(
            network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.fabric = fabric
        self.network, self.optimizer = fabric.setup(network, optimizer)
        self.objective = Objective(recipe.loss_weights(), recipe.loss_constants())
        self.schedule = Schedule(
            recipe.schedule, settings.learning_rate, steps_per_epoch, settings.max_epochs
        )
        self.gradient_clip = settings.gradient_clip

    @property
    def rate(self) -> float:
        """Learning rate of the last step."""
        return float(self.optimizer.param_groups[0]["lr"])

    def step(
        self,
        number: int,
        batches: Sequence[PairBatch],
        places: Sequence[str],
        monitors: Monitors,
        before_batch: Callable[[int], None],
    ) -> dict[str, float]:
        """One optimiser step over accumulated batches.

        Parameters
        ----------
        number : int
            Steps made before.
        batches : sequence of PairBatch
        places : sequence of str
            What each batch is called, if something is wrong with it.
        monitors : Monitors
            Shown the gradients.
        before_batch : callable
            Called with the position of each batch, from 0; may raise, and no step is made then.

        Returns
        -------
        dict of str to float
            The step's loss, every part of it, and rows that a part could not use.

        Raises
        ------
        TrainingError
            If an output, a loss or a gradient is not finite; no step is made.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.rate(number)
        self.optimizer.zero_grad()
        sums: dict[str, float] = {"loss": 0.0}
        labels = batches.labels() if isinstance(batches, Window) else batches
        for position, (batch, share) in enumerate(
            zip(batches, self.objective.shares(labels), strict=True)
        ):
            before_batch(position)
            output = self.network(batch)
            total, values, dropped = self.objective(output, batch, share)
            check_finite_output(output, values, batch, places[position])
            self.fabric.backward(total)
            sums["loss"] += float(total.detach())
            for name, value in values.items():
                sums[f"loss_{name}"] = sums.get(f"loss_{name}", 0.0) + value * share[name]
                sums[f"dropped_{name}"] = sums.get(f"dropped_{name}", 0.0) + dropped[name]
        rows = np.concatenate([batch.row.cpu().numpy() for batch in labels])
        monitors.after_backward(self.network, f"{places[0]} on", rows)
        if self.gradient_clip:
            self.fabric.clip_gradients(self.network, self.optimizer, max_norm=self.gradient_clip)
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
