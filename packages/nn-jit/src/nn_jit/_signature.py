"""The signature of a call: what has to be equal for a program to serve."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from nn_tensor import Tensor
from nn_tensor.extend import array_of, current_modes, has_graph, needs_grad_of

from nn_jit._errors import JitError
from nn_jit._same import PLAIN

__all__ = ["Unhashable", "difference", "quick_test", "signature"]


class Unhashable(TypeError):
    """An argument cannot be compared between calls."""


def signature(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, list[Any]]:
    """Return the signature of a call, and the Tensors and arrays among its arguments."""
    leaves: list[Any] = []
    parts: list[Any] = [current_modes()]
    for position, x in enumerate(args):
        parts.append(_part(x, leaves, position))
    for name in sorted(kwargs):
        parts.append((name, _part(kwargs[name], leaves, name)))
    if len(leaves) > 1:
        first: dict[int, int] = {}
        arrays = [array_of(x) if type(x) is Tensor else x for x in leaves]
        pattern = tuple(first.setdefault(id(a), n) for n, a in enumerate(arrays))
        if len(first) < len(leaves):
            parts.append(pattern)
    return tuple(parts), leaves


def quick_test(key: Any, args: tuple[Any, ...]) -> Callable[[Any], bool] | None:
    """Return whether later arguments have the same signature, of Tensors without gradients alone.

    None where there are other arguments. It takes half the time of a signature.
    """
    modes, *parts = key
    if len(parts) != len(args) or any(type(x) is not Tensor or needs_grad_of(x) for x in args):
        return None

    def fits(given: tuple[Any, ...]) -> bool:
        if len(given) != len(parts) or current_modes() != modes:
            return False
        arrays = set()
        for x, wanted in zip(given, parts, strict=True):
            if type(x) is not Tensor:
                return False
            a = array_of(x)
            arrays.add(id(a))
            if (a.shape, a.dtype.char, needs_grad_of(x), type(a), a.strides) != wanted:
                return False
        return len(arrays) == len(parts)

    return fits


def _part(x: Any, leaves: list[Any], name: Any) -> Any:
    if isinstance(x, Tensor):
        leaves.append(x)
        array, needs_grad = array_of(x), needs_grad_of(x)
        if needs_grad and has_graph(x):
            raise JitError(
                f"argument {name!r}: is the result of a recorded operation, through which a replay "
                "could not go backward; pass it .detach()"
            )
        return array.shape, array.dtype.char, needs_grad, type(array), array.strides
    if isinstance(x, np.ndarray) or hasattr(x, "__cuda_array_interface__"):
        leaves.append(x)
        return x.shape, x.dtype.str, type(x), x.strides, getattr(x.flags, "writeable", True)
    if isinstance(x, (tuple, list)):
        return (type(x), *(_part(item, leaves, f"{name}[{i}]") for i, item in enumerate(x)))
    if isinstance(x, dict):
        parts = [(key, _part(item, leaves, f"{name}[{key!r}]")) for key, item in x.items()]
        return (dict, *((k if type(k) is str else _part(k, leaves, name), p) for k, p in parts))
    if isinstance(x, (float, complex, np.inexact)):  # 0.0 equals -0.0, and NaN not itself
        return type(x), repr(x)
    if isinstance(x, frozenset):
        return (type(x), *(_part(item, leaves, name) for item in x))
    cls = type(x)
    try:
        hash(x)
    except TypeError:
        raise Unhashable(
            f"argument {name!r}: {cls.__name__} cannot be compared between calls; pass "
            "Tensors, arrays, or values that are hashable"
        ) from None
    if (
        isinstance(x, (*PLAIN, np.generic))
        or cls.__module__.partition(".")[0] in sys.stdlib_module_names
    ):
        return cls, x
    if dataclasses.is_dataclass(x) and "__eq__" in vars(cls):
        items = ((f.name, getattr(x, f.name)) for f in dataclasses.fields(x))
        return (cls, *(_part(item, leaves, f"{name}.{key}") for key, item in items))
    return cls, _Same(x)


class _Same:
    """An object that equals itself alone: what its class calls equal may differ to a function."""

    __slots__ = ("of",)

    def __init__(self, of: Any) -> None:
        self.of = of

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.of is other.of

    def __hash__(self) -> int:
        return id(self.of)

    def __repr__(self) -> str:
        return repr(self.of)


def difference(names: list[str], key: Any, other: Any) -> str:
    """Return what differs between two signatures, in words."""
    if key[0] != other[0]:
        return "the modes (gradients, kernels, mixed precision)"
    for name, a, b in zip(names, key[1:], other[1:], strict=False):
        if a != b:
            return f"argument {name!r}: {_words(a)}, and {_words(b)} before"
    return "the number of arguments, or which of them are the same array"


def _words(part: Any) -> str:
    if isinstance(part, tuple) and len(part) in (2, 3) and isinstance(part[0], type):
        return part[1] if isinstance(part[1], str) and part[0] is not str else repr(part[1])
    if isinstance(part, tuple) and part and isinstance(part[0], tuple):
        return f"shape {part[0]}, dtype {np.dtype(part[1])}"
    return repr(part)
