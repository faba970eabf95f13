r"""The long short-term memory over a whole batch of sequences, as one operation.

The products with the inputs of all steps are one product of matrices, as are, after the steps of
the backward pass, those that give the gradients of the weights. In between, a step is one product
with the recurrent weights and one pass over the gates, which a compiled kernel makes without
writing anything twice (the structure of the layers of haste, Nanavati, 2020).
"""

from __future__ import annotations

import functools
from typing import Any

from nn_tensor import Tensor, concatenate, sigmoid, tanh
from nn_tensor.extend import array_module, op

from nn_recurrent.ops.lstm_steps import lstm_backward_steps, lstm_forward_steps
from nn_recurrent.ops.recorded import gradients_of
from nn_recurrent.ops.shared import masked_before, split, widen
from nn_recurrent.ops.steps import Steps

__all__ = ["lstm"]

Array = Any


@op(keeps=("gates", "cells", "activated", "hidden"), precision="low")
def lstm(
    xp: Any,
    x: Any,
    weights: Any,
    recurrent: Any,
    bias: Any,
    hidden0: Any,
    cell0: Any,
    mask: Any,
    projection: Any,
    /,
    steps: Steps,
) -> Any:
    r"""Return all hidden states, and hidden state and cell after the last steps, as one vector.

    .. math:: i, f, o = \sigma(x_t W + h_{t-1} R + b), \quad g = \tanh(x_t W + h_{t-1} R + b)
    .. math:: c_t = f c_{t-1} + i g, \quad h_t = (o \tanh c_t) P

    Args:
        x: packed inputs, ``(rows, input_size)``.
        weights: ``(input_size, 4 * size)``, for the input, forget, cell and output gate.
        recurrent: ``(state_size, 4 * size)``.
        bias: ``(4 * size,)``, or 0.0.
        hidden0: the initial hidden states, ``(batch, state_size)``.
        cell0: the initial cells, ``(batch, size)``.
        mask: ``(batch, state_size)``, a factor of the states in the products with `recurrent`, or
            1.0.
        projection: ``(size, state_size)``, or 1.0 where both sizes are the same.
        steps: how the sequences are packed.
    """
    dtype = x.dtype
    x, weights, recurrent, bias, hidden0, cell0, mask, projection = widen(
        x, weights, recurrent, bias, hidden0, cell0, mask, projection
    )
    batch, size, wide = steps.batch, cell0.shape[1], x.dtype
    gates = xp.matmul(x, weights)
    if isinstance(bias, float):
        bias = xp.full(4 * size, bias, wide)
    rows, state_size = batch + steps.total, hidden0.shape[1]
    states = rows * state_size
    result = xp.empty(states + batch * (state_size + size), wide)
    hidden = result[:states].reshape(rows, state_size)
    cells, activated = xp.empty((rows, size), wide), xp.empty((steps.total, size), wide)
    hidden[:batch], cells[:batch] = hidden0, cell0
    recurrent = xp.ascontiguousarray(recurrent)
    projected, masked = not isinstance(projection, float), not isinstance(mask, float)
    arrays = recurrent, bias, cells, activated
    spans, count = steps.spans, len(steps.spans)
    if not projected and not masked:
        lstm_forward_steps(xp, gates, None, *arrays, hidden, spans, 0, count)
    else:
        product = xp.empty((batch, 4 * size), wide)
        own = xp.empty((batch, size), wide) if projected else hidden
        for t, (before, start, n) in enumerate(spans.tolist()):
            previous = hidden[before : before + n]
            if masked:
                previous = previous * mask[:n]
            xp.matmul(previous, recurrent, out=product[:n])
            lstm_forward_steps(xp, gates, product, *arrays, own, spans, t, t + 1)
            if projected:
                xp.matmul(own[:n], projection, out=hidden[start : start + n])
    out = result[batch * state_size :]
    _, final_hidden, final_cells = split(out, steps, state_size, size)
    steps.final(hidden, final_hidden)
    steps.final(cells, final_cells)
    return out.astype(dtype, copy=False), gates, cells, activated, hidden


