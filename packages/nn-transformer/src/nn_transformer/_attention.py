"""Attention as a pure function, and the masks that it takes.

One rule for masks everywhere: boolean, True where a query may attend to a key; or floating, added
to the scores. A mask broadcasts to the scores.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from nn_tensor import Tensor, matmul, sum, swapaxes
from nn_tensor.extend import describe, op

__all__ = ["causal_mask", "masked_softmax", "padding_mask", "scaled_dot_product_attention"]


@op
def masked_softmax(xp: Any, scores: Any, mask: Any, /) -> Any:
    """Return the softmax over the last axis of the scores that `mask` leaves; see `softmax`.

    A row that may attend to nothing gives zeros.
    """
    if getattr(mask, "dtype", np.dtype(float)).kind == "b":
        masked = xp.where(mask, scores, xp.asarray(-xp.inf, scores.dtype))
    else:
        masked = scores + mask
    if masked.shape[-1] == 0:
        return masked
    largest = masked.max(axis=-1, keepdims=True)
    masked -= xp.where(largest == -xp.inf, 0, largest)
    weights = xp.exp(masked, out=masked)
    total = weights.sum(axis=-1, keepdims=True)
    total += total == 0
    weights /= total
    return weights


@masked_softmax.gradient("scores", "mask")
def _(g: Any, out: Any) -> Any:
    weighted = g * out
    return weighted - out * sum(weighted, -1, True)


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Any = None,
    dropout: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    r"""Return for each query the mean of the values, weighted by how well their keys fit.

    .. math:: \text{softmax}\left(\frac{Q K^T}{\sqrt{d}} + M\right) V

    (Vaswani et al., "Attention Is All You Need", 2017, equation 1.)

    Args:
        query: ``(..., targets, d)``.
        key: ``(..., sources, d)``.
        value: ``(..., sources, e)``.
        mask: boolean, True where a query may attend to a key, or floating, added to the scores;
            it broadcasts to ``(..., targets, sources)``. A row of only False gives zeros.
        dropout: applied to the weights, as `nn_layers.Dropout`.

    Returns:
        ``(..., targets, e)``.

    Raises:
        ValueError: if the shapes do not fit to each other.
        TypeError: if the mask is neither boolean nor floating.

    >>> from nn_tensor import Tensor, randn
    >>> from nn_transformer import causal_mask, scaled_dot_product_attention
    >>> q, k, v = (randn(2, 4, 5, 8, rng=seed) for seed in range(3))
    >>> scaled_dot_product_attention(q, k, v, mask=causal_mask(5)).shape
    (2, 4, 5, 8)
    """
    shapes = f"query {query.shape}, key {key.shape}, value {value.shape}"
    if min(query.ndim, key.ndim, value.ndim) < 2:
        raise ValueError(f"attention: query, key and value need two axes or more, got {shapes}")
    if query.shape[-1] != key.shape[-1]:
        raise ValueError(f"attention: query and key differ in their last axis: {shapes}")
    if key.shape[-2] != value.shape[-2]:
        raise ValueError(f"attention: key and value differ in length: {shapes}")
    scores = matmul(query * (1.0 / math.sqrt(query.shape[-1])), swapaxes(key, -1, -2))
    weights = masked_softmax(scores, read_mask(mask, scores))
    if dropout is not None:
        weights = dropout(weights)
    return matmul(weights, value)


def read_mask(mask: Any, scores: Tensor) -> Any:
    """Return a mask that fits to `scores`, 0 for none, or raise."""
    if mask is None:
        return 0.0
    if not isinstance(mask, Tensor):
        mask = Tensor(mask, None if hasattr(mask, "dtype") else scores.device)
    if mask.dtype.kind not in "bf":
        raise TypeError(
            "mask: expected booleans (True where attention is allowed) or floats (added to the "
            f"scores), got {describe(mask)}"
        )
    wanted = scores.shape[-mask.ndim :] if mask.ndim else ()
    fits = mask.ndim <= scores.ndim and all(
        length in (1, target) for length, target in zip(mask.shape, wanted, strict=True)
    )
    if not fits:
        raise ValueError(f"mask: shape {mask.shape} does not broadcast to scores {scores.shape}")
    return mask.astype(scores.dtype) if mask.dtype.kind == "f" else mask


def causal_mask(length: int, device: str = "cpu") -> Tensor:
    """Return the mask of a decoder: each position may attend to itself and to those before it.

    >>> from nn_transformer import causal_mask
    >>> causal_mask(3).tolist()
    [[True, False, False], [True, True, False], [True, True, True]]
    """
    return Tensor(np.tri(length, dtype=bool), device=device)


def padding_mask(tokens: Any, padding_idx: int) -> Tensor:
    """Return the mask ``(batch, 1, 1, length)`` that lets nothing attend to the padding.

    Args:
        tokens: integers ``(batch, length)``.
        padding_idx: the token that fills up.

    >>> from nn_tensor import Tensor
    >>> from nn_transformer import padding_mask
    >>> padding_mask(Tensor([[5, 7, 0]]), padding_idx=0).tolist()
    [[[[True, True, False]]]]
    """
    tokens = tokens if isinstance(tokens, Tensor) else Tensor(tokens)
    if tokens.ndim != 2 or tokens.dtype.kind not in "iu":
        raise ValueError(f"tokens: expected integers (batch, length), got {describe(tokens)}")
    allowed: Tensor = tokens != padding_idx
    return allowed.expand_dims((1, 2))
