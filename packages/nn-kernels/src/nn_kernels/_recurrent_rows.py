"""One step of one sequence of a recurrent layer: a pass over the gates, forward and backward.

The functions compile for float32 and float64. Each loop is over few arrays, so that LLVM computes
several elements at once.
"""

from __future__ import annotations

import math

import numpy as np

from nn_kernels._compile import subroutine

__all__ = [
    "gru_backward_row",
    "gru_before_backward_end",
    "gru_before_backward_row",
    "gru_before_forward_end",
    "gru_before_forward_row",
    "gru_forward_row",
    "lstm_backward_row",
    "lstm_forward_row",
    "rnn_backward_row",
    "rnn_forward_row",
]

# The tangent of the C library keeps a compiler from computing several elements at once. In float32
# it is x P(x²) / Q(x²), as in Eigen (Eigen/src/Core/MathFunctionsImpl.h), highest power first.
_LIMIT = np.float32(7.90531110763549805)  # beyond it the tangent is 1 to rounding
_P = tuple(
    map(
        np.float32,
        (
            -2.76076847742355e-16,
            2.00018790482477e-13,
            -8.60467152213735e-11,
            5.12229709037114e-08,
            1.48572235717979e-05,
            6.37261928875436e-04,
            4.89352455891786e-03,
        ),
    )
)
_Q = tuple(
    map(
        np.float32,
        (1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03, 4.89352518554385e-03),
    )
)


@subroutine()
def _tanh_over(x, n, scale):  # type: ignore[no-untyped-def]
    """Write scale * tanh(scale * x) + 1 - scale over x: the logistic function with a scale 1/2."""
    shift = x.dtype.type(1) - scale
    if x.itemsize == 8:
        for j in range(n):
            x[j] = scale * math.tanh(scale * x[j]) + shift
    else:
        for j in range(n):
            v = scale * x[j]
            v = _LIMIT if v > _LIMIT else v
            v = -_LIMIT if v < -_LIMIT else v
            w = v * v
            a = (((_P[0] * w + _P[1]) * w + _P[2]) * w + _P[3]) * w + _P[4]
            a = ((a * w + _P[5]) * w + _P[6]) * v
            b = ((_Q[0] * w + _Q[1]) * w + _Q[2]) * w + _Q[3]
            x[j] = scale * (a / b) + shift


@subroutine()
def lstm_forward_row(z, p, bias, old, cell, out, state):  # type: ignore[no-untyped-def]
    """Make gates of sums `z` and products `p`; write cell, its tangent `out`, hidden state."""
    size = len(old)
    one, half = z.dtype.type(1), z.dtype.type(0.5)
    for j in range(4 * size):
        z[j] += p[j] + bias[j]
    i, f, g, o = z[:size], z[size : 2 * size], z[2 * size : 3 * size], z[3 * size :]
    _tanh_over(z, 2 * size, half)
    _tanh_over(g, size, one)
    _tanh_over(o, size, half)
    for j in range(size):
        cell[j] = f[j] * old[j] + i[j] * g[j]
    for j in range(size):
        out[j] = cell[j]
    _tanh_over(out, size, one)
    for j in range(size):
        state[j] = o[j] * out[j]


@subroutine()
def lstm_backward_row(dh, dz, z, out, old, dc):  # type: ignore[no-untyped-def]
    """Write the gradient of the gates, and that of the cell before over `dc`."""
    size = len(old)
    one = z.dtype.type(1)
    i, f, g, o = z[:size], z[size : 2 * size], z[2 * size : 3 * size], z[3 * size :]
    di, df = dz[:size], dz[size : 2 * size]
    dg, do = dz[2 * size : 3 * size], dz[3 * size :]
    for j in range(size):
        dc[j] += dh[j] * o[j] * (one - out[j] * out[j])
    for j in range(size):
        do[j] = dh[j] * out[j] * o[j] * (one - o[j])
    for j in range(size):
        di[j] = dc[j] * g[j] * i[j] * (one - i[j])
    for j in range(size):
        dg[j] = dc[j] * i[j] * (one - g[j] * g[j])
    for j in range(size):
        df[j] = dc[j] * old[j] * f[j] * (one - f[j])
    for j in range(size):
        dc[j] *= f[j]


