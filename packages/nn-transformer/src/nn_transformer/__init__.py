"""Attention, encoder, decoder and transformer models for nn-tensor and nn-layers."""

from nn_transformer._attention import (
    scaled_dot_product_attention as scaled_dot_product_attention,
)
from nn_transformer._beam import beam_search as beam_search
from nn_transformer._cache import Cache as Cache
from nn_transformer._cache import KeysAndValues as KeysAndValues
from nn_transformer._embedding import Embedding as Embedding
from nn_transformer._generate import generate as generate
from nn_transformer._interop import bert_settings as bert_settings
from nn_transformer._interop import from_bert as from_bert
from nn_transformer._interop import from_gpt2 as from_gpt2
from nn_transformer._interop import from_torch_attention as from_torch_attention
from nn_transformer._interop import from_torch_transformer as from_torch_transformer
from nn_transformer._interop import gpt2_settings as gpt2_settings
from nn_transformer._interop import torch_transformer_settings as torch_transformer_settings
from nn_transformer._language_model import LanguageModel as LanguageModel
from nn_transformer._layers import DecoderLayer as DecoderLayer
from nn_transformer._layers import EncoderLayer as EncoderLayer
from nn_transformer._masks import causal_mask as causal_mask
from nn_transformer._masks import padding_mask as padding_mask
from nn_transformer._multi_head import MultiHeadAttention as MultiHeadAttention
from nn_transformer._positions import LearnedPositions as LearnedPositions
from nn_transformer._positions import PositionalEncoding as PositionalEncoding
from nn_transformer._positions import RotaryPositions as RotaryPositions
from nn_transformer._stacks import Decoder as Decoder
from nn_transformer._stacks import Encoder as Encoder
from nn_transformer._transformer import Transformer as Transformer

__all__ = [
    "Cache",
    "Decoder",
    "DecoderLayer",
    "Embedding",
    "Encoder",
    "EncoderLayer",
    "KeysAndValues",
    "LanguageModel",
    "LearnedPositions",
    "MultiHeadAttention",
    "PositionalEncoding",
    "RotaryPositions",
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
    "scaled_dot_product_attention",
    "torch_transformer_settings",
]
