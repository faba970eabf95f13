"""Steps of recurrent layers in any dtype, with products of matrices outside or in plain loops."""

from __future__ import annotations

import numpy as np

from nn_kernels import _recurrent_shapes as shapes
from nn_kernels._compile import subroutine
from nn_kernels._recurrent_rows import (
    gru_backward_row,
    gru_forward_row,
    lstm_backward_row,
    lstm_forward_row,
)

__all__ = ["gru_backward", "gru_forward", "lstm_backward", "lstm_forward"]

_are_inside = subroutine(returns="boolean")(shapes.are_inside)
_gru_backward_fits = subroutine(returns="boolean")(shapes.gru_backward_fits)
_gru_forward_fits = subroutine(returns="boolean")(shapes.gru_forward_fits)
_lstm_backward_fits = subroutine(returns="boolean")(shapes.lstm_backward_fits)
_lstm_forward_fits = subroutine(returns="boolean")(shapes.lstm_forward_fits)


@subroutine()
def _multiply(x, weights, columns, product):  # type: ignore[no-untyped-def]
    """Write a row times weights: for small ones faster than a call of a library."""
    taps = weights.shape[0]
    for j in range(columns):
        product[j] = 0
    for k in range(0, taps - 3, 4):
        x0, x1, x2, x3 = x[k], x[k + 1], x[k + 2], x[k + 3]
        w0, w1, w2, w3 = weights[k], weights[k + 1], weights[k + 2], weights[k + 3]
        for j in range(columns):
            product[j] += x0 * w0[j] + x1 * w1[j] + x2 * w2[j] + x3 * w3[j]
    for k in range(taps - taps % 4, taps):
        x0, w0 = x[k], weights[k]
        for j in range(columns):
            product[j] += x0 * w0[j]


@subroutine(returns="boolean")
def lstm_forward(  # type: ignore[no-untyped-def]
    gates, product, recurrent, bias, cells, activated, hidden, spans, first, last, multiply
):
    """Compute steps, with the products for one of them or, if `multiply`, by itself.

    Like the others it does nothing and returns False if the arrays do not belong together.
    """
    size, batch = cells.shape[1], len(cells) - len(gates)
    if not _are_inside(spans, first, last, batch, len(cells)) or not _lstm_forward_fits(
        gates, product, recurrent, bias, cells, activated, hidden, multiply
    ):
        return False
    whole = multiply or len(hidden) > batch
    for t in range(first, last):
        before, start, n = spans[t, 0], spans[t, 1], spans[t, 2]
        for s in range(n):
            row, p = start - batch + s, product[s]
            if multiply:
                _multiply(hidden[before + s], recurrent, 4 * size, p)
            state = hidden[start + s] if whole else hidden[s]
            old, cell, out = cells[before + s], cells[start + s], activated[row]
            lstm_forward_row(gates[row], p, bias, old, cell, out, state)
    return True


@subroutine(returns="boolean")
def lstm_backward(  # type: ignore[no-untyped-def]
    grad_gates,
    grad_hidden,
    grad_cells,
    grad_outputs,
    recurrent,
    gates,
    cells,
    activated,
    spans,
    first,
    last,
    multiply,
):
    """Compute the backward pass of steps, with the products if `multiply`."""
    size, batch = cells.shape[1], len(cells) - len(gates)
    if not _are_inside(spans, first, last, batch, len(cells)) or not _lstm_backward_fits(
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
        return False
    dh = np.empty(size, gates.dtype)
    for t in range(last - 1, first - 1, -1):
        before, start, n = spans[t, 0], spans[t, 1], spans[t, 2]
        for s in range(n):
            row = start - batch + s
            incoming, given, dz = grad_hidden[s], grad_outputs[row], grad_gates[row]
            for j in range(size):
                dh[j] = incoming[j] + given[j]
            old, dc = cells[before + s], grad_cells[s]
            lstm_backward_row(dh, dz, gates[row], activated[row], old, dc)
            if multiply:
                _multiply(dz, recurrent, size, incoming)
    return True


@subroutine(returns="boolean")
def gru_forward(  # type: ignore[no-untyped-def]
    gates, product, recurrent, bias, candidates, hidden, spans, first, last, multiply
):
    """Compute steps, with the products for one of them or, if `multiply`, by itself."""
    size, batch = hidden.shape[1], len(hidden) - len(gates)
    if not _are_inside(spans, first, last, batch, len(hidden)) or not _gru_forward_fits(
        gates, product, recurrent, bias, candidates, hidden, multiply
    ):
        return False
    for t in range(first, last):
        before, start, n = spans[t, 0], spans[t, 1], spans[t, 2]
        for s in range(n):
            row, p, old = start - batch + s, product[s], hidden[before + s]
            if multiply:
                _multiply(old, recurrent, 3 * size, p)
            gru_forward_row(gates[row], p, bias, candidates[row], old, hidden[start + s])
    return True


@subroutine(returns="boolean")
def gru_backward(  # type: ignore[no-untyped-def]
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
    """Compute the backward pass of steps, with the products if `multiply`."""
    size, batch = hidden.shape[1], len(hidden) - len(gates)
    if not _are_inside(spans, first, last, batch, len(hidden)) or not _gru_backward_fits(
        grad_gates, grad_hidden, grad_outputs, recurrent, gates, candidates, hidden, multiply
    ):
        return False
    product = np.empty(size, gates.dtype)
    for t in range(last - 1, first - 1, -1):
        before, start, n = spans[t, 0], spans[t, 1], spans[t, 2]
        for s in range(n):
            row = start - batch + s
            dh, given, dz = grad_hidden[s], grad_outputs[row], grad_gates[row]
            for j in range(size):
                dh[j] += given[j]
            gru_backward_row(dh, dz, gates[row], candidates[row], hidden[before + s])
            if multiply:
                _multiply(dz[: 3 * size], recurrent, size, product)
                for j in range(size):
                    dh[j] += product[j]
    return True
