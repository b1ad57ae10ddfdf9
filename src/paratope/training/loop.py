"""The training loop: batches in, a trained network and its history out."""

import dataclasses
import math
import random
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from paratope.batches import BatchPlan, Embeddings, Examples, batches_by_length, collate
from paratope.errors import TrainingError
from paratope.losses import Objective
from paratope.metrics import compute, judged
from paratope.monitors import (
    EarlyStopping,
    check_finite_gradients,
    check_finite_output,
    collapse,
)
from paratope.network import Network, NetworkConfig
from paratope.recipes import Recipe
from paratope.training.checkpoints import (
    load_checkpoint,
    random_state,
    restore_random_state,
    save_checkpoint,
)
from paratope.training.schedules import Schedule

Record = dict[str, Any]
# monitored value -> 1 if higher is better, -1 if lower is
_DIRECTION = {"spearman": 1.0, "rmse": -1.0, "loss": -1.0}


@dataclasses.dataclass(frozen=True, slots=True)
class Scores:
    """What a network says of examples, in their order, (n,) each.

    Attributes
    ----------
    mean : ndarray
        pKd.
    log_variance : ndarray
        Of the pKd, natural logarithm.
    strong_logit : ndarray
        Logit of pKd ≥ 9.
    """

    mean: np.ndarray
    log_variance: np.ndarray
    strong_logit: np.ndarray


@dataclasses.dataclass(frozen=True, slots=True)
class FitResult:
    """A finished training run.

    Attributes
    ----------
    config : NetworkConfig
    recipe : Recipe
    state : dict of str to Tensor
        Weights of the best epoch.
    history : tuple of dict
        One record per epoch.
    best_epoch : int
        From 1.
    best_spearman : float
        Validation Spearman of the best epoch; NaN without a validation set.
    stopped : str
        Why the run ended, in words.
    """

    config: NetworkConfig
    recipe: Recipe
    state: dict[str, Tensor]
    history: tuple[Record, ...]
    best_epoch: int
    best_spearman: float
    stopped: str

    def network(self) -> Network:
        """The trained network, ready to predict."""
        network = Network(self.config)
        network.load_state_dict(self.state)
        return network.eval()


def fit(
    train: Examples,
    validation: Examples | None,
    recipe: Recipe,
    antibody_store: Embeddings,
    antigen_store: Embeddings,
    *,
    folder: Path | None = None,
    resume: bool = False,
    device: str = "auto",
    progress: bool | None = None,
    on_epoch: Callable[[Record], None] | None = None,
) -> FitResult:
    """Train a network by a recipe.

    Parameters
    ----------
    train, validation : Examples
        Without a validation set, all epochs are run and the last one is taken.
    recipe : Recipe
    antibody_store, antigen_store : Embeddings
        Hold the embedding of every molecule of both sets.
    folder : Path, optional
        Where checkpoints go; none are written without it.
    resume : bool
        Go on from the folder's checkpoint, if there is one.
    device : str
        ``"auto"``, ``"cpu"`` or ``"cuda"``.
    progress : bool, optional
        Show a bar on stderr; by default if that is a terminal.
    on_epoch : callable, optional
        Called with every epoch's record.

    Returns
    -------
    FitResult

    Raises
    ------
    TrainingError
        If there are no examples, or numbers are no longer finite.
    """
    if not len(train):
        raise TrainingError("nothing to train on: no row has a measured pKd")
    loop = _Loop(train, validation, recipe, (antibody_store, antigen_store), folder, device)
    if resume and folder is not None:
        state = load_checkpoint(folder)
        if state is not None:
            loop.load_state_dict(state)
    shown = sys.stderr.isatty() if progress is None else progress
    return loop.run(shown, on_epoch)


def score(
    network: Network,
    examples: Examples,
    antibody_store: Embeddings,
    antigen_store: Embeddings,
    batch_size: int = 32,
) -> Scores:
    """What a network says of examples, without gradients and dropout.

    Parameters
    ----------
    network : Network
    examples : Examples
    antibody_store, antigen_store : Embeddings
    batch_size : int

    Returns
    -------
    Scores
    """
    answers = np.zeros((3, len(examples)), dtype=np.float32)
    device = next(network.parameters()).device
    training = network.training
    network.eval()
    with torch.inference_mode():
        for rows in batches_by_length(examples, batch_size):
            output = network(collate(examples, rows, antibody_store, antigen_store).to(device))
            for number, tensor in enumerate(output):
                answers[number, rows] = tensor.float().cpu().numpy()
    network.train(training)
    return Scores(*answers)


