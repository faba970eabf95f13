"""`EncoderLayer`: self-attention and a feed-forward network."""

from __future__ import annotations

from typing import Any

from nn_layers import Dropout, LayerNorm
from nn_tensor import Tensor

from nn_transformer.modules.feed_forward import FeedForward
from nn_transformer.modules.kv_cache import KVCache
from nn_transformer.modules.multi_head_attention import MultiHeadAttention
from nn_transformer.modules.rotary_embedding import Rotation
from nn_transformer.modules.transformer_layer import LayerConfig, TransformerLayer

__all__ = ["EncoderLayer"]


class EncoderLayer(TransformerLayer):
    r"""Self-attention and a feed-forward network, each with a residual connection and a norm.

    .. math:: x \leftarrow \text{norm}(x + \text{sublayer}(x)) \quad\text{or, with norm_first,}\quad
        x \leftarrow x + \text{sublayer}(\text{norm}(x))

    (Vaswani et al., "Attention Is All You Need", 2017, section 3.1; pre-norm: Xiong et al., "On
    Layer Normalization in the Transformer Architecture", 2020.)

    Shapes: ``(batch, length, d_model)`` to the same.

    Args:
        d_model: the model dimension.
        num_heads: the number of attention heads; it divides `d_model`.
        d_ff: the hidden dimension of the feed-forward network, by default four times `d_model`.
        **options: `LayerOptions`, by name.

    Raises:
        ValueError: for sizes that do not fit, or an option out of range.

    >>> from nn_tensor import ones
    >>> from nn_transformer import EncoderLayer
    >>> EncoderLayer(d_model=8, num_heads=2, dropout=0.2)(ones(1, 3, 8)).shape
    (1, 3, 8)
    """

    def _build(self, config: LayerConfig) -> None:
        self.attention: MultiHeadAttention = config.make_attention()
        self.attention_norm: LayerNorm = config.make_norm()
        self.feed_forward_norm: LayerNorm = config.make_norm()
        self.feed_forward: FeedForward = FeedForward(config)
        self.dropout: Dropout = config.make_dropout()

    def forward(
        self,
        x: Tensor,
        mask: Any = None,
        *,
        causal: bool = False,
        rotation: Rotation | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """Return the output, ``(batch, length, d_model)``.

        Args:
            x: ``(batch, length, d_model)``.
            mask: see `MultiHeadAttention`.
            causal: whether a position attends only to itself and to earlier ones.
            rotation: the rotary embedding, see `RotaryPositions`.
            cache: keys and values of earlier positions.
        """

        def attend(y: Tensor) -> Tensor:
            return self.attention(y, y, y, mask, causal=causal, rotation=rotation, cache=cache)

        x = self._residual(x, self.attention_norm, attend)
        return self._residual(x, self.feed_forward_norm, self.feed_forward)
