"""`MultiHeadAttention`: projections around scaled dot-product attention."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from nn_layers import Base_Layer, Dense, Dropout
from nn_tensor import Tensor, random_generator
from nn_tensor.extend import Device, check_integer, check_probability, keyword_only

from nn_transformer.modules.kv_cache import KVCache
from nn_transformer.modules.rotary_embedding import Rotation
from nn_transformer.modules.scaled_dot_product_attention import scaled_dot_product_attention
from nn_transformer.modules.static_kv_cache import StaticKVCache

__all__ = ["MultiHeadAttention", "head_dimension"]


def head_dimension(d_model: int, num_heads: int) -> int:
    """Return the dimension of each head, ``d_model / num_heads``.

    Raises:
        ValueError: if one is less than 1, or `num_heads` does not divide `d_model`.
        TypeError: if one is not an integer.
    """
    size, heads = check_integer("d_model", d_model, 1), check_integer("num_heads", num_heads, 1)
    if size % heads:
        raise ValueError(f"num_heads: {heads} does not divide d_model={size}")
    return size // heads


class MultiHeadAttention(Base_Layer):
    r"""Multi-head attention: several heads, concatenated and passed to an output projection.

    .. math::
        \text{MultiHead}(Q, K, V) = [h_1, \dots, h_n] W^O, \qquad
        h_i = \text{Attention}(Q W^Q_i, K W^K_i, V W^V_i)

    (Vaswani et al., "Attention Is All You Need", 2017, section 3.2.2; the attention is
    `scaled_dot_product_attention`.)

    With fewer heads for keys and values than for queries, each serves a group of queries
    (grouped-query attention: Ainslie et al., "GQA: Training Generalized Multi-Query Transformer
    Models from Multi-Head Checkpoints", 2023, section 2.2), and the KV cache is that much smaller.

    Shapes: query ``(batch, targets, d_model)``, key and value ``(batch, sources, d_model)``, result
    as the query.

    Args:
        d_model: the model dimension.
        num_heads: the number of attention heads; it divides `d_model`.
        dropout: the dropout probability of the attention weights.
        bias: whether the four projections have a bias.
        num_kv_heads: the number of heads of keys and values; it divides `num_heads`, which is the
            default.
        device: ``'cpu'``, ``'cuda'`` or ``'cuda:N'``.
        dtype: the floating dtype of the parameters.
        rng: a NumPy generator, a seed, or None for unpredictable weights and dropout.

    Attributes:
        query, key, value, output: the projections, `nn_layers.Dense`.

    Raises:
        ValueError: if `num_heads` does not divide `d_model`, or `num_kv_heads` does not divide
            `num_heads`; when called, if the inputs do not fit.
        TypeError: if a size is not an integer, or a mask neither boolean nor floating.

    >>> from nn_tensor import ones
    >>> from nn_transformer import MultiHeadAttention
    >>> attention = MultiHeadAttention(d_model=8, num_heads=2, rng=0)
    >>> x = ones(3, 5, 8)
    >>> attention(x, x, x, mask=None).shape
    (3, 5, 8)
    """

    @keyword_only
    def __init__(
        self,
        d_model: int,
        num_heads: int,
        *,
        dropout: float = 0.0,
        bias: bool = True,
        num_kv_heads: int | None = None,
        device: str | Device = "cpu",
        dtype: Any = np.float32,
        rng: np.random.Generator | int | None = None,
    ) -> None:
        super().__init__()
        d_head = head_dimension(d_model, num_heads)
        self.num_heads: int = int(num_heads)
        self.num_kv_heads: int = self.num_heads
        if num_kv_heads is not None:
            self.num_kv_heads = check_integer("num_kv_heads", num_kv_heads, 1)
        if self.num_heads % self.num_kv_heads:
            raise ValueError(f"num_kv_heads: {num_kv_heads} does not divide num_heads={num_heads}")
        rng = random_generator(rng)
        options: dict[str, Any] = {"bias": bias, "device": device, "dtype": dtype, "rng": rng}
        self.query: Dense = Dense(d_model, d_model, **options)
        self.key: Dense = Dense(d_model, self.num_kv_heads * d_head, **options)
        self.value: Dense = Dense(d_model, self.num_kv_heads * d_head, **options)
        self.output: Dense = Dense(d_model, d_model, **options)
        self.dropout: Dropout = Dropout(check_probability("dropout", dropout), rng=rng)

    @property
    def d_model(self) -> int:
        """The model dimension."""
        return self.query.input_size

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Any = None,
        *,
        causal: bool = False,
        rotation: Rotation | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """Return the attention output for each query.

        Args:
            query: ``(batch, targets, d_model)``.
            key: ``(batch, sources, d_model)``.
            value: as `key`.
            mask: boolean, True = may attend, or floating, added to the scores. It broadcasts to
                ``(targets, sources)``, ``(batch, targets, sources)`` with three dimensions, or
                ``(batch, num_heads, targets, sources)`` with four.
            causal: whether a query attends only to its own position and earlier ones; the queries
                are the last of the sources' positions.
            rotation: the rotary embedding of queries and keys, see `RotaryPositions`.
            cache: keys and values of earlier positions, to which the new ones are appended; the
                sources are all of them then.
        """
        for name, x in (("query", query), ("key", key), ("value", value)):
            if x.ndim != 3:
                raise ValueError(
                    f"{name} has shape {x.shape}, expected (batch, length, {self.d_model})"
                )
        keys, values = self.keys_and_values(key, value, rotation)
        if isinstance(cache, StaticKVCache):
            return self.attend_one(query, lambda x: cache.attend(x, keys, values), rotation)
        if cache is not None:
            keys, values = cache.append(keys, values)
        return self.attend(query, keys, values, mask, causal=causal, rotation=rotation)

    def keys_and_values(
        self, key: Tensor, value: Tensor, rotation: Rotation | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return projected keys and values, ``(batch, num_kv_heads, sources, d_head)`` each."""
        keys = self._split_heads(self.key(key), self.num_kv_heads, rotation)
        return keys, self._split_heads(self.value(value), self.num_kv_heads)

    def attend(
        self,
        query: Tensor,
        keys: Tensor,
        values: Tensor,
        mask: Any = None,
        *,
        causal: bool = False,
        rotation: Rotation | None = None,
    ) -> Tensor:
        """Return the attention output for each query, from the result of `keys_and_values`.

        Arguments as for the call.
        """
        queries = self._split_heads(self.query(query), self.num_heads, rotation)
        if mask is not None and not hasattr(mask, "ndim"):
            mask = Tensor(mask, query.device)
        if keys.shape[0] not in (1, query.shape[0]):
            raise ValueError(f"key has a batch of {keys.shape[0]}, query one of {query.shape[0]}")
        if getattr(mask, "ndim", 0) == 3:
            mask = mask[:, None]
        group_size = self.num_heads // self.num_kv_heads
        dropout = self.dropout.p if self.training else 0.0
        batch, _, targets, d_head = queries.shape
        if group_size > 1 and targets == 1 and not dropout:  # a group is several queries of a head
            queries = queries.reshape(batch, self.num_kv_heads, group_size, d_head)
            if getattr(mask, "ndim", 0) == 4 and mask.shape[1] > 1:
                mask = self._group_mask(mask, group_size).squeeze(-2)
            causal = False
        elif group_size > 1:
            queries = queries.reshape(batch, self.num_kv_heads, group_size, targets, d_head)
            keys, values = keys.expand_dims(2), values.expand_dims(2)
            mask = self._group_mask(mask, group_size)
        mixed = scaled_dot_product_attention(
            queries, keys, values, mask, causal=causal, dropout=dropout, rng=self.dropout.rng
        )
        if group_size > 1:
            mixed = mixed.reshape(batch, self.num_heads, targets, d_head)
        if query.shape[1] != 1:
            mixed = mixed.swapaxes(1, 2)
        return self.output(mixed.reshape(*query.shape[:-1], self.d_model))

    def attend_one(
        self,
        query: Tensor,
        attention: Callable[[Tensor], Tensor],
        rotation: Rotation | None = None,
    ) -> Tensor:
        """Return the attention output for the one query of each row.

        Args:
            query: ``(batch, 1, d_model)``.
            attention: the attention of the projected queries, ``(batch, num_kv_heads, queries,
                d_head)``, in the same shape.
            rotation: as for the call.
        """
        queries = self._split_heads(self.query(query), self.num_heads, rotation)
        batch, heads, _, d_head = queries.shape
        if heads > self.num_kv_heads:
            queries = queries.reshape(batch, self.num_kv_heads, -1, d_head)
        return self.output(attention(queries).reshape(batch, 1, self.d_model))

    def _split_heads(self, x: Tensor, heads: int, rotation: Rotation | None = None) -> Tensor:
        """Return ``(batch, heads, length, d_head)`` from ``(batch, length, heads * d_head)``."""
        batch, length, width = x.shape
        if length == 1 and rotation is None:  # a transpose would not move anything
            return x.reshape(batch, heads, 1, width // heads)
        x = x.reshape(batch, length, heads, width // heads)
        if rotation is not None:
            x = rotation(x)
        return x.swapaxes(1, 2)

    def _group_mask(self, mask: Any, group_size: int) -> Any:
        """Split the dimension of the heads in two: heads of the keys, and their queries."""
        if getattr(mask, "ndim", 0) < 4:
            return mask
        batch, heads, *rest = mask.shape
        if heads not in (1, self.num_heads):
            raise ValueError(
                f"mask: shape {mask.shape} has {heads} heads, expected 1 or {self.num_heads}"
            )
        groups = (1, 1) if heads == 1 else (self.num_kv_heads, group_size)
        return mask.reshape(batch, *groups, *rest)

    def extra_repr(self) -> str:
        """Return the sizes."""
        few = "" if self.num_kv_heads == self.num_heads else f", num_kv_heads={self.num_kv_heads}"
        return f"d_model={self.d_model}, num_heads={self.num_heads}{few}"
