"""`fit`: examples and a recipe in, a trained network out."""

import random
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric

from paratope.batches import Embeddings, Examples
from paratope.encoders.transformer import resolve_device
from paratope.errors import TrainingError
from paratope.network import Network, NetworkConfig
from paratope.recipes import Recipe
from paratope.training.checkpoints import load_checkpoint
from paratope.training.loop import TrainingLoop
from paratope.training.results import FitResult, Record


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

    Equal arguments give equal weights on a CPU with the same number of threads.

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
    EncoderError
        If there is no such device.
    TrainingError
        If there are no examples, the checkpoint is of other settings, or numbers are no longer
        finite.
    """
    if not len(train):
        raise TrainingError("nothing to train on: no row has a measured pKd")
    place = resolve_device(device)
    devices = 1 if place.index is None else [place.index]
    precision = recipe.training.precision
    fabric = Fabric(accelerator=place.type, devices=devices, precision=precision)
    stores = (antibody_store, antigen_store)
    seed = recipe.training.seed
    random.seed(seed)
    np.random.seed(seed)  # libraries may draw from the global generators
    torch.manual_seed(seed)
    network = untrained_network(recipe, train, stores)
    loop = TrainingLoop(network, train, validation, recipe, stores, folder, fabric)
    state = load_checkpoint(folder) if resume and folder is not None else None
    if state is not None:
        loop.load_state_dict(state)
    return loop.run(sys.stderr.isatty() if progress is None else progress, on_epoch)


def untrained_network(
    recipe: Recipe, examples: Examples, stores: tuple[Embeddings, Embeddings]
) -> Network:
    """The recipe's network for the embeddings in the stores, answering about the labels' mean."""
    antibody_dim = stores[0].get(examples.antibodies[0]).shape[1]
    antigen_dim = stores[1].get(examples.antigens[0]).shape[1]
    network = Network(NetworkConfig(antibody_dim, antigen_dim, **recipe.network.model_dump()))
    exact = examples.pkd[examples.censoring == 0]
    known = exact if len(exact) else examples.pkd
    network.set_output_scale(float(known.mean()), float(known.std()))
    return network
