"""An encoder that counts what it is asked."""

import hashlib

import numpy as np

from paratope.encoders import BaseEncoder


class CountingEncoder(BaseEncoder):
    """Vectors from a hash of what is encoded together, and a count of what that was."""

    def __init__(self, name: str = "counting@1", paired: bool = False, dim: int = 4) -> None:
        self.name = name
        self.paired = paired
        self.dim = dim
        self.calls: list[tuple[str, ...]] = []

    def _encode_units(self, units: list[tuple[str, ...]]) -> list[np.ndarray]:
        self.calls += units
        arrays = []
        for unit in units:
            seed = int.from_bytes(hashlib.sha256("|".join(unit).encode()).digest()[:8], "little")
            shape = (sum(map(len, unit)), self.dim)
            arrays.append(np.random.default_rng(seed).normal(size=shape).astype(np.float32))
        return arrays
