"""The ``igbert`` encoder: IgBert (Kenlay et al. 2024, arXiv:2403.17889), paired antibody chains.

``[CLS] E V Q … S [SEP] D I Q … K [SEP]``, heavy then light, in ProtBert's vocabulary.
"""

from typing import Any

from paratope.encoders.hub import HubModel
from paratope.encoders.language_model import LanguageModelEncoder

IGBERT = HubModel(
    "igbert",
    "Exscientia/IgBert",
    None,
    {
        "vocab_size": 30,
        "hidden_size": 1024,
        "num_hidden_layers": 30,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
        "max_position_embeddings": 40000,
        "type_vocab_size": 2,
    },
)


class IgBertEncoder(LanguageModelEncoder):
    """IgBert's last hidden layer, heavy and light chain together."""

    paired = True
    max_residues = 509  # 512 tokens with [CLS] and two [SEP]: twice what two variable domains need
    model_type = "bert"
    dim_field = "hidden_size"
    pad_token = "[PAD]"
    unknown_token = "[UNK]"
    start_tokens = ("[CLS]",)
    chain_separator = "[SEP]"
    end_tokens = ("[SEP]",)
    model_options = {"add_pooling_layer": False}

    @staticmethod
    def classes() -> tuple[Any, Any]:
        """Configuration and model class of `transformers`."""
        from transformers.models.bert.configuration_bert import BertConfig
        from transformers.models.bert.modeling_bert import BertModel

        return BertConfig, BertModel
