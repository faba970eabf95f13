"""Attention masks: which query may attend to which key.

One rule everywhere: a boolean mask is True where a query may attend to a key, a floating one is
added to the scores. A mask broadcasts to the scores.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from nn_tensor import Tensor
from nn_tensor.extend import describe, external

from nn_transformer.modules.token_ids import as_token_ids

__all__ = ["causal_mask", "check_mask", "padding_mask"]


def causal_mask(length: int, device: str = "cpu") -> Tensor:
    """Return the mask of a decoder: each position may attend to itself and to earlier ones.

    Args:
        length: the sequence length.
        device: the device of the mask.

    Returns:
        Booleans ``(length, length)``, True where attention is allowed.

    >>> from nn_transformer import causal_mask
    >>> causal_mask(3).tolist()
    [[True, False, False], [True, True, False], [True, True, True]]
    """
    return Tensor(external(_causal, length), device=device)


def _causal(length: int) -> Any:
    return np.tri(length, dtype=bool)


def padding_mask(tokens: Any, padding_idx: int) -> Tensor:
    """Return the mask ``(batch, 1, 1, length)`` under which nothing attends to padding tokens.

    Args:
        tokens: integers ``(batch, length)``.
        padding_idx: the id of the padding token.

    Raises:
        ValueError: if the tokens are not a matrix of integers.

    >>> from nn_tensor import Tensor
    >>> from nn_transformer import padding_mask
    >>> padding_mask(Tensor([[5, 7, 0]]), padding_idx=0).tolist()
    [[[[True, True, False]]]]
    """
    tokens = as_token_ids(tokens, "cpu")
    if tokens.ndim != 2 or tokens.dtype.kind not in "iu":
        raise ValueError(f"tokens: expected integers (batch, length), got {describe(tokens)}")
    allowed: Tensor = tokens != padding_idx
    return allowed.expand_dims((1, 2))


def check_mask(mask: Any, shape: tuple[int, ...], device: str, dtype: Any) -> Any:
    """Return a mask that broadcasts to scores of `shape`, or True if `mask` is None.

    Raises:
        TypeError: if the mask is neither boolean nor floating.
        ValueError: if it does not broadcast to `shape`.
    """
    if mask is None:
        return True
    if not isinstance(mask, Tensor):
        mask = Tensor(mask, None if hasattr(mask, "dtype") else device)
    if mask.dtype.kind not in "bf":
        raise TypeError(
            "mask: expected booleans (True where attention is allowed) or floats (added to the "
            f"scores), got {describe(mask)}"
        )
    expected = shape[len(shape) - mask.ndim :]
    fits = mask.ndim <= len(shape) and all(
        size in (1, target) for size, target in zip(mask.shape, expected, strict=True)
    )
    if not fits:
        raise ValueError(f"mask: shape {mask.shape} does not broadcast to scores {shape}")
    return mask.astype(dtype) if mask.dtype.kind == "f" else mask
