"""`fit`, and its loop: steps over accumulated batches, epochs, checkpoints between steps."""

import dataclasses
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from paratope.core.errors import TrainingError
from paratope.core.interruption import Interrupted, Interruption, Resumable
from paratope.core.progress import Progress, peak_memory_mb, silent
from paratope.encoders.language_models import resolve_device
from paratope.models.batches import BatchPlan, Embeddings, Examples, collate, label_batch
from paratope.models.fine_tuning import build_network, embedding_width
from paratope.models.network import Network
from paratope.models.recipes import NetworkConfig, Recipe
from paratope.training.checkpoints import (
    Checkpoints,
    callers_random_state_kept,
    check_same_run,
    random_state,
    restore_random_state,
    seed_everything,
    weights_of,
)
from paratope.training.learner import Learner, Validation
from paratope.training.loggers import RunLog
from paratope.training.monitors import EarlyStopping, Monitors

Record = dict[str, Any]
# monitored value -> 1 if higher is better, -1 if lower is
_DIRECTION = {"spearman": 1.0, "rmse": -1.0, "loss": -1.0}


def _ignore(value: Any) -> None:
    pass


@dataclasses.dataclass(frozen=True, slots=True)
class RunOptions:
    """How a training or a search is run; what comes out does not depend on it."""

    device: str = "auto"  # ``"auto"``, ``"cpu"`` or ``"cuda"``
    resume: bool = False  # Go on from the folder's checkpoint, if there is one
    progress: Progress = silent  # Told how far encoding and training are
    on_epoch: Callable[[Record], None] = _ignore  # Called with every epoch's record
    # Told in words where a resumed run goes on, and what was wrong with a checkpoint
    say: Callable[[str], None] = _ignore
    # Where epochs are written beside the run folder's CSV; see `LOGGERS`
    loggers: tuple[str, ...] = ()
    # Heeded between batches; `Interrupted` is raised once the last step is saved
    interruption: Interruption = dataclasses.field(default_factory=Interruption)


@dataclasses.dataclass(frozen=True, slots=True)
class FitResult:
    """A finished training run."""

    config: NetworkConfig
    recipe: Recipe
    state: dict[str, Tensor]  # Weights of the best epoch
    history: tuple[Record, ...]  # One record per epoch
    best_epoch: int  # From 1
    best_spearman: float  # Validation Spearman of the best epoch; NaN without a validation set
    stopped: str  # Why the run ended, in words

    def network(self) -> Network:
        """The trained network, ready to predict."""
        with callers_random_state_kept():  # weights are drawn before they are replaced
            network = build_network(self.config, self.recipe.lora, self.recipe.encoders.by_side)
        network.load_state_dict(self.state)
        return network.eval()


@dataclasses.dataclass
class RunState(Resumable):
    """How far a run has come, beside its network: the entry ``progress`` of a checkpoint.

    Without best weights in a state that is loaded, those it has are kept: the untrained.
    """

    kept = (
        *("step", "sums", "seconds", "history", "best_epoch", "best_value", "best_spearman"),
        *("best_state", "stopped"),
    )
    step: int = 0  # optimiser steps done
    sums: dict[str, float] = dataclasses.field(default_factory=dict)  # of the epoch under way
    seconds: float = 0.0  # that epoch has taken so far, in whichever processes
    history: list[Record] = dataclasses.field(default_factory=list)
    best_epoch: int = 0  # 0 before the first
    best_value: float = -math.inf  # monitored value of the best epoch, higher = better
    best_spearman: float = math.nan
    best_state: dict[str, Tensor] = dataclasses.field(default_factory=dict)
    stopped: str = ""  # why the run has ended; empty while it has not

    def take_sums(self) -> Record:
        """Means per step of the epoch's sums (counts stay sums), which begin anew."""
        steps = self.sums.pop("steps")
        means = {
            f"train_{name}": int(value) if name.startswith("dropped_") else value / steps
            for name, value in sorted(self.sums.items())
        }
        self.sums = {}
        return means

    def is_best(self, epoch: int, value: float, spearman: float) -> bool:
        """Take in an epoch's monitored value, NaN if unknown; whether its weights are the best."""
        unknown = math.isnan(value) and self.best_value == -math.inf
        if not unknown and not value > self.best_value:
            return False
        self.best_epoch, self.best_spearman = epoch, spearman
        self.best_value = -math.inf if unknown else value
        return True


