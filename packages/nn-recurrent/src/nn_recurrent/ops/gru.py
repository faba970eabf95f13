r"""The gated recurrent unit over a whole batch of sequences, as one operation.

The structure is that of `nn_recurrent.ops.lstm`. There are two variants, which differ in where the
reset gate acts: after the product with the recurrent weights, so that one product serves all gates
(as in cuDNN and PyTorch), or before it (as in the paper).
"""

from __future__ import annotations

import functools
from typing import Any

from nn_tensor import Tensor, concatenate, sigmoid, tanh
from nn_tensor.extend import array_module, op

from nn_recurrent.ops.gru_before_steps import gru_before_backward_steps, gru_before_forward_steps
from nn_recurrent.ops.gru_steps import add_masked, gru_backward_steps, gru_forward_steps
from nn_recurrent.ops.recorded import gradients_of
from nn_recurrent.ops.shared import masked_before, split, widen
from nn_recurrent.ops.steps import Steps

__all__ = ["gru"]

Array = Any


@op(keeps=("gates", "candidates", "hidden"), precision="low")
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

    .. math:: r, u = \sigma(x_t W + h_{t-1} R + b), \quad h_t = (1 - u) n + u h_{t-1}
    .. math:: n = \tanh(x_t W + b + r (h_{t-1} R + b_R)) \quad \text{or} \quad
        n = \tanh(x_t W + b + (r h_{t-1}) R)

    Args:
        x: packed inputs, ``(rows, input_size)``.
        weights: ``(input_size, 3 * size)``, for the reset and the update gate and the new state.
        recurrent: ``(size, 3 * size)``.
        bias: ``(3 * size,)``, or 0.0.
        recurrent_bias: ``(size,)``, or 0.0; without effect unless `reset_after`.
        hidden0: the initial hidden states, ``(batch, size)``.
        mask: ``(batch, size)``, a factor of the states in the products with `recurrent`, or 1.0.
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
    recurrent = xp.ascontiguousarray(recurrent)
    arrays = recurrent, biases, candidates, hidden
    spans, count = steps.spans, len(steps.spans)
    if not reset_after:
        gru_before_forward_steps(xp, gates, *arrays, mask, spans)
    elif isinstance(mask, float):
        gru_forward_steps(xp, gates, None, *arrays, spans, 0, count)
    else:
        product = xp.empty((batch, 3 * size), wide)
        for t, (before, _, n) in enumerate(spans.tolist()):
            previous = hidden[before : before + n]
            xp.matmul(previous * mask[:n], recurrent, out=product[:n])
            gru_forward_steps(xp, gates, product, *arrays, spans, t, t + 1)
    out = result[batch * size :]
    steps.final(hidden, split(out, steps, size)[1])
    return out.astype(dtype, copy=False), gates, candidates, hidden


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
        gru_before_backward_steps(
            xp,
            grad_gates,
            grad_hidden,
            grad_outputs,
            transposed,
            gates,
            hidden,
            mask,
            grad_mask,
            spans,
        )
    elif isinstance(mask, float) and grad_mask is None:
        gru_backward_steps(xp, *arrays, spans, 0, count, True)
    else:
        product = xp.empty((batch, size), gates.dtype)
        for t in range(count - 1, -1, -1):
            before, start, n = spans[t].tolist()
            rows = slice(start - batch, start - batch + n)
            gru_backward_steps(xp, *arrays, spans, t, t + 1, False)
            xp.matmul(grad_gates[rows, : 3 * size], transposed, out=product[:n])
            add_masked(product[:n], grad_hidden, hidden[before : before + n], mask, grad_mask)
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
    """Compute `gru` by a loop of recorded operations."""
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
