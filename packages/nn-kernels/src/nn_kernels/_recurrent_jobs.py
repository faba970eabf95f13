"""All time steps of a recurrent layer as one job, of which each part takes some sequences.

Sequences do not depend on each other: a thread computes the steps of its own from the first to the
last without waiting for others. A step is a product of the states of `ROWS` sequences with the
recurrent weights, in blocks that stay in registers (see `_products`), and a pass over the gates of
each sequence, while all of it is in the cache.

Everything is float32, and weights are given as `panels`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir

from nn_kernels._atomics import float_array as floats
from nn_kernels._atomics import integers
from nn_kernels._compile import Job, intrinsic, subroutine, types
from nn_kernels._recurrent_rows import (
    gru_backward_row,
    gru_before_backward_end,
    gru_before_backward_row,
    gru_before_forward_end,
    gru_before_forward_row,
    gru_forward_row,
    lstm_backward_row,
    lstm_forward_row,
    rnn_backward_row,
    rnn_forward_row,
)
from nn_kernels._vectors import LANES, WIDE, ZERO, VectorBuilder, index, pointer

__all__ = [
    "ROWS",
    "gru_backward",
    "gru_before_backward",
    "gru_before_forward",
    "gru_forward",
    "lstm_backward",
    "lstm_forward",
    "panels",
    "rnn_backward",
    "rnn_forward",
]


def _product(rows: int, vectors: int) -> Any:
    """Return c[m, :16 * vectors] = sum over k of a[min(m, n - 1), k] * b[k, :16 * vectors].

    There are `rows` rows of c. Unlike in `_products`, those of a are read as they lie in memory,
    and `n` of them exist.
    """

    @intrinsic
    def multiply(typing, a, a0, a_step, rows_of_a, b, b0, b_step, count, c, c0, c_step):  # type: ignore[no-untyped-def]
        n = types.intp
        signature = types.void(a, n, n, n, b, n, n, n, c, n, n)

        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            kinds = signature.args
            a, b, c = (
                pointer(context, builder, kinds[i], arguments[i], arguments[i + 1])
                for i in (0, 4, 8)
            )
            a_step, n, b_step, count, c_step = (arguments[i] for i in (2, 3, 6, 7, 10))
            v = VectorBuilder(builder)
            last = builder.sub(n, index(1))
            starts = []
            for m in range(rows):
                exists = builder.icmp_signed("<", index(m), last)
                place = builder.select(exists, index(m), last)
                starts.append(builder.gep(a, [builder.mul(a_step, place)]))
            entry = builder.block
            loop, end = builder.append_basic_block("loop"), builder.append_basic_block("end")
            builder.branch(loop)
            builder.position_at_end(loop)
            k, kb = builder.phi(ir.IntType(64)), builder.phi(ir.IntType(64))
            totals = [[builder.phi(ZERO.type) for _ in range(vectors)] for _ in range(rows)]
            row = builder.gep(b, [kb])
            loaded = [v.load(row, index(LANES * i)) for i in range(vectors)]
            after = []
            for m in range(rows):
                factor = v.broadcast(builder.load(builder.gep(starts[m], [k])))
                after.append(
                    [v.multiply_add(factor, x, y) for x, y in zip(loaded, totals[m], strict=True)]
                )
            next_k, next_kb = builder.add(k, index(1)), builder.add(kb, b_step)
            for phi, value in ((k, next_k), (kb, next_kb)):
                phi.add_incoming(index(0), entry)
                phi.add_incoming(value, loop)
            for m in range(rows):
                for i in range(vectors):
                    totals[m][i].add_incoming(ZERO, entry)
                    totals[m][i].add_incoming(after[m][i], loop)
            builder.cbranch(builder.icmp_signed("<", next_k, count), loop, end)
            builder.position_at_end(end)
            for m in range(rows):
                start = builder.mul(c_step, index(m))
                for i in range(vectors):
                    v.store(after[m][i], c, builder.add(start, index(LANES * i)))
            return context.get_dummy_value()

        return signature, generate

    return multiply


ROWS = 8 if WIDE else 4  # sequences of a part
_VECTORS = 3 if WIDE else 1
_rows_3, _rows_2, _rows_1 = (_product(ROWS, min(n, _VECTORS)) for n in (3, 2, 1))
_row_3, _row_2, _row_1 = (_product(1, min(n, _VECTORS)) for n in (3, 2, 1))


def _width(rest: int) -> int:
    """Return how many of the vectors that are left are multiplied together."""
    if rest >= _VECTORS and rest != _VECTORS + 1:
        return _VECTORS
    return min(2, rest, _VECTORS)


_width_of = subroutine(returns="int64")(_width)


def panels(weights: Any) -> Any:
    """Return weights as `_multiply` reads them: blocks of columns, each contiguous.

    The rows of a matrix are far apart, often by a power of two: most of a cache would be unused.
    """
    taps, columns = weights.shape
    vectors = -(-columns // LANES)
    out = np.zeros(taps * vectors * LANES, np.float32)
    v = 0
    while v < vectors:
        first, last = LANES * v, LANES * (v + _width(vectors - v))
        block = out[taps * first : taps * last].reshape(taps, last - first)
        part = weights[:, first:last]
        block[:, : part.shape[1]] = part
        v += _width(vectors - v)
    return out


@subroutine()
def _multiply(x, x0, x_step, n, taps, weights, columns, product):  # type: ignore[no-untyped-def]
    """Write the product of `n` rows of x, or of `ROWS` of them, with weights in `panels`."""
    vectors = columns // LANES
    v = 0
    while v < vectors:
        width = _width_of(vectors - v)
        c, b, step = LANES * v, LANES * v * taps, LANES * width
        v += width
        if n > ROWS // 4:
            if width == 3:
                _rows_3(x, x0, x_step, n, weights, b, step, taps, product, c, columns)
            elif width == 2:
                _rows_2(x, x0, x_step, n, weights, b, step, taps, product, c, columns)
            else:
                _rows_1(x, x0, x_step, n, weights, b, step, taps, product, c, columns)
            continue
        for s in range(n):
            x1, c1 = x0 + s * x_step, s * columns + c
            if width == 3:
                _row_3(x, x1, x_step, 1, weights, b, step, taps, product, c1, columns)
            elif width == 2:
                _row_2(x, x1, x_step, 1, weights, b, step, taps, product, c1, columns)
            else:
                _row_1(x, x1, x_step, 1, weights, b, step, taps, product, c1, columns)


def _lstm_forward(a, part, thread):  # type: ignore[no-untyped-def]
    spans, count, batch, size, columns = integers(a[2]), a[3], a[4], a[5], a[6]
    gates, hidden, cells, tangents = floats(a[7]), floats(a[8]), floats(a[9]), floats(a[10])
    weights, bias = floats(a[11]), floats(a[12])[: 4 * size]
    product = floats(a[0] + 4 * thread * a[1])
    first = part * ROWS
    for t in range(count):
        before, start = spans[3 * t] + first, spans[3 * t + 1] + first
        n = min(spans[3 * t + 2] - first, ROWS)
        if n <= 0:
            break
        _multiply(hidden, before * size, size, n, size, weights, columns, product)
        for s in range(n):
            row, old, now = start - batch + s, (before + s) * size, (start + s) * size
            lstm_forward_row(
                gates[row * 4 * size : (row + 1) * 4 * size],
                product[s * columns : s * columns + 4 * size],
                bias,
                cells[old : old + size],
                cells[now : now + size],
                tangents[row * size : (row + 1) * size],
                hidden[now : now + size],
            )


def _lstm_backward(a, part, thread):  # type: ignore[no-untyped-def]
    spans, count, batch, size, columns = integers(a[2]), a[3], a[4], a[5], a[6]
    gates, cells, tangents, weights = floats(a[7]), floats(a[8]), floats(a[9]), floats(a[10])
    grad_gates, grad_hidden = floats(a[11]), floats(a[12])
    grad_cells, grad_outputs = floats(a[13]), floats(a[14])
    product = floats(a[0] + 4 * thread * a[1])
    first = part * ROWS
    for t in range(count - 1, -1, -1):
        before, start = spans[3 * t] + first, spans[3 * t + 1] + first
        n = min(spans[3 * t + 2] - first, ROWS)
        if n <= 0:
            continue
        for s in range(n):
            row, old, own = start - batch + s, (before + s) * size, (first + s) * size
            dh = grad_hidden[own : own + size]
            given = grad_outputs[row * size : (row + 1) * size]
            for j in range(size):
                dh[j] += given[j]
            lstm_backward_row(
                dh,
                grad_gates[row * 4 * size : (row + 1) * 4 * size],
                gates[row * 4 * size : (row + 1) * 4 * size],
                tangents[row * size : (row + 1) * size],
                cells[old : old + size],
                grad_cells[own : own + size],
            )
        _multiply(
            grad_gates, (start - batch) * 4 * size, 4 * size, n, 4 * size, weights, columns, product
        )
        for s in range(n):
            for j in range(size):
                grad_hidden[(first + s) * size + j] = product[s * columns + j]


def _gru_forward(a, part, thread):  # type: ignore[no-untyped-def]
    spans, count, batch, size, columns = integers(a[2]), a[3], a[4], a[5], a[6]
    gates, hidden, kept = floats(a[7]), floats(a[8]), floats(a[9])
    weights, bias = floats(a[10]), floats(a[11])[: 4 * size]
    product = floats(a[0] + 4 * thread * a[1])
    first = part * ROWS
    for t in range(count):
        before, start = spans[3 * t] + first, spans[3 * t + 1] + first
        n = min(spans[3 * t + 2] - first, ROWS)
        if n <= 0:
            break
        _multiply(hidden, before * size, size, n, size, weights, columns, product)
        for s in range(n):
            row, old, now = start - batch + s, (before + s) * size, (start + s) * size
            gru_forward_row(
                gates[row * 3 * size : (row + 1) * 3 * size],
                product[s * columns : s * columns + 3 * size],
                bias,
                kept[row * size : (row + 1) * size],
                hidden[old : old + size],
                hidden[now : now + size],
            )


def _gru_backward(a, part, thread):  # type: ignore[no-untyped-def]
    spans, count, batch, size, columns = integers(a[2]), a[3], a[4], a[5], a[6]
    gates, hidden, kept, weights = floats(a[7]), floats(a[8]), floats(a[9]), floats(a[10])
    grad_gates, grad_hidden, grad_outputs = floats(a[11]), floats(a[12]), floats(a[13])
    product = floats(a[0] + 4 * thread * a[1])
    first = part * ROWS
    for t in range(count - 1, -1, -1):
        before, start = spans[3 * t] + first, spans[3 * t + 1] + first
        n = min(spans[3 * t + 2] - first, ROWS)
        if n <= 0:
            continue
        for s in range(n):
            row, old, own = start - batch + s, (before + s) * size, (first + s) * size
            dh = grad_hidden[own : own + size]
            given = grad_outputs[row * size : (row + 1) * size]
            for j in range(size):
                dh[j] += given[j]
            gru_backward_row(
                dh,
                grad_gates[row * 4 * size : (row + 1) * 4 * size],
                gates[row * 3 * size : (row + 1) * 3 * size],
                kept[row * size : (row + 1) * size],
                hidden[old : old + size],
            )
        _multiply(
            grad_gates, (start - batch) * 4 * size, 4 * size, n, 3 * size, weights, columns, product
        )
        for s in range(n):
            for j in range(size):
                grad_hidden[(first + s) * size + j] += product[s * columns + j]


def _gru_before_forward(a, part, thread):  # type: ignore[no-untyped-def]
    spans, count, batch, size, columns = integers(a[2]), a[3], a[4], a[5], a[6]
    gates, hidden, kept = floats(a[7]), floats(a[8]), floats(a[9])
    weights, new_weights, new_columns = floats(a[10]), floats(a[11]), a[12]
    bias = floats(a[13])[: 3 * size]
    product = floats(a[0] + 4 * thread * a[1])
    first = part * ROWS
    for t in range(count):
        before, start = spans[3 * t] + first, spans[3 * t + 1] + first
        n = min(spans[3 * t + 2] - first, ROWS)
        if n <= 0:
            break
        _multiply(hidden, before * size, size, n, size, weights, columns, product)
        for s in range(n):
            row, old = start - batch + s, (before + s) * size
            gru_before_forward_row(
                gates[row * 3 * size : (row + 1) * 3 * size],
                product[s * columns : s * columns + 2 * size],
                bias,
                kept[row * size : (row + 1) * size],
                hidden[old : old + size],
            )
        _multiply(kept, (start - batch) * size, size, n, size, new_weights, new_columns, product)
        for s in range(n):
            row, old, now = start - batch + s, (before + s) * size, (start + s) * size
            gru_before_forward_end(
                gates[row * 3 * size : (row + 1) * 3 * size],
                product[s * new_columns : s * new_columns + size],
                bias,
                hidden[old : old + size],
                hidden[now : now + size],
            )


def _gru_before_backward(a, part, thread):  # type: ignore[no-untyped-def]
    spans, count, batch, size, columns = integers(a[2]), a[3], a[4], a[5], a[6]
    gates, hidden, weights, new_weights = floats(a[7]), floats(a[8]), floats(a[9]), floats(a[10])
    grad_gates, grad_hidden, grad_outputs = floats(a[11]), floats(a[12]), floats(a[13])
    product = floats(a[0] + 4 * thread * a[1])
    first = part * ROWS
    for t in range(count - 1, -1, -1):
        before, start = spans[3 * t] + first, spans[3 * t + 1] + first
        n = min(spans[3 * t + 2] - first, ROWS)
        if n <= 0:
            continue
        for s in range(n):
            row, old, own = start - batch + s, (before + s) * size, (first + s) * size
            dh = grad_hidden[own : own + size]
            given = grad_outputs[row * size : (row + 1) * size]
            for j in range(size):
                dh[j] += given[j]
            gru_before_backward_row(
                dh,
                grad_gates[row * 4 * size : (row + 1) * 4 * size],
                gates[row * 3 * size : (row + 1) * 3 * size],
                hidden[old : old + size],
            )
        _multiply(
            grad_gates,
            (start - batch) * 4 * size + 3 * size,
            4 * size,
            n,
            size,
            new_weights,
            columns,
            product,
        )
        for s in range(n):
            row, old, own = start - batch + s, (before + s) * size, (first + s) * size
            gru_before_backward_end(
                grad_hidden[own : own + size],
                grad_gates[row * 4 * size : (row + 1) * 4 * size],
                product[s * columns : s * columns + size],
                gates[row * 3 * size : (row + 1) * 3 * size],
                hidden[old : old + size],
            )
        _multiply(
            grad_gates, (start - batch) * 4 * size, 4 * size, n, 2 * size, weights, columns, product
        )
        for s in range(n):
            for j in range(size):
                grad_hidden[(first + s) * size + j] += product[s * columns + j]


def _rnn_forward(a, part, thread):  # type: ignore[no-untyped-def]
    spans, count, _batch, size, columns = integers(a[2]), a[3], a[4], a[5], a[6]
    hidden, weights, tanh = floats(a[7]), floats(a[8]), a[9] != 0
    product = floats(a[0] + 4 * thread * a[1])
    first = part * ROWS
    for t in range(count):
        before, start = spans[3 * t] + first, spans[3 * t + 1] + first
        n = min(spans[3 * t + 2] - first, ROWS)
        if n <= 0:
            break
        _multiply(hidden, before * size, size, n, size, weights, columns, product)
        for s in range(n):
            now = (start + s) * size
            p = product[s * columns : s * columns + size]
            rnn_forward_row(hidden[now : now + size], p, tanh)


def _rnn_backward(a, part, thread):  # type: ignore[no-untyped-def]
    spans, count, batch, size, columns = integers(a[2]), a[3], a[4], a[5], a[6]
    hidden, weights, tanh = floats(a[7]), floats(a[8]), a[9] != 0
    grad_sums, grad_hidden, grad_outputs = floats(a[10]), floats(a[11]), floats(a[12])
    product = floats(a[0] + 4 * thread * a[1])
    first = part * ROWS
    for t in range(count - 1, -1, -1):
        start, n = spans[3 * t + 1] + first, min(spans[3 * t + 2] - first, ROWS)
        if n <= 0:
            continue
        for s in range(n):
            row, own = start - batch + s, (first + s) * size
            dh = grad_hidden[own : own + size]
            given = grad_outputs[row * size : (row + 1) * size]
            for j in range(size):
                dh[j] += given[j]
            now = (start + s) * size
            dz = grad_sums[row * size : (row + 1) * size]
            rnn_backward_row(dh, dz, hidden[now : now + size], tanh)
        _multiply(grad_sums, (start - batch) * size, size, n, size, weights, columns, product)
        for s in range(n):
            for j in range(size):
                grad_hidden[(first + s) * size + j] = product[s * columns + j]


lstm_forward, lstm_backward = Job(_lstm_forward), Job(_lstm_backward)
gru_forward, gru_backward = Job(_gru_forward), Job(_gru_backward)
gru_before_forward, gru_before_backward = Job(_gru_before_forward), Job(_gru_before_backward)
rnn_forward, rnn_backward = Job(_rnn_forward), Job(_rnn_backward)
