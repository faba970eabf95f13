"""The operations of normalization: `standardize` over any axes, and `scale_and_shift`.

Over the last axes, as layer normalization has them, a compiled kernel makes one pass over each row.
"""

from __future__ import annotations

import functools
import math
import string
from typing import Any

import numpy as np
from nn_tensor import Tensor, square, sum
from nn_tensor.extend import RowKernel, accumulation_dtype, array_module, kernel, op

__all__ = [
    "batch_norm_backward",
    "batch_norm_forward",
    "batch_scale_backward",
    "batch_scale_forward",
    "inverse_deviation",
    "layer_norm_backward",
    "layer_norm_forward",
    "scale_and_shift",
    "scale_and_shift_backward",
    "scale_and_shift_forward",
    "standardize",
    "standardize_gradient",
]

Array = Any
Axes = tuple[int, ...]

_FEW = 4096


def _count(x: Any, axes: Axes) -> int:
    return max(1, math.prod(x.shape[axis] for axis in axes))


def _mean(x: Any, axes: Axes) -> Any:
    """Return the mean over `axes`, which stay with size 1, of half precision in float32.

    It is 0 over nothing.
    """
    return sum(x, axes, accumulation_dtype(x.dtype), keepdims=True) / _count(x, axes)


def _mean_of_product(xp: Any, axes: Axes, *factors: Array) -> Array:
    """Return the mean of the product of arrays: without its memory, and twice as fast as `sum`.

    It adds up in sequence, so a single array of many numbers is left to `sum`.
    """
    x = factors[0]
    if len(factors) == 1 and _count(x, axes) > _FEW:
        return _mean(x, axes)
    names = string.ascii_letters[: x.ndim]
    reduced = {names[axis] for axis in axes}
    kept = "".join(name for name in names if name not in reduced)
    total = xp.einsum(f"{','.join([names] * len(factors))}->{kept}", *factors)
    return xp.expand_dims(total, axes) / _count(x, axes)


def _as_rows(xp: Any, axes: Axes, *arrays: Array) -> list[Array] | None:
    """Return the arrays as matrices with a row for all of `axes`, if these are the last ones."""
    if axes != tuple(range(-len(axes), 0)) or not arrays[0].size:
        return None
    count = math.prod(arrays[0].shape[axis] for axis in axes)
    return [xp.ascontiguousarray(x).reshape(-1, count) for x in arrays]


def _planes(xp: Any, x: Array) -> Array:
    """Return (batch, channels, ...) as (batch, channels, elements)."""
    return xp.ascontiguousarray(x).reshape(*x.shape[:2], -1)


@kernel
def batch_norm_forward(xp: Any, x: Array, epsilon: float) -> tuple[Array, Array, Array, Array]:
    """Return `x` (batch, channels, elements) standardized, channel by channel, and vectors.

    These are the inverse of the standard deviation, the mean and the variance of the channels.
    """
    moments: list[Any] = []
    out, inverse = layer_norm_forward.reference(xp, x, epsilon, True, (0, 2), moments)
    return out, *(vector.reshape(-1) for vector in (inverse, *moments))


batch_norm_forward.cpu("standardize_channels")


@kernel
def batch_norm_backward(xp: Any, g: Array, normal: Array, inverse: Array) -> Array:
    """Return the gradient for `x`, from the first two results of `batch_norm_forward`."""
    return layer_norm_backward.reference(xp, g, normal, inverse[:, None], True, (0, 2))


batch_norm_backward.cpu("standardize_channels_gradient")


@kernel
def layer_norm_forward(
    xp: Any,
    x: Array,
    epsilon: float,
    center: bool,
    axes: Axes = (-1,),
    moments: list[Any] | None = None,
) -> tuple[Array, Array]:
    """Return `x` standardized, and the inverse of its standard deviation; see `standardize`.

    Only the reference takes other axes than the rows of a matrix.
    """
    mean = _mean_of_product(xp, axes, x) if center else None
    out = x - mean if center else x
    variance = _mean_of_product(xp, axes, out, out)
    inverse = 1 / xp.sqrt(variance + epsilon)
    out = xp.multiply(out, inverse, out=out if center else None)
    if moments is not None:
        moments += [mean, variance]
    return out, inverse


layer_norm_forward.cpu("layer_norm")


