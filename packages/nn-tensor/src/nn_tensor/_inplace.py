"""In-place changes of a Tensor: ``x += y`` and ``x[index] = y``."""

from __future__ import annotations

from typing import Any

import numpy as np

from nn_tensor import ops
from nn_tensor._device import device_scope, namespace_of
from nn_tensor._graph import Variable
from nn_tensor._indices import write_item
from nn_tensor._modes import modes, no_grad
from nn_tensor._observe import noted
from nn_tensor._versions import versions

__all__ = ["assign", "update"]

ArrayLike = Any


def _refuse_leaf(tensor: Any, sign: str, value: Any) -> bool:
    """Return whether a change is part of a graph; raise if it is one of a leaf."""
    recorded = modes.grad and (
        tensor._requires_grad or (isinstance(value, Variable) and value._requires_grad)
    )
    if recorded and tensor._requires_grad and tensor._node is None:
        raise RuntimeError(
            f"{sign}: a leaf that requires a gradient cannot be changed in place while gradients "
            "are recorded; use a new name for the result (or where, concatenate), or change it "
            "inside no_grad()"
        )
    return bool(recorded)


def update(tensor: Any, sign: str, operation: Any, value: ArrayLike) -> Any:
    """Change this very Tensor.

    Where nothing is recorded its memory is written, as in NumPy, and everyone who shares it sees
    the change. Where the change is part of a graph the Tensor gets new memory and a new place in
    the graph, so that what earlier operations saved stays as it was.
    """
    if _refuse_leaf(tensor, sign, value):
        return _replace(tensor, sign, operation(tensor, value))
    with no_grad():
        result = operation(tensor, value)
    _check_fit(tensor, sign, result)
    with device_scope(tensor._data):
        _check_writable(tensor, sign)
        noted(_write, tensor, result, label=f"write ({sign})", writes=True)
    return tensor


def assign(tensor: Any, index: Any, value: ArrayLike) -> None:
    if _refuse_leaf(tensor, "item assignment", value):
        _replace(tensor, "item assignment", ops.set_item(tensor, value, index))
        return
    with device_scope(tensor._data):
        _check_writable(tensor, "item assignment")
        noted(_assign, tensor, value, index, label="item assignment", writes=True)


def _write(array: Any, values: Any) -> None:
    array[...] = values
    versions.mark(array)


def _assign(array: Any, values: Any, index: Any) -> None:
    write_item(namespace_of(array), array, index, values)
    versions.mark(array)


def _replace(tensor: Any, sign: str, result: Any) -> Any:
    if tensor._data.base is not None:
        raise RuntimeError(
            f"{sign}: this Tensor is a view, and what shares its memory would not see a change "
            "that is part of a graph; use a new name for the result, or take .copy() first"
        )
    _check_fit(tensor, sign, result)
    tensor._become(result.astype(tensor.dtype))
    return tensor


def _check_fit(tensor: Any, sign: str, result: Any) -> None:
    if result.shape != tensor.shape:
        raise ValueError(f"{sign}: the result has shape {result.shape}, not {tensor.shape}")
    if not np.can_cast(result.dtype, tensor.dtype, "same_kind"):
        raise TypeError(f"{sign}: a {result.dtype} result does not fit into {tensor.dtype}")


def _check_writable(tensor: Any, sign: str) -> None:
    array = tensor._data
    # what is broadcast has elements that share memory; CuPy does not mark it as read-only
    steps = zip(array.strides, array.shape, strict=True)
    shared = any(step == 0 and length > 1 for step, length in steps)
    if shared or not getattr(array.flags, "writeable", True):
        raise ValueError(f"{sign}: the memory of this Tensor is read-only; take .copy()")
