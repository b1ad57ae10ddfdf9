"""The ``antiberty`` encoder: AntiBERTy (Ruffolo, Gray & Sulam 2021, arXiv:2112.07782).

Its weights come with ``antiberty==0.1.3``; nothing of that package is imported or run. They are
read with ``weights_only=True`` into a BERT of ours. AntiBERTy was trained on single antibody chains
and says nothing about other proteins.
"""

import copy
import functools
import json
import pickle
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from paratope.core.errors import EncoderError
from paratope.encoders.language_models import (
    TokenizedUnit,
    TokenTable,
    TransformerEncoder,
    installed_file,
    length_batches,
    resolve_device,
)
from paratope.molecules.sequences import ALPHABET, AMINO_ACIDS, Chains

PACKAGE_VERSION = "0.1.3"
_MODEL = "trained_models/AntiBERTy_md_smooth"
# Classes of its species classifier, in the order of its outputs.
SPECIES = ("camel", "human", "mouse", "rabbit", "rat", "rhesus")
_OF_SPECIES = (
    *("bert.pooler.dense.weight", "bert.pooler.dense.bias"),
    *("cls.species.weight", "cls.species.bias"),
)
# Chains whose species is remembered from the pass that encoded them.
_REMEMBERED = 50_000
# Tokens of one pass without padding.
PACKED_TOKENS = 2048
# What the checkpoint holds beyond a masked language model: a pooler, three classifiers, a constant.
# The head's bias is there twice.
_UNUSED_WEIGHTS = r"pooler\.|cls\.(species|chain|graft|predictions\.bias)|position_ids"