_forward_on_cuda = RowKernel(
    "nn_layers_layer_norm_forward",
    "const T *x, T *out, T *inverse, T epsilon, long long center",
    """
    x += row * count; out += row * count;
    T mean = 0, square = 0;
    if (center) {
        EACH(j) mean += x[j];
        mean = row_sum(mean) / count;
    }
    EACH(j) square += (x[j] - mean) * (x[j] - mean);
    const T scale = 1 / sqrt(row_sum(square) / count + epsilon);
    EACH(j) out[j] = (x[j] - mean) * scale;
    if (threadIdx.x == 0) inverse[row] = scale;
    """,
)


@layer_norm_forward.cuda
def _(cp: Any, x: Array, epsilon: float, center: bool) -> tuple[Array, Array]:
    out, inverse = cp.empty(x.shape, x.dtype), cp.empty((len(x), 1), x.dtype)
    _forward_on_cuda(cp, x.dtype, *x.shape, x, out, inverse, float(epsilon), int(center))
    return out, inverse


@op(keeps=("inverse",), precision="full")
def standardize(
    xp: Any,
    x: Any,
    /,
    axes: Axes,
    epsilon: float,
    center: bool = True,
    moments: list[Any] | None = None,
) -> Any:
    """Return `x` minus its mean over `axes`, divided by its standard deviation there.

    Args:
        x: floating values.
        axes: negative numbers for the last axes.
        epsilon: added to the variance.
        center: whether the mean is subtracted; without, it is taken as 0.
        moments: a list to which the arrays of mean and variance are appended.
    """
    dtype = x.dtype
    x = x.astype(accumulation_dtype(dtype) or dtype, copy=False)
    if moments is None and (rows := _as_rows(xp, axes, x)):
        out, inverse = layer_norm_forward(xp, *rows, epsilon, center)
        out = out.reshape(x.shape)
        inverse = inverse.reshape(*x.shape[: -len(axes)], *[1] * len(axes))
    elif center and x.size and axes == (0, *range(2, x.ndim)) and x.ndim > 2:
        out, *statistics = batch_norm_forward(xp, _planes(xp, x), epsilon)
        out, shape = out.reshape(x.shape), (1, -1, *[1] * (x.ndim - 2))
        inverse, mean, variance = (vector.reshape(shape) for vector in statistics)
        if moments is not None:
            moments += [mean, variance]
    else:
        out, inverse = layer_norm_forward.reference(xp, x, epsilon, center, axes, moments)
    return out.astype(dtype, copy=False), inverse


@standardize.kept
def _(x: Any, axes: Axes, epsilon: float, center: bool) -> Any:
    return (inverse_deviation(x, axes, epsilon, center),)


def inverse_deviation(x: Any, axes: Axes, epsilon: float, center: bool) -> Any:
    """Return the inverse of the standard deviation over `axes`, which stay with size 1."""
    deviation = x - _mean(x, axes) if center else x
    return (_mean(square(deviation), axes) + epsilon) ** -0.5


@standardize.gradient("x")
def _(g: Any, out: Any, inverse: Any, axes: Axes, center: bool) -> Any:
    return standardize_gradient(g, out, inverse, axes, center)


@kernel
def layer_norm_backward(
    xp: Any, g: Array, normal: Array, inverse: Array, center: bool, axes: Axes = (-1,)
) -> Array:
    """Return the gradient with respect to `x`, from the results of `layer_norm_forward`.

    Only the reference takes other axes than the rows of a matrix.
    """
    result = normal * _mean_of_product(xp, axes, g, normal)
    xp.subtract(g, result, out=result)
    if center:
        result -= _mean_of_product(xp, axes, g)
    result *= inverse
    return result


layer_norm_backward.cpu("layer_norm_gradient")


_backward_on_cuda = RowKernel(
    "nn_layers_layer_norm_backward",
    "const T *g, const T *normal, const T *inverse, T *out, long long center",
    """
    g += row * count; normal += row * count; out += row * count;
    T mean = 0, projection = 0;
    EACH(j) {
        mean += g[j];
        projection += g[j] * normal[j];
    }
    mean = center ? row_sum(mean) / count : 0;
    projection = row_sum(projection) / count;
    EACH(j) out[j] = (g[j] - mean - normal[j] * projection) * inverse[row];
    """,
)


@layer_norm_backward.cuda
def _(cp: Any, g: Array, normal: Array, inverse: Array, center: bool) -> Array:
    dtype = np.result_type(g, normal)
    wide = accumulation_dtype(dtype) or dtype
    arrays = (cp.ascontiguousarray(a, dtype=wide) for a in (g, normal, inverse))
    out = cp.empty(g.shape, wide)
    _backward_on_cuda(cp, wide, *g.shape, *arrays, out, int(center))
    return out.astype(dtype, copy=False)


