"""How a network does after an epoch: on validation rows, and on a sample of training rows."""

import dataclasses
import math

import numpy as np
import torch
from torch import nn

from paratope.core.units import STRONG_PKD
from paratope.evaluation.metrics import EvaluationRows, compute
from paratope.models.batches import Embeddings, Examples, batches_by_length, collate
from paratope.models.losses import Objective
from paratope.models.recipes import Recipe
from paratope.training.gradients import check_finite_output
from paratope.training.monitors import Answers
from paratope.training.results import Record

_METRICS = ("spearman", "rmse", "recall_percent")
# Training rows the validation loss is compared with, at most: they tell a trend and cost little.
MAX_SAMPLE = 256


class Validation:
    """Judges a network by the rows of a run.

    The training rows' loss that a step minimises is taken with dropout, before the step, over rows
    drawn as the recipe says; it cannot be compared with the validation loss. So the same loss is
    taken of a fixed sample of training rows in the same way as of the validation rows.

    Parameters
    ----------
    train : Examples
    validation : Examples or None
    recipe : Recipe
        Its seed draws the sample; without the overfitting monitor there is none.
    objective : Objective
    stores : tuple of Embeddings
        Of antibodies and of antigens.
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
            self.sample = _part(train, np.sort(random.permutation(len(train))[:count]))

    def after_epoch(
        self, network: nn.Module, epoch: int, device: torch.device
    ) -> tuple[Record, Answers | None]:
        """Loss and metrics after an epoch, NaN without a validation set, and its predictions.

        Returns
        -------
        record : dict
            ``validation_loss``, ``validation_spearman``, ``validation_rmse``,
            ``validation_recall_percent``; with a sample of training rows ``train_sample_loss``.
        answers : Answers or None

        Raises
        ------
        TrainingError
            If a prediction is not finite, naming its row.
        """
        data = self.rows
        if data is None:
            return {f"validation_{name}": math.nan for name in ("loss", *_METRICS)}, None
        network.eval()
        loss, mean = self._judge(network, data, f"epoch {epoch}, validation", "validation", device)
        record: Record = {"validation_loss": loss}
        if self.sample is not None:
            place = f"epoch {epoch}, sample of training rows"
            record["train_sample_loss"], _ = self._judge(
                network, self.sample, place, "sampled", device
            )
        network.train()
        values = compute(EvaluationRows(data.pkd, mean, censoring=data.censoring), _METRICS)
        record |= {f"validation_{name}": values[name] for name in _METRICS}
        pairs = np.stack([data.antibody_index, data.antigen_index], axis=1)
        once = np.unique(pairs, axis=0, return_index=True)[1]
        strong = int(((data.pkd >= STRONG_PKD) & (data.censoring >= 0)).sum())
        return record, Answers(mean[once], data.pkd[once], strong)

    def _judge(
        self, network: nn.Module, data: Examples, place: str, part: str, device: torch.device
    ) -> tuple[float, np.ndarray]:
        """Loss over all rows, and the predictions."""
        mean = np.zeros(len(data), dtype=np.float32)
        outputs, labels = [], []
        with torch.inference_mode():
            for rows in batches_by_length(data, self.batch_size):
                batch = collate(data, rows, *self.stores).to(device)
                outputs.append(network(batch))
                check_finite_output(outputs[-1], {}, batch, place, part)
                labels.append(batch.without_molecules())
                mean[rows] = outputs[-1].mean.cpu().numpy()
            parts = zip(outputs, labels, self.objective.shares(labels), strict=True)
            return sum(float(self.objective(*part)[0]) for part in parts), mean


def _part(examples: Examples, rows: np.ndarray) -> Examples:
    names = ("antibody_index", "antigen_index", "pkd", "censoring", "assay", "weight")
    return dataclasses.replace(examples, **{name: getattr(examples, name)[rows] for name in names})
