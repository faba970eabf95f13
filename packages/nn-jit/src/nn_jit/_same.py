"""What counts as the same from one call to another: values of Python, and layouts of arrays."""

from __future__ import annotations

from collections.abc import Collection
from operator import is_
from typing import Any

import numpy as np

__all__ = ["MISSING", "PLAIN", "is_unchanged", "layout_of", "same"]

MISSING: Any = object()
"""What is read where a variable or attribute does not exist."""

PLAIN = (
    type(None), bool, int, float, complex, str, bytes, np.dtype, type, slice, type(...)
)  # fmt: skip


def same(a: Any, b: Any) -> bool:
    """Return whether two plain values are the same to a program: 1, 1.0 and True are not."""
    if a is b or type(a) is not type(b):
        return a is b
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, (float, complex, np.inexact)):
        return repr(a) == repr(b)  # 0.0 equals -0.0, and NaN not itself
    return isinstance(a, (*PLAIN, np.generic)) and bool(a == b)


def is_unchanged(container: Collection[Any], items: list[Any]) -> bool:
    """Return whether a container still has the same objects."""
    return len(container) == len(items) and all(map(is_, container, items))


def layout_of(array: Any) -> tuple[tuple[int, ...], Any, bool]:
    """Return shape, dtype, and whether an array or number is in C order."""
    array = array if hasattr(array, "dtype") else np.asarray(array)
    return array.shape, array.dtype, array.ndim < 2 or bool(array.flags.c_contiguous)
