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
_BLOCK = 1 << 18  # in smaller ones the calls take time

# In float32 the gate is 0 or 1 beyond this limit. Within it, it is (1 + tanh(x R(x^2))) / 2: a
# minimax fit by reweighted least squares, highest power first, with an error of at most 3e-8.
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


@kernel
def gelu_forward(xp: Any, x: Array, out: Array, gates: list[Array]) -> None:
    """Write `x` times its gate to `out`; `x` and `out` are vectors.

    An implementation whose `gelu_backward` reads the gates appends them to `gates`, as one vector;
    others compute them again, which takes less memory.
    """
    fill = _fill_gate_in_single if x.dtype == np.float32 else _fill_gate
    gate = xp.empty(x.shape, x.dtype)
    scratch = xp.empty((2, min(x.size, _BLOCK)), x.dtype)
    for start in range(0, x.size, _BLOCK):
        x_block, gate_block, out_block = (a[start : start + _BLOCK] for a in (x, gate, out))
        fill(xp, x_block, gate_block, scratch[:, : x_block.size])
        xp.clip(x_block, -_SATURATION, np.inf, out=out_block)  # a third of the time of `maximum`
        out_block *= gate_block
    gates.append(gate)


def _fill_gate(xp: Any, x: Array, gate: Array, scratch: Array) -> None:
    gate[...] = erf(xp.multiply(x, math.sqrt(0.5), out=scratch[0]))
    gate += 1
    gate *= 0.5


def _fill_gate_in_single(xp: Any, x: Array, gate: Array, scratch: Array) -> None:
    clipped, square = scratch
    xp.clip(x, -_SINGLE_LIMIT, _SINGLE_LIMIT, out=clipped)
    xp.multiply(clipped, clipped, out=square)
    xp.multiply(square, _R[0], out=gate)
    for coefficient in _R[1:-1]:
        gate += coefficient
        gate *= square
    gate += _R[-1]
    gate *= clipped
    xp.tanh(gate, out=gate)
    gate += 1
    gate *= 0.5


gelu_forward.cpu("gelu")


@gelu_forward.cuda
def _(cp: Any, x: Array, out: Array, gates: list[Array]) -> None:
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


@op(keeps=("gate",))
def gelu(xp: Any, x: Any, /) -> Any:
    """Return `x` times the probability that a standard normal variable is less than `x`."""
    if not x.flags.c_contiguous:
        x = xp.ascontiguousarray(x)
    if not is_floating(x.dtype):
        x = x.astype(np.float64)
    out = xp.empty(x.shape, x.dtype)
    gates: list[Array] = []
    gelu_forward(xp, x.reshape(-1), out.reshape(-1), gates)
    return out, gates[0].reshape(x.shape) if gates else None


@gelu.gradient("x")
def _(g: Any, x: Any, gate: Any) -> Any:
    return gelu_gradient(g, x) if isinstance(g, Tensor) else _gradient(g, x, gate)


@kernel
def gelu_backward(xp: Any, g: Array, x: Array, gate: Array | None, out: Array) -> None:
    """Write `g` times the derivative of `gelu` at `x` to `out`; all are vectors.

    The gate is that of the reference of `gelu_forward`, or None.
    """
    if gate is None:
        gates: list[Array] = []
        gelu_forward.reference(xp, x, out, gates)
        gate = gates[0]
    scratch = xp.empty(min(x.size, _BLOCK), x.dtype)
    for start in range(0, x.size, _BLOCK):
        g_block, x_block, gate_block, block = (a[start : start + _BLOCK] for a in (g, x, gate, out))
        clipped = scratch[: x_block.size]
        xp.clip(x_block, -_SATURATION, _SATURATION, out=clipped)
        xp.multiply(clipped, clipped, out=block)
        block *= -0.5
        xp.exp(block, out=block)
        block *= clipped
        block *= _DENSITY
        block += gate_block
        block *= g_block


gelu_backward.cpu("gelu_gradient")


@gelu_backward.cuda
def _(cp: Any, g: Array, x: Array, gate: Array | None, out: Array) -> None:
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


def _gradient(g: Array, x: Array, gate: Array | None) -> Array:
    """Return `g` times the derivative of `gelu` at `x`."""
    xp = array_module(x)
    out = xp.empty(x.shape, x.dtype)
    x = xp.ascontiguousarray(x)  # at least a vector
    g = xp.ascontiguousarray(xp.broadcast_to(g, x.shape), dtype=x.dtype)
    vector = None if gate is None else xp.ascontiguousarray(gate).reshape(-1)
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
