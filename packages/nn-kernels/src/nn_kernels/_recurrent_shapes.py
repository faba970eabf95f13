"""Whether the arrays of recurrent steps have the shapes that the kernels rely on.

These are functions of Python, which ask once for all steps, and are compiled into the loops that
compute one step at a time: there they cost nothing.
"""

from __future__ import annotations

__all__ = [
    "are_inside",
    "gru_backward_fits",
    "gru_forward_fits",
    "lstm_backward_fits",
    "lstm_forward_fits",
]


def are_inside(spans, first, last, batch, states):  # type: ignore[no-untyped-def]
    """Return whether the steps from `first` until before `last` have their rows in arrays.

    These are `states` rows, of which the first `batch` are the initial states. The first of the
    steps has most sequences.
    """
    if spans.shape != (len(spans), 3) or first < 0 or first > last or last > len(spans):
        return False
    if first == last:
        return True
    end = spans[last - 1, 1] + spans[last - 1, 2]
    return spans[first, 2] <= batch <= spans[first, 1] and end <= states


def lstm_forward_fits(gates, product, recurrent, bias, cells, activated, hidden, multiply):  # type: ignore[no-untyped-def]
    """Return whether the arrays of the forward pass belong together.

    With the products given, there may be the hidden states of one step only.
    """
    rows, size = len(gates), cells.shape[-1]
    batch = len(cells) - rows
    if cells.shape != (batch + rows, size) or gates.shape != (rows, 4 * size):
        return False
    if activated.shape != (rows, size) or bias.shape != (4 * size,):
        return False
    if multiply:
        return hidden.shape == cells.shape and recurrent.shape == (size, 4 * size)
    alone = hidden.shape == (batch, size)
    return (alone or hidden.shape == cells.shape) and product.shape == (batch, 4 * size)


def lstm_backward_fits(  # type: ignore[no-untyped-def]
    grad_gates,
    grad_hidden,
    grad_cells,
    grad_outputs,
    recurrent,
    gates,
    cells,
    activated,
    multiply,
):
    """Return whether the arrays of the backward pass belong together."""
    rows, size = len(gates), cells.shape[-1]
    batch = len(cells) - rows
    if cells.shape != (batch + rows, size) or gates.shape != (rows, 4 * size):
        return False
    if grad_gates.shape != gates.shape or activated.shape != (rows, size):
        return False
    if grad_outputs.shape != activated.shape or grad_hidden.shape != (batch, size):
        return False
    fits = not multiply or recurrent.shape == (4 * size, size)
    return fits and grad_cells.shape == grad_hidden.shape


def gru_forward_fits(gates, product, recurrent, bias, candidates, hidden, multiply):  # type: ignore[no-untyped-def]
    """Return whether the arrays of the forward pass belong together."""
    rows, size = len(gates), hidden.shape[-1]
    batch = len(hidden) - rows
    if hidden.shape != (batch + rows, size) or gates.shape != (rows, 3 * size):
        return False
    if candidates.shape != (rows, size) or bias.shape != (4 * size,):
        return False
    if multiply:
        return recurrent.shape == (size, 3 * size)
    return product.shape == (batch, 3 * size)


def gru_backward_fits(  # type: ignore[no-untyped-def]
    grad_gates, grad_hidden, grad_outputs, recurrent, gates, candidates, hidden, multiply
):
    """Return whether the arrays of the backward pass belong together; some have no candidates."""
    rows, size = len(gates), hidden.shape[-1]
    batch = len(hidden) - rows
    if candidates is not None and candidates.shape != (rows, size):
        return False
    if hidden.shape != (batch + rows, size) or gates.shape != (rows, 3 * size):
        return False
    if grad_gates.shape != (rows, 4 * size) or grad_outputs.shape != (rows, size):
        return False
    fits = not multiply or recurrent.shape == (3 * size, size)
    return fits and grad_hidden.shape == (batch, size)
