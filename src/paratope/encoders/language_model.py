"""What encoders from a hub share: name and size from their files, one token per residue."""

import abc
import functools
from typing import Any

from paratope.core.errors import EncoderError
from paratope.encoders.hub import HubModel, LocalFiles, load_weights, read_vocabulary
from paratope.encoders.transformer import TokenizedUnit, TokenTable, TransformerEncoder
from paratope.molecules.sequences import ALPHABET


class LanguageModelEncoder(TransformerEncoder):
    """The last hidden layer of a language model whose files come from a hub or a folder.

    A child states the conventions of its input as class attributes, below, and names its classes in
    `transformers`. Residues are looked up one by one in the vocabulary: nothing is left to a
    tokenizer's settings of spaces and case, and a residue can never become an unknown token.

    Parameters
    ----------
    model : HubModel
    files : LocalFiles
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    """

    model_type: str  # in config.json
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

    @staticmethod
    @abc.abstractmethod
    def classes() -> tuple[Any, Any]:
        """Configuration and model class of `transformers`."""

    @classmethod
    def build_empty(cls, model: HubModel) -> Any:
        """The published size of the model with weights at random (none, on the ``meta`` device)."""
        config_class, model_class = cls.classes()
        return model_class(config_class(**model.architecture), **cls.model_options)

    def _load_model(self) -> Any:
        return load_weights(self.classes()[1], self._files, **self.model_options)

    @functools.cached_property
    def _vocabulary(self) -> dict[str, int]:
        """Ids of what is needed: special tokens by their text, residues by their letter."""
        found = read_vocabulary(self._files.folder)
        special = {self.pad_token, self.unknown_token, *self.start_tokens, *self.end_tokens}
        texts = {token: token for token in special}
        texts |= {letter: self.residue_prefix + letter for letter in ALPHABET}
        if missing := sorted(text for text in texts.values() if text not in found):
            raise EncoderError(
                f"{self._files.folder}: the vocabulary has no token {', '.join(missing)}; "
                f"these are not the files of {self.name}"
            )
        vocabulary = {text: found[token] for text, token in texts.items()}
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

    def _tokenize(self, unit: tuple[str, ...]) -> TokenizedUnit:
        vocabulary = self._vocabulary
        ids = [vocabulary[token] for token in self.start_tokens]
        positions: list[int] = []
        for number, chain in enumerate(unit):
            if number and self.chain_separator is not None:
                ids.append(vocabulary[self.chain_separator])
            positions += range(len(ids), len(ids) + len(chain))
            ids += [vocabulary[letter] for letter in chain]
        ids += [vocabulary[token] for token in self.end_tokens]
        return TokenizedUnit(ids, positions)

    def _check_unit(self, unit: tuple[str, ...]) -> None:
        if len(unit) > 2:
            raise EncoderError(
                f"{self.name}: {len(unit)} chains; it takes an antibody's heavy, or heavy and light"
            )
        super()._check_unit(unit)
