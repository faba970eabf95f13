"""The steps of the long short-term memory: kernels that pass once over the gates."""

from __future__ import annotations

import functools
from typing import Any

from nn_tensor.extend import kernel

__all__ = ["lstm_backward_steps", "lstm_forward_steps"]

Array = Any


@kernel
def lstm_forward_steps(
    xp: Any,
    gates: Array,
    product: Array | None,
    recurrent: Array,
    bias: Array,
    cells: Array,
    activated: Array,
    hidden: Array,
    spans: Array,
    first: int,
    last: int,
) -> None:
    """Compute the steps from `first` until before `last`.

    Args:
        xp: the array module.
        gates: ``(rows, 4 * size)``, on entry the products with the inputs, on return the gates:
            input, forget, cell, output.
        product: ``(batch, 4 * size)``, the product of the states with `recurrent`, or None: it is
            computed here.
        recurrent: ``(size, 4 * size)``.
        bias: ``(4 * size,)``.
        cells: ``(batch + rows, size)``, the cells, of which the initial ones are given.
        activated: ``(rows, size)``, for their hyperbolic tangent.
        hidden: ``(batch + rows, size)``, the hidden states; or ``(batch, size)``, for those of one
            step.
        spans: `Steps.spans`.
        first: the first step.
        last: the step to stop before.
    """
    size = cells.shape[1]
    batch = len(cells) - len(gates)
    multiply = product is None
    if product is None:
        product = xp.empty((batch, 4 * size), gates.dtype)
    for t in range(first, last):
        before, start, n = (int(number) for number in spans[t])
        rows = slice(start - batch, start - batch + n)
        z, states = gates[rows], slice(start, start + n)
        if multiply:
            xp.matmul(hidden[before : before + n], recurrent, out=product[:n])
        z += product[:n]
        z += bias
        sigmoids = z[:, : 2 * size], z[:, 3 * size :]
        for part in sigmoids:  # sigmoid(x) = (tanh(x / 2) + 1) / 2
            part *= 0.5
        xp.tanh(z, out=z)
        for part in sigmoids:
            part *= 0.5
            part += 0.5
        i, f, g, o = (z[:, k * size : (k + 1) * size] for k in range(4))
        cell, target = cells[states], activated[rows]
        xp.multiply(i, g, out=target)
        xp.multiply(f, cells[before : before + n], out=cell)
        cell += target
        xp.tanh(cell, out=target)
        xp.multiply(
            o, target, out=hidden[states] if multiply or len(hidden) > batch else hidden[:n]
        )


lstm_forward_steps.cpu("lstm_forward_steps")


@lstm_forward_steps.cuda
def _(
    cp: Any,
    gates: Array,
    product: Array | None,
    recurrent: Array,
    bias: Array,
    cells: Array,
    activated: Array,
    hidden: Array,
    spans: Array,
    first: int,
    last: int,
) -> None:
    size, batch = cells.shape[1], len(cells) - len(gates)
    multiply = product is None
    if product is None:
        product = cp.empty((batch, 4 * size), gates.dtype)
    for t in range(first, last):
        before, start, n = (int(number) for number in spans[t])
        rows, states = slice(start - batch, start - batch + n), slice(start, start + n)
        if multiply:
            cp.matmul(hidden[before : before + n], recurrent, out=product[:n])
        target = hidden[states] if multiply or len(hidden) > batch else hidden[:n]
        old = cells[before : before + n]
        written = gates[rows], cells[states], activated[rows], target
        _forward_on_cuda(cp)(product, bias, old, size, *written, size=n * size)


@functools.cache
def _forward_on_cuda(cp: Any) -> Any:
    return cp.ElementwiseKernel(
        "raw T product, raw T bias, raw T old, int64 size",
        "raw T gates, raw T cell, raw T activated, raw T hidden",
        """
        const long long j = i % size, k = i / size * 4 * size + j;
        T z[4];
        for (int gate = 0; gate < 4; ++gate)
            z[gate] = gates[k + gate * size] + product[k + gate * size] + bias[j + gate * size];
        for (int gate = 0; gate < 4; ++gate) {
            z[gate] = gate == 2 ? tanh(z[gate]) : T(0.5) * tanh(T(0.5) * z[gate]) + T(0.5);
            gates[k + gate * size] = z[gate];
        }
        const T value = z[1] * old[i] + z[0] * z[2];
        const T squashed = tanh(value);
        cell[i] = value;
        activated[i] = squashed;
        hidden[i] = z[3] * squashed;
        """,
        "nn_recurrent_lstm_forward",
    )


