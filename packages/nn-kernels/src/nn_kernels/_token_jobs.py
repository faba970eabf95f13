"""The jobs of the sublayers of `token_step`, whose parts are heads and hidden units.

A part of an attention sublayer computes some heads: the norm, columns of the projections of
queries, keys and values, the attention, and the product with rows of the output projection. A part
of a feed-forward network does the same for some hidden units. So no thread waits for others before
it is done, and a last job adds up what the parts have given, with the residual connection. (That
each part computes the norm of all rows takes less time than waiting for one that does.)

Each thread gets the same parts for each token, so that its share of the matrices stays in the cache
of its processor.

The rows that are multiplied lie in panels: one is a vector, and several have, for each feature,
`ROWS` elements side by side.
"""

from __future__ import annotations

import math

import numpy as np

from nn_kernels._atomics import float_of, floats, integers, unsigned_bytes
from nn_kernels._compile import Job, subroutine
from nn_kernels._products import (
    ROWS,
    VECTORS,
    multiply_1,
    multiply_3,
    multiply_row,
    multiply_row_half,
    multiply_row_wide,
)
from nn_kernels._rows import at
from nn_kernels._sums import sum_of, sum_of_squares
from nn_kernels._vectors import LANES, WIDE
from nn_kernels.few_queries import attend
from nn_kernels.gelu import write_gelu

__all__ = ["ARRAYS", "HEADS", "HIDDEN", "SUM", "rooms_of"]

_WIDTH = LANES * (8 if WIDE else 4)  # of `multiply_row_wide`
_ZERO, _ONE = np.float32(0), np.float32(1)

# Arguments of all jobs, arrays first: 0 in place of None, and what the parts have given
_X, _NORM, _NORM_BIAS, _OUTPUT, _OUTPUT_BIAS, _OUT, _GIVEN = range(2, 9)
# of a feed-forward network
_HIDDEN, _HIDDEN_BIAS = 9, 10
# of attention; `_STOP_IN` is the place of `stop`, if that is an array
(
    _QUERY, _QUERY_BIAS, _KEY, _KEY_BIAS, _VALUE, _VALUE_BIAS, _COSINES, _SINES, _KEYS, _VALUES,
    _MASK, _PADDING, _STOP_IN, _STOP,
) = range(9, 23)  # fmt: skip
ARRAYS = 21
# Integers of all jobs: `_TOGETHER` of all units, or heads, belong to a part
_EPSILON, _FIRST, _ROWS, _SIZE, _PARTS, _TOGETHER, _ALL = range(23, 30)
_ACTIVATION = 30
# of attention: distances in floats, and the number of queries of a head
(
    _GROUP, _KEY_WIDTH, _VALUE_WIDTH, _ANGLES, _KEYS_ROW, _KEYS_HEAD, _KEYS_STEP, _VALUES_ROW,
    _VALUES_HEAD, _VALUES_STEP, _MASK_ROW, _ROOM,
) = range(30, 42)  # fmt: skip


