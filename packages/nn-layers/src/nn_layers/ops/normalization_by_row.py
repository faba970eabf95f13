"""The kernels of normalization over the rows of matrices, with weights for the columns.

The references of `layer_norm_forward` and `layer_norm_backward` take any axes.
"""

from __future__ import annotations

import functools
import math
import string
from typing import Any

import numpy as np
from nn_tensor import sum
from nn_tensor.extend import RowKernel, accumulation_dtype, kernel

__all__ = [
    "layer_norm_backward",
    "layer_norm_forward",
    "mean_of_product",
    "mean_over",
    "scale_and_shift_backward",
    "scale_and_shift_forward",
]

Array = Any
Axes = tuple[int, ...]

_FEW = 4096


def _count(x: Any, axes: Axes) -> int:
    return max(1, math.prod(x.shape[axis] for axis in axes))


def mean_over(x: Any, axes: Axes) -> Any:
    """Return the mean over `axes`, which stay with size 1, of half precision in float32.

    It is 0 over nothing.
    """
    return sum(x, axes, accumulation_dtype(x.dtype), keepdims=True) / _count(x, axes)


def mean_of_product(xp: Any, axes: Axes, *factors: Array) -> Array:
    """Return the mean of the product of arrays: without its memory, and twice as fast as `sum`.

    It adds up in sequence, so a single array of many numbers is left to `sum`.
    """
    x = factors[0]
    if len(factors) == 1 and _count(x, axes) > _FEW:
        return mean_over(x, axes)
    names = string.ascii_letters[: x.ndim]
    reduced = {names[axis] for axis in axes}
    kept = "".join(name for name in names if name not in reduced)
    total = xp.einsum(f"{','.join([names] * len(factors))}->{kept}", *factors)
    return xp.expand_dims(total, axes) / _count(x, axes)


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
    mean = mean_of_product(xp, axes, x) if center else None
    out = x - mean if center else x
    variance = mean_of_product(xp, axes, out, out)
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


@kernel
def layer_norm_backward(
    xp: Any, g: Array, normal: Array, inverse: Array, center: bool, axes: Axes = (-1,)
) -> Array:
    """Return the gradient with respect to `x`, from the results of `layer_norm_forward`.

    Only the reference takes other axes than the rows of a matrix.
    """
    result = normal * mean_of_product(xp, axes, g, normal)
    xp.subtract(g, result, out=result)
    if center:
        result -= mean_of_product(xp, axes, g)
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