@subroutine()
def gru_forward_row(z, p, bias, kept, old, state):  # type: ignore[no-untyped-def]
    """Make gates of sums `z` and products `p`; write what the reset gate scales, and the state."""
    size = len(old)
    one, half = z.dtype.type(1), z.dtype.type(0.5)
    for j in range(2 * size):
        z[j] += p[j] + bias[j]
    _tanh_over(z, 2 * size, half)
    r, u, new = z[:size], z[size : 2 * size], z[2 * size :]
    last_product, new_bias, last_bias = p[2 * size :], bias[2 * size :], bias[3 * size :]
    for j in range(size):
        kept[j] = last_product[j] + last_bias[j]
    for j in range(size):
        new[j] += new_bias[j] + r[j] * kept[j]
    _tanh_over(new, size, one)
    for j in range(size):
        state[j] = new[j] + u[j] * (old[j] - new[j])


@subroutine()
def gru_backward_row(dh, dz, z, kept, old):  # type: ignore[no-untyped-def]
    """Write the gradients of the gates, and over `dh` that of the state before by the update."""
    size = len(old)
    one = z.dtype.type(1)
    r, u, new = z[:size], z[size : 2 * size], z[2 * size :]
    dr, du, scaled, dn = dz[:size], dz[size : 2 * size], dz[2 * size : 3 * size], dz[3 * size :]
    for j in range(size):
        du[j] = dh[j] * (old[j] - new[j]) * u[j] * (one - u[j])
    for j in range(size):
        dn[j] = dh[j] * (one - u[j]) * (one - new[j] * new[j])
    for j in range(size):
        scaled[j] = dn[j] * r[j]
    for j in range(size):
        dr[j] = dn[j] * kept[j] * r[j] * (one - r[j])
    for j in range(size):
        dh[j] *= u[j]


@subroutine()
def gru_before_forward_row(z, p, bias, kept, old):  # type: ignore[no-untyped-def]
    """Make reset and update gate, and write the state times the reset."""
    size = len(old)
    for j in range(2 * size):
        z[j] += p[j] + bias[j]
    _tanh_over(z, 2 * size, z.dtype.type(0.5))
    for j in range(size):
        kept[j] = z[j] * old[j]


@subroutine()
def gru_before_forward_end(z, p, bias, old, state):  # type: ignore[no-untyped-def]
    """Make the new state of its sum and the product `p`, and write the state."""
    size = len(old)
    u, new, new_bias = z[size : 2 * size], z[2 * size :], bias[2 * size :]
    for j in range(size):
        new[j] += p[j] + new_bias[j]
    _tanh_over(new, size, z.dtype.type(1))
    for j in range(size):
        state[j] = new[j] + u[j] * (old[j] - new[j])


@subroutine()
def gru_before_backward_row(dh, dz, z, old):  # type: ignore[no-untyped-def]
    """Write the gradients of update gate and new state, and over `dh` its part by the update."""
    size = len(old)
    one = z.dtype.type(1)
    u, new = z[size : 2 * size], z[2 * size :]
    du, dn = dz[size : 2 * size], dz[3 * size :]
    for j in range(size):
        du[j] = dh[j] * (old[j] - new[j]) * u[j] * (one - u[j])
    for j in range(size):
        dn[j] = dh[j] * (one - u[j]) * (one - new[j] * new[j])
    for j in range(size):
        dh[j] *= u[j]


@subroutine()
def gru_before_backward_end(dh, dz, p, z, old):  # type: ignore[no-untyped-def]
    """Write, from the gradient `p` of the state times the reset, that of the reset gate."""
    size = len(old)
    one = z.dtype.type(1)
    dr, scaled = dz[:size], dz[2 * size : 3 * size]
    for j in range(size):
        scaled[j] = p[j]
    for j in range(size):
        dr[j] = p[j] * old[j] * z[j] * (one - z[j])
    for j in range(size):
        dh[j] += p[j] * z[j]


@subroutine()
def rnn_forward_row(state, p, tanh):  # type: ignore[no-untyped-def]
    """Make the state of its sum and the product `p`."""
    size = len(state)
    for j in range(size):
        state[j] += p[j]
    if tanh:
        _tanh_over(state, size, state.dtype.type(1))
    else:
        zero = state.dtype.type(0)
        for j in range(size):
            state[j] = zero if state[j] < zero else state[j]


@subroutine()
def rnn_backward_row(dh, dz, state, tanh):  # type: ignore[no-untyped-def]
    """Write the gradient of the sum."""
    size = len(state)
    one, zero = state.dtype.type(1), state.dtype.type(0)
    if tanh:
        for j in range(size):
            dz[j] = dh[j] * (one - state[j] * state[j])
    else:
        for j in range(size):
            dz[j] = dh[j] if state[j] > zero else zero
