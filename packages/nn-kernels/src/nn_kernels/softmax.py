"""Softmax and the cross-entropy of logits and classes, with their gradients, row by row.

A row stays in the cache for its three passes: the maximum, the exponentials with their sum, and
the division. Sums run in several lanes at a time; rows are divided among the threads.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from nn_kernels._arrays import contiguous_float32
from nn_kernels._atomics import floats, integers
from nn_kernels._compile import Job, subroutine
from nn_kernels._exponential import exp, exp_and_sum, log, maximum_of
from nn_kernels._rows import at, fill, row_loop
from nn_kernels._sums import sum_of_products
from nn_kernels._threads import new_words, run

__all__ = ["cross_entropy", "cross_entropy_gradient", "softmax", "softmax_gradient"]

_BLOCK = 1 << 13  # elements of a part
_FEW = 1 << 12  # up to which NumPy is as fast as the hand-over to threads
_ZERO, _ONE = np.float32(0), np.float32(1)
_LEAST = np.finfo(np.float32).min


@row_loop(sums=1)
def _sum(x: Any, shift: Any) -> Any:
    return x - shift


@row_loop(written=1)
def _scale(x: Any, factor: Any) -> Any:
    return x * factor


@row_loop(written=1, sums=1)
def _exp_and_sum_of_any(x: Any) -> Any:
    e = exp(x)
    return e, e


@row_loop(written=1)
def _project(g: Any, y: Any, mean: Any) -> Any:
    return y * (g - mean)


@row_loop(written=1)
def _subtract_from_log(total: Any, chosen: Any) -> Any:
    return log(total) - chosen


@row_loop(written=1)
def _subtract_from_log_and_scale(total: Any, chosen: Any, scale: Any) -> Any:
    return (log(total) - chosen) * scale


@row_loop(written=1)
def _scale_and_subtract(x: Any, factor: Any, uniform: Any) -> Any:
    return x * factor - uniform


def _softmax_job(a, part, thread):  # type: ignore[no-untyped-def]
    x, out, rows, count = floats(a[2]), floats(a[3]), a[4], a[5]
    for row in range(part * a[6], min((part + 1) * a[6], rows)):
        start = row * count
        largest = maximum_of(count, at(x, start))
        if largest == np.inf:
            total = _exp_and_sum_of_any(count, at(out, start), at(x, start))
        else:
            shift = _ZERO if largest == -np.inf else largest
            total = exp_and_sum(count, at(out, start), at(x, start), shift)
        if total != _ZERO:
            _scale(count, at(out, start), at(out, start), _ONE / total)


def _softmax_gradient_job(a, part, thread):  # type: ignore[no-untyped-def]
    g, y, out, rows, count = floats(a[2]), floats(a[3]), floats(a[4]), a[5], a[6]
    for row in range(part * a[7], min((part + 1) * a[7], rows)):
        arrays = at(g, row * count), at(y, row * count)
        _project(count, at(out, row * count), *arrays, sum_of_products(count, *arrays))


@subroutine(returns="boolean")
def _has_nan(x, start, count):  # type: ignore[no-untyped-def]
    found = 0
    for i in range(np.uintp(start), np.uintp(start + count)):
        found += int(math.isnan(x[i]))
    return found > 0


@subroutine()
def _cross_entropy_rows(  # type: ignore[no-untyped-def]
    logits, classes, scale, smoothing, words, losses, exponentials, totals, first, last, count,
    scaled,
):  # fmt: skip
    for row in range(first, last):
        start = row * count
        if scaled and scale[row] == _ZERO:
            fill(count, at(exponentials, start), _ZERO)
            losses[row], totals[row] = _ZERO, _ONE
            continue
        if classes[row] < 0 or classes[row] >= count:
            words[0] = 1
            continue
        shift = maximum_of(count, at(logits, start))
        shift = _LEAST if shift < _LEAST else shift  # in a row of -inf only
        total = exp_and_sum(count, at(exponentials, start), at(logits, start), shift)
        if math.isnan(total) and _has_nan(logits, start, count):
            fill(count, at(exponentials, start), total)
        total = _ONE if total < _ONE else total
        chosen = logits[np.uintp(start + classes[row])] - shift
        if smoothing != _ZERO:
            mean = _sum(count, at(logits, start), shift) / np.float32(count)
            chosen = (_ONE - smoothing) * chosen + smoothing * mean
        losses[row], totals[row] = chosen, total
    rows = at(totals, first), at(losses, first)
    if scaled:
        _subtract_from_log_and_scale(last - first, at(losses, first), *rows, at(scale, first))
    else:
        _subtract_from_log(last - first, at(losses, first), *rows)


def _cross_entropy_job(a, part, thread):  # type: ignore[no-untyped-def]
    first, last = part * a[12], min((part + 1) * a[12], a[10])
    logits, classes, scale, smoothing = floats(a[2]), integers(a[3]), floats(a[4]), floats(a[5])[0]
    words, results = integers(a[6]), (floats(a[7]), floats(a[8]), floats(a[9]))
    given = logits, classes, scale, smoothing, words
    _cross_entropy_rows(*given, *results, first, last, a[11], a[13])


@subroutine()
def _cross_entropy_gradient_rows(  # type: ignore[no-untyped-def]
    g, step, exponentials, totals, classes, smoothing, words, out, first, last, count
):
    for row in range(first, last):
        start = row * count
        if classes[row] < 0 or classes[row] >= count:
            words[0] = 1
            continue
        uniform = g[row * step] * (smoothing / np.float32(count))
        factor, chosen = g[row * step] / totals[row], np.uintp(start + classes[row])
        _scale_and_subtract(count, at(out, start), at(exponentials, start), factor, uniform)
        # what a vector has just written would be read from memory, which takes longer
        value = exponentials[chosen] * factor - uniform
        out[chosen] = value - g[row * step] * (_ONE - smoothing)


def _cross_entropy_gradient_job(a, part, thread):  # type: ignore[no-untyped-def]
    first, last = part * a[11], min((part + 1) * a[11], a[9])
    g, exponentials, totals, classes = floats(a[2]), floats(a[3]), floats(a[4]), integers(a[5])
    given = g, a[12], exponentials, totals, classes, floats(a[6])[0], integers(a[7])
    _cross_entropy_gradient_rows(*given, floats(a[8]), first, last, a[10])


_SOFTMAX, _SOFTMAX_GRADIENT = Job(_softmax_job), Job(_softmax_gradient_job)
_CROSS_ENTROPY, _CROSS_ENTROPY_GRADIENT = Job(_cross_entropy_job), Job(_cross_entropy_gradient_job)


@functools.lru_cache(64)
def _number(value: float) -> Any:
    """Return an array that holds a number, the same each time: a job has only integers beside."""
    return np.array([value], np.float32)


def _prepare(x: Any, *arrays: Any) -> list[Any] | None:
    """Return contiguous arrays, or None where the reference computes: few elements, or others."""
    return contiguous_float32(x, *arrays) if x.size >= _FEW and x.ndim else None


def _parts(rows: int, count: int) -> tuple[int, int]:
    """Return the rows of a part, and the number of parts."""
    together = max(1, _BLOCK // count)
    return together, -(-rows // together)


def softmax(x: Any, axis: int) -> Any:
    """Return the softmax of float32 values along the last axis; zeros where all are -inf."""
    if axis not in (-1, x.ndim - 1) or (arrays := _prepare(x)) is None:
        return NotImplemented
    (x,) = arrays
    out, count = np.empty_like(x), x.shape[-1]
    together, parts = _parts(x.size // count, count)
    run(_SOFTMAX, (x, out, x.size // count, count, together), parts, alone=True)
    return out


def softmax_gradient(g: Any, y: Any, axis: int) -> Any:
    """Return ``y * (g - sum(g * y))`` along the last axis."""
    fits = g.shape == y.shape and axis in (-1, y.ndim - 1)
    if not fits or (arrays := _prepare(y, g)) is None:
        return NotImplemented
    y, g = arrays
    out, count = np.empty_like(y), y.shape[-1]
    together, parts = _parts(y.size // count, count)
    run(_SOFTMAX_GRADIENT, (g, y, out, y.size // count, count, together), parts, alone=True)
    return out


def cross_entropy(logits: Any, classes: Any, scale: Any, smoothing: float) -> Any:
    """Return the losses of rows of float32 logits, their exponentials and the sums of these.

    Args:
        logits: ``(rows, classes)``.
        classes: the index of the class of each row.
        scale: a factor of each loss, or None; rows with 0 are ignored.
        smoothing: the fraction of the target that is distributed uniformly over all classes.
    """
    if logits.ndim != 2 or not logits.size or classes.dtype.kind not in "iu":
        return NotImplemented
    arrays = contiguous_float32(logits, logits if scale is None else scale)
    rows, count = logits.shape
    if arrays is None or classes.size != rows or (scale is not None and scale.size != rows):
        return NotImplemented
    classes = np.ascontiguousarray(classes, np.int64)
    losses, totals = np.empty(rows, np.float32), np.empty((rows, 1), np.float32)
    results, words = (losses, np.empty((rows, count), np.float32), totals), new_words()
    together, parts = _parts(rows, count)
    run(
        _CROSS_ENTROPY,
        (
            arrays[0], classes, arrays[1], _number(smoothing), words, *results,
            rows, count, together, int(scale is not None),
        ),
        parts,
        work=2 * logits.size,
        alone=True,
    )  # fmt: skip
    return NotImplemented if words[0] else results  # a class may be none of the columns


def cross_entropy_gradient(
    g: Any, exponentials: Any, total: Any, classes: Any, smoothing: float
) -> Any:
    """Return the gradient of the logits of `cross_entropy` for that of its losses."""
    if exponentials.ndim != 2 or not exponentials.size or classes.dtype.kind not in "iu":
        return NotImplemented
    arrays = contiguous_float32(exponentials, total)
    rows, count = exponentials.shape
    if arrays is None or not g.shape == (rows,) == classes.shape or total.size != rows:
        return NotImplemented
    if g.dtype != np.float32 or g.strides[0] % 4:
        return NotImplemented
    out, words = np.empty((rows, count), np.float32), new_words()
    classes = np.ascontiguousarray(classes, np.int64)
    together, parts = _parts(rows, count)
    numbers = rows, count, together, g.strides[0] // 4  # 0 for the gradient of a mean
    arguments = g, *arrays, classes, _number(smoothing), words, out, *numbers
    run(_CROSS_ENTROPY_GRADIENT, arguments, parts, work=out.size, alone=True)
    return NotImplemented if words[0] else out
