"""Max-pooling and ReLU equal plain NumPy over random shapes, ties, NaN, infinities and strides."""

import os

import nn_kernels
import numpy as np
import pytest
from nn_kernels.activations import relu, select_positive
from nn_kernels.average_pooling import avg_pool2d_gradient
from nn_kernels.pooling import max_pool2d, max_pool2d_gradient

SHAPES = int(os.environ.get("NN_KERNELS_SHAPES", "50"))  # 2,000 on demand


def draw(rng, shape):
    x = rng.integers(-3, 4, shape).astype(np.float32)  # with ties
    x[rng.random(shape) < 0.05] = np.nan
    x[rng.random(shape) < 0.05] = -np.inf
    x[rng.random(shape) < 0.02] = np.inf
    return x


def pooled(x, g, windows):
    """Return maxima, their indices, and the gradient, window by window."""
    (kh, kw), (sh, sw), (top, bottom, left, right), (dh, dw), _ = windows
    height = (x.shape[2] + top + bottom - dh * (kh - 1) - 1) // sh + 1
    width = (x.shape[3] + left + right - dw * (kw - 1) - 1) // sw + 1
    shape = (*x.shape[:2], height, width)
    out, index = np.empty(shape, np.float32), np.empty(shape, np.uint8)
    g, dx = g(shape), np.zeros(x.shape, np.float32)
    for place in np.ndindex(shape):
        n, c, p, q = place
        best = None
        for i, j in np.ndindex(kh, kw):
            row, column = p * sh - top + i * dh, q * sw - left + j * dw
            if 0 <= row < x.shape[2] and 0 <= column < x.shape[3]:
                value = x[n, c, row, column]
                if best is None or value > best[0] or np.isnan(value):
                    best = value, i * kw + j, (n, c, row, column)
        out[place], index[place] = best[:2]
        dx[best[2]] += g[place]
    return out, index, g, dx


