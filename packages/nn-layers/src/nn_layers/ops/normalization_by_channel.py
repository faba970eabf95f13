"""The kernels of normalization over the channels of images, (batch, channels, ...)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from nn_tensor.extend import RowKernel, accumulation_dtype, kernel

from nn_layers.ops.normalization_by_row import (
    mean_of_product,
    scale_and_shift_forward,
)

__all__ = [
    "batch_norm_backward",
    "batch_norm_forward",
    "batch_scale_backward",
    "batch_scale_forward",
    "vector_over_channels",
]

Array = Any

_BLOCK = 1024  # numbers that are added up in sequence

# A channel is the row of a kernel: AT(j) is the place of its element j among all of them.
_MAX_OF_A_CHANNEL = 1 << 31  # elements that 32 bits count, for divisions that take little time
_CHANNEL = """
    #define AT(j) (((unsigned)(j) / (unsigned)elements * rows + row) * elements \\
                   + (unsigned)(j) % (unsigned)elements)
"""


def vector_over_channels(vector: Any, ndim: int) -> Any:
    """Return a vector over the channels in a shape that broadcasts with `ndim` dimensions."""
    return vector.reshape(-1, *[1] * (ndim - 2)) if ndim > 2 else vector


def _as_planes(x: Array) -> Array:
    """Return contiguous (batch, channels, ...) with one dimension for all places."""
    return x.reshape(*x.shape[:2], math.prod(x.shape[2:])) if x.ndim > 3 else x


def _mean_of_channels(xp: Any, planes: Array) -> Array:
    """Return the mean of each channel, in a shape that broadcasts.

    Blocks of a plane are added up by `einsum`, in a fifth of the time of `sum`, and their sums in
    float64: the gradient of the weights multiplies the rounding error of the mean by the sum of all
    others.
    """
    count = max(1, planes.size // max(1, planes.shape[1]))
    if planes.ndim == 2:
        total = xp.sum(planes, 0, np.float64)
    else:
        *shape, size = planes.shape
        whole = size // _BLOCK * _BLOCK
        total = xp.sum(xp.einsum("ijk->ij", planes[:, :, whole:]), 0, np.float64)
        if whole:
            blocks = planes[:, :, :whole].reshape(*shape, size // _BLOCK, _BLOCK)
            total += xp.sum(xp.einsum("ijkl->ijk", blocks), (0, 2), np.float64)
    mean = (total / count).astype(planes.dtype)
    return vector_over_channels(mean, planes.ndim)


def _fits_cuda(x: Array, *arrays: Array) -> bool:
    count = x.size // max(1, x.shape[1])
    fits = 0 < count < _MAX_OF_A_CHANNEL and x.ndim > 2 and x.dtype.itemsize >= 4
    return fits and all(a.dtype == x.dtype for a in arrays)


@kernel
def batch_norm_forward(
    xp: Any, x: Array, weights: Array, bias: Array, epsilon: float
) -> tuple[Array, Array, Array, Array]:
    """Return the channels of `x` (batch, channels, ...) standardized, scaled and shifted.

    And vectors: mean, variance and the inverse of the standard deviation of the channels.
    """
    x = xp.ascontiguousarray(x)
    planes, out = _as_planes(x), xp.empty(x.shape, x.dtype)
    result, axes = _as_planes(out), (0, *range(2, planes.ndim))
    mean = _mean_of_channels(xp, planes)
    xp.subtract(planes, mean, out=result)
    variance = mean_of_product(xp, axes, result, result)
    inverse = 1 / xp.sqrt(variance + epsilon)
    result *= inverse * vector_over_channels(weights, planes.ndim)
    result += vector_over_channels(bias, planes.ndim)
    return out, mean.reshape(-1), variance.reshape(-1), inverse.reshape(-1)


batch_norm_forward.cpu("batch_norm")

_forward_on_cuda = RowKernel(
    "nn_layers_batch_norm_forward",
    "const T *x, const T *weights, const T *bias, T *out, T *means, T *variances, T *inverse, "
    "T epsilon, long long elements",
    _CHANNEL
    + """
    T mean = 0, square = 0;
    EACH(j) mean += x[AT(j)];
    mean = row_sum(mean) / count;
    EACH(j) square += (x[AT(j)] - mean) * (x[AT(j)] - mean);
    const T variance = row_sum(square) / count, scale = 1 / sqrt(variance + epsilon);
    const T factor = scale * weights[row], shift = bias[row];
    EACH(j) out[AT(j)] = (x[AT(j)] - mean) * factor + shift;
    if (threadIdx.x == 0) {
        means[row] = mean;
        variances[row] = variance;
        inverse[row] = scale;
    }
    """,
)


@batch_norm_forward.cuda
def _(
    cp: Any, x: Array, weights: Array, bias: Array, epsilon: float
) -> tuple[Array, Array, Array, Array]:
    if not _fits_cuda(x, weights, bias):
        return batch_norm_forward.reference(cp, x, weights, bias, epsilon)
    channels, count, elements = _sizes(x)
    arrays = [cp.ascontiguousarray(a) for a in (x, weights, bias)]
    out = cp.empty(x.shape, x.dtype)
    vectors = mean, variance, inverse = [cp.empty(channels, x.dtype) for _ in range(3)]
    arguments = *arrays, out, *vectors, float(epsilon), elements
    _forward_on_cuda(cp, x.dtype, channels, count, *arguments)
    return out, mean, variance, inverse


def _sizes(x: Array) -> tuple[int, int, int]:
    """Return the numbers of channels, of elements of each, and of elements of a plane."""
    channels = x.shape[1]
    return channels, x.size // channels, math.prod(x.shape[2:])


@kernel
def batch_norm_backward(
    xp: Any, g: Array, x: Array, mean: Array, inverse: Array, weights: Array
) -> tuple[Array, Array, Array]:
    """Return the gradients of `batch_norm_forward` for its input and its weights and bias."""
    g, x = xp.ascontiguousarray(g), xp.ascontiguousarray(x)
    out = xp.empty(x.shape, xp.result_type(g, x))
    planes, result = _as_planes(g), _as_planes(out)
    ndim, axes = planes.ndim, (0, *range(2, planes.ndim))
    count = max(1, x.size // max(1, x.shape[1]))
    xp.subtract(_as_planes(x), vector_over_channels(mean, ndim), out=result)
    shift = _mean_of_channels(xp, planes)
    slope = mean_of_product(xp, axes, planes, result)
    column = vector_over_channels(inverse, ndim)
    result *= -slope * column * column
    result += planes
    result -= shift
    result *= column * vector_over_channels(weights, ndim)
    return out, slope.reshape(-1) * inverse * count, shift.reshape(-1) * count


batch_norm_backward.cpu("batch_norm_gradient")

_backward_on_cuda = RowKernel(
    "nn_layers_batch_norm_backward",
    "const T *g, const T *x, const T *means, const T *inverse, const T *weights, T *out, "
    "T *for_weights, T *total, long long elements",
    _CHANNEL
    + """
    const T mean = means[row], scale = inverse[row], factor = scale * weights[row];
    T sum = 0, product = 0;
    EACH(j) {
        const T value = g[AT(j)];
        sum += value;
        product += value * (x[AT(j)] - mean);
    }
    sum = row_sum(sum);
    product = row_sum(product) * scale;
    const T shift = sum / count, slope = product / count * scale;
    EACH(j) out[AT(j)] = (g[AT(j)] - shift - (x[AT(j)] - mean) * slope) * factor;
    if (threadIdx.x == 0) {
        for_weights[row] = product;
        total[row] = sum;
    }
    """,
)


@batch_norm_backward.cuda
def _(
    cp: Any, g: Array, x: Array, mean: Array, inverse: Array, weights: Array
) -> tuple[Array, Array, Array]:
    if not _fits_cuda(g, x, mean, inverse, weights):
        return batch_norm_backward.reference(cp, g, x, mean, inverse, weights)
    channels, count, elements = _sizes(g)
    arrays = [cp.ascontiguousarray(a) for a in (g, x, mean, inverse, weights)]
    results = out, for_weights, total = [
        cp.empty(shape, g.dtype) for shape in (g.shape, channels, channels)
    ]
    _backward_on_cuda(cp, g.dtype, channels, count, *arrays, *results, elements)
    return out, for_weights, total


@kernel
def batch_scale_forward(xp: Any, x: Array, weights: Array, bias: Array) -> Array:
    """Return each channel of (batch, channels, ...) times its weight, plus its bias."""
    vectors = (vector_over_channels(vector, x.ndim) for vector in (weights, bias))
    return scale_and_shift_forward.reference(xp, x, *vectors)


batch_scale_forward.cpu("scale_channels")


@batch_scale_forward.cuda
def _(cp: Any, x: Array, weights: Array, bias: Array) -> Array:
    vectors = (vector_over_channels(vector, x.ndim) for vector in (weights, bias))
    return scale_and_shift_forward(cp, x, *vectors)


@kernel
def batch_scale_backward(xp: Any, g: Array, x: Array, weights: Array) -> tuple[Array, Array, Array]:
    """Return the gradients of `batch_scale_forward` for `x`, `weights` and bias."""
    wide, axes = accumulation_dtype(g.dtype), (0, *range(2, g.ndim))
    for_weights = xp.sum(xp.multiply(g, x, dtype=wide), axis=axes)
    for_x = g * vector_over_channels(weights, g.ndim)
    return for_x, for_weights, xp.sum(g, axis=axes, dtype=wide)


batch_scale_backward.cpu("scale_channels_gradient")

_scale_backward_on_cuda = RowKernel(
    "nn_layers_batch_scale_backward",
    "const T *g, const T *x, const T *weights, T *out, T *for_weights, T *total, "
    "long long elements",
    _CHANNEL
    + """
    T product = 0, sum = 0;
    EACH(j) {
        const T value = g[AT(j)];
        out[AT(j)] = value * weights[row];
        product += value * x[AT(j)];
        sum += value;
    }
    product = row_sum(product);
    sum = row_sum(sum);
    if (threadIdx.x == 0) {
        for_weights[row] = product;
        total[row] = sum;
    }
    """,
)


@batch_scale_backward.cuda
def _(cp: Any, g: Array, x: Array, weights: Array) -> tuple[Array, Array, Array]:
    if not _fits_cuda(g, x, weights):
        return batch_scale_backward.reference(cp, g, x, weights)
    channels, count, elements = _sizes(g)
    arrays = [cp.ascontiguousarray(a) for a in (g, x, weights)]
    results = out, for_weights, total = [
        cp.empty(shape, g.dtype) for shape in (g.shape, channels, channels)
    ]
    _scale_backward_on_cuda(cp, g.dtype, channels, count, *arrays, *results, elements)
    return out, for_weights, total
