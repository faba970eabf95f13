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

# In float32 the gate is (1 + tanh(x R(x^2))) / 2 to half a unit in the last place of 1, and 0 or 1
# beyond the limit; the coefficients of R, highest power first, are a minimax fit by reweighted
# least squares.
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


@kernel
def normal_gate(xp: Any, x: Array) -> Array:
    """Return the probability that a standard normal variable is less than `x`."""
    gate = xp.empty(x.shape, x.dtype)
    source, target = x.reshape(-1), gate.reshape(-1)
    fill = _gate_in_single if x.dtype == np.float32 else _gate
    for start in range(0, x.size, _BLOCK):
        fill(xp, source[start : start + _BLOCK], target[start : start + _BLOCK])
    return gate


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


@normal_gate.cuda
def _(cp: Any, x: Array) -> Array:
    gate = erf(x * math.sqrt(0.5))
    gate += 1
    gate *= 0.5
    return gate


@op(keeps=("gate",))
def gelu(xp: Any, x: Any, /) -> Any:
    """Return `x` times the probability that a standard normal variable is less than `x`."""
    gate = normal_gate(xp, x)
    out = xp.maximum(x, -FAR)
    out *= gate
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
    arrays = [a.reshape(-1) for a in (xp.broadcast_to(slope, x.shape), x, gate, out)]
    for start in range(0, x.size, _BLOCK):
        up, at, opened, target = (a[start : start + _BLOCK] for a in arrays)
        near = xp.clip(at, -FAR, FAR)
        xp.multiply(near, near, out=target)
        target *= -0.5
        xp.exp(target, out=target)
        target *= near
        target *= _DENSITY
        target += opened
        target *= up
    return out


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
