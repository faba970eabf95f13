"""Attention, encoder, decoder and transformer models for nn-tensor and nn-layers.

What is exported here is defined in `nn_transformer.modules` (attention, layers, stacks),
`nn_transformer.models`, `nn_transformer.decoding` (generation) and `nn_transformer.pretrained`.
"""

from typing import TYPE_CHECKING

from nn_tensor.extend import missing_name as _missing_name

from nn_transformer.decoding.beam_search import beam_search
from nn_transformer.decoding.generate import generate
from nn_transformer.models.language_model import LanguageModel
from nn_transformer.models.transformer import Transformer
from nn_transformer.modules.attention_masks import causal_mask, padding_mask
from nn_transformer.modules.decoder import Decoder
from nn_transformer.modules.decoder_layer import DecoderLayer
from nn_transformer.modules.embedding import Embedding
from nn_transformer.modules.encoder import Encoder
from nn_transformer.modules.encoder_layer import EncoderLayer
from nn_transformer.modules.kv_cache import DecoderCache, KVCache
from nn_transformer.modules.multi_head_attention import MultiHeadAttention
from nn_transformer.modules.positional_encoding import LearnedPositions, PositionalEncoding
from nn_transformer.modules.rotary_embedding import RotaryPositions
from nn_transformer.modules.scaled_dot_product_attention import scaled_dot_product_attention
from nn_transformer.modules.transformer_layer import LayerOptions
from nn_transformer.modules.transformer_stack import StackOptions
from nn_transformer.pretrained.bert import bert_settings, from_bert
from nn_transformer.pretrained.gpt2 import from_gpt2, gpt2_settings
from nn_transformer.pretrained.pytorch import (
    from_torch_attention,
    from_torch_transformer,
    torch_transformer_settings,
)
from nn_transformer.pretrained.version_0_1 import renames_since_0_1

__version__ = "0.2.0"

__all__ = [
    "Decoder",
    "DecoderCache",
    "DecoderLayer",
    "Embedding",
    "Encoder",
    "EncoderLayer",
    "KVCache",
    "LanguageModel",
    "LayerOptions",
    "LearnedPositions",
    "MultiHeadAttention",
    "PositionalEncoding",
    "RotaryPositions",
    "StackOptions",
    "Transformer",
    "beam_search",
    "bert_settings",
    "causal_mask",
    "from_bert",
    "from_gpt2",
    "from_torch_attention",
    "from_torch_transformer",
    "generate",
    "gpt2_settings",
    "padding_mask",
    "renames_since_0_1",
    "scaled_dot_product_attention",
    "torch_transformer_settings",
]

_ELSEWHERE = """
    MultiheadAttention=MultiHeadAttention; TransformerEncoder=Encoder; TransformerDecoder=Decoder;
    TransformerEncoderLayer=Encoder; TransformerDecoderLayer=Decoder; GPT2LMHeadModel=LanguageModel;
    PositionEmbedding=LearnedPositions; GPT2=LanguageModel and from_gpt2; BertModel=from_bert
"""


if not TYPE_CHECKING:  # to type checkers a name that is not here is an error

    def __getattr__(name):
        raise _missing_name(__name__, name, _ELSEWHERE)


def __dir__() -> list[str]:
    return sorted(__all__)
