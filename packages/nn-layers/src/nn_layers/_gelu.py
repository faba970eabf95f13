r"""The operation of GELU: :math:`x` times the gate :math:`\Phi(x)`, block by block.

Both directions make many passes over their arrays; piece by piece, all but the first find their
data in the cache.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from nn_tensor import clip, erf, exp
from nn_tensor.extend import kernel, op

__all__ = ["FAR", "gelu"]

Array = Any

# The gate is 0 or 1 as far as floats go long before this limit, which keeps 0 times infinity out of
# the results and powers of large numbers out of the gates.
FAR = 40.0
_DENSITY = 1 / math.sqrt(2 * math.pi)
_BLOCK = 65536

# In float32 the gate and the slope are 0 or 1 beyond this limit. Within it the gate is
# (1 + tanh(x R(x^2))) / 2; where a loop is compiled, and nothing like tanh can be called from it,
# gate and slope are 1/2 + x P(x^2) / Q(x^2). All fits are minimax, by reweighted least squares,
# highest power first; their errors are at most 3e-8 for the gates and 2e-7 for the slope.
_LIMIT = 6.0
_R = (
    1.7561754221159492e-09,
    -1.3226349246435247e-07,
    3.9647461499274316e-06,
    -5.53062021468001e-05,
    -3.259495784811218e-05,
    0.0363330845599493,
    0.797884941463096,
)
_P = (
    2.0155415520342597e-08,
    6.513719254539574e-06,
    0.00019914206217468318,
    0.004862868716976062,
    0.03687714477807259,
    0.3989421398183975,
)
_Q = (
    1.1331796220531121e-06,
    8.308121337926176e-05,
    0.002057420878532131,
    0.030376980224923224,
    0.2591017539431965,
)
_SLOPE_P = (
    1.908800332482125e-07,
    3.585035018610428e-05,
    2.419718989819143e-05,
    0.01420911789895219,
    -0.030742767874347116,
    0.7978845250184029,
)
_SLOPE_Q = (
    8.887320558659628e-06,
    0.00019352409357219295,
    0.0035287754019813727,
    0.04106493548415492,
    0.2948065100276621,
)


@kernel
def fill_gelu(xp: Any, x: Array, gate: Array, out: Array) -> None:
    """Write the probabilities that a standard normal variable is less than `x`, and times `x`.

    All are rows.
    """
    fill = _gate_in_single if x.dtype == np.float32 else _gate
    for start in range(0, x.size, _BLOCK):
        at, opened, target = (a[start : start + _BLOCK] for a in (x, gate, out))
        fill(xp, at, opened)
        xp.maximum(at, -FAR, out=target)
        target *= opened


def _gate(xp: Any, x: Array, out: Array) -> None:
    out[...] = erf(x * math.sqrt(0.5))
    out += 1
    out *= 0.5


def _gate_in_single(xp: Any, x: Array, out: Array) -> None:
    near = xp.clip(x, -_LIMIT, _LIMIT)
    square = near * near
    xp.multiply(square, _R[0], out=out)
    for coefficient in _R[1:-1]:
        out += coefficient
        out *= square
    out += _R[-1]
    out *= near
    xp.tanh(out, out=out)
    out += 1
    out *= 0.5


@fill_gelu.cpu
def _(x, gate, out):  # type: ignore[no-untyped-def]
    if x.itemsize == 8:
        for i in range(x.size):
            gate[i] = 0.5 * (1 + math.erf(x[i] * math.sqrt(0.5)))
            out[i] = max(x[i], -FAR) * gate[i]
        return
    half, limit, far = x.dtype.type(0.5), x.dtype.type(_LIMIT), x.dtype.type(-FAR)
    zero, one = x.dtype.type(0), x.dtype.type(1)
    p5, p4, p3 = x.dtype.type(_P[0]), x.dtype.type(_P[1]), x.dtype.type(_P[2])
    p2, p1, p0 = x.dtype.type(_P[3]), x.dtype.type(_P[4]), x.dtype.type(_P[5])
    q5, q4, q3 = x.dtype.type(_Q[0]), x.dtype.type(_Q[1]), x.dtype.type(_Q[2])
    q2, q1 = x.dtype.type(_Q[3]), x.dtype.type(_Q[4])
    for i in range(x.size):
        v = x[i]
        t = v * v
        p = ((((p5 * t + p4) * t + p3) * t + p2) * t + p1) * t + p0
        q = ((((q5 * t + q4) * t + q3) * t + q2) * t + q1) * t + one
        inside = half + v * p / q
        opened = zero if v < -limit else (one if v > limit else inside)
        gate[i] = opened
        out[i] = (far if v < far else v) * opened


@fill_gelu.cuda
def _(cp: Any, x: Array, gate: Array, out: Array) -> None:
    _gate(cp, x, gate)
    cp.multiply(cp.maximum(x, -FAR), gate, out=out)


@op(keeps=("gate",))
def gelu(xp: Any, x: Any, /) -> Any:
    """Return `x` times the probability that a standard normal variable is less than `x`."""
    x = xp.ascontiguousarray(x).reshape(x.shape)
    if x.dtype.kind != "f":
        x = x.astype(np.float64)
    gate, out = xp.empty(x.shape, x.dtype), xp.empty(x.shape, x.dtype)
    fill_gelu(xp, x.reshape(-1), gate.reshape(-1), out.reshape(-1))
    return out, gate


@gelu.kept
def _(x: Any) -> Any:
    return (0.5 * (1 + erf(x * math.sqrt(0.5))),)


@gelu.gradient("x")
def _(g: Any, x: Any, gate: Any) -> Any:
    return _gelu_backward(g, x, gate)


@op
def _gelu_backward(xp: Any, slope: Any, x: Any, gate: Any, /) -> Any:
    r"""Return `slope` times the derivative, :math:`\Phi(x) + x \varphi(x)`."""
    out = xp.empty(x.shape, x.dtype)
    rows = [xp.ascontiguousarray(a).reshape(-1) for a in (xp.broadcast_to(slope, x.shape), x, gate)]
    fill_slope(xp, *rows, out.reshape(-1))
    return out


@kernel
def fill_slope(xp: Any, g: Array, x: Array, gate: Array, out: Array) -> None:
    """Write `g` times the derivative of GELU; all are rows."""
    for start in range(0, x.size, _BLOCK):
        up, at, opened, target = (a[start : start + _BLOCK] for a in (g, x, gate, out))
        near = xp.clip(at, -FAR, FAR)
        xp.multiply(near, near, out=target)
        target *= -0.5
        xp.exp(target, out=target)
        target *= near
        target *= _DENSITY
        target += opened
        target *= up


@fill_slope.cpu
def _(g, x, gate, out):  # type: ignore[no-untyped-def]
    if x.itemsize == 8:
        for i in range(x.size):
            near = min(max(x[i], -FAR), FAR)
            out[i] = g[i] * (gate[i] + near * math.exp(-0.5 * near * near) * _DENSITY)
        return
    half, limit = x.dtype.type(0.5), x.dtype.type(_LIMIT)
    zero, one = x.dtype.type(0), x.dtype.type(1)
    p5, p4, p3 = x.dtype.type(_SLOPE_P[0]), x.dtype.type(_SLOPE_P[1]), x.dtype.type(_SLOPE_P[2])
    p2, p1, p0 = x.dtype.type(_SLOPE_P[3]), x.dtype.type(_SLOPE_P[4]), x.dtype.type(_SLOPE_P[5])
    q5, q4, q3 = x.dtype.type(_SLOPE_Q[0]), x.dtype.type(_SLOPE_Q[1]), x.dtype.type(_SLOPE_Q[2])
    q2, q1 = x.dtype.type(_SLOPE_Q[3]), x.dtype.type(_SLOPE_Q[4])
    for i in range(x.size):
        v = x[i]
        t = v * v
        p = ((((p5 * t + p4) * t + p3) * t + p2) * t + p1) * t + p0
        q = ((((q5 * t + q4) * t + q3) * t + q2) * t + q1) * t + one
        inside = half + v * p / q
        out[i] = g[i] * (zero if v < -limit else (one if v > limit else inside))


@fill_slope.cuda
def _(cp: Any, g: Array, x: Array, gate: Array, out: Array) -> None:
    near = cp.clip(x, -FAR, FAR)
    out[...] = g * (gate + near * cp.exp(-0.5 * near * near) * _DENSITY)


@_gelu_backward.gradient("slope")
def _(g: Any, x: Any, gate: Any) -> Any:
    return _gelu_backward(g, x, gate)


@_gelu_backward.gradient("x")
def _(g: Any, slope: Any, x: Any) -> Any:
    near = clip(x, -FAR, FAR)
    return g * slope * ((1 - near * near) * exp(-0.5 * near * near) * _DENSITY)


@_gelu_backward.gradient("gate")
def _(g: Any, slope: Any) -> Any:
    return g * slope
