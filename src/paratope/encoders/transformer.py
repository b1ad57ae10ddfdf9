"""What transformer encoders share: device, batches of like length, padding without effect."""

import abc
import dataclasses
import importlib.metadata
import importlib.util
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from paratope.core.errors import EncoderError
from paratope.encoders.protocol import BaseEncoder
from paratope.molecules.sequences import Chains

if TYPE_CHECKING:
    import torch

# Padded tokens of one forward pass; larger batches are no faster on a CPU, and this fits any GPU.
TOKENS_PER_BATCH = 4096
DEVICES = ("auto", "cpu", "cuda")


def resolve_device(device: str) -> "torch.device":
    """The torch device of ``auto``, ``cpu``, ``cuda`` or ``cuda:1``; `EncoderError` for others."""
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
    """
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        longest = lengths[batches[-1][0]] if batches else 0
        fits = batches and longest * (len(batches[-1]) + 1) <= budget
        if fits and lengths[index] * 2 > longest:
            batches[-1].append(index)
        else:
            batches.append([index])
    return [sorted(batch) for batch in batches]


@dataclasses.dataclass(frozen=True, slots=True)
class TokenizedUnit:
    """Token ids of one unit, special tokens included, and where its residues are among them."""

    ids: list[int]
    residue_positions: list[int]


@dataclasses.dataclass(frozen=True, slots=True)
class TokenTable:
    """What the token ids of an encoder mean."""

    residues: Mapping[str, int]  # Id of each letter of `paratope.molecules.sequences.ALPHABET`
    special: frozenset[int]  # Tokens around and between chains
    ends: frozenset[int]  # Those of them after which a chain is over
    pad: int
    unknown: int


class TransformerEncoder(BaseEncoder):
    """A transformer, loaded when needed; a child writes the abstract methods below."""

    def __init__(self, device: str = "auto") -> None:
        self.device = device
        if device != "auto":
            resolve_device(device)
        self._lock = threading.Lock()
        self._loaded: Any = None

    @abc.abstractmethod
    def _load_model(self) -> Any:
        """The model on the CPU, float32, in evaluation mode."""

    @abc.abstractmethod
    def _tokenize(self, unit: Chains) -> TokenizedUnit:
        """Tokens of one unit, with one position per residue and no unknown token."""

    def _hidden(self, ids: "torch.Tensor", mask: "torch.Tensor") -> "torch.Tensor":
        """Last hidden states (B, T, dim) of token ids and mask (B, T)."""
        return self.language_model(input_ids=ids, attention_mask=mask).last_hidden_state

    @property
    @abc.abstractmethod
    def token_table(self) -> TokenTable:
        """What its token ids mean."""

    @property
    def language_model(self) -> Any:
        """The model of `transformers`, read when first asked for: frozen, in evaluation mode."""
        with self._lock:
            if self._loaded is None:
                model = self._load_model().eval().requires_grad_(False)
                self._loaded = model.to(resolve_device(self.device))
            return self._loaded

    def tokenize(self, unit: Chains) -> TokenizedUnit:
        """Tokens of one unit (see `BaseEncoder`); `EncoderError` if it cannot be encoded."""
        self._check_unit(unit)
        return self._tokenize(unit)

    def residue_states(self, units: Sequence[TokenizedUnit]) -> list["torch.Tensor"]:
        """Last hidden states of each unit's residues, (residues, dim); gradients where trained."""
        states = dict(self._states(units))
        return [states[index] for index in range(len(units))]

    def _encode_units(self, units: list[Chains]) -> list[np.ndarray]:
        import torch

        rows: list[np.ndarray] = [np.empty(0)] * len(units)
        _ = (
            self.language_model
        )  # loaded here: tensors made in inference mode can never be trained with
        with torch.inference_mode():
            for index, states in self._states([self._tokenize(unit) for unit in units]):
                rows[index] = states.cpu().numpy()
        return rows

    def _states(self, units: Sequence[TokenizedUnit]) -> Iterator[tuple[int, "torch.Tensor"]]:
        """Index and residues' states of each unit, batch by batch."""
        import torch

        for batch in length_batches([len(unit.ids) for unit in units]):
            hidden = self._forward([units[index].ids for index in batch])
            for row, index in enumerate(batch):
                positions = torch.tensor(units[index].residue_positions, device=hidden.device)
                yield index, hidden[row, positions]

    def _forward(self, batch: list[list[int]]) -> "torch.Tensor":
        """Last hidden states (B, T, dim) of lists of token ids, padded to the longest."""
        ids, mask = padded_ids(batch, self.token_table.pad)
        device = next(self.language_model.parameters()).device
        return self._hidden(ids.to(device), mask.to(device)).float()


def padded_ids(rows: Sequence[Sequence[int]], pad: int) -> tuple["torch.Tensor", "torch.Tensor"]:
    """Token ids of several units and their mask, (rows, longest) int64 each."""
    import torch

    ids = torch.full((len(rows), max(map(len, rows))), pad)
    mask = torch.zeros_like(ids)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = torch.tensor(row)
        mask[index, : len(row)] = 1
    return ids, mask


def installed_file(package: str, path: str) -> tuple[Path | None, str]:
    """A file of an installed package (None: not there), and its version ("": not installed)."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None, ""
    file = Path(next(iter(spec.submodule_search_locations))) / path
    return file if file.is_file() else None, importlib.metadata.version(package)
