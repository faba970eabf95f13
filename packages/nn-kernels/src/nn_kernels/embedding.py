"""The rows that tokens index, and the gradient that adds rows where tokens repeat.

The lookup is divided among the threads by tokens, the sum by blocks of columns: each thread sees
all tokens in their order, so no two write to one place, and the sums are those of one thread.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nn_kernels._atomics import floats, integers
from nn_kernels._compile import Job, jit
from nn_kernels._rows import at, row_loop
from nn_kernels._threads import run

__all__ = ["scatter_add_rows", "take_rows"]

_BLOCK = 1 << 14  # elements of a part of the lookup
_FEW = 1 << 16  # up to which one thread is as fast as the hand-over
_COLUMNS = 64  # of a part of the sum: four lines of the cache


@row_loop(written=1)
def _copy(x: Any) -> Any:
    return x


@row_loop(written=1)
def _sum(x: Any, y: Any) -> Any:
    return x + y


@jit()
def _are_indices(tokens, count):  # type: ignore[no-untyped-def]
    """Return whether all tokens are from 0 to `count` - 1."""
    wrong = 0
    for i in range(tokens.size):
        wrong += int(np.uintp(tokens[i]) >= np.uintp(count))
    return wrong == 0


@jit()
def _take(weights, tokens, out, first, last, count):  # type: ignore[no-untyped-def]
    for i in range(first, last):
        _copy(count, at(out, i * count), at(weights, tokens[np.uintp(i)] * count))


@jit()
def _add(target, tokens, rows, places, count, first, width):  # type: ignore[no-untyped-def]
    """Add columns of the rows to those of the target."""
    for i in range(places):
        place = at(target, tokens[np.uintp(i)] * count + first)
        _sum(width, place, place, at(rows, i * count + first))


def _take_job(a, part, thread):  # type: ignore[no-untyped-def]
    first, last = part * a[7], min((part + 1) * a[7], a[5])
    _take(floats(a[2]), integers(a[3]), floats(a[4]), first, last, a[6])


def _add_job(a, part, thread):  # type: ignore[no-untyped-def]
    first = part * _COLUMNS
    width = min(_COLUMNS, a[6] - first)
    _add(floats(a[2]), integers(a[3]), floats(a[4]), a[5], a[6], first, width)


_TAKE, _ADD = Job(_take_job), Job(_add_job)


def take_rows(weights: Any, tokens: Any) -> Any:
    """Return the row of a float32 matrix for each token: large results only.

    Args:
        weights: a contiguous matrix.
        tokens: integers of any shape, each from 0 to the number of rows - 1.
    """
    if weights.ndim != 2 or weights.dtype != np.float32 or tokens.dtype.kind not in "iu":
        return NotImplemented
    count = weights.shape[1]
    # a copy of weights in another order takes longer than the lookup
    if tokens.size * count <= _BLOCK or not weights.flags.c_contiguous:
        return NotImplemented
    tokens = np.ascontiguousarray(tokens, np.int64)
    if not _are_indices(tokens.reshape(-1), len(weights)):
        return NotImplemented  # the reference raises, or counts from the end
    out, together = np.empty((*tokens.shape, count), np.float32), max(1, _BLOCK // count)
    if out.size <= _FEW:
        arrays = weights.reshape(-1), tokens.reshape(-1), out.reshape(-1)
        _take(*arrays, 0, tokens.size, count)
    else:
        sizes = tokens.size, count, together
        run(_TAKE, (weights, tokens, out, *sizes), -(-tokens.size // together))
    return out


def scatter_add_rows(target: Any, tokens: Any, rows: Any) -> Any:
    """Add each row to the row of `target` that its token indexes; of float32 or float64.

    Args:
        target: a contiguous matrix, which is changed.
        tokens: a vector of integers.
        rows: a matrix with a row for each token.
    """
    is_plain = target.flags.c_contiguous and target.flags.writeable and rows.flags.c_contiguous
    if not is_plain or target.dtype != rows.dtype or target.dtype not in (np.float32, np.float64):
        return NotImplemented
    if target.ndim != 2 or tokens.ndim != 1 or tokens.dtype.kind not in "iu":
        return NotImplemented
    if rows.shape != (tokens.size, target.shape[1]):
        return NotImplemented  # the reference broadcasts, or raises
    tokens = np.ascontiguousarray(tokens, np.int64)
    if not _are_indices(tokens, len(target)):
        return NotImplemented  # the reference raises, or counts from the end
    count = target.shape[1]
    if target.dtype == np.float32 and count > _COLUMNS and rows.size > _BLOCK:
        sizes = tokens.size, count
        run(_ADD, (target, tokens, rows, *sizes), -(-count // _COLUMNS))
    else:
        arrays = target.reshape(-1), tokens, rows.reshape(-1)
        _add(*arrays, tokens.size, count, 0, count)
    return None
