r"""Attention of few queries, as when a token is generated with a KV cache.

For one query a matrix product is a pass over the keys, and the calls of five functions take longer
than their arithmetic. Here each query goes through its three passes at once: the scores
:math:`s_t = a \, q \cdot k_t`, their exponentials :math:`e_t = \exp(s_t - \max s)`, and the mean of
the values, :math:`\sum_t e_t v_t / \sum_t e_t`. The scores of one query stay in the cache. Keys and
values are read where they are: rows of floats, any distance apart, as in the buffer of a KV cache
whose end is not in use.

The order of additions depends on the number of keys alone, so that a query has the same result in
a batch as alone.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from nn_kernels._atomics import floats
from nn_kernels._compile import subroutine
from nn_kernels._exponential import exp_and_sum, maximum_of
from nn_kernels._products import multiply_row
from nn_kernels._rows import at
from nn_kernels._sums import sum_of_products
from nn_kernels._vectors import LANES

__all__ = ["attend_few_queries"]

_MOST = 8  # queries of a head
_FLOAT32, _BOOL = np.dtype(np.float32), np.dtype(bool)
_ZERO, _ONE, _LEAST = np.float32(0), np.float32(1), np.float32(-np.inf)
_ALL = np.ones((1, 1, 1, 1), bool)


@subroutine("contract")
def _add_values(weights, values, step, count, width, out):  # type: ignore[no-untyped-def]
    whole = width - width % LANES
    for i in range(0, whole, LANES):
        multiply_row(weights, 0, values, i, step, 0, count, out, i, 0)
    for i in range(whole, width):
        total = _ZERO
        for t in range(count):
            total += weights[t] * values[t * step + i]
        out[i] = total


@subroutine()
def attend(  # type: ignore[no-untyped-def]
    query, width, keys, key_step, values, value_step, features, count, padding, allowed, of_mask,
    scale, scores, out,
):  # fmt: skip
    """Write the attention of one query to `count` keys, of which a mask may allow some.

    Args:
        query: the place of the query.
        width: the number of floats of a query, and of a key.
        keys: the place of the first key.
        key_step: the distance between keys, in floats.
        values: the place of the first value.
        value_step: as `key_step`.
        features: the number of floats of a value, and of the result.
        count: the number of keys.
        padding: the number of the first keys, which are left out.
        allowed: the place of what a mask says of the keys.
        of_mask: 1, 0 if one element is for all keys, or -1 without a mask.
        scale: the factor of the scores.
        scores: memory for as many as there are keys.
        out: the place of the result.
    """
    for t in range(count):
        scores[t] = sum_of_products(width, query, at(keys, t * key_step)) * scale
    for j in range(min(padding, count)):
        scores[j] = _LEAST
    if of_mask >= 0:
        for j in range(count):
            if not allowed[j * of_mask]:
                scores[j] = _LEAST
    largest = maximum_of(count, at(scores, 0))
    shift = _ZERO if math.isinf(largest) else largest
    total = exp_and_sum(count, at(scores, 0), at(scores, 0), shift)
    _add_values(scores, values, value_step, count, features, out)
    factor = _ONE if total == _ZERO else _ONE / total
    for i in range(features):
        out[i] *= factor


@subroutine()
def _attend(query, key, value, mask, masked, scale, out):  # type: ignore[no-untyped-def]
    (batch, heads, targets, width), (count, features) = query.shape, value.shape[2:]
    scores, of_mask = np.empty(count, np.float32), -1
    if masked:
        of_mask = 1 if mask.shape[3] > 1 else 0
    steps = key.strides[2] // 4, value.strides[2] // 4
    for b in range(batch):
        for h in range(heads):
            keys = floats(key.ctypes.data + b * key.strides[0] + h * key.strides[1])
            values = floats(value.ctypes.data + b * value.strides[0] + h * value.strides[1])
            for t in range(targets):
                allowed = mask[
                    b if mask.shape[0] > 1 else 0,
                    h if mask.shape[1] > 1 else 0,
                    t if mask.shape[2] > 1 else 0,
                ]
                of_query, result = at(query[b, h, t], 0), at(out[b, h, t], 0)
                rows = of_query, width, keys, steps[0], values, steps[1], features, count
                attend(*rows, 0, allowed, of_mask, scale, at(scores, 0), result)


def has_rows(x: Any) -> bool:
    """Return whether an array of four axes has rows in one run of memory, some floats apart."""
    if x.ndim != 4:
        return False
    step, item = x.strides[2:]
    return (item == 4 or x.shape[3] < 2) and step % 4 == 0 and step >= 0


def attend_few_queries(query: Any, key: Any, value: Any, mask: Any, scale: float) -> Any:
    """Return for each of few queries the values weighted by the softmax of the scores.

    A query that may attend to nothing gets zeros.

    Args:
        query: ``(batch, heads, targets, d)``, float32.
        key: ``(batch, heads, sources, d)``.
        value: ``(batch, heads, sources, e)``.
        mask: booleans that broadcast to ``(batch, heads, targets, sources)``, or True.
        scale: the factor of the scores.
    """
    if not query.ndim == key.ndim == value.ndim == 4 or query.shape[2] > _MOST:
        return NotImplemented
    if not query.dtype == key.dtype == value.dtype == _FLOAT32 or not query.size or not value.size:
        return NotImplemented
    leading, scores = query.shape[:2], (*query.shape[:3], key.shape[2])
    if not leading == key.shape[:2] == value.shape[:2] or query.shape[3] != key.shape[3]:
        return NotImplemented
    if key.shape[2] != value.shape[2] or not (has_rows(key) and has_rows(value)):
        return NotImplemented
    allowed = _ALL
    if mask is not True:
        if mask.dtype != _BOOL or mask.ndim > 4:
            return NotImplemented
        allowed = mask if mask.ndim == 4 else mask.reshape((1,) * (4 - mask.ndim) + mask.shape)
        if not all(n == size or n == 1 for n, size in zip(allowed.shape, scores, strict=True)):
            return NotImplemented
    if not query.flags.c_contiguous:
        query = np.ascontiguousarray(query)
    out = np.empty((*query.shape[:3], value.shape[3]), np.float32)
    _attend(query, key, value, allowed, mask is not True, np.float32(scale), out)
    return out
