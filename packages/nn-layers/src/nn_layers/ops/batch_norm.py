"""The operation of batch normalization with weights: `standardize` and `scale_and_shift` in one.

Both in one pass read and write less memory than one after the other. It keeps two numbers for each
channel, and the backward pass computes the standardized values again.
"""

from __future__ import annotations

from typing import Any

from nn_tensor import Tensor, sum
from nn_tensor.extend import accumulation_dtype, array_module, op

from nn_layers.ops.normalization import inverse_deviation, standardize_gradient
from nn_layers.ops.normalization_by_channel import (
    batch_norm_backward,
    batch_norm_forward,
    vector_over_channels,
)
from nn_layers.ops.normalization_by_row import mean_over

__all__ = ["batch_norm"]


def _axes(ndim: int) -> tuple[int, ...]:
    return (0, *range(2, ndim))


@op(keeps=("mean", "inverse"), precision="full")
def batch_norm(
    xp: Any,
    x: Any,
    weights: Any,
    bias: Any,
    /,
    epsilon: float,
    moments: list[Any] | None = None,
) -> Any:
    """Return the channels of `x` standardized, times their weights, plus their bias.

    Args:
        x: floating, ``(batch, channels, ...)``.
        weights: for each channel.
        bias: for each channel.
        epsilon: added to the variance.
        moments: a list to which the arrays of mean and variance of the channels are appended.

    Raises:
        ValueError: if weights or bias have other shapes.
    """
    if x.ndim < 2:
        raise ValueError(f"x: expected (batch, channels, ...), got the shape {x.shape}")
    for name, vector in (("weights", weights), ("bias", bias)):
        if vector.shape != x.shape[1:2]:
            raise ValueError(
                f"{name}: expected one for each of the {x.shape[1]} channels of x, "
                f"got the shape {vector.shape}"
            )
    dtype = xp.result_type(x, weights, bias)
    wide = accumulation_dtype(dtype) or dtype
    arrays = (a.astype(wide, copy=False) for a in (x, weights, bias))
    out, mean, variance, inverse = batch_norm_forward(xp, *arrays, epsilon)
    if moments is not None:
        moments += [mean, variance]
    return out.astype(dtype, copy=False), mean, inverse


@batch_norm.kept
def _(x: Any, epsilon: float) -> Any:
    axes = _axes(x.ndim)
    statistics = mean_over(x, axes), inverse_deviation(x, axes, epsilon, True)
    return tuple(vector.reshape(x.shape[1]) for vector in statistics)


@batch_norm.joint_gradient("x", "weights", "bias")
def _(g: Any, x: Any, mean: Any, inverse: Any, weights: Any) -> Any:
    if not isinstance(g, Tensor):
        xp, wide = array_module(g), mean.dtype
        if g.shape != x.shape:
            g = xp.broadcast_to(g, x.shape)
        arrays = (a.astype(wide, copy=False) for a in (g, x, mean, inverse, weights))
        return batch_norm_backward(xp, *arrays)
    axes, wide = _axes(x.ndim), accumulation_dtype(x.dtype)
    mean, inverse, weights = (vector_over_channels(v, x.ndim) for v in (mean, inverse, weights))
    normal = (x - mean) * inverse
    for_x = standardize_gradient(
        g * weights, normal, inverse.reshape(1, *inverse.shape), axes, True
    )
    return for_x, sum(g * normal, axes, wide), sum(g, axes, wide)
