"""Python values as arrays: numbers and nested sequences, inputs and outputs of operations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nn_tensor._device import CPU, device_of, is_array, namespace_of, put
from nn_tensor._dtype import DEFAULT_FLOAT, is_floating
from nn_tensor._errors import describe
from nn_tensor._graph import Variable
from nn_tensor._modes import modes
from nn_tensor._observe import read

__all__ = [
    "array_from_python",
    "array_module",
    "as_input",
    "as_output",
    "holds_recorded",
    "refuse_masked",
    "shape_of",
]

Array = Any


def array_from_python(value: Any, dtype: np.dtype[Any] = DEFAULT_FLOAT) -> Array:
    """Return Python numbers, nested sequences or a foreign array-like as a NumPy array.

    Floating values that come from Python get `dtype`; data that has a dtype keeps it.
    """
    if isinstance(value, Variable):
        return read(value, "a list or array made of it")
    refuse_masked(value)
    has_dtype = hasattr(value, "__array__") or hasattr(value, "__array_interface__")
    if isinstance(value, (list, tuple)):
        value, has_dtype = _unwrap(value)
    try:
        array = np.asarray(value)
    except (ValueError, TypeError) as error:
        raise type(error)(f"expected numbers in a regular nesting; {error}") from None
    except Exception as error:  # another library's, for an array that it does not hand out
        raise TypeError(f"{type(value).__name__} does not become an array: {error}") from None
    if array.dtype.kind not in "biufc":
        raise TypeError(f"expected numbers or booleans, got {describe(value)}")
    if array.dtype.kind == "f" and not has_dtype:
        array = array.astype(dtype)
    return array


def refuse_masked(value: Any) -> None:
    """Raise if `value` is an array of `numpy.ma` with masked elements."""
    if hasattr(value, "mask") and np.ma.is_masked(value):
        raise TypeError("a masked array would lose its mask; use .filled(...) or .compressed()")


def holds_recorded(value: Any) -> bool:
    """Return whether `value` is or holds, in nested sequences, a variable to differentiate."""
    if isinstance(value, (list, tuple)):
        return any(map(holds_recorded, value))
    return isinstance(value, Variable) and value._requires_grad


def _unwrap(sequence: Sequence[Any]) -> tuple[Any, bool]:
    """Replace variables in nested lists by arrays; return whether every leaf had a dtype."""
    items = []
    typed = bool(sequence)
    for item in sequence:
        refuse_masked(item)
        if isinstance(item, Variable):
            item = put(read(item, "a list of Tensors"), CPU)
        elif isinstance(item, (list, tuple)):
            item, inner = _unwrap(item)
            typed = typed and inner
        elif not is_array(item):
            typed = False
        items.append(item)
    return items, typed


def as_input(info: Any, inputs: tuple[Any, ...], position: int) -> Array:
    """Return an input as an array; the floats of Python values are in the dtype of the others."""
    value = inputs[position]
    if is_array(value):
        refuse_masked(value)
        return value
    if modes.grad and holds_recorded(value):
        raise TypeError(
            f"{info.name}: a list of Tensors that require gradients is not recorded; use stack"
        )
    arrays = [x._data if isinstance(x, Variable) else x for x in inputs]
    arrays = [x for x in arrays if is_array(x)]
    dtypes = [x.dtype for x in arrays if is_floating(x.dtype)]
    try:
        array = array_from_python(value, *dtypes[:1])
    except (TypeError, ValueError) as error:
        name = f"{info.inputs[0]}[{position}]" if info.variadic else info.inputs[position]
        raise type(error)(f"{info.name}: {name}: {error}") from None
    is_sequence = isinstance(value, (list, tuple))  # which is on no device yet
    return put(array, device_of(arrays[0])) if is_sequence and arrays else array


def as_output(name: str, out: Any) -> Array:
    """Return what the forward of an operation returned as an array, or raise if it is not one."""
    if isinstance(out, (np.generic, np.ndarray, float, int)):
        return np.asarray(out)
    if is_array(out):
        return out
    raise TypeError(f"op {name}: its forward must return an array, got {describe(out)}")


def array_module(x: Any) -> Any:
    """Return the module that computes on an array or Tensor: NumPy, or CuPy for its arrays.

    >>> from nn_tensor import Tensor
    >>> from nn_tensor.extend import array_module
    >>> array_module(Tensor([1.0])).__name__
    'numpy'
    """
    if type(x) is np.ndarray:
        return np
    return namespace_of(x._data if isinstance(x, Variable) else x)


def shape_of(x: Any) -> tuple[int, ...]:
    """Return the shape of a Tensor, an array, a nested list or a number."""
    return x.shape if hasattr(x, "shape") else np.shape(x)
