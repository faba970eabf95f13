r"""The gated recurrent unit over a whole batch of sequences, as one operation.

The structure is that of `nn_recurrent.ops.lstm`. There are two variants, which differ in where the
reset gate acts: after the product with the recurrent weights, so that one product serves all gates
(as in cuDNN and PyTorch), or before it (as in the paper).
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
from nn_tensor import Tensor, concatenate, sigmoid, tanh
from nn_tensor.extend import array_module, kernel, op

from nn_recurrent.ops.recorded import gradients_of
from nn_recurrent.ops.shared import MAX_COMPILED_PRODUCT, masked_before, split, widen
from nn_recurrent.ops.steps import Steps
from nn_recurrent.ops.tanh import LIMIT, P, Q

__all__ = ["gru", "gru_backward_steps", "gru_forward_steps"]

Array = Any


def _sigmoid(xp: Any, x: Array) -> None:
    """Write the logistic function of `x` over it: (tanh(x / 2) + 1) / 2."""
    x *= 0.5
    xp.tanh(x, out=x)
    x *= 0.5
    x += 0.5


@kernel
def gru_forward_steps(
    xp: Any,
    gates: Array,
    product: Array,
    recurrent: Array,
    bias: Array,
    candidates: Array,
    hidden: Array,
    spans: Array,
    first: int,
    last: int,
    multiply: bool,
) -> None:
    """Compute the steps from `first` until before `last`, where the reset gate acts afterwards.

    Args:
        xp: the array module.
        gates: (rows, 3 * size), on entry the products with the inputs, on return the gates: reset,
            update, new.
        product: (batch, 3 * size), the product of the states with `recurrent`, or room for it.
        recurrent: (size, 3 * size).
        bias: (4 * size,): of the gates, and of the part of `product` that the reset gate scales.
        candidates: (rows, size), for that part with its bias.
        hidden: (batch + rows, size), the hidden states, of which the initial ones are given.
        spans: those of `Steps`.
        first: the first step.
        last: the step to stop before.
        multiply: whether to compute `product`.
    """
    size = hidden.shape[1]
    batch = len(hidden) - len(gates)
    for t in range(first, last):
        before, start, n = (int(number) for number in spans[t])
        rows = slice(start - batch, start - batch + n)
        z, previous, state = gates[rows], hidden[before : before + n], hidden[start : start + n]
        if multiply:
            xp.matmul(previous, recurrent, out=product[:n])
        z += bias[: 3 * size]
        z[:, : 2 * size] += product[:n, : 2 * size]
        _sigmoid(xp, z[:, : 2 * size])
        r, u, new = (z[:, k * size : (k + 1) * size] for k in range(3))
        xp.add(product[:n, 2 * size :], bias[3 * size :], out=candidates[rows])
        new += r * candidates[rows]
        xp.tanh(new, out=new)
        xp.subtract(previous, new, out=state)
        state *= u
        state += new


@gru_forward_steps.cpu
def _(  # type: ignore[no-untyped-def]
    gates, product, recurrent, bias, candidates, hidden, spans, first, last, multiply
):
    size, batch = hidden.shape[1], len(hidden) - len(gates)
    double = gates.itemsize == 8
    half, limit = gates.dtype.type(0.5), gates.dtype.type(LIMIT)
    for t in range(first, last):
        before, start, n = spans[t, 0], spans[t, 1], spans[t, 2]
        for s in range(n):
            z, p = gates[start - batch + s], product[s]
            h = hidden[before + s]
            if multiply:
                p[:] = 0
                for k in range(0, size - 3, 4):
                    h0, h1, h2, h3 = h[k], h[k + 1], h[k + 2], h[k + 3]
                    r0, r1 = recurrent[k], recurrent[k + 1]
                    r2, r3 = recurrent[k + 2], recurrent[k + 3]
                    for j in range(3 * size):
                        p[j] += h0 * r0[j] + h1 * r1[j] + h2 * r2[j] + h3 * r3[j]
                for k in range(size - size % 4, size):
                    h0, r0 = h[k], recurrent[k]
                    for j in range(3 * size):
                        p[j] += h0 * r0[j]
            for j in range(2 * size):
                z[j] += p[j] + bias[j]
            r, u, new = z[:size], z[size : 2 * size], z[2 * size :]
            kept, state = candidates[start - batch + s], hidden[start + s]
            last_product, last_bias, new_bias = p[2 * size :], bias[3 * size :], bias[2 * size :]
            for j in range(size):
                kept[j] = last_product[j] + last_bias[j]
            if double:
                for j in range(2 * size):
                    z[j] = half * math.tanh(half * z[j]) + half
                for j in range(size):
                    new[j] = math.tanh(new[j] + new_bias[j] + r[j] * kept[j])
            else:
                for j in range(2 * size):
                    v = half * z[j]
                    v = limit if v > limit else v
                    v = -limit if v < -limit else v
                    w = v * v
                    a = (((P[0] * w + P[1]) * w + P[2]) * w + P[3]) * w + P[4]
                    a = ((a * w + P[5]) * w + P[6]) * v
                    b = ((Q[0] * w + Q[1]) * w + Q[2]) * w + Q[3]
                    z[j] = half * (a / b) + half
                for j in range(size):
                    new[j] += new_bias[j] + r[j] * kept[j]
                for j in range(size):
                    v = new[j]
                    v = limit if v > limit else v
                    v = -limit if v < -limit else v
                    w = v * v
                    a = (((P[0] * w + P[1]) * w + P[2]) * w + P[3]) * w + P[4]
                    a = ((a * w + P[5]) * w + P[6]) * v
                    b = ((Q[0] * w + Q[1]) * w + Q[2]) * w + Q[3]
                    new[j] = a / b
            for j in range(size):
                state[j] = new[j] + u[j] * (h[j] - new[j])


@kernel
def gru_backward_steps(
    xp: Any,
    grad_gates: Array,
    grad_hidden: Array,
    grad_outputs: Array,
    recurrent: Array,
    gates: Array,
    candidates: Array,
    hidden: Array,
    spans: Array,
    first: int,
    last: int,
    multiply: bool,
) -> None:
    """Compute the backward pass of the steps from the one before `last` down to `first`.

    Args:
        xp: the array module.
        grad_gates: (rows, 4 * size), for the gradients of the reset and the update gate, of the
            product that the reset gate scales, and of the new state, before their activations.
        grad_hidden: (batch, size), on entry the gradient of the hidden states from what follows,
            on return that of the states before: all of it, or without the products.
        grad_outputs: (rows, size), the gradient of the hidden states as outputs.
        recurrent: (3 * size, size), the recurrent weights transposed.
        gates: as `gru_forward_steps` left them.
        candidates: likewise.
        hidden: likewise.
        spans: those of `Steps`.
        first: the first step.
        last: the step after those.
        multiply: whether to add the products with `recurrent` to `grad_hidden`.
    """
    size = hidden.shape[1]
    batch = len(hidden) - len(gates)
    for t in range(last - 1, first - 1, -1):
        before, start, n = (int(number) for number in spans[t])
        rows = slice(start - batch, start - batch + n)
        z, dz, dh = gates[rows], grad_gates[rows], grad_hidden[:n]
        r, u, new = (z[:, k * size : (k + 1) * size] for k in range(3))
        dr, du, scaled, dn = (dz[:, k * size : (k + 1) * size] for k in range(4))
        dh += grad_outputs[rows]
        xp.subtract(hidden[before : before + n], new, out=du)
        du *= dh
        du *= u * (1 - u)
        xp.multiply(dh, 1 - u, out=dn)
        dn *= 1 - new * new
        xp.multiply(dn, r, out=scaled)
        xp.multiply(dn, candidates[rows], out=dr)
        dr *= r * (1 - r)
        dh *= u
        if multiply:
            dh += xp.matmul(dz[:, : 3 * size], recurrent)


@gru_backward_steps.cpu
def _(  # type: ignore[no-untyped-def]
    grad_gates,
    grad_hidden,
    grad_outputs,
    recurrent,
    gates,
    candidates,
    hidden,
    spans,
    first,
    last,
    multiply,
):
    size, batch = hidden.shape[1], len(hidden) - len(gates)
    one = gates.dtype.type(1)
    for t in range(last - 1, first - 1, -1):
        before, start, n = spans[t, 0], spans[t, 1], spans[t, 2]
        for s in range(n):
            row = start - batch + s
            z, dz, kept, old = gates[row], grad_gates[row], candidates[row], hidden[before + s]
            dh, given = grad_hidden[s], grad_outputs[row]
            r, u, new = z[:size], z[size : 2 * size], z[2 * size :]
            dr, du = dz[:size], dz[size : 2 * size]
            scaled, dn = dz[2 * size : 3 * size], dz[3 * size :]
            for j in range(size):
                dh[j] += given[j]
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
            if multiply:
                for k in range(3 * size):
                    z0, r0 = dz[k], recurrent[k]
                    for j in range(size):
                        dh[j] += z0 * r0[j]


def _is_compiled_product(xp: Any, mask: Any, steps: Steps, size: int) -> bool:
    if xp is not np or not isinstance(mask, float):
        return False
    return 3 * size * size * steps.batch <= MAX_COMPILED_PRODUCT


@op(keeps=("gates", "candidates", "hidden"))
def gru(
    xp: Any,
    x: Any,
    weights: Any,
    recurrent: Any,
    bias: Any,
    recurrent_bias: Any,
    hidden0: Any,
    mask: Any,
    /,
    steps: Steps,
    reset_after: bool = True,
) -> Any:
    r"""Return all hidden states, and those after the last steps, as one vector.

    .. math:: r, u = \sigma(W x_t + R h_{t-1} + b), \quad h_t = (1 - u) n + u h_{t-1}
    .. math:: n = \tanh(W x_t + b + r (R h_{t-1} + b_R)) \quad \text{or} \quad
        n = \tanh(W x_t + b + R (r h_{t-1}))

    Args:
        x: packed inputs, (rows, input_size).
        weights: (input_size, 3 * size), for the reset and the update gate and the new state.
        recurrent: (size, 3 * size).
        bias: (3 * size,), or 0.0.
        recurrent_bias: (size,), or 0.0; without effect unless `reset_after`.
        hidden0: the initial hidden states, (batch, size).
        mask: (batch, size), a factor of the states in the products with `recurrent`, or 1.0.
        steps: how the sequences are packed.
        reset_after: whether the reset gate acts after the product, the first formula.
    """
    dtype = x.dtype
    x, weights, recurrent, bias, recurrent_bias, hidden0, mask = widen(
        x, weights, recurrent, bias, recurrent_bias, hidden0, mask
    )
    batch, size = hidden0.shape
    wide, rows = x.dtype, batch + steps.total
    gates = xp.matmul(x, weights)
    biases = xp.zeros(4 * size, wide)
    biases[: 3 * size], biases[3 * size :] = bias, recurrent_bias
    result = xp.empty((rows + batch) * size, wide)
    hidden = result[: rows * size].reshape(rows, size)
    hidden[:batch] = hidden0
    candidates = xp.empty((steps.total, size), wide)
    product, recurrent = xp.empty((batch, 3 * size), wide), xp.ascontiguousarray(recurrent)
    arrays = gates, product, recurrent, biases, candidates, hidden
    spans, count = steps.spans, len(steps.spans)
    if not reset_after:
        _forward_reset_before(xp, *arrays, mask, spans)
    elif _is_compiled_product(xp, mask, steps, size):
        gru_forward_steps(xp, *arrays, spans, 0, count, True)
    else:
        for t, (before, _, n) in enumerate(spans.tolist()):
            previous = hidden[before : before + n]
            if not isinstance(mask, float):
                previous = previous * mask[:n]
            xp.matmul(previous, recurrent, out=product[:n])
            gru_forward_steps(xp, *arrays, spans, t, t + 1, False)
    out = result[batch * size :]
    steps.final(hidden, split(out, steps, size)[1])
    return out.astype(dtype, copy=False), gates, candidates, hidden


def _forward_reset_before(
    xp: Any,
    gates: Array,
    product: Array,
    recurrent: Array,
    bias: Array,
    candidates: Array,
    hidden: Array,
    mask: Array | float,
    spans: Array,
) -> None:
    """Compute all steps of the variant in which `candidates` are the states times the reset."""
    size = hidden.shape[1]
    batch = len(hidden) - len(gates)
    both, new_weights = recurrent[:, : 2 * size], xp.ascontiguousarray(recurrent[:, 2 * size :])
    gates += bias[: 3 * size]
    for before, start, n in spans.tolist():
        rows = slice(start - batch, start - batch + n)
        previous, state = hidden[before : before + n], hidden[start : start + n]
        masked = previous if isinstance(mask, float) else previous * mask[:n]
        z, new = gates[rows, : 2 * size], gates[rows, 2 * size :]
        z += masked @ both
        _sigmoid(xp, z)
        xp.multiply(z[:, :size], masked, out=candidates[rows])
        new += candidates[rows] @ new_weights
        xp.tanh(new, out=new)
        xp.subtract(previous, new, out=state)
        state *= z[:, size:]
        state += new


@gru.joint_gradient("x", "weights", "recurrent", "bias", "recurrent_bias", "hidden0", "mask")
def _(
    g: Any,
    x: Any,
    weights: Any,
    recurrent: Any,
    bias: Any,
    recurrent_bias: Any,
    hidden0: Any,
    mask: Any,
    gates: Any,
    candidates: Any,
    hidden: Any,
    steps: Steps,
    reset_after: bool,
    wanted: tuple[bool, ...],
) -> Any:
    inputs = x, weights, recurrent, bias, recurrent_bias, hidden0, mask
    if isinstance(g, Tensor):
        reference = functools.partial(_reference, steps=steps, reset_after=reset_after)
        return gradients_of(reference, g, inputs, wanted)
    xp = array_module(g)
    g, x, weights, recurrent, *_, hidden0, mask = widen(g, *inputs)
    size, batch = hidden0.shape[1], steps.batch
    grad_outputs, grad_hidden = split(xp.ascontiguousarray(g), steps, size)
    grad_hidden = grad_hidden.copy()
    grad_gates = xp.empty((steps.total, 4 * size), gates.dtype)
    grad_mask = xp.zeros_like(hidden0) if wanted[6] else None
    transposed = xp.ascontiguousarray(recurrent.T)
    arrays = grad_gates, grad_hidden, grad_outputs, transposed, gates, candidates, hidden
    spans, count = steps.spans, len(steps.spans)
    if not reset_after:
        _backward_reset_before(xp, *arrays, mask, grad_mask, spans)
    elif _is_compiled_product(xp, mask, steps, size):
        gru_backward_steps(xp, *arrays, spans, 0, count, True)
    else:
        product = xp.empty((batch, size), gates.dtype)
        for t in range(count - 1, -1, -1):
            before, start, n = spans[t].tolist()
            rows = slice(start - batch, start - batch + n)
            gru_backward_steps(xp, *arrays, spans, t, t + 1, False)
            xp.matmul(grad_gates[rows, : 3 * size], transposed, out=product[:n])
            _add_masked(product[:n], grad_hidden, hidden[before : before + n], mask, grad_mask)
    gated, scaled, new = (
        grad_gates[:, : 2 * size],
        grad_gates[:, 2 * size : 3 * size],
        grad_gates[:, 3 * size :],
    )
    grad_recurrent = None
    if wanted[2]:
        previous = masked_before(xp, hidden, mask, steps)
        if reset_after:
            grad_recurrent = xp.matmul(previous.T, grad_gates[:, : 3 * size])
        else:
            parts = xp.matmul(previous.T, gated), xp.matmul(candidates.T, new)
            grad_recurrent = xp.concatenate(parts, axis=1)
    grad_x = grad_weights = grad_bias = None
    if wanted[0]:
        grad_x = xp.matmul(gated, weights[:, : 2 * size].T)
        grad_x += xp.matmul(new, weights[:, 2 * size :].T)
    if wanted[1]:
        parts = xp.matmul(x.T, gated), xp.matmul(x.T, new)
        grad_weights = xp.concatenate(parts, axis=1)
    if wanted[3]:
        grad_bias = xp.concatenate([gated.sum(0), new.sum(0)])
    grad_recurrent_bias = None
    if wanted[4]:
        grad_recurrent_bias = scaled.sum(0) if reset_after else xp.zeros(size, gates.dtype)
    return (
        grad_x,
        grad_weights,
        grad_recurrent,
        grad_bias,
        grad_recurrent_bias,
        grad_hidden if wanted[5] else None,
        grad_mask,
    )


def _add_masked(
    product: Array, grad_hidden: Array, previous: Array, mask: Any, grad_mask: Any
) -> None:
    """Add the gradient of masked states to that of the states, and to that of the mask."""
    n = len(product)
    if grad_mask is not None:
        grad_mask[:n] += product * previous
    if not isinstance(mask, float):
        product *= mask[:n]
    grad_hidden[:n] += product


def _backward_reset_before(
    xp: Any,
    grad_gates: Array,
    grad_hidden: Array,
    grad_outputs: Array,
    recurrent: Array,
    gates: Array,
    candidates: Array,
    hidden: Array,
    mask: Array | float,
    grad_mask: Any,
    spans: Array,
) -> None:
    """Compute the backward pass of all steps of the variant with the reset before the product."""
    size = hidden.shape[1]
    batch = len(hidden) - len(gates)
    for before, start, n in reversed(spans.tolist()):
        rows = slice(start - batch, start - batch + n)
        previous, z, dz, dh = (
            hidden[before : before + n],
            gates[rows],
            grad_gates[rows],
            grad_hidden[:n],
        )
        masked = previous if isinstance(mask, float) else previous * mask[:n]
        r, u, new = (z[:, k * size : (k + 1) * size] for k in range(3))
        dr, du, scaled, dn = (dz[:, k * size : (k + 1) * size] for k in range(4))
        dh += grad_outputs[rows]
        xp.multiply(dh * (previous - new), u * (1 - u), out=du)
        xp.multiply(dh * (1 - u), 1 - new * new, out=dn)
        xp.matmul(dn, recurrent[2 * size :], out=scaled)  # the gradient of the candidates
        xp.multiply(scaled * masked, r * (1 - r), out=dr)
        dh *= u
        product = scaled * r + dz[:, : 2 * size] @ recurrent[: 2 * size]
        _add_masked(product, grad_hidden, previous, mask, grad_mask)


def _reference(
    x: Any,
    weights: Any,
    recurrent: Any,
    bias: Any,
    recurrent_bias: Any,
    hidden: Any,
    mask: Any,
    steps: Steps,
    reset_after: bool,
) -> Tensor:
    """Return what `gru` does, by a loop of operations."""
    size = hidden.shape[1]
    outputs, finals = [], []
    for _, start, n in steps.spans.tolist():
        if n < len(hidden):
            finals.append(hidden[n:])
        hidden = hidden[:n]
        masked = hidden * (mask if isinstance(mask, float) else mask[:n])
        row = start - steps.batch
        z = x[row : row + n] @ weights + bias
        gates = sigmoid(z[:, : 2 * size] + masked @ recurrent[:, : 2 * size])
        r, u, last = gates[:, :size], gates[:, size:], recurrent[:, 2 * size :]
        inner = r * (masked @ last + recurrent_bias) if reset_after else (r * masked) @ last
        new = tanh(z[:, 2 * size :] + inner)
        hidden = new + u * (hidden - new)
        outputs.append(hidden.reshape(-1))
    finals.append(hidden)
    if not reset_after and not isinstance(recurrent_bias, float):
        outputs.append(recurrent_bias[:0] * 0)  # a part of the graph, so that it has a gradient
    return concatenate([*outputs, *(h.reshape(-1) for h in reversed(finals))])
