"""The operations of normalization: `standardize` over any axes, and `scale_and_shift`.

Over the last axes, as layer normalization has them, and over the channels of images, as batch
normalization has them, compiled kernels make one pass over each row or channel.
"""

from __future__ import annotations

import functools
import math
from typing import Any

from nn_tensor import Tensor, square
from nn_tensor.extend import accumulation_dtype, array_module, kernel, op

from nn_layers.ops.normalization_by_channel import (
    batch_norm_backward,
    batch_norm_forward,
    batch_scale_backward,
    batch_scale_forward,
)
from nn_layers.ops.normalization_by_row import (
    layer_norm_backward,
    layer_norm_forward,
    mean_over,
    scale_and_shift_backward,
    scale_and_shift_forward,
)

__all__ = [
    "inverse_deviation",
    "moving_average",
    "moving_average_forward",
    "scale_and_shift",
    "standardize",
    "standardize_gradient",
]

Array = Any
Axes = tuple[int, ...]


def _as_rows(xp: Any, axes: Axes, *arrays: Array) -> list[Array] | None:
    """Return the arrays as matrices with a row for all of `axes`, if these are the last ones."""
    if axes != tuple(range(-len(axes), 0)) or not arrays[0].size:
        return None
    count = math.prod(arrays[0].shape[axis] for axis in axes)
    return [xp.ascontiguousarray(x).reshape(-1, count) for x in arrays]


def _are_of_channels(axes: Axes, x: Any) -> bool:
    """Return whether `axes` are all but that of the channels of images."""
    return x.ndim > 2 and x.size > 0 and axes == (0, *range(2, x.ndim))


def _ones_and_zeros(xp: Any, x: Any) -> tuple[Any, Any]:
    """Return the weights and the bias that do not change the channels."""
    return xp.ones(x.shape[1], x.dtype), xp.zeros(x.shape[1], x.dtype)


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
    elif center and _are_of_channels(axes, x):
        out, *statistics = batch_norm_forward(xp, x, *_ones_and_zeros(xp, x), epsilon)
        shape = 1, -1, *[1] * (x.ndim - 2)
        mean, variance, inverse = (vector.reshape(shape) for vector in statistics)
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
    deviation = x - mean_over(x, axes) if center else x
    return (mean_over(square(deviation), axes) + epsilon) ** -0.5


@standardize.gradient("x")
def _(g: Any, out: Any, inverse: Any, axes: Axes, center: bool) -> Any:
    return standardize_gradient(g, out, inverse, axes, center)


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
    elif center and _are_of_channels(axes, normal):
        ones, zeros = _ones_and_zeros(xp, normal)
        scale = inverse.reshape(-1).astype(wide, copy=False)
        result, *_ = batch_norm_backward(xp, g, normal, zeros, ones, scale)
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
    return -(scaled * mean_over(g * normal, axes) + g * mean_over(scaled * normal, axes))


@standardize_gradient.gradient("inverse")
def _(grad_output: Any, inverse: Any, out: Any) -> Any:
    return grad_output * out / inverse


@op
def scale_and_shift(xp: Any, x: Any, weights: Any, bias: Any, /) -> Any:
    """Return ``x * weights + bias``; the bias may be 0.0, and no other number.

    Raises:
        ValueError: if it is.
    """
    if isinstance(bias, float):
        if bias != 0.0:
            raise ValueError(f"bias: expected an array or 0.0, got {bias}")
        return x * weights
    if _is_per_channel(x, weights) and bias.shape == weights.shape:
        return batch_scale_forward(xp, x, weights.reshape(-1), bias.reshape(-1))
    return scale_and_shift_forward(xp, x, weights, bias)


def _is_per_channel(x: Any, weights: Any) -> bool:
    """Return whether there is a weight for each channel of images."""
    return x.ndim > 2 and x.size > 0 and weights.shape == (x.shape[1], *[1] * (x.ndim - 2))


@scale_and_shift.joint_gradient("x", "weights", "bias")
def _(g: Any, x: Any, weights: Any, bias_shape: tuple[int, ...]) -> Any:
    if (
        not isinstance(g, Tensor)
        and x.shape == g.shape
        and bias_shape == weights.shape
        and _is_per_channel(x, weights)
    ):
        xp = array_module(g)
        out, *sums = batch_scale_backward(xp, g, x, weights.reshape(-1))
        return out, *(vector.reshape(weights.shape) for vector in sums)
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


@op
def moving_average(xp: Any, value: Any, average: Any, /, momentum: float) -> Any:
    """Return ``average + momentum * (value - average)``, in the dtype of `average`.

    It is computed in the dtype of `value`.
    """
    return moving_average_forward(xp, value, average, momentum)


@moving_average.gradient("average")
def _(g: Any, momentum: float) -> Any:
    return g * (1 - momentum)


@moving_average.gradient("value")
def _(g: Any, momentum: float) -> Any:
    return g * momentum


@kernel
def moving_average_forward(xp: Any, value: Array, average: Array, momentum: float) -> Array:
    """Return a running statistic with a new value in it."""
    result = value * momentum + average.astype(value.dtype) * (1 - momentum)
    return result.astype(average.dtype, copy=False)


@moving_average_forward.cuda
def _(cp: Any, value: Array, average: Array, momentum: float) -> Array:
    return _moving_average_on_cuda(cp)(value, average, momentum, 1 - momentum)


@functools.cache
def _moving_average_on_cuda(cp: Any) -> Any:
    names = "V value, A average, V momentum, V rest", "A out"
    body = "out = A(value * momentum + V(average) * rest)"
    return cp.ElementwiseKernel(*names, body, "nn_layers_moving_average")
