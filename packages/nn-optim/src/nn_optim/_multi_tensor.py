"""CUDA kernels that work on many arrays with one launch."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["MultiTensorKernel"]

Array = Any

_ELEMENTS_OF_A_BLOCK, _THREADS = 4096, 256
_KEPT_TABLES = 16  # the arrays of a step are mostly those of an earlier one
_TYPES = {"float16": "__half", "float32": "float", "float64": "double"}

# A row of the table holds the number of the first block of a tensor, the number of its elements,
# and the addresses of its arrays.
_SOURCE = """
{include}
typedef {compute} T;
template <typename S> __device__ T load(const S *x, long long i) {{ return x[i]; }}
template <typename S> __device__ void store(S *x, long long i, T value) {{ x[i] = value; }}
{half}
{preamble}
extern "C" __global__ void {name}(const long long *table, long long tensors{scalars}) {{
    long long low = 0, high = tensors;
    while (high - low > 1) {{
        const long long middle = (low + high) / 2;
        if (table[middle * {width}] <= blockIdx.x) low = middle; else high = middle;
    }}
    const long long *entry = table + low * {width};
    const long long start = (blockIdx.x - entry[0]) * {elements};
    const long long stop = min(entry[1], start + {elements});
    {pointers}
    {body}
}}
"""
_HALF = """
__device__ T load(const __half *x, long long i) { return __half2float(x[i]); }
__device__ void store(__half *x, long long i, T value) { x[i] = __float2half(value); }
"""


class MultiTensorKernel:
    """A CUDA kernel for many tensors, each with the same arrays, such as parameter and gradient.

    The body is run by each of the threads of a block, which has the elements of a tensor from
    ``start`` to ``stop``. ``load(array, i)`` reads an element as ``T``, float32 at least, and
    ``store(array, i, value)`` writes it.

    Args:
        name: the name of the kernel, as profilers show it.
        arrays: the names of the arrays of a tensor in the body.
        scalars: the names of numbers, of the type ``T``, or declarations of other types.
        body: the source code that each thread runs.
        preamble: source code before the kernel.
    """

    def __init__(
        self,
        name: str,
        arrays: Sequence[str],
        scalars: Sequence[str],
        body: str,
        preamble: str = "",
    ) -> None:
        self.name, self.arrays, self._body, self._preamble = name, list(arrays), body, preamble
        self._scalars = [s if " " in s else f"T {s}" for s in scalars]
        self._tables: dict[tuple[int, bytes], Array] = {}

    def source(self, dtypes: Sequence[str]) -> str:
        """Return the source for the dtypes of the arrays."""
        half = "float16" in dtypes
        pointers = (
            f"{_TYPES[dtype]} *{name} = ({_TYPES[dtype]} *)entry[{place}];"
            for place, (name, dtype) in enumerate(zip(self.arrays, dtypes, strict=True), 2)
        )
        return _SOURCE.format(
            include="#include <cuda_fp16.h>" if half else "",
            compute="double" if "float64" in dtypes else "float",
            half=_HALF if half else "",
            preamble=self._preamble,
            name=self.name,
            scalars="".join(f", {scalar}" for scalar in self._scalars),
            width=2 + len(self.arrays),
            elements=_ELEMENTS_OF_A_BLOCK,
            pointers="\n    ".join(pointers),
            body=self._body,
        )

    @functools.cache  # noqa: B019 - a kernel lives as long as its module
    def _compiled(self, cp: Any, dtypes: tuple[str, ...]) -> Any:
        return cp.RawKernel(self.source(dtypes), self.name)

    @staticmethod
    def blocks(sizes: Sequence[int]) -> int:
        """Return the number of blocks for tensors of these sizes."""
        return sum(-(-size // _ELEMENTS_OF_A_BLOCK) for size in sizes)

    def __call__(self, cp: Any, tensors: Sequence[Sequence[Array]], *scalars: Any) -> None:
        """Launch it.

        Args:
            cp: CuPy.
            tensors: the arrays of each tensor: contiguous, of one size, of the same dtypes for all
                tensors, on the current device.
            *scalars: float for the type ``T``, or CuPy arrays for pointers.
        """
        tensors = [arrays for arrays in tensors if arrays[0].size]
        if not tensors:
            return
        dtypes = tuple(array.dtype.name for array in tensors[0])
        compute = np.float64 if "float64" in dtypes else np.float32
        table = np.empty((len(tensors), 2 + len(self.arrays)), np.int64)
        blocks = 0
        for row, arrays in zip(table, tensors, strict=True):
            row[:] = blocks, arrays[0].size, *(array.data.ptr for array in arrays)
            blocks += self.blocks([arrays[0].size])
        values = (compute(s) if isinstance(s, float) else s for s in scalars)
        arguments = self._on_device(cp, table), np.int64(len(tensors)), *values
        self._compiled(cp, dtypes)((blocks,), (_THREADS,), arguments)

    def _on_device(self, cp: Any, table: np.ndarray[Any, Any]) -> Array:
        """Return the table on the device, that of an earlier call if it is the same."""
        key = cp.cuda.runtime.getDevice(), table.tobytes()
        found = self._tables.pop(key, None)
        if found is None:
            found = cp.asarray(table)
        self._tables[key] = found
        while len(self._tables) > _KEPT_TABLES:
            del self._tables[next(iter(self._tables))]
        return found
