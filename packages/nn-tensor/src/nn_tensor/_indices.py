"""Indices as users write them: made into arrays of the right module, and checked."""

from __future__ import annotations

from typing import Any

import numpy as np

from nn_tensor._convert import refuse_masked
from nn_tensor._deferred_errors import check_range
from nn_tensor._device import is_array, same_device
from nn_tensor._graph import Variable

__all__ = ["check_integers", "is_basic", "last_written", "plain_index", "write_item"]

_PLAIN = frozenset({int, slice, type(None), type(Ellipsis)})


def plain_index(xp: Any, index: Any, shape: tuple[int, ...] | None = None) -> Any:
    """Return an index with arrays of `xp` in place of Tensors, lists and other arrays.

    With the `shape` of what will be indexed, integers out of its bounds are an error on every
    device: NumPy refuses them itself, CuPy would wrap them around.
    """
    if type(index) in _PLAIN:
        return index
    several = isinstance(index, tuple)
    parts = [_plain_part(part) for part in index] if several else [_plain_part(index)]
    if xp is not np:
        if shape is not None:
            parts = _check_bounds(parts, shape)
        parts = [_placed(xp, part) for part in parts]
    return tuple(parts) if several else parts[0]


def _placed(xp: Any, part: Any) -> Any:
    return xp.asarray(part) if is_array(part) and part.ndim > 0 else part


def _check_bounds(parts: list[Any], shape: tuple[int, ...]) -> list[Any]:
    arrays = [part for part in parts if is_array(part)]
    if not arrays:
        return parts
    masked = sum(array.ndim for array in arrays if array.dtype.kind == "b")
    integers = sum(array.dtype.kind in "iu" for array in arrays)
    others = sum(isinstance(part, (int, slice)) and not isinstance(part, bool) for part in parts)
    axis, checked = 0, []
    for part in parts:
        if part is Ellipsis:
            axis += len(shape) - masked - integers - others
        elif is_array(part) and part.dtype.kind == "b":
            axis += part.ndim
        elif part is not None and not isinstance(part, bool):
            if is_array(part) and part.size and axis < len(shape):
                message = f"is out of bounds for axis {axis} with size {shape[axis]}"
                bounds = -shape[axis], shape[axis] - 1
                part = check_range(part, *bounds, IndexError, f"index {{}} {message}")
            axis += 1
        checked.append(part)
    return checked


def _plain_part(part: Any) -> Any:
    if type(part) in _PLAIN:
        return part
    if isinstance(part, (list, tuple, range)):  # a tuple inside a tuple is an array to NumPy
        part = np.asarray(part)
        if not part.size:
            part = part.astype(np.intp)
    elif isinstance(part, Variable):
        part = part._data
    refuse_masked(part)
    if is_array(part) and part.ndim > 0 and part.dtype.kind not in "biu":
        raise TypeError(
            f"index: an array of indices must hold integers or booleans, got {part.dtype}"
        )
    return part


def is_basic(index: Any) -> bool:
    """Return whether an index only slices, so that no element is read twice."""
    parts = index if isinstance(index, tuple) else (index,)
    return not any(is_array(part) and getattr(part, "ndim", 0) > 0 for part in parts)


def write_item(xp: Any, target: Any, index: Any, value: Any) -> Any:
    """Write `value` into the array `target` at `index`, or raise and leave it as it was.

    Returns the index as `plain_index` gives it.
    """
    refuse_masked(value)
    value = xp.asarray(value) if isinstance(value, (list, tuple)) else value
    if is_array(value) and not isinstance(value, np.generic):
        same_device("item assignment: the value", value, target)
    if hasattr(value, "dtype") and not np.can_cast(value.dtype, target.dtype, "same_kind"):
        raise TypeError(f"item assignment: {value.dtype} does not fit into {target.dtype}")
    try:
        plain = plain_index(xp, index, target.shape)
        if xp is np or not _may_repeat(plain):
            target[plain] = value
        else:
            _write_in_order(xp, target, plain, value)
    except (ValueError, IndexError) as error:
        raise type(error)(
            f"item assignment: a value of shape {np.shape(value)} at {index!r} into shape "
            f"{target.shape}: {error}"
        ) from None
    return plain


def _may_repeat(index: Any) -> bool:
    """Return whether one place can be indexed twice: by arrays of integers."""
    parts = index if isinstance(index, tuple) else (index,)
    return any(is_array(p) and getattr(p, "ndim", 0) > 0 and p.dtype.kind in "iu" for p in parts)


def _write_in_order(xp: Any, target: Any, index: Any, value: Any) -> None:
    """Write `value` as NumPy does, the last one where a place is repeated; CUDA has no order."""
    last, order = last_written(xp, target.shape, index)
    values = xp.broadcast_to(xp.asarray(value, dtype=target.dtype), order.shape).reshape(-1)
    if values.size:
        xp.copyto(target, values[xp.maximum(last, 0)], where=last >= 0)


def last_written(xp: Any, shape: tuple[int, ...], index: Any) -> tuple[Any, Any]:
    """Return which value an assignment writes last to each place, -1 for none, and all of them.

    The values are numbered in the shape of an array of `shape` at `index`.
    """
    last = xp.full(shape, -1, dtype=np.int64)
    selected = last[index]
    order = xp.arange(selected.size).reshape(selected.shape)
    if xp is np or not _may_repeat(index):
        last[index] = order
    else:
        xp.maximum.at(last, index, order)
    return last, order


def check_integers(xp: Any, name: str, indices: Any, length: int | None, least: int = 0) -> Any:
    """Return `indices` as an array of integers between `least` and `length` - 1, or raise.

    Args:
        name: the name of the operation, for an error that is raised after it has been called.
        length: None to compare them with nothing.
    """
    if not is_array(indices):
        indices = np.asarray(indices)
    if indices.dtype.kind not in "iu":
        if indices.size:
            raise TypeError(f"indices: expected integers, got {indices.dtype}")
        indices = indices.astype(np.intp)
    if indices.size and length is not None:
        message = f"indices: {{}} is out of bounds, expected {least} to {length - 1}"
        message = message if isinstance(indices, np.ndarray) else f"{name}: {message}"
        indices = check_range(indices, least, length - 1, IndexError, message)
    return xp.asarray(indices)
