"""The steps of the gated recurrent unit: kernels that pass once over the gates."""

from __future__ import annotations

import functools
from typing import Any

from nn_tensor.extend import kernel

__all__ = ["add_masked", "gru_backward_steps", "gru_forward_steps", "sigmoid_over"]

Array = Any


def sigmoid_over(xp: Any, x: Array) -> None:
    """Write the logistic function of `x` over it: (tanh(x / 2) + 1) / 2."""
    x *= 0.5
    xp.tanh(x, out=x)
    x *= 0.5
    x += 0.5


def add_masked(
    product: Array, grad_hidden: Array, previous: Array, mask: Any, grad_mask: Any
) -> None:
    """Add the gradient of masked states to that of the states, and to that of the mask."""
    n = len(product)
    if grad_mask is not None:
        grad_mask[:n] += product * previous
    if not isinstance(mask, float):
        product *= mask[:n]
    grad_hidden[:n] += product


@kernel
def gru_forward_steps(
    xp: Any,
    gates: Array,
    product: Array | None,
    recurrent: Array,
    bias: Array,
    candidates: Array,
    hidden: Array,
    spans: Array,
    first: int,
    last: int,
) -> None:
    """Compute the steps from `first` until before `last`, where the reset gate acts afterwards.

    Args:
        xp: the array module.
        gates: ``(rows, 3 * size)``, on entry the products with the inputs, on return the gates:
            reset, update, new.
        product: ``(batch, 3 * size)``, the product of the states with `recurrent`, or None: it is
            computed here.
        recurrent: ``(size, 3 * size)``.
        bias: ``(4 * size,)``: of the gates, and of the part of `product` that the reset gate
            scales.
        candidates: ``(rows, size)``, for that part with its bias.
        hidden: ``(batch + rows, size)``, the hidden states, of which the initial ones are given.
        spans: `Steps.spans`.
        first: the first step.
        last: the step to stop before.
    """
    size = hidden.shape[1]
    batch = len(hidden) - len(gates)
    multiply = product is None
    if product is None:
        product = xp.empty((batch, 3 * size), gates.dtype)
    for t in range(first, last):
        before, start, n = (int(number) for number in spans[t])
        rows = slice(start - batch, start - batch + n)
        z, previous, state = gates[rows], hidden[before : before + n], hidden[start : start + n]
        if multiply:
            xp.matmul(previous, recurrent, out=product[:n])
        z += bias[: 3 * size]
        z[:, : 2 * size] += product[:n, : 2 * size]
        sigmoid_over(xp, z[:, : 2 * size])
        r, u, new = (z[:, k * size : (k + 1) * size] for k in range(3))
        xp.add(product[:n, 2 * size :], bias[3 * size :], out=candidates[rows])
        new += r * candidates[rows]
        xp.tanh(new, out=new)
        xp.subtract(previous, new, out=state)
        state *= u
        state += new


gru_forward_steps.cpu("gru_forward_steps")


@gru_forward_steps.cuda
def _(
    cp: Any,
    gates: Array,
    product: Array | None,
    recurrent: Array,
    bias: Array,
    candidates: Array,
    hidden: Array,
    spans: Array,
    first: int,
    last: int,
) -> None:
    size, batch = hidden.shape[1], len(hidden) - len(gates)
    multiply = product is None
    if product is None:
        product = cp.empty((batch, 3 * size), gates.dtype)
    for t in range(first, last):
        before, start, n = (int(number) for number in spans[t])
        rows, previous = slice(start - batch, start - batch + n), hidden[before : before + n]
        if multiply:
            cp.matmul(previous, recurrent, out=product[:n])
        written = gates[rows], candidates[rows], hidden[start : start + n]
        _forward_on_cuda(cp)(product, bias, previous, size, *written, size=n * size)


@functools.cache
def _forward_on_cuda(cp: Any) -> Any:
    return cp.ElementwiseKernel(
        "raw T product, raw T bias, raw T previous, int64 size",
        "raw T gates, raw T candidates, raw T hidden",
        """
        const long long j = i % size, k = i / size * 3 * size + j;
        T z[2];
        for (int gate = 0; gate < 2; ++gate) {
            const T x = gates[k + gate * size] + product[k + gate * size] + bias[j + gate * size];
            z[gate] = T(0.5) * tanh(T(0.5) * x) + T(0.5);
            gates[k + gate * size] = z[gate];
        }
        const T scaled = product[k + 2 * size] + bias[j + 3 * size];
        const T value = tanh(gates[k + 2 * size] + bias[j + 2 * size] + z[0] * scaled);
        candidates[i] = scaled;
        gates[k + 2 * size] = value;
        hidden[i] = value + z[1] * (previous[i] - value);
        """,
        "nn_recurrent_gru_forward",
    )


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
        grad_gates: ``(rows, 4 * size)``, for the gradients of the reset and the update gate, of the
            product that the reset gate scales, and of the new state, before their activations.
        grad_hidden: ``(batch, size)``, on entry the gradient of the hidden states from what
            follows, on return that of the states before: all of it, or without the products.
        grad_outputs: ``(rows, size)``, the gradient of the hidden states as outputs.
        recurrent: ``(3 * size, size)``, the recurrent weights transposed.
        gates: as `gru_forward_steps` left them.
        candidates: as `gru_forward_steps` left them.
        hidden: as `gru_forward_steps` left them.
        spans: `Steps.spans`.
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


gru_backward_steps.cpu("gru_backward_steps")


@gru_backward_steps.cuda
def _(
    cp: Any,
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
    size, batch = hidden.shape[1], len(hidden) - len(gates)
    for t in range(last - 1, first - 1, -1):
        before, start, n = (int(number) for number in spans[t])
        rows = slice(start - batch, start - batch + n)
        read = grad_outputs[rows], gates[rows], candidates[rows], hidden[before : before + n]
        _backward_on_cuda(cp)(*read, size, grad_gates[rows], grad_hidden, size=n * size)
        if multiply:
            grad_hidden[:n] += cp.matmul(grad_gates[rows, : 3 * size], recurrent)


@functools.cache
def _backward_on_cuda(cp: Any) -> Any:
    return cp.ElementwiseKernel(
        "raw T grad_outputs, raw T gates, raw T candidates, raw T old, int64 size",
        "raw T grad_gates, raw T grad_hidden",
        """
        const long long row = i / size, j = i % size;
        const long long k = row * 3 * size + j, g = row * 4 * size + j;
        const T reset = gates[k], update = gates[k + size], value = gates[k + 2 * size];
        const T dh = grad_hidden[i] + grad_outputs[i];
        const T dn = dh * (1 - update) * (1 - value * value);
        grad_gates[g] = dn * candidates[i] * reset * (1 - reset);
        grad_gates[g + size] = dh * (old[i] - value) * update * (1 - update);
        grad_gates[g + 2 * size] = dn * reset;
        grad_gates[g + 3 * size] = dn;
        grad_hidden[i] = dh * update;
        """,
        "nn_recurrent_gru_backward",
    )
