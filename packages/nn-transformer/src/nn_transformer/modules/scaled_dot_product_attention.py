"""Scaled dot-product attention: the operation with its gradients, and the public function."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from nn_tensor import Tensor, broadcast_to, is_grad_enabled, random_generator, softmax, where
from nn_tensor.extend import (
    accumulation_dtype,
    array_module,
    check_probability,
    describe,
    device_scope,
    external,
    is_floating,
    op,
)

from nn_transformer.modules.attention_masks import check_mask
from nn_transformer.modules.blockwise_attention import (
    AttentionOptions,
    backward,
    forward,
    full_dropout_mask,
)
from nn_transformer.modules.few_queries import attend_few_queries, has_few_queries

__all__ = ["scaled_dot_product_attention"]


@op(keeps=("saved",))
def attention(
    xp: Any, query: Any, key: Any, value: Any, mask: Any, /, options: AttentionOptions
) -> Any:
    """Return the values weighted by the softmax of the scores; `mask` is an array, or True."""
    if has_few_queries(query, mask, options):
        return attend_few_queries(xp, query, key, value, mask, options.scale), None
    return forward(xp, query, key, value, mask, options)


@attention.joint_gradient("query", "key", "value")
def _(
    g: Any, query: Any, key: Any, value: Any, mask: Any, saved: Any, options: AttentionOptions
) -> Any:
    if not isinstance(g, Tensor):
        return backward(array_module(g), g, query, key, value, mask, saved, options)
    g, query, key, value = map(_widen, (g, query, key, value))
    weights, dropout = _attention_weights(query, key, mask, options)
    grad_scores = _grad_scores(g, value, weights, dropout)
    grad_query = grad_scores @ key * options.scale
    grad_key = grad_scores.swapaxes(-1, -2) @ query * options.scale
    return grad_query, grad_key, (weights * dropout).swapaxes(-1, -2) @ g


@attention.gradient("mask")
def _(g: Any, query: Any, key: Any, value: Any, mask: Any, options: AttentionOptions) -> Any:
    g, query, key, value = map(_widen, (g, query, key, value))
    return _grad_scores(g, value, *_attention_weights(query, key, mask, options))


def _widen(x: Any) -> Any:
    """Return a Tensor or array of half precision in float32, and others as they are."""
    wide = accumulation_dtype(x.dtype)
    return x if wide is None else x.astype(wide)


def _grad_scores(g: Any, value: Any, weights: Any, dropout: Any) -> Any:
    grad_weights = g @ value.swapaxes(-1, -2) * dropout
    return weights * (grad_weights - (grad_weights * weights).sum(-1, keepdims=True))


def _attention_weights(
    query: Any, key: Any, mask: Any, options: AttentionOptions
) -> tuple[Any, Any]:
    """Return all attention weights at once, and their dropout mask.

    This is what the blocks compute, written in operations: for higher derivatives, and for the
    gradient of a mask, which is as large anyway.
    """
    scores = query * options.scale @ key.swapaxes(-1, -2)
    array = scores.data if isinstance(scores, Tensor) else scores
    xp = array_module(array)
    with device_scope(array):
        if options.causal:
            targets, sources = array.shape[-2:]
            scores = where(xp.tri(targets, sources, sources - targets, dtype=bool), scores, -np.inf)
        if mask is not True:
            is_boolean = mask.dtype == np.dtype(bool)
            scores = where(mask, scores, -np.inf) if is_boolean else scores + mask
        dropout: Any = 1.0
        if options.dropout:
            dropout = full_dropout_mask(xp, array.shape, options, array)
        return softmax(scores), dropout


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Any = None,
    *,
    causal: bool = False,
    scale: float | None = None,
    dropout: float = 0.0,
    rng: np.random.Generator | int | None = None,
) -> Tensor:
    r"""Scaled dot-product attention: the values weighted by the softmax of the scores.

    .. math:: \text{softmax}\left(\frac{Q K^T}{\sqrt{d}} + M\right) V

    (Vaswani et al., "Attention Is All You Need", 2017, equation 1.) It is computed block by block:
    memory grows linearly with the length of the sequences, and the result is exact. The leading
    dimensions broadcast. Half precision is computed in float32.

    Args:
        query: ``(..., targets, d)``.
        key: ``(..., sources, d)``.
        value: ``(..., sources, e)``.
        mask: boolean, True where a query may attend to a key, or floating, added to the scores;
            it broadcasts to ``(..., targets, sources)``. A row of only False gives zeros. Values
            that may not be attended to must be finite all the same: 0 times NaN is NaN.
        causal: whether a query may attend only to its own position and earlier ones. The queries
            are the last of the positions that the keys have.
        scale: the factor of the scores, :math:`1 / \sqrt{d}` by default.
        dropout: the dropout probability of the attention weights.
        rng: a NumPy generator, a seed, or None for unpredictable numbers, for the dropout.

    Returns:
        ``(..., targets, e)``.

    Raises:
        ValueError: if the shapes do not fit each other, the devices differ, or `dropout` is
            outside [0, 1].
        TypeError: if the mask is neither boolean nor floating, or an operand not floating.

    >>> from nn_tensor import Tensor, randn
    >>> from nn_transformer import scaled_dot_product_attention
    >>> q, k, v = (randn(2, 4, 5, 8, rng=seed) for seed in range(3))
    >>> scaled_dot_product_attention(q, k, v, causal=True).shape
    (2, 4, 5, 8)
    """
    operands = tuple(x if isinstance(x, Tensor) else Tensor(x) for x in (query, key, value))
    leading = _check_operands(*operands)
    if dropout:  # 0 is not checked: this is called once per layer and token
        dropout = check_probability("dropout", dropout)
    result_dtype = np.result_type(*(x.dtype for x in operands))
    wide = np.result_type(result_dtype, np.float32)
    dtype = wide if operands[0].xp is np else result_dtype
    query, key, value = (_broadcast(x, leading or (1,), dtype) for x in operands)
    mask = check_mask(mask, (*leading, query.shape[-2], key.shape[-2]), query.device, wide)
    factor = 1 / math.sqrt(max(1, query.shape[-1])) if scale is None else float(scale)
    seed = external(_draw_seed, random_generator(rng)) if dropout else 0
    needs_backward = is_grad_enabled() and any(
        isinstance(x, Tensor) and x.requires_grad for x in (query, key, value, mask)
    )
    options = AttentionOptions(factor, bool(causal), float(dropout), seed, needs_backward)
    result = attention(query, key, value, mask, options)
    if not leading:
        result = result[0]
    return result if result.dtype == result_dtype else result.astype(result_dtype)


def _draw_seed(rng: np.random.Generator) -> np.int64:
    return np.int64(rng.integers(1 << 63))


def _broadcast(x: Tensor, leading: tuple[int, ...], dtype: np.dtype[Any]) -> Tensor:
    """Return `x` in `dtype` and with these leading dimensions."""
    if x.dtype != dtype:
        x = x.astype(dtype)
    return x if x.shape[:-2] == leading else broadcast_to(x, leading + x.shape[-2:])


def _check_operands(query: Tensor, key: Tensor, value: Tensor) -> tuple[int, ...]:
    """Return the leading dimensions of the result, or raise if the operands do not fit."""
    for name, x in (("query", query), ("key", key), ("value", value)):
        if not is_floating(x.dtype):
            raise TypeError(f"{name}: expected floats, got {describe(x)}")
    leading = query.shape[:-2]
    if min(query.ndim, key.ndim, value.ndim) < 2:
        problem = "query, key and value need at least two dimensions, got"
    elif query.shape[-1] != key.shape[-1]:
        problem = "query and key differ in their last dimension:"
    elif key.shape[-2] != value.shape[-2]:
        problem = "key and value differ in length:"
    elif leading == key.shape[:-2] == value.shape[:-2]:
        return leading
    else:
        try:
            return np.broadcast_shapes(leading, key.shape[:-2], value.shape[:-2])
        except ValueError:
            problem = "the leading dimensions do not broadcast:"
    shapes = f"query {query.shape}, key {key.shape}, value {value.shape}"
    raise ValueError(f"attention: {problem} {shapes}")
