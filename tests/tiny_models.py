"""Small models of the published architectures, with the published vocabularies, as files."""

import struct
from pathlib import Path
from typing import Any

from paratope.encoders import ENCODERS

PUBLISHED = [name for name, entry in ENCODERS.items() if entry.hub is not None]
# ProtBert's, which IgBert has: residues by frequency, then the vague ones
IGBERT_TOKENS = "[PAD] [UNK] [CLS] [SEP] [MASK] L A G V E S I K R D T P N Q F Y M H C W X U B Z O"
BERT = {"hidden_size": 24, "num_hidden_layers": 2}
BERT |= {"intermediate_size": 48, "num_attention_heads": 4}
TINY = {
    "esm": BERT,
    "t5": {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4},
    "bert": {**BERT, "max_position_embeddings": 600},
}


def tokenizer_of(name: str, vocabularies: dict[str, list[str]], folder: Path) -> Any:
    """The tokenizer of `transformers` with the published vocabulary."""
    import transformers

    if name.startswith("esm2"):
        (folder / "vocab.txt").write_text("\n".join(vocabularies["esm2"]))
        return transformers.EsmTokenizer(str(folder / "vocab.txt"))
    if name == "igbert":
        tokens = {token: index for index, token in enumerate(vocabularies["igbert"])}
        return transformers.BertTokenizer(vocab=tokens, do_lower_case=False)
    pieces = [(token, -1.0) for token in vocabularies["igt5" if "igt5" in name else "prott5"]]
    return transformers.T5Tokenizer(vocab=pieces)


def write_model(name: str, vocabularies: dict[str, list[str]], folder: Path) -> Path:
    """Files of a published encoder's architecture, small, with random weights."""
    import torch

    entry = ENCODERS[name]
    config_class, model_class = entry.encoder_class.classes()
    fields = {**entry.hub.architecture, **TINY[entry.encoder_class.model_type]}
    torch.manual_seed(0)
    # wide weights, so that a residue's neighbours matter
    model = model_class(config_class(**fields), **entry.encoder_class.model_options)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(std=0.3)
    model.save_pretrained(folder)
    tokenizer_of(name, vocabularies, folder).save_pretrained(folder)
    return folder


def sentencepiece_model(pieces: list[str]) -> bytes:
    """A unigram model of these pieces in SentencePiece's file format (protocol buffers)."""

    def field(number: int, wire: int, payload: bytes) -> bytes:
        key = bytes([number << 3 | wire])
        return key + (bytes([len(payload)]) if wire == 2 else b"") + payload

    kinds = {"<unk>": 2, "<pad>": 3, "</s>": 3}
    body = b""
    for piece in pieces:
        entry = field(1, 2, piece.encode()) + field(2, 5, struct.pack("<f", -1.0))
        entry += field(3, 0, bytes([kinds.get(piece, 1)]))
        body += field(1, 2, entry)
    # trainer: unigram, ids of <unk>, <s> (none), </s>, <pad>
    none = b"\xff" * 9 + b"\x01"
    trainer = field(3, 0, b"\x01") + b"\xc0\x02\x02" + b"\xc8\x02" + none + b"\xd0\x02\x01"
    return body + field(2, 2, trainer + b"\xd8\x02\x00") + field(3, 2, field(1, 2, b"identity"))
