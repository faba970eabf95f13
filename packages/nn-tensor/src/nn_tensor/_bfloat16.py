"""What CuPy's bfloat16 needs beside CuPy, or lacks."""

from __future__ import annotations

from typing import Any

import numpy as np

from nn_tensor._dtype import is_bfloat16

__all__ = ["clip_array", "refuse_bfloat16", "weak_floats"]


def weak_floats(values: list[Any]) -> list[Any]:
    """Return values with Python's floats in bfloat16 beside arrays of it, which CuPy promotes."""
    dtypes = {x.dtype for x in values if hasattr(x, "dtype")}
    kind = next(filter(is_bfloat16, dtypes), None)
    if kind is None:
        return values
    return [kind.type(x) if type(x) is float else x for x in values]


def refuse_bfloat16(dtype: np.dtype[Any]) -> None:
    """Raise if CuPy would compute in bfloat16 what it cannot.

    Raises:
        TypeError: for bfloat16.
    """
    if is_bfloat16(dtype):
        raise TypeError("expected another dtype than bfloat16, which CuPy does not have here")


def clip_array(xp: Any, x: Any, low: Any, high: Any) -> Any:
    """Return ``xp.clip(x, low, high)``, which CuPy has for bfloat16 on both sides, in float32."""
    if not is_bfloat16(x.dtype):
        return xp.clip(x, low, high)
    x = x if low is None else xp.maximum(x, x.dtype.type(low))
    return x if high is None else xp.minimum(x, x.dtype.type(high))
