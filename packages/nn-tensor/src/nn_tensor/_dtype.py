"""Data types: how they are written, and which one Python values get."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

__all__ = [
    "DEFAULT_FLOAT",
    "accumulation_dtype",
    "check_on_host",
    "is_bfloat16",
    "is_floating",
    "is_numeric",
    "parse_dtype",
]

DEFAULT_FLOAT = np.dtype(np.float32)

_CLASS_SPELLING = re.compile(r"<class '(?:numpy|cupy)\.(\w+)'>|(?:np|numpy|cupy)\.(\w+)")


def parse_dtype(dtype: Any) -> np.dtype[Any]:
    """Convert the usual spellings of a numeric or boolean dtype into a NumPy dtype.

    Accepts dtypes, NumPy scalar types, Python's ``float`` (float32 here), ``int`` and ``bool``,
    and strings: ``"float32"``, ``"np.float32"``, ``"<class 'numpy.float64'>"``. ``"bfloat16"`` is
    the type of ml_dtypes, where that is installed; Tensors on the CPU cannot have it.

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
    if isinstance(spelling, str) and spelling == "bfloat16":
        return _bfloat16()
    try:
        if spelling is None:
            raise TypeError
        parsed = np.dtype(spelling)
    except (TypeError, ValueError, SyntaxError):
        raise TypeError(f"dtype: expected a data type such as 'float32', got {dtype!r}") from None
    if not is_numeric(parsed):
        raise TypeError(f"dtype: expected numbers or booleans, got {dtype!r}")
    return np.dtype(parsed.type)  # in native byte order, and one object for each data type


def _bfloat16() -> np.dtype[Any]:
    try:
        import ml_dtypes
    except ImportError:
        raise TypeError(
            "dtype: bfloat16 needs ml_dtypes, which is not installed: pip install ml_dtypes"
        ) from None
    return np.dtype(ml_dtypes.bfloat16)


def is_bfloat16(dtype: np.dtype[Any]) -> bool:
    """Return whether `dtype` is the bfloat16 of ml_dtypes, of which NumPy knows only the size."""
    return dtype.kind == "V" and dtype.name == "bfloat16"


def check_on_host(dtype: np.dtype[Any]) -> None:
    """Raise if NumPy does not compute in `dtype`: it takes bfloat16 for float32 half of the time.

    Raises:
        TypeError: for bfloat16.
    """
    if dtype.kind == "V":
        raise TypeError(
            "dtype: bfloat16 is for CUDA; on the CPU use float32, as in .astype('float32').cpu()"
        )


def is_numeric(dtype: np.dtype[Any]) -> bool:
    """Return whether `dtype` holds numbers or booleans."""
    return dtype.kind in "biufc" or is_bfloat16(dtype)


def is_floating(dtype: np.dtype[Any]) -> bool:
    """Return whether gradients can flow through values of `dtype`: those of floats and bfloat16.

    >>> is_floating(np.dtype("float16")), is_floating(np.dtype("int8"))
    (True, False)
    """
    return dtype.kind == "f" or is_bfloat16(dtype)


def accumulation_dtype(dtype: Any) -> np.dtype[Any] | None:
    """Return float32 for half precision, in which sums are accumulated wider; None otherwise.

    >>> accumulation_dtype(np.dtype("float16")), accumulation_dtype(np.dtype("float64"))
    (dtype('float32'), None)
    """
    return DEFAULT_FLOAT if dtype.itemsize < 4 and is_floating(dtype) else None
