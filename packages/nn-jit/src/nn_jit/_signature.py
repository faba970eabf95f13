"""The signature of a call: what has to be equal for a program to serve."""

from __future__ import annotations

import dataclasses
import sys
from typing import Any

import numpy as np
from nn_tensor import Tensor
from nn_tensor.extend import array_of, current_modes, has_graph, needs_grad_of

from nn_jit._program import JitError
from nn_jit._same import PLAIN, exact

__all__ = ["difference", "signature"]


def signature(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, list[Any]]:
    """Return the signature of a call, and the Tensors and arrays among its arguments."""
    leaves: list[Any] = []
    parts: list[Any] = [current_modes()]
    for position, x in enumerate(args):
        parts.append(_part(x, leaves, position))
    for name in sorted(kwargs):
        parts.append((name, _part(kwargs[name], leaves, name)))
    if len(leaves) > 1:
        arrays = [array_of(x) if isinstance(x, Tensor) else x for x in leaves]
        pattern = _pattern(arrays)
        if max(pattern) < len(leaves) - 1:
            parts.append((pattern, _pattern(leaves)))
    return tuple(parts), leaves


def _pattern(objects: list[Any]) -> tuple[int, ...]:
    """Return which objects are the same, as numbers in the order in which they come."""
    first: dict[int, int] = {}
    return tuple([first.setdefault(id(x), len(first)) for x in objects])


def _part(x: Any, leaves: list[Any], name: Any) -> Any:
    cls = type(x)
    if isinstance(x, Tensor):
        leaves.append(x)
        array, needs_grad = array_of(x), needs_grad_of(x)
        if needs_grad and has_graph(x):
            raise JitError(
                f"argument {name!r}: is the result of a recorded operation, through which a replay "
                "could not go backward; pass it .detach()"
            )
        part = array.shape, array.dtype.char, needs_grad, type(array), array.strides
        return part if cls is Tensor else (*part, cls)
    if isinstance(x, np.ndarray) or hasattr(x, "__cuda_array_interface__"):
        leaves.append(x)
        return x.shape, x.dtype.str, cls, x.strides, getattr(x.flags, "writeable", True)
    if isinstance(x, (tuple, list)):
        return (cls, *[_part(item, leaves, f"{name}[{i}]") for i, item in enumerate(x)])
    if isinstance(x, dict):
        parts = [(key, _part(item, leaves, f"{name}[{key!r}]")) for key, item in x.items()]
        return (dict, *((k if type(k) is str else _part(k, leaves, name), p) for k, p in parts))
    if isinstance(x, frozenset):
        return (cls, *[_part(item, leaves, name) for item in x])
    try:
        hash(x)
    except TypeError:
        raise JitError(
            f"argument {name!r}: {cls.__name__} cannot be compared between calls; pass "
            "Tensors, arrays, or values that are hashable"
        ) from None
    if dataclasses.is_dataclass(x) and "__eq__" in vars(cls):
        items = ((f.name, getattr(x, f.name)) for f in dataclasses.fields(x))
        return (cls, *[_part(item, leaves, f"{name}.{key}") for key, item in items])
    is_plain = isinstance(x, (*PLAIN, np.generic))
    is_value = not is_plain and cls.__module__.partition(".")[0] in sys.stdlib_module_names
    return (cls, x) if is_value else exact(x)


def difference(names: list[str], key: Any, other: Any) -> str:
    """Return what differs between two signatures, in words."""
    if key[0] != other[0]:
        return "the modes (gradients, kernels, mixed precision)"
    for name, a, b in zip(names, key[1:], other[1:], strict=False):
        if a != b:
            return f"argument {name!r}: {_words(a)}, and {_words(b)} before"
    return "the number of arguments, or which of them are the same array"


def _words(part: Any) -> str:
    if isinstance(part, tuple) and part and isinstance(part[0], tuple):
        return f"shape {part[0]}, dtype {np.dtype(part[1])}"
    return str(part[1]) if isinstance(part, tuple) and len(part) == 2 else repr(part)
