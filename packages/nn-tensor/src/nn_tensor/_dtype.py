"""Data types: how they are written, and which one Python values get."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

__all__ = ["DEFAULT_FLOAT", "accumulation_dtype", "is_floating", "parse_dtype"]

DEFAULT_FLOAT = np.dtype(np.float32)

_CLASS_SPELLING = re.compile(r"<class '(?:numpy|cupy)\.(\w+)'>|(?:np|numpy|cupy)\.(\w+)")


def parse_dtype(dtype: Any) -> np.dtype[Any]:
    """Convert the usual spellings of a numeric or boolean dtype into a NumPy dtype.

    Accepts dtypes, NumPy scalar types, Python's ``float`` (float32 here), ``int`` and ``bool``,
    and strings: ``"float32"``, ``"np.float32"``, ``"<class 'numpy.float64'>"``.

    Raises:
        TypeError: if `dtype` names no data type, or one that holds neither numbers nor booleans.

    >>> parse_dtype("<class 'numpy.float64'>") == np.float64
    True
    """
    if dtype is float:
        return DEFAULT_FLOAT
    spelling = dtype
    if isinstance(dtype, str) and (match := _CLASS_SPELLING.fullmatch(dtype.strip())):
        spelling = match[1] or match[2]
    try:
        if spelling is None:
            raise TypeError
        parsed = np.dtype(spelling)
    except (TypeError, ValueError, SyntaxError):
        raise TypeError(f"dtype: expected a data type such as 'float32', got {dtype!r}") from None
    if parsed.kind not in "biufc":
        raise TypeError(f"dtype: expected numbers or booleans, got {dtype!r}")
    return np.dtype(parsed.type)  # in native byte order, and one object for each data type


def is_floating(dtype: np.dtype[Any]) -> bool:
    """Return whether gradients can flow through values of `dtype`."""
    return dtype.kind == "f"


def accumulation_dtype(dtype: Any) -> np.dtype[Any] | None:
    """Return float32 for half precision, in which sums are accumulated wider; None otherwise.

    >>> accumulation_dtype(np.dtype("float16")), accumulation_dtype(np.dtype("float64"))
    (dtype('float32'), None)
    """
    return DEFAULT_FLOAT if dtype.kind == "f" and dtype.itemsize < 4 else None
