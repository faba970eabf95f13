"""Attention, encoder, decoder and transformer models for nn-tensor and nn-layers."""

from nn_transformer._attention import (
    scaled_dot_product_attention as scaled_dot_product_attention,
)
from nn_transformer._cache import Cache as Cache
from nn_transformer._embedding import Embedding as Embedding
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
    "LanguageModel",
    "LearnedPositions",
    "MultiHeadAttention",
    "PositionalEncoding",
    "RotaryPositions",
    "Transformer",
    "causal_mask",
    "padding_mask",
    "scaled_dot_product_attention",
]
