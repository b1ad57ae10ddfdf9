"""The network behind AntiBERTy: a plain BERT (Devlin et al. 2019, arXiv:1810.04805).

Written out because importing the BERT of `transformers` takes longer than everything else that a
first prediction does. Parameters are named as there, so its checkpoints and adapters load.
"""

from collections.abc import Mapping
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
        embed: Any = self.embeddings
        positions = torch.arange(ids.shape[1], device=ids.device)
        states = embed["word_embeddings"](ids) + embed["token_type_embeddings"].weight[0]
        states = embed["LayerNorm"](states + embed["position_embeddings"](positions))
        attends = mask[:, None, None, :].bool()  # every query, (B, heads, query, key)
        layers: Any = self.encoder["layer"]
        for layer in layers:
            parts = layer["attention"]["self"]
            query, key, value = (
                parts[name](states).unflatten(-1, (self.heads, -1)).transpose(1, 2)
                for name in ("query", "key", "value")
            )
            heard = functional.scaled_dot_product_attention(query, key, value, attn_mask=attends)
            states = _add(layer["attention"]["output"], heard.transpose(1, 2).flatten(2), states)
            wide = functional.gelu(layer["intermediate"]["dense"](states))
            states = _add(layer["output"], wide, states)
        return states


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
