"""What a network says of examples, and how it does after an epoch."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

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
from paratope.models.recipes import Recipe
from paratope.training.monitors import Answers, check_finite_output

_METRICS = ("spearman", "rmse", "recall_percent")
# Training rows the validation loss is compared with, at most: they tell a trend and cost little.
MAX_SAMPLE = 256


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
