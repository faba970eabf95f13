"""The rows that tokens index, and the gradient that adds rows where tokens repeat.

The lookup is divided among the threads by tokens, the sum by blocks of columns: each thread sees
all tokens in their order, so no two write to one place, and the sums are those of one thread.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nn_kernels._atomics import floats, integers
from nn_kernels._compile import Job, subroutine
from nn_kernels._rows import at, fill, row_loop
from nn_kernels._threads import new_words, run

__all__ = ["segment_sum", "take_rows"]

_BLOCK = 1 << 14  # elements of a part of the lookup
_COLUMNS = 64  # of a part of the sum: four lines of the cache
_LARGE = 1 << 20  # elements of a sum
_ZERO = np.float32(0)


@row_loop(written=1)
def _copy(x: Any) -> Any:
    return x


@row_loop(written=1)
def _sum(x: Any, y: Any) -> Any:
    return x + y


@subroutine(returns="int64")
def _add(out, tokens, rows, places, count, columns, first, width):  # type: ignore[no-untyped-def]
    """Add some columns of the rows to those of `out`; return how many tokens are none of its rows.

    Args:
        places: the number of tokens.
        count: the number of rows of `out`.
    """
    wrong = 0
    for i in range(places):
        token = tokens[np.uintp(i)]
        if np.uintp(token) < np.uintp(count):
            place = at(out, token * columns + first)
            _sum(width, place, place, at(rows, i * columns + first))
        else:
            wrong += 1
    return wrong


def _take_job(a, part, thread):  # type: ignore[no-untyped-def]
    weights, tokens, out, words = floats(a[2]), integers(a[3]), floats(a[4]), integers(a[5])
    places, count, columns, together = a[6], a[7], a[8], a[9]
    for i in range(part * together, min((part + 1) * together, places)):
        if np.uintp(tokens[i]) < np.uintp(count):
            _copy(columns, at(out, i * columns), at(weights, tokens[i] * columns))
        else:
            words[0] = 1


def _sum_job(a, part, thread):  # type: ignore[no-untyped-def]
    out, tokens, rows, words = floats(a[2]), integers(a[3]), floats(a[4]), integers(a[5])
    places, count, columns, first = a[6], a[7], a[8], part * _COLUMNS
    width = min(_COLUMNS, columns - first)
    if a[9]:
        for n in range(count):
            fill(width, at(out, n * columns + first), _ZERO)
    if _add(out, tokens, rows, places, count, columns, first, width):
        words[0] = 1


_TAKE, _SUM = Job(_take_job), Job(_sum_job)


def take_rows(weights: Any, tokens: Any) -> Any:
    """Return the row of a float32 matrix for each token: large results only.

    Args:
        weights: a contiguous matrix.
        tokens: integers of any shape, each from 0 to the number of rows - 1.
    """
    if weights.ndim != 2 or weights.dtype != np.float32 or tokens.dtype.kind not in "iu":
        return NotImplemented
    count, columns = weights.shape
    # a copy of weights in another order takes longer than the lookup
    if tokens.size * columns <= _BLOCK or not weights.flags.c_contiguous:
        return NotImplemented
    tokens = np.ascontiguousarray(tokens, np.int64)
    out, words = np.empty((*tokens.shape, columns), np.float32), new_words()
    together = max(1, _BLOCK // columns)
    arguments = weights, tokens, out, words, tokens.size, count, columns, together
    run(_TAKE, arguments, -(-tokens.size // together), work=out.size // 2, alone=True)
    return NotImplemented if words[0] else out  # the reference raises, or counts from the end


def segment_sum(rows: Any, tokens: Any, count: int) -> Any:
    """Return `count` rows of float32 or float64: for each token the sum of its rows.

    Args:
        rows: a contiguous matrix with a row for each token.
        tokens: a vector of integers, each from 0 to `count` - 1.
    """
    if tokens.ndim != 1 or rows.ndim != 2 or tokens.dtype.kind not in "iu":
        return NotImplemented
    if len(rows) != tokens.size or not rows.flags.c_contiguous:
        return NotImplemented
    tokens, columns = np.ascontiguousarray(tokens, np.int64), rows.shape[1]
    if rows.dtype == np.float64:
        out = np.zeros((count, columns))
        arrays = out.reshape(-1), tokens, rows.reshape(-1)
        return NotImplemented if _add(*arrays, *rows.shape[:1], count, columns, 0, columns) else out
    if rows.dtype != np.float32:
        return NotImplemented
    # the system has pages of zeros for large arrays, of which most is never written
    is_large, words = count * columns > _LARGE, new_words()
    out = (np.zeros if is_large else np.empty)((count, columns), np.float32)
    arguments = out, tokens, rows, words, tokens.size, count, columns, not is_large
    run(_SUM, arguments, -(-columns // _COLUMNS), work=rows.size, alone=True)
    return NotImplemented if words[0] else out  # the reference raises, or counts from the end
