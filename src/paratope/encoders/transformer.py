"""What transformer encoders share: device, batches of like length, padding without effect."""

import abc
import dataclasses
import functools
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from paratope.encoders.protocol import BaseEncoder
from paratope.errors import EncoderError

if TYPE_CHECKING:
    import torch

# Padded tokens of one forward pass; larger batches are no faster on a CPU, and this fits any GPU.
TOKENS_PER_BATCH = 4096
DEVICES = ("auto", "cpu", "cuda")


def resolve_device(device: str) -> "torch.device":
    """The torch device of ``auto``, ``cpu`` or ``cuda`` (``cuda:1`` for the second GPU).

    Raises
    ------
    EncoderError
        If the name is another, or a GPU is asked for where there is none.

    Examples
    --------
    >>> resolve_device("cpu")
    device(type='cpu')
    """
    import torch

    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.split(":")[0] not in DEVICES:
        raise EncoderError(f"unknown device {device!r}; valid names: {', '.join(DEVICES)}")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise EncoderError(f"device {device!r}: no GPU is visible to torch; use --device cpu")
    try:
        return torch.device(device)
    except RuntimeError as error:
        raise EncoderError(f"device {device!r}: {error}") from error


def length_batches(lengths: list[int], budget: int = TOKENS_PER_BATCH) -> list[list[int]]:
    """Indices of items in batches of like length, each at most `budget` when padded to its longest.

    An item longer than the budget is a batch of its own.

    >>> length_batches([5, 100, 6, 101], budget=202)
    [[1, 3], [0, 2]]
    """
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        # the first of a batch is its longest
        if batches and lengths[batches[-1][0]] * (len(batches[-1]) + 1) <= budget:
            same_scale = lengths[index] * 2 > lengths[batches[-1][0]]
            if same_scale:
                batches[-1].append(index)
                continue
        batches.append([index])
    return [sorted(batch) for batch in batches]


@dataclasses.dataclass(frozen=True, slots=True)
class TokenizedUnit:
    """Token ids of one unit, special tokens included, and where its residues are among them."""

    ids: list[int]
    residue_positions: list[int]


class TransformerEncoder(BaseEncoder):
    """An encoder that is a transformer of `transformers`, loaded when it is first needed.

    A child writes `_load_model` and `_tokenize`.
    """

    def __init__(self, device: str = "auto") -> None:
        self.device = device
        if device != "auto":
            resolve_device(device)
        self._lock = threading.Lock()

    @abc.abstractmethod
    def _load_model(self) -> Any:
        """The model on the CPU, float32, in evaluation mode."""

    @abc.abstractmethod
    def _tokenize(self, unit: tuple[str, ...]) -> TokenizedUnit:
        """Tokens of one unit, with one position per residue and no unknown token."""

    @property
    def _pad_id(self) -> int:
        return 0

    def _hidden(self, ids: "torch.Tensor", mask: "torch.Tensor") -> "torch.Tensor":
        """Last hidden states (B, T, dim) of token ids (B, T) and their mask (B, T)."""
        return self._model(input_ids=ids, attention_mask=mask).last_hidden_state

    @property
    def _model(self) -> Any:
        with self._lock:
            return self._loaded_model

    @functools.cached_property
    def _loaded_model(self) -> Any:
        return self._load_model().eval().requires_grad_(False).to(resolve_device(self.device))

    def _encode_units(self, units: list[tuple[str, ...]]) -> list[np.ndarray]:
        import torch

        tokenized = [self._tokenize(unit) for unit in units]
        rows: list[np.ndarray] = [np.empty(0)] * len(units)
        for batch in length_batches([len(unit.ids) for unit in tokenized]):
            hidden = self._forward([tokenized[index].ids for index in batch])
            for row, index in enumerate(batch):
                positions = torch.tensor(tokenized[index].residue_positions, device=hidden.device)
                rows[index] = hidden[row, positions].cpu().numpy()
        return rows

    def _forward(self, batch: list[list[int]]) -> "torch.Tensor":
        """Last hidden states (B, T, dim) of lists of token ids, padded to the longest."""
        import torch

        longest = max(map(len, batch))
        ids = torch.full((len(batch), longest), self._pad_id)
        mask = torch.zeros((len(batch), longest), dtype=torch.long)
        for row, tokens in enumerate(batch):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            mask[row, : len(tokens)] = 1
        model = self._model
        device = next(model.parameters()).device
        with torch.inference_mode():
            return self._hidden(ids.to(device), mask.to(device)).float()
