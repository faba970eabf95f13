"""Attention equals NumPy in float64 over random shapes, layouts and masks, forward and backward."""

import os
from types import SimpleNamespace

import numpy as np
import pytest
from nn_kernels._vectors import FUSED
from nn_kernels.attention import attention, attention_gradient

pytestmark = pytest.mark.skipif(not FUSED, reason="without fused multiply-adds NumPy computes it")
SHAPES = int(os.environ.get("NN_KERNELS_SHAPES", "50"))  # 2,000 on demand
CLOSE = {"rtol": 2e-5, "atol": 5e-6}


def settings(causal=False, **changed):
    options = {"scale": 0.3, "causal": causal, "dropout": 0.0, "needs_backward": True}
    return SimpleNamespace(**{**options, **changed})


def arrays_of(rng, leading, *shapes, layout="heads"):
    """Return normal numbers: as heads beside each other, in a part of an array, or contiguous."""
    arrays = []
    for rows, columns in shapes:
        if layout == "part":
            x = rng.standard_normal((*leading, rows + 1, 2 * columns)).astype(np.float32)
            x = x[..., 1:, columns:]
        elif layout == "heads" and len(leading) > 1:
            shape = *leading[:-1], rows, leading[-1], columns
            x = rng.standard_normal(shape).astype(np.float32).swapaxes(-3, -2)
        else:
            x = rng.standard_normal((*leading, rows, columns)).astype(np.float32)
        arrays.append(x)
    return arrays


def expected(query, key, value, mask, options, g):
    """Return output, weights and gradients by their formulas in float64."""
    query, key, value, g = (x.astype(float) for x in (query, key, value, g))
    scores = query @ key.swapaxes(-1, -2) * options.scale
    targets, sources = scores.shape[-2:]
    if mask is not True:
        scores = np.where(mask, scores, -np.inf) if mask.dtype == bool else scores + mask
    if options.causal:
        allowed = np.tri(targets, sources, sources - targets, dtype=bool)
        scores = np.where(allowed, scores, -np.inf)
    top = scores.max(-1, keepdims=True)
    exponentials = np.exp(scores - np.where(top == -np.inf, 0, top))
    total = exponentials.sum(-1, keepdims=True)
    weights = exponentials / np.where(total == 0, 1, total)
    grad_weights = g @ value.swapaxes(-1, -2)
    grad_scores = weights * (grad_weights - (grad_weights * weights).sum(-1, keepdims=True))
    grad_scores *= options.scale
    gradients = (
        grad_scores @ key,
        grad_scores.swapaxes(-1, -2) @ query,
        weights.swapaxes(-1, -2) @ g,
    )
    return weights @ value, weights, gradients


def check(query, key, value, mask, options, g):
    inputs = [x.copy() for x in (query, key, value, g)]
    output, saved = attention(query, key, value, mask, options)
    wanted, weights, wanted_gradients = expected(query, key, value, mask, options, g)
    np.testing.assert_allclose(output, wanted, **CLOSE)
    assert len(saved) == (key.shape[-2] <= 256)
    for result in saved:
        np.testing.assert_allclose(result, weights, **CLOSE)
    gradients = attention_gradient(g, query, key, value, mask, saved, options)
    for result, right in zip(gradients, wanted_gradients, strict=True):
        np.testing.assert_allclose(result, right, **CLOSE)
    for x, before in zip((query, key, value, g), inputs, strict=True):
        np.testing.assert_array_equal(x, before)
    alone, nothing = attention(
        query, key, value, mask, settings(**{**vars(options), "needs_backward": False})
    )
    np.testing.assert_array_equal(alone, output)
    assert nothing == []


def draw_mask(rng, kind, shape):
    kept = rng.integers(0, 2, len(shape))
    shape = [size if keep else 1 for size, keep in zip(shape, kept, strict=True)]
    shape = shape[rng.integers(0, len(shape)) :]
    if kind == "booleans":
        return rng.random(shape) < 0.7
    mask = rng.normal(size=shape).astype(np.float32)
    mask[rng.random(shape) < 0.2] = -np.inf
    return mask


