"""What counts as the same from one call to another: values of Python, and layouts of arrays."""

from __future__ import annotations

from collections.abc import Collection
from operator import is_
from typing import Any

import numpy as np

__all__ = ["MISSING", "PLAIN", "Identity", "exact", "is_unchanged", "layout_of", "same"]

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
    in_order = array.ndim < 2 or array.flags.c_contiguous
    return array.shape, array.dtype, None if in_order else array.strides
