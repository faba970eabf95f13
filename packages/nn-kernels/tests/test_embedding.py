"""Rows that tokens index, and rows added where tokens repeat, equal NumPy over random shapes."""

import os

import nn_kernels
import numpy as np
import pytest
from nn_kernels.embedding import segment_sum, take_rows

SHAPES = int(os.environ.get("NN_KERNELS_SHAPES", "50"))  # 2,000 on demand


def draw(seed):
    rng = np.random.default_rng(seed)
    vocab_size, tokens = map(int, rng.integers(1, 300, 2))
    width = int(rng.integers(1, 400))
    if seed % 3 == 0:
        tokens, width = int(rng.integers(1, 9000)), int(rng.integers(1, 71))
    weights = rng.standard_normal((vocab_size, width)).astype(np.float32)
    ids = rng.integers(0, vocab_size, tokens).astype(rng.choice(["i8", "i4", "u2"]))
    rows = rng.standard_normal((tokens, width)).astype(np.float32)
    rows[rng.random(rows.shape) < 0.01] = np.inf
    return weights, ids, rows


@pytest.mark.parametrize("seed", range(SHAPES))
def test_lookup(seed):
    weights, ids, _ = draw(seed)
    if seed % 2:
        ids = np.repeat(ids[::-1], 2)[::2]
    result = take_rows(weights, ids)
    if result is not NotImplemented:
        np.testing.assert_array_equal(result, weights[ids])
    assert (result is NotImplemented) == (ids.size * weights.shape[1] <= 1 << 14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("seed", range(SHAPES))
def test_sum(seed, dtype):
    weights, ids, rows = draw(seed)
    rows, expected = rows.astype(dtype), np.zeros(weights.shape, dtype)
    with np.errstate(invalid="ignore"):
        np.add.at(expected, ids.astype(int), rows)
    result = segment_sum(rows, ids, len(weights))
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, expected)  # in the same order of sums


def test_sum_into_many_rows():
    rows, ids = np.ones((3, 70), np.float32), np.array([7, 20_000, 7])
    result = segment_sum(rows, ids, 20_001)
    np.testing.assert_array_equal(result[[7, 20_000]], [[2.0] * 70, [1.0] * 70])
    assert result.sum() == rows.sum()


def test_lookup_of_several_dimensions():
    weights = np.random.default_rng(0).standard_normal((50, 96)).astype(np.float32)
    ids = np.arange(600).reshape(2, 3, 100) % 50
    np.testing.assert_array_equal(take_rows(weights, ids), weights[ids])


def test_sums_do_not_depend_on_the_number_of_threads():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((4000, 300)).astype(np.float32)
    ids, before, results = rng.integers(0, 20, 4000), nn_kernels.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            nn_kernels.set_num_threads(threads)
            results.append(segment_sum(rows, ids, 20))
    finally:
        nn_kernels.set_num_threads(before)
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


@pytest.mark.parametrize("token", [-1, 30])
def test_a_token_out_of_range_is_left_to_the_reference(token):
    weights, ids = np.ones((30, 1000), np.float32), np.full(100, token)
    assert take_rows(weights, ids) is NotImplemented
    for dtype in (np.float32, np.float64):
        assert segment_sum(np.ones((100, 1000), dtype), ids, 30) is NotImplemented


@pytest.mark.parametrize("rows", [(1, 100), (299, 100), (301, 100), (100,), (1, 300, 100)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_of_another_shape_are_left_to_the_reference(rows, dtype):
    assert segment_sum(np.ones(rows, dtype), np.arange(300) % 4, 4) is NotImplemented


def test_rows_in_another_order_are_left_to_the_reference():
    rows = np.ones((100, 300), np.float32).T
    assert segment_sum(rows, np.arange(300) % 4, 4) is NotImplemented


@pytest.mark.parametrize("tokens", [np.array([0.5, 1.9]), np.array([True, False])])
def test_tokens_that_are_no_integers_are_left_to_the_reference(tokens):
    weights, rows = np.ones((4, 20_000), np.float32), np.ones((2, 20_000), np.float32)
    assert take_rows(weights, tokens) is NotImplemented
    assert segment_sum(rows, tokens, 4) is NotImplemented


def test_weights_in_another_order_are_left_to_the_reference():
    """They would be copied, all of them."""
    weights, tokens = np.ones((768, 1000), np.float32), np.arange(64)
    assert take_rows(weights.T, tokens) is NotImplemented
    assert take_rows(weights[:, ::2], tokens) is NotImplemented
    np.testing.assert_array_equal(take_rows(weights, tokens), weights[tokens])
