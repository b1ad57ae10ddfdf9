"""Language models from a hub, one token per residue: ESM-2, ProtT5, IgT5 and IgBert.

| encoder | tokens |
|---|---|
| ESM-2 (Lin et al. 2023, Science 379, 1123) | each chain alone, ``<cls> M K V … <eos>`` |
| ProtT5 (Elnaggar et al. 2021, IEEE TPAMI 44, 7112) | each chain alone, ``E V Q … S </s>`` |
| IgT5 (Kenlay et al. 2024, arXiv:2403.17889) | ``E V Q … S </s> D I Q … K </s>``, heavy, light |
| IgBert (Kenlay et al. 2024) | ``[CLS] E V Q … S [SEP] D I Q … K [SEP]``, heavy then light |

IgT5 has ProtT5's vocabulary, in which a residue is a token only with the mark of a preceding space:
residues written without spaces would become one unknown token. IgBert has ProtBert's.

First what all transformer encoders share: device, batches of like length, padding without effect.
"""

import abc
import dataclasses
import functools
import importlib
import importlib.metadata
import importlib.resources
import importlib.util
import threading
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from paratope.core.errors import EncoderError
from paratope.encoders.hub import HubModel, LocalFiles, load_weights, read_vocabulary
from paratope.encoders.protocol import BaseEncoder
from paratope.molecules.sequences import ALPHABET, Chains

if TYPE_CHECKING:
    import torch


# Padded tokens of one forward pass; larger batches are no faster on a CPU, and this fits any GPU.
TOKENS_PER_BATCH = 4096
DEVICES = ("auto", "cpu", "cuda")
_FILE = importlib.resources.files("paratope.encoders") / "published.toml"
PUBLISHED = {
    name: HubModel(name, model["repository"], model.get("revision"), model["architecture"])
    for name, model in tomllib.loads(_FILE.read_text("utf-8")).items()
}


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


class LanguageModelEncoder(TransformerEncoder):
    """The last hidden layer of a language model whose files come from a hub or a folder.

    A child states the conventions of its input below. Residues are looked up one by one in the
    vocabulary: nothing is left to a tokenizer's settings, and none can become an unknown token.
    """

    model_type: str  # in config.json, and the module of `transformers`
    class_names: tuple[str, str]
    dim_field: str  # in config.json
    residue_prefix: str = ""  # of a residue's token
    pad_token: str
    unknown_token: str
    start_tokens: tuple[str, ...] = ()
    chain_separator: str | None = None  # between the chains of a paired encoder
    end_tokens: tuple[str, ...]
    model_options: dict[str, Any] = {}

    def __init__(self, model: HubModel, files: LocalFiles, device: str = "auto") -> None:
        super().__init__(device)
        self.name = f"{model.name}@{files.revision}"
        self.dim = int(files.read_config(self.model_type)[self.dim_field])
        self._files = files

    @classmethod
    def classes(cls) -> tuple[Any, Any]:
        """Configuration and model class of `transformers`."""
        modules = (
            importlib.import_module(f"transformers.models.{cls.model_type}.{part}_{cls.model_type}")
            for part in ("configuration", "modeling")
        )
        configuration, model = map(getattr, modules, cls.class_names)
        return configuration, model

    def _load_model(self) -> Any:
        return load_weights(self.classes()[1], self._files, **self.model_options)

    @functools.cached_property
    def _vocabulary(self) -> dict[str, int]:
        """Token ids: special tokens by their text, residues by their letter."""
        ids = read_vocabulary(self._files.folder)
        special = {self.pad_token, self.unknown_token, *self.start_tokens, *self.end_tokens}
        texts = {token: token for token in special}
        texts |= {letter: self.residue_prefix + letter for letter in ALPHABET}
        if missing := sorted(text for text in texts.values() if text not in ids):
            raise EncoderError(
                f"{self._files.folder}: the vocabulary has no token {', '.join(missing)}; "
                f"these are not the files of {self.name}"
            )
        vocabulary = {text: ids[token] for text, token in texts.items()}
        assert all(vocabulary[letter] != vocabulary[self.unknown_token] for letter in ALPHABET)
        return vocabulary

    @functools.cached_property
    def token_table(self) -> TokenTable:
        """What its token ids mean."""
        ids = self._vocabulary
        return TokenTable(
            residues={letter: ids[letter] for letter in ALPHABET},
            special=frozenset(ids[token] for token in (*self.start_tokens, *self.end_tokens)),
            ends=frozenset(ids[token] for token in self.end_tokens),
            pad=ids[self.pad_token],
            unknown=ids[self.unknown_token],
        )

    def _tokenize(self, unit: Chains) -> TokenizedUnit:
        if len(unit) > 2:
            raise EncoderError(
                f"{self.name}: {len(unit)} chains; it takes an antibody's heavy, or heavy and light"
            )
        vocabulary = self._vocabulary
        ids = [vocabulary[token] for token in self.start_tokens]
        positions: list[int] = []
        for index, chain in enumerate(unit):
            if index and self.chain_separator is not None:
                ids.append(vocabulary[self.chain_separator])
            positions += range(len(ids), len(ids) + len(chain))
            ids += [vocabulary[letter] for letter in chain]
        ids += [vocabulary[token] for token in self.end_tokens]
        return TokenizedUnit(ids, positions)


class Esm2Encoder(LanguageModelEncoder):
    """ESM-2's last hidden layer, each chain alone."""

    max_residues = 1022  # the crops it was trained on have 1,024 tokens
    model_type, class_names = "esm", ("EsmConfig", "EsmModel")
    dim_field = "hidden_size"
    pad_token = "<pad>"
    unknown_token = "<unk>"
    start_tokens = ("<cls>",)
    end_tokens = ("<eos>",)
    model_options = {"add_pooling_layer": False}


class ProtT5Encoder(LanguageModelEncoder):
    """ProtT5's last hidden layer, each chain alone."""

    # T5's positions are relative and have no end, but attention needs memory by the square: with
    # 32 heads, half a gigabyte a layer for this length
    max_residues = 2000
    model_type, class_names = "t5", ("T5Config", "T5EncoderModel")
    dim_field = "d_model"
    residue_prefix = "\N{LOWER ONE EIGHTH BLOCK}"
    pad_token = "<pad>"
    unknown_token = "<unk>"
    end_tokens = ("</s>",)


class IgT5UnpairedEncoder(ProtT5Encoder):
    """The last hidden layer of the IgT5 that was trained on single chains."""

    max_residues = 511  # 512 tokens with </s>: four times what a variable domain needs


class IgT5Encoder(ProtT5Encoder):
    """IgT5's last hidden layer, heavy and light chain together."""

    paired = True
    max_residues = 510  # 512 tokens with two </s>: twice what two variable domains need
    chain_separator = "</s>"


class IgBertEncoder(LanguageModelEncoder):
    """IgBert's last hidden layer, heavy and light chain together."""

    paired = True
    max_residues = 509  # 512 tokens with [CLS] and two [SEP]: twice what two variable domains need
    model_type, class_names = "bert", ("BertConfig", "BertModel")
    dim_field = "hidden_size"
    pad_token = "[PAD]"
    unknown_token = "[UNK]"
    start_tokens = ("[CLS]",)
    chain_separator = "[SEP]"
    end_tokens = ("[SEP]",)
    model_options = {"add_pooling_layer": False}
