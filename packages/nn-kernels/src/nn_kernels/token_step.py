r"""The sublayers of a transformer for one new token of few rows, as text is generated.

A token is multiplied with each matrix once. The matrices of a small model are in the processor's
cache, where that takes less time than the calls of the functions around it; those of a large one
are read from memory once. So a sublayer is one function here: the norm, the projections
:math:`x W + b`, what is between them, and the residual connection. Its vectors stay in the
processor's fastest cache.

A projection adds up the rows of its matrix, each times an element of the vector, 128 columns at a
time (64 with shorter registers); of several tokens 8 (or 4) at a time, so that the matrix is read
once for all of them. Each column is added up in the order of the rows in any case: a row of a batch
has the result that it has alone.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba.core import types

from nn_kernels._atomics import floats
from nn_kernels._compile import jit, subroutine
from nn_kernels._products import (
    ROWS,
    VECTORS,
    multiply_1,
    multiply_3,
    multiply_row,
    multiply_row_wide,
)
from nn_kernels._rows import at
from nn_kernels._sums import sum_of, sum_of_squares
from nn_kernels._vectors import LANES, WIDE
from nn_kernels.few_queries import attend, fill_places, has_rows
from nn_kernels.gelu import write_gelu

__all__ = ["attend_token", "feed_forward_token"]

_WIDTH = LANES * (8 if WIDE else 4)  # of `multiply_row_wide`
_FLOAT32 = np.dtype(np.float32)
_ZERO, _ONE = np.float32(0), np.float32(1)
_NONE = np.empty(0, _FLOAT32)
_NO_MATRIX = np.empty((0, 0), _FLOAT32)
_NO_ANGLES = np.empty((1, 0), _FLOAT32)
_NO_MASK = np.ones((1, 1), bool)
_ACTIVATIONS = {"relu": 0, "gelu": 1}


@subroutine()
def _copy(x, x0, out, count):  # type: ignore[no-untyped-def]
    for i in range(count):  # numba takes seconds to compile an assignment of slices
        out[i] = x[x0 + i]


@subroutine()
def _project(x, rows, weights, bias, out):  # type: ignore[no-untyped-def]
    """Write ``x @ weights + bias`` for some rows, without a bias if it is empty.

    `out` has room for `_rooms` of rows.
    """
    count, width = weights.shape
    places, flat, target = np.empty(count, np.int64), weights.reshape(-1), out.reshape(-1)
    fill_places(places, width)
    whole = width - width % LANES
    if rows == 1:
        wide = width - width % _WIDTH
        for j in range(0, wide, _WIDTH):
            multiply_row_wide(x[0], 0, flat, j, places, 0, count, target, j, 0)
        for j in range(wide, whole, LANES):
            multiply_row(x[0], 0, flat, j, places, 0, count, target, j, 0)
    else:
        panel = np.empty(count * ROWS, np.float32)
        block = VECTORS * LANES
        wide = width - width % block
        for first in range(0, rows, ROWS):
            for k in range(count):  # the rows of a panel side by side
                for m in range(ROWS):
                    panel[k * ROWS + m] = x[first + m, k] if first + m < rows else _ZERO
            start = first * width
            for j in range(0, wide, block):
                multiply_3(panel, 0, flat, j, places, 0, count, target, start + j, width)
            for j in range(wide, whole, LANES):
                multiply_1(panel, 0, flat, j, places, 0, count, target, start + j, width)
    for b in range(rows):
        for j in range(whole, width):
            total = _ZERO
            for k in range(count):
                total += x[b, k] * weights[k, j]
            out[b, j] = total
        for j in range(bias.size):
            out[b, j] += bias[j]


@subroutine(returns=types.int64)
def _rooms(rows):  # type: ignore[no-untyped-def]
    """Return the number of rows that `_project` writes, those that are not asked for included."""
    return 1 if rows == 1 else (rows + ROWS - 1) // ROWS * ROWS


@subroutine("contract")
def _normalize(x, weights, bias, epsilon, out):  # type: ignore[no-untyped-def]
    """Write the layer normalization of a vector."""
    share, row = np.float32(1 / x.size), at(x, 0)
    mean = sum_of(x.size, row) * share
    variance = sum_of_squares(x.size, row, mean) * share
    scale = _ONE / np.float32(math.sqrt(variance + epsilon))
    for i in range(x.size):
        out[i] = (x[i] - mean) * scale * weights[i]
    for i in range(bias.size):
        out[i] += bias[i]


@subroutine()
def _rotate(x, count, cosines, sines):  # type: ignore[no-untyped-def]
    """Rotate the pairs of each of the heads in the first elements of a vector."""
    half = cosines.size
    if not half:
        return
    for start in range(0, count, 2 * half):
        for i in range(half):
            even, odd = x[start + 2 * i], x[start + 2 * i + 1]
            x[start + 2 * i] = even * cosines[i] - odd * sines[i]
            x[start + 2 * i + 1] = even * sines[i] + odd * cosines[i]


@jit()
def _attend_token(  # type: ignore[no-untyped-def]
    x, norm, norm_bias, epsilon, first, query, query_bias, key, key_bias, value, value_bias,
    output, output_bias, cosines, sines, keys, values, mask, masked, stop, out
):  # fmt: skip
    (rows, size), (_, heads, _, width), features = x.shape, keys.shape, values.shape[3]
    scale, rooms = np.float32(1 / math.sqrt(width)), _rooms(rows)
    given = np.empty((rooms, size), np.float32)
    projected = np.empty((rooms, query.shape[1]), np.float32)
    group = query.shape[1] // (heads * width)
    mixed = np.empty((rooms, heads * group * features), np.float32)
    scores, places = np.empty(stop, np.float32), np.empty(stop, np.int64)
    fill_places(places, values.strides[2] // 4)
    step = keys.strides[2] // 4
    _begin(x, norm, norm_bias, epsilon, first, given)
    if key.size:
        new = np.empty((rooms, key.shape[1]), np.float32)
        _project(given, rows, key, key_bias, new)
        for b in range(rows):
            angles = b if cosines.shape[0] > 1 else 0
            _rotate(new[b], key.shape[1], cosines[angles], sines[angles])
            for h in range(heads):
                _copy(new[b], h * width, keys[b, h, stop - 1], width)
        new = np.empty((rooms, value.shape[1]), np.float32)
        _project(given, rows, value, value_bias, new)
        for b in range(rows):
            for h in range(heads):
                _copy(new[b], h * features, values[b, h, stop - 1], features)
    _project(given, rows, query, query_bias, projected)
    for b in range(rows):
        angles = b if cosines.shape[0] > 1 else 0
        _rotate(projected[b], query.shape[1], cosines[angles], sines[angles])
        allowed, row = mask[b if mask.shape[0] > 1 else 0], b if keys.shape[0] > 1 else 0
        for h in range(heads):
            of_keys = floats(keys.ctypes.data + row * keys.strides[0] + h * keys.strides[1])
            of_values = floats(values.ctypes.data + row * values.strides[0] + h * values.strides[1])
            for n in range(h * group, (h + 1) * group):
                q = projected[b, n * width : (n + 1) * width]
                result = mixed[b, n * features : (n + 1) * features]
                found = q, of_keys, step, of_values, places
                attend(*found, stop, allowed, masked, scale, scores, result)
    _project(mixed, rows, output, output_bias, given)
    _finish(x, given, norm, norm_bias, epsilon, first, out)


@subroutine()
def _begin(x, norm, norm_bias, epsilon, first, given):  # type: ignore[no-untyped-def]
    """Write what a sublayer is given: the rows, normalized if that comes first."""
    for b in range(x.shape[0]):
        if first:
            _normalize(x[b], norm, norm_bias, epsilon, given[b])
        else:
            _copy(x[b], 0, given[b], x.shape[1])


@subroutine()
def _finish(x, change, norm, norm_bias, epsilon, first, out):  # type: ignore[no-untyped-def]
    """Write the sum of `x` and what the sublayer gave, normalized unless that was done before."""
    for b in range(x.shape[0]):
        row, size = change[b], x.shape[1]
        for i in range(size):
            row[i] += x[b, i]
        if first:
            _copy(row, 0, out[b], size)
        else:
            _normalize(row, norm, norm_bias, epsilon, out[b])


@jit()
def _feed_forward_token(  # type: ignore[no-untyped-def]
    x, norm, norm_bias, epsilon, first, hidden, hidden_bias, output, output_bias, activation, out
):
    rows, rooms, width = x.shape[0], _rooms(x.shape[0]), hidden.shape[1]
    given = np.empty((rooms, x.shape[1]), np.float32)
    inner, active = np.empty((rooms, width), np.float32), np.empty((rooms, width), np.float32)
    _begin(x, norm, norm_bias, epsilon, first, given)
    _project(given, rows, hidden, hidden_bias, inner)
    of_inner, of_active = inner.reshape(-1), active.reshape(-1)
    if activation == 0:
        for i in range(rows * width):
            of_active[i] = _ZERO if of_inner[i] < _ZERO else of_inner[i]  # NaN stays
    else:
        write_gelu(of_inner, of_active, 0, rows * width)
    _project(active, rows, output, output_bias, given)
    _finish(x, given, norm, norm_bias, epsilon, first, out)


def _are_contiguous(*arrays: Any) -> bool:
    """Return whether all that are not None are contiguous and float32."""
    for a in arrays:  # a generator takes twice the time
        if a is not None and (a.dtype != _FLOAT32 or not a.flags.c_contiguous):
            return False
    return True


def _fit(vectors: tuple[Any, ...], sizes: tuple[int, ...]) -> bool:
    """Return whether biases, and norms, have the sizes of what they are added to."""
    for v, size in zip(vectors, sizes, strict=True):
        if v is not None and v.shape != (size,):
            return False
    return True


def attend_token(
    x: Any,
    norm: Any,
    norm_bias: Any,
    epsilon: float,
    first: bool,
    query: Any,
    query_bias: Any,
    key: Any,
    key_bias: Any,
    value: Any,
    value_bias: Any,
    output: Any,
    output_bias: Any,
    cosines: Any,
    sines: Any,
    keys: Any,
    values: Any,
    mask: Any,
    stop: int,
) -> Any:
    """Return the attention sublayer for one token of each row, its residual connection included.

    Args:
        x: ``(rows, size)``, float32.
        norm: the weights of the layer normalization, ``(size,)``.
        norm_bias: its bias, or None.
        epsilon: added to the variance.
        first: whether the norm comes before the projections, or after the residual connection.
        query: the weights of the projection, ``(size, heads * d)``, with a bias or None.
        query_bias: its bias, or None; so are the other biases.
        key: the weights, of which the result is written to `keys` at ``stop - 1``; None to attend
            to the keys as they are.
        key_bias: its bias, or None.
        value: as `key`, for `values`.
        value_bias: its bias, or None.
        output: the weights of the output projection, ``(heads * e, size)``.
        output_bias: its bias, or None.
        cosines: the rotary embedding of queries and keys, ``(1 or rows, d / 2)``, or None.
        sines: as `cosines`.
        keys: ``(rows, kv_heads, positions, d)``; 1 for all rows if `key` is None.
        values: ``(rows, kv_heads, positions, e)``.
        mask: booleans, ``(1 or rows, at least stop)``, or None.
        stop: the number of positions to attend to.
    """
    matrices, biases = (query, key, value, output), (query_bias, key_bias, value_bias, output_bias)
    if not _are_contiguous(x, *matrices, *biases, norm, norm_bias) or not has_rows(keys):
        return NotImplemented
    if not x.ndim == query.ndim == output.ndim == 2 or not keys.dtype == values.dtype == _FLOAT32:
        return NotImplemented
    (rows, size), (batch, heads, room, width), features = x.shape, keys.shape, values.shape[-1]
    if values.shape[:3] != keys.shape[:3] or not 0 < stop <= room or not has_rows(values):
        return NotImplemented
    if not rows * size * heads * width * features or (
        batch != rows and (batch > 1 or key is not None)
    ):
        return NotImplemented
    queries = query.shape[1] // (heads * width) * heads
    if query.shape != (size, queries * width) or output.shape != (queries * features, size):
        return NotImplemented
    if not queries or not keys.flags.writeable or not values.flags.writeable:
        return NotImplemented
    if key is None:
        key = value = _NO_MATRIX
    elif key.shape != (size, heads * width) or value.shape != (size, heads * features):
        return NotImplemented
    sizes = query.shape[1], key.shape[1], value.shape[1], size, size, size
    if not _fit((*biases, norm, norm_bias), sizes):
        return NotImplemented
    if cosines is None:
        cosines = sines = _NO_ANGLES
    else:
        fits = cosines.shape in ((1, width // 2), (rows, width // 2)) and not width % 2
        if not fits or sines.shape != cosines.shape or not cosines.dtype == sines.dtype == _FLOAT32:
            return NotImplemented
        cosines, sines = np.ascontiguousarray(cosines), np.ascontiguousarray(sines)
    masked = mask is not None
    if masked and (mask.dtype != bool or mask.ndim != 2):
        return NotImplemented
    if masked and (mask.shape[0] not in (1, rows) or mask.shape[1] < stop):
        return NotImplemented
    out = np.empty((rows, size), _FLOAT32)
    of_query, of_key, of_value, of_output, of_norm = (
        _NONE if v is None else v for v in (*biases, norm_bias)
    )
    _attend_token(
        x, norm, of_norm, np.float32(epsilon), first, query, of_query, key, of_key, value,
        of_value, output, of_output, cosines, sines, keys, values,
        mask if masked else _NO_MASK, masked, stop, out,
    )  # fmt: skip
    return out


def feed_forward_token(
    x: Any,
    norm: Any,
    norm_bias: Any,
    epsilon: float,
    first: bool,
    hidden: Any,
    hidden_bias: Any,
    output: Any,
    output_bias: Any,
    activation: str,
) -> Any:
    """Return the feed-forward sublayer for few rows, its residual connection included.

    Args:
        x: ``(rows, size)``, float32.
        norm: the weights of the layer normalization, as `norm_bias`, `epsilon` and `first` for
            `attend_token`.
        norm_bias: its bias, or None.
        epsilon: added to the variance.
        first: whether the norm comes first.
        hidden: the weights of the first projection, ``(size, inner)``.
        hidden_bias: its bias, or None.
        output: the weights of the second projection, ``(inner, size)``.
        output_bias: its bias, or None.
        activation: ``"relu"`` or ``"gelu"``; others are left to the reference.
    """
    if not _are_contiguous(x, norm, norm_bias, hidden, hidden_bias, output, output_bias):
        return NotImplemented
    if not x.ndim == hidden.ndim == 2 or not x.size or activation not in _ACTIVATIONS:
        return NotImplemented
    size, inner = x.shape[1], hidden.shape[1]
    if hidden.shape != (size, inner) or output.shape != (inner, size) or not inner:
        return NotImplemented
    if not _fit((norm, norm_bias, hidden_bias, output_bias), (size, size, inner, size)):
        return NotImplemented
    out = np.empty(x.shape, _FLOAT32)
    of_norm, of_hidden, of_output = (
        _NONE if v is None else v for v in (norm_bias, hidden_bias, output_bias)
    )
    _feed_forward_token(
        x, norm, of_norm, np.float32(epsilon), first, hidden, of_hidden, output, of_output,
        _ACTIVATIONS[activation], out,
    )  # fmt: skip
    return out
