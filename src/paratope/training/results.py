"""What training gives: scores of examples, the record of an epoch, the trained network."""

import dataclasses
from typing import Any

import numpy as np
import torch
from torch import Tensor

from paratope.models.batches import Embeddings, Examples, batches_by_length, collate
from paratope.models.fine_tuning import build_network
from paratope.models.network import Network, NetworkConfig
from paratope.models.recipes import Recipe

Record = dict[str, Any]


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
        network = build_network(self.config, self.recipe.lora, self.recipe.encoders.by_side)
        network.load_state_dict(self.state)
        return network.eval()


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
        Hold the embedding of every molecule of the examples.
    batch_size : int

    Returns
    -------
    Scores
    """
    answers = np.zeros((3, len(examples)), dtype=np.float32)
    device = next(network.parameters()).device
    was_training = network.training
    network.eval()
    with torch.inference_mode():
        for rows in batches_by_length(examples, batch_size):
            output = network(collate(examples, rows, antibody_store, antigen_store).to(device))
            for number, tensor in enumerate(output):
                answers[number, rows] = tensor.cpu().numpy()
    network.train(was_training)
    return Scores(*answers)
