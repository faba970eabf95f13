"""Arrays that begin where the processor reads and writes them fastest."""

from __future__ import annotations

from typing import Any

from nn_tensor.extend import empty_aligned

__all__ = ["LINE", "PAGE", "address", "aligned"]

Array = Any

LINE, PAGE = 64, 4096  # bytes of a line of the cache, and of a page of memory


def address(array: Array) -> int:
    """Return where an array begins in memory."""
    return int(array.__array_interface__["data"][0])


def aligned(array: Array, offset: int = 0, unit: int = LINE) -> Array:
    """Return an array in C order as `empty_aligned` places it, a copy only if it is elsewhere."""
    if array.flags.carray and (array.nbytes < unit or (address(array) - offset) % unit == 0):
        return array
    placed = empty_aligned(array.shape, array.dtype, offset, unit)
    placed[...] = array
    return placed
