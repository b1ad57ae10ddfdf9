"""How a network does on the validation set after an epoch."""

import math

import numpy as np
import torch
from torch import nn

from paratope.batches import Embeddings, Examples, batches_by_length, collate
from paratope.losses import Objective
from paratope.metrics import compute, judged
from paratope.monitors import collapse
from paratope.training.results import Record

_METRICS = ("spearman", "rmse", "recall_percent")


def validate(
    network: nn.Module,
    objective: Objective,
    data: Examples | None,
    stores: tuple[Embeddings, Embeddings],
    batch_size: int,
    device: torch.device,
) -> Record:
    """Loss, metrics and collapse of the network's answers; NaN without a validation set.

    Returns
    -------
    dict
        ``validation_loss``, ``validation_spearman``, ``validation_rmse``,
        ``validation_recall_percent``, ``distinct``, ``spread_ratio``, ``warning``.
    """
    if data is None:
        missing = {f"validation_{name}": math.nan for name in ("loss", *_METRICS)}
        return {**missing, "distinct": 0, "spread_ratio": math.nan, "warning": ""}
    mean = np.zeros(len(data), dtype=np.float32)
    outputs, labels = [], []
    network.eval()
    with torch.inference_mode():
        for rows in batches_by_length(data, batch_size):
            batch = collate(data, rows, *stores).to(device)
            outputs.append(network(batch))
            labels.append(batch.without_molecules())
            mean[rows] = outputs[-1].mean.cpu().numpy()
        parts = zip(outputs, labels, objective.shares(labels), strict=True)
        loss = sum(float(objective(*part)[0]) for part in parts)
    network.train()
    values = compute(judged(data.pkd, mean, censoring=data.censoring), _METRICS)
    pairs = np.stack([data.antibody_index, data.antigen_index], axis=1)
    once = np.unique(pairs, axis=0, return_index=True)[1]
    found = collapse(mean[once], data.pkd[once])
    return {
        "validation_loss": loss,
        **{f"validation_{name}": values[name] for name in _METRICS},
        "distinct": found.distinct,
        "spread_ratio": found.spread_ratio,
        "warning": found.warning,
    }
