"""Convolution equals plain sums in float64, over random shapes, options, remainders, infinities."""

import itertools
import os

import nn_kernels
import numpy as np
import pytest
from nn_kernels import _winograd
from nn_kernels import _winograd_by_outputs as by_outputs
from nn_kernels.convolution import (
    _winograd_of,
    conv2d,
    conv2d_bias_gradient,
    conv2d_input_gradient,
    conv2d_max_pool2d_relu,
    conv2d_relu,
    conv2d_weight_gradient,
)
from nn_kernels.pooling import max_pool2d

WINDOWS = (3, 3), (1, 1), (1, 1, 1, 1), (1, 1)
SHAPES = int(os.environ.get("NN_KERNELS_SHAPES", "50"))  # 2,000 on demand


def grouped(x, groups):
    return x.reshape(x.shape[0], groups, -1, *x.shape[2:])


def references(x, w, bias, g, windows, groups):
    """Return the outputs and both gradients, by sums over the places of the kernel in float64."""
    kernel, (sh, sw), (top, bottom, left, right), (dh, dw), _ = windows
    rows, columns = g.shape[2:]
    padded = np.pad(x.astype(float), ((0, 0), (0, 0), (top, bottom), (left, right)))
    gs = grouped(g.astype(float), groups)
    ws = w.astype(float).reshape(groups, -1, *w.shape[1:])
    out, dx, dws = np.zeros_like(gs), np.zeros_like(padded), np.zeros_like(ws)
    for i, j in itertools.product(*map(range, kernel)):
        place = (
            ...,
            slice(i * dh, i * dh + sh * (rows - 1) + 1, sh),
            slice(j * dw, j * dw + sw * (columns - 1) + 1, sw),
        )
        part = grouped(padded[place], groups)
        out += np.einsum("ngcpq,goc->ngopq", part, ws[..., i, j])
        dx[place] += np.einsum("ngopq,goc->ngcpq", gs, ws[..., i, j]).reshape(dx[place].shape)
        dws[..., i, j] = np.einsum("ngcpq,ngopq->goc", part, gs)
    dx = dx[:, :, top : top + x.shape[2], left : left + x.shape[3]]
    return out.reshape(g.shape) + bias[:, None, None], dx, dws.reshape(w.shape)


