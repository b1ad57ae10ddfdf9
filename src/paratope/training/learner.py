"""What learns: network, optimiser, loss and learning rate; how one step is made and is judged."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from paratope.core.interruption import Resumable
from paratope.core.units import STRONG_PKD
from paratope.evaluation.metrics import EvaluationRows, compute
from paratope.models.batches import (
    Embeddings,
    Examples,
    PairBatch,
    batches_by_length,
    collate,
    label_batch,
)
from paratope.models.losses import Objective
from paratope.models.model import Scored
from paratope.models.network import Network, NetworkOutput
from paratope.models.recipes import Recipe, ScheduleSettings
from paratope.training.checkpoints import weights_of
from paratope.training.monitors import Answers, Monitors, check_finite_output

_METRICS = ("spearman", "rmse", "recall_percent")
# Training rows the validation loss is compared with, at most: they tell a trend and cost little.
MAX_SAMPLE = 256


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


def score(
    network: Network,
    examples: Examples,
    stores: tuple[Embeddings, Embeddings],
    batch_size: int = 32,
) -> Scored:
    """Scores of examples, in their order, without gradients and dropout."""
    outputs = np.zeros((3, len(examples)))
    device = next(network.parameters()).device
    was_training = network.training
    network.eval()
    with torch.inference_mode():
        for rows in batches_by_length(examples, batch_size):
            output = network(collate(examples, rows, *stores).to(device))
            outputs[:, rows] = torch.stack(list(output)).cpu().numpy()
    network.train(was_training)
    mean, log_variance, strong_logit = outputs
    return Scored(mean, np.exp(0.5 * log_variance), strong_logit)


class Validation:
    """Judges a network by the rows of a run.

    The loss that a step minimises is taken with dropout, over rows drawn as the recipe says; to be
    compared with the validation loss, the overfitting monitor has it of a fixed sample instead.
    """

    def __init__(
        self,
        train: Examples,
        validation: Examples | None,
        recipe: Recipe,
        objective: Objective,
        stores: tuple[Embeddings, Embeddings],
    ) -> None:
        self.rows = validation if validation is not None and len(validation) else None
        self.objective, self.stores = objective, stores
        self.batch_size = recipe.training.batch_size
        self.sample = None
        if self.rows is not None and recipe.monitors.overfitting != "off":
            random = np.random.default_rng((recipe.training.seed, len(train)))
            count = min(len(train), MAX_SAMPLE)
            self.sample = train.rows(np.sort(random.permutation(len(train))[:count]))

    def after_epoch(
        self, predict: Callable[[PairBatch], NetworkOutput], epoch: int, device: torch.device
    ) -> tuple[dict[str, Any], Answers | None]:
        """Loss and metrics after an epoch, NaN without a validation set, and its predictions.

        `predict` is the network in evaluation mode. `TrainingError` if a prediction is not finite.
        """
        data = self.rows
        if data is None:
            return {f"validation_{name}": math.nan for name in ("loss", *_METRICS)}, None

        def loss_and_mean(rows: Examples, what: str, part: str) -> tuple[float, np.ndarray]:
            mean = np.zeros(len(rows), dtype=np.float32)
            batches = batches_by_length(rows, self.batch_size)
            labels = [label_batch(rows, batch).to(device) for batch in batches]
            loss = 0.0
            with torch.inference_mode():
                shares = self.objective.shares(labels)
                for chosen, label, share in zip(batches, labels, shares, strict=True):
                    batch = collate(rows, chosen, *self.stores).to(device)
                    output = predict(batch)
                    check_finite_output(output, {}, batch, f"epoch {epoch}, {what}", part)
                    mean[chosen] = output.mean.cpu().numpy()
                    loss += float(self.objective(output, label, share)[0])
            return loss, mean

        loss, mean = loss_and_mean(data, "validation", "validation")
        record: dict[str, Any] = {"validation_loss": loss}
        if self.sample is not None:
            what = "sample of training rows"
            record["train_sample_loss"], _ = loss_and_mean(self.sample, what, "sampled")
        values = compute(EvaluationRows(data.pkd, mean, censoring=data.censoring), _METRICS)
        record |= {f"validation_{name}": values[name] for name in _METRICS}
        pairs = np.stack([data.antibody_index, data.antigen_index], axis=1)
        once = np.unique(pairs, axis=0, return_index=True)[1]
        strong = int(((data.pkd >= STRONG_PKD) & (data.censoring >= 0)).sum())
        return record, Answers(mean[once], data.pkd[once], strong)
