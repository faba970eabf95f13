"""The simple recurrent network over a whole batch of sequences, as one operation."""

from __future__ import annotations

import functools
from typing import Any

from nn_tensor import Tensor, concatenate, relu, tanh
from nn_tensor.extend import array_module, op

from nn_recurrent.ops.recorded import gradients_of
from nn_recurrent.ops.rnn_steps import rnn_backward_steps, rnn_forward_steps
from nn_recurrent.ops.shared import masked_before, split, widen
from nn_recurrent.ops.steps import Steps

__all__ = ["rnn"]


@op(keeps=("hidden",), precision="low")
def rnn(
    xp: Any,
    x: Any,
    weights: Any,
    recurrent: Any,
    bias: Any,
    hidden0: Any,
    mask: Any,
    /,
    steps: Steps,
    nonlinearity: str = "tanh",
) -> Any:
    r"""Return all hidden states, and those after the last steps, as one vector.

    .. math:: h_t = \tanh(x_t W + h_{t-1} R + b)

    Args:
        x: packed inputs, ``(rows, input_size)``.
        weights: ``(input_size, size)``.
        recurrent: ``(size, size)``.
        bias: ``(size,)``, or 0.0.
        hidden0: the initial hidden states, ``(batch, size)``.
        mask: ``(batch, size)``, a factor of the states in the products with `recurrent`, or 1.0.
        steps: how the sequences are packed.
        nonlinearity: ``'tanh'`` or ``'relu'``.
    """
    dtype = x.dtype
    x, weights, recurrent, bias, hidden0, mask = widen(x, weights, recurrent, bias, hidden0, mask)
    batch, size = hidden0.shape
    rows = batch + steps.total
    result = xp.empty((rows + batch) * size, x.dtype)
    hidden = result[: rows * size].reshape(rows, size)
    hidden[:batch] = hidden0
    xp.matmul(x, weights, out=hidden[batch:])
    hidden[batch:] += bias
    recurrent = xp.ascontiguousarray(recurrent)
    rnn_forward_steps(xp, hidden, recurrent, mask, steps.spans, batch, nonlinearity)
    out = result[batch * size :]
    steps.final(hidden, split(out, steps, size)[1])
    return out.astype(dtype, copy=False), hidden


@rnn.joint_gradient("x", "weights", "recurrent", "bias", "hidden0", "mask")
def _(
    g: Any,
    x: Any,
    weights: Any,
    recurrent: Any,
    bias: Any,
    hidden0: Any,
    mask: Any,
    hidden: Any,
    steps: Steps,
    nonlinearity: str,
    wanted: tuple[bool, ...],
) -> Any:
    inputs = x, weights, recurrent, bias, hidden0, mask
    if isinstance(g, Tensor):
        reference = functools.partial(_reference, steps=steps, nonlinearity=nonlinearity)
        return gradients_of(reference, g, inputs, wanted)
    xp = array_module(g)
    g, x, weights, recurrent, bias, hidden0, mask = widen(g, *inputs)
    size = hidden0.shape[1]
    grad_outputs, grad_hidden = split(xp.ascontiguousarray(g), steps, size)
    grad_hidden = grad_hidden.copy()
    grad_sums = xp.empty((steps.total, size), hidden.dtype)
    grad_mask = xp.zeros_like(hidden0) if wanted[5] else None
    rnn_backward_steps(
        xp,
        grad_sums,
        grad_hidden,
        grad_outputs,
        xp.ascontiguousarray(recurrent.T),
        hidden,
        mask,
        grad_mask,
        steps.spans,
        nonlinearity,
    )
    return (
        xp.matmul(grad_sums, weights.T) if wanted[0] else None,
        xp.matmul(x.T, grad_sums) if wanted[1] else None,
        xp.matmul(masked_before(xp, hidden, mask, steps).T, grad_sums) if wanted[2] else None,
        grad_sums.sum(0) if wanted[3] else None,
        grad_hidden if wanted[4] else None,
        grad_mask,
    )


def _reference(
    x: Any,
    weights: Any,
    recurrent: Any,
    bias: Any,
    hidden: Any,
    mask: Any,
    steps: Steps,
    nonlinearity: str,
) -> Tensor:
    """Compute `rnn` by a loop of recorded operations."""
    activation = tanh if nonlinearity == "tanh" else relu
    outputs, finals = [], []
    for _, start, n in steps.spans.tolist():
        if n < len(hidden):
            finals.append(hidden[n:])
        hidden = hidden[:n]
        factor = mask if isinstance(mask, float) else mask[:n]
        row = start - steps.batch
        hidden = activation(x[row : row + n] @ weights + (hidden * factor) @ recurrent + bias)
        outputs.append(hidden.reshape(-1))
    finals.append(hidden)
    return concatenate([*outputs, *(h.reshape(-1) for h in reversed(finals))])