@pytest.mark.parametrize("seed", range(SHAPES))
def test_random_shapes(seed):
    rng = np.random.default_rng(seed)
    leading = tuple(rng.integers(1, 4, rng.integers(0, 4)))
    targets, sources, d, e = (int(n) for n in rng.integers(1, [70, 70, 40, 40]))
    if seed % 10 == 9:  # so many that the weights are computed again
        sources, leading = 240 + sources, leading[:1]
    if seed % 3 == 0:
        sources = targets
    layout = ("heads", "part", "contiguous")[seed % 3]
    shapes = (targets, d), (sources, d), (sources, e), (targets, e)
    query, key, value, g = arrays_of(rng, leading, *shapes, layout=layout)
    kind = ("no", "booleans", "added")[seed // 2 % 3]
    mask = True if kind == "no" else draw_mask(rng, kind, (*leading, targets, sources))
    check(query, key, value, mask, settings(seed % 2 == 0), g)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("length", [1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 48])
def test_remainders(length, causal):
    rng = np.random.default_rng(length)
    arrays = arrays_of(rng, (3, 2), *[(length, length)] * 4)
    check(*arrays[:3], True, settings(causal), arrays[3])


def test_the_first_layout_is_that_of_the_heads():
    rng = np.random.default_rng(0)
    query, key, value, g = arrays_of(rng, (3, 2), (5, 8), (7, 8), (7, 8), (5, 8))
    output, saved = attention(query, key, value, True, settings())
    gradients = attention_gradient(g, query, key, value, True, saved, settings())
    for x in (output, *gradients):
        assert x.swapaxes(1, 2).flags.c_contiguous


def test_weights_are_saved_or_computed_again():
    rng = np.random.default_rng(0)
    query, key, value, g = arrays_of(rng, (2, 2), (20, 8), (30, 8), (30, 4), (20, 4))
    mask = draw_mask(rng, "added", (20, 30))
    _, saved = attention(query, key, value, mask, settings(True))
    results = [
        attention_gradient(g, query, key, value, mask, x, settings(True)) for x in (saved, [])
    ]
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("copied", ["columns", "reversed", "unaligned"])
def test_operands_whose_rows_are_not_in_one_run_are_copied(copied):
    rng = np.random.default_rng(0)
    arrays = arrays_of(rng, (2, 2), (5, 8), (7, 8), (7, 4), (5, 4), layout="contiguous")
    for i, x in enumerate(arrays):
        if copied == "columns":
            arrays[i] = np.ascontiguousarray(x.swapaxes(-1, -2)).swapaxes(-1, -2)
        elif copied == "reversed":
            arrays[i] = x[:, ::-1]
        else:
            arrays[i] = np.zeros(x.shape, np.dtype([("x", np.float32), ("y", np.int8)]))["x"]
            arrays[i][...] = x
    check(*arrays[:3], True, settings(True), arrays[3])
    one = [x[:1, :1].swapaxes(0, 1)[:, ::-1] for x in arrays]  # axes of one element
    check(*one[:3], True, settings(True), one[3])


def test_keys_for_several_heads():
    rng = np.random.default_rng(0)
    query, g = arrays_of(rng, (2, 2, 3), (5, 8), (5, 4))
    key, value = arrays_of(rng, (2, 2, 1), (7, 8), (7, 4))
    key, value = (np.broadcast_to(x, (2, 2, 3, *x.shape[-2:])) for x in (key, value))
    check(query, key, value, True, settings(True), g)
    g = np.broadcast_to(np.float32(1), g.shape)
    check(query, key, value, True, settings(True), g)


@pytest.mark.parametrize("size", [1e-3, 30, 1e4])
def test_scores_of_any_magnitude(size):
    rng = np.random.default_rng(0)
    query, key, value = arrays_of(rng, (2, 3), (20, 8), (20, 8), (20, 8))
    query *= np.float32(size)
    output, (weights,) = attention(query, key, value, True, settings())
    wanted = expected(query, key, value, True, settings(), value)
    tolerance = max(1e-6, 1e-6 * size)  # of the scores
    np.testing.assert_allclose(weights, wanted[1], atol=tolerance)
    np.testing.assert_allclose(output, wanted[0], atol=10 * tolerance)


@pytest.mark.parametrize("causal", [False, True])
def test_what_is_not_finite(causal):
    rng = np.random.default_rng(0)
    arrays = arrays_of(rng, (1, 2), (20, 8), (20, 8), (20, 8), (20, 8))
    for number, bad in (
        (0, np.nan),
        (1, np.nan),
        (1, np.inf),
        (2, np.nan),
        (2, -np.inf),
        (0, np.inf),
    ):
        changed = [x.copy() for x in arrays]
        changed[number][0, 1, 3, 2] = bad
        with np.errstate(invalid="ignore"):
            output, (weights,) = attention(*changed[:3], True, settings(causal))
            wanted = expected(*changed[:3], True, settings(causal), changed[3])
        reach = np.tri(20, dtype=bool) if causal else slice(None)  # beyond it may be 0 for NaN
        np.testing.assert_allclose(weights[..., reach], wanted[1][..., reach], **CLOSE)
        np.testing.assert_array_equal(np.isnan(output)[0, 0], False)
        # of keys that a query may not attend to, a value may count as 0 times itself
        allowed = wanted[1] != 0
        reached = np.isnan(wanted[1]).any(-1) | (allowed[..., 3] if number == 2 else False)
        finite = np.isfinite(output)
        assert not finite[reached[..., None] & ~np.isfinite(wanted[0])].any()
        if number != 2:
            np.testing.assert_array_equal(finite, np.isfinite(wanted[0]))


def test_a_query_that_may_attend_to_nothing():
    rng = np.random.default_rng(0)
    query, key, value, g = arrays_of(rng, (2, 2), (20, 8), (6, 8), (6, 8), (20, 8))
    mask = np.ones((20, 6), bool)
    mask[[3, 19]] = False
    for causal in (False, True):
        output, saved = attention(query, key, value, mask, settings(causal))
        assert not output[..., [3, 19], :].any()
        grad_query, *_ = attention_gradient(g, query, key, value, mask, saved, settings(causal))
        assert not grad_query[..., [3, 19], :].any()
        if causal:
            assert not output[..., :14, :].any()
            assert not grad_query[..., :14, :].any()
    added = np.where(mask, 0, -np.inf).astype(np.float32)
    np.testing.assert_array_equal(
        attention(query, key, value, added, settings())[0],
        attention(query, key, value, mask, settings())[0],
    )


def test_nothing_is_read_or_written_beyond_the_arrays():
    """Memory on both sides of the operands holds NaN, and the results equal those without it."""
    rng = np.random.default_rng(0)
    shapes = (21, 5), (19, 5), (19, 3), (21, 3)
    arrays = arrays_of(rng, (2, 2), *shapes, layout="contiguous")
    mask = rng.normal(size=(21, 19)).astype(np.float32)
    results = []
    for surrounded in (False, True):
        placed = []
        for x in (*arrays, mask):
            if surrounded:
                memory = np.full((*x.shape[:-1], x.shape[-1] + 32), np.nan, np.float32)
                memory[..., 16:-16] = x
                x = memory[..., 16:-16]
            placed.append(x)
        query, key, value, g, added = placed
        output, saved = attention(query, key, value, added, settings(True))
        results.append(
            [output, *attention_gradient(g, query, key, value, added, saved, settings(True))]
        )
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)


