"""`fit`: examples and a recipe in, a trained network out."""

import random
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric

from paratope.core.errors import TrainingError
from paratope.core.interruption import Interruption
from paratope.encoders.transformer import resolve_device
from paratope.models.batches import Embeddings, Examples
from paratope.models.fine_tuning import build_network, embedding_width
from paratope.models.network import Network, NetworkConfig
from paratope.models.recipes import Recipe
from paratope.training.checkpoints import Checkpoints
from paratope.training.loggers import LoggerSet
from paratope.training.loop import TrainingLoop
from paratope.training.results import FitResult, Record
from paratope.training.run_log import RunLog


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
    start: Mapping[str, torch.Tensor] | None = None,
    progress: bool | None = None,
    on_epoch: Callable[[Record], None] | None = None,
    loggers: LoggerSet | None = None,
    log: RunLog | None = None,
    interruption: Interruption | None = None,
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
    start : mapping of str to Tensor, optional
        Weights to go on from, of a network of this recipe; by default drawn at random.
    progress : bool, optional
        Show a bar on stderr; by default if that is a terminal.
    on_epoch : callable, optional
        Called with every epoch's record.
    loggers : LoggerSet, optional
        Given the history after every epoch.
    log : RunLog, optional
        Told what happens.
    interruption : Interruption, optional
        Heeded between batches; `Interrupted` is raised once the last step is saved.

    Returns
    -------
    FitResult

    Raises
    ------
    EncoderError
        If there is no such device.
    TrainingError
        If there are no examples, the checkpoint is of other settings or rows, no checkpoint is
        whole, or numbers are no longer finite.
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
    if start is not None:
        network.load_state_dict(start)
    log = log or RunLog()
    checkpoints = None if folder is None else Checkpoints(folder)
    loop = TrainingLoop(
        *(network, train, validation, recipe, stores, checkpoints, fabric),
        *(log, interruption or Interruption()),
    )
    if resume and checkpoints is not None:
        _resume(loop, checkpoints, log)
    written = loggers or LoggerSet({}, log.note)

    def after_epoch(record: Record) -> None:
        written.log(loop.progress.history)
        if on_epoch is not None:
            on_epoch(record)

    written.log(loop.progress.history)  # what a run that was killed did not come to
    return loop.run(sys.stderr.isatty() if progress is None else progress, after_epoch)


def _resume(loop: TrainingLoop, checkpoints: Checkpoints, log: RunLog) -> None:
    """Bring a new loop to where its newest good checkpoint is, and say where that is."""
    state, notes = checkpoints.load()
    for note in notes:
        log.note(note)
    if state is None:
        log.note(f"There is no checkpoint in {checkpoints.folder}: starting afresh.")
        return
    loop.load_state_dict(state)
    progress, plan = loop.progress, loop.plan
    if progress.stopped:
        log.note(f"Training is done already: {progress.stopped}.")
    else:
        log.note(
            f"Going on in epoch {plan.epoch + 1}, after {plan.position} of {len(plan)} batches "
            f"and {progress.step} steps in all."
        )


def untrained_network(
    recipe: Recipe, examples: Examples, stores: tuple[Embeddings, Embeddings]
) -> Network:
    """The recipe's network for the embeddings in the stores, answering about the labels' mean."""
    antibody_dim = embedding_width(stores[0], examples.antibodies[0])
    antigen_dim = embedding_width(stores[1], examples.antigens[0])
    config = NetworkConfig(antibody_dim, antigen_dim, **recipe.network.model_dump())
    network = build_network(config, recipe.lora, recipe.encoders.by_side)
    exact = examples.pkd[examples.censoring == 0]
    known = exact if len(exact) else examples.pkd
    network.set_output_scale(float(known.mean()), float(known.std()))
    return network
