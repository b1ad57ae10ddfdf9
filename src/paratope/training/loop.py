"""The training loop: steps over accumulated batches, epochs, checkpoints between steps."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from lightning_fabric import Fabric
from rich.console import Console
from rich.progress import track

from paratope.core.interruption import Interrupted, Interruption
from paratope.models.batches import BatchPlan, Embeddings, Examples, Window
from paratope.models.network import Network
from paratope.models.recipes import Recipe
from paratope.training.checkpoints import Checkpoints, check_same_run, weights_of
from paratope.training.learner import Learner
from paratope.training.memory import memory_record
from paratope.training.monitors import EarlyStopping, Monitors
from paratope.training.progress import Progress
from paratope.training.random_state import random_state, restore_random_state
from paratope.training.results import FitResult, Record
from paratope.training.run_log import RunLog
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
    checkpoints : Checkpoints or None
    fabric : Fabric
        Device and precision.
    log : RunLog
        Told every batch, step and checkpoint.
    interruption : Interruption
        Heeded between batches: the run goes back to the last step, saves, and raises `Interrupted`.
    """

    def __init__(
        self,
        network: Network,
        train: Examples,
        validation: Examples | None,
        recipe: Recipe,
        stores: tuple[Embeddings, Embeddings],
        checkpoints: Checkpoints | None,
        fabric: Fabric,
        log: RunLog,
        interruption: Interruption,
    ) -> None:
        settings = recipe.training
        self.train, self.recipe, self.stores = train, recipe, stores
        self.checkpoints, self.log, self.interruption = checkpoints, log, interruption
        self.config = network.config
        self.fabric, self.monitors = fabric, Monitors(recipe)
        self.plan = BatchPlan(
            train, settings.batch_size, settings.seed, settings.balance, settings.balance_power
        )
        self.learner = Learner(network, recipe, -(-len(self.plan) // settings.accumulate), fabric)
        self.validation = Validation(train, validation, recipe, self.learner.objective, stores)
        self.early_stopping = EarlyStopping(settings.patience, settings.min_delta)
        self.progress = Progress(best_state=weights_of(self.learner.network))
        fingerprint = None if validation is None else validation.fingerprint()
        self.rows = {"training": train.fingerprint(), "validation": fingerprint}
        self._random, self._clock = random_state(), time.perf_counter()

    def run(self, show: bool, on_epoch: Callable[[Record], None] | None) -> FitResult:
        """Train until the recipe's end or no more gain; `show` draws a bar on stderr."""
        with self.interruption.deferred():
            while not self.progress.stopped:
                try:
                    record = self._train_epoch(show)
                except Interrupted:
                    self._checkpoint()  # of the last mark: batches since then are forgotten
                    self.log.note(f"Saved after {self.progress.step} steps.")
                    raise
                self._mark()
                self._checkpoint()
                if on_epoch is not None:
                    on_epoch(record)
        return self.progress.result(self.config, self.recipe)

    def _train_epoch(self, show: bool) -> Record:
        settings = self.recipe.training
        self.learner.network.train()
        batches = self.plan.batches(self.plan.epoch)
        starts = range(self.plan.position, len(batches), settings.accumulate)
        title = f"epoch {self.plan.epoch + 1} of {settings.max_epochs}"
        bar = {"console": Console(stderr=True), "transient": True, "disable": not show}
        for start in track(starts, title, **bar):
            window = batches[start : start + settings.accumulate]
            self._step(window, start + 1)
            self.plan.position = start + len(window)
            self._mark()
            if settings.checkpoint_steps and self.progress.step % settings.checkpoint_steps == 0:
                self._checkpoint()
        return self._finish_epoch()

    def _step(self, window: list[np.ndarray], first: int) -> None:
        """One optimiser step over the rows of a window of batches, numbered from `first` on."""
        epoch, count = self.plan.epoch + 1, len(window)

        def before_batch(position: int) -> None:
            self.interruption.check()
            self._event("batch", first + position, window=f"{position + 1}/{count}")

        batches = Window(self.train, window, self.stores, self.fabric.device)
        places = [f"epoch {epoch}, batch {first + position}" for position in range(count)]
        sums = self.learner.step(self.progress.step, batches, places, self.monitors, before_batch)
        self.progress.add({**sums, "steps": 1.0})
        self.progress.step += 1
        self._event("step", first + count - 1)

    def _finish_epoch(self) -> Record:
        settings, progress = self.recipe.training, self.progress
        epoch = self.plan.epoch + 1
        self._event("validation")
        found, answers = self.validation.after_epoch(
            self.learner.network, epoch, self.fabric.device
        )
        record = {"epoch": epoch, "learning_rate": self.learner.rate}
        record |= {**progress.take_sums(), **found}
        record |= self.monitors.after_epoch(record, answers, progress.history)
        self._mark()
        record |= {"seconds": progress.take_seconds(), **memory_record(self.fabric.device)}
        progress.history.append(record)
        self.learner.schedule.after_epoch(record["validation_spearman"])
        value = _DIRECTION[settings.monitor] * record[f"validation_{settings.monitor}"]
        if progress.is_best(epoch, value, record["validation_spearman"]):
            progress.best_state = weights_of(self.learner.network)
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

    def _mark(self) -> None:
        """Note a place where the run can go on later: after a step, or between epochs."""
        now = time.perf_counter()
        self.progress.seconds += now - self._clock
        self._random, self._clock = random_state(), now

    def _event(self, phase: str, batch: int | None = None, **values: object) -> None:
        at = self.plan.position if batch is None else batch
        place = {"epoch": self.plan.epoch + 1, "batch": f"{at}/{len(self.plan)}"}
        self.log.event(phase, **place, **values, step=self.progress.step)

    def _checkpoint(self) -> None:
        if self.checkpoints is not None:
            self._event("checkpoint")
            start = time.perf_counter()
            size = self.checkpoints.save(self.state_dict()).stat().st_size
            self.log.event("saved", megabytes=size / 1e6, seconds=time.perf_counter() - start)

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on as if nothing had happened: plain tensors, numbers, text."""
        return {
            **self.learner.state_dict(),
            "epoch": len(self.progress.history),
            "best_val_spearman": self.progress.highest_spearman(),
            "progress": self.progress.state_dict(),
            "early_stopping": self.early_stopping.state_dict(),
            "plan": self.plan.state_dict(),
            "monitors": self.monitors.state_dict(),
            "random": self._random,
            "rows": self.rows,
            "network": dataclasses.asdict(self.config),
            "recipe": self.recipe.model_dump(mode="json"),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state; `TrainingError` if it is of another network or recipe."""
        check_same_run(state, self.recipe, self.config, self.rows)
        self.learner.load_state_dict(state)
        self.progress.load_state_dict(state["progress"])
        self.early_stopping.load_state_dict(state["early_stopping"])
        self.plan.load_state_dict(state["plan"])
        self.monitors.load_state_dict(state["monitors"])
        restore_random_state(state["random"])
        self._mark()
