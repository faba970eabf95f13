"""The CUDA kernel that adds rows to the rows of a matrix, in the order of their positions."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from nn_tensor._dtype import is_floating

__all__ = ["add_rows_in_order", "can_add_in_order"]

Array = Any

# A warp reads some columns of all rows that go to one place, from the first of them on; the warps
# of the later ones find an earlier one, and end. What this compares grows with the square of the
# number of positions, so a launch has a limited number.
_POSITIONS, _WARP, _WARPS_OF_A_BLOCK, _COLUMNS_OF_A_THREAD = 4096, 32, 4, 4
_TYPES = {"float32": "float", "float64": "double"}
_SOURCE = """
typedef {} T;
__device__ long long row_of(long long index, long long length) {{
    if (index >= 0 && index < length) return index;
    index %= length;  // never beyond the target, whatever the index
    return index < 0 ? index + length : index;
}}
extern "C" __global__ void nn_tensor_add_rows(
    const long long *places, const T *rows, T *target, long long first, long long stop,
    long long length, long long count) {{
    const long long position = first + blockIdx.x * (long long)blockDim.y + threadIdx.y;
    if (position >= stop) return;
    #define PLACE(i) row_of(places[i], length)
    const long long place = PLACE(position);
    for (long long start = position - 32; start > first - 32; start -= 32) {{
        const long long i = start + threadIdx.x;
        if (__ballot_sync(0xffffffffu, i >= first && PLACE(i) == place)) return;
    }}
    const long long column = blockIdx.y * 128ll + threadIdx.x;
    T sum[4], values[4][4];
    #pragma unroll
    for (int c = 0; c < 4; ++c)
        sum[c] = column + c * 32 < count ? target[place * count + column + c * 32] : T(0);
    for (long long start = position; start < stop; start += 32) {{
        const long long i = start + threadIdx.x;
        unsigned same = __ballot_sync(0xffffffffu, i < stop && PLACE(i) == place);
        while (same) {{  // four rows are read before they are added, one after another
            int taken = 0;
            #pragma unroll
            for (int u = 0; u < 4; ++u) {{
                if (!same) break;
                const T *row = rows + (start + __ffs(same) - 1) * count;
                same &= same - 1;
                ++taken;
                #pragma unroll
                for (int c = 0; c < 4; ++c)
                    if (column + c * 32 < count) values[u][c] = row[column + c * 32];
            }}
            #pragma unroll
            for (int u = 0; u < 4; ++u) {{
                if (u >= taken) break;
                #pragma unroll
                for (int c = 0; c < 4; ++c)
                    if (column + c * 32 < count) sum[c] += values[u][c];
            }}
        }}
    }}
    #pragma unroll
    for (int c = 0; c < 4; ++c)
        if (column + c * 32 < count) target[place * count + column + c * 32] = sum[c];
}}
"""


@functools.cache
def _compiled(cp: Any, dtype: np.dtype[Any]) -> Any:
    return cp.RawKernel(_SOURCE.format(_TYPES[dtype.name]), "nn_tensor_add_rows")


def can_add_in_order(target: Array, index: Any) -> bool:
    """Return whether `add_rows_in_order` adds to a target at an index: an array of integers."""
    is_integer = getattr(getattr(index, "dtype", None), "kind", "") in ("i", "u")
    return (
        is_integer and target.ndim > 0 and (target.dtype.kind == "c" or is_floating(target.dtype))
    )


def add_rows_in_order(cp: Any, target: Array, index: Array, values: Array) -> None:
    """Add ``values[i]`` to ``target[index[i]]``, for one `i` after another.

    The sums are those of a loop, bit by bit, whichever thread comes first. Half precision is summed
    in float32.

    Args:
        cp: CuPy.
        target: floating or complex, of any layout.
        index: integers that count places of the first axis of `target`; those out of bounds are
            taken modulo its length, as CuPy does everywhere, because the device cannot raise.
        values: broadcasts to the shape of ``target[index]``.
    """
    shape = (*index.shape, *target.shape[1:])
    wide = np.dtype(np.float32) if target.dtype.itemsize < 4 else target.dtype
    values = cp.ascontiguousarray(cp.broadcast_to(cp.asarray(values, dtype=wide), shape))
    total = cp.ascontiguousarray(target, dtype=wide)
    part = np.dtype(f"f{wide.itemsize // 2}") if wide.kind == "c" else wide
    positions, length = index.size, target.shape[0]
    count = math.prod(target.shape[1:]) * (wide.itemsize // part.itemsize)
    if not positions or not count:
        return
    places = cp.ascontiguousarray(index, dtype=np.int64)
    threads = _WARP, _WARPS_OF_A_BLOCK
    columns = -(-count // (_WARP * _COLUMNS_OF_A_THREAD))
    for first in range(0, positions, _POSITIONS):
        stop = min(positions, first + _POSITIONS)
        grid = -(-(stop - first) // _WARPS_OF_A_BLOCK), columns
        arguments = places, values, total, first, stop, length, count
        _compiled(cp, part)(grid, threads, arguments)
    if total is not target:
        target[...] = total
