"""Average pooling equals NumPy, window by window, over random shapes, NaN, infinities, strides."""

import os

import nn_kernels
import numpy as np
import pytest
from nn_kernels.average_pooling import avg_pool2d, avg_pool2d_gradient

SHAPES = int(os.environ.get("NN_KERNELS_SHAPES", "50"))  # 2,000 on demand
PAIRS = (2, 2), (2, 2), (0, 0, 0, 0), (1, 1), "auto"


def pooled(x, windows, dtype=float):
    """Return the means, and a function that returns their gradient, added up in a dtype."""
    (kh, kw), (sh, sw), (top, bottom, left, right), (dh, dw), _ = windows
    padded = np.pad(x.astype(dtype), ((0, 0), (0, 0), (top, bottom), (left, right)))
    rows = (padded.shape[2] - dh * (kh - 1) - 1) // sh + 1
    columns = (padded.shape[3] - dw * (kw - 1) - 1) // sw + 1
    places = [
        (
            ...,
            slice(i * dh, i * dh + (rows - 1) * sh + 1, sh),
            slice(j * dw, j * dw + (columns - 1) * sw + 1, sw),
        )
        for i in range(kh)
        for j in range(kw)
    ]
    with np.errstate(invalid="ignore"):
        out = sum(padded[place] for place in places) / (kh * kw)

    def gradient(g):
        result = np.zeros(padded.shape, dtype)
        for place in places:
            result[place] += g / (kh * kw)
        return result[:, :, top : top + x.shape[2], left : left + x.shape[3]]

    return out, gradient


@pytest.mark.parametrize("seed", range(SHAPES))
def test_avg_pool(seed):
    rng = np.random.default_rng(seed)
    if seed % 3:
        kernel, stride, dilation = (tuple(map(int, rng.integers(1, 5, 2))) for _ in range(3))
        padding = tuple(int(rng.integers(0, k // 2 + 1)) for k in kernel for _ in range(2))
        windows = kernel, stride, padding, dilation, "auto"
    else:  # of 2×2, with and without padding below and on the right
        below, right = map(int, rng.integers(0, 2, 2))
        windows = *PAIRS[:2], (0, below, 0, right), *PAIRS[3:]
    spans = [d * (k - 1) + 1 for d, k in zip(windows[3], windows[0], strict=True)]
    size = [int(n) + span for n, span in zip(rng.integers(0, 40, 2), spans, strict=True)]
    x = rng.standard_normal((*map(int, rng.integers(1, 4, 2)), *size)).astype(np.float32)
    if seed % 5 == 0:
        x[rng.random(x.shape) < 0.05] = np.nan
        x[rng.random(x.shape) < 0.05] = -np.inf
    if seed % 2:
        x = np.repeat(x, 2, axis=3)[..., ::2]  # strided
    out, gradient = pooled(x, windows)
    np.testing.assert_allclose(avg_pool2d(x, windows), out, rtol=1e-5, atol=1e-6)
    g = rng.standard_normal(out.shape).astype(np.float32)
    result = np.full(x.shape, np.nan, np.float32)
    assert avg_pool2d_gradient(g, result, windows) is None
    np.testing.assert_allclose(result, gradient(g.astype(float)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("windows", [PAIRS, ((3, 3), (1, 1), (1, 1, 1, 1), (1, 1), "auto")])
def test_large_images(windows, threads):
    x = np.random.default_rng(0).standard_normal((9, 7, 40, 41)).astype(np.float32)
    before = nn_kernels.get_num_threads()
    nn_kernels.set_num_threads(threads)
    try:
        result = avg_pool2d(x, windows)
        dx = np.empty_like(x)
        avg_pool2d_gradient(result, dx, windows)
    finally:
        nn_kernels.set_num_threads(before)
    out, gradient = pooled(x, windows)
    np.testing.assert_allclose(result, out, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(dx, gradient(result), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation", "size"),
    [
        (7, 7, 0, 1, (7, 7)),
        (5, 1, 2, 1, (9, 8)),
        (5, 2, 2, 2, (11, 12)),
        (8, 1, 0, 1, (20, 23)),
        (8, 1, 0, 1, (9, 40)),  # with too many windows in a row
        (3, 1, 4, 1, (5, 5)),  # with windows that are wholly in the padding
    ],
)
def test_sums_have_one_order(kernel, stride, padding, dilation, size):
    """Whether windows are added up one after the other or all of a row at a time."""
    rng = np.random.default_rng(0)
    windows = (kernel,) * 2, (stride,) * 2, (padding,) * 4, (dilation,) * 2, "auto"
    x = rng.standard_normal((3, 5, *size)).astype(np.float32)
    out, gradient = pooled(x, windows, np.float32)
    np.testing.assert_array_equal(avg_pool2d(x, windows), out)
    g, result = rng.standard_normal(out.shape).astype(np.float32), np.empty_like(x)
    assert avg_pool2d_gradient(g, result, windows) is None
    np.testing.assert_array_equal(result, gradient(g))


def test_what_is_left_to_the_reference():
    assert avg_pool2d(np.zeros((1, 1, 4, 4)), PAIRS) is NotImplemented
    assert avg_pool2d(np.zeros((0, 1, 4, 4), np.float32), PAIRS) is NotImplemented
    assert avg_pool2d(np.zeros((1, 1, 1, 1), np.float32), PAIRS) is NotImplemented
