"""The sum of two large arrays, of which several threads compute parts."""

from __future__ import annotations

from typing import Any

import numpy as np

from nn_kernels._atomics import floats
from nn_kernels._compile import Job
from nn_kernels._rows import at, row_loop
from nn_kernels._threads import run

__all__ = ["add"]

_BLOCK = 1 << 14  # elements of a part, which stay in the cache


@row_loop(written=1)
def _add(x: Any, y: Any) -> Any:
    return x + y


def _add_job(a, part, thread):  # type: ignore[no-untyped-def]
    start = part * _BLOCK
    count = min(_BLOCK, a[5] - start)
    _add(count, at(floats(a[4]), start), at(floats(a[2]), start), at(floats(a[3]), start))


_ADD = Job(_add_job)


def add(x: Any, y: Any, out: Any) -> Any:
    """Return ``x + y`` of contiguous float32 arrays of one shape.

    Args:
        x: an array.
        y: an array.
        out: the array to write to, `x` or `y` or one that shares no memory with them; None for a
            new one.
    """
    for array in (x, y) if out is None else (x, y, out):
        if type(array) is not np.ndarray or array.dtype != np.float32:
            return NotImplemented
        if array.shape != x.shape or not array.flags.c_contiguous:
            return NotImplemented
    if out is not None and not out.flags.writeable:
        return NotImplemented
    out = np.empty_like(x) if out is None else out
    run(_ADD, (x, y, out, x.size), -(-x.size // _BLOCK), alone=True)
    return out