class AntibertyEncoder(TransformerEncoder):
    """AntiBERTy's last hidden layer, chain by chain: ``[CLS] … [SEP]``; X is read as ``[MASK]``."""

    name = f"antiberty@{PACKAGE_VERSION}"
    dim = 512
    max_residues = 510

    def __init__(self, device: str = "auto") -> None:
        super().__init__(device)
        path, version = installed_file("antiberty", f"{_MODEL}/pytorch_model.bin")
        if path is None or version != PACKAGE_VERSION:
            raise EncoderError(
                f"antiberty: version {version} is installed, which has not the weights of "
                f"{PACKAGE_VERSION}; pip install antiberty=={PACKAGE_VERSION}"
                if version
                else "antiberty: the package with its weights is missing; "
                f"pip install antiberty=={PACKAGE_VERSION}"
            )
        self._folder = path.parent
        self._int8: Any = None  # The network of `in_int8`
        self._species: dict[bytes, np.ndarray] = {}

    @functools.cached_property
    def _vocabulary(self) -> dict[str, int]:
        tokens = (self._folder.parent / "vocab.txt").read_text().split()
        return {token: index for index, token in enumerate(tokens)}

    @functools.cached_property
    def token_table(self) -> TokenTable:
        """What its token ids mean."""
        ids = self._vocabulary
        return TokenTable(
            residues={letter: ids[_token(letter)] for letter in ALPHABET},
            special=frozenset((ids["[CLS]"], ids["[SEP]"])),
            ends=frozenset((ids["[SEP]"],)),
            pad=ids["[PAD]"],
            unknown=ids["[UNK]"],
        )

    def _load_model(self) -> Any:
        import torch

        from paratope.encoders.antiberty_network import MaskedLanguageModel

        path = self._folder / "pytorch_model.bin"
        try:
            weights = torch.load(path, weights_only=True, map_location="cpu")
        except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise EncoderError(f"{path} cannot be read ({error}); {_HOW_TO_INSTALL}") from error
        self._species_head = [weights[name].to(resolve_device(self.device)) for name in _OF_SPECIES]
        used = {key: value for key, value in weights.items() if not re.search(_UNUSED_WEIGHTS, key)}
        with torch.device("meta"):  # draws no weights: the caller's random state is theirs
            model = MaskedLanguageModel(json.loads((self._folder / "config.json").read_text()))
        try:
            model.load_state_dict(used, assign=True)
        except RuntimeError as error:
            raise EncoderError(f"{path}: unexpected weights: {error}; {_HOW_TO_INSTALL}") from error
        return model

    def _hidden(self, ids: Any, mask: Any) -> Any:
        return self.language_model.bert(ids, mask)

    def in_int8(self) -> "AntibertyEncoder":
        """An encoder of the same weights in int8, for CPUs: faster, and not quite the same.

        Weights are rounded by output, activations by their range in a batch, so that companions
        change the numbers a little. The name says so, that no store mixes them. Raises
        `EncoderError` on a GPU, and where torch has no such products.
        """
        import torch

        from paratope.encoders.antiberty_network import int8_copy

        if resolve_device(self.device).type != "cpu":
            raise EncoderError(f"int8 is for CPUs, not for {self.device!r}; use --device cpu")
        if torch.backends.quantized.engine not in ("x86", "fbgemm", "onednn"):
            raise EncoderError("this torch has no int8 products for this processor; use float32")
        other = copy.copy(self)
        other.name, other._species = f"{self.name}+int8", {}
        other._int8 = int8_copy(self.language_model.bert)
        return other

    def _encode_units(self, units: list[Chains]) -> list[np.ndarray]:
        import torch

        model = self.language_model
        network = self._int8 or model.bert
        if next(model.parameters()).device.type != "cpu":
            return super()._encode_units(units)
        rows: list[np.ndarray] = [np.empty(0)] * len(units)
        tokens = [self._tokenize(unit).ids for unit in units]
        for batch in length_batches([len(ids) for ids in tokens], PACKED_TOKENS):
            batch.sort(key=lambda index: -len(tokens[index]))
            chains = [tokens[index] for index in batch]
            with torch.inference_mode():
                states = network.packed(chains).split([len(ids) for ids in chains])
                self._remember_species(chains, torch.stack([each[0] for each in states]))
            for index, each in zip(batch, states, strict=True):
                rows[index] = each[1:-1].numpy().copy()  # not the whole batch
        return rows

    def _forward(self, batch: list[list[int]]) -> Any:
        hidden = super()._forward(batch)
        self._remember_species(batch, hidden[:, 0])
        return hidden

    def _remember_species(self, chains: list[list[int]], first: Any) -> None:
        """Keep the species of chains from their first states (chains, dim)."""
        import torch

        pooler, pooler_bias, species, species_bias = self._species_head
        with torch.inference_mode():  # of the first token, as the classifier was trained
            pooled = torch.tanh(first @ pooler.T + pooler_bias)
            logits = (pooled @ species.T + species_bias).cpu().numpy()
        if len(self._species) > _REMEMBERED:
            self._species.clear()
        self._species.update(zip(map(bytes, chains), logits, strict=True))

    def species_logits(self, chains: Sequence[str]) -> np.ndarray:
        """Logits of `SPECIES`, (chains, 6); chains just encoded cost nothing; as `encode`."""
        keys = [bytes(self.tokenize((chain,)).ids) for chain in chains]
        logits = {key: self._species.get(key) for key in keys}
        missing = [key for key in logits if logits[key] is None]
        for batch in length_batches([len(key) for key in missing]):
            self._forward([list(missing[index]) for index in batch])
            logits |= {missing[index]: self._species[missing[index]] for index in batch}
        rows = [logits[key] for key in keys]
        return np.array(rows, dtype=np.float32).reshape(len(chains), len(SPECIES))

    def _tokenize(self, unit: Chains) -> TokenizedUnit:
        (chain,) = unit
        vocabulary = self._vocabulary
        ids = [vocabulary[token] for token in ("[CLS]", *map(_token, chain), "[SEP]")]
        return TokenizedUnit(ids, list(range(1, len(chain) + 1)))

    def log_likelihoods(self, chain: str, masked: bool = False) -> np.ndarray:
        """Natural log-probability of each of `AMINO_ACIDS` at each position, (residues, 20).

        With `masked`, each position is masked in turn, a forward pass each: the model does not see
        what it is asked about. Raises as `encode`.
        """
        import torch

        ids = self.tokenize((chain,)).ids
        columns = [self._vocabulary[residue] for residue in AMINO_ACIDS]
        positions = torch.arange(1, len(chain) + 1)
        if masked:
            mask_id = self._vocabulary["[MASK]"]
            batches = [
                self._forward([ids[:i] + [mask_id] + ids[i + 1 :] for i in batch.tolist()])[
                    torch.arange(len(batch)), batch
                ]
                for batch in positions.split(32)
            ]
            hidden = torch.cat(batches)
        else:
            hidden = self._forward([ids])[0, 1:-1]
        with torch.inference_mode():
            logits = self.language_model.logits(hidden)[:, columns]  # (residues, 20)
            return torch.log_softmax(logits, dim=-1).cpu().numpy()


_HOW_TO_INSTALL = (
    f"reinstall its weights: pip install --force-reinstall antiberty=={PACKAGE_VERSION}"
)


def _token(letter: str) -> str:
    return "[MASK]" if letter == "X" else letter
