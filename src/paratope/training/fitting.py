"""`fit`: examples and a recipe in, a trained network out."""

from collections.abc import Mapping
from pathlib import Path

import torch

from paratope.core.errors import TrainingError
from paratope.encoders.transformer import resolve_device
from paratope.models.batches import Embeddings, Examples
from paratope.models.fine_tuning import build_network, embedding_width
from paratope.models.network import Network, NetworkConfig
from paratope.models.recipes import Recipe
from paratope.training.checkpoints import Checkpoints
from paratope.training.loop import FitResult, RunOptions, TrainingLoop
from paratope.training.random_state import callers_random_state_kept, seed_everything
from paratope.training.run_log import RunLog


@callers_random_state_kept()
def fit(
    train: Examples,
    validation: Examples | None,
    recipe: Recipe,
    stores: tuple[Embeddings, Embeddings],
    options: RunOptions | None = None,
    *,
    folder: Path | None = None,
    start: Mapping[str, torch.Tensor] | None = None,
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
