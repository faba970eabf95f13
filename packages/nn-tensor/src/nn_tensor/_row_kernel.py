"""CUDA kernels that work on the rows of matrices, written in C++."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

__all__ = ["RowKernel"]

# Up to this number of columns a warp has a row for itself, and a block four rows; beyond it a row
# has a block, from `_LONG` columns on the largest one.
_SHORT, _LONG = 1024, 16384
_WARP, _BLOCK, _LARGEST_BLOCK, _ROWS_OF_A_BLOCK = 32, 256, 1024, 4

_TYPES = {
    "float32": "float",
    "float64": "double",
    "int32": "int",
    "int64": "long long",
    "uint32": "unsigned int",
    "uint64": "unsigned long long",
}

_PREAMBLE = """
// NaN is larger than any number, as in NumPy.
__device__ T larger(T x, T y) { return x != x || x > y ? x : y; }
__device__ T sum_of_two(T x, T y) { return x + y; }

// Every thread of a row gets the same result: it is combined in one order.
template <T combine(T, T)> __device__ T over_row(T value) {
    for (int step = 16; step > 0; step /= 2)
        value = combine(value, __shfl_xor_sync(0xffffffffu, value, step));
    if (blockDim.x == 32) return value;
    __shared__ T parts[32];
    __syncthreads();  // the parts of the call before have been read
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = value;
    __syncthreads();
    value = parts[0];
    for (int warp = 1; warp < blockDim.x / 32; ++warp) value = combine(value, parts[warp]);
    return value;
}
__device__ T row_sum(T value) { return over_row<sum_of_two>(value); }
__device__ T row_max(T value) { return over_row<larger>(value); }
"""


class RowKernel:
    """A CUDA kernel in C++ that threads run together on each row of matrices.

    The body is run by every thread of a row. In it, ``T`` is the floating type of the call,
    ``row`` the number of the row, ``count`` the number of columns, ``EACH(j)`` a loop over the
    columns that the thread handles. ``row_sum(value)`` and ``row_max(value)``, of NaN NaN, combine
    the values of all threads of the row; every thread must call them.

    Args:
        name: the name of the kernel, as profilers show it.
        arguments: the declarations of its arguments in C++.
        body: the source code that is run for a row.

    >>> from nn_tensor.extend import RowKernel
    >>> total = RowKernel("total", "const T *x, T *out", '''
    ...     T part = 0;
    ...     EACH(j) part += x[row * count + j];
    ...     part = row_sum(part);
    ...     if (threadIdx.x == 0) out[row] = part;
    ... ''')
    """

    def __init__(self, name: str, arguments: str, body: str) -> None:
        self.name, self._arguments, self._body = name, arguments, body

    def source(self, dtype: Any) -> str:
        """Return the source for a floating dtype."""
        return f"""
            typedef {_TYPES[np.dtype(dtype).name]} T;
            #define EACH(j) for (long long j = threadIdx.x; j < count; j += blockDim.x)
            {_PREAMBLE}
            extern "C" __global__ void __launch_bounds__({_LARGEST_BLOCK})
            {self.name}({self._arguments}, long long rows, long long count) {{
                const long long row = (long long)blockIdx.x * blockDim.y + threadIdx.y;
                if (row >= rows) return;
                {self._body}
            }}
        """

    @functools.cache  # noqa: B019 - a kernel lives as long as its module
    def _compiled(self, cp: Any, dtype: Any) -> Any:
        return cp.RawKernel(self.source(dtype), self.name)

    def __call__(self, cp: Any, dtype: Any, rows: int, count: int, *arguments: Any) -> None:
        """Launch it for `rows` rows of `count` columns.

        Args:
            cp: CuPy.
            dtype: float32 or float64, the type ``T``.
            rows: the number of rows.
            count: the number of columns.
            *arguments: contiguous CuPy arrays, None for a null pointer, int for ``long long``,
                float for ``T``.
        """
        if not rows:
            return
        dtype = np.dtype(dtype)
        values = [_argument(x, dtype) for x in arguments]
        block, height = (_WARP, _ROWS_OF_A_BLOCK) if count <= _SHORT else (_BLOCK, 1)
        if count >= _LONG:
            block = _LARGEST_BLOCK
        kernel = self._compiled(cp, dtype)
        kernel((-(-rows // height),), (block, height), (*values, np.int64(rows), np.int64(count)))


def _argument(value: Any, dtype: np.dtype[Any]) -> Any:
    if value is None:
        return np.uint64(0)
    if isinstance(value, float):
        return dtype.type(value)
    return np.int64(value) if isinstance(value, int) else value
