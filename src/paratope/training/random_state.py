"""The state of every random number generator: saved, restored, and kept from a caller's view."""

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch


def random_state() -> dict[str, Any]:
    """State of the generators of Python, NumPy, torch and every CUDA device, as plain values."""
    version, words, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = np.random.get_state()
    return {
        "python": [version, torch.tensor(words), gauss],
        "numpy": [str(kind), torch.from_numpy(np.array(keys)), position, has_gauss, cached],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_random_state(state: dict[str, Any]) -> None:
    """Put every generator where it was."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words.tolist()), gauss))
    kind, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((kind, keys.numpy(), position, has_gauss, cached))
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])


def seed_everything(seed: int) -> None:
    """Seed the global generators, which libraries may draw from."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


@contextlib.contextmanager
def callers_random_state_kept() -> Iterator[None]:
    """Whatever is seeded or drawn inside, or in what it decorates, the caller's go on unmoved."""
    state = random_state()
    try:
        yield
    finally:
        restore_random_state(state)
