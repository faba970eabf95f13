"""GELU and its gradient equal the error function in float64 over random sizes."""

import math
import os

import numpy as np
import pytest
from nn_kernels.gelu import gelu, gelu_gradient

SHAPES = int(os.environ.get("NN_KERNELS_SHAPES", "50"))  # 2,000 on demand
DTYPES = {np.float32: 1e-6, np.float64: 1e-14}


def cdf(x):
    return np.array([0.5 * (1 + math.erf(v / math.sqrt(2))) for v in x.tolist()])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", range(SHAPES))
def test_gelu(seed, dtype):
    rng = np.random.default_rng(seed)
    size = int(rng.integers(0, 50_000 if seed % 5 == 0 else 500))
    x, g = rng.normal(0, 4, size).astype(dtype), rng.standard_normal(size).astype(dtype)
    out, gradient = (np.full(size, np.nan, dtype) for _ in range(2))
    assert gelu(x, out, []) is gelu_gradient(g, x, None, gradient) is None
    wide = x.astype(float)
    phi = cdf(wide)
    density = np.exp(-0.5 * wide**2) / math.sqrt(2 * math.pi)
    tolerance = DTYPES[dtype]
    np.testing.assert_allclose(out, wide * phi, atol=8 * tolerance)
    np.testing.assert_allclose(gradient, g * (phi + wide * density), atol=8 * tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [6, 40_000])
def test_what_is_not_finite(size, dtype):
    x = np.resize(np.array([np.inf, -np.inf, np.nan, 1e30, -1e30, 0], dtype), size)
    out, gradient = (np.empty(size, dtype) for _ in range(2))
    gelu(x, out, [])
    gelu_gradient(np.ones(size, dtype), x, None, gradient)
    expected = np.array([np.inf, 0, np.nan, 1e30, 0, 0], dtype)
    np.testing.assert_array_equal(out, np.resize(expected, size))
    np.testing.assert_array_equal(gradient, np.resize([1, 0, np.nan, 1, 0, 0.5], size))


def test_the_result_has_the_sign_of_its_argument():
    """The tails are where the rounding of the gate exceeds what is left of it."""
    x = np.linspace(-7, 7, 500_001, dtype=np.float32)
    out, gradient = (np.empty_like(x) for _ in range(2))
    gelu(x, out, [])
    gelu_gradient(np.ones_like(x), x, None, gradient)
    assert (out[x < 0] <= 0).all()
    assert (out[x > 0] > 0).all()
    assert (out[x > 0] <= x[x > 0]).all()
    assert (out[x < 0] >= x[x < 0]).all()
    wide = x.astype(float)
    phi = cdf(wide)
    slope = phi + wide * np.exp(-0.5 * wide**2) / math.sqrt(2 * math.pi)
    np.testing.assert_allclose(out[x != 0] / wide[x != 0], phi[x != 0], rtol=0, atol=4e-7)
    np.testing.assert_allclose(gradient, slope, rtol=0, atol=4e-7)


def test_what_is_left_to_the_reference():
    x = np.zeros(8, np.float32)
    assert gelu(x, x.astype(float), []) is NotImplemented
    assert gelu(x[::2], x[:4].copy(), []) is NotImplemented
    assert gelu_gradient(*[x.astype(np.float16)] * 4) is NotImplemented
