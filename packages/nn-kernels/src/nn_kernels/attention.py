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

import functools
import math
from typing import Any

import numpy as np

from nn_kernels._atomics import floats, integers, unsigned_bytes
from nn_kernels._attention_lanes import (
    HEIGHT,
    multiply_lanes,
    softmax_gradient_lanes,
    softmax_lanes,
    transpose_lanes,
)
from nn_kernels._compile import Job, jit
from nn_kernels._threads import run
from nn_kernels._vectors import FUSED, LANES

__all__ = ["attention", "attention_gradient"]

_FLOAT32, _BOOL = np.dtype(np.float32), np.dtype(np.bool_)
_NO_MASK, _ALLOWED, _ADDED = 0, 1, 2
_MOST_SCORES = 1 << 18  # of a head: they fit the second-level cache
_MOST_SAVED_KEYS = 256  # beyond which the reference saves no weights
_MINUS_INFINITY = np.float32(-np.inf)


@jit()
def _multiply(  # type: ignore[no-untyped-def]
    a, a0, a_row, a_step, b, b0, b_row, c, c0, c_row, rows, terms, columns, adds
):
    for n in range(0, columns, LANES):
        for m in range(0, rows, HEIGHT):
            multiply_lanes(
                a, a0 + m * a_row, a_row, a_step, b, b0 + n, b_row, c, c0 + m * c_row + n, c_row,
                min(HEIGHT, rows - m), terms, min(LANES, columns - n), adds,
            )  # fmt: skip


@jit()
def _transpose(x, x0, step, rows, columns, scale, out, out0):  # type: ignore[no-untyped-def]
    for n in range(0, columns, LANES):
        transpose_lanes(x, x0 + n, step, rows, columns - n, scale, out, out0 + LANES * n)


@jit()
def _mask_scores(s, s0, queries, keys, kind, address, m0, m_row, m_key):  # type: ignore[no-untyped-def]
    if kind == _ADDED:
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


@jit()
def _keys_of(stop, queries, keys, causal):  # type: ignore[no-untyped-def]
    """Return how many keys the queries before `stop` may attend to."""
    return max(0, min(keys, keys - queries + stop)) if causal else keys


