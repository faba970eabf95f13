"""The operations of normalisation: `standardize` over any axes, and `scale_and_shift`.

Over the last axes, as `LayerNorm` has them, a compiled kernel makes one pass over each row.
"""

from __future__ import annotations

import math
import string
from typing import Any

import numpy as np
from nn_tensor import Tensor, square, sum
from nn_tensor.extend import array_module, kernel, op

__all__ = ["scale_and_shift", "standardize"]

Axes = tuple[int, ...]

_FEW = 4096


def _count(x: Any, axes: Axes) -> int:
    return max(1, math.prod(x.shape[axis] for axis in axes))


def _average(x: Any, axes: Axes) -> Any:
    """Return the mean over `axes`, which stay with length 1; 0 over nothing."""
    return sum(x, axes, True) / _count(x, axes)


def _average_of_product(xp: Any, axes: Axes, *factors: Any) -> Any:
    """Return the mean of the product of arrays: without its memory, and twice as fast as `sum`.

    It adds up one after the other, so a single array of many numbers is left to `sum`.
    """
    x = factors[0]
    if len(factors) == 1 and _count(x, axes) > _FEW:
        return _average(x, axes)
    names = string.ascii_letters[: x.ndim]
    reduced = {names[axis] for axis in axes}
    kept = "".join(name for name in names if name not in reduced)
    total = xp.einsum(f"{','.join([names] * len(factors))}->{kept}", *factors)
    return xp.expand_dims(total, axes) / _count(x, axes)


@op(keeps=("inverse",))
def standardize(
    xp: Any,
    x: Any,
    /,
    axes: Axes,
    epsilon: float,
    centre: bool = True,
    moments: list[Any] | None = None,
) -> Any:
    """Return `x` minus its mean over `axes`, divided by its standard deviation there.

    Without `centre` the mean is taken as 0. The list `moments` gets the mean and the variance.
    """
    if moments is None and (rows := _rows(xp, axes, x)):
        out, inverse = standardize_rows(xp, *rows, epsilon, centre)
        return out.reshape(x.shape), inverse.reshape(*x.shape[: -len(axes)], *[1] * len(axes))
    return _standardize(xp, x, axes, epsilon, centre, moments)


def _standardize(
    xp: Any, x: Any, axes: Axes, epsilon: float, centre: bool, moments: list[Any] | None = None
) -> Any:
    average = _average_of_product(xp, axes, x) if centre else None
    out = x - average if centre else x
    variance = _average_of_product(xp, axes, out, out)
    inverse = 1 / xp.sqrt(variance + epsilon)
    out = xp.multiply(out, inverse, out=out if centre else None)
    if moments is not None:
        moments += [average, variance]
    return out, inverse


def _rows(xp: Any, axes: Axes, *arrays: Any) -> list[Any] | None:
    """Return the arrays as matrices with a row for all of `axes`, if these are the last ones."""
    if axes != tuple(range(-len(axes), 0)) or not arrays[0].size:
        return None
    count = math.prod(arrays[0].shape[axis] for axis in axes)
    return [xp.ascontiguousarray(x).reshape(-1, count) for x in arrays]


@kernel
def standardize_rows(xp: Any, x: Any, epsilon: float, centre: bool) -> Any:
    """Return the rows of a matrix, standardized, and what they were multiplied with."""
    return _standardize(xp, x, (-1,), epsilon, centre)


@standardize_rows.cpu(reassociate=True)
def _(x, epsilon, centre):  # type: ignore[no-untyped-def]
    rows, count = x.shape
    zero, share = x.dtype.type(0), x.dtype.type(1 / count)
    epsilon = x.dtype.type(epsilon)
    out, inverse = np.empty_like(x), np.empty((rows, 1), x.dtype)
    for i in range(rows):
        average = zero
        if centre:
            for j in range(count):
                average += x[i, j]
            average *= share
        square = zero
        for j in range(count):
            deviation = x[i, j] - average
            square += deviation * deviation
        scale = x.dtype.type(1) / np.sqrt(square * share + epsilon)
        inverse[i, 0] = scale
        for j in range(count):
            out[i, j] = (x[i, j] - average) * scale
    return out, inverse


@standardize.gradient("x")
def _(g: Any, out: Any, inverse: Any, axes: Axes, centre: bool) -> Any:
    return _standardize_backward(g, out, inverse, axes, centre)


