"""Scaled dot-product attention: all passes over the scores of 16 queries while they are in a cache.

The attention weights of a head are numbers that many passes go over: the product of queries and
keys, scale, mask, maximum, exponential, sum, division, and the product with the values; the
gradient has four products and the softmax's. As operations on whole arrays each pass reads and
writes memory, and the products of small matrices are too short for a BLAS library. Here 16 queries
of one head go through all passes while their scores are in the first- or second-level cache, as in
FlashAttention (Dao, Fu, Ermon, Rudra and Ré, "FlashAttention: Fast and Memory-Efficient Exact
Attention with IO-Awareness", 2022). What differs: a block has the scores of all keys, for which the
caches of a CPU are large enough, so its softmax is complete at once and no result is rescaled. Up
to 256 keys the attention weights are saved for the gradient, as the reference saves them; beyond,
the gradient computes them again from the operands alone, without statistics of the softmax.

The scores of a block stand transposed, ``s[key, query]``, with one query in each lane of a vector:
its maximum and sum run from vector to vector, one key after the other, and neither fewer than 16
queries nor any number of keys leave remainders. All products then have the same form,
``c[m, n] += sum over k of a[m, k] * b[k, n]``, with 16 columns of b in a vector, and numbers of a
one by one from memory in any order:

===================  ==============  =======================
c                    a               b
===================  ==============  =======================
scores (keys)        keys            queries, transposed
output (queries)     weights         values
grad_weights (keys)  values          grad_output, transposed
grad_value (keys)    weights         grad_output
grad_query           grad_scores     keys
grad_key (keys)      grad_scores     queries
===================  ==============  =======================

Only 16 queries at a time, and their grad_output, are transposed into a workspace. All else is read
and written where it lies, as heads between those of others; results have the memory layout of the
queries, keys and values. The first block has the remainder of the queries: under a causal mask
these attend to the fewest keys, and a block leaves out the keys that none of its queries attends
to. The threads divide the heads among them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nn_kernels._atomics import float_of, floats, integers, unsigned_bytes
from nn_kernels._attention_lanes import (
    HEIGHT,
    multiply_few_lanes,
    multiply_lanes,
    multiply_lanes_of_row,
    softmax_gradient_lanes,
    softmax_lanes,
    transpose_lanes,
)
from nn_kernels._attention_plans import (
    ADDED,
    CAUSAL,
    COLUMNS,
    HEADS,
    KEYS,
    MASK,
    MASK_STEPS,
    NO_MASK,
    QUERIES,
    ROWS_OF,
    SCALE,
    STARTS,
    TERMS,
    TOGETHER,
    keys_of,
    plan_of,
    rounded,
)
from nn_kernels._compile import Job, subroutine
from nn_kernels._rows import at
from nn_kernels._threads import run
from nn_kernels._vectors import FUSED, LANES

__all__ = ["attention", "attention_gradient"]

_FLOAT32, _BOOL = np.dtype(np.float32), np.dtype(np.bool_)
_MINUS_INFINITY = np.float32(-np.inf)
_FEW = 2  # rows that are multiplied, or transposed, one by one
# numba would compile a function anew for each integer of Python that it is given
_NONE, _ONE, _LANE = np.int64(0), np.int64(1), np.int64(LANES)


@subroutine()
def _multiply(  # type: ignore[no-untyped-def]
    a, a0, a_row, a_step, b, b0, b_row, c, c0, c_row, rows, terms, columns, adds
):
    for n in range(0, columns, LANES):
        width, m = min(LANES, columns - n), 0
        while m < rows:
            height = rows - m
            if height > HEIGHT // 2:
                multiply_lanes(
                    a, a0 + m * a_row, a_row, a_step, b, b0 + n, b_row, c, c0 + m * c_row + n,
                    c_row, min(height, HEIGHT), terms, width, adds,
                )  # fmt: skip
                m += HEIGHT
            elif height > _FEW:
                multiply_few_lanes(
                    a, a0 + m * a_row, a_row, a_step, b, b0 + n, b_row, c, c0 + m * c_row + n,
                    c_row, height, terms, width, adds,
                )  # fmt: skip
                m += HEIGHT
            else:
                multiply_lanes_of_row(
                    a, a0 + m * a_row, a_row, a_step, b, b0 + n, b_row, c, c0 + m * c_row + n,
                    c_row, 1, terms, width, adds,
                )  # fmt: skip
                m += 1


@subroutine()
def _transpose(x, x0, step, rows, columns, scale, out, out0):  # type: ignore[no-untyped-def]
    if rows > _FEW:
        for n in range(0, columns, LANES):
            transpose_lanes(x, x0 + n, step, rows, columns - n, scale, out, out0 + LANES * n)
        return
    for m in range(rows):
        for n in range(columns):
            out[out0 + LANES * n + m] = scale * x[x0 + m * step + n]


@subroutine()
def _mask_scores(s, s0, queries, keys, kind, address, m0, m_row, m_key):  # type: ignore[no-untyped-def]
    if kind == ADDED:
        added = floats(address)
        for j in range(keys):
            for i in range(queries):
                s[s0 + LANES * j + i] += added[m0 + i * m_row + j * m_key]
        return
    allowed = unsigned_bytes(address)
    for j in range(keys):
        for i in range(queries):
            if not allowed[m0 + i * m_row + j * m_key]:
                s[s0 + LANES * j + i] = _MINUS_INFINITY


_keys_of, _rounded = (subroutine(returns="int64")(f) for f in (keys_of, rounded))


@subroutine()
def _write_weights(  # type: ignore[no-untyped-def]
    a, numbers, head, first, count, reach, work, s0, weights, place, saves
):
    """Write the attention weights of a block of queries into a workspace, and where they are saved.

    Args:
        a: the arguments of the job.
        numbers: the numbers of its plan.
        head: the number of the head.
        first: the first query.
        count: the number of queries.
        reach: the number of keys that they may attend to.
        work: the workspace, which begins with room for the queries.
        s0: the place of the weights in it.
        weights: the array in which they are saved.
        place: the place of those of the block in it.
        saves: whether they are saved.
    """
    queries, keys, terms, heads = numbers[QUERIES], numbers[KEYS], numbers[TERMS], numbers[HEADS]
    starts, rows = at(numbers, STARTS + head), at(numbers, ROWS_OF)
    q0, scale = starts[heads] + first * rows[0], float_of(np.int32(numbers[SCALE]))
    _transpose(floats(a[4]), q0, rows[0], count, terms, scale, work, _NONE)
    _multiply(
        floats(a[5]), starts[2 * heads], rows[1], _ONE, work, _NONE, _LANE, work, s0, _LANE,
        reach, terms, _LANE, _NONE,
    )  # fmt: skip
    if numbers[MASK] != NO_MASK:
        m_row, m_key = numbers[MASK_STEPS], numbers[MASK_STEPS + 1]
        m0 = starts[0] + first * m_row
        _mask_scores(work, s0, count, reach, numbers[MASK], a[3], m0, m_row, m_key)
    bound = keys - queries + first if numbers[CAUSAL] else keys
    row, to_clear, lanes = (queries, keys, count) if saves else (0, 0, 0)
    softmax_lanes(work, s0, reach, bound, weights, place, row, to_clear, lanes)


def _forward_job(a, part, thread):  # type: ignore[no-untyped-def]
    numbers, v, out, saves = integers(a[2]), floats(a[6]), floats(a[7]), a[8] != 0
    heads, queries, keys = numbers[HEADS], numbers[QUERIES], numbers[KEYS]
    columns, rows = numbers[COLUMNS], at(numbers, ROWS_OF)
    work, s0 = floats(a[0] + 4 * thread * a[1]), _rounded(numbers[TERMS]) * LANES
    # even without a lane to store, an instruction takes long at an address that is not there
    weights = floats(a[8]) if saves else work
    first_head = part * numbers[TOGETHER]
    for head in range(first_head, min(first_head + numbers[TOGETHER], heads)):
        starts = at(numbers, STARTS + head)
        for stop in range((queries - 1) % LANES + 1, queries + 1, LANES):
            first = max(0, stop - LANES)
            count, reach = stop - first, _keys_of(stop, queries, keys, numbers[CAUSAL])
            _write_weights(
                a, numbers, head, first, count, reach, work, s0, weights,
                head * keys * queries + first if saves else 0, saves,
            )  # fmt: skip
            _multiply(
                work, s0, _ONE, _LANE, v, starts[3 * heads], rows[2],
                out, starts[4 * heads] + first * rows[3], rows[3], count, reach, columns, _NONE,
            )  # fmt: skip


def _backward_job(a, part, thread):  # type: ignore[no-untyped-def]
    numbers, q, k, v, g = integers(a[2]), floats(a[4]), floats(a[5]), floats(a[6]), floats(a[7])
    dq, dk, dv, saved = floats(a[8]), floats(a[9]), floats(a[10]), a[11]
    heads, queries, keys = numbers[HEADS], numbers[QUERIES], numbers[KEYS]
    terms, columns, rows = numbers[TERMS], numbers[COLUMNS], at(numbers, ROWS_OF)
    q_row, g_row, scale = rows[0], rows[3], float_of(np.int32(numbers[SCALE]))
    work, s0 = floats(a[0] + 4 * thread * a[1]), _rounded(max(terms, columns)) * LANES
    weights, w_row, place = floats(saved) if saved else work, queries, s0 + keys * LANES
    first_head = part * numbers[TOGETHER]
    for head in range(first_head, min(first_head + numbers[TOGETHER], heads)):
        starts = at(numbers, STARTS + head)
        q0, k0, v0, g0 = starts[heads], starts[2 * heads], starts[3 * heads], starts[4 * heads]
        dq0, dk0, dv0 = starts[5 * heads], starts[6 * heads], starts[7 * heads]
        before = 0  # the keys whose gradients hold something
        for stop in range((queries - 1) % LANES + 1, queries + 1, LANES):
            first = max(0, stop - LANES)
            count, reach = stop - first, _keys_of(stop, queries, keys, numbers[CAUSAL])
            if saved:
                place = head * keys * queries + first
            else:
                w_row = LANES
                _write_weights(
                    a, numbers, head, first, count, reach, work, place, work, place, saved != 0
                )
            g_block, q_block = g0 + first * g_row, q0 + first * q_row
            _transpose(g, g_block, g_row, count, columns, np.float32(1), work, _NONE)
            _multiply(
                v, v0, rows[2], _ONE, work, _NONE, _LANE, work, s0, _LANE,
                reach, columns, _LANE, _NONE,
            )  # fmt: skip
            softmax_gradient_lanes(weights, place, w_row, count, work, s0, reach, scale)
            for j, until, adds in ((0, before, 1), (before, reach, 0)):
                _multiply(
                    weights, place + j * w_row, w_row, _ONE, g, g_block, g_row,
                    dv, dv0 + j * rows[6], rows[6], until - j, count, columns, adds,
                )  # fmt: skip
                _multiply(
                    work, s0 + j * LANES, _LANE, _ONE, q, q_block, q_row,
                    dk, dk0 + j * rows[5], rows[5], until - j, count, terms, adds,
                )  # fmt: skip
            _multiply(
                work, s0, _ONE, _LANE, k, k0, rows[1], dq, dq0 + first * rows[4], rows[4],
                count, reach, terms, _NONE,
            )  # fmt: skip
            before = reach


_FORWARD, _BACKWARD = Job(_forward_job), Job(_backward_job)


def _fits(options: Any, *arrays: Any) -> bool:
    return FUSED and not options.dropout and all([x.dtype == _FLOAT32 for x in arrays])


def _plan(query: Any, key: Any, value: Any, mask: Any, options: Any, *more: Any) -> Any:
    masked = None
    if mask is not True:
        if mask.dtype != _BOOL and mask.dtype != _FLOAT32:
            return NotImplemented
        masked = mask.dtype == _BOOL, mask.shape, mask.strides
    shapes = query.shape, key.shape, value.shape
    strides = query.strides, key.strides, value.strides, *more
    return plan_of(shapes, strides, masked, options.scale, options.causal, options.needs_backward)


def attention(query: Any, key: Any, value: Any, mask: Any, options: Any) -> Any:
    """Return the values weighted by the softmax of the scores, and what the gradient needs.

    That is a list of the attention weights, or nothing where they are computed again.

    Args:
        query: ``(..., queries, d)``, float32.
        key: ``(..., keys, d)``.
        value: ``(..., keys, e)``.
        mask: booleans, or numbers to add to the scores, which are broadcast to them; or True.
        options: `scale`, `causal`, `dropout` and `needs_backward`.
    """
    if not _fits(options, query, key, value):
        return NotImplemented
    plan = _plan(query, key, value, mask, options)
    if plan is NotImplemented:
        return plan
    if plan is None:
        query, key, value = map(np.ascontiguousarray, (query, key, value))
        return attention(query, key, value, mask, options)
    out, result = plan.layouts[3].empty()
    weights = None if plan.weights is None else np.empty(plan.weights, np.float32)
    mask = 0 if mask is True else mask
    arguments = plan.numbers, mask, query, key, value, out, 0 if weights is None else weights
    run(_FORWARD, arguments, plan.parts, plan.memory, plan.work, alone=True)
    return result, [] if weights is None else [weights.swapaxes(-1, -2)]


def attention_gradient(
    g: Any, query: Any, key: Any, value: Any, mask: Any, saved: Any, options: Any
) -> Any:
    """Return the gradients of query, key and value, from what `attention` has saved."""
    if not _fits(options, g, query, key, value) or len(saved) > 1:
        return NotImplemented
    if g.shape != (*query.shape[:-1], *value.shape[-1:]):
        return NotImplemented
    weights: Any = 0
    if saved:
        mask, weights = True, saved[0]
        if not isinstance(weights, np.ndarray) or weights.ndim < 2 or weights.dtype != _FLOAT32:
            return NotImplemented
        weights = weights.swapaxes(-1, -2)
    plan = _plan(query, key, value, mask, options, g.strides)
    if plan is NotImplemented:
        return plan
    if plan is None:
        g, query, key, value = map(np.ascontiguousarray, (g, query, key, value))
        return attention_gradient(g, query, key, value, mask, saved, options)
    if saved and (weights.shape != plan.weights or not weights.flags.c_contiguous):
        return NotImplemented
    results = [layout.empty() for layout in plan.layouts[4:]]
    mask = 0 if mask is True else mask
    arguments = plan.numbers, mask, query, key, value, g, *[x for x, _ in results], weights
    run(_BACKWARD, arguments, plan.parts, plan.memory, plan.work, alone=True)
    return tuple([view for _, view in results])
