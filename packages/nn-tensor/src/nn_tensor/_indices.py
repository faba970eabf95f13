"""Indices as users write them: made into arrays of the right module, and checked."""

from __future__ import annotations

from typing import Any

import numpy as np

from nn_tensor._device import is_array

__all__ = ["check_integers", "is_basic", "plain_index", "write_item"]


def plain_index(xp: Any, index: Any) -> Any:
    """Return an index with arrays of `xp` in place of Tensors, lists and other arrays."""
    if isinstance(index, tuple):
        return tuple(plain_index(xp, part) for part in index)
    if hasattr(index, "requires_grad"):
        index = index.data
    if isinstance(index, list):
        index = np.asarray(index, dtype=None if index else np.intp)
    if is_array(index) and getattr(index, "ndim", 0) > 0:
        if index.dtype.kind not in "biu":
            raise TypeError(
                f"index: an array of indices must hold integers or booleans, got {index.dtype}"
            )
        return xp.asarray(index)
    return index


def is_basic(index: Any) -> bool:
    """Tell whether an index only slices, so that no element is read twice."""
    parts = index if isinstance(index, tuple) else (index,)
    return not any(is_array(part) and getattr(part, "ndim", 0) > 0 for part in parts)


def write_item(xp: Any, target: Any, index: Any, value: Any) -> None:
    """Write `value` into the array `target` at `index`, or raise and leave it as it was."""
    value = xp.asarray(value) if isinstance(value, (list, tuple)) else value
    if hasattr(value, "dtype") and not np.can_cast(value.dtype, target.dtype, "same_kind"):
        raise TypeError(f"item assignment: {value.dtype} does not fit into {target.dtype}")
    try:
        target[plain_index(xp, index)] = value
    except (ValueError, IndexError) as error:
        raise type(error)(
            f"item assignment: a value of shape {np.shape(value)} at {index!r} into shape "
            f"{target.shape}: {error}"
        ) from None


def check_integers(xp: Any, indices: Any, length: int, least: int = 0) -> Any:
    """Return `indices` as an array of integers between `least` and `length` - 1, or raise."""
    indices = xp.asarray(indices)
    if indices.dtype.kind not in "iu":
        if indices.size:
            raise TypeError(f"indices: expected integers, got {indices.dtype}")
        indices = indices.astype(np.intp)
    if indices.size:
        low, high = int(indices.min()), int(indices.max())
        if low < least or high >= length:
            wrong = low if low < least else high
            raise IndexError(f"indices: {wrong} is out of bounds, expected {least} to {length - 1}")
    return indices
