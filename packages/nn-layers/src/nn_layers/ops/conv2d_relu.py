"""Convolution followed by ReLU, and by max-pooling between them, as one operation.

nn-kernels bounds and pools the outputs while they are in the cache: neither is a pass over memory,
and the outputs of a convolution that are pooled are never written. Results and gradients are those
of the operations one after the other.
"""

from __future__ import annotations

from typing import Any

from nn_tensor import relu
from nn_tensor.extend import kernel, op, relu_gradient

from nn_layers.ops.conv2d import (
    conv2d_bias_gradient,
    conv2d_forward,
    conv2d_input_gradient,
    conv2d_weight_gradient,
)
from nn_layers.ops.pooling import max_pool2d_forward, max_unpool2d
from nn_layers.ops.windows import Windows

__all__ = [
    "conv2d_max_pool2d_relu",
    "conv2d_max_pool2d_relu_forward",
    "conv2d_relu",
    "conv2d_relu_forward",
]

Array = Any


@kernel
def conv2d_relu_forward(
    xp: Any, x: Array, w: Array, bias: Array | float, windows: Windows, groups: int
) -> Array:
    """Return ReLU of the convolution of `x` with `w`."""
    return relu(conv2d_forward(xp, x, w, bias, windows, groups))


conv2d_relu_forward.cpu("conv2d_relu")


@op(precision="low")
def conv2d_relu(xp: Any, x: Any, w: Any, bias: Any, /, windows: Windows, groups: int = 1) -> Any:
    """Return ReLU of `conv2d`, which has the same arguments."""
    return conv2d_relu_forward(xp, x, w, bias, windows, groups)


@conv2d_relu.joint_gradient("x", "w", "bias")
def _(
    g: Any, x: Any, w: Any, out: Any, windows: Windows, groups: int, wanted: tuple[bool, ...]
) -> Any:
    return _conv2d_gradients(relu_gradient(g, out), x, w, windows, groups, wanted)


def _conv2d_gradients(
    g: Any, x: Any, w: Any, windows: Windows, groups: int, wanted: tuple[bool, ...]
) -> tuple[Any, Any, Any]:
    """Return those gradients of `conv2d` that are wanted."""
    for_x, for_w, for_bias = wanted
    size = x.shape[2], x.shape[3]
    return (
        conv2d_input_gradient(g, w, size, windows, groups) if for_x else None,
        conv2d_weight_gradient(x, g, windows, groups) if for_w else None,
        conv2d_bias_gradient(g) if for_bias else None,
    )


@kernel
def conv2d_max_pool2d_relu_forward(
    xp: Any,
    x: Array,
    w: Array,
    bias: Array | float,
    windows: Windows,
    groups: int,
    pooled: Windows,
) -> tuple[Array, Array]:
    """Return ReLU of the maxima of the convolution of `x` with `w`, and their indices."""
    values = xp.ascontiguousarray(conv2d_forward(xp, x, w, bias, windows, groups))
    best, index = max_pool2d_forward(xp, values, pooled)
    return relu(best), index


conv2d_max_pool2d_relu_forward.cpu("conv2d_max_pool2d_relu")


@op(keeps=("index",), precision="low")
def conv2d_max_pool2d_relu(
    xp: Any, x: Any, w: Any, bias: Any, /, windows: Windows, pooled: Windows, groups: int = 1
) -> Any:
    """Return ReLU of the maxima of `conv2d` in windows, which are the maxima of its ReLU.

    Args:
        x: images, ``(batch, in_channels, height, width)``.
        w: weights, ``(out_channels, in_channels / groups, kernel height, kernel width)``.
        bias: ``(out_channels,)``, or 0.0.
        windows: the windows of the convolution.
        pooled: the windows of the maxima.
        groups: the number of groups of channels.
    """
    return conv2d_max_pool2d_relu_forward(xp, x, w, bias, windows, groups, pooled)


@conv2d_max_pool2d_relu.joint_gradient("x", "w", "bias")
def _(
    g: Any,
    x: Any,
    w: Any,
    out: Any,
    index: Any,
    windows: Windows,
    pooled: Windows,
    groups: int,
    wanted: tuple[bool, ...],
) -> Any:
    size = windows.output_size((x.shape[2], x.shape[3]))
    g = max_unpool2d(relu_gradient(g, out), index, size, pooled)
    return _conv2d_gradients(g, x, w, windows, groups, wanted)