def test_results_do_not_depend_on_the_number_of_threads(assert_same_with_any_threads):
    rng = np.random.default_rng(0)
    query, key, value, g = arrays_of(rng, (20, 4), (50, 16), (50, 16), (50, 16), (50, 16))

    def compute():
        output, saved = attention(query, key, value, True, settings(True))
        gradients = attention_gradient(g, query, key, value, True, saved, settings(True))
        return [output, *saved, *gradients]

    assert_same_with_any_threads(compute)


def test_what_is_left_to_the_reference():
    def zeros(*shape, dtype=np.float32):
        return np.zeros((2, *shape), dtype)

    q, k, v = zeros(5, 4), zeros(7, 4), zeros(7, 3)
    assert attention(q, k, v, True, settings(dropout=0.1)) is NotImplemented
    assert attention(*(x.astype(float) for x in (q, k, v)), True, settings()) is NotImplemented
    assert attention(q, k, v, zeros(5, 7, dtype=float), settings()) is NotImplemented
    assert attention(q[:, :0], k, v, True, settings()) is NotImplemented
    assert attention(q, k[:, :0], v[:, :0], True, settings()) is NotImplemented
    assert attention(q[..., :0], k[..., :0], v, True, settings()) is NotImplemented
    long = zeros(4097, 4)
    assert attention(long, long, long, True, settings()) is NotImplemented
    mask = np.zeros((5, 7), np.dtype([("allowed", bool), ("number", np.int8, 3)]))["allowed"]
    assert attention(q, k, v, mask, settings()) is not NotImplemented
    added = np.zeros((5, 7), np.dtype([("x", np.float32), ("y", np.int8)]))["x"]
    assert attention(q, k, v, added, settings()) is NotImplemented
    assert attention(q, k, v, np.zeros((5, 7), np.float32)[::-1], settings()) is NotImplemented
    output, saved = attention(q, k, v, True, settings())
    for other in ([*saved, *saved], [saved[0].copy()], [saved[0].astype(float)]):
        assert attention_gradient(output, q, k, v, True, other, settings()) is NotImplemented
    assert (
        attention_gradient(output.astype(float), q, k, v, True, saved, settings()) is NotImplemented
    )
    for wrong in ((6, 7), (5, 6), (3, 5, 7), (2, 2, 5, 7)):
        assert attention(q, k, v, np.zeros(wrong, bool), settings()) is NotImplemented
