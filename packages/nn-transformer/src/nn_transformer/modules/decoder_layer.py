"""`DecoderLayer`: self-attention, cross-attention and a feed-forward network."""

from __future__ import annotations

from typing import Any

from nn_layers import Dropout, LayerNorm
from nn_tensor import Tensor

from nn_transformer.modules.feed_forward import FeedForward
from nn_transformer.modules.kv_cache import KVCache
from nn_transformer.modules.multi_head_attention import MultiHeadAttention
from nn_transformer.modules.rotary_embedding import Rotation
from nn_transformer.modules.static_kv_cache import StaticKVCache
from nn_transformer.modules.transformer_layer import LayerConfig, TransformerLayer

__all__ = ["DecoderLayer"]


class DecoderLayer(TransformerLayer):
    """Self-attention, cross-attention to the encoder's output, and a feed-forward network.

    Each sublayer has a residual connection and a norm, as in `EncoderLayer` (Vaswani et al.,
    "Attention Is All You Need", 2017, section 3.1).

    Shapes: ``(batch, targets, d_model)`` and the encoder's output ``(batch, sources, d_model)`` to
    ``(batch, targets, d_model)``.

    Args:
        d_model: the model dimension.
        num_heads: the number of attention heads; it divides `d_model`.
        d_ff: the hidden dimension of the feed-forward network, by default four times `d_model`.
        **options: `LayerOptions`, by name.

    Raises:
        ValueError: for sizes that do not fit, or an option out of range.

    >>> from nn_tensor import ones
    >>> from nn_transformer import DecoderLayer, causal_mask
    >>> layer = DecoderLayer(d_model=8, num_heads=2)
    >>> layer(ones(1, 3, 8), ones(1, 5, 8), mask=causal_mask(3)).shape
    (1, 3, 8)
    """

    def _build(self, config: LayerConfig) -> None:
        self.attention: MultiHeadAttention = config.make_attention()
        self.attention_norm: LayerNorm = config.make_norm()
        self.cross_attention_norm: LayerNorm = config.make_norm()
        self.feed_forward_norm: LayerNorm = config.make_norm()
        self.feed_forward: FeedForward = FeedForward(config)
        self.dropout: Dropout = config.make_dropout()
        self.cross_attention: MultiHeadAttention = config.make_attention()

    def forward(
        self,
        x: Tensor,
        memory: Tensor,
        mask: Any = None,
        memory_mask: Any = None,
        *,
        causal: bool = False,
        rotation: Rotation | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """Return the output of the layer, ``(batch, targets, d_model)``.

        Args:
            x: ``(batch, targets, d_model)``.
            memory: the encoder's output, ``(batch, sources, d_model)``.
            mask: the mask of the self-attention, see `MultiHeadAttention`.
            memory_mask: the mask of the cross-attention.
            causal: whether the self-attention is causal.
            rotation: the rotary embedding of the self-attention, see `RotaryPositions`.
            cache: keys and values of earlier positions, and those of `memory` after the first call.
        """

        def attend(y: Tensor) -> Tensor:
            return self.attention(y, y, y, mask, causal=causal, rotation=rotation, cache=cache)

        def cross_attend(y: Tensor) -> Tensor:
            if isinstance(cache, StaticKVCache):
                return self.cross_attention.attend_one(y, cache.attend_to_memory)
            if cache is None:
                return self.cross_attention(y, memory, memory, memory_mask)
            if cache.memory_kv is None:
                cache.keep_memory(*self.cross_attention.keys_and_values(memory, memory))
            assert cache.memory_kv is not None
            return self.cross_attention.attend(y, *cache.memory_kv, memory_mask)

        x = self._residual(x, self.attention_norm, attend)
        x = self._residual(x, self.cross_attention_norm, cross_attend)
        return self._residual(x, self.feed_forward_norm, self.feed_forward)
