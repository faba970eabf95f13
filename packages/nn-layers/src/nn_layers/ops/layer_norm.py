"""The operation of layer normalization with weights: `standardize` and `scale_and_shift` in one.

Both in one pass over each row read and write less memory than one after the other.
"""

from __future__ import annotations

import contextlib
import math
from typing import Any

import numpy as np
from nn_tensor import Tensor
from nn_tensor.extend import (
    accumulation_dtype,
    array_module,
    empty_aligned,
    kernel,
    op,
    small_buffers,
)

from nn_layers.ops.normalization import inverse_deviation, standardize, standardize_gradient
from nn_layers.ops.normalization_by_row import (
    layer_norm_backward,
    layer_norm_forward,
    mean_of_product,
    scale_and_shift_backward,
    scale_and_shift_forward,
)

__all__ = [
    "standardize_and_scale",
    "standardize_and_scale_backward",
    "standardize_and_scale_forward",
]

Array = Any

# Elements. In smaller blocks the calls take time; of short rows they save nothing up to the second.
_BLOCK, _NEAR = 1 << 16, 1 << 19
_LONG = 2048, 16384  # bytes of rows that NumPy does better not copy into buffers


@op(keeps=("normal", "inverse"), precision="full")
def standardize_and_scale(
    xp: Any, x: Any, weights: Any, bias: Any, /, epsilon: float, center: bool = True
) -> Any:
    """Return `x` standardized over the axes of the weights, times these, plus the bias.

    Args:
        x: floating, ``(..., *weights.shape)``.
        weights: for each place in the last axes.
        bias: the bias, in the shape of the weights, or 0.0.
        epsilon: added to the variance.
        center: whether the mean is subtracted; without, it is taken as 0.

    Raises:
        ValueError: if weights or bias have other shapes.
    """
    split = x.ndim - weights.ndim
    if x.shape[split:] != weights.shape:
        raise ValueError(
            f"weights: expected the shape of the last axes of x, {x.shape}, got {weights.shape}"
        )
    if bias != 0.0 if isinstance(bias, float) else bias.shape != weights.shape:
        got = bias if isinstance(bias, float) else bias.shape
        raise ValueError(
            f"bias: expected the shape of the weights, {weights.shape}, or 0.0, got {got}"
        )
    dtype, shift = x.dtype, None if isinstance(bias, float) else bias
    if weights.dtype != dtype or (shift is not None and shift.dtype != dtype):
        dtype = xp.result_type(x, weights, *([] if shift is None else [shift]))
    wide = accumulation_dtype(x.dtype)
    rows = _rows(xp, x if wide is None else x.astype(wide), weights.ndim)
    scale = weights
    if weights.ndim != 1:
        scale, shift = weights.reshape(-1), None if shift is None else shift.reshape(-1)
    out, normal, inverse = standardize_and_scale_forward(xp, rows, scale, shift, epsilon, center)
    if x.shape != rows.shape:
        out, normal = out.reshape(x.shape), normal.reshape(x.shape)
        inverse = inverse.reshape(*x.shape[:split], *[1] * weights.ndim)
    return out if out.dtype == dtype else out.astype(dtype), normal, inverse


def _rows(xp: Any, x: Array, ndim: int) -> Array:
    """Return `x` as a matrix with a row for all of its last axes."""
    split = x.ndim - ndim
    return xp.ascontiguousarray(x).reshape(math.prod(x.shape[:split]), math.prod(x.shape[split:]))


@standardize_and_scale.kept
def _(x: Any, weights_shape: tuple[int, ...], epsilon: float, center: bool) -> Any:
    axes = tuple(range(-len(weights_shape), 0))
    inverse = inverse_deviation(x, axes, epsilon, center)
    return standardize(x, axes, epsilon, center), inverse


@standardize_and_scale.joint_gradient("x", "weights", "bias")
def _(
    g: Any, normal: Any, inverse: Any, weights: Any, bias_shape: tuple[int, ...], center: bool
) -> Any:
    if isinstance(g, Tensor):
        axes = tuple(range(-weights.ndim, 0))
        return standardize_gradient(g * weights, normal, inverse, axes, center), g * normal, g
    xp, shape = array_module(g), normal.shape
    if g.shape != shape:
        g = xp.broadcast_to(g, shape)
    g = g.astype(normal.dtype, copy=False)
    rows = [_rows(xp, a, weights.ndim) for a in (g, normal)]
    arguments = *rows, inverse.reshape(-1, 1), weights.reshape(-1), center
    for_x, *sums = standardize_and_scale_backward(xp, *arguments)
    if weights.ndim != 1:  # a view would be copied, as nobody but its owner may keep an array
        sums = [total.reshape(weights.shape) for total in sums]
    if for_x.shape != shape:
        for_x = for_x.reshape(shape)
    return for_x, sums[0], sums[1] if bias_shape else None


