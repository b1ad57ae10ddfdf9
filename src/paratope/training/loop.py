"""The training loop: steps over accumulated batches, epochs, checkpoints between steps."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from rich.console import Console
from rich.progress import track

from paratope.batches import BatchPlan, Embeddings, Examples, collate
from paratope.losses import Objective
from paratope.monitors import EarlyStopping, Monitors, check_finite_output
from paratope.network import Network
from paratope.recipes import Recipe
from paratope.training.checkpoints import (
    check_same_run,
    random_state,
    restore_random_state,
    save_checkpoint,
    weights_of,
)
from paratope.training.progress import Progress
from paratope.training.results import FitResult, Record
from paratope.training.schedules import Schedule
from paratope.training.validation import Validation

# monitored value -> 1 if higher is better, -1 if lower is
_DIRECTION = {"spearman": 1.0, "rmse": -1.0, "loss": -1.0}


class TrainingLoop:
    """One run of a recipe: everything that changes while it goes, and how it goes on.

    Parameters
    ----------
    network : Network
        Untrained; it is changed.
    train : Examples
    validation : Examples or None
    recipe : Recipe
    stores : tuple of Embeddings
        Of antibodies and of antigens.
    folder : Path or None
        Where checkpoints go.
    fabric : Fabric
        Device and precision.
    """

    def __init__(
        self,
        network: Network,
        train: Examples,
        validation: Examples | None,
        recipe: Recipe,
        stores: tuple[Embeddings, Embeddings],
        folder: Path | None,
        fabric: Fabric,
    ) -> None:
        settings = recipe.training
        self.train, self.recipe, self.stores, self.folder = train, recipe, stores, folder
        self.config = network.config
        optimizer = torch.optim.AdamW(
            network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.fabric = fabric
        self.network, self.optimizer = fabric.setup(network, optimizer)
        self.objective = Objective(recipe.loss_weights(), recipe.loss_constants())
        self.validation = Validation(train, validation, recipe, self.objective, stores)
        self.monitors = Monitors(recipe)
        self.plan = BatchPlan(
            train, settings.batch_size, settings.seed, settings.balance, settings.balance_power
        )
        steps = -(-len(self.plan) // settings.accumulate)
        self.schedule = Schedule(
            recipe.schedule, settings.learning_rate, steps, settings.max_epochs
        )
        self.early_stopping = EarlyStopping(settings.patience, settings.min_delta)
        self.progress = Progress(best_state=weights_of(self.network))

    def run(self, show: bool, on_epoch: Callable[[Record], None] | None) -> FitResult:
        """Train until the recipe's end or no more gain; `show` draws a bar on stderr."""
        while not self.progress.stopped:
            record = self._train_epoch(show)
            self._checkpoint()
            if on_epoch is not None:
                on_epoch(record)
        return FitResult(
            config=self.config,
            recipe=self.recipe,
            state=self.progress.best_state,
            history=tuple(self.progress.history),
            best_epoch=self.progress.best_epoch,
            best_spearman=self.progress.best_spearman,
            stopped=self.progress.stopped,
        )

    def _train_epoch(self, show: bool) -> Record:
        settings = self.recipe.training
        self.network.train()
        batches = self.plan.batches(self.plan.epoch)
        starts = range(self.plan.position, len(batches), settings.accumulate)
        for start in track(
            starts,
            description=f"epoch {self.plan.epoch + 1} of {settings.max_epochs}",
            console=Console(stderr=True),
            transient=True,
            disable=not show,
        ):
            window = batches[start : start + settings.accumulate]
            self._step(window, start + 1)
            self.plan.position = start + len(window)
            if settings.checkpoint_steps and self.progress.step % settings.checkpoint_steps == 0:
                self._checkpoint()
        return self._finish_epoch()

    def _step(self, window: list[np.ndarray], first: int) -> None:
        """One optimiser step over the rows of a window of batches, numbered from `first` on."""
        place = f"epoch {self.plan.epoch + 1}, batch"
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.rate(self.progress.step)
        self.optimizer.zero_grad()
        device = self.fabric.device
        batches = [collate(self.train, rows, *self.stores).to(device) for rows in window]
        shares = self.objective.shares(batches)
        for number, (batch, share) in enumerate(zip(batches, shares, strict=True), first):
            output = self.network(batch)
            total, values, dropped = self.objective(output, batch, share)
            check_finite_output(output, values, batch, f"{place} {number}")
            self.fabric.backward(total)
            losses = {f"loss_{name}": values[name] * share[name] for name in values}
            drops = {f"dropped_{name}": float(count) for name, count in dropped.items()}
            self.progress.add({"loss": float(total.detach()), **losses, **drops})
        self.monitors.after_backward(self.network, f"{place} {first} on", np.concatenate(window))
        if limit := self.recipe.training.gradient_clip:
            self.fabric.clip_gradients(self.network, self.optimizer, max_norm=limit)
        self.optimizer.step()
        self.progress.add({"steps": 1.0})
        self.progress.step += 1

    def _finish_epoch(self) -> Record:
        settings, progress = self.recipe.training, self.progress
        epoch = self.plan.epoch + 1
        rate = float(self.optimizer.param_groups[0]["lr"])
        found, answers = self.validation.after_epoch(self.network, epoch, self.fabric.device)
        record = {"epoch": epoch, "learning_rate": rate, **progress.take_sums(), **found}
        record |= self.monitors.after_epoch(record, answers, progress.history)
        progress.history.append(record)
        self.schedule.after_epoch(record["validation_spearman"])
        value = _DIRECTION[settings.monitor] * record[f"validation_{settings.monitor}"]
        if progress.is_best(epoch, value, record["validation_spearman"]):
            progress.best_state = weights_of(self.network)
        self.plan.start_epoch(epoch)
        no_gain = self.early_stopping.update(epoch, value)
        if self.monitors.stop:
            progress.stopped = self.monitors.stop
        elif no_gain and self.validation.rows is not None:
            waited = self.early_stopping.waited
            progress.stopped = f"validation {settings.monitor} did not improve for {waited} epochs"
        elif epoch >= settings.max_epochs:
            progress.stopped = f"all {settings.max_epochs} epochs done"
        return record

    def _checkpoint(self) -> None:
        if self.folder is not None:
            save_checkpoint(self.state_dict(), self.folder)

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on as if nothing had happened: plain tensors, numbers, text."""
        spearmans = [record["validation_spearman"] for record in self.progress.history]
        known = [value for value in spearmans if not math.isnan(value)]
        return {
            "model_state_dict": weights_of(self.network),
            "optimizer_state_dict": self.optimizer.state_dict(),
            "scheduler_state_dict": self.schedule.state_dict(),
            "epoch": len(self.progress.history),
            "best_val_spearman": max(known, default=math.nan),
            "progress": self.progress.state_dict(),
            "early_stopping": self.early_stopping.state_dict(),
            "plan": self.plan.state_dict(),
            "monitors": self.monitors.state_dict(),
            "random": random_state(),
            "training_rows": self.train.fingerprint(),
            "network": dataclasses.asdict(self.config),
            "recipe": self.recipe.model_dump(mode="json"),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state; `TrainingError` if it is of another network or recipe."""
        check_same_run(state, self.recipe, self.config, self.train.fingerprint())
        self.network.load_state_dict(state["model_state_dict"])
        self.optimizer.load_state_dict(state["optimizer_state_dict"])
        self.schedule.load_state_dict(state["scheduler_state_dict"])
        self.progress.load_state_dict(state["progress"])
        self.early_stopping.load_state_dict(state["early_stopping"])
        self.plan.load_state_dict(state["plan"])
        self.monitors.load_state_dict(state["monitors"])
        restore_random_state(state["random"])
