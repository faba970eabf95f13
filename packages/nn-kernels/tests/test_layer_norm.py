"""Layer normalization equals NumPy in float64 over random shapes, NaN, infinities and strides."""

import os

import numpy as np
import pytest
from nn_kernels.layer_norm import (
    layer_norm,
    layer_norm_gradient,
    scale_rows_gradient,
    scaled_layer_norm,
    scaled_layer_norm_gradient,
)

SHAPES = int(os.environ.get("NN_KERNELS_SHAPES", "50"))  # 2,000 on demand
DTYPES = {np.float32: {"rtol": 1e-4, "atol": 2e-5}, np.float64: {"rtol": 1e-11, "atol": 1e-12}}


def draw(seed, dtype):
    rng = np.random.default_rng(seed)
    shape = int(rng.integers(1, 600)), int(rng.integers(1, 600 if seed % 4 else 71))
    x, g = (rng.normal(1, 2, shape).astype(dtype) for _ in range(2))
    if seed % 2:
        x, g = np.repeat(x, 3, axis=1)[:, ::3], g[::-1]
    weights, bias = rng.standard_normal((2, shape[1])).astype(dtype)
    return x, g, weights, bias


def expected(x, epsilon, center):
    x = x.astype(float)
    deviation = x - x.mean(-1, keepdims=True) if center else x
    inverse = 1 / np.sqrt((deviation**2).mean(-1, keepdims=True) + epsilon)
    return deviation * inverse, inverse


def expected_gradient(g, normal, inverse, center):
    mean = g.mean(-1, keepdims=True) if center else 0
    return (g - mean - normal * (g * normal).mean(-1, keepdims=True)) * inverse


def compare(results, truths, close):
    for result, truth in zip(results, truths, strict=True):
        scale = max(1, np.abs(truth).max(initial=0))
        np.testing.assert_allclose(result, truth, rtol=close["rtol"], atol=close["atol"] * scale)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", range(SHAPES))
def test_layer_norm(seed, dtype):
    x, g, weights, bias = draw(seed, dtype)
    center, close = seed % 3 > 0, DTYPES[dtype]
    normal, inverse = expected(x, 0.1, center)
    wide, w = g.astype(float), weights.astype(float)
    sums = (wide * normal).sum(0), wide.sum(0)

    results = layer_norm(x, 0.1, center)
    compare(results, (normal, inverse), close)
    compare(
        [layer_norm_gradient(g, *results, center)],
        [expected_gradient(wide, normal, inverse, center)],
        close,
    )
    out, *kept = scaled_layer_norm(x, weights, bias, 0.1, center)
    np.testing.assert_array_equal(kept[0], results[0])
    compare([out, *kept], (normal * w + bias, normal, inverse), close)
    out, *kept = scaled_layer_norm(x, weights, None, 0.1, center)
    compare([out, *kept], (normal * w, normal, inverse), close)
    compare(
        scaled_layer_norm_gradient(g, *kept, weights, center),
        [expected_gradient(wide * w, normal, inverse, center), *sums],
        close,
    )
    compare(scale_rows_gradient(g, kept[0], weights), [wide * w, *sums], close)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_short_row(dtype):
    rng, close = np.random.default_rng(0), DTYPES[dtype]
    for count in range(1, 71):
        x, g = rng.normal(1, 2, (2, 7, count)).astype(dtype)
        weights, bias = rng.standard_normal((2, count)).astype(dtype)
        truth, w = expected(x, 0.1, True), weights.astype(float)
        out, *kept = scaled_layer_norm(x, weights, bias, 0.1, True)
        compare([out, *kept], (truth[0] * w + bias, *truth), close)
        gradient = expected_gradient(g * w, *truth, True)
        sums = (g * truth[0]).sum(0), g.astype(float).sum(0)
        results = scaled_layer_norm_gradient(g, *kept, weights, True)
        compare(results, [gradient, *sums], close)
        compare(scale_rows_gradient(g, kept[0], weights), [g * w, *sums], close)
        gradient = expected_gradient(g.astype(float), *truth, True)
        compare([layer_norm_gradient(g, *layer_norm(x, 0.1, True), True)], [gradient], close)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_in_its_row(value):
    x, g, weights, bias = draw(1, np.float32)
    x, g = x.copy(), g.copy()
    x[3, 0] = value
    rows = np.arange(len(x)) != 3
    out, normal, inverse = scaled_layer_norm(x, weights, bias, 0.1, True)
    np.testing.assert_array_equal(np.isfinite(out).all(1), rows)
    assert np.isnan(out[3, 0])
    gradient, for_weights, total = scaled_layer_norm_gradient(g, normal, inverse, weights, True)
    np.testing.assert_array_equal(np.isfinite(gradient).all(1), rows)
    assert not np.isfinite(for_weights).all()
    assert np.isfinite(total).all()


def test_a_large_mean_does_not_spoil_the_variance():
    x = np.random.default_rng(0).normal(1e4, 1, (300, 300)).astype(np.float32)
    truth = expected(x, 1e-5, True)[0]
    # the mean is rounded to a few times 1e-3, the distance of floats near 1e4
    np.testing.assert_allclose(layer_norm(x, 1e-5, True)[0], truth, atol=1e-2)


@pytest.mark.parametrize("shape", [(1500, 700), (9000, 10)])
def test_results_do_not_depend_on_the_number_of_threads(shape, assert_same_with_any_threads):
    rng = np.random.default_rng(0)
    x, g = rng.standard_normal((2, *shape)).astype(np.float32)
    weights, bias = rng.standard_normal((2, shape[1])).astype(np.float32)

    def compute():
        out, *kept = scaled_layer_norm(x, weights, bias, 0.1, True)
        return [out, *scaled_layer_norm_gradient(g, *kept, weights, True)]

    assert_same_with_any_threads(compute)


def test_what_is_left_to_the_reference():
    x, weights = np.zeros((4, 5), np.float32), np.zeros(5)
    assert scaled_layer_norm(x, weights, None, 0.1, True) is NotImplemented
    assert layer_norm(x.astype(np.float16), 0.1, True) is NotImplemented


@pytest.mark.parametrize("dtype", DTYPES)
def test_without_rows_the_gradients_of_weights_and_bias_are_zero(dtype):
    x, inverse, weights = np.ones((0, 64), dtype), np.ones((0, 1), dtype), np.ones(64, dtype)
    for function in (
        lambda: scaled_layer_norm_gradient(x, x, inverse, weights, True),
        lambda: scale_rows_gradient(x, x, weights),
    ):
        junk = [np.full(64, np.nan, dtype) for _ in range(8)]
        del junk  # memory that the sums may get
        for_x, *sums = function()
        assert for_x.shape == x.shape
        assert not np.any(sums)
