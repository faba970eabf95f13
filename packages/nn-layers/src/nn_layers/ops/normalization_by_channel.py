"""The kernels of normalization over the channels of images, (batch, channels, elements)."""

from __future__ import annotations

from typing import Any

import numpy as np
from nn_tensor.extend import RowKernel, accumulation_dtype, kernel

from nn_layers.ops.normalization_by_row import (
    layer_norm_backward,
    layer_norm_forward,
    scale_and_shift_forward,
)

__all__ = [
    "batch_norm_backward",
    "batch_norm_forward",
    "batch_scale_backward",
    "batch_scale_forward",
]

Array = Any

# A channel is the row of a kernel: AT(j) is the place of its element j among all of them.
_MAX_OF_A_CHANNEL = 1 << 31  # elements that 32 bits count, for divisions that take little time
_CHANNEL = """
    #define AT(j) (((unsigned)(j) / (unsigned)elements * rows + row) * elements \\
                   + (unsigned)(j) % (unsigned)elements)
"""


@kernel
def batch_norm_forward(xp: Any, x: Array, epsilon: float) -> tuple[Array, Array, Array, Array]:
    """Return `x` (batch, channels, elements) standardized, channel by channel, and vectors.

    These are the inverse of the standard deviation, the mean and the variance of the channels.
    """
    moments: list[Any] = []
    out, inverse = layer_norm_forward.reference(xp, x, epsilon, True, (0, 2), moments)
    return out, *(vector.reshape(-1) for vector in (inverse, *moments))


batch_norm_forward.cpu("standardize_channels")

_batch_norm_on_cuda = RowKernel(
    "nn_layers_batch_norm_forward",
    "const T *x, T *out, T *inverse, T *means, T *variances, T epsilon, long long elements",
    _CHANNEL
    + """
    T mean = 0, square = 0;
    EACH(j) mean += x[AT(j)];
    mean = row_sum(mean) / count;
    EACH(j) square += (x[AT(j)] - mean) * (x[AT(j)] - mean);
    const T variance = row_sum(square) / count, scale = 1 / sqrt(variance + epsilon);
    EACH(j) out[AT(j)] = (x[AT(j)] - mean) * scale;
    if (threadIdx.x == 0) {
        inverse[row] = scale;
        means[row] = mean;
        variances[row] = variance;
    }
    """,
)


@batch_norm_forward.cuda
def _(cp: Any, x: Array, epsilon: float) -> tuple[Array, Array, Array, Array]:
    batch, channels, elements = x.shape
    if batch * elements >= _MAX_OF_A_CHANNEL:
        return batch_norm_forward.reference(cp, x, epsilon)
    out, x = cp.empty(x.shape, x.dtype), cp.ascontiguousarray(x)
    vectors = inverse, mean, variance = [cp.empty(channels, x.dtype) for _ in range(3)]
    arguments = x, out, *vectors, float(epsilon), elements
    _batch_norm_on_cuda(cp, x.dtype, channels, batch * elements, *arguments)
    return out, inverse, mean, variance


@kernel
def batch_norm_backward(xp: Any, g: Array, normal: Array, inverse: Array) -> Array:
    """Return the gradient for `x`, from the first two results of `batch_norm_forward`."""
    return layer_norm_backward.reference(xp, g, normal, inverse[:, None], True, (0, 2))


batch_norm_backward.cpu("standardize_channels_gradient")

_batch_norm_backward_on_cuda = RowKernel(
    "nn_layers_batch_norm_backward",
    "const T *g, const T *normal, const T *inverse, T *out, long long elements",
    _CHANNEL
    + """
    T mean = 0, projection = 0;
    EACH(j) {
        const T value = g[AT(j)];
        mean += value;
        projection += value * normal[AT(j)];
    }
    mean = row_sum(mean) / count;
    projection = row_sum(projection) / count;
    EACH(j) out[AT(j)] = (g[AT(j)] - mean - normal[AT(j)] * projection) * inverse[row];
    """,
)


@batch_norm_backward.cuda
def _(cp: Any, g: Array, normal: Array, inverse: Array) -> Array:
    batch, channels, elements = g.shape
    dtype = np.result_type(g, normal)
    if dtype.itemsize < 4 or batch * elements >= _MAX_OF_A_CHANNEL:
        return batch_norm_backward.reference(cp, g, normal, inverse)
    arrays = (cp.ascontiguousarray(a, dtype=dtype) for a in (g, normal, inverse))
    out = cp.empty(g.shape, dtype)
    _batch_norm_backward_on_cuda(cp, dtype, channels, batch * elements, *arrays, out, elements)
    return out


@kernel
def batch_scale_forward(xp: Any, x: Array, weights: Array, bias: Array) -> Array:
    """Return each channel of (batch, channels, elements) times its weight, plus its bias."""
    return scale_and_shift_forward.reference(xp, x, weights[:, None], bias[:, None])


batch_scale_forward.cpu("scale_channels")


@batch_scale_forward.cuda
def _(cp: Any, x: Array, weights: Array, bias: Array) -> Array:
    return scale_and_shift_forward(cp, x, weights[:, None], bias[:, None])


@kernel
def batch_scale_backward(xp: Any, g: Array, x: Array, weights: Array) -> tuple[Array, Array, Array]:
    """Return the gradients of `batch_scale_forward` for `x`, `weights` and bias."""
    wide = accumulation_dtype(g.dtype)
    for_weights = xp.sum(xp.multiply(g, x, dtype=wide), axis=(0, 2))
    return g * weights[:, None], for_weights, xp.sum(g, axis=(0, 2), dtype=wide)


batch_scale_backward.cpu("scale_channels_gradient")

_batch_scale_backward_on_cuda = RowKernel(
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
    (batch, channels, elements), dtype = g.shape, g.dtype
    is_plain = dtype.itemsize >= 4 and dtype == x.dtype == weights.dtype
    if not is_plain or batch * elements >= _MAX_OF_A_CHANNEL:
        return batch_scale_backward.reference(cp, g, x, weights)
    arrays = (cp.ascontiguousarray(a) for a in (g, x, weights))
    out, for_weights, total = (cp.empty(shape, dtype) for shape in (g.shape, channels, channels))
    arguments = *arrays, out, for_weights, total, elements
    _batch_scale_backward_on_cuda(cp, dtype, channels, batch * elements, *arguments)
    return out, for_weights, total
