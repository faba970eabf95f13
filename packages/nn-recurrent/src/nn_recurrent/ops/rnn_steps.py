"""The steps of the simple recurrent network, as kernels."""

from __future__ import annotations

from typing import Any

from nn_tensor.extend import kernel

__all__ = ["rnn_backward_steps", "rnn_forward_steps"]

Array = Any


@kernel
def rnn_forward_steps(
    xp: Any,
    hidden: Array,
    recurrent: Array,
    mask: Array | float,
    spans: Array,
    batch: int,
    nonlinearity: str,
) -> None:
    """Compute all steps of the forward pass.

    Args:
        xp: the array module.
        hidden: ``(batch + rows, size)``, the initial states and then, on entry, the products with
            the inputs plus the bias, on return the hidden states.
        recurrent: ``(size, size)``.
        mask: ``(batch, size)``, a factor of the states in the products with `recurrent`, or 1.0.
        spans: `Steps.spans`.
        batch: the number of sequences.
        nonlinearity: ``'tanh'`` or ``'relu'``.
    """
    product = xp.empty((batch, hidden.shape[1]), hidden.dtype)
    for before, start, n in spans.tolist():
        previous, state = hidden[before : before + n], hidden[start : start + n]
        if not isinstance(mask, float):
            previous = previous * mask[:n]
        state += xp.matmul(previous, recurrent, out=product[:n])
        if nonlinearity == "tanh":
            xp.tanh(state, out=state)
        else:
            xp.maximum(state, 0, out=state)


rnn_forward_steps.cpu("rnn_forward_steps")


@kernel
def rnn_backward_steps(
    xp: Any,
    grad_sums: Array,
    grad_hidden: Array,
    grad_outputs: Array,
    recurrent: Array,
    hidden: Array,
    mask: Array | float,
    grad_mask: Any,
    spans: Array,
    nonlinearity: str,
) -> None:
    """Compute the backward pass of all steps.

    Args:
        xp: the array module.
        grad_sums: ``(rows, size)``, for the gradient of what the nonlinearity is applied to.
        grad_hidden: ``(batch, size)``, on entry the gradient of the last hidden states, on return
            that of the initial ones.
        grad_outputs: ``(rows, size)``, the gradient of the hidden states as outputs.
        recurrent: ``(size, size)``, the recurrent weights transposed.
        hidden: as `rnn_forward_steps` left them.
        mask: as in `rnn_forward_steps`.
        grad_mask: zeros, for the gradient of the mask, or None.
        spans: `Steps.spans`.
        nonlinearity: ``'tanh'`` or ``'relu'``.
    """
    batch = len(hidden) - len(grad_sums)
    states = hidden[batch:]
    derivative = 1 - states * states if nonlinearity == "tanh" else states > 0
    for before, start, n in reversed(spans.tolist()):
        rows = slice(start - batch, start - batch + n)
        target, grad_sum = grad_hidden[:n], grad_sums[rows]
        xp.add(target, grad_outputs[rows], out=grad_sum)
        if nonlinearity == "tanh":
            grad_sum *= derivative[rows]
        else:  # a product would make NaN of an infinite gradient
            xp.copyto(grad_sum, 0, where=~derivative[rows])
        xp.matmul(grad_sum, recurrent, out=target)
        if grad_mask is not None:
            grad_mask[:n] += target * hidden[before : before + n]
        if not isinstance(mask, float):
            target *= mask[:n]


rnn_backward_steps.cpu("rnn_backward_steps")
