r"""Layer normalization and its gradients, row by row, with or without weights and bias.

A row stays in the cache for the passes over it: mean, variance, result. Rows are divided among the
threads in blocks that depend on the shape alone; each block adds up the gradients of weights and
bias for itself, and the sums of the blocks are added at the end, so that the results do not depend
on the number of threads.

With the standardized row :math:`z`, the incoming gradient :math:`d` (times the weights, if there
are any) and the inverse :math:`s` of the standard deviation, the gradient is
:math:`s \, (d - \overline{d} - z \, \overline{d z})`, where a line means the mean over the row.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from nn_kernels._arrays import contiguous
from nn_kernels._atomics import float_array as floats
from nn_kernels._compile import Job, subroutine
from nn_kernels._rows import at, row_loop
from nn_kernels._sums import sum_of, sum_of_squares
from nn_kernels._threads import run

__all__ = [
    "layer_norm",
    "layer_norm_gradient",
    "scale_rows_gradient",
    "scaled_layer_norm",
    "scaled_layer_norm_gradient",
]

_BLOCK = 1 << 14  # elements of a part, about: 10 microseconds
_FLOAT32 = np.dtype(np.float32)
_NONE = np.empty(0, _FLOAT32)


@row_loop(written=1)
def _standardize(x: Any, mean: Any, scale: Any) -> Any:
    return (x - mean) * scale


@row_loop(written=2)
def _standardize_and_scale(x: Any, weights: Any, bias: Any, mean: Any, scale: Any) -> Any:
    z = (x - mean) * scale
    return z, z * weights + bias


@row_loop(written=2)
def _standardize_and_weight(x: Any, weights: Any, mean: Any, scale: Any) -> Any:
    z = (x - mean) * scale
    return z, z * weights


@row_loop(sums=2)
def _sums(g: Any, normal: Any) -> Any:
    return g, g * normal


@row_loop(written=1)
def _project(g: Any, normal: Any, mean: Any, projection: Any, scale: Any) -> Any:
    return (g - mean - normal * projection) * scale


@row_loop(written=1)
def _project_weighted(
    g: Any, normal: Any, weights: Any, mean: Any, projection: Any, scale: Any
) -> Any:
    return (g * weights - mean - normal * projection) * scale


@row_loop(written=2, sums=2)
def _add_and_return_sums(g: Any, normal: Any, weights: Any, for_weights: Any, for_bias: Any) -> Any:
    """Add a row to the gradients of weights and bias; return its sum and product with `normal`."""
    d = g * weights
    return for_weights + g * normal, for_bias + g, d, d * normal


@row_loop(written=3)
def _scale_and_add_sums(g: Any, x: Any, weights: Any, for_weights: Any, for_bias: Any) -> Any:
    return g * weights, for_weights + g * x, for_bias + g


@row_loop(written=2)
def _fill(value: Any) -> Any:
    return value, value


@subroutine()
def _forward(x, normal, out, inverse, weights, bias, options, first, last, count):  # type: ignore[no-untyped-def]
    """Standardize rows; `weights` and `bias` may be empty, and `normal` is then the result."""
    one, share = x.dtype.type(1), x.dtype.type(1 / count)
    epsilon, center = options[0], options[1] != 0
    with_weights, with_bias = options[2] != 0, options[3] != 0
    for row in range(first, last):
        start = row * count
        source, target, result = at(x, start), at(normal, start), at(out, start)
        mean = sum_of(count, source) * share if center else x.dtype.type(0)
        variance = sum_of_squares(count, source, mean) * share
        scale = one / x.dtype.type(math.sqrt(variance + epsilon))
        inverse[row] = scale
        if with_bias:
            vectors = at(weights, 0), at(bias, 0)
            _standardize_and_scale(count, target, result, source, *vectors, mean, scale)
        elif with_weights:
            _standardize_and_weight(count, target, result, source, at(weights, 0), mean, scale)
        else:
            _standardize(count, target, source, mean, scale)


@subroutine()
def _backward(g, normal, inverse, out, center, first, last, count):  # type: ignore[no-untyped-def]
    share = g.dtype.type(1 / count)
    for row in range(first, last):
        start = row * count
        target, arrays = at(out, start), (at(g, start), at(normal, start))
        total, product = _sums(count, *arrays)
        mean = total * share if center else g.dtype.type(0)
        _project(count, target, *arrays, mean, product * share, inverse[row])


@subroutine()
def _scaled_backward(  # type: ignore[no-untyped-def]
    g, normal, inverse, weights, out, for_weights, for_bias, center, first, last, count, place
):
    share, sums = g.dtype.type(1 / count), (at(for_weights, place), at(for_bias, place))
    _fill(count, *sums, g.dtype.type(0))
    for row in range(first, last):
        start = row * count
        arrays = at(g, start), at(normal, start), at(weights, 0)
        total, product = _add_and_return_sums(count, *sums, *arrays, *sums)
        mean = total * share if center else g.dtype.type(0)
        _project_weighted(count, at(out, start), *arrays, mean, product * share, inverse[row])


@subroutine()
def _scale_backward(g, x, weights, out, for_weights, for_bias, first, last, count, place):  # type: ignore[no-untyped-def]
    sums = at(for_weights, place), at(for_bias, place)
    _fill(count, *sums, g.dtype.type(0))
    for row in range(first, last):
        start = row * count
        arrays = at(g, start), at(x, start), at(weights, 0)
        _scale_and_add_sums(count, at(out, start), *sums, *arrays, *sums)


def _forward_job(a, part, thread):  # type: ignore[no-untyped-def]
    first, last = part * a[11], min((part + 1) * a[11], a[9])
    results = floats(a[3]), floats(a[4]), floats(a[5])
    parameters = floats(a[6]), floats(a[7]), floats(a[8])
    _forward(floats(a[2]), *results, *parameters, first, last, a[10])


def _backward_job(a, part, thread):  # type: ignore[no-untyped-def]
    first, last = part * a[9], min((part + 1) * a[9], a[7])
    arrays = floats(a[2]), floats(a[3]), floats(a[4]), floats(a[5])
    _backward(*arrays, a[6] != 0, first, last, a[8])


def _scaled_backward_job(a, part, thread):  # type: ignore[no-untyped-def]
    first, last = part * a[12], min((part + 1) * a[12], a[10])
    arrays = floats(a[2]), floats(a[3]), floats(a[4]), floats(a[5])
    results = floats(a[6]), floats(a[7]), floats(a[8])
    _scaled_backward(*arrays, *results, a[9] != 0, first, last, a[11], part * a[11])


def _scale_backward_job(a, part, thread):  # type: ignore[no-untyped-def]
    first, last = part * a[10], min((part + 1) * a[10], a[8])
    arrays = floats(a[2]), floats(a[3]), floats(a[4])
    results = floats(a[5]), floats(a[6]), floats(a[7])
    _scale_backward(*arrays, *results, first, last, a[9], part * a[9])


_FORWARD, _BACKWARD = Job(_forward_job), Job(_backward_job)
_SCALED_BACKWARD, _SCALE_BACKWARD = Job(_scaled_backward_job), Job(_scale_backward_job)


def _flat(*arrays: Any) -> list[Any]:
    return [a if a.ndim == 1 else a.reshape(-1) for a in arrays]


def _divide(rows: int, count: int, dtype: Any) -> tuple[int, int]:
    """Return the rows of a part and the number of parts: float64 is computed in one part.

    There is a part where there are no rows: it writes the sums.
    """
    parts = max(1, min(rows, rows * count // _BLOCK)) if dtype == _FLOAT32 else 1
    together = max(1, -(-rows // parts))
    return together, max(1, -(-rows // together))


@functools.lru_cache(64)
def _options(*numbers: Any) -> Any:
    return np.array(numbers[:-1], numbers[-1])


def _run_forward(x: Any, weights: Any, bias: Any, epsilon: float, center: bool) -> Any:
    (rows, count), dtype = x.shape, x.dtype
    has_weights, has_bias = weights is not None, bias is not None
    options = _options(epsilon, center, has_weights, has_bias, dtype)
    normal, inverse = np.empty(x.shape, dtype), np.empty((rows, 1), dtype)
    out = np.empty(x.shape, dtype) if has_weights else normal
    if not (has_weights and has_bias):
        none = _NONE.astype(dtype, copy=False)
        weights, bias = weights if has_weights else none, bias if has_bias else none
    matrices, vectors = (x, normal, out, inverse), (weights, bias, options)
    together, parts = _divide(rows, count, dtype)
    if dtype == _FLOAT32:
        run(_FORWARD, (*matrices, *vectors, rows, count, together), parts, alone=True)
    else:
        _forward(*_flat(*matrices), *vectors, 0, rows, count)
    return out, normal, inverse


def _make_sums(parts: int, count: int, dtype: Any) -> list[Any]:
    """Return memory for the gradients of weights and bias in each part."""
    return [np.empty((parts, count) if parts > 1 else count, dtype) for _ in range(2)]


def layer_norm(x: Any, epsilon: float, center: bool) -> Any:
    """Return the rows of `x` standardized, and the inverse of their standard deviation.

    Args:
        x: a matrix.
        epsilon: added to the variance.
        center: whether the mean is subtracted; without, it is taken as 0 (RMSNorm).
    """
    if x.ndim != 2 or (arrays := contiguous(x)) is None:
        return NotImplemented
    _, normal, inverse = _run_forward(arrays[0], None, None, epsilon, center)
    return normal, inverse


def scaled_layer_norm(x: Any, weights: Any, bias: Any, epsilon: float, center: bool) -> Any:
    """Return the results of `layer_norm` after ``* weights + bias``, which may be None."""
    vectors = [weights] if bias is None else [weights, bias]
    fits = x.ndim == 2 and all(v.shape == x.shape[1:] for v in vectors)
    if not fits or (arrays := contiguous(x, *vectors)) is None:
        return NotImplemented
    if bias is not None:
        bias = arrays[2]
    return _run_forward(arrays[0], arrays[1], bias, epsilon, center)


def layer_norm_gradient(g: Any, normal: Any, inverse: Any, center: bool) -> Any:
    """Return the gradient for the input of `layer_norm`, from its results."""
    fits = g.ndim == 2 and g.shape == normal.shape and inverse.size == len(g)
    if not fits or (arrays := contiguous(g, normal, inverse)) is None:
        return NotImplemented
    (rows, count), out = g.shape, np.empty(g.shape, g.dtype)
    together, parts = _divide(rows, count, g.dtype)
    if g.dtype == _FLOAT32:
        run(_BACKWARD, (*arrays, out, int(center), rows, count, together), parts, alone=True)
    else:
        _backward(*_flat(*arrays, out), center, 0, rows, count)
    return out


def scaled_layer_norm_gradient(
    g: Any, normal: Any, inverse: Any, weights: Any, center: bool
) -> Any:
    """Return the gradients for the input, the weights and the bias of `scaled_layer_norm`."""
    fits = g.ndim == 2 and g.shape == normal.shape and inverse.size == len(g)
    fits = fits and weights.shape == g.shape[1:]
    if not fits or (arrays := contiguous(g, normal, inverse, weights)) is None:
        return NotImplemented
    (rows, count), dtype = g.shape, g.dtype
    together, parts = _divide(rows, count, dtype)
    out, sums = np.empty(g.shape, dtype), _make_sums(parts, count, dtype)
    arrays += [out, *sums]
    if dtype == _FLOAT32:
        numbers = int(center), rows, count, together
        run(_SCALED_BACKWARD, (*arrays, *numbers), parts, alone=True)
    else:
        _scaled_backward(*_flat(*arrays), center, 0, rows, count, 0)
    return out, *(total if total.ndim == 1 else total.sum(axis=0) for total in sums)


def scale_rows_gradient(g: Any, x: Any, weights: Any) -> Any:
    """Return the gradients of ``x * weights + bias`` of rows for `x`, the weights and the bias."""
    fits = g.ndim == 2 and g.shape == x.shape and weights.shape == g.shape[1:]
    if not fits or (arrays := contiguous(g, x, weights)) is None:
        return NotImplemented
    (rows, count), dtype = g.shape, g.dtype
    together, parts = _divide(rows, count, dtype)
    out, sums = np.empty(g.shape, dtype), _make_sums(parts, count, dtype)
    arrays += [out, *sums]
    if dtype == _FLOAT32:
        run(_SCALE_BACKWARD, (*arrays, rows, count, together), parts, alone=True)
    else:
        _scale_backward(*_flat(*arrays), 0, rows, count, 0)
    return out, *(total if total.ndim == 1 else total.sum(axis=0) for total in sums)
