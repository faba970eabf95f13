"""Batch normalization equals NumPy in float64 over random shapes, NaN, infinities and strides."""

import os

import numpy as np
import pytest
from nn_kernels.batch_norm import (
    batch_norm,
    batch_norm_gradient,
    scale_channels,
    scale_channels_gradient,
)

SHAPES = int(os.environ.get("NN_KERNELS_SHAPES", "50"))  # 2,000 on demand
AXES = {"axis": (0, 2), "keepdims": True}
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def draw(seed):
    rng = np.random.default_rng(seed)
    batch, channels = map(int, rng.integers(1, 20, 2))
    if seed % 4 == 0:  # small planes; those of one element are left to the reference
        size = int(rng.integers(2, 71))
        batch += -(-8192 // (channels * size))
    else:
        size = int(rng.integers(1, 500)) + -(-8192 // (batch * channels))
    x, g = (rng.normal(2, 3, (batch, channels, size)).astype(np.float32) for _ in range(2))
    if seed % 2:
        x, g = np.repeat(x, 2, axis=2)[..., ::2], g[::-1]
    return rng, x, g


def draw_vectors(rng, x):
    """Return weights and bias; weights below and above 0."""
    return rng.standard_normal((2, x.shape[1])).astype(np.float32)


def reshaped(x):
    """Return an array of the same elements with four dimensions."""
    return x.reshape(*x.shape[:2], 1, -1)


def exact(g, x, weights, bias, epsilon):
    """Return result, mean, variance and inverse, and the gradients, in float64."""
    g, x, weights, bias = (a.astype(float) for a in (g, x, weights, bias))
    mean, variance = x.mean(**AXES), x.var(**AXES)
    inverse, weights = 1 / np.sqrt(variance + epsilon), weights[:, None]
    normal = (x - mean) * inverse
    d = g * weights
    dx = (d - d.mean(**AXES) - normal * (d * normal).mean(**AXES)) * inverse
    statistics = (vector.reshape(-1) for vector in (mean, variance, inverse))
    out = normal * weights + bias[:, None]
    return (out, *statistics), (dx, (g * normal).sum((0, 2)), g.sum((0, 2)))


@pytest.mark.parametrize("seed", range(SHAPES))
def test_batch_norm(seed):
    rng, x, g = draw(seed)
    weights, bias = draw_vectors(rng, x)
    expected, gradients = exact(g, x, weights, bias, 0.1)
    results = out, mean, _, inverse = batch_norm(x, weights, bias, 0.1)
    for result, truth in zip(results, expected, strict=True):
        np.testing.assert_allclose(result, truth, **CLOSE)
    results = batch_norm_gradient(g, x, mean, inverse, weights)
    rounding = 1e-7 * np.abs(g).sum((0, 2)).max()  # of sums whose terms cancel each other
    for result, truth, sums in zip(results, gradients, (0, rounding, rounding), strict=True):
        limit = 1e-5 * np.abs(truth).max() + sums
        np.testing.assert_allclose(result, truth, rtol=1e-4, atol=limit)
    again = batch_norm(reshaped(x), weights, bias, 0.1)[0]
    np.testing.assert_array_equal(again, reshaped(out))
    again = batch_norm_gradient(reshaped(g), reshaped(x), mean, inverse, weights)[0]
    np.testing.assert_array_equal(again, reshaped(results[0]))


@pytest.mark.parametrize(
    "shape",
    [(2, 300, 20), (3, 17, 900), (2, 2, 70_000), (40, 3, 3_300), (1, 9, 1_000), (300, 40, 2)],
    ids=str,
)
def test_groups_of_channels(shape):
    """However many channels are a part, each has its own statistics."""
    rng = np.random.default_rng(0)
    x, g = (rng.normal(2, 3, shape).astype(np.float32) for _ in range(2))
    x *= np.arange(1, shape[1] + 1, dtype=np.float32)[:, None]
    weights, bias = draw_vectors(rng, x)
    expected, gradients = exact(g, x, weights, bias, 0.1)
    _, mean, _, inverse = results = batch_norm(x, weights, bias, 0.1)
    for result, truth in zip(results, expected, strict=True):
        np.testing.assert_allclose(result, truth, **CLOSE)
    results = batch_norm_gradient(g, x, mean, inverse, weights)
    for result, truth in zip(results, gradients, strict=True):
        np.testing.assert_allclose(result, truth, rtol=1e-4, atol=1e-5 * np.abs(truth).max())


@pytest.mark.parametrize("center", [1e4, -3e4])
def test_far_from_zero(center):
    """The numbers are multiples of 2**-8, so that float32 holds them."""
    rng = np.random.default_rng(0)
    x = (center + rng.integers(-256, 257, (8, 5, 1000)) / 256).astype(np.float32)
    g = rng.standard_normal(x.shape).astype(np.float32)
    weights, bias = draw_vectors(rng, x)
    expected, gradients = exact(g, x, weights, bias, 1e-5)
    results = _, mean, variance, inverse = batch_norm(x, weights, bias, 1e-5)
    np.testing.assert_allclose(variance, expected[2], rtol=1e-5)
    np.testing.assert_allclose(results[0], expected[0], rtol=1e-5, atol=1e-5)
    dx, *_ = batch_norm_gradient(g, x, mean, inverse, weights)
    np.testing.assert_allclose(dx, gradients[0], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("seed", range(SHAPES))
def test_scale(seed):
    rng, x, g = draw(seed)
    weights, bias = rng.standard_normal((2, x.shape[1])).astype(np.float32)
    out = scale_channels(x, weights, bias)
    np.testing.assert_allclose(out, x * weights[:, None] + bias[:, None], **CLOSE)
    results = scale_channels_gradient(g, x, weights)
    wide = g.astype(float)
    expected = g * weights[:, None], (wide * x).sum((0, 2)), wide.sum((0, 2))
    for result, truth in zip(results, expected, strict=True):
        scale = np.abs(truth).max()
        np.testing.assert_allclose(result, truth, rtol=1e-4, atol=1e-5 * scale)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_stays_in_its_channel(value):
    rng, x, g = draw(0)
    x, g = np.concatenate([x, x + 1], axis=1), np.concatenate([g, g], axis=1)
    weights, bias = draw_vectors(rng, x)
    x[0, 0, 3] = value
    out, mean, _, inverse = batch_norm(x, weights, bias, 0.1)
    dx, *_ = batch_norm_gradient(g, x, mean, inverse, weights)
    for finite in np.isfinite(out), np.isfinite(dx):
        assert not finite[:, 0].any()
        assert finite[:, 1:].all()


def test_results_do_not_depend_on_the_number_of_threads(assert_same_with_any_threads):
    rng, x, g = draw(1)
    weights, bias = draw_vectors(rng, x)

    def compute():
        found = _, mean, _, inverse = batch_norm(x, weights, bias, 0.1)
        return [*found, *batch_norm_gradient(g, x, mean, inverse, weights)]

    assert_same_with_any_threads(compute)


def test_what_is_left_to_the_reference():
    x = np.zeros((4, 50, 100), np.float32)
    vectors = np.zeros((2, 50), np.float32)
    assert batch_norm(x.astype(float), *vectors.astype(float), 0.1) is NotImplemented
    assert batch_norm(x, *vectors.astype(float), 0.1) is NotImplemented
    assert batch_norm(x[:1], *vectors, 0.1) is NotImplemented
    assert batch_norm(x[..., :1].repeat(90, 0), *vectors, 0.1) is NotImplemented
