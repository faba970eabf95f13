"""Batch normalization equals NumPy in float64 over random shapes, NaN, infinities and strides."""

import os

import nn_kernels
import numpy as np
import pytest
from nn_kernels.normalization import (
    scale_channels,
    scale_channels_gradient,
    standardize_channels,
    standardize_channels_gradient,
)

SHAPES = int(os.environ.get("NN_KERNELS_SHAPES", "50"))  # 2,000 on demand
AXES = {"axis": (0, 2), "keepdims": True}
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def draw(seed):
    rng = np.random.default_rng(seed)
    batch, channels = map(int, rng.integers(1, 20, 2))
    size = int(rng.integers(1, 500)) + -(-8192 // (batch * channels))
    x, g = (rng.normal(2, 3, (batch, channels, size)).astype(np.float32) for _ in range(2))
    if seed % 2:
        x, g = np.repeat(x, 2, axis=2)[..., ::2], g[::-1]
    return rng, x, g


@pytest.mark.parametrize("seed", range(SHAPES))
def test_standardize(seed):
    _, x, g = draw(seed)
    wide = x.astype(float)
    mean, variance = wide.mean(**AXES), wide.var(**AXES)
    inverse = 1 / np.sqrt(variance + 0.1)
    normal = (wide - mean) * inverse
    results = standardize_channels(x, 0.1)
    expected = normal, *(vector.reshape(-1) for vector in (inverse, mean, variance))
    for result, truth in zip(results, expected, strict=True):
        np.testing.assert_allclose(result, truth, **CLOSE)
    dx = standardize_channels_gradient(g, *results[:2])
    wanted = (g - g.mean(**AXES) - normal * (g * normal).mean(**AXES)) * inverse
    np.testing.assert_allclose(dx, wanted, **CLOSE)


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
    _, x, _ = draw(0)
    x = np.concatenate([x, x + 1], axis=1)
    x[0, 0, 3] = value
    finite = np.isfinite(standardize_channels(x, 0.1)[0])
    assert not finite[:, 0].any()
    assert finite[:, 1:].all()


def test_results_do_not_depend_on_the_number_of_threads():
    _, x, g = draw(1)
    before, results = nn_kernels.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            nn_kernels.set_num_threads(threads)
            found = standardize_channels(x, 0.1)
            results.append([*found, standardize_channels_gradient(g, *found[:2])])
    finally:
        nn_kernels.set_num_threads(before)
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(one, two)


def test_what_is_left_to_the_reference():
    x = np.zeros((4, 50, 100), np.float32)
    assert standardize_channels(x.astype(float), 0.1) is NotImplemented
    assert standardize_channels(x[:1], 0.1) is NotImplemented
