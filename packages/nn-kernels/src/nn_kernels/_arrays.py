"""What kernels ask of the arrays that they read: one dtype, and elements in one run of memory."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["contiguous", "contiguous_float32"]

_FLOAT32, _FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)


def contiguous(*arrays: Any) -> list[Any] | None:
    """Return contiguous arrays of float32 or float64, or None if one has another dtype."""
    dtype = arrays[0].dtype
    if dtype != _FLOAT32 and dtype != _FLOAT64:
        return None
    return _of_dtype(dtype, arrays)


def contiguous_float32(*arrays: Any) -> list[Any] | None:
    """Return contiguous arrays of float32, or None if one has another dtype."""
    return _of_dtype(_FLOAT32, arrays)


def _of_dtype(dtype: Any, arrays: tuple[Any, ...]) -> list[Any] | None:
    for array in arrays:
        if array.dtype != dtype:
            return None
    return [np.ascontiguousarray(array) for array in arrays]
