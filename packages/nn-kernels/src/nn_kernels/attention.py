"""Scaled dot-product attention of short sequences: all passes at once, for 16 queries.

The attention weights of a head are few numbers that many passes go over: the product of queries and
keys, scale, mask, maximum, exponential, sum, division, and the product with the values; the
gradient has four products and the softmax's. As operations on whole arrays each pass reads and
writes memory, and the products of small matrices are too short for a BLAS library. Here 16 queries
of one head go through all passes while their scores are in the first-level cache, as in
FlashAttention (Dao, Fu, Ermon, Rudra and Ré, "FlashAttention: Fast and Memory-Efficient Exact
Attention with IO-Awareness", 2022). What differs: a block has the scores of all keys, which are
few, so its softmax is exact at once and no result is rescaled; and the attention weights are saved,
as reading them takes less time than computing them again, and no more memory than the reference
needs.

The scores of a block stand transposed, ``s[key, query]``, with one query in each lane of a vector:
its maximum and sum run from vector to vector, one key after the other, and a block of fewer than 16
queries, or of any number of keys, leaves no remainders. All six products then have the same form,
``c[m, n] += sum over k of a[m, k] * b[k, n]``, with a row of b in a vector and numbers of a one by
one from memory in any order:

===================  ==============  ==================
c                    a               b
===================  ==============  ==================
scores (keys)        keys            queries, transposed
output (queries)     weights         values
grad_weights (keys)  values          grad_output, transposed
grad_value (keys)    weights         grad_output
grad_query           grad_scores     keys
grad_key (keys)      grad_scores     queries
===================  ==============  ==================

Only 16 queries at a time, and their grad_output, are transposed into a workspace. All else is read
and written where it lies, as heads between those of others. Under a causal mask the blocks end with
the last query, and leave out the keys that none of their queries may attend to; the first block has
the remainder, which attends to the fewest keys.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nn_kernels._atomics import floats, integers, unsigned_bytes
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
    STARTS,
    TERMS,
    TOGETHER,
    keys_of,
    plan_of,
)
from nn_kernels._compile import Job, jit
from nn_kernels._threads import address, run
from nn_kernels._vectors import FUSED, LANES

__all__ = ["attention", "attention_gradient"]

_FLOAT32, _BOOL = np.dtype(np.float32), np.dtype(np.bool_)
_MINUS_INFINITY = np.float32(-np.inf)
_FEW = 2  # rows that are multiplied, or transposed, one by one


@jit()
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


@jit()
def _transpose(x, x0, step, rows, columns, scale, out, out0):  # type: ignore[no-untyped-def]
    if rows > _FEW:
        for n in range(0, columns, LANES):
            transpose_lanes(x, x0 + n, step, rows, columns - n, scale, out, out0 + LANES * n)
        return
    for m in range(rows):
        for n in range(columns):
            out[out0 + LANES * n + m] = scale * x[x0 + m * step + n]


@jit()
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


_keys_of = jit()(keys_of)


def _forward_job(a, part, thread):  # type: ignore[no-untyped-def]
    q, k, v, out, weights = floats(a[2]), floats(a[3]), floats(a[4]), floats(a[5]), floats(a[6])
    scale, saves, numbers = floats(a[8])[0], a[6] != 0, integers(a[8])
    heads, queries, keys = numbers[HEADS], numbers[QUERIES], numbers[KEYS]
    terms, columns, causal = numbers[TERMS], numbers[COLUMNS], numbers[CAUSAL]
    m_row, m_key, rows = numbers[MASK_STEPS], numbers[MASK_STEPS + 1], numbers[ROWS_OF:]
    q_row, k_row, v_row, out_row = rows[0], rows[1], rows[2], rows[3]
    work, s0 = floats(a[0] + 4 * thread * a[1]), -(-terms // LANES) * LANES * LANES
    first_head = part * numbers[TOGETHER]
    for head in range(first_head, min(first_head + numbers[TOGETHER], heads)):
        starts = numbers[STARTS + head :]
        q0, k0, v0, out0 = starts[0], starts[heads], starts[2 * heads], starts[3 * heads]
        for stop in range(queries, 0, -LANES):
            first = max(0, stop - LANES)
            count, reach = stop - first, _keys_of(stop, queries, keys, causal)
            _transpose(q, q0 + first * q_row, q_row, count, terms, scale, work, 0)
            _multiply(k, k0, k_row, 1, work, 0, LANES, work, s0, LANES, reach, terms, LANES, 0)
            if numbers[MASK] != NO_MASK:
                place = starts[4 * heads] + first * m_row
                _mask_scores(work, s0, count, reach, numbers[MASK], a[7], place, m_row, m_key)
            softmax_lanes(
                work, s0, reach, keys - queries + first if causal else keys,
                weights, head * keys * queries + first, queries,
                keys if saves else 0, count if saves else 0,
            )  # fmt: skip
            _multiply(
                work, s0, 1, LANES, v, v0, v_row, out, out0 + first * out_row, out_row, count,
                reach, columns, 0,
            )  # fmt: skip


def _backward_job(a, part, thread):  # type: ignore[no-untyped-def]
    g, q, k, v, weights = floats(a[2]), floats(a[3]), floats(a[4]), floats(a[5]), floats(a[6])
    dq, dk, dv = floats(a[7]), floats(a[8]), floats(a[9])
    scale, numbers = floats(a[10])[0], integers(a[10])
    heads, queries, keys = numbers[HEADS], numbers[QUERIES], numbers[KEYS]
    terms, columns, causal = numbers[TERMS], numbers[COLUMNS], numbers[CAUSAL]
    rows = numbers[ROWS_OF:]
    g_row, q_row, k_row, v_row = rows[0], rows[1], rows[2], rows[3]
    dq_row, dk_row, dv_row = rows[4], rows[5], rows[6]
    work, s0 = floats(a[0] + 4 * thread * a[1]), -(-columns // LANES) * LANES * LANES
    first_head = part * numbers[TOGETHER]
    for head in range(first_head, min(first_head + numbers[TOGETHER], heads)):
        starts = numbers[STARTS + head :]
        g0, q0, k0, v0 = starts[0], starts[heads], starts[2 * heads], starts[3 * heads]
        dq0, dk0, dv0 = starts[4 * heads], starts[5 * heads], starts[6 * heads]
        before = 0  # the keys that gradients have been written of
        for stop in range((queries - 1) % LANES + 1, queries + 1, LANES):
            first = max(0, stop - LANES)
            count, reach = stop - first, _keys_of(stop, queries, keys, causal)
            g_block, q_block = g0 + first * g_row, q0 + first * q_row
            block = head * keys * queries + first
            _transpose(g, g_block, g_row, count, columns, np.float32(1), work, 0)
            _multiply(v, v0, v_row, 1, work, 0, LANES, work, s0, LANES, reach, columns, LANES, 0)
            softmax_gradient_lanes(weights, block, queries, count, work, s0, reach, scale)
            for j, until, adds in ((0, before, 1), (before, reach, 0)):
                _multiply(
                    weights, block + j * queries, queries, 1, g, g_block, g_row,
                    dv, dv0 + j * dv_row, dv_row, until - j, count, columns, adds,
                )  # fmt: skip
                _multiply(
                    work, s0 + j * LANES, LANES, 1, q, q_block, q_row,
                    dk, dk0 + j * dk_row, dk_row, until - j, count, terms, adds,
                )  # fmt: skip
            _multiply(
                work, s0, 1, LANES, k, k0, k_row, dq, dq0 + first * dq_row, dq_row, count, reach,
                terms, 0,
            )  # fmt: skip
            before = reach


_FORWARD, _BACKWARD = Job(_forward_job), Job(_backward_job)


def _fits(options: Any, *arrays: Any) -> bool:
    return FUSED and not options.dropout and all([x.dtype == _FLOAT32 for x in arrays])


def attention(query: Any, key: Any, value: Any, mask: Any, options: Any) -> Any:
    """Return the values weighted by the softmax of the scores, and the weights in a list.

    Args:
        query: ``(..., queries, d)``, float32.
        key: ``(..., keys, d)``.
        value: ``(..., keys, e)``.
        mask: booleans, or numbers to add to the scores, which are broadcast to them; or True.
        options: `scale`, `causal`, `dropout` and `needs_backward`, without which no weights are
            returned.
    """
    if not _fits(options, query, key, value):
        return NotImplemented
    masked = None
    if mask is not True:
        if mask.dtype != _BOOL and mask.dtype != _FLOAT32:
            return NotImplemented
        masked = mask.dtype == _BOOL, mask.shape, mask.strides
    plan = plan_of(
        (query.shape, key.shape, value.shape), (query.strides, key.strides, value.strides),
        masked, options.scale, options.causal, options.needs_backward,
    )  # fmt: skip
    if plan is NotImplemented:
        return plan
    if plan is None:
        query, key, value = map(np.ascontiguousarray, (query, key, value))
        return attention(query, key, value, mask, options)
    of_query, of_key, of_value, of_out = plan.layouts
    out, result = of_out.empty()
    weights = np.empty(plan.weights, np.float32) if options.needs_backward else None
    arguments = (
        of_query.address_of(query), of_key.address_of(key), of_value.address_of(value), out,
        0 if weights is None else weights, 0 if masked is None else address(mask), plan.numbers,
    )  # fmt: skip
    run(_FORWARD, arguments, plan.parts, plan.memory, plan.work)
    return result, [] if weights is None else [weights.swapaxes(-1, -2)]


def attention_gradient(
    g: Any, query: Any, key: Any, value: Any, mask: Any, saved: Any, options: Any
) -> Any:
    """Return the gradients of query, key and value of `attention`, from its saved weights."""
    if len(saved) != 1 or not isinstance(saved[0], np.ndarray):
        return NotImplemented
    if saved[0].ndim < 2 or not _fits(options, g, query, key, value, saved[0]):
        return NotImplemented
    shapes, weights = (query.shape, key.shape, value.shape), saved[0].swapaxes(-1, -2)
    strides = g.strides, query.strides, key.strides, value.strides
    if g.shape != (*query.shape[:-1], *value.shape[-1:]):
        return NotImplemented
    plan = plan_of(shapes, strides, None, options.scale, options.causal, True)
    if plan is NotImplemented:
        return plan
    if plan is None:
        g, query, key, value = map(np.ascontiguousarray, (g, query, key, value))
        return attention_gradient(g, query, key, value, mask, saved, options)
    if weights.shape != plan.weights or not weights.flags.c_contiguous:
        return NotImplemented
    layouts = plan.layouts
    results = [layout.empty() for layout in layouts[4:]]
    addresses = [x.address_of(y) for x, y in zip(layouts, (g, query, key, value), strict=False)]
    arguments = *addresses, weights, *[x for x, _ in results], plan.numbers
    run(_BACKWARD, arguments, plan.parts, plan.memory, plan.work)
    return tuple([view for _, view in results])