@op
def standardize_gradient(
    xp: Any, g: Any, normal: Any, inverse: Any, /, axes: Axes, center: bool
) -> Any:
    """Return the gradient of `standardize`, from its output and the inverse that it keeps.

    That is `g` minus its mean and its projection on `normal`, times `inverse`.
    """
    dtype = xp.result_type(g, normal)
    wide = accumulation_dtype(dtype) or dtype
    g, normal = (a.astype(wide, copy=False) for a in (xp.broadcast_to(g, normal.shape), normal))
    if rows := _as_rows(xp, axes, g, normal):
        result = layer_norm_backward(xp, *rows, inverse.reshape(-1, 1), center)
        result = result.reshape(normal.shape)
    elif center and normal.size and axes == (0, *range(2, normal.ndim)) and normal.ndim > 2:
        planes = _planes(xp, g), _planes(xp, normal)
        result = batch_norm_backward(xp, *planes, inverse.reshape(-1)).reshape(normal.shape)
    else:
        result = layer_norm_backward.reference(xp, g, normal, inverse, center, axes)
    return result.astype(dtype, copy=False)


@standardize_gradient.gradient("g")
def _(g: Any, normal: Any, inverse: Any, axes: Axes, center: bool) -> Any:
    # for given `normal` and `inverse` it is linear and symmetric
    return standardize_gradient(g, normal, inverse, axes, center)


@standardize_gradient.gradient("normal")
def _(grad_output: Any, g: Any, normal: Any, inverse: Any, axes: Axes) -> Any:
    scaled = grad_output * inverse
    return -(scaled * _mean(g * normal, axes) + g * _mean(scaled * normal, axes))


@standardize_gradient.gradient("inverse")
def _(grad_output: Any, inverse: Any, out: Any) -> Any:
    return grad_output * out / inverse


@op
def scale_and_shift(xp: Any, x: Any, weights: Any, bias: Any, /) -> Any:
    """Return ``x * weights + bias``; the bias may be 0.0."""
    if isinstance(bias, float):
        return x * weights
    if _is_per_channel(x, weights) and bias.shape == weights.shape:
        out = batch_scale_forward(xp, _planes(xp, x), weights.reshape(-1), bias.reshape(-1))
        return out.reshape(x.shape)
    return scale_and_shift_forward(xp, x, weights, bias)


def _is_per_channel(x: Any, weights: Any) -> bool:
    """Return whether there is a weight for each channel of images."""
    return x.ndim > 2 and x.size > 0 and weights.shape == (x.shape[1], *[1] * (x.ndim - 2))


@kernel
def batch_scale_forward(xp: Any, x: Array, weights: Array, bias: Array) -> Array:
    """Return each channel of (batch, channels, elements) times its weight, plus its bias."""
    return scale_and_shift_forward.reference(xp, x, weights[:, None], bias[:, None])


batch_scale_forward.cpu("scale_channels")


@kernel
def batch_scale_backward(xp: Any, g: Array, x: Array, weights: Array) -> tuple[Array, Array, Array]:
    """Return the gradients of `batch_scale_forward` for `x`, `weights` and bias."""
    wide = accumulation_dtype(g.dtype)
    for_weights = xp.sum(xp.multiply(g, x, dtype=wide), axis=(0, 2))
    return g * weights[:, None], for_weights, xp.sum(g, axis=(0, 2), dtype=wide)


batch_scale_backward.cpu("scale_channels_gradient")


@scale_and_shift.joint_gradient("x", "weights", "bias")
def _(g: Any, x: Any, weights: Any, bias_shape: tuple[int, ...]) -> Any:
    if (
        not isinstance(g, Tensor)
        and x.shape == g.shape
        and bias_shape == weights.shape
        and _is_per_channel(x, weights)
    ):
        xp = array_module(g)
        out, *sums = batch_scale_backward(xp, _planes(xp, g), _planes(xp, x), weights.reshape(-1))
        return out.reshape(x.shape), *(vector.reshape(weights.shape) for vector in sums)
    rows = None
    if (
        not isinstance(g, Tensor)
        and x.shape == g.shape
        and g.shape[-weights.ndim :] == weights.shape
    ):
        rows = _as_rows(array_module(g), tuple(range(-weights.ndim, 0)), g, x)
    if rows is None:
        return g * weights, g * x, g
    for_x, for_weights, total = scale_and_shift_backward(
        array_module(g), *rows, weights if weights.ndim == 1 else weights.reshape(-1)
    )
    if weights.ndim != 1:  # a view would be copied, as nobody but its owner may keep an array
        for_weights, total = (a.reshape(weights.shape) for a in (for_weights, total))
    return for_x.reshape(x.shape), for_weights, total if bias_shape else total.sum()