def rooms_of(rows: int) -> int:
    """Return the number of rows for which the panels of some rows have room."""
    return 1 if rows == 1 else -(-rows // ROWS) * ROWS


@subroutine(returns="int64")
def _lanes(rows):  # type: ignore[no-untyped-def]
    return 1 if rows == 1 else ROWS


@subroutine(returns="int64")
def _memory_of_rows(rows, count):  # type: ignore[no-untyped-def]
    """Return the number of floats of panels of some rows."""
    return (rows + _lanes(rows) - 1) // _lanes(rows) * _lanes(rows) * count


@subroutine()
def _put(x, count, b, rows, panels):  # type: ignore[no-untyped-def]
    """Write a row into panels of `count` features, with zeros for the rows that there are not."""
    lanes = _lanes(rows)
    start = (b - b % lanes) * count + b % lanes
    for k in range(count):
        panels[start + k * lanes] = x[k]
    if b == rows - 1:
        for m in range(1, lanes - b % lanes):
            for k in range(count):
                panels[start + k * lanes + m] = _ZERO


@subroutine()
def _project(  # type: ignore[no-untyped-def]
    panels, rows, count, weights, width, bias, first, columns, out
):
    """Write some columns of ``x @ weights + bias``, from `first` on; `bias` is 0 for none.

    `x` are rows of `count` features in panels, and `out` has room for as many rows.
    """
    matrix, lanes = floats(weights), _lanes(rows)
    whole = columns - columns % LANES
    j = 0
    if rows == 1:
        while j + _WIDTH <= whole:
            multiply_row_wide(panels, 0, matrix, first + j, width, 0, count, out, j, 0)
            j += _WIDTH
        while j + _WIDTH // 2 <= whole:
            multiply_row_half(panels, 0, matrix, first + j, width, 0, count, out, j, 0)
            j += _WIDTH // 2
        while j < whole:
            multiply_row(panels, 0, matrix, first + j, width, 0, count, out, j, 0)
            j += LANES
    else:
        for b in range(0, rows, ROWS):
            panel, start, j = b * count, b * columns, 0
            while j + VECTORS * LANES <= whole:
                place = first + j
                multiply_3(panels, panel, matrix, place, width, 0, count, out, start + j, columns)
                j += VECTORS * LANES
            while j < whole:
                place = first + j
                multiply_1(panels, panel, matrix, place, width, 0, count, out, start + j, columns)
                j += LANES
    for b in range(_memory_of_rows(rows, 1)):
        start = (b - b % lanes) * count + b % lanes
        for j in range(whole, columns):
            total = _ZERO
            for k in range(count):
                total += panels[start + k * lanes] * matrix[k * width + first + j]
            out[b * columns + j] = total
    if bias:
        added = floats(bias)
        for b in range(rows):
            for j in range(columns):
                out[b * columns + j] += added[first + j]


@subroutine("contract")
def _normalize(a, x, out):  # type: ignore[no-untyped-def]
    """Write the layer normalization of a row."""
    size, weights = a[_SIZE], floats(a[_NORM])
    share = np.float32(1 / size)
    mean = sum_of(size, x) * share
    variance = sum_of_squares(size, x, mean) * share
    scale = _ONE / np.float32(math.sqrt(variance + float_of(np.int32(a[_EPSILON]))))
    for i in range(size):
        out[i] = (x[i] - mean) * scale * weights[i]
    if a[_NORM_BIAS]:
        bias = floats(a[_NORM_BIAS])
        for i in range(size):
            out[i] += bias[i]


@subroutine()
def _begin(a, panels, row):  # type: ignore[no-untyped-def]
    """Write what a sublayer is given: the rows, normalized if that comes first."""
    rows, size = a[_ROWS], a[_SIZE]
    for b in range(rows):
        x = floats(a[_X] + 4 * b * size)
        if not a[_FIRST]:
            _put(x, size, b, rows, panels)
        elif rows == 1:
            _normalize(a, x, panels)
        else:
            _normalize(a, x, row)
            _put(row, size, b, rows, panels)


@subroutine()
def _end(a, panels, part, first, count):  # type: ignore[no-untyped-def]
    """Write the product of some features with as many rows of the output projection."""
    rows, size = a[_ROWS], a[_SIZE]
    weights = a[_OUTPUT] + 4 * first * size
    given = floats(a[_GIVEN] + 4 * part * _memory_of_rows(rows, size))
    _project(panels, rows, count, weights, size, 0, 0, size, given)


def _sum_job(a, part, thread):  # type: ignore[no-untyped-def]
    rows, size = a[_ROWS], a[_SIZE]
    x, out = floats(a[_X] + 4 * part * size), floats(a[_OUT] + 4 * part * size)
    given = floats(a[_GIVEN] + 4 * part * size)
    for i in range(size):
        out[i] = given[i]
    for n in range(1, a[_PARTS]):
        of_part = at(given, n * _memory_of_rows(rows, size))
        for i in range(size):
            out[i] += of_part[i]
    if a[_OUTPUT_BIAS]:
        bias = floats(a[_OUTPUT_BIAS])
        for i in range(size):
            out[i] += bias[i]
    for i in range(size):
        out[i] += x[i]
    if not a[_FIRST]:
        _normalize(a, out, out)


def _hidden_job(a, part, thread):  # type: ignore[no-untyped-def]
    rows, size, first = a[_ROWS], a[_SIZE], part * a[_TOGETHER]
    units, memory = min(a[_TOGETHER], a[_ALL] - first), floats(a[0] + 4 * thread * a[1])
    used = _memory_of_rows(rows, size)
    block = at(memory, used + size)
    _begin(a, memory, at(memory, used))
    weights = a[_HIDDEN], a[_ALL], a[_HIDDEN_BIAS]
    _project(memory, rows, size, *weights, first, units, block)
    if a[_ACTIVATION]:
        write_gelu(block, block, 0, rows * units)
    else:
        for i in range(rows * units):
            block[i] = _ZERO if block[i] < _ZERO else block[i]  # NaN stays
    if rows == 1:
        _end(a, block, part, first, units)
    else:
        panels = at(block, _memory_of_rows(rows, units))
        for b in range(rows):
            _put(at(block, b * units), units, b, rows, panels)
        _end(a, panels, part, first, units)


@subroutine()
def _rotate(a, x, count, b):  # type: ignore[no-untyped-def]
    """Rotate the pairs of each of the heads in the first elements of a vector."""
    if not a[_COSINES]:
        return
    half, start = a[_KEY_WIDTH] // 2, b * a[_ANGLES]
    cosines, sines = at(floats(a[_COSINES]), start), at(floats(a[_SINES]), start)
    for head in range(0, count, 2 * half):
        for i in range(half):
            even, odd = x[head + 2 * i], x[head + 2 * i + 1]
            x[head + 2 * i] = even * cosines[i] - odd * sines[i]
            x[head + 2 * i + 1] = even * sines[i] + odd * cosines[i]


@subroutine()
def _append(a, block, heads, first, width, rotated, buffer, steps, position):  # type: ignore[no-untyped-def]
    """Write projected heads of each row to the last position of keys or values."""
    of_row, of_head, of_position = steps
    for b in range(a[_ROWS]):
        if rotated:
            _rotate(a, at(block, b * heads * width), heads * width, b)
        for h in range(heads):
            place = b * of_row + (first + h) * of_head + position * of_position
            for i in range(width):
                buffer[place + i] = block[(b * heads + h) * width + i]


def _heads_job(a, part, thread):  # type: ignore[no-untyped-def]
    rows, size, group, first = a[_ROWS], a[_SIZE], a[_GROUP], part * a[_TOGETHER]
    all_heads, width, features = a[_ALL], a[_KEY_WIDTH], a[_VALUE_WIDTH]
    heads, memory = min(a[_TOGETHER], all_heads - first), floats(a[0] + 4 * thread * a[1])
    used = _memory_of_rows(rows, size)
    scores = at(memory, used + size)
    block = at(scores, a[_ROOM])
    stop = a[_STOP]
    if a[_STOP_IN]:  # it may be any number when the job is run again
        stop = max(1, min(integers(a[_STOP_IN])[0], a[_ROOM]))
    _begin(a, memory, at(memory, used))
    keys, values = floats(a[_KEYS]), floats(a[_VALUES])
    of_keys = a[_KEYS_ROW], a[_KEYS_HEAD], a[_KEYS_STEP]
    of_values = a[_VALUES_ROW], a[_VALUES_HEAD], a[_VALUES_STEP]
    if a[_KEY]:
        weights = a[_KEY], all_heads * width, a[_KEY_BIAS]
        _project(memory, rows, size, *weights, first * width, heads * width, block)
        _append(a, block, heads, first, width, True, keys, of_keys, stop - 1)
        weights = a[_VALUE], all_heads * features, a[_VALUE_BIAS]
        _project(memory, rows, size, *weights, first * features, heads * features, block)
        _append(a, block, heads, first, features, False, values, of_values, stop - 1)
    count, weights = heads * group * width, (a[_QUERY], all_heads * group * width, a[_QUERY_BIAS])
    _project(memory, rows, size, *weights, first * group * width, count, block)
    scale, of_mask = np.float32(1 / math.sqrt(width)), 1 if a[_MASK] else -1
    mixed = heads * group * features
    row = at(block, _memory_of_rows(rows, count))
    panels = at(row, mixed)
    for b in range(rows):
        _rotate(a, at(block, b * count), count, b)
        allowed = unsigned_bytes(a[_MASK] + b * a[_MASK_ROW])
        padding = integers(a[_PADDING])[b] if a[_PADDING] else 0
        for n in range(heads * group):
            h = first + n // group
            query = at(block, b * count + n * width), width
            of_head = at(keys, b * of_keys[0] + h * of_keys[1]), of_keys[2]
            of_value = at(values, b * of_values[0] + h * of_values[1]), of_values[2], features
            masked = stop, padding, allowed, of_mask
            attend(*query, *of_head, *of_value, *masked, scale, scores, at(row, n * features))
        _put(row, mixed, b, rows, panels)
    _end(a, panels, part, first * group * features, mixed)


HEADS, HIDDEN, SUM = Job(_heads_job), Job(_hidden_job), Job(_sum_job)
