r"""GELU and its gradient in one pass over memory.

:math:`x \Phi(x)`, with the normal distribution :math:`\Phi`, whose error function does not become
vector instructions: in float32 the gate :math:`\Phi(x)` and the derivative are
:math:`1/2 + x P(x^2) / Q(x^2)` within ±6, and 0 or 1 beyond. The polynomials are minimax fits by
reweighted least squares, highest power first; their errors are at most 3e-8 for the gate and 2e-7
for the derivative, with the rounding of float32 3e-7 and 4e-7. The gate is kept within 0 and 1, so
that the result has the sign of :math:`x`; at ±6.5 its polynomials are beyond. float64 calls the
error function.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from nn_kernels._atomics import floats
from nn_kernels._compile import Job, subroutine
from nn_kernels._exponential import polynomial
from nn_kernels._rows import Vector, at, row_loop
from nn_kernels._threads import run

__all__ = ["gelu", "gelu_gradient"]

_BLOCK = 1 << 14  # elements of a part, which stay in the cache
_SATURATION = 40.0  # keeps 0 times infinity out of the results
_DENSITY = 1 / math.sqrt(2 * math.pi)
_HALF_ROOT = math.sqrt(0.5)
_LIMIT, _GATE_LIMIT = 6.0, 6.5

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
    1.0,
)
_DERIVATIVE_P = (
    1.908800332482125e-07,
    3.585035018610428e-05,
    2.419718989819143e-05,
    0.01420911789895219,
    -0.030742767874347116,
    0.7978845250184029,
)
_DERIVATIVE_Q = (
    8.887320558659628e-06,
    0.00019352409357219295,
    0.0035287754019813727,
    0.04106493548415492,
    0.2948065100276621,
    1.0,
)


def _rational(v: Vector, p: Sequence[float], q: Sequence[float]) -> Vector:
    """Return the gate or the derivative at `v`, from the coefficients of its polynomials."""
    t = v * v
    return v * polynomial(t, p) / polynomial(t, q) + 0.5


@row_loop(written=1)
def _gelu(x: Vector) -> Vector:
    gate = _rational(x.clip(-_GATE_LIMIT, _GATE_LIMIT), _P, _Q).clip(0.0, 1.0)
    return x.constant(-_SATURATION).where(x < -_SATURATION, x) * gate


@row_loop(written=1)
def _gradient(g: Vector, x: Vector) -> Vector:
    slope = _rational(x, _DERIVATIVE_P, _DERIVATIVE_Q)
    slope = x.constant(0.0).where(x < -_LIMIT, slope)
    return g * x.constant(1.0).where(x > _LIMIT, slope)


@subroutine()
def write_gelu(x, out, start, count):  # type: ignore[no-untyped-def]
    """Write the GELU of `count` floats from `start` on."""
    _gelu(count, at(out, start), at(x, start))


@subroutine()
def _backward(g, x, out, start, count):  # type: ignore[no-untyped-def]
    _gradient(count, at(out, start), at(g, start), at(x, start))


@subroutine(returns="float64")
def _gate_in_double(v):  # type: ignore[no-untyped-def]
    return 0.5 * (1 + math.erf(v * _HALF_ROOT))


@subroutine()
def _forward_in_double(x, out):  # type: ignore[no-untyped-def]
    for i in range(x.size):
        out[i] = max(x[i], -_SATURATION) * _gate_in_double(x[i])


@subroutine()
def _backward_in_double(g, x, out):  # type: ignore[no-untyped-def]
    for i in range(x.size):
        v = min(max(x[i], -_SATURATION), _SATURATION)
        out[i] = g[i] * (_gate_in_double(x[i]) + v * math.exp(-0.5 * v * v) * _DENSITY)


def _forward_job(a, part, thread):  # type: ignore[no-untyped-def]
    start = part * _BLOCK
    count = min(_BLOCK, a[4] - start)
    write_gelu(floats(a[2]), floats(a[3]), start, count)


def _backward_job(a, part, thread):  # type: ignore[no-untyped-def]
    start = part * _BLOCK
    count = min(_BLOCK, a[5] - start)
    _backward(floats(a[2]), floats(a[3]), floats(a[4]), start, count)


_FORWARD, _BACKWARD = Job(_forward_job), Job(_backward_job)
_DTYPES = np.dtype(np.float32), np.dtype(np.float64)


def _fits(x: Any, *others: Any) -> bool:
    """Return whether all are contiguous vectors of one length, of float32 or float64."""
    dtype, shape = x.dtype, x.shape
    if dtype not in _DTYPES or not x.flags.c_contiguous or x.ndim != 1:
        return False
    for a in others:  # a generator takes twice the time
        if a.dtype != dtype or a.shape != shape or not a.flags.c_contiguous:
            return False
    return True


def gelu(x: Any, out: Any, gates: Any) -> Any:
    """Write `x` times its gate to `out`: vectors of float32 or float64.

    No gates are appended to `gates`: the gradient computes them again.
    """
    if not _fits(x, out) or not out.flags.writeable:
        return NotImplemented
    if x.dtype == np.float64:
        _forward_in_double(x, out)
    else:
        run(_FORWARD, (x, out, x.size), -(-x.size // _BLOCK), alone=True)
    return None


def gelu_gradient(g: Any, x: Any, gate: Any, out: Any) -> Any:
    """Write `g` times the derivative of `gelu` at `x` to `out`; `gate` is not needed.

    All are vectors.
    """
    if not _fits(x, g, out) or not out.flags.writeable:
        return NotImplemented
    if x.dtype == np.float64:
        _backward_in_double(g, x, out)
    else:
        run(_BACKWARD, (g, x, out, x.size), -(-x.size // _BLOCK), alone=True)
    return None