@kernel
def standardize_and_scale_forward(
    xp: Any, x: Array, weights: Array, bias: Array | None, epsilon: float, center: bool
) -> tuple[Array, Array, Array]:
    """Return rows standardized, scaled and shifted; and the results of `layer_norm_forward`."""
    given = weights, bias, epsilon, center
    if not (blocks := _blocks(xp, x, weights, bias)):
        return _forward(xp, x, *given)
    dtypes = [a.dtype for a in (x, weights, bias) if a is not None]
    arrays = np.empty(x.shape, np.result_type(*dtypes)), np.empty_like(x)
    with _buffers(x, weights, bias):
        inverses = [_forward(xp, x[rows], *given, *(a[rows] for a in arrays))[2] for rows in blocks]
    return *arrays, np.concatenate(inverses)


def _are_long(x: Array, *others: Array | None) -> bool:
    """Return whether the rows are long, and nothing is converted to another dtype."""
    if not _LONG[0] <= x.shape[1] * x.itemsize <= _LONG[1]:
        return False
    return all(a is None or a.dtype == x.dtype for a in others)


def _buffers(*arrays: Array | None) -> Any:
    return small_buffers() if _are_long(*arrays) else contextlib.nullcontext()


def _blocks(xp: Any, x: Array, *others: Array | None) -> list[slice]:
    """Return rows that NumPy passes over together, so that all passes but the first find them near.

    None of a matrix that is near as a whole.
    """
    if xp is not np or x.size <= _BLOCK:
        return []
    size = _BLOCK
    if not _are_long(x, *others):
        if x.size <= _NEAR:
            return []
        size *= 2
    height = max(1, size // x.shape[1])
    return [slice(start, start + height) for start in range(0, len(x), height)]


def _forward(
    xp: Any,
    x: Array,
    weights: Array,
    bias: Array | None,
    epsilon: float,
    center: bool,
    out: Array | None = None,
    normal: Array | None = None,
) -> tuple[Array, Array, Array]:
    """Return the results for some rows; with `out` and `normal`, two are written there."""
    if center:
        x = normal = xp.subtract(x, mean_of_product(xp, (-1,), x), out=normal)
    inverse = 1 / xp.sqrt(mean_of_product(xp, (-1,), x, x) + epsilon)
    normal = xp.multiply(x, inverse, out=normal)
    result = xp.multiply(normal, weights, out=out)
    if bias is not None:
        result = xp.add(result, bias, out=result if bias.dtype == result.dtype else out)
    return result, normal, inverse


standardize_and_scale_forward.cpu("scaled_layer_norm")


@standardize_and_scale_forward.cuda
def _(cp: Any, x: Array, weights: Array, bias: Array | None, epsilon: float, center: bool) -> Any:
    normal, inverse = layer_norm_forward(cp, x, epsilon, center)
    out = normal * weights if bias is None else scale_and_shift_forward(cp, normal, weights, bias)
    return out, normal, inverse


@kernel
def standardize_and_scale_backward(
    xp: Any, g: Array, normal: Array, inverse: Array, weights: Array, center: bool
) -> tuple[Array, Array, Array]:
    """Return the gradients of `standardize_and_scale_forward` for `x`, `weights` and bias."""
    column = weights.astype(g.dtype, copy=False)[:, None] / max(1, weights.size)
    arrays = g, normal, inverse, weights
    if not (blocks := _blocks(xp, *arrays)):
        return _backward(xp, *arrays, column, center)
    result = np.empty(g.shape, np.result_type(g, weights))
    block = g[blocks[0]].shape
    products, parts = empty_aligned(block, g.dtype), empty_aligned(block, result.dtype)
    for_weights = total = 0
    with _buffers(*arrays):
        for rows in blocks:
            given = g[rows], normal[rows], inverse[rows], weights, column, center
            count = len(given[0])
            _, *sums = _backward(xp, *given, result[rows], products[:count], parts[:count])
            for_weights, total = for_weights + sums[0], total + sums[1]
    return result, for_weights, total


def _backward(
    xp: Any,
    g: Array,
    normal: Array,
    inverse: Array,
    weights: Array,
    column: Array,
    center: bool,
    out: Array | None = None,
    products: Array | None = None,
    parts: Array | None = None,
) -> tuple[Array, Array, Array]:
    """Return the gradients for some rows; with `out`, the first one is written there.

    Into `products` and `parts` is written what is computed on the way.
    """
    # sums and means are products with a vector, which takes less time than sums over an axis
    ones = xp.ones(len(g), g.dtype)
    products = xp.multiply(g, normal, out=products)
    for_weights, total = ones @ products, ones @ g
    shift = xp.multiply(normal, products @ column, out=products)
    if center:
        shift += g @ column
    parts = xp.multiply(g, weights, out=parts)
    parts -= shift
    out = xp.multiply(parts, inverse, out=parts if out is None else out)
    return out, for_weights, total


standardize_and_scale_backward.cpu("scaled_layer_norm_gradient")


@standardize_and_scale_backward.cuda
def _(cp: Any, g: Array, normal: Array, inverse: Array, weights: Array, center: bool) -> Any:
    for_normal, *sums = scale_and_shift_backward(cp, g, normal, weights)
    return layer_norm_backward(cp, for_normal, normal, inverse, center), *sums