def draw(rng, batch, channels, size, outputs, windows, groups):
    kernel, stride, padding, dilation, _ = windows
    total = size[0] + sum(padding[:2]), size[1] + sum(padding[2:])
    rows, columns = (
        (n - d * (k - 1) - 1) // s + 1
        for n, k, s, d in zip(total, kernel, stride, dilation, strict=True)
    )
    shapes = (
        (batch, channels, *size),
        (outputs, channels // groups, *kernel),
        (outputs,),
        (batch, outputs, rows, columns),
    )
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


def check(x, w, bias, g, windows, groups, tolerance):
    expected = references(x, w, bias, g, windows, groups)
    results = (
        conv2d(x, w, bias, windows, groups),
        conv2d_input_gradient(g, w, x.shape[2:], windows, groups),
        conv2d_weight_gradient(x, g, windows, groups),
    )
    for name, result, truth in zip(("out", "dx", "dw"), results, expected, strict=True):
        assert result.dtype == np.float32
        error = np.abs(result - truth).max()
        assert error <= tolerance * max(np.abs(truth).max(), 1), (name, x.shape, w.shape, windows)


@pytest.mark.parametrize("seed", range(SHAPES))
def test_direct(seed):
    rng = np.random.default_rng(seed)
    groups = int(rng.choice([1, 1, 2, 5]))
    channels, outputs = (int(n) * groups for n in rng.integers(1, 40 // groups, 2))
    if seed % 5 == 0:  # depthwise
        groups, outputs = channels, channels * int(rng.integers(1, 3))
    kernel, stride, dilation = (tuple(map(int, rng.integers(1, high, 2))) for high in (6, 4, 3))
    padding = tuple(map(int, rng.integers(0, 4, 4)))
    spans = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    size = tuple(int(n) + span for n, span in zip(rng.integers(0, 24, 2), spans, strict=True))
    windows = kernel, stride, padding, dilation, "direct"
    arrays = draw(rng, int(rng.integers(1, 8)), channels, size, outputs, windows, groups)
    check(*arrays, windows, groups, 2e-6)


@pytest.mark.parametrize("seed", range(SHAPES))
def test_bias_gradient(seed):
    rng = np.random.default_rng(seed)
    shape = tuple(map(int, rng.integers(1, 40, 4)))
    g = rng.standard_normal(shape).astype(np.float32)
    result = conv2d_bias_gradient(g)
    assert result.dtype == np.float32
    largest = np.abs(g).sum((0, 2, 3))
    assert (np.abs(result - g.sum((0, 2, 3), dtype=float)) <= 1e-6 * largest).all()


@pytest.mark.parametrize("size", [4096, 4097, 1 << 21])
def test_bias_gradient_of_large_images(size):
    result = conv2d_bias_gradient(np.full((2, 1, size, 1), 0.1, np.float32))
    np.testing.assert_allclose(result, 2 * size * np.float32(0.1), 2e-6)


@pytest.mark.parametrize("seed", range(SHAPES))
def test_winograd(seed):
    rng = np.random.default_rng(seed)
    channels, outputs = map(int, rng.integers(1, 70, 2))
    size = tuple(map(int, rng.integers(3, 40, 2)))
    padding = tuple(map(int, rng.integers(0, 3, 4)))
    windows = (3, 3), (1, 1), padding, (1, 1), "winograd"
    arrays = draw(rng, int(rng.integers(1, 6)), channels, size, outputs, windows, 1)
    check(*arrays, windows, 1, 5e-6)


PAIRS = (2, 2), (2, 2), (0, 0, 0, 0), (1, 1), "auto"


def with_special_values(rng, shape):
    """Return small integers, with ties, and some NaN and infinities."""
    values = rng.integers(-2, 3, shape).astype(np.float32)
    for special in (np.nan, np.inf, -np.inf):
        values[rng.random(shape) < 0.003] = special
    return values


@pytest.mark.parametrize("algorithm", ["direct", "winograd"])
@pytest.mark.parametrize("seed", range(SHAPES))
def test_epilogue(seed, algorithm):
    """It gives the bits of ReLU and max-pooling after the convolution."""
    rng = np.random.default_rng(seed)
    kernel, stride = (3, 3), (1, 1)
    if algorithm == "direct":
        kernel, stride = (tuple(map(int, rng.integers(1, high, 2))) for high in (5, 3))
    windows = kernel, stride, tuple(map(int, rng.integers(0, 3, 4))), (1, 1), algorithm
    groups = int(rng.choice([1, 3])) if algorithm == "direct" else 1
    channels, outputs = (int(n) * groups for n in rng.integers(1, 40 // groups, 2))
    size = tuple(map(int, rng.integers(6, 40, 2)))
    x = with_special_values(rng, (int(rng.integers(1, 8)), channels, *size))
    w = rng.integers(-2, 3, (outputs, channels // groups, *kernel)).astype(np.float32)
    bias = rng.standard_normal(outputs).astype(np.float32) if seed % 3 else 0.0
    out = conv2d(x, w, bias, windows, groups)
    with np.errstate(invalid="ignore"):
        expected = np.maximum(out, 0)
        assert_same_bits(conv2d_relu(x, w, bias, windows, groups), expected)
        maxima, index = max_pool2d(out, PAIRS)
        expected = np.maximum(maxima, 0)
    found, places = conv2d_max_pool2d_relu(x, w, bias, windows, groups, PAIRS)
    assert_same_bits(found, expected)
    np.testing.assert_array_equal(places, index)


def assert_same_bits(found, expected):
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(
        np.signbit(found[found == 0]), np.signbit(expected[expected == 0])
    )


def test_pooling_that_is_left_to_the_reference():
    x, w = np.ones((1, 2, 5, 5), np.float32), np.ones((3, 2, 3, 3), np.float32)
    windows = (3, 3), (1, 1), (0, 0, 0, 0), (1, 1), "auto"
    assert conv2d_max_pool2d_relu(x, w, 0.0, windows, 1, PAIRS)[0].shape == (1, 3, 1, 1)
    for pooled in (((2, 2), (1, 1), *PAIRS[2:]), (*PAIRS[:2], (0, 1, 0, 0), *PAIRS[3:])):
        assert conv2d_max_pool2d_relu(x, w, 0.0, windows, 1, pooled) is NotImplemented
    assert conv2d_max_pool2d_relu(x[:, :, :3], w, 0.0, windows, 1, PAIRS) is NotImplemented


@pytest.mark.parametrize("algorithm", ["auto", "winograd"])
@pytest.mark.parametrize(
    ("batch", "channels", "size", "outputs"),
    [(2, 200, (9, 7), 150), (1, 97, (13, 5), 300), (9, 129, (3, 4), 33), (8, 512, (7, 7), 512)],
    ids=["wide", "one-sample", "small-images", "many-weights"],
)
def test_winograd_with_few_tiles(batch, channels, size, outputs, algorithm):
    assert _winograd_of((*WINDOWS, algorithm), 1, channels, outputs, batch, size) is by_outputs
    arrays = draw(
        np.random.default_rng(0), batch, channels, size, outputs, (*WINDOWS, algorithm), 1
    )
    check(*arrays, (*WINDOWS, algorithm), 1, 5e-6)


@pytest.mark.parametrize(
    ("channels", "outputs", "batch", "size", "module"),
    [
        (16, 16, 4, (16, 16), _winograd),  # as many tiles as the least that are many
        (16, 16, 3, (16, 16), by_outputs),
        (300, 16, 19, (16, 16), _winograd),  # more tiles than channels
        (305, 16, 19, (16, 16), by_outputs),
        (16, 16, 8, (3, 3), by_outputs),
        (16, 16, 8, (2, 9), None),  # most outputs of a tile would not be used
        (16, 15, 8, (16, 16), None),  # the transforms would take more time than they save
        (16, 16, 7, (4, 4), None),
    ],
)
def test_choice_of_an_algorithm(channels, outputs, batch, size, module):
    assert _winograd_of((*WINDOWS, "auto"), 1, channels, outputs, batch, size) is module
    assert _winograd_of((*WINDOWS, "direct"), 1, channels, outputs, batch, size) is None
    assert _winograd_of((*WINDOWS, "winograd"), 1, channels, outputs, batch, size) is not None
    assert _winograd_of((*WINDOWS, "winograd"), 2, channels, outputs, batch, size) is None


@pytest.mark.parametrize(
    ("batch", "channels", "size", "outputs", "kernel"),
    [(8, 512, (7, 7), 512, (3, 3)), (5, 700, (5, 5), 400, (1, 1)), (1, 3, (64, 64), 64, (7, 7))],
    ids=["many-weights", "many-weights-1x1", "one-sample"],
)
def test_weights_that_stay_while_samples_pass(batch, channels, size, outputs, kernel):
    edge = kernel[0] // 2
    windows = kernel, (1, 1), (edge,) * 4, (1, 1), "direct"
    arrays = draw(np.random.default_rng(0), batch, channels, size, outputs, windows, 1)
    check(*arrays, windows, 1, 4e-6)


@pytest.mark.parametrize("algorithm", ["auto", "direct"])
@pytest.mark.parametrize(
    ("channels", "outputs", "kernel", "left"),
    [(512, 512, 5, (True, True, False)), (512, 64, 3, (False,) * 3)],
)
def test_large_products_are_left_to_the_reference(algorithm, channels, outputs, kernel, left):
    edge = kernel // 2
    windows = (kernel, kernel), (1, 1), (edge,) * 4, (1, 1), algorithm
    x, w, bias, g = draw(np.random.default_rng(0), 2, channels, (5, 6), outputs, windows, 1)
    results = (
        conv2d(x, w, bias, windows, 1),
        conv2d_input_gradient(g, w, (5, 6), windows, 1),
        conv2d_weight_gradient(x, g, windows, 1),
    )
    found = [result is NotImplemented for result in results]
    assert found == [algorithm == "auto" and bool(each) for each in left]


@pytest.mark.parametrize("stride", [1, 2])
def test_products_for_the_weights_of_a_pointwise_convolution(stride):
    windows = (1, 1), (stride, stride), (0, 0, 0, 0), (1, 1), "auto"
    x, w, _, g = draw(np.random.default_rng(0), 3, 256, (7, 6), 300, windows, 1)
    dw = conv2d_weight_gradient(x, g, windows, 1)
    if stride > 1:
        assert dw is NotImplemented
    elif dw is not NotImplemented:  # without several threads, BLAS is as fast
        truth = np.einsum("nohw,nchw->oc", g.astype(float), x)
        assert dw.shape == w.shape
        assert np.abs(dw[..., 0, 0] - truth).max() <= 2e-6 * np.abs(truth).max()


@pytest.mark.parametrize("size", [(17, 19), (7, 8)], ids=["large", "small"])
@pytest.mark.parametrize("algorithm", ["direct", "winograd"])
def test_results_do_not_depend_on_the_number_of_threads(algorithm, size):
    windows = (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), algorithm
    x, w, bias, g = draw(np.random.default_rng(0), 6, 24, size, 40, windows, 1)
    before, results = nn_kernels.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            nn_kernels.set_num_threads(threads)
            results.append(
                (
                    conv2d(x, w, bias, windows, 1),
                    *conv2d_max_pool2d_relu(x, w, bias, windows, 1, PAIRS),
                    conv2d_input_gradient(g, w, size, windows, 1),
                    conv2d_weight_gradient(x, g, windows, 1),
                )
            )
    finally:
        nn_kernels.set_num_threads(before)
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_stays_in_its_windows(value):
    windows = (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), "direct"
    x, w, bias, _ = draw(np.random.default_rng(0), 2, 4, (12, 12), 8, windows, 1)
    x[1, 2, 5, 6] = value
    finite = np.isfinite(conv2d(x, w, bias, windows, 1))
    expected = np.ones(finite.shape, bool)
    expected[1, :, 4:7, 5:8] = False
    np.testing.assert_array_equal(finite, expected)
    # Winograd's algorithm spreads it over the tiles of 4×4 that see it.
    finite = np.isfinite(conv2d(x, w, bias, (*windows[:4], "winograd"), 1))
    assert not (finite & ~expected).any()
    expected[1, :, 4:8, 4:8] = False
    np.testing.assert_array_equal(finite, finite | expected)


def test_what_is_left_to_the_reference():
    windows = (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), "auto"
    x, w = np.zeros((1, 2, 5, 5)), np.zeros((3, 2, 3, 3))
    assert conv2d(x, w, 0.0, windows, 1) is NotImplemented
    empty = np.zeros((0, 2, 5, 5), np.float32)
    assert conv2d(empty, w.astype(np.float32), 0.0, windows, 1) is NotImplemented


def test_arrays_that_are_not_contiguous():
    windows = (3, 2), (1, 1), (1, 0, 0, 1), (1, 1), "auto"
    x, w, bias, _ = draw(np.random.default_rng(0), 3, 8, (9, 9), 12, windows, 1)
    turned = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    result = conv2d(turned, np.asfortranarray(w), bias, windows, 1)
    np.testing.assert_array_equal(result, conv2d(x, w, bias, windows, 1))