@kernel
def lstm_backward_steps(
    xp: Any,
    grad_gates: Array,
    grad_hidden: Array,
    grad_cells: Array,
    grad_outputs: Array,
    recurrent: Array,
    gates: Array,
    cells: Array,
    activated: Array,
    spans: Array,
    first: int,
    last: int,
    multiply: bool,
) -> None:
    """Compute the backward pass of the steps from the one before `last` down to `first`.

    Args:
        xp: the array module.
        grad_gates: ``(rows, 4 * size)``, for the gradient of the gates before their activations.
        grad_hidden: ``(batch, size)``, on entry the gradient of the hidden states from what
            follows, on return that of the states before.
        grad_cells: ``(batch, size)``, the same for the cells.
        grad_outputs: ``(rows, size)``, the gradient of the hidden states as outputs.
        recurrent: ``(4 * size, size)``, the recurrent weights transposed.
        gates: as `lstm_forward_steps` left them.
        cells: as `lstm_forward_steps` left them.
        activated: as `lstm_forward_steps` left them.
        spans: `Steps.spans`.
        first: the first step.
        last: the step after those.
        multiply: whether to multiply with `recurrent`; otherwise `grad_hidden` is left as it is.
    """
    size = cells.shape[1]
    batch = len(cells) - len(gates)
    for t in range(last - 1, first - 1, -1):
        before, start, n = (int(number) for number in spans[t])
        rows = slice(start - batch, start - batch + n)
        z, dz, tanh_cell = gates[rows], grad_gates[rows], activated[rows]
        i, f, g, o = (z[:, k * size : (k + 1) * size] for k in range(4))
        di, df, dg, do = (dz[:, k * size : (k + 1) * size] for k in range(4))
        dh = grad_hidden[:n] + grad_outputs[rows]
        dc = grad_cells[:n]
        xp.multiply(dh, tanh_cell, out=do)
        do *= o * (1 - o)
        dh *= o
        dc += dh * (1 - tanh_cell * tanh_cell)
        xp.multiply(dc, g, out=di)
        di *= i * (1 - i)
        xp.multiply(dc, cells[before : before + n], out=df)
        df *= f * (1 - f)
        xp.multiply(dc, i, out=dg)
        dg *= 1 - g * g
        dc *= f
        if multiply:
            xp.matmul(dz, recurrent, out=grad_hidden[:n])


lstm_backward_steps.cpu("lstm_backward_steps")


@lstm_backward_steps.cuda
def _(
    cp: Any,
    grad_gates: Array,
    grad_hidden: Array,
    grad_cells: Array,
    grad_outputs: Array,
    recurrent: Array,
    gates: Array,
    cells: Array,
    activated: Array,
    spans: Array,
    first: int,
    last: int,
    multiply: bool,
) -> None:
    size, batch = cells.shape[1], len(cells) - len(gates)
    for t in range(last - 1, first - 1, -1):
        before, start, n = (int(number) for number in spans[t])
        rows = slice(start - batch, start - batch + n)
        read = grad_hidden, grad_outputs[rows], gates[rows], activated[rows]
        written = grad_gates[rows], grad_cells
        old = cells[before : before + n]
        _backward_on_cuda(cp)(*read, old, size, *written, size=n * size)
        if multiply:
            cp.matmul(grad_gates[rows], recurrent, out=grad_hidden[:n])


@functools.cache
def _backward_on_cuda(cp: Any) -> Any:
    return cp.ElementwiseKernel(
        "raw T grad_hidden, raw T grad_outputs, raw T gates, raw T activated, raw T old,"
        " int64 size",
        "raw T grad_gates, raw T grad_cells",
        """
        const long long k = i / size * 4 * size + i % size;
        const T in = gates[k], forget = gates[k + size], g = gates[k + 2 * size];
        const T out = gates[k + 3 * size], squashed = activated[i];
        const T dh = grad_hidden[i] + grad_outputs[i];
        const T dc = grad_cells[i] + dh * out * (1 - squashed * squashed);
        grad_gates[k] = dc * g * in * (1 - in);
        grad_gates[k + size] = dc * old[i] * forget * (1 - forget);
        grad_gates[k + 2 * size] = dc * in * (1 - g * g);
        grad_gates[k + 3 * size] = dh * squashed * out * (1 - out);
        grad_cells[i] = dc * forget;
        """,
        "nn_recurrent_lstm_backward",
    )
