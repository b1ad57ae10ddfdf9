"""The T5 encoders: IgT5 for antibodies, ProtT5 for any protein.

IgT5 (Kenlay et al. 2024, arXiv:2403.17889): ``E V Q … S </s> D I Q … K </s>``, heavy then light;
``igt5-unpaired`` takes each chain alone. ProtT5 (Elnaggar et al. 2021, IEEE TPAMI 44, 7112) takes
each chain alone. All three have ProtT5's vocabulary, in which a residue is a token only with the
mark of a preceding space: residues written without spaces would become one unknown token.
"""

from typing import Any

from paratope.encoders.hub import HubModel
from paratope.encoders.language_model import LanguageModelEncoder

_ARCHITECTURE = {
    "vocab_size": 128,
    "d_model": 1024,
    "d_kv": 128,
    "d_ff": 16384,
    "num_layers": 24,
    "num_heads": 32,
    "relative_attention_num_buckets": 32,
    "feed_forward_proj": "relu",
    "layer_norm_epsilon": 1e-6,
}
IGT5 = HubModel("igt5", "Exscientia/IgT5", None, _ARCHITECTURE)
IGT5_UNPAIRED = HubModel("igt5-unpaired", "Exscientia/IgT5_unpaired", None, _ARCHITECTURE)
PROTT5 = HubModel(
    "prott5",
    "Rostlab/prot_t5_xl_half_uniref50-enc",
    "94a6abc029ae13029317b140b7424e012bf8dfbf",
    _ARCHITECTURE,
)


class ProtT5Encoder(LanguageModelEncoder):
    """ProtT5's last hidden layer, each chain alone."""

    paired = False
    # T5's positions are relative and have no end, but attention needs memory by the square: with
    # 32 heads, half a gigabyte a layer for this length
    max_residues = 2000
    model_type = "t5"
    dim_field = "d_model"
    residue_prefix = "\N{LOWER ONE EIGHTH BLOCK}"
    pad_token = "<pad>"
    unknown_token = "<unk>"
    end_tokens = ("</s>",)

    @staticmethod
    def classes() -> tuple[Any, Any]:
        """Configuration and model class of `transformers`."""
        from transformers.models.t5.configuration_t5 import T5Config
        from transformers.models.t5.modeling_t5 import T5EncoderModel

        return T5Config, T5EncoderModel


class IgT5UnpairedEncoder(ProtT5Encoder):
    """The last hidden layer of the IgT5 that was trained on single chains."""

    max_residues = 511  # 512 tokens with </s>: four times what a variable domain needs


class IgT5Encoder(ProtT5Encoder):
    """IgT5's last hidden layer, heavy and light chain together."""

    paired = True
    max_residues = 510  # 512 tokens with two </s>: twice what two variable domains need
    chain_separator = "</s>"
