"""What is the same from one call to another: values, layouts, and what an external gives."""

from __future__ import annotations

from collections.abc import Collection
from operator import is_
from typing import Any

import numpy as np
from nn_tensor import Tensor
from nn_tensor.extend import array_of, has_parts, is_array, map_structure

from nn_jit._program import JitError

__all__ = ["MISSING", "PLAIN", "checked", "exact", "is_unchanged", "layout_of", "outline", "same"]

MISSING: Any = object()
"""What is read where a variable or attribute does not exist."""

PLAIN = (
    type(None), bool, int, float, complex, str, bytes, np.dtype, type, slice, type(...)
)  # fmt: skip


class Identity:
    """An object that equals itself alone: what its class calls equal may differ to a function."""

    __slots__ = ("of",)

    def __init__(self, of: Any) -> None:
        self.of = of

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Identity) and self.of is other.of

    def __hash__(self) -> int:
        return id(self.of)

    def __repr__(self) -> str:
        return repr(self.of)


def exact(x: Any) -> Any:
    """Return what is equal for values that are the same to a program: 1, 1.0 and True are not."""
    if isinstance(x, tuple):
        return (type(x), *map(exact, x))
    if isinstance(x, (float, complex, np.inexact)):
        return type(x), repr(x)  # 0.0 equals -0.0, and NaN not itself
    return (type(x), x) if isinstance(x, (*PLAIN, np.generic)) else Identity(x)


def same(a: Any, b: Any) -> bool:
    """Return whether two values are the same to a program."""
    return a is b or bool(exact(a) == exact(b))


def is_unchanged(container: Collection[Any], items: Collection[Any]) -> bool:
    """Return whether a container still has the same objects, in the same order."""
    return len(container) == len(items) and all(map(is_, container, items))


def layout_of(array: Any) -> tuple[tuple[int, ...], Any, Any]:
    """Return shape and dtype of an array or number, and its strides where it is not in C order."""
    array = array if hasattr(array, "dtype") else np.asarray(array)
    return array.shape, array.dtype, None if array.flags.c_contiguous else array.strides


def outline(x: Any) -> Any:
    """Return what an external gave, with MISSING for arrays and for objects that may hold some."""

    def part(y: Any) -> Any:
        is_part = is_array(y) or isinstance(y, Tensor)
        return MISSING if is_part or not (y is x or isinstance(y, PLAIN)) else y

    return map_structure(part, x)


def checked(x: Any, expected: Any, label: str) -> Any:
    """Return what an external gives in a replay with arrays in place of Tensors.

    Raises:
        JitError: if it is not as it was recorded, beside the values of arrays.
    """
    if x is expected:
        return x
    if expected is MISSING:
        return array_of(x) if isinstance(x, Tensor) else x
    if has_parts(x) and type(x) is type(expected) and len(x) == len(expected):
        if isinstance(x, dict):
            return {key: checked(x.get(key, MISSING), y, label) for key, y in expected.items()}
        parts = [checked(a, b, label) for a, b in zip(x, expected, strict=True)]
        return x._make(parts) if hasattr(x, "_fields") else type(x)(parts)
    if same(x, expected):
        return x
    raise JitError(
        f"{label} gave {x!r:.80}, and {expected!r:.80} when the function was recorded, which a "
        "replay would not see; return such a number as an array, np.asarray(number, dtype)"
    )
