"""Attention of few queries equals NumPy in float64 over random shapes, masks and strides."""

import os

import numpy as np
import pytest
from nn_kernels.few_queries import attend_few_queries

SHAPES = int(os.environ.get("NN_KERNELS_SHAPES", "50"))  # 2,000 on demand


def attend(query, key, value, mask, scale):
    """Return the attention in float64; 0 where a query may attend to nothing."""
    with np.errstate(all="ignore"):
        scores = query.astype(float) @ key.astype(float).swapaxes(-1, -2) * scale
        if mask is not True:
            scores = np.where(mask, scores, -np.inf)
        top = scores.max(-1, keepdims=True)
        e = np.exp(scores - np.where(np.isinf(top), 0, top))
        total = e.sum(-1, keepdims=True)
        return e / np.where(total == 0, 1, total) @ value.astype(float)


def draw(seed, sources=None):
    rng = np.random.default_rng(seed)
    batch, heads, targets = (int(n) for n in rng.integers(1, (5, 5, 9)))
    sources = int(rng.integers(1, 200)) if sources is None else sources
    d, e = (int(n) for n in rng.integers(1, 70, 2))
    query = rng.standard_normal((batch, heads, targets, d)).astype(np.float32)
    # as in the buffer of a KV cache, which is longer; what follows must not be read
    buffers = [np.full((batch, heads, sources + 9, n), np.nan, np.float32) for n in (d, e)]
    key, value = (buffer[:, :, :sources] for buffer in buffers)
    key[...], value[...] = rng.standard_normal(key.shape), rng.standard_normal(value.shape)
    if seed % 3 == 1:
        key, value = np.ascontiguousarray(key), np.ascontiguousarray(value)
    mask = True
    if seed % 2:
        sizes = zip((batch, heads, targets, sources), rng.random(4), strict=True)
        mask = rng.random([size if x < 0.6 else 1 for size, x in sizes]) < 0.7
    if seed % 5 == 0:  # heads last in memory, as projections give them
        query = np.ascontiguousarray(query.swapaxes(1, 2)).swapaxes(1, 2)
        key = np.ascontiguousarray(key.swapaxes(1, 2)).swapaxes(1, 2)
    return query, key, value, mask


@pytest.mark.parametrize("seed", range(SHAPES))
def test_equals_numpy(seed):
    arguments = draw(seed)
    result = attend_few_queries(*arguments, 0.3)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, attend(*arguments, 0.3), rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("sources", [1, 7, 16, 40])
@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["query", "key", "value"])
def test_nan_and_infinity(sources, special, where):
    query, key, value, _ = draw(7, sources)
    key, value = np.array(key), np.array(value)
    {"query": query, "key": key, "value": value}[where][0, 0, 0, -1] = special
    result, expected = (f(query, key, value, True, 0.3) for f in (attend_few_queries, attend))
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(np.isfinite(result), finite)
    np.testing.assert_allclose(result[finite], expected[finite], rtol=2e-5, atol=2e-6)
    assert not finite.all() or where != "value"


def test_scores_of_minus_infinity_and_large_ones():
    value = np.arange(12, dtype=np.float32).reshape(1, 1, 4, 3)
    query, key = np.ones((1, 1, 1, 1), np.float32), np.zeros((1, 1, 4, 1), np.float32)
    key[0, 0, :, 0] = -np.inf, 1e30, 1e30, -1e30
    result = attend_few_queries(query, key, value, True, 1.0)
    np.testing.assert_allclose(result[0, 0, 0], value[0, 0, 1:3].mean(0), rtol=1e-6)
    key[...] = -np.inf
    assert not attend_few_queries(query, key, value, True, 1.0).any()


def test_a_query_that_may_attend_to_nothing_gets_zeros():
    query, key, value, _ = draw(2)
    mask = np.ones((1, 1, query.shape[2], key.shape[2]), bool)
    mask[:, :, 0] = False
    result = attend_few_queries(query, key, value, mask, 0.3)
    assert not result[:, :, 0].any()
    np.testing.assert_array_equal(
        result[:, :, 1:], attend_few_queries(query, key, value, True, 0.3)[:, :, 1:]
    )


def test_a_query_has_the_same_result_in_a_batch_as_alone():
    query, key, value, _ = draw(12)
    together = attend_few_queries(query, key, value, True, 0.3)
    for b in range(len(query)):
        alone = attend_few_queries(query[b : b + 1], key[b : b + 1], value[b : b + 1], True, 0.3)
        np.testing.assert_array_equal(alone[0], together[b])


def test_others_are_left_to_the_reference():
    query, key, value, _ = draw(3)
    options = True, 0.3
    assert attend_few_queries(*(x.astype(float) for x in (query, key, value)), *options) is (
        NotImplemented
    )
    assert attend_few_queries(query[0], key[0], value[0], *options) is NotImplemented
    assert attend_few_queries(query, key[..., ::-1], value, *options) is NotImplemented
    assert attend_few_queries(query, key[:, :, ::-1], value, *options) is NotImplemented
    assert attend_few_queries(query, key[:, :, :0], value[:, :, :0], *options) is NotImplemented
    many = np.repeat(query, 9, axis=2)
    assert attend_few_queries(many, key, value, *options) is NotImplemented
    added = np.zeros(key.shape[2], np.float32)
    assert attend_few_queries(query, key, value, added, 0.3) is NotImplemented
    assert attend_few_queries(query, key[:, :, :-1], value, *options) is NotImplemented
    assert attend_few_queries(query, key[..., :-1], value, *options) is NotImplemented
    larger = np.repeat(query, 2, axis=0)
    assert attend_few_queries(larger, key, value, *options) is NotImplemented
    assert attend_few_queries(query, key, value, np.ones(3, bool), 0.3) is NotImplemented
