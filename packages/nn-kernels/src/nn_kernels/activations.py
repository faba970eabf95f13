"""ReLU and its gradient in one pass over memory, where NumPy makes two or is slow.

A loop over unsigned counts has no test for places that count from the end, so it becomes vector
instructions; so does a choice between two values that are loaded before the condition.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nn_kernels._arrays import contiguous_float32
from nn_kernels._atomics import floats
from nn_kernels._compile import Job, subroutine
from nn_kernels._threads import address, run, run_here

__all__ = ["relu", "select_positive"]

_BLOCK = 1 << 14  # elements of a part, which stay in the cache
_FEW = 1 << 17  # up to which NumPy is as fast as the hand-over


@subroutine()
def _relu_block(x, out, start, count):  # type: ignore[no-untyped-def]
    zero, start = np.float32(0), np.uintp(start)
    for i in range(np.uintp(count)):
        v = x[start + i]
        out[start + i] = zero if v <= zero else v  # NaN stays, -0.0 becomes 0.0


@subroutine()
def _select_block(x, y, out, start, count):  # type: ignore[no-untyped-def]
    zero, start = np.float32(0), np.uintp(start)
    for i in range(np.uintp(count)):
        v = x[start + i]
        out[start + i] = v if y[start + i] > zero else zero


def _relu_job(a, part, thread):  # type: ignore[no-untyped-def]
    start = part * _BLOCK
    _relu_block(floats(a[2]), floats(a[3]), start, min(_BLOCK, a[4] - start))


def _select_job(a, part, thread):  # type: ignore[no-untyped-def]
    start = part * _BLOCK
    count = min(_BLOCK, a[5] - start)
    _select_block(floats(a[2]), floats(a[3]), floats(a[4]), start, count)


_RELU, _SELECT = Job(_relu_job), Job(_select_job)


def relu(x: Any) -> Any:
    """Return ``max(x, 0)`` of a large float32 array."""
    if not isinstance(x, np.ndarray) or x.dtype != np.float32 or x.size < _FEW:
        return NotImplemented
    x = np.ascontiguousarray(x)
    out = np.empty_like(x)
    run(_RELU, (x, out, x.size), -(-x.size // _BLOCK), alone=True)
    return out


def select_positive(x: Any, y: Any) -> Any:
    """Return `x` where `y` is positive and 0 elsewhere, of float32 arrays of one shape."""
    if x.size < _FEW and not (x.flags.c_contiguous and y.flags.c_contiguous):
        return NotImplemented
    if x.shape != y.shape or not x.ndim or (arrays := contiguous_float32(x, y)) is None:
        return NotImplemented
    x, y = arrays
    out, parts = np.empty_like(x), -(-x.size // _BLOCK)
    if x.size < _FEW:
        run_here(_SELECT, (0, 0, address(x), address(y), address(out), x.size), parts)
    else:
        run(_SELECT, (x, y, out, x.size), parts, alone=True)
    return out