@standardize.kept
def _(x: Any, axes: Axes, epsilon: float, centre: bool) -> Any:
    deviation = x - _average(x, axes) if centre else x
    return ((_average(square(deviation), axes) + epsilon) ** -0.5,)


@op
def _standardize_backward(
    xp: Any, slope: Any, normal: Any, inverse: Any, /, axes: Axes, centre: bool
) -> Any:
    """Return `slope` less its share along the mean and along `normal`, times `inverse`."""
    if rows := _rows(xp, axes, xp.broadcast_to(slope, normal.shape), normal):
        return retract_rows(xp, *rows, inverse.reshape(-1, 1), centre).reshape(normal.shape)
    return _retract(xp, slope, normal, inverse, axes, centre)


def _retract(xp: Any, slope: Any, normal: Any, inverse: Any, axes: Axes, centre: bool) -> Any:
    result = normal * _average_of_product(xp, axes, slope, normal)
    xp.subtract(slope, result, out=result)
    if centre:
        result -= _average_of_product(xp, axes, slope)
    result *= inverse
    return result


@kernel
def retract_rows(xp: Any, slope: Any, normal: Any, inverse: Any, centre: bool) -> Any:
    """Do what `_standardize_backward` does, on the rows of matrices."""
    return _retract(xp, slope, normal, inverse, (-1,), centre)


@retract_rows.cpu(reassociate=True)
def _(slope, normal, inverse, centre):  # type: ignore[no-untyped-def]
    rows, count = slope.shape
    zero, share = slope.dtype.type(0), slope.dtype.type(1 / count)
    out = np.empty_like(slope)
    for i in range(rows):
        average, along = zero, zero
        for j in range(count):
            average += slope[i, j]
            along += slope[i, j] * normal[i, j]
        average = average * share if centre else zero
        along *= share
        scale = inverse[i, 0]
        for j in range(count):
            out[i, j] = (slope[i, j] - average - normal[i, j] * along) * scale
    return out


# For given `normal` and `inverse` it is linear in the slope, and its own transpose.


@_standardize_backward.gradient("slope")
def _(g: Any, normal: Any, inverse: Any, axes: Axes, centre: bool) -> Any:
    return _standardize_backward(g, normal, inverse, axes, centre)


@_standardize_backward.gradient("normal")
def _(g: Any, slope: Any, normal: Any, inverse: Any, axes: Axes) -> Any:
    scaled = g * inverse
    return -(scaled * _average(slope * normal, axes) + slope * _average(scaled * normal, axes))


@_standardize_backward.gradient("inverse")
def _(g: Any, inverse: Any, out: Any) -> Any:
    return g * out / inverse


@op
def scale_and_shift(xp: Any, x: Any, weights: Any, bias: Any, /) -> Any:
    """Return ``x * weights + bias``; the bias may be 0."""
    out = x * weights
    if isinstance(bias, float):
        return out
    return xp.add(out, bias, out=out if bias.dtype == out.dtype else None)


@scale_and_shift.joint_gradient("x", "weights", "bias")
def _(g: Any, x: Any, weights: Any, bias_shape: tuple[int, ...]) -> Any:
    last = tuple(range(-weights.ndim, 0))
    rows = None
    if (
        not isinstance(g, Tensor)
        and x.shape == g.shape
        and g.shape[-weights.ndim :] == weights.shape
    ):
        rows = _rows(array_module(g), last, g, x)
    if rows is None:
        return g * weights, g * x, g
    for_x, for_weights, total = scale_rows_backward(array_module(g), *rows, weights.reshape(-1))
    shaped = total.reshape(weights.shape) if bias_shape else total.sum()
    return for_x.reshape(x.shape), for_weights.reshape(weights.shape), shaped


@kernel
def scale_rows_backward(xp: Any, g: Any, x: Any, weights: Any) -> Any:
    """Return for rows ``x * weights + bias`` the gradients of `x`, `weights` and bias."""
    return g * weights, xp.einsum("ij,ij->j", g, x), g.sum(axis=0)


@scale_rows_backward.cpu(reassociate=True)
def _(g, x, weights):  # type: ignore[no-untyped-def]
    rows, count = g.shape
    out = np.empty_like(g)
    for_weights, total = np.zeros(count, g.dtype), np.zeros(count, g.dtype)
    for i in range(rows):
        for j in range(count):
            out[i, j] = g[i, j] * weights[j]
            for_weights[j] += g[i, j] * x[i, j]
            total[j] += g[i, j]
    return out, for_weights, total