def _forward_job(a, part, thread):  # type: ignore[no-untyped-def]
    q, k, v, out, weights, scale = (
        floats(a[2]), floats(a[3]), floats(a[4]), floats(a[5]), floats(a[6]), floats(a[8])[0],
    )  # fmt: skip
    starts, heads, queries, keys, terms, columns = integers(a[9]), a[10], a[12], a[13], a[14], a[15]
    q_row, k_row, v_row, out_row, causal, saves = a[16], a[17], a[18], a[19], a[20], a[21]
    work = floats(a[0] + 4 * thread * a[1])
    s0 = -(-terms // LANES) * LANES * LANES
    for head in range(part * a[11], min((part + 1) * a[11], heads)):
        q0, k0, v0, out0, m0 = (
            starts[head], starts[heads + head], starts[2 * heads + head], starts[3 * heads + head],
            starts[4 * heads + head],
        )  # fmt: skip
        for stop in range(queries, 0, -LANES):
            first = max(0, stop - LANES)
            count, reach = stop - first, _keys_of(stop, queries, keys, causal)
            _transpose(q, q0 + first * q_row, q_row, count, terms, scale, work, 0)
            _multiply(k, k0, k_row, 1, work, 0, LANES, work, s0, LANES, reach, terms, LANES, 0)
            if a[22] != _NO_MASK:
                place = m0 + first * a[23]
                _mask_scores(work, s0, count, reach, a[22], a[7], place, a[23], a[24])
            bound = keys - queries + first if causal else keys
            saved = head * keys * queries + first
            softmax_lanes(
                work, s0, reach, bound, weights, saved, queries, keys if saves else 0,
                count if saves else 0,
            )  # fmt: skip
            _multiply(
                work, s0, 1, LANES, v, v0, v_row, out, out0 + first * out_row, out_row, count,
                reach, columns, 0,
            )  # fmt: skip


def _backward_job(a, part, thread):  # type: ignore[no-untyped-def]
    g, q, k, v, weights = floats(a[2]), floats(a[3]), floats(a[4]), floats(a[5]), floats(a[6])
    dq, dk, dv, scale = floats(a[7]), floats(a[8]), floats(a[9]), floats(a[10])[0]
    starts, heads, queries, keys, terms, columns = (
        integers(a[11]), a[12], a[14], a[15], a[16], a[17],
    )  # fmt: skip
    g_row, q_row, k_row, v_row, dq_row, dk_row, dv_row, causal = (
        a[18], a[19], a[20], a[21], a[22], a[23], a[24], a[25],
    )  # fmt: skip
    work = floats(a[0] + 4 * thread * a[1])
    s0 = -(-columns // LANES) * LANES * LANES
    for head in range(part * a[13], min((part + 1) * a[13], heads)):
        g0, q0, k0, v0 = (
            starts[head], starts[heads + head], starts[2 * heads + head], starts[3 * heads + head],
        )  # fmt: skip
        dq0, dk0, dv0 = (
            starts[4 * heads + head], starts[5 * heads + head], starts[6 * heads + head],
        )  # fmt: skip
        for stop in range(queries, 0, -LANES):
            first = max(0, stop - LANES)
            count, reach = stop - first, _keys_of(stop, queries, keys, causal)
            g_block, q_block = g0 + first * g_row, q0 + first * q_row
            saved = head * keys * queries + first
            adds = stop < queries
            _transpose(g, g_block, g_row, count, columns, np.float32(1), work, 0)
            _multiply(v, v0, v_row, 1, work, 0, LANES, work, s0, LANES, reach, columns, LANES, 0)
            softmax_gradient_lanes(weights, saved, queries, count, work, s0, reach, scale)
            _multiply(
                weights, saved, queries, 1, g, g_block, g_row, dv, dv0, dv_row, reach, count,
                columns, adds,
            )  # fmt: skip
            _multiply(
                work, s0, LANES, 1, q, q_block, q_row, dk, dk0, dk_row, reach, count, terms, adds
            )
            _multiply(
                work, s0, 1, LANES, k, k0, k_row, dq, dq0 + first * dq_row, dq_row, count, reach,
                terms, 0,
            )  # fmt: skip


_FORWARD, _BACKWARD = Job(_forward_job), Job(_backward_job)
_NONE = np.zeros(1, np.float32)


def _readable(x: Any) -> Any:
    """Return an array, or a copy of one whose rows are not each in one run of memory."""
    steps = x.strides
    runs = steps[-1] == 4 or x.shape[-1] == 1
    if runs and not any(step % 4 for step in steps):
        return x
    return np.ascontiguousarray(x)


def _empty_like(x: Any, shape: tuple[int, ...]) -> Any:
    """Return a new array in the memory layout of `x`, if each of its rows is in one run then."""
    if 0 in x.strides:
        return np.empty(shape, _FLOAT32)
    out = np.empty_like(x, shape=shape)
    return out if out.strides[-1] == 4 else np.empty(shape, _FLOAT32)


def _address(x: Any) -> int:
    return int(x.__array_interface__["data"][0])


@functools.lru_cache(32)
def _starts(shape: tuple[int, ...], *strides: tuple[int, ...]) -> Any:
    """Return where each matrix of stacks of this shape begins; strides are in elements."""
    starts = np.zeros((len(strides), *shape), np.int64)
    for start, steps in zip(starts, strides, strict=True):
        for axis, (length, step) in enumerate(zip(shape, steps, strict=True)):
            start += (np.arange(length) * step).reshape(-1, *(1,) * (len(shape) - axis - 1))
    return starts


@functools.lru_cache(256)
def _mask_strides(shape: tuple[int, ...], strides: tuple[int, ...], target: tuple[int, ...],
                  size: int) -> tuple[int, ...] | None:  # fmt: skip
    """Return the distances of elements of a mask that is broadcast to a shape, or None."""
    missing = len(target) - len(shape)
    if missing < 0 or any(step % size or step < 0 for step in strides):
        return None
    steps = [0] * missing
    for length, step, wanted in zip(shape, strides, target[missing:], strict=True):
        if length not in (1, wanted):
            return None
        steps.append(0 if length == 1 else step // size)
    return tuple(steps)


@functools.lru_cache(256)
def _divide(heads: int, work: int) -> tuple[int, int]:
    """Return the heads of a part, and the number of parts, for heads of so many nanoseconds."""
    together = max(1, min(-(-heads // 2), _PART // work))
    return together, -(-heads // together)


_PART = 5_000  # nanoseconds


def _fits(query: Any, key: Any, value: Any, options: Any) -> bool:
    if not query.ndim == key.ndim == value.ndim >= 2:
        return False
    shape, keys = query.shape, key.shape[-2]
    return (
        FUSED
        and not options.dropout
        and query.dtype == key.dtype == value.dtype == _FLOAT32
        and key.shape == (*shape[:-2], keys, shape[-1])
        and value.shape[:-1] == key.shape[:-1]
        and 0 < shape[-2] * keys <= _MOST_SCORES
        and not (options.needs_backward and keys > _MOST_SAVED_KEYS)
        and query.size > 0
        and value.size > 0
    )


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
    if not _fits(query, key, value, options):
        return NotImplemented
    *leading, queries, terms = query.shape
    keys, columns = value.shape[-2:]
    shape = (*leading, queries, keys)
    kind, mask_steps = _NO_MASK, (0,) * len(shape)
    if mask is not True:
        if mask.dtype != _BOOL and mask.dtype != _FLOAT32:
            return NotImplemented
        kind = _ALLOWED if mask.dtype == _BOOL else _ADDED
        steps = _mask_strides(mask.shape, mask.strides, shape, mask.itemsize)
        if steps is None:
            return NotImplemented
        mask_steps = steps
    query, key, value = _readable(query), _readable(key), _readable(value)
    out = _empty_like(query, (*query.shape[:-1], columns))
    weights = np.empty((*leading, keys, queries), _FLOAT32) if options.needs_backward else _NONE
    arrays = query, key, value, out
    *stacks, last = _steps_of(arrays)
    heads = math.prod(leading)
    starts = _starts(tuple(leading), *stacks, mask_steps[:-2])
    work = 200 + queries * keys * (terms + columns + 32) // (80 if options.causal else 40)
    together, parts = _divide(heads, work)
    arguments = (
        *map(_address, arrays), weights, _NONE if mask is True else _address(mask),
        np.array([options.scale], _FLOAT32), starts, heads, together, queries, keys, terms, columns,
        *last, options.causal, options.needs_backward, kind, *mask_steps[-2:],
    )  # fmt: skip
    run(_FORWARD, arguments, parts, LANES * (terms + LANES + keys), work * heads)
    return out, [weights.swapaxes(-1, -2)] if options.needs_backward else []


def _steps_of(arrays: Any) -> list[Any]:
    """Return the distances of matrices of stacks, for each array; and those of rows of all."""
    strides = [x.strides for x in arrays]
    return [
        *(tuple([step // 4 for step in steps[:-2]]) for steps in strides),
        [steps[-2] // 4 for steps in strides],
    ]


def attention_gradient(
    g: Any, query: Any, key: Any, value: Any, mask: Any, saved: Any, options: Any
) -> Any:
    """Return the gradients of query, key and value of `attention`, from its saved weights."""
    if not _fits(query, key, value, options) or len(saved) != 1:
        return NotImplemented
    *leading, queries, terms = query.shape
    keys, columns = value.shape[-2:]
    if not isinstance(saved[0], np.ndarray) or saved[0].shape != (*leading, queries, keys):
        return NotImplemented
    weights = saved[0].swapaxes(-1, -2)
    fits = g.shape == (*leading, queries, columns) and g.dtype == weights.dtype == _FLOAT32
    if not fits or not weights.flags.c_contiguous:
        return NotImplemented
    g, query, key, value = map(_readable, (g, query, key, value))
    gradients = tuple([_empty_like(x, x.shape) for x in (query, key, value)])
    arrays = g, query, key, value, *gradients
    *stacks, last = _steps_of(arrays)
    heads = math.prod(leading)
    starts = _starts(tuple(leading), *stacks)
    work = 300 + queries * keys * (2 * terms + 2 * columns + 16) // (80 if options.causal else 40)
    together, parts = _divide(heads, work)
    arguments = (
        *map(_address, arrays[:4]), weights, *map(_address, gradients),
        np.array([options.scale], _FLOAT32), starts, heads, together, queries, keys, terms, columns,
        *last, options.causal,
    )  # fmt: skip
    run(_BACKWARD, arguments, parts, LANES * (columns + LANES + keys), work * heads)
    return gradients
