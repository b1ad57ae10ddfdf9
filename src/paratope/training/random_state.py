"""The state of every random number generator, as plain values."""

import random
from typing import Any

import numpy as np
import torch


def random_state() -> dict[str, Any]:
    """State of the generators of Python, NumPy, torch and every CUDA device."""
    version, words, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = np.random.get_state()
    return {
        "python": [version, torch.tensor(words), gauss],
        "numpy": [str(kind), torch.from_numpy(np.array(keys)), position, has_gauss, cached],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_random_state(state: dict[str, Any]) -> None:
    """Put every generator where it was.

    Examples
    --------
    >>> state = random_state()
    >>> drawn = random.random(), np.random.random(), torch.rand(1).item()
    >>> restore_random_state(state)
    >>> drawn == (random.random(), np.random.random(), torch.rand(1).item())
    True
    """
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words.tolist()), gauss))
    kind, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((kind, keys.numpy(), position, has_gauss, cached))
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
