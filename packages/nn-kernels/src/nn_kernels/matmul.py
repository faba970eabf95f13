"""Matrix products, and those of fully connected layers, on the pool of threads.

The threads of a BLAS library wait busily for some time after a product, and take a processor from
the kernels that follow: with two processors these would gain nothing from a second thread. So
products that are large enough for several threads are computed here, by the microkernel of
`_products`, as in Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication"
(2008): a part of the work is a block of the result. Some rows of `y` at a time, and as many columns
of `x`, are copied into panels that stay in the cache, in the order in which the microkernel reads
them.

It is as fast as OpenBLAS on processors of AMD with AVX-512 and with AVX2. Without fused
multiply-adds, and on systems where the pool has one thread, products are left to NumPy.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np

from nn_kernels._atomics import add, floats, integers
from nn_kernels._compile import Job, subroutine
from nn_kernels._products import (
    ROWS,
    VECTORS,
    copy_in_parts,
    interleave_16,
    interleave_rows,
    multiply,
    prefetch,
)
from nn_kernels._rows import at
from nn_kernels._threads import POOLED, address, get_num_threads, new_words, run
from nn_kernels._vectors import FUSED

__all__ = ["linear", "matmul"]

_SINGLE = 1 << 18  # multiplications, up to which BLAS libraries take one thread, which is faster
_LEAST = 1 << 16  # multiplications of a matrix of a stack
_DEPTH = 384  # terms of the sums that are added up at a time
_BLOCKS = (256, 768), (128, 384)  # rows and columns of a part: large ones are copied less often
_COLUMNS = 16 * VECTORS  # of a panel of y
_TOGETHER = 4  # vectors of 16 rows that are copied at a time, if columns are contiguous
_AHEAD = 16  # rows that are fetched before they are copied: they lie in other pages of memory
_FEW_ROWS = 64  # for which a panel of y is not copied, if its rows are contiguous
_MANY_TERMS, _FEW_ELEMENTS = 256, 1 << 14  # of a product that is divided by its terms
_PARTS = 16  # of a stack of matrices
_PER_NANOSECOND = 50  # multiplications of a thread, about
_FLOAT32 = np.dtype(np.float32)


@subroutine()
def _pack_rows(x, start, row_step, step, rows, count, panel):  # type: ignore[no-untyped-def]
    """Write a panel of rows of `x` as `count` groups of an element of each, zeros for none."""
    if rows == ROWS and step == 1:
        whole = count // 16 * 16
        for k in range(0, whole, 16):
            interleave_rows(x, start + k, row_step, panel, ROWS * k, 16)
        for k in range(whole, count):
            for m in range(ROWS):
                panel[ROWS * k + m] = x[start + m * row_step + k]
    else:
        for k in range(count):
            for m in range(ROWS):
                value = x[start + m * row_step + k * step] if m < rows else np.float32(0)
                panel[ROWS * k + m] = value


@subroutine()
def _pack_vectors(x, start, step, vectors, count, left):  # type: ignore[no-untyped-def]
    """Write panels of rows of `x` whose elements stand side by side, 16 rows as a vector."""
    for k in range(count):
        for vector in range(vectors):
            place = 16 * vector * count + ROWS * k
            prefetch(x, start + (k + _AHEAD) * step + 16 * vector)
            copy_in_parts(x, start + k * step + 16 * vector, left, place, ROWS * count)


@subroutine()
def _pack_columns(x, start, step, column_step, count, columns, width, panel):  # type: ignore[no-untyped-def]
    """Write some columns of `y` as `count` rows of `width` elements; zeros where there are none."""
    if column_step == 1:
        for k in range(count):
            source, target = np.uintp(start + k * step), np.uintp(width * k)
            for n in range(0, columns, 16):
                prefetch(x, start + (k + _AHEAD) * step + n)
            for n in range(np.uintp(columns)):
                panel[target + n] = x[source + n]
            for n in range(np.uintp(columns), np.uintp(width)):
                panel[target + n] = np.float32(0)
        return
    whole = count // 16 * 16 if step == 1 else 0
    full = columns // 16 * 16
    for k in range(0, whole, 16):
        for n in range(0, full, 16):
            interleave_16(x, start + n * column_step + k, column_step, panel, width * k + n, width)
        for n in range(full, columns):
            for i in range(16):
                panel[width * (k + i) + n] = x[start + n * column_step + k + i]
    for k in range(whole, count):
        for n in range(columns):
            panel[width * k + n] = x[start + n * column_step + k * step]
    for k in range(count):
        for n in range(columns, width):
            panel[width * k + n] = np.float32(0)


@subroutine()
def _copy(x, x0, x_row, out, out0, out_row, rows, columns):  # type: ignore[no-untyped-def]
    for m in range(rows):
        for n in range(columns):
            out[out0 + m * out_row + n] = x[x0 + m * x_row + n]


@subroutine()
def _multiply_block(  # type: ignore[no-untyped-def]
    x, x_row, x_step, y, y_step, y_column, out, out_row, bias, has_bias, terms, row0, row1, column0,
    column1, copies, packed_offsets, offsets, work,
):  # fmt: skip
    """Compute some rows and columns of a product."""
    depth = min(terms, _DEPTH)
    panels = -(-(row1 - row0) // ROWS)
    right, left = floats(work), floats(work + 4 * _COLUMNS * depth)
    edge = floats(work + 4 * (panels * ROWS + _COLUMNS) * depth)
    if has_bias:
        for row in range(row0, row1):
            for column in range(np.uintp(column0), np.uintp(column1)):
                out[np.uintp(row * out_row) + column] = bias[column]
    for k0 in range(0, terms, depth):
        count = min(depth, terms - k0)
        resumes = 1 if k0 or has_bias else 0
        whole = (row1 - row0) // 16 if x_row == 1 else 0
        for vector in range(0, whole, _TOGETHER):
            _pack_vectors(
                x, row0 + 16 * vector + k0 * x_step, x_step, min(_TOGETHER, whole - vector), count,
                at(left, 16 * vector * count),
            )  # fmt: skip
        for panel in range(16 // ROWS * whole, panels):
            row = row0 + panel * ROWS
            _pack_rows(
                x, row * x_row + k0 * x_step, x_row, x_step, min(ROWS, row1 - row), count,
                at(left, panel * ROWS * count),
            )  # fmt: skip
        column = column0
        while column < column1:
            vectors = min(VECTORS, -(-(column1 - column) // 16))
            width = 16 * vectors
            wide = min(width, column1 - column)
            if not copies and wide == width:
                b, b0, table, b_step = y, k0 * y_step + column, offsets, y_step
            else:
                b, b0, b_step = right, 0, width
                table = at(packed_offsets, (vectors - 1) * (_DEPTH + 1))
                _pack_columns(
                    y, k0 * y_step + column * y_column, y_step, y_column, count, wide, width, right
                )
            b0 -= resumes * b_step
            for panel in range(panels):
                row = row0 + panel * ROWS
                high, place = min(ROWS, row1 - row), panel * ROWS * count
                c0 = row * out_row + column
                c, start, step = out, c0, out_row
                is_whole = high == ROWS and wide == width
                if not is_whole:  # computed elsewhere, so that nothing is written beyond the result
                    c, start, step = edge, 0, width
                    if resumes:
                        _copy(out, c0, out_row, edge, 0, width, high, wide)
                multiply(vectors, left, place, b, b0, table, resumes, count, c, start, step)
                if not is_whole:
                    _copy(edge, 0, width, out, c0, out_row, high, wide)
            column += width


@subroutine()
def _add_halves(halves, bias, has_bias, out, out_row, rows, columns):  # type: ignore[no-untyped-def]
    for row in range(rows):
        start, place = row * columns, row * out_row
        for n in range(np.uintp(columns)):
            first, second = np.uintp(start) + n, np.uintp(start + rows * columns) + n
            out[np.uintp(place) + n] = halves[first] + halves[second]
        if has_bias:
            for n in range(np.uintp(columns)):
                out[np.uintp(place) + n] += bias[n]


def _matmul_job(a, part, thread):  # type: ignore[no-untyped-def]
    x, y, bias, has_bias, p, sums = a[2], a[3], floats(a[5]), a[6], integers(a[7]), a[10]
    out = a[9] if sums else a[4]
    rows, terms, columns = p[0], p[1], p[2]
    x_row, x_step, y_step, y_column, out_row = p[3], p[4], p[5], p[6], p[7]
    block_rows, block_columns, across, blocks, copies = p[8], p[9], p[10], p[11], p[12]
    matrices, together, inner = p[13], p[14], p[15]
    packed_offsets, offsets = integers(p[22]), integers(p[23])
    group, block = part // blocks, part % blocks
    row0, column0 = block // across * block_rows, block % across * block_columns
    row1, column1 = min(row0 + block_rows, rows), min(column0 + block_columns, columns)
    for n in range(group * together, min((group + 1) * together, matrices)):
        i, j = n // inner, n % inner
        _multiply_block(
            floats(x + 4 * (i * p[16] + j * p[17])), x_row, x_step,
            floats(y + 4 * (i * p[18] + j * p[19])), y_step, y_column,
            floats(out + 4 * (i * p[20] + j * p[21])), out_row,
            bias, has_bias and not sums, terms, row0, row1, column0, column1, copies,
            packed_offsets, offsets, a[0] + 4 * thread * a[1],
        )  # fmt: skip
    words = integers(a[11])
    if sums and add(words, 1, 1) == sums - 1:  # this is the last part
        words[1] = 0
        _add_halves(floats(out), bias, has_bias, floats(a[4]), a[12], rows, columns)


_MATMUL = Job(_matmul_job)
_NONE = np.zeros(1, np.float32)
_PACKED = np.concatenate([np.arange(_DEPTH + 1) * 16 * v for v in range(1, VECTORS + 1)])


@functools.lru_cache(256)
def _offsets(step: int) -> Any:
    return np.arange(_DEPTH + 1) * step


def _blocks(rows: int, columns: int, matrices: int, threads: int) -> tuple[int, int, int, int]:
    """Return rows and columns of a part, the number of parts in a row of them, and of a matrix."""
    for most_rows, most_columns in _BLOCKS:
        down, across = -(-rows // most_rows), -(-columns // most_columns)
        if matrices * down * across >= 2 * threads:
            break
    if matrices == 1 and down == 1 and rows >= 4 * _COLUMNS:
        down = 2
    if matrices * down * across % 2:  # the parts are divided among the threads
        if columns >= rows:
            across += 1
        else:
            down += 1
    high = -(-rows // (ROWS * down)) * ROWS
    wide = -(-columns // (16 * across)) * 16
    across = -(-columns // wide)
    return high, wide, across, across * -(-rows // high)


def _stacks(shape: tuple[int, ...], *strides: tuple[int, ...]) -> tuple[int, ...] | None:
    """Return what tells where each matrix of a stack begins, or None.

    It is the number of matrices that lie at equal distances, and for each array the distances of
    such groups and of the matrices in them, in elements; at most two distances serve.
    """
    axes: list[tuple[int, ...]] = []  # of a length and a distance in each array
    for length, *steps in zip(shape, *strides, strict=True):
        if length == 1:
            continue
        if any(step % 4 or step < 0 for step in steps):
            return None
        steps = [step // 4 for step in steps]
        if axes and list(axes[-1][1:]) == [step * length for step in steps]:
            axes[-1] = (axes[-1][0] * length, *steps)
        else:
            axes.append((length, *steps))
    if len(axes) > 2:
        return None
    outer, inner = [(1,) + (0,) * len(strides)] * (2 - len(axes)) + axes
    return (inner[0], *(x for pair in zip(outer[1:], inner[1:], strict=True) for x in pair))


def _steps(strides: tuple[int, ...]) -> tuple[int, int] | None:
    """Return the distances of rows and of columns in elements, or None if neither is one."""
    row, column = strides[0] // 4, strides[1] // 4
    if (row != 1 and column != 1) or row < 1 or column < 1 or strides[0] % 4 or strides[1] % 4:
        return None
    return row, column


class _Plan(NamedTuple):
    """How a product is computed of arrays of some shapes and strides.

    Attributes:
        numbers: the sizes, distances and addresses that the job reads.
        offsets: a table whose address is among them, so that it is kept as long.
        in_halves: whether the sums are computed in two halves, as a stack of two products.
    """

    numbers: Any
    offsets: Any
    parts: int
    memory: int
    work: int
    in_halves: bool


@functools.lru_cache(1024)
def _plan(
    x_shape: tuple[int, ...],
    x_strides: tuple[int, ...],
    y_shape: tuple[int, ...],
    y_strides: tuple[int, ...],
    out_strides: tuple[int, ...] | None,
    threads: int,
) -> _Plan | None:
    """Return the plan of a product, None where BLAS or the reference computes it.

    Args:
        out_strides: None for a new array in C order.
        threads: the number that parts are made for; the results do not depend on it.
    """
    if min(len(x_shape), len(y_shape)) < 2 or y_shape[:-1] != (*x_shape[:-2], x_shape[-1]):
        return None
    *stack, rows, terms = x_shape
    columns, matrices = y_shape[-1], math.prod(stack)
    if rows < ROWS or columns < 16 or rows * columns * terms < _LEAST:
        return None
    if matrices * rows * columns * terms <= _SINGLE:
        return None
    if out_strides is None:
        lengths = (*stack, rows, columns)
        out_strides = tuple(4 * math.prod(lengths[n + 1 :]) for n in range(len(lengths)))
    x_steps, y_steps = _steps(x_strides[-2:]), _steps(y_strides[-2:])
    out_steps = _steps(out_strides[-2:])
    if x_steps is None or y_steps is None or out_steps is None or out_steps[1] != 1:
        return None
    starts = _stacks(tuple(stack), x_strides[:-2], y_strides[:-2], out_strides[:-2])
    if starts is None:
        return None
    in_halves = not stack and terms >= _MANY_TERMS and rows * columns <= _FEW_ELEMENTS
    if in_halves := in_halves and terms % 2 == 0:
        terms, matrices, out_steps = terms // 2, 2, (columns, 1)
        starts = 2, 0, terms * x_steps[1], 0, terms * y_steps[0], 0, rows * columns
    block_rows, block_columns, across, blocks = _blocks(rows, columns, matrices, threads)
    copies = y_steps[1] != 1 or block_rows > _FEW_ROWS
    together, offsets = -(-matrices // _PARTS), _offsets(y_steps[0])
    numbers = [
        rows, terms, columns, *x_steps, *y_steps, out_steps[0], block_rows, block_columns, across,
        blocks, copies, matrices, together, *starts, address(_PACKED), address(offsets),
    ]  # fmt: skip
    memory = (block_rows + _COLUMNS) * min(terms, _DEPTH) + ROWS * _COLUMNS + 64
    parts = blocks * -(-matrices // together)
    work = matrices * rows * columns * terms // _PER_NANOSECOND
    return _Plan(np.array(numbers, np.int64), offsets, parts, memory, work, in_halves)


def matmul(x: Any, y: Any, out: Any = None) -> Any:
    """Return the products of float32 matrices that are large enough for several threads.

    A product of few elements that are sums of many terms is computed in two halves, each with half
    of the terms. A thread then reads half of the rows of `y`, which are weights, as it does in the
    product that gives their gradient and in the update of the optimizer: they stay in its cache.

    Args:
        x: a matrix, or a stack of matrices, in which the elements of a row, or of a column, stand
            side by side.
        y: the same, with the same leading axes.
        out: an array for the result, in which the elements of a row stand side by side, apart from
            those of `x` and `y`.
    """
    return _product(x, y, None, out)


def linear(x: Any, weights: Any, bias: Any) -> Any:
    """Return ``x @ weights + bias`` for float32 matrices, as `matmul`."""
    return _product(x, weights, bias, None)


def _product(x: Any, y: Any, bias: Any, out: Any) -> Any:
    if not POOLED or not FUSED:  # a BLAS library is faster
        return NotImplemented
    if x.dtype != _FLOAT32 or y.dtype != _FLOAT32:
        return NotImplemented
    if not x.ndim or not y.ndim:
        return NotImplemented
    shape = (*x.shape[:-1], y.shape[-1])
    is_given = out is not None
    if is_given and (out.shape != shape or out.dtype != _FLOAT32 or not out.flags.writeable):
        return NotImplemented
    out_strides = out.strides if is_given else None
    plan = _plan(x.shape, x.strides, y.shape, y.strides, out_strides, get_num_threads())
    if plan is None:
        return NotImplemented
    if not is_given:
        out = np.empty(shape, _FLOAT32)
    if bias is not None:
        if bias.dtype != _FLOAT32 or bias.shape != shape[-1:]:
            return NotImplemented
        bias = np.ascontiguousarray(bias)
    arguments = x, y, out, _NONE if bias is None else bias, bias is not None, plan.numbers
    halves, words, sums = _NONE, _NONE, 0
    if plan.in_halves:
        halves, words, sums = np.empty((2, *shape), _FLOAT32), new_words(), plan.parts
    further = plan.offsets, halves, sums, words, out.strides[-2] // 4
    run(_MATMUL, (*arguments, *further), plan.parts, plan.memory, plan.work, alone=True)
    return out