@pytest.mark.parametrize("seed", range(SHAPES))
def test_max_pool(seed):
    rng = np.random.default_rng(seed)
    if seed % 3:
        kernel, stride, dilation = (tuple(map(int, rng.integers(1, 4, 2))) for _ in range(3))
        padding = tuple(int(rng.integers(0, k // 2 + 1)) for k in kernel for _ in range(2))
        windows = kernel, stride, padding, dilation, "auto"
    else:
        below, right = map(int, rng.integers(0, 2, 2))
        windows = (2, 2), (2, 2), (0, below, 0, right), (1, 1), "auto"
    spans = [d * (k - 1) + 1 for d, k in zip(windows[3], windows[0], strict=True)]
    size = [int(n) + span for n, span in zip(rng.integers(0, 40, 2), spans, strict=True)]
    x = draw(rng, (int(rng.integers(1, 4)), int(rng.integers(1, 4)), *size))
    if seed % 2:
        x = np.repeat(x, 2, axis=3)[..., ::2]  # strided

    def gradient(shape):
        return rng.standard_normal(shape).astype(np.float32)

    out, index, g, dx = pooled(x, gradient, windows)
    results = max_pool2d(x, windows)
    np.testing.assert_array_equal(results[0], out)
    np.testing.assert_array_equal(results[1], index)
    for dtype in (np.float32, np.float64):
        result = np.full(x.shape, np.nan, dtype)
        assert max_pool2d_gradient(g.astype(dtype), index, result, windows) is None
        np.testing.assert_allclose(result, dx, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_large_images(threads):
    """The planes of several parts are those of one."""
    rng, windows = np.random.default_rng(0), ((2, 2), (2, 2), (0, 0, 0, 0), (1, 1), "auto")
    x = draw(rng, (9, 7, 40, 41))
    before = nn_kernels.get_num_threads()
    nn_kernels.set_num_threads(threads)
    try:
        out, index = max_pool2d(x, windows)
        dx = np.empty_like(x)
        max_pool2d_gradient(out, index, dx, windows)
    finally:
        nn_kernels.set_num_threads(before)
    windowed = x[..., :40].reshape(9, 7, 20, 2, 20, 2).swapaxes(3, 4).reshape(9, 7, 20, 20, 4)
    expected = windowed.max(-1)
    np.testing.assert_array_equal(out, expected)
    np.testing.assert_array_equal(
        np.take_along_axis(windowed, index[..., None].astype(int), -1)[..., 0], expected
    )
    np.testing.assert_array_equal(np.count_nonzero(dx), np.count_nonzero(out))


@pytest.mark.parametrize("seed", range(SHAPES))
def test_relu(seed):
    rng = np.random.default_rng(seed)
    x = draw(rng, (int(rng.integers(1, 9)), int(rng.integers(132_000, 240_000))))
    g = draw(rng, x.shape)
    if seed % 2:
        x, g = x[:, ::2], g.T.copy().T[:, ::2]
    if x.size >= 1 << 17:
        np.testing.assert_array_equal(relu(x), np.maximum(x, 0))
        np.testing.assert_array_equal(select_positive(g, x), np.where(x > 0, g, 0))
    else:
        assert relu(x) is select_positive(g, x) is NotImplemented


@pytest.mark.parametrize("shape", [(0,), (1,), (7,), (3, 5), (32, 128), (9, 1000)])
def test_few_elements_are_selected(shape):
    rng = np.random.default_rng(0)
    g, y = draw(rng, shape), draw(rng, shape)
    g.reshape(-1)[:3], y.reshape(-1)[:2] = (
        [np.nan, np.inf, -np.inf][: g.size],
        [-1, np.nan][: y.size],
    )
    selected = select_positive(g, y)
    assert selected.shape == shape
    np.testing.assert_array_equal(selected, np.where(y > 0, g, 0))


def test_what_is_left_to_the_reference():
    windows = (2, 2), (2, 2), (0, 0, 0, 0), (1, 1), "auto"
    assert max_pool2d(np.zeros((1, 1, 4, 4)), windows) is NotImplemented
    assert max_pool2d(np.zeros((0, 1, 4, 4), np.float32), windows) is NotImplemented
    assert relu(np.zeros(1 << 16)) is NotImplemented


WINDOWS = (3, 3), (2, 2), (1, 1, 1, 1), (1, 1), "auto"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("index", [9, 17, 254, 255])
def test_an_index_outside_the_window_adds_nothing(index, dtype):
    """Nothing is written outside the images, which are in the middle of a larger array."""
    memory = np.full((3, 2, 16, 16), 7, dtype)
    g = np.ones((1, 2, 8, 8), dtype)
    assert max_pool2d_gradient(g, np.full(g.shape, index, np.uint8), memory[1:2], WINDOWS) is None
    assert (memory[1] == 0).all()
    assert (memory[::2] == 7).all()


def test_an_index_outside_the_image_adds_nothing():
    memory, g = np.full((3, 1, 4, 4), 7, np.float32), np.ones((1, 1, 2, 2), np.float32)
    max_pool2d_gradient(g, np.zeros(g.shape, np.uint8), memory[1:2], WINDOWS)
    # the first elements of the upper and left windows are padding
    np.testing.assert_array_equal(np.argwhere(memory[1, 0]), [[1, 1]])
    assert (memory[::2] == 7).all()


def test_a_window_in_the_padding():
    """Its maximum is that of nothing, and it has no gradient."""
    windows = (1, 1), (2, 2), (1, 1, 1, 1), (1, 1), "auto"
    x = np.full((2, 1, 4, 4), -5, np.float32)
    x[0, 0, 0, 0] = 7
    out, index = max_pool2d(x, windows)
    expected = np.full((2, 1, 3, 3), -np.inf, np.float32)
    expected[..., 1:, 1:] = -5
    np.testing.assert_array_equal(out, expected)
    memory = np.full((4, 1, 4, 4), 9, np.float32)
    max_pool2d_gradient(np.ones_like(out), index, memory[1:3], windows)
    dx = np.zeros((2, 1, 4, 4))
    dx[..., 1::2, 1::2] = 1
    np.testing.assert_array_equal(memory[1:3], dx)
    assert (memory[::3] == 9).all()


@pytest.mark.parametrize(
    "g", [(4, 8, 9, 8), (4, 8, 8, 9), (4, 8, 7, 8), (5, 8, 8, 8), (4, 1, 8, 8), (4, 8, 64)]
)
def test_gradients_that_do_not_belong_to_the_images_are_left_to_the_reference(g):
    g, out = np.ones(g, np.float32), np.full((4, 8, 16, 16), 7, np.float32)
    index = np.zeros(g.shape, np.uint8)
    for windows in (WINDOWS, ((2, 2), (2, 2), (0, 0, 0, 0), (1, 1), "auto")):
        assert max_pool2d_gradient(g, index, out, windows) is NotImplemented
        assert avg_pool2d_gradient(g, out, windows) is NotImplemented
    g = np.ones((4, 8, 8, 8), np.float32)
    for wrong in (index[:1, :1, :1], g):
        assert max_pool2d_gradient(g, wrong, out, WINDOWS) is NotImplemented
    assert (out == 7).all()
