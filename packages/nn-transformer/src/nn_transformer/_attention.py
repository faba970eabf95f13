"""Attention as an operation and as a pure function."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from nn_tensor import Tensor, is_grad_enabled, matmul, random_generator, sum, swapaxes
from nn_tensor.extend import array_module, device_scope, op

from nn_transformer._blockwise import Setting, all_shares, backward, forward, leading_axes
from nn_transformer._inputs import probability
from nn_transformer._masks import read_mask

__all__ = ["scaled_dot_product_attention"]


@op(keeps=("sums", "kept"))
def attend(xp: Any, query: Any, key: Any, value: Any, mask: Any, /, setting: Setting) -> Any:
    """Return the values weighted by the softmax of the scores; `mask` is an array, or True."""
    out, sums, kept = forward(xp, query, key, value, mask, setting)
    if not query.ndim == key.ndim == value.ndim > 2:
        out = out.reshape(*leading_axes(query, key, value), *out.shape[-2:])
    return out, sums, kept


@attend.joint_gradient("query", "key", "value")
def _(
    g: Any,
    query: Any,
    key: Any,
    value: Any,
    mask: Any,
    sums: Any,
    kept: Any,
    setting: Setting,
) -> Any:
    if not isinstance(g, Tensor):
        xp = array_module(g)
        return backward(xp, g, query, key, value, mask, sums, kept, setting)
    weights, share = _weights(query, key, value, mask, setting)
    change = _change_of_scores(g, value, weights, share)
    for_query = matmul(change, key) * setting.scale
    for_key = matmul(swapaxes(change, -1, -2), query) * setting.scale
    return for_query, for_key, matmul(swapaxes(weights * share, -1, -2), g)


@attend.gradient("mask")
def _(g: Any, query: Any, key: Any, value: Any, mask: Any, setting: Setting) -> Any:
    weights, share = _weights(query, key, value, mask, setting)
    return _change_of_scores(g, value, weights, share)


def _change_of_scores(g: Any, value: Any, weights: Any, share: Any) -> Any:
    pull = matmul(g, swapaxes(value, -1, -2)) * share
    return weights * (pull - sum(pull * weights, -1, True))


def _weights(query: Any, key: Any, value: Any, mask: Any, setting: Setting) -> tuple[Any, Any]:
    """Return all weights at once, and what dropout multiplies them with.

    This is what the blocks compute, written in operations: for higher derivatives, and for that of
    a mask, which is as large anyway.
    """
    scores = matmul(query * setting.scale, swapaxes(key, -1, -2))
    array = scores.data if isinstance(scores, Tensor) else scores
    xp = array_module(array)
    with device_scope(array):
        allowed: Any = True
        if setting.causal:
            targets, sources = scores.shape[-2:]
            allowed = xp.tri(targets, sources, sources - targets, dtype=bool)
        if getattr(mask, "dtype", None) == np.dtype(bool):
            allowed = allowed & (mask.data if isinstance(mask, Tensor) else mask)
        elif mask is not True:
            scores = scores + mask
        share: Any = 1.0
        if setting.dropout:
            shape = (*leading_axes(query, key, value), *scores.shape[-2:])
            share = all_shares(xp, shape, setting, array)
        return masked_softmax(scores, allowed), share


@op
def masked_softmax(xp: Any, scores: Any, allowed: Any, /) -> Any:
    """Return the softmax over the last axis of the scores that are allowed; 0 where none is."""
    weights = xp.where(allowed, scores, xp.asarray(-np.inf, scores.dtype))
    if weights.shape[-1] == 0:
        return weights
    largest = weights.max(axis=-1, keepdims=True)
    weights -= xp.where(largest == -np.inf, 0, largest)
    xp.exp(weights, out=weights)
    total = weights.sum(axis=-1, keepdims=True)
    weights /= xp.where(total == 0, 1, total)
    return weights


@masked_softmax.gradient("scores")
def _(g: Any, out: Any) -> Any:
    weighted = g * out
    return weighted - out * sum(weighted, -1, True)


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
    r"""Return for each query the mean of the values, weighted by how well their keys fit.

    .. math:: \text{softmax}\left(\frac{Q K^T}{\sqrt{d}} + M\right) V

    (Vaswani et al., "Attention Is All You Need", 2017, equation 1.) It is computed block by block:
    the memory it takes grows linearly with the length of the sequences, and the result is exact.
    The leading axes broadcast. Half precision is computed in float32.

    Args:
        query: ``(..., targets, d)``.
        key: ``(..., sources, d)``.
        value: ``(..., sources, e)``.
        mask: boolean, True where a query may attend to a key, or floating, added to the scores;
            it broadcasts to ``(..., targets, sources)``. A row of only False gives zeros. Values
            that may not be attended to must be finite all the same: 0 times NaN is NaN.
        causal: whether a query may attend only to its own position and those before it. The
            queries are the last of the positions that the keys have.
        scale: what the scores are multiplied with, :math:`1 / \sqrt{d}` by default.
        dropout: the probability of each weight to be left out, the others growing in its place.
        rng: for the dropout: a NumPy generator, a seed, or None for unpredictable numbers.

    Returns:
        ``(..., targets, e)``.

    Raises:
        ValueError: if the shapes do not fit to each other, the devices differ, or `dropout` is
            outside [0, 1].
        TypeError: if the mask is neither boolean nor floating, or an operand not floating.

    >>> from nn_tensor import Tensor, randn
    >>> from nn_transformer import scaled_dot_product_attention
    >>> q, k, v = (randn(2, 4, 5, 8, rng=seed) for seed in range(3))
    >>> scaled_dot_product_attention(q, k, v, causal=True).shape
    (2, 4, 5, 8)
    """
    query, key, value = (x if isinstance(x, Tensor) else Tensor(x) for x in (query, key, value))
    lead = _check(query, key, value)
    probability("dropout", dropout)
    given = np.result_type(query.dtype, key.dtype, value.dtype)
    if given.itemsize < 4:
        query, key, value = (x.astype(np.float32) for x in (query, key, value))
    shape = (*lead, query.shape[-2], key.shape[-2])
    allowed = read_mask(mask, shape, query.device, np.result_type(given, np.float32))
    factor = 1 / math.sqrt(max(1, query.shape[-1])) if scale is None else float(scale)
    seed = int(random_generator(rng).integers(1 << 63)) if dropout else 0
    recorded = is_grad_enabled() and any(
        isinstance(x, Tensor) and x.requires_grad for x in (query, key, value, allowed)
    )
    setting = Setting(factor, bool(causal), float(dropout), seed, recorded)
    result = attend(query, key, value, allowed, setting)
    return result if result.dtype == given else result.astype(given)


def _check(query: Tensor, key: Tensor, value: Tensor) -> tuple[int, ...]:
    """Return the leading axes of the result, or raise if the operands do not fit."""
    if min(query.ndim, key.ndim, value.ndim) < 2:
        raise _misfit("query, key and value need two axes or more, got", query, key, value)
    if query.shape[-1] != key.shape[-1]:
        raise _misfit("query and key differ in their last axis:", query, key, value)
    if key.shape[-2] != value.shape[-2]:
        raise _misfit("key and value differ in length:", query, key, value)
    for name, x in (("query", query), ("key", key), ("value", value)):
        if x.dtype.kind != "f":
            raise TypeError(f"{name}: expected floats, got {x.dtype} of shape {x.shape}")
    try:
        return leading_axes(query, key, value)
    except ValueError:
        raise _misfit("the leading axes do not fit:", query, key, value) from None


def _misfit(problem: str, query: Tensor, key: Tensor, value: Tensor) -> ValueError:
    shapes = f"query {query.shape}, key {key.shape}, value {value.shape}"
    return ValueError(f"attention: {problem} {shapes}")
