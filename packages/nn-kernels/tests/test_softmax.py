"""Softmax and cross-entropy equal NumPy in float64 over random shapes, infinities and strides."""

import os

import nn_kernels
import numpy as np
import pytest
from nn_kernels._compile import compile_function
from nn_kernels._exponential import exp, log
from nn_kernels._rows import at, row_loop
from nn_kernels.softmax import cross_entropy, cross_entropy_gradient, softmax, softmax_gradient

SHAPES = int(os.environ.get("NN_KERNELS_SHAPES", "50"))  # 2,000 on demand
CLOSE = {"rtol": 2e-5, "atol": 1e-6}


def draw(seed):
    rng = np.random.default_rng(seed)
    shape = int(rng.integers(1, 40)), int(rng.integers(1, 3000 if seed % 3 else 71))
    shape = -(-4096 // shape[1]) + shape[0], shape[1]  # at least as much as is compiled
    x = rng.normal(0, 5, shape).astype(np.float32)
    if shape[1] > 1:
        x[rng.random(shape) < 0.1] = -np.inf
        x[:, 0] = rng.normal(size=shape[0])
    if seed % 2:
        x = np.repeat(x, 2, axis=1)[:, ::2]
    return rng, x


@pytest.mark.parametrize("seed", range(SHAPES))
def test_softmax(seed):
    rng, x = draw(seed)
    e = np.exp(x.astype(float) - x.max(-1, keepdims=True))
    expected = e / e.sum(-1, keepdims=True)
    y = softmax(x, -1)
    np.testing.assert_allclose(y, expected, **CLOSE)
    g = rng.standard_normal(x.shape).astype(np.float32)
    dx = softmax_gradient(g, y, 1)
    wanted = expected * (g - (g * expected).sum(-1, keepdims=True))
    np.testing.assert_allclose(dx, wanted, **CLOSE)


@pytest.mark.parametrize("seed", range(SHAPES))
def test_cross_entropy(seed):
    rng, x = draw(seed)
    rows, count = x.shape
    classes = np.zeros(rows, np.int64) if seed % 5 else rng.integers(0, count, rows)
    scale = rng.integers(0, 3, rows).astype(np.float32) if seed % 4 < 2 else None
    shifted = x.astype(float) - x.max(-1, keepdims=True)
    total = np.exp(shifted).sum(-1, keepdims=True)
    losses = np.log(total)[:, 0] - shifted[np.arange(rows), classes]
    factor = np.ones(rows) if scale is None else scale
    with np.errstate(invalid="ignore"):
        losses = np.where(factor == 0, 0, losses * factor)
    result, exponentials, sums = cross_entropy(x, classes, scale, 0.0)
    np.testing.assert_allclose(result, losses, **CLOSE)
    g = rng.standard_normal(rows).astype(np.float32) * factor.astype(np.float32)
    probabilities = np.exp(shifted) / total
    probabilities[np.arange(rows), classes] -= 1
    dx = cross_entropy_gradient(g, exponentials, sums, classes, 0.0)
    np.testing.assert_allclose(dx, g[:, None] * probabilities, **CLOSE)


@pytest.mark.parametrize("shape", [(1, 1), (4, 5), (32, 10), (64, 64), (3, 1366)])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_of_any_size_is_the_same(shape, smoothing, monkeypatch):
    rng = np.random.default_rng(0)
    x, g = rng.standard_normal(shape).astype(np.float32), rng.random(shape[0]).astype(np.float32)
    classes, scale = rng.integers(0, shape[1], shape[0]), rng.integers(0, 2, shape[0])
    results = []
    for block in (1, 1 << 13):  # a part for each row, and for many
        monkeypatch.setattr("nn_kernels.softmax._BLOCK", block)
        for factor in (None, scale.astype(np.float32)):
            losses, *kept = cross_entropy(x, classes, factor, smoothing)
            results.append([losses, *kept, cross_entropy_gradient(g, *kept, classes, smoothing)])
    for first, second in zip(results[:2], results[2:], strict=True):
        for a, b in zip(first, second, strict=True):
            assert a.shape == b.shape
            np.testing.assert_array_equal(a, b)
    assert cross_entropy(x, classes - shape[1], None, smoothing) is NotImplemented


def test_what_is_not_finite():
    x = np.full((5, 2000), 90, np.float32)  # e^90 is infinite
    x[0], x[1, 3], x[2, 5], x[3, 7], x[4, 8:10] = -np.inf, np.nan, np.inf, -np.nan, (np.inf, np.nan)
    y = softmax(x, -1)
    assert (y[0] == 0).all()
    assert np.isnan(y[1]).all()
    assert np.isnan(y[3]).all()
    assert np.isnan(y[4]).all()
    assert np.isnan(y[2]).all()
    x[2] = np.where(x[2] == np.inf, np.inf, 1)
    np.testing.assert_array_equal(softmax(x, -1)[2], np.where(x[2] == np.inf, np.nan, 0))
    losses = cross_entropy(x, np.zeros(5, int), None, 0.0)[0]
    assert losses[0] == np.inf
    assert np.isnan(losses[1:]).all()


def test_every_short_row():
    rng, close = np.random.default_rng(0), {"rtol": 1e-4, "atol": 1e-5}
    for count in range(1, 71):
        x = rng.normal(0, 5, (-(-4096 // count), count)).astype(np.float32)
        g, classes = rng.standard_normal(x.shape).astype(np.float32), rng.integers(0, count, len(x))
        e = np.exp(x.astype(float) - x.max(-1, keepdims=True))
        expected = e / e.sum(-1, keepdims=True)
        y = softmax(x, -1)
        np.testing.assert_allclose(y, expected, **CLOSE)
        wanted = expected * (g - (g * expected).sum(-1, keepdims=True))
        np.testing.assert_allclose(softmax_gradient(g, y, -1), wanted, **close)
        target = np.full(x.shape, 0.1 / count)
        target[np.arange(len(x)), classes] += 0.9
        losses, *kept = cross_entropy(x, classes, None, 0.1)
        np.testing.assert_allclose(losses, -(target * np.log(expected)).sum(-1), **close)
        gradient = cross_entropy_gradient(g[:, 0], *kept, classes, 0.1)
        np.testing.assert_allclose(gradient, g[:, :1] * (expected - target), **close)


def test_what_is_not_finite_in_every_short_row():
    for count in range(2, 71):
        x = np.zeros((-(-4096 // count), count), np.float32)
        x[0], x[1, -1], x[2, 0], x[3, 1:] = -np.inf, np.nan, np.inf, -np.inf
        y = softmax(x, -1)
        assert (y[0] == 0).all()
        assert np.isnan(y[1]).all()
        assert np.isnan(y[2, 0])
        assert (y[2, 1:] == 0).all()
        assert y[3, 0] == 1
        assert (y[3, 1:] == 0).all()
        losses, *kept = cross_entropy(x, np.zeros(len(x), int), None, 0.0)
        assert losses[0] == np.inf
        assert np.isnan(losses[1:3]).all()
        assert losses[3] == 0
        np.testing.assert_allclose(losses[4:], np.log(count), rtol=1e-5)
        gradient = cross_entropy_gradient(losses, *kept, np.zeros(len(x), int), 0.0)
        assert np.isnan(gradient[1:3, 0]).all()
        assert np.isfinite(gradient[3:]).all()


@pytest.mark.parametrize("shape", [(200, 300), (5000, 12)])
def test_results_do_not_depend_on_the_number_of_threads(shape):
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    before, results = nn_kernels.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            nn_kernels.set_num_threads(threads)
            results.append(
                [softmax(x, -1), *cross_entropy(x, np.arange(len(x)) % shape[1], None, 0.1)]
            )
    finally:
        nn_kernels.set_num_threads(before)
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(one, two)


@row_loop(written=1)
def exponentials(x):
    return exp(x)


@row_loop(written=1)
def logarithms(x):
    return log(x)


def write_exponentials(x, out):
    exponentials(x.size, at(out, 0), at(x, 0))


def write_logarithms(x, out):
    logarithms(x.size, at(out, 0), at(x, 0))


def test_exponential_is_within_two_units_in_the_last_place():
    x = np.linspace(-110, 95, 1_000_003, dtype=np.float32)
    out = np.empty_like(x)
    compile_function(write_exponentials)(x, out)
    expected = np.exp(x.astype(float))
    with np.errstate(over="ignore"):
        rounded = expected.astype(np.float32)
    np.testing.assert_array_equal(np.isinf(out), np.isinf(rounded))
    finite = np.isfinite(rounded)
    unit = np.spacing(np.maximum(rounded[finite], np.finfo(np.float32).tiny)).astype(float)
    assert (np.abs(out[finite] - expected[finite]) / unit).max() < 2
    special = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0], np.float32)
    out = np.empty_like(special)
    compile_function(write_exponentials)(special, out)
    np.testing.assert_array_equal(out, [np.nan, np.inf, 0, 1, 1])


def test_logarithm_is_within_two_units_in_the_last_place():
    tiny, huge = np.finfo(np.float32).tiny, np.finfo(np.float32).max
    rng = np.random.default_rng(0)
    x = np.concatenate(
        [np.geomspace(tiny, huge, 500_001), rng.uniform(0.5, 2, 500_000), [tiny, huge, 1]]
    ).astype(np.float32)
    out = np.empty_like(x)
    compile_function(write_logarithms)(x, out)
    expected = np.log(x.astype(float))
    assert (np.abs(out - expected) / np.spacing(np.abs(expected).astype(np.float32))).max() < 2
    special = np.array([np.nan, np.inf], np.float32)
    out = np.empty_like(special)
    compile_function(write_logarithms)(special, out)
    np.testing.assert_array_equal(out, special)


def test_what_is_left_to_the_reference():
    x = np.zeros((100, 100), np.float32)
    assert softmax(x, 0) is softmax(x.astype(float), 1) is softmax(x[:3], 1) is NotImplemented