class TrainingLoop:
    """Mutable state of a training run, and its loop."""

    def __init__(
        self,
        network: Network,
        train: Examples,
        validation: Examples | None,
        recipe: Recipe,
        stores: tuple[Embeddings, Embeddings],
        device: torch.device,
        log: RunLog,
    ) -> None:
        settings = recipe.training
        self.train, self.recipe, self.stores = train, recipe, stores
        self.config, self.device, self.log = network.config, device, log
        self.monitors = Monitors(recipe)
        self.plan = BatchPlan(
            train, settings.batch_size, settings.seed, settings.balance, settings.balance_power
        )
        self.learner = Learner(network, recipe, -(-len(self.plan) // settings.accumulate), device)
        self.validation = Validation(train, validation, recipe, self.learner.objective, stores)
        self.early_stopping = EarlyStopping(settings.patience, settings.min_delta)
        self.run_state = RunState(best_state=weights_of(self.learner.network))
        self.checkpoints: Checkpoints | None = None
        fingerprint = None if validation is None else validation.fingerprint()
        self.rows = {"training": train.fingerprint(), "validation": fingerprint}
        self._random, self._clock = random_state(), time.perf_counter()

    def resume(self, checkpoints: Checkpoints) -> None:
        """Go on from the newest good checkpoint, if there is one, and say where that is."""
        state, notes = checkpoints.load()
        for note in notes:
            self.log.note(note)
        if state is None:
            self.log.note(f"There is no checkpoint in {checkpoints.folder}: starting afresh.")
            return
        self.load_state_dict(state)
        if self.run_state.stopped:
            self.log.note(f"Training is done already: {self.run_state.stopped}.")
        else:
            self.log.note(
                f"Going on in epoch {self.plan.epoch + 1}, after {self.plan.position} of "
                f"{len(self.plan)} batches and {self.run_state.step} steps in all."
            )

    def run(self, checkpoints: Checkpoints | None, options: RunOptions) -> FitResult:
        """Train until the recipe's end or no more gain."""
        self.checkpoints = checkpoints
        state = self.run_state
        self.log.write_history(state.history)  # what a run that was killed did not come to
        with options.interruption.deferred():
            while not state.stopped:
                try:
                    record = self._train_epoch(options)
                except Interrupted:
                    self._checkpoint()  # of the last mark: batches since then are forgotten
                    self.log.note(f"Saved after {state.step} steps.")
                    raise
                self._mark()
                self._checkpoint()
                self.log.write_history(state.history)
                options.on_epoch(record)
        return FitResult(
            self.config,
            self.recipe,
            state=state.best_state,
            history=tuple(state.history),
            best_epoch=state.best_epoch,
            best_spearman=state.best_spearman,
            stopped=state.stopped,
        )

    def _train_epoch(self, options: RunOptions) -> Record:
        settings, state, epoch = self.recipe.training, self.run_state, self.plan.epoch
        self.learner.network.train()
        batches = self.plan.batches(epoch)
        for start in range(self.plan.position, len(batches), settings.accumulate):
            window = batches[start : start + settings.accumulate]

            def before_batch(position: int, start: int = start, count: int = len(window)) -> None:
                options.interruption.check()
                self._event("batch", start + position + 1, window=f"{position + 1}/{count}")

            sums = self.learner.step(
                state.step,
                # one batch is held at a time
                (collate(self.train, rows, *self.stores).to(self.device) for rows in window),
                [label_batch(self.train, rows).to(self.device) for rows in window],
                [f"epoch {epoch + 1}, batch {start + 1 + n}" for n in range(len(window))],
                self.monitors,
                before_batch,
            )
            for name, value in {**sums, "steps": 1.0}.items():
                state.sums[name] = state.sums.get(name, 0.0) + value
            state.step += 1
            self.plan.position = start + len(window)
            self._event("step", self.plan.position)
            self._mark()
            done = epoch * len(batches) + self.plan.position
            options.progress("training", done, settings.max_epochs * len(batches))
            if settings.checkpoint_steps and state.step % settings.checkpoint_steps == 0:
                self._checkpoint()
        return self._finish_epoch()

    def _finish_epoch(self) -> Record:
        settings, state, epoch = self.recipe.training, self.run_state, self.plan.epoch + 1
        self._event("validation")
        self.learner.network.eval()
        values, answers = self.validation.after_epoch(self.learner.predict, epoch, self.device)
        self.learner.network.train()
        record = {"epoch": epoch, "learning_rate": self.learner.rate}
        record |= {**state.take_sums(), **values}
        record |= self.monitors.after_epoch(record, answers, state.history)
        self._mark()
        record |= {"seconds": round(state.seconds, 3), "peak_memory_mb": round(peak_memory_mb(), 1)}
        if self.device.type == "cuda":
            peak = torch.cuda.max_memory_allocated(self.device) / 1e6
            record["peak_gpu_memory_mb"] = round(peak, 1)
        state.seconds = 0.0
        state.history.append(record)
        self.learner.schedule.after_epoch(record["validation_spearman"])
        value = _DIRECTION[settings.monitor] * record[f"validation_{settings.monitor}"]
        if state.is_best(epoch, value, record["validation_spearman"]):
            state.best_state = weights_of(self.learner.network)
        self.plan.start_epoch(epoch)
        no_gain = self.early_stopping.update(epoch, value)
        if self.monitors.stop:
            state.stopped = self.monitors.stop
        elif no_gain and self.validation.rows is not None:
            waited = self.early_stopping.waited
            state.stopped = f"validation {settings.monitor} did not improve for {waited} epochs"
        elif epoch >= settings.max_epochs:
            state.stopped = f"all {settings.max_epochs} epochs done"
        return record

    def _mark(self) -> None:
        """Note a place where the run can go on later: after a step, or between epochs."""
        now = time.perf_counter()
        self.run_state.seconds += now - self._clock
        self._random, self._clock = random_state(), now

    def _event(self, phase: str, batch: int | None = None, **values: object) -> None:
        position = f"{self.plan.position if batch is None else batch}/{len(self.plan)}"
        epoch, step = self.plan.epoch + 1, self.run_state.step
        self.log.event(phase, epoch=epoch, batch=position, **values, step=step)

    def _checkpoint(self) -> None:
        if self.checkpoints is not None:
            self._event("checkpoint")
            start = time.perf_counter()
            size = self.checkpoints.save(self.state_dict()).stat().st_size
            self.log.event("saved", megabytes=size / 1e6, seconds=time.perf_counter() - start)

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on as if nothing had happened: plain tensors, numbers, text."""
        spearmans = [record["validation_spearman"] for record in self.run_state.history]
        known = [value for value in spearmans if not math.isnan(value)]
        return {
            **self.learner.state_dict(),
            "epoch": len(self.run_state.history),
            "best_val_spearman": max(known, default=math.nan),
            "progress": self.run_state.state_dict(),
            "early_stopping": self.early_stopping.state_dict(),
            "plan": self.plan.state_dict(),
            "monitors": {"gradients": self.monitors.gradients.state_dict()},
            "random": self._random,
            "rows": self.rows,
            "network": self.config.model_dump(),
            "recipe": self.recipe.model_dump(mode="json"),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state; `TrainingError` if it is of another network or recipe."""
        check_same_run(state, self.recipe, self.config, self.rows)
        self.learner.load_state_dict(state)
        self.run_state.load_state_dict(state["progress"])
        self.early_stopping.load_state_dict(state["early_stopping"])
        self.plan.load_state_dict(state["plan"])
        self.monitors.gradients.load_state_dict(state["monitors"]["gradients"])
        restore_random_state(state["random"])
        self._mark()


@callers_random_state_kept()
def fit(
    train: Examples,
    validation: Examples | None,
    recipe: Recipe,
    stores: tuple[Embeddings, Embeddings],
    options: RunOptions | None = None,
    *,
    folder: Path | None = None,
    start: Mapping[str, Tensor] | None = None,
    log: RunLog | None = None,
) -> FitResult:
    """Train a network by a recipe.

    Equal arguments give equal weights on a CPU with the same number of threads. The global random
    number generators are left as they were. Without a validation set, all epochs are run and the
    last one is taken. `stores` (antibodies, antigens) hold the embedding of every molecule of both
    sets; `folder` is where checkpoints go; `start` are weights to begin with instead of random
    ones; `options.loggers` are opened by `train_table` only.

    Raises `EncoderError` if there is no such device, and `TrainingError` if there are no examples,
    the checkpoint is of other settings or rows, no checkpoint is whole, or numbers are no longer
    finite.
    """
    if not len(train):
        raise TrainingError("nothing to train on: no row has a measured pKd")
    options = options or RunOptions()
    device = resolve_device(options.device)
    seed_everything(recipe.training.seed)
    network = untrained_network(recipe, train, stores)
    if start is not None:
        network.load_state_dict(start)
    log = log or RunLog(say=options.say)
    loop = TrainingLoop(network, train, validation, recipe, stores, device, log)
    checkpoints = None if folder is None else Checkpoints(folder)
    if options.resume and checkpoints is not None:
        loop.resume(checkpoints)
    return loop.run(checkpoints, options)


def untrained_network(
    recipe: Recipe, examples: Examples, stores: tuple[Embeddings, Embeddings]
) -> Network:
    """The recipe's network for the embeddings in the stores, answering about the labels' mean."""
    antibody_dim = embedding_width(stores[0], examples.antibodies[0])
    antigen_dim = embedding_width(stores[1], examples.antigens[0])
    config = NetworkConfig(
        antibody_dim=antibody_dim, antigen_dim=antigen_dim, **recipe.network.model_dump()
    )
    network = build_network(config, recipe.lora, recipe.encoders.by_side)
    exact = examples.pkd[examples.censoring == 0]
    known = exact if len(exact) else examples.pkd
    network.set_output_scale(float(known.mean()), float(known.std()))
    return network
