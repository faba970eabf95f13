"""The matrix products of attention, in half precision on CUDA with results in float32."""

from __future__ import annotations

from typing import Any

import numpy as np
from nn_tensor.extend import accumulation_dtype, half_product, matrix_product

__all__ = ["accumulate_product", "dtype_of_scores", "product", "write_product"]

Array = Any


def dtype_of_scores(xp: Any, query: Array) -> np.dtype[Any]:
    """Return the dtype of scores, weights and gradients: on CUDA at least float32."""
    wide = accumulation_dtype(query.dtype)
    dtype: np.dtype[Any] = query.dtype if xp is np or wide is None else wide
    return dtype


def product(xp: Any, x: Array, y: Array, out: Array = None, scale: Any = 1.0) -> Array:
    """Return ``scale * x @ y``, in the memory of `out` where it can be computed in it.

    CuPy would compute it elsewhere and copy it there. If `y` is in half precision on CUDA so is `x`
    in the product, and the result is in float32.
    """
    if xp is not np and accumulation_dtype(y.dtype) is not None:
        return half_product(xp, x.astype(y.dtype, copy=False), y, float(scale))
    if type(scale) is not float:
        x = x * scale
    return matrix_product(x, y, out=out if xp is np else None)


def write_product(xp: Any, target: Array, x: Array, y: Array) -> None:
    """Write ``x @ y`` into `target`."""
    if target.dtype == y.dtype:
        matrix_product(x, y, out=target)
    else:
        target[...] = product(xp, x, y)


def accumulate_product(
    xp: Any, target: Array, x: Array, y: Array, first: bool, scale: Any = 1.0
) -> None:
    """Write the product of the first block, ``scale * x @ y``, or add that of a later one."""
    if target.dtype != y.dtype:  # in half precision on CUDA
        result = product(xp, x, y, scale=scale)
        if first:
            target[...] = result
        else:
            target += result
        return
    if type(scale) is not float:
        y = y * scale
    if first:
        matrix_product(x, y, out=target)
    else:
        target += matrix_product(x, y)
