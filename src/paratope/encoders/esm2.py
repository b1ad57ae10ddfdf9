"""The ``esm2-*`` encoders: ESM-2 (Lin et al. 2023, Science 379, 1123), for any protein.

Each chain alone, ``<cls> M K V … <eos>``; a molecule of several chains is the rows of each, in
order.
"""

from typing import Any

from paratope.encoders.hub import HubModel
from paratope.encoders.language_model import LanguageModelEncoder


def _esm2(name: str, repository: str, revision: str, layers: int, dim: int, heads: int) -> HubModel:
    architecture = {
        "vocab_size": 33,
        "hidden_size": dim,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": 4 * dim,
        "max_position_embeddings": 1026,
        "position_embedding_type": "rotary",
        "token_dropout": True,
        "layer_norm_eps": 1e-5,
        "pad_token_id": 1,
        "mask_token_id": 32,
    }
    return HubModel(name, f"facebook/{repository}", revision, architecture)


ESM2_MODELS = (
    _esm2(
        "esm2-8m",
        "esm2_t6_8M_UR50D",
        "c731040fcd8d73dceaa04b0a8e6329b345b0f5df",
        layers=6,
        dim=320,
        heads=20,
    ),
    _esm2(
        "esm2-35m",
        "esm2_t12_35M_UR50D",
        "6fbf070e65b0b7291e7bbcd451118c216cff79d8",
        layers=12,
        dim=480,
        heads=20,
    ),
    _esm2(
        "esm2-150m",
        "esm2_t30_150M_UR50D",
        "a695f6045e2e32885fa60af20c13cb35398ce30c",
        layers=30,
        dim=640,
        heads=20,
    ),
    _esm2(
        "esm2-650m",
        "esm2_t33_650M_UR50D",
        "08e4846e537177426273712802403f7ba8261b6c",
        layers=33,
        dim=1280,
        heads=20,
    ),
    _esm2(
        "esm2-3b",
        "esm2_t36_3B_UR50D",
        "476b639933c8baad5ad09a60ac1a87f987b656fc",
        layers=36,
        dim=2560,
        heads=40,
    ),
)


class Esm2Encoder(LanguageModelEncoder):
    """ESM-2's last hidden layer, each chain alone."""

    paired = False
    max_residues = 1022  # the crops it was trained on have 1,024 tokens
    model_type = "esm"
    dim_field = "hidden_size"
    pad_token = "<pad>"
    unknown_token = "<unk>"
    start_tokens = ("<cls>",)
    end_tokens = ("<eos>",)
    model_options = {"add_pooling_layer": False}

    @staticmethod
    def classes() -> tuple[Any, Any]:
        """Configuration and model class of `transformers`."""
        from transformers.models.esm.configuration_esm import EsmConfig
        from transformers.models.esm.modeling_esm import EsmModel

        return EsmConfig, EsmModel
