"""Products of matrices in half precision on CUDA, by cuBLAS, with sums and results in float32.

CuPy has products of float16 in float16 alone, and of bfloat16 only those of two matrices.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

__all__ = ["half_product"]

Array = Any

# cuBLAS's numbers
_AS_IT_IS, _TRANSPOSED = 0, 1
_FLOAT32, _TYPES = 0, {"float16": 2, "bfloat16": 14}
_COMPUTE_FLOAT32, _ANY_ALGORITHM = 68, 99


def half_product(cp: Any, x: Array, y: Array, scale: float = 1.0) -> Array:
    """Return ``scale * (x @ y)`` in float32, for CuPy arrays in float16 or bfloat16.

    The sums are those of float32: nothing overflows or is rounded before the end.

    Args:
        cp: CuPy.
        x: matrices, with any leading dimensions.
        y: matrices of the same dtype, whose leading dimensions broadcast with those of `x`.
        scale: a factor of the product.

    Raises:
        TypeError: if the dtypes differ, or are others.
    """
    if x.dtype != y.dtype or x.dtype.name not in _TYPES:
        raise TypeError(f"half_product: expected float16 or bfloat16, got {x.dtype} and {y.dtype}")
    batch = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    rows, inner, columns = x.shape[-2], x.shape[-1], y.shape[-1]
    out = cp.empty((*batch, rows, columns), np.float32)
    if not out.size:
        return out
    if not inner:
        out.fill(0)
        return out
    count = math.prod(batch)
    first, second = (_Operand(cp, a, batch) for a in (x, y))
    # the matrices of cuBLAS are stored by columns, and these by rows: the transposed product
    factors = np.array([scale, 0], np.float32)
    kind = _TYPES[x.dtype.name]
    cp.cuda.cublas.gemmStridedBatchedEx(
        cp.cuda.device.get_cublas_handle(),
        second.operation,
        first.operation,
        columns,
        rows,
        inner,
        factors.ctypes.data,
        second.array.data.ptr,
        kind,
        second.row,
        second.matrix,
        first.array.data.ptr,
        kind,
        first.row,
        first.matrix,
        factors.ctypes.data + factors.itemsize,
        out.data.ptr,
        _FLOAT32,
        columns,
        rows * columns,
        count,
        _COMPUTE_FLOAT32,
        _ANY_ALGORITHM,
    )
    return out


class _Operand:
    """Matrices as cuBLAS takes them: by rows or by columns, at equal distances from each other."""

    def __init__(self, cp: Any, array: Array, batch: tuple[int, ...]) -> None:
        leading = array.shape[:-2]
        by_columns = array.swapaxes(-1, -2)
        if array.flags.c_contiguous or not by_columns.flags.c_contiguous:
            array, self.operation = cp.ascontiguousarray(array), _AS_IT_IS
            self.row = array.shape[-1]
        else:
            self.operation, self.row = _TRANSPOSED, array.shape[-2]
        size = array.shape[-2] * array.shape[-1]
        if leading == batch:
            self.matrix = size
        elif math.prod(leading) == 1:
            self.matrix = 0
        else:
            array = cp.ascontiguousarray(cp.broadcast_to(array, batch + array.shape[-2:]))
            self.operation, self.row, self.matrix = _AS_IT_IS, array.shape[-1], size
        self.array = array