@kernel
def scale_and_shift_forward(xp: Any, x: Array, weights: Array, bias: Array) -> Array:
    """Return ``x * weights + bias``."""
    out = x * weights
    return xp.add(out, bias, out=out if bias.dtype == out.dtype else None)


@scale_and_shift_forward.cuda
def _(cp: Any, x: Array, weights: Array, bias: Array) -> Array:
    if not x.dtype == weights.dtype == bias.dtype:
        return scale_and_shift_forward.reference(cp, x, weights, bias)
    return _scale_and_shift_on_cuda(cp)(x, weights, bias)


@functools.cache
def _scale_and_shift_on_cuda(cp: Any) -> Any:
    names = "T x, T weight, T bias", "T out"
    return cp.ElementwiseKernel(*names, "out = x * weight + bias", "nn_layers_scale_and_shift")


@kernel
def scale_and_shift_backward(
    xp: Any, g: Array, x: Array, weights: Array
) -> tuple[Array, Array, Array]:
    """Return for rows ``x * weights + bias`` the gradients of `x`, `weights` and bias."""
    wide = accumulation_dtype(g.dtype)
    return g * weights, xp.einsum("ij,ij->j", g, x, dtype=wide), g.sum(axis=0, dtype=wide)


scale_and_shift_backward.cpu("scale_rows_gradient")


# A block has 32 columns; its 8 rows of threads share the rows, and add up their sums in one order.
_COLUMNS, _THREADS, _ROWS_OF_A_BLOCK = 32, 8, 4096
_SCALE_BACKWARD = """
typedef {} T;
extern "C" __global__ void nn_layers_scale_and_shift_backward(
    const T *g, const T *x, const T *weights, T *out, T *for_weights, T *total, long long rows,
    long long count, long long rows_of_a_block) {{
    __shared__ T parts[2][8][32];
    const long long j = blockIdx.x * 32ll + threadIdx.x;
    const long long first = blockIdx.y * rows_of_a_block;
    const long long stop = min(rows, first + rows_of_a_block);
    T product = 0, sum = 0;
    if (j < count) {{
        for (long long row = first + threadIdx.y; row < stop; row += 8) {{
            const T value = g[row * count + j];
            out[row * count + j] = value * weights[j];
            product += value * x[row * count + j];
            sum += value;
        }}
    }}
    parts[0][threadIdx.y][threadIdx.x] = product;
    parts[1][threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y != 0 || j >= count) return;
    for (int i = 1; i < 8; ++i) {{
        product += parts[0][i][threadIdx.x];
        sum += parts[1][i][threadIdx.x];
    }}
    for_weights[blockIdx.y * count + j] = product;
    total[blockIdx.y * count + j] = sum;
}}
"""


@functools.cache
def _scale_backward_on_cuda(cp: Any, dtype: Any) -> Any:
    source = _SCALE_BACKWARD.format("double" if dtype.itemsize == 8 else "float")
    return cp.RawKernel(source, "nn_layers_scale_and_shift_backward")


@scale_and_shift_backward.cuda
def _(cp: Any, g: Array, x: Array, weights: Array) -> tuple[Array, Array, Array]:
    (rows, count), dtype = g.shape, g.dtype
    if dtype.itemsize < 4 or not dtype == x.dtype == weights.dtype:
        return scale_and_shift_backward.reference(cp, g, x, weights)
    height = max(1, -(-rows // _ROWS_OF_A_BLOCK))  # sums of no rows are 0
    out, weights = cp.empty(g.shape, dtype), cp.ascontiguousarray(weights)
    for_weights, total = (cp.empty(height * count, dtype) for _ in range(2))
    arguments = g, x, weights, out, for_weights, total, rows, count, _ROWS_OF_A_BLOCK
    grid, block = (-(-count // _COLUMNS), height), (_COLUMNS, _THREADS)
    _scale_backward_on_cuda(cp, dtype)(grid, block, arguments)
    if height > 1:
        for_weights, total = (a.reshape(height, count).sum(axis=0) for a in (for_weights, total))
    return out, for_weights, total
