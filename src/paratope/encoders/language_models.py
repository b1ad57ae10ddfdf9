"""Language models from a hub, one token per residue: ESM-2, ProtT5, IgT5 and IgBert.

| encoder | tokens |
|---|---|
| ESM-2 (Lin et al. 2023, Science 379, 1123) | each chain alone, ``<cls> M K V … <eos>`` |
| ProtT5 (Elnaggar et al. 2021, IEEE TPAMI 44, 7112) | each chain alone, ``E V Q … S </s>`` |
| IgT5 (Kenlay et al. 2024, arXiv:2403.17889) | ``E V Q … S </s> D I Q … K </s>``, heavy, light |
| IgBert (Kenlay et al. 2024) | ``[CLS] E V Q … S [SEP] D I Q … K [SEP]``, heavy then light |

IgT5 has ProtT5's vocabulary, in which a residue is a token only with the mark of a preceding space:
residues written without spaces would become one unknown token. IgBert has ProtBert's.
"""

import functools
import importlib
import importlib.resources
import tomllib
from typing import Any

from paratope.core.errors import EncoderError
from paratope.encoders.hub import HubModel, LocalFiles, load_weights, read_vocabulary
from paratope.encoders.transformer import TokenizedUnit, TokenTable, TransformerEncoder
from paratope.molecules.sequences import ALPHABET, Chains

_FILE = importlib.resources.files("paratope.encoders") / "published.toml"
PUBLISHED = {
    name: HubModel(name, model["repository"], model.get("revision"), model["architecture"])
    for name, model in tomllib.loads(_FILE.read_text("utf-8")).items()
}


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
