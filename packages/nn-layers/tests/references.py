"""What the operations of the layers compute, as formulas in NumPy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from nn_layers.ops.windows import Windows

Array = np.ndarray[Any, Any]


def normal_cdf(x: Array) -> Array:
    cdf = np.vectorize(lambda v: math.erfc(-v / math.sqrt(2)) / 2, otypes=[float])
    return cdf(x).astype(x.dtype)


def gelu(x: Array) -> Array:
    return x * normal_cdf(x)


def gelu_tanh(x: Array) -> Array:
    return x * (1 + np.tanh(math.sqrt(2 / np.pi) * (x + 0.044715 * x**3))) / 2


def gelu_gradient(g: Array, x: Array) -> Array:
    return g * (normal_cdf(x) + x * np.exp(-x * x / 2) / math.sqrt(2 * np.pi))


def silu(x: Array) -> Array:
    return x / (1 + np.exp(-x))


def leaky_relu(x: Array, alpha: float = 0.01) -> Array:
    return np.where(x > 0, x, alpha * x)


def elu(x: Array, alpha: float = 1.0) -> Array:
    return np.where(x > 0, x, alpha * np.expm1(x))


def softmax(x: Array, axis: int = -1) -> Array:
    return np.exp(x) / np.exp(x).sum(axis, keepdims=True)


def _windows_of(x: Array, windows: Windows, value: float = 0) -> tuple[Array, Array]:
    """Return the padded images, and a view of them: (n, c, rows, columns, kh, kw)."""
    top, bottom, left, right = windows.padding
    (kh, kw), (sh, sw), (dh, dw) = windows.kernel, windows.stride, windows.dilation
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=value)
    size = dh * (kh - 1) + 1, dw * (kw - 1) + 1
    view = np.lib.stride_tricks.sliding_window_view(padded, size, (2, 3), writeable=True)
    return padded, view[:, :, ::sh, ::sw, ::dh, ::dw]


def _fold(values: Array, size: tuple[int, int], windows: Windows) -> Array:
    """Add values of shape (n, c, rows, columns, kh, kw) up to images of `size`."""
    padded, view = _windows_of(np.zeros((*values.shape[:2], *size), values.dtype), windows)
    for i in range(windows.kernel[0]):
        for j in range(windows.kernel[1]):
            view[..., i, j] += values[..., i, j]
    return padded[(..., *windows.interior(size))]


def _groups(x: Array, groups: int, axis: int) -> Array:
    """Split the channels at `axis` into (groups, channels)."""
    shape = x.shape[axis] // groups
    return x.reshape(*x.shape[:axis], groups, shape, *x.shape[axis + 1 :])


def conv2d(x: Array, w: Array, bias: Any, windows: Windows, groups: int = 1) -> Array:
    view = _groups(_windows_of(x, windows)[1], groups, 1)
    out = np.einsum("ngcpqij,gocij->ngopq", view, _groups(w, groups, 0))
    out = out.reshape(len(x), len(w), *out.shape[3:])
    return out + np.reshape(np.asarray(bias, out.dtype), (-1, 1, 1))


def conv2d_input_gradient(
    values: Array, w: Array, size: tuple[int, int], windows: Windows, groups: int = 1
) -> Array:
    by_group = _groups(values, groups, 1)
    columns = np.einsum("ngopq,gocij->ngcpqij", by_group, _groups(w, groups, 0))
    channels = columns.shape[1] * columns.shape[2]
    return _fold(columns.reshape(len(values), channels, *columns.shape[3:]), size, windows)


def conv2d_weight_gradient(x: Array, values: Array, windows: Windows, groups: int = 1) -> Array:
    view = _groups(_windows_of(x, windows)[1], groups, 1)
    total = np.einsum("ngcpqij,ngopq->gocij", view, _groups(values, groups, 1))
    return total.reshape(-1, *total.shape[2:])


def max_pool2d(x: Array, windows: Windows) -> Array:
    return _windows_of(x, windows, -np.inf)[1].max((4, 5))


def conv2d_relu(x: Array, w: Array, bias: Any, windows: Windows, groups: int = 1) -> Array:
    return np.maximum(conv2d(x, w, bias, windows, groups), 0)


def conv2d_max_pool2d_relu(
    x: Array, w: Array, bias: Any, windows: Windows, pooled: Windows, groups: int = 1
) -> Array:
    return max_pool2d(conv2d_relu(x, w, bias, windows, groups), pooled)


def avg_pool2d(x: Array, windows: Windows) -> Array:
    return _windows_of(x, windows)[1].mean((4, 5))


def avg_pool2d_gradient(g: Array, size: tuple[int, int], windows: Windows) -> Array:
    shares = np.broadcast_to(g[..., None, None], (*g.shape, *windows.kernel))
    return _fold(shares / math.prod(windows.kernel), size, windows).astype(g.dtype)


def max_unpool2d(g: Array, index: Array, size: tuple[int, int], windows: Windows) -> Array:
    elements = np.arange(math.prod(windows.kernel)).reshape(windows.kernel)
    chosen = index[..., None, None] == elements
    return _fold(np.where(chosen, g[..., None, None], g.dtype.type(0)), size, windows)


def gather_by_window_index(x: Array, index: Array, windows: Windows) -> Array:
    view = _windows_of(x, windows)[1]
    elements = view.reshape(*view.shape[:4], math.prod(windows.kernel))
    return np.take_along_axis(elements, index[..., None].astype(int), -1)[..., 0]


def _mean(x: Array, axes: tuple[int, ...]) -> Array:
    """Return the mean over `axes`; that of nothing is 0."""
    count = max(1, math.prod(x.shape[axis] for axis in axes))
    return x.sum(axes, keepdims=True) / count


def standardize(x: Array, axes: tuple[int, ...], epsilon: float, center: bool = True) -> Array:
    deviation = x - _mean(x, axes) * center
    return deviation / np.sqrt(_mean(deviation**2, axes) + epsilon)


def standardize_and_scale(
    x: Array, weights: Array, bias: Any, epsilon: float, center: bool = True
) -> Array:
    axes = tuple(range(-weights.ndim, 0))
    return standardize(x, axes, epsilon, center) * weights + bias


def batch_norm(x: Array, weights: Array, bias: Array, epsilon: float) -> Array:
    normal = standardize(x, (0, *range(2, x.ndim)), epsilon)
    return normal * channels(weights, x.ndim) + channels(bias, x.ndim)


def standardize_gradient(
    g: Array, normal: Array, inverse: Array, axes: tuple[int, ...], center: bool
) -> Array:
    return (g - _mean(g, axes) * center - normal * _mean(g * normal, axes)) * inverse


def channels(vector: Array, ndim: int) -> Array:
    """Return a vector over the channels that broadcasts over images of `ndim` dimensions."""
    return vector.reshape(-1, *[1] * (ndim - 2))
