r"""The operations of GELU: :math:`x` times its gate, the normal distribution :math:`\Phi(x)`.

The references work block by block: each makes many passes over its arrays, and all but the first
find their data in the cache.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
from nn_tensor import clip, erf, exp, tanh
from nn_tensor.extend import kernel, op

__all__ = ["gelu", "gelu_backward", "gelu_forward", "gelu_gradient", "gelu_tanh"]

Array = Any

# In every floating dtype the gate is 0 or 1 long before this limit, which keeps 0 times infinity
# out of the results and powers of large numbers out of the gates.
_SATURATION = 40.0
_DENSITY = 1 / math.sqrt(2 * math.pi)
_BLOCK = 65536


def _single(*coefficients: float) -> tuple[np.float32, ...]:
    """Return coefficients with which a compiled loop of float32 stays in float32."""
    return tuple(map(np.float32, coefficients))


# In float32 the gate and the derivative are 0 or 1 beyond this limit. Within it the gate is
# (1 + tanh(x R(x^2))) / 2; where a loop is compiled, and nothing like tanh can be called from it,
# gate and derivative are 1/2 + x P(x^2) / Q(x^2). All fits are minimax, by reweighted least
# squares, highest power first; their errors are at most 3e-8 for the gates and 2e-7 for the
# derivative.
_SINGLE_LIMIT = np.float32(6)
_R = (
    1.7561754221159492e-09,
    -1.3226349246435247e-07,
    3.9647461499274316e-06,
    -5.53062021468001e-05,
    -3.259495784811218e-05,
    0.0363330845599493,
    0.797884941463096,
)
_P = _single(
    2.0155415520342597e-08,
    6.513719254539574e-06,
    0.00019914206217468318,
    0.004862868716976062,
    0.03687714477807259,
    0.3989421398183975,
)
_Q = _single(
    1.1331796220531121e-06,
    8.308121337926176e-05,
    0.002057420878532131,
    0.030376980224923224,
    0.2591017539431965,
    1,
)
_DERIVATIVE_P = _single(
    1.908800332482125e-07,
    3.585035018610428e-05,
    2.419718989819143e-05,
    0.01420911789895219,
    -0.030742767874347116,
    0.7978845250184029,
)
_DERIVATIVE_Q = _single(
    8.887320558659628e-06,
    0.00019352409357219295,
    0.0035287754019813727,
    0.04106493548415492,
    0.2948065100276621,
    1,
)


@kernel
def gelu_forward(xp: Any, x: Array, gate: Array, out: Array) -> None:
    """Write the gate of each element of `x` to `gate`, and `x` times its gate to `out`.

    All are vectors.
    """
    fill = _fill_gate_in_single if x.dtype == np.float32 else _fill_gate
    for start in range(0, x.size, _BLOCK):
        x_block, gate_block, out_block = (a[start : start + _BLOCK] for a in (x, gate, out))
        fill(xp, x_block, gate_block)
        xp.maximum(x_block, -_SATURATION, out=out_block)
        out_block *= gate_block


def _fill_gate(xp: Any, x: Array, gate: Array) -> None:
    gate[...] = erf(x * math.sqrt(0.5))
    gate += 1
    gate *= 0.5


def _fill_gate_in_single(xp: Any, x: Array, gate: Array) -> None:
    x = xp.clip(x, -_SINGLE_LIMIT, _SINGLE_LIMIT)
    square = x * x
    xp.multiply(square, _R[0], out=gate)
    for coefficient in _R[1:-1]:
        gate += coefficient
        gate *= square
    gate += _R[-1]
    gate *= x
    xp.tanh(gate, out=gate)
    gate += 1
    gate *= 0.5


@gelu_forward.cpu
def _(x, gate, out):  # type: ignore[no-untyped-def]
    if x.itemsize == 8:
        for i in range(x.size):
            gate[i] = 0.5 * (1 + math.erf(x[i] * math.sqrt(0.5)))
            out[i] = max(x[i], -_SATURATION) * gate[i]
        return
    zero, half, one = x.dtype.type(0), x.dtype.type(0.5), x.dtype.type(1)
    lowest = x.dtype.type(-_SATURATION)
    for i in range(x.size):
        v = x[i]
        t = v * v
        p = ((((_P[0] * t + _P[1]) * t + _P[2]) * t + _P[3]) * t + _P[4]) * t + _P[5]
        q = ((((_Q[0] * t + _Q[1]) * t + _Q[2]) * t + _Q[3]) * t + _Q[4]) * t + _Q[5]
        inside = half + v * p / q
        opened = zero if v < -_SINGLE_LIMIT else (one if v > _SINGLE_LIMIT else inside)
        gate[i] = opened
        out[i] = (lowest if v < lowest else v) * opened


@gelu_forward.cuda
def _(cp: Any, x: Array, gate: Array, out: Array) -> None:
    _gelu_forward_on_cuda(cp)(x, gate, out)


@functools.cache
def _gelu_forward_on_cuda(cp: Any) -> Any:
    # half precision is computed in float32; of NaN both results are NaN
    return cp.ElementwiseKernel(
        "T x",
        "T gate, T out",
        f"""
        typedef decltype(x * 1.0f) A;
        const A v = x, opened = A(0.5) * (1 + erf(v * A({math.sqrt(0.5)!r})));
        gate = opened;
        out = (v < A({-_SATURATION}) ? A({-_SATURATION}) : v) * opened;
        """,
        "nn_layers_gelu_forward",
    )


@op(keeps=("gate",))
def gelu(xp: Any, x: Any, /) -> Any:
    """Return `x` times the probability that a standard normal variable is less than `x`."""
    x = xp.ascontiguousarray(x).reshape(x.shape)
    if x.dtype.kind != "f":
        x = x.astype(np.float64)
    gate, out = xp.empty(x.shape, x.dtype), xp.empty(x.shape, x.dtype)
    gelu_forward(xp, x.reshape(-1), gate.reshape(-1), out.reshape(-1))
    return out, gate


@gelu.kept
def _(x: Any) -> Any:
    return (0.5 * (1 + erf(x * math.sqrt(0.5))),)


@gelu.gradient("x")
def _(g: Any, x: Any, gate: Any) -> Any:
    return gelu_gradient(g, x, gate)


@kernel
def gelu_backward(xp: Any, g: Array, x: Array, gate: Array, out: Array) -> None:
    """Write `g` times the derivative of `gelu` at `x` to `out`; all are vectors."""
    for start in range(0, x.size, _BLOCK):
        g_block, x_block, gate_block, block = (a[start : start + _BLOCK] for a in (g, x, gate, out))
        x_block = xp.clip(x_block, -_SATURATION, _SATURATION)
        xp.multiply(x_block, x_block, out=block)
        block *= -0.5
        xp.exp(block, out=block)
        block *= x_block
        block *= _DENSITY
        block += gate_block
        block *= g_block


@gelu_backward.cpu
def _(g, x, gate, out):  # type: ignore[no-untyped-def]
    if x.itemsize == 8:
        for i in range(x.size):
            v = min(max(x[i], -_SATURATION), _SATURATION)
            out[i] = g[i] * (gate[i] + v * math.exp(-0.5 * v * v) * _DENSITY)
        return
    zero, half, one = x.dtype.type(0), x.dtype.type(0.5), x.dtype.type(1)
    P, Q = _DERIVATIVE_P, _DERIVATIVE_Q
    for i in range(x.size):
        v = x[i]
        t = v * v
        p = ((((P[0] * t + P[1]) * t + P[2]) * t + P[3]) * t + P[4]) * t + P[5]
        q = ((((Q[0] * t + Q[1]) * t + Q[2]) * t + Q[3]) * t + Q[4]) * t + Q[5]
        inside = half + v * p / q
        out[i] = g[i] * (zero if v < -_SINGLE_LIMIT else (one if v > _SINGLE_LIMIT else inside))


@gelu_backward.cuda
def _(cp: Any, g: Array, x: Array, gate: Array, out: Array) -> None:
    _gelu_backward_on_cuda(cp)(g, x, gate, out)


@functools.cache
def _gelu_backward_on_cuda(cp: Any) -> Any:
    return cp.ElementwiseKernel(
        "T g, T x, T gate",
        "T out",
        f"""
        typedef decltype(x * 1.0f) A;
        A v = x;
        v = v < A({-_SATURATION}) ? A({-_SATURATION}) : v > A({_SATURATION}) ? A({_SATURATION}) : v;
        out = A(g) * (A(gate) + v * exp(A(-0.5) * v * v) * A({_DENSITY!r}));
        """,
        "nn_layers_gelu_backward",
    )


@op
def gelu_gradient(xp: Any, g: Any, x: Any, gate: Any, /) -> Any:
    r"""Return `g` times the derivative of `gelu`, :math:`\Phi(x) + x \varphi(x)`."""
    out = xp.empty(x.shape, x.dtype)
    vectors = [xp.ascontiguousarray(a).reshape(-1) for a in (xp.broadcast_to(g, x.shape), x, gate)]
    gelu_backward(xp, *vectors, out.reshape(-1))
    return out


@gelu_gradient.gradient("g")
def _(g: Any, x: Any, gate: Any) -> Any:
    return gelu_gradient(g, x, gate)


@gelu_gradient.gradient("x")
def _(grad_output: Any, g: Any, x: Any) -> Any:
    x = clip(x, -_SATURATION, _SATURATION)
    return grad_output * g * ((1 - x * x) * exp(-0.5 * x * x) * _DENSITY)


@gelu_gradient.gradient("gate")
def _(grad_output: Any, g: Any) -> Any:
    return grad_output * g


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