@lstm.joint_gradient("x", "weights", "recurrent", "bias", "hidden0", "cell0", "mask", "projection")
def _(
    g: Any,
    x: Any,
    weights: Any,
    recurrent: Any,
    bias: Any,
    hidden0: Any,
    cell0: Any,
    mask: Any,
    projection: Any,
    gates: Any,
    cells: Any,
    activated: Any,
    hidden: Any,
    steps: Steps,
    wanted: tuple[bool, ...],
) -> Any:
    inputs = x, weights, recurrent, bias, hidden0, cell0, mask, projection
    if isinstance(g, Tensor):
        reference = functools.partial(_reference, steps=steps)
        return gradients_of(reference, g, inputs, wanted)
    xp = array_module(g)
    g, x, weights, recurrent, bias, hidden0, cell0, mask, projection = widen(g, *inputs)
    batch, total = steps.batch, steps.total
    size, state_size = cells.shape[1], hidden.shape[1]
    parts = split(xp.ascontiguousarray(g), steps, state_size, size)
    grad_outputs, grad_hidden, grad_cells = parts[0], parts[1].copy(), parts[2].copy()
    grad_gates = xp.empty_like(gates)
    transposed = xp.ascontiguousarray(recurrent.T)
    projected, masked = not isinstance(projection, float), not isinstance(mask, float)
    saved = transposed, gates, cells, activated
    spans, count = steps.spans, len(steps.spans)
    grad_mask = xp.zeros_like(hidden0) if wanted[6] else None
    if not projected and not masked and grad_mask is None:
        lstm_backward_steps(
            xp, grad_gates, grad_hidden, grad_cells, grad_outputs, *saved, spans, 0, count, True
        )
    else:
        if projected:
            grad_projected = grad_outputs.copy()
            from_projection = xp.zeros((total, size), gates.dtype)
            none = xp.zeros((batch, size), gates.dtype)
        for t in range(count - 1, -1, -1):
            before, start, n = (int(number) for number in spans[t])
            rows = slice(start - batch, start - batch + n)
            if projected:
                grad_projected[rows] += grad_hidden[:n]
                xp.matmul(grad_projected[rows], projection.T, out=from_projection[rows])
                given = none, grad_cells, from_projection
            else:
                given = grad_hidden, grad_cells, grad_outputs
            lstm_backward_steps(xp, grad_gates, *given, *saved, spans, t, t + 1, False)
            target = grad_hidden[:n]
            xp.matmul(grad_gates[rows], transposed, out=target)
            if grad_mask is not None:
                grad_mask[:n] += target * hidden[before : before + n]
            if masked:
                target *= mask[:n]
    grad_projection = None
    if wanted[7]:
        outputs_before = gates[:, 3 * size :] * activated
        grad_projection = xp.matmul(outputs_before.T, grad_projected)
    return (
        xp.matmul(grad_gates, weights.T) if wanted[0] else None,
        xp.matmul(x.T, grad_gates) if wanted[1] else None,
        xp.matmul(masked_before(xp, hidden, mask, steps).T, grad_gates) if wanted[2] else None,
        grad_gates.sum(0) if wanted[3] else None,
        grad_hidden if wanted[4] else None,
        grad_cells if wanted[5] else None,
        grad_mask,
        grad_projection,
    )


def _reference(
    x: Any,
    weights: Any,
    recurrent: Any,
    bias: Any,
    hidden: Any,
    cell: Any,
    mask: Any,
    projection: Any,
    steps: Steps,
) -> Tensor:
    """Compute `lstm` by a loop of recorded operations."""
    size = cell.shape[1]
    outputs, finals = [], []
    for _, start, n in steps.spans.tolist():
        if n < len(hidden):
            finals.append((hidden[n:], cell[n:]))
        hidden, cell = hidden[:n], cell[:n]
        factor = mask if isinstance(mask, float) else mask[:n]
        row = start - steps.batch
        z = x[row : row + n] @ weights + (hidden * factor) @ recurrent + bias
        i, f, g, o = (z[:, k * size : (k + 1) * size] for k in range(4))
        cell = sigmoid(f) * cell + sigmoid(i) * tanh(g)
        hidden = sigmoid(o) * tanh(cell)
        if not isinstance(projection, float):
            hidden = hidden @ projection
        outputs.append(hidden.reshape(-1))
    finals.append((hidden, cell))
    finals.reverse()
    parts = [*outputs, *(h.reshape(-1) for h, _ in finals), *(c.reshape(-1) for _, c in finals)]
    return concatenate(parts)
