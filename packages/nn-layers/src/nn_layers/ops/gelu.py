r"""The operations of GELU: :math:`x` times its gate, the normal distribution :math:`\Phi(x)`.

The references work block by block: each makes many passes over its arrays, and all but the first
find their data in the cache.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
from nn_tensor import Tensor, clip, erf, exp, tanh
from nn_tensor.extend import array_module, is_floating, kernel, op

__all__ = ["gelu", "gelu_backward", "gelu_forward", "gelu_gradient", "gelu_tanh"]

Array = Any

# In every floating dtype the gate is 0 or 1 long before this limit, which keeps 0 times infinity
# out of the results and powers of large numbers out of the gates.
_SATURATION = 40.0
_DENSITY = 1 / math.sqrt(2 * math.pi)
_BLOCK = 1 << 16  # in smaller ones the calls take time

# In float32 the gate is (1 + tanh(x R(x^2))) / 2: a minimax fit by reweighted least squares for
# |x| < 6, highest power first, with an error of at most 3e-8. Further out it is 0 or 1, as R grows.
_R = np.array(
    [
        1.7561754221159492e-09,
        -1.3226349246435247e-07,
        3.9647461499274316e-06,
        -5.53062021468001e-05,
        -3.259495784811218e-05,
        0.0363330845599493,
        0.797884941463096,
    ],
    np.float32,
)


@kernel
def gelu_forward(xp: Any, x: Array, out: Array, slopes: list[Array] | None) -> None:
    """Write `x` times its gate to `out`; `x` and `out` are vectors.

    An implementation whose `gelu_backward` reads the derivative appends it to `slopes`, as one
    vector, unless the list is None; other implementations recompute it, to save memory.
    """
    fill = _fill_gate_in_single if x.dtype == np.float32 else _fill_gate
    slope = None if slopes is None else xp.empty(x.shape, x.dtype)
    scratch = xp.empty((3, min(x.size, _BLOCK)), x.dtype)
    half, one, density, rest = map(xp.asarray, np.array([0.5, 1, _DENSITY, -0.5], x.dtype))
    for start in range(0, x.size, _BLOCK):
        block = slice(start, start + _BLOCK)
        given, target = x[block], out[block]
        clipped, square, gate = scratch[:, : given.size]
        if is_far := not (given.max() < _SATURATION and given.min() > -_SATURATION):
            xp.clip(given, -_SATURATION, _SATURATION, out=clipped)
        near = clipped if is_far else given
        xp.multiply(near, near, out=square)
        fill(xp, near, square, gate)
        gate += one
        gate *= half
        if slope is not None:
            square *= rest
            xp.exp(square, out=square)
            square *= near
            square *= density
            xp.add(square, gate, out=slope[block])
        if is_far:
            near = xp.clip(given, -_SATURATION, np.inf, out=clipped)
        xp.multiply(near, gate, out=target)
    if slopes is not None:
        slopes.append(slope)


def _fill_gate(xp: Any, x: Array, square: Array, gate: Array) -> None:
    """Write the gate times 2, minus 1: the error function of a multiple of `x`."""
    gate[...] = erf(xp.multiply(x, math.sqrt(0.5), out=gate))


def _fill_gate_in_single(xp: Any, x: Array, square: Array, gate: Array) -> None:
    highest, *others, lowest = map(xp.asarray, _R)  # NumPy takes arrays faster than numbers
    xp.multiply(square, highest, out=gate)
    for coefficient in others:
        gate += coefficient
        gate *= square
    gate += lowest
    gate *= x
    xp.tanh(gate, out=gate)


gelu_forward.cpu("gelu")


@gelu_forward.cuda
def _(cp: Any, x: Array, out: Array, slopes: list[Array] | None) -> None:
    _gelu_forward_on_cuda(cp)(x, out)


@functools.cache
def _gelu_forward_on_cuda(cp: Any) -> Any:
    # half precision is computed in float32; of NaN the result is NaN
    return cp.ElementwiseKernel(
        "T x",
        "T out",
        f"""
        typedef decltype(x * 1.0f) A;
        const A v = x, gate = A(0.5) * (1 + erf(v * A({math.sqrt(0.5)!r})));
        out = (v < A({-_SATURATION}) ? A({-_SATURATION}) : v) * gate;
        """,
        "nn_layers_gelu_forward",
    )


@op(keeps=("slope",))
def gelu(xp: Any, x: Any, /, keep_slope: bool = True) -> Any:
    """Return `x` times the probability that a standard normal variable is less than `x`.

    Args:
        keep_slope: whether the derivative may be kept for the gradient.
    """
    if not x.flags.c_contiguous:
        x = xp.ascontiguousarray(x)
    if not is_floating(x.dtype):
        x = x.astype(np.float64)
    out = xp.empty(x.shape, x.dtype)
    slopes: list[Array] | None = [] if keep_slope else None
    gelu_forward(xp, x.reshape(-1), out.reshape(-1), slopes)
    return out, slopes[0].reshape(x.shape) if slopes else None


@gelu.gradient("x")
def _(g: Any, x: Any, slope: Any) -> Any:
    return gelu_gradient(g, x) if isinstance(g, Tensor) else _gradient(g, x, slope)


@kernel
def gelu_backward(xp: Any, g: Array, x: Array, slope: Array | None, out: Array) -> None:
    """Write `g` times the derivative of `gelu` at `x` to `out`; all are vectors.

    The slope is that of the reference of `gelu_forward`, or None.
    """
    if slope is None:
        slopes: list[Array] = []
        gelu_forward.reference(xp, x, out, slopes)
        slope = slopes[0]
    xp.multiply(g, slope, out=out)


gelu_backward.cpu("gelu_gradient")


@gelu_backward.cuda
def _(cp: Any, g: Array, x: Array, slope: Array | None, out: Array) -> None:
    _gelu_backward_on_cuda(cp)(g, x, out)


@functools.cache
def _gelu_backward_on_cuda(cp: Any) -> Any:
    return cp.ElementwiseKernel(
        "T g, T x",
        "T out",
        f"""
        typedef decltype(x * 1.0f) A;
        A v = x;
        const A gate = A(0.5) * (1 + erf(v * A({math.sqrt(0.5)!r})));
        v = v < A({-_SATURATION}) ? A({-_SATURATION}) : v > A({_SATURATION}) ? A({_SATURATION}) : v;
        out = A(g) * (gate + v * exp(A(-0.5) * v * v) * A({_DENSITY!r}));
        """,
        "nn_layers_gelu_backward",
    )


def _gradient(g: Array, x: Array, slope: Array | None) -> Array:
    """Return `g` times the derivative of `gelu` at `x`."""
    xp = array_module(x)
    out = xp.empty(x.shape, x.dtype)
    x = xp.ascontiguousarray(x)  # at least a vector
    g = xp.ascontiguousarray(xp.broadcast_to(g, x.shape), dtype=x.dtype)
    vector = None if slope is None else xp.ascontiguousarray(slope).reshape(-1)
    gelu_backward(xp, g.reshape(-1), x.reshape(-1), vector, out.reshape(-1))
    return out


@op
def gelu_gradient(xp: Any, g: Any, x: Any, /) -> Any:
    r"""Return `g` times the derivative of `gelu`, :math:`\Phi(x) + x \varphi(x)`."""
    return _gradient(g, x, None)


@gelu_gradient.gradient("g")
def _(g: Any, x: Any) -> Any:
    return gelu_gradient(g, x)


@gelu_gradient.gradient("x")
def _(grad_output: Any, g: Any, x: Any) -> Any:
    x = clip(x, -_SATURATION, _SATURATION)
    return grad_output * g * ((2 - x * x) * exp(-0.5 * x * x) * _DENSITY)


_TANH_SCALE, _TANH_CUBIC = math.sqrt(2 / math.pi), 0.044715


def _tanh_gate(x: Any) -> Any:
    x = clip(x, -_SATURATION, _SATURATION)
    return 0.5 * (1 + tanh(_TANH_SCALE * x * (1 + _TANH_CUBIC * x * x)))


@op(keeps=("gate",))
def gelu_tanh(xp: Any, x: Any, /) -> Any:
    """Return `gelu` with its gate approximated by the hyperbolic tangent."""
    gate = _tanh_gate(x)
    return xp.maximum(x, -_SATURATION) * gate, gate


@gelu_tanh.kept
def _(x: Any) -> Any:
    return (_tanh_gate(x),)


@gelu_tanh.gradient("x")
def _(g: Any, x: Any, gate: Any) -> Any:
    x = clip(x, -_SATURATION, _SATURATION)
    derivative = 2 * _TANH_SCALE * (1 + 3 * _TANH_CUBIC * x * x)
    return g * gate * (1 + x * (1 - gate) * derivative)
