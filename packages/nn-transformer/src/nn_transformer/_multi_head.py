"""`MultiHeadAttention`: attention from several points of view at once."""

from __future__ import annotations

from typing import Any

import numpy as np
from nn_layers import Base_Layer, Dense, Dropout
from nn_tensor import Tensor, random_generator
from nn_tensor.extend import Device

from nn_transformer._attention import scaled_dot_product_attention
from nn_transformer._inputs import positive

__all__ = ["MultiHeadAttention"]


class MultiHeadAttention(Base_Layer):
    r"""Attention in several subspaces at once, put together by a last projection.

    .. math::
        \text{MultiHead}(Q, K, V) = [h_1, \dots, h_n] W^O, \qquad
        h_i = \text{Attention}(Q W^Q_i, K W^K_i, V W^V_i)

    (Vaswani et al., "Attention Is All You Need", 2017, section 3.2.2; the attention is
    `scaled_dot_product_attention`.)

    Shapes: query ``(batch, targets, d_model)``, key and value ``(batch, sources, d_model)``, result
    as the query.

    Args:
        d_model: the length of the vectors.
        num_heads: how many subspaces; it divides `d_model`.
        dropout: the share of attention weights that are dropped in training.
        bias: whether the four projections have a bias.
        device: ``'cpu'``, ``'cuda'`` or ``'cuda:N'``.
        dtype: the floating type of the parameters.
        rng: a NumPy generator, a seed, or None for unpredictable weights and dropout.

    Raises:
        ValueError: if `num_heads` does not divide `d_model`; when called, if the inputs do not fit.
        TypeError: if a size is not an integer, or a mask neither boolean nor floating.

    >>> from nn_tensor import ones
    >>> from nn_transformer import MultiHeadAttention
    >>> attention = MultiHeadAttention(d_model=8, num_heads=2, rng=0)
    >>> x = ones(3, 5, 8)
    >>> attention(x, x, x, mask=None).shape
    (3, 5, 8)
    """

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        device: str | Device = "cpu",
        dtype: Any = np.float32,
        rng: np.random.Generator | int | None = None,
    ) -> None:
        super().__init__()
        width, heads = positive("d_model", d_model), positive("num_heads", num_heads)
        if width % heads:
            raise ValueError(f"num_heads: {heads} does not divide d_model={width}")
        rng = random_generator(rng)
        self.num_heads = heads
        self.query, self.key, self.value, self.output = (
            Dense(width, width, bias=bias, device=device, dtype=dtype, rng=rng) for _ in range(4)
        )
        self.dropout = Dropout(dropout, rng=rng)

    @property
    def d_model(self) -> int:
        """The length of the vectors."""
        return self.query.input_size

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Any = None) -> Tensor:
        """Return what each query gathers from the values.

        Args:
            query: ``(batch, targets, d_model)``.
            key: ``(batch, sources, d_model)``.
            value: as `key`.
            mask: boolean, True = may attend, or floating, added to the scores. It broadcasts to
                ``(targets, sources)``, ``(batch, targets, sources)`` with three axes, or
                ``(batch, num_heads, targets, sources)`` with four.
        """
        for name, x in (("query", query), ("key", key), ("value", value)):
            if x.ndim != 3:
                raise ValueError(
                    f"{name} has shape {x.shape}, expected (batch, length, {self.d_model})"
                )
        if getattr(mask, "ndim", 0) == 3:
            mask = mask[:, None]
        mixed = scaled_dot_product_attention(
            self._split(self.query(query)),
            self._split(self.key(key)),
            self._split(self.value(value)),
            mask,
            self.dropout if self.dropout.p else None,
        )
        batch, targets, _ = query.shape
        return self.output(mixed.swapaxes(1, 2).reshape(batch, targets, self.d_model))

    def _split(self, x: Tensor) -> Tensor:
        """Give each head its part: ``(batch, num_heads, length, d_model / num_heads)``."""
        batch, length, width = x.shape
        return x.reshape(batch, length, self.num_heads, width // self.num_heads).swapaxes(1, 2)

    def extra_repr(self) -> str:
        """Return the sizes."""
        return f"d_model={self.d_model}, num_heads={self.num_heads}"
