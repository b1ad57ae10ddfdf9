"""The network behind AntiBERTy: a plain BERT (Devlin et al. 2019, arXiv:1810.04805).

Written out because importing the BERT of `transformers` takes longer than everything else that a
first prediction does. Parameters are named as there, so its checkpoints and adapters load.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class Bert(nn.Module):
    """Encoder of token ids; ``config`` as in the checkpoint's ``config.json``."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        dim, self.heads = config["hidden_size"], config["num_attention_heads"]
        eps = config["layer_norm_eps"]
        self.config = SimpleNamespace(**config)
        self.embeddings = nn.ModuleDict(
            {
                "word_embeddings": nn.Embedding(config["vocab_size"], dim),
                "position_embeddings": nn.Embedding(config["max_position_embeddings"], dim),
                "token_type_embeddings": nn.Embedding(config["type_vocab_size"], dim),
                "LayerNorm": nn.LayerNorm(dim, eps=eps),
            }
        )
        wide, layers = config["intermediate_size"], nn.ModuleList()
        for _ in range(config["num_hidden_layers"]):
            projections = {name: nn.Linear(dim, dim) for name in ("query", "key", "value")}
            attention = {"self": nn.ModuleDict(projections), "output": _dense_norm(dim, dim, eps)}
            parts = {
                "attention": nn.ModuleDict(attention),
                "intermediate": nn.ModuleDict({"dense": nn.Linear(dim, wide)}),
                "output": _dense_norm(wide, dim, eps),
            }
            layers.append(nn.ModuleDict(parts))
        self.encoder = nn.ModuleDict({"layer": layers})

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Last hidden states (B, T, dim) of token ids (B, T) and their mask (B, T)."""
        attends = mask[:, None, None, :].bool()  # every query, (B, heads, query, key)

        def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            query, key, value = map(self._by_head, (query, key, value))
            heard = functional.scaled_dot_product_attention(query, key, value, attn_mask=attends)
            return heard.transpose(1, 2).flatten(2)

        positions = torch.arange(ids.shape[1], device=ids.device)
        return self._transform(self._embed(ids, positions), attend)

    def packed(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """Last hidden states (tokens, dim) of rows of token ids, one after the other: no padding.

        Rows of one length should be neighbours: they attend in one call.
        """
        lengths = [len(row) for row in rows]
        spans: list[tuple[int, int]] = []  # how many rows of one length, and that length
        for length in lengths:
            many = spans.pop()[0] if spans and spans[-1][1] == length else 0
            spans.append((many + 1, length))
        sizes = [many * length for many, length in spans]

        def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            heard = torch.empty_like(query)
            parts = (each.split(sizes) for each in (query, key, value, heard))
            for shape, query, key, value, target in zip(spans, *parts, strict=True):
                rows = (self._by_head(each.unflatten(0, shape)) for each in (query, key, value))
                query, key, value = rows
                states = functional.scaled_dot_product_attention(query, key, value)
                target.copy_(states.transpose(1, 2).reshape(target.shape))
            return heard

        ids = torch.tensor([token for row in rows for token in row])
        positions = torch.cat([torch.arange(length) for length in lengths])
        return self._transform(self._embed(ids, positions), attend)

    def operations(self, lengths: Sequence[int]) -> int:
        """Floating-point operations in matrix products of rows of so many tokens."""
        dim, wide = self.config.hidden_size, self.config.intermediate_size
        each = 2 * dim * (4 * dim + 2 * wide)
        layers = self.config.num_hidden_layers
        return layers * sum(each * length + 4 * dim * length**2 for length in lengths)

    def _embed(self, ids: Tensor, positions: Tensor) -> Tensor:
        embed: Any = self.embeddings
        states = embed["word_embeddings"](ids) + embed["token_type_embeddings"].weight[0]
        return embed["LayerNorm"](states + embed["position_embeddings"](positions))

    def _transform(self, states: Tensor, attend: Callable[..., Tensor]) -> Tensor:
        """All layers; `attend` gives from queries, keys and values (…, dim) what each hears."""
        layers: Any = self.encoder["layer"]
        for layer in layers:
            parts = layer["attention"]["self"]
            heard = attend(*(parts[name](states) for name in ("query", "key", "value")))
            states = _add(layer["attention"]["output"], heard, states)
            wide = functional.gelu(layer["intermediate"]["dense"](states))
            states = _add(layer["output"], wide, states)
        return states

    def _by_head(self, states: Tensor) -> Tensor:
        """(B, T, dim) as (B, heads, T, dim of a head)."""
        return states.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class MaskedLanguageModel(nn.Module):
    """BERT with its head, from states (..., dim) to logits of tokens (..., tokens)."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        dim = config["hidden_size"]
        self.bert = Bert(config)
        transform = _dense_norm(dim, dim, config["layer_norm_eps"])
        decoder = nn.Linear(dim, config["vocab_size"])
        self.cls = nn.ModuleDict(
            {"predictions": nn.ModuleDict({"transform": transform, "decoder": decoder})}
        )

    @property
    def base_model(self) -> Bert:
        """The encoder without its head, as `transformers` calls it."""
        return self.bert

    def logits(self, states: Tensor) -> Tensor:
        """Logits of each token at each position."""
        head: Any = self.cls["predictions"]
        transform = head["transform"]
        states = transform["LayerNorm"](functional.gelu(transform["dense"](states)))
        return head["decoder"](states)


def _dense_norm(before: int, dim: int, eps: float) -> nn.ModuleDict:
    return nn.ModuleDict({"dense": nn.Linear(before, dim), "LayerNorm": nn.LayerNorm(dim, eps=eps)})


def _add(output: Any, update: Tensor, states: Tensor) -> Tensor:
    return output["LayerNorm"](output["dense"](update) + states)


class Int8Linear(nn.Module):
    """A linear layer of int8 products: weights by output, activations as one, from their range."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        weight = layer.weight.detach()
        scale = weight.abs().amax(1).clamp(min=1e-12).double() / 127
        zero = torch.zeros(len(weight), dtype=torch.long)
        with warnings.catch_warnings():  # of torch: that this goes, once another is there
            warnings.simplefilter("ignore", UserWarning)
            kept = torch.quantize_per_channel(weight, scale, zero, 0, torch.qint8)
        self.packed = torch.ops.quantized.linear_prepack(kept, layer.bias.detach())

    def forward(self, states: Tensor) -> Tensor:
        """Outputs (…, out) of states (…, in)."""
        # activations of seven bits: sums of two products overflow sixteen bits otherwise
        return torch.ops.quantized.linear_dynamic(states, self.packed, True)


def int8_copy(network: Bert) -> Bert:
    """The network with its linear layers in int8, sharing everything else; for inference only."""
    copy = Bert.__new__(Bert)
    nn.Module.__init__(copy)
    copy.config, copy.heads = network.config, network.heads
    copy.embeddings = network.embeddings
    copy.encoder = _in_int8(network.encoder)
    return copy


def _in_int8(part: nn.Module) -> Any:
    if isinstance(part, nn.Linear):
        return Int8Linear(part)
    if isinstance(part, nn.ModuleList):
        return nn.ModuleList(map(_in_int8, part))
    if isinstance(part, nn.ModuleDict):
        return nn.ModuleDict({name: _in_int8(each) for name, each in part.items()})
    return part
