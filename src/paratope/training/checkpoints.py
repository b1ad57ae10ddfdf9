"""Checkpoints: plain tensors and numbers, written whole or not at all."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from paratope.errors import TrainingError
from paratope.network import NetworkConfig
from paratope.recipes import Recipe
from paratope.tables import atomic_file

LATEST = "checkpoint_latest.pth"
# sections of a recipe that a run must keep when it goes on
_FIXED = ("encoders", "network", "training", "loss", "schedule")


def save_checkpoint(state: dict[str, Any], folder: Path) -> Path:
    """Write a state to ``checkpoint_latest.pth`` in `folder`; a crash leaves the old one intact.

    Returns
    -------
    Path
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / LATEST
    with atomic_file(target) as file:
        torch.save(state, file)
    return target


def load_checkpoint(folder: Path) -> dict[str, Any] | None:
    """State in ``checkpoint_latest.pth``, or None if there is none.

    Raises
    ------
    TrainingError
        If the file is damaged.
    """
    path = folder / LATEST
    if not path.is_file():
        return None
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a different type for each kind of damage
        raise TrainingError(
            f"{path}: damaged checkpoint ({type(error).__name__}); delete it to start afresh"
        ) from error


def weights_of(network: nn.Module) -> dict[str, Tensor]:
    """A copy of a network's weights, on the CPU."""
    return {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}


def check_same_run(
    state: dict[str, Any], recipe: Recipe, config: NetworkConfig, fingerprint: str
) -> None:
    """Make sure that a checkpoint belongs to a run of this recipe, network and training rows.

    Raises
    ------
    TrainingError
        Naming the sections of the recipe that differ, or saying that the rows do.
    """
    own = recipe.model_dump(mode="json")
    changed = [section for section in _FIXED if state["recipe"][section] != own[section]]
    if changed or NetworkConfig(**state["network"]) != config:
        raise TrainingError(
            f"the checkpoint was made with other settings of {', '.join(changed) or 'encoders'}; "
            "resume with the run's own run.toml, or start a new run in another folder"
        )
    if state["training_rows"] != fingerprint:
        raise TrainingError(
            "the checkpoint was made with other training rows: the table or its split has changed; "
            "start a new run in another folder"
        )


def random_state() -> dict[str, Any]:
    """State of every random number generator, as plain values."""
    version, words, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = np.random.get_state()
    return {
        "python": [version, list(words), gauss],
        "numpy": [str(kind), torch.from_numpy(np.array(keys)), position, has_gauss, cached],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_random_state(state: dict[str, Any]) -> None:
    """Put every random number generator where it was."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    kind, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((kind, keys.numpy(), position, has_gauss, cached))
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