class _Loop:
    """One run: everything that changes while it goes, and how it goes on."""

    def __init__(
        self,
        train: Examples,
        validation: Examples | None,
        recipe: Recipe,
        stores: tuple[Embeddings, Embeddings],
        folder: Path | None,
        device: str,
    ) -> None:
        settings = recipe.training
        self.train, self.recipe, self.stores, self.folder = train, recipe, stores, folder
        self.validation = validation if validation is not None and len(validation) else None
        random.seed(settings.seed)
        np.random.seed(settings.seed)  # for parts of libraries that use the global generator
        torch.manual_seed(settings.seed)
        self.config = network_config(recipe, train, stores)
        network = Network(self.config)
        exact = train.pkd[train.censoring == 0]
        known = exact if len(exact) else train.pkd
        network.set_output_scale(float(known.mean()), float(known.std()))
        optimizer = torch.optim.AdamW(
            network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.fabric = Fabric(accelerator=device, devices=1, precision=settings.precision)
        self.network, self.optimizer = self.fabric.setup(network, optimizer)
        self.objective = Objective(recipe.loss_weights(), recipe.loss_constants())
        self.plan = BatchPlan(
            train, settings.batch_size, settings.seed, settings.balance, settings.balance_power
        )
        steps = -(-len(self.plan) // settings.accumulate)
        self.schedule = Schedule(
            recipe.schedule, settings.learning_rate, steps, settings.max_epochs
        )
        self.early_stopping = EarlyStopping(settings.patience, settings.min_delta)
        self.step = 0
        self.sums: dict[str, float] = {}
        self.history: list[Record] = []
        self.best: Record = {"epoch": 0, "value": -math.inf, "spearman": math.nan}
        self.best_state: dict[str, Tensor] = self._weights()
        self.stopped = ""

    def run(self, progress: bool, on_epoch: Callable[[Record], None] | None) -> FitResult:
        while not self.stopped:
            started = time.perf_counter()
            self._train_epoch(progress)
            record = self._finish_epoch(time.perf_counter() - started)
            self._checkpoint()
            if on_epoch is not None:
                on_epoch(record)
        return FitResult(
            config=self.config,
            recipe=self.recipe,
            state=self.best_state,
            history=tuple(self.history),
            best_epoch=self.best["epoch"],
            best_spearman=self.best["spearman"],
            stopped=self.stopped,
        )

    def _train_epoch(self, progress: bool) -> None:
        from tqdm import tqdm

        self.network.train()
        settings = self.recipe.training
        batches = self.plan.batches(self.plan.epoch)
        starts = range(self.plan.position, len(batches), settings.accumulate)
        title = f"epoch {self.plan.epoch + 1}/{settings.max_epochs}"
        for start in tqdm(starts, desc=title, disable=not progress, leave=False, unit="step"):
            self._step(batches[start : start + settings.accumulate], start)
            self.plan.position = min(start + settings.accumulate, len(batches))
            if settings.checkpoint_steps and self.step % settings.checkpoint_steps == 0:
                self._checkpoint()

    def _step(self, rows_of_batches: list[np.ndarray], number: int) -> None:
        rate = self.schedule.rate(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad()
        batches = [
            collate(self.train, rows, *self.stores).to(self.fabric.device)
            for rows in rows_of_batches
        ]
        shares = self.objective.shares(batches)
        for offset, (batch, share) in enumerate(zip(batches, shares, strict=True)):
            place = f"epoch {self.plan.epoch + 1}, batch {number + offset + 1}"
            output = self.network(batch)
            total, values, dropped = self.objective(output, batch, share)
            check_finite_output(output, values, batch, place)
            self.fabric.backward(total)
            self._add({"loss": float(total.detach())})
            self._add({f"loss_{name}": values[name] * share[name] for name in values})
            self._add({f"dropped_{name}": float(dropped[name]) for name in dropped})
        check_finite_gradients(self.network, place)
        if self.recipe.training.gradient_clip:
            self.fabric.clip_gradients(
                self.network, self.optimizer, max_norm=self.recipe.training.gradient_clip
            )
        self.optimizer.step()
        self._add({"steps": 1.0})
        self.step += 1

    def _add(self, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def _finish_epoch(self, seconds: float) -> Record:
        settings = self.recipe.training
        steps = self.sums.pop("steps")
        record: Record = {"epoch": self.plan.epoch + 1, "learning_rate": self._rate()}
        for name, value in sorted(self.sums.items()):
            record[f"train_{name}"] = int(value) if name.startswith("dropped_") else value / steps
        record |= self._validate()
        record["seconds"] = seconds
        self.sums = {}
        self.history.append(record)
        self.schedule.after_epoch(record["validation_spearman"])
        stop = self._keep_best(record)
        self.plan.start_epoch(self.plan.epoch + 1)
        if record["warning"] and settings.stop_on_collapse:
            self.stopped = f"stopped after epoch {record['epoch']}: {record['warning']}"
        elif self.validation is not None and stop:
            waited = self.early_stopping.waited
            self.stopped = f"validation {settings.monitor} did not improve for {waited} epochs"
        elif self.plan.epoch >= settings.max_epochs:
            self.stopped = f"all {settings.max_epochs} epochs done"
        return record

    def _validate(self) -> Record:
        record: Record = {
            "validation_loss": math.nan,
            "validation_spearman": math.nan,
            "validation_rmse": math.nan,
            "validation_recall_percent": math.nan,
            "warning": "",
        }
        if self.validation is None:
            return record
        mean, record["validation_loss"] = self._answers(self.validation)
        data = self.validation
        names = ("spearman", "rmse", "recall_percent")
        values = compute(judged(data.pkd, mean, censoring=data.censoring), names)
        record |= {f"validation_{name}": values[name] for name in names}
        pairs = np.stack([data.antibody_index, data.antigen_index], axis=1)
        once = np.unique(pairs, axis=0, return_index=True)[1]
        found = collapse(mean[once], data.pkd[once])
        record |= {"distinct": found.distinct, "spread_ratio": found.spread_ratio}
        record["warning"] = found.warning
        return record

    def _answers(self, data: Examples) -> tuple[np.ndarray, float]:
        """Predicted pKd of every row, and the mean loss over them."""
        mean = np.zeros(len(data), dtype=np.float32)
        outputs, labels = [], []
        self.network.eval()
        with torch.inference_mode():
            for rows in batches_by_length(data, self.recipe.training.batch_size):
                batch = collate(data, rows, *self.stores).to(self.fabric.device)
                outputs.append(self.network(batch))
                labels.append(batch.without_molecules())
                mean[rows] = outputs[-1].mean.cpu().numpy()
            shares = self.objective.shares(labels)
            parts = zip(outputs, labels, shares, strict=True)
            loss = sum(float(self.objective(*part)[0]) for part in parts)
        return mean, loss

    def _keep_best(self, record: Record) -> bool:
        monitor = self.recipe.training.monitor
        value = _DIRECTION[monitor] * record[f"validation_{monitor}"]
        epoch = record["epoch"]
        # without a number to go by, the latest weights are the best known
        unknown = math.isnan(value) and self.best["value"] == -math.inf
        if unknown or value > self.best["value"]:
            best_value = -math.inf if unknown else value
            spearman = record["validation_spearman"]
            self.best = {"epoch": epoch, "value": best_value, "spearman": spearman}
            self.best_state = self._weights()
        return self.early_stopping.update(epoch, value)

    def _weights(self) -> dict[str, Tensor]:
        state = self.network.state_dict()
        return {name: tensor.detach().cpu().clone() for name, tensor in state.items()}

    def _rate(self) -> float:
        return float(self.optimizer.param_groups[0]["lr"])

    def _checkpoint(self) -> None:
        if self.folder is not None:
            save_checkpoint(self.state_dict(), self.folder)

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on as if nothing had happened: plain tensors, numbers, text."""
        return {
            "model_state_dict": self._weights(),
            "optimizer_state_dict": self.optimizer.state_dict(),
            "scheduler_state_dict": self.schedule.state_dict(),
            "epoch": len(self.history),
            "best_val_spearman": max(
                (r["validation_spearman"] for r in self.history), default=math.nan
            ),
            "best_state_dict": self.best_state,
            "best": self.best,
            "early_stopping": self.early_stopping.state_dict(),
            "history": self.history,
            "plan": self.plan.state_dict(),
            "step": self.step,
            "sums": self.sums,
            "stopped": self.stopped,
            "random": random_state(),
            "network": dataclasses.asdict(self.config),
            "recipe": self.recipe.model_dump(mode="json"),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state.

        Raises
        ------
        TrainingError
            If the state is of another network or recipe.
        """
        saved, own = state["recipe"], self.recipe.model_dump(mode="json")
        changed = [
            section
            for section in ("encoders", "network", "training", "loss", "schedule")
            if saved[section] != own[section]
        ]
        if changed or NetworkConfig(**state["network"]) != self.config:
            raise TrainingError(
                f"{self.folder}: the checkpoint was made with other settings in "
                f"{', '.join(changed) or 'network'}; resume with the run's own run.toml, or start "
                "a new run in another folder"
            )
        self.network.load_state_dict(state["model_state_dict"])
        self.optimizer.load_state_dict(state["optimizer_state_dict"])
        self.schedule.load_state_dict(state["scheduler_state_dict"])
        self.plan.load_state_dict(state["plan"])
        self.early_stopping.load_state_dict(state["early_stopping"])
        self.best_state, self.best = state["best_state_dict"], state["best"]
        self.history, self.sums = state["history"], state["sums"]
        self.step, self.stopped = state["step"], state["stopped"]
        restore_random_state(state["random"])


def network_config(
    recipe: Recipe, examples: Examples, stores: tuple[Embeddings, Embeddings]
) -> NetworkConfig:
    """The recipe's network for the widths of the embeddings in the stores."""
    antibody_dim = stores[0].get(examples.antibodies[0]).shape[1]
    antigen_dim = stores[1].get(examples.antigens[0]).shape[1]
    return NetworkConfig(antibody_dim, antigen_dim, **recipe.network.model_dump())
