"""The steps of recurrent layers: all of them in one job where it can be, else one at a time.

Arguments are those of the kernels of nn-recurrent: packed rows, and for each step where the rows of
the step before begin, where its own begin, and their number.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nn_kernels import _recurrent_jobs as jobs
from nn_kernels import _recurrent_steps as steps
from nn_kernels._compile import errors
from nn_kernels._recurrent_shapes import (
    are_inside,
    gru_backward_fits,
    gru_forward_fits,
    lstm_backward_fits,
    lstm_forward_fits,
)
from nn_kernels._threads import run
from nn_kernels._vectors import LANES

__all__ = [
    "gru_backward_steps",
    "gru_before_backward_steps",
    "gru_before_forward_steps",
    "gru_forward_steps",
    "lstm_backward_steps",
    "lstm_forward_steps",
    "rnn_backward_steps",
    "rnn_forward_steps",
]

Array = Any

# Up to so many multiplications in a step, plain loops are faster than a library.
_MAX_LOOPS = 1 << 18


def _is_job(*arrays: Array) -> bool:
    """Return whether all arrays are contiguous float32 with elements."""
    return all(x.dtype == np.float32 and x.size and x.flags.c_contiguous for x in arrays)


def _room(columns: int) -> int:
    """Return a number of columns rounded up to whole vectors."""
    return -(-columns // LANES) * LANES


def _run(job: Any, spans: Array, batch: int, columns: int, *arguments: Any) -> None:
    """Run the steps of a job, a part for each `ROWS` sequences, with room for their products."""
    given = [np.ascontiguousarray(spans, np.int64), len(spans), batch, *arguments]
    work = len(spans) * batch * arguments[0] * columns // 8  # with the activations
    run(job, given, -(-batch // jobs.ROWS), jobs.ROWS * columns, work)


def _loop(function: Any, *arguments: Any) -> Any:
    """Compute steps in loops, which return whether the arrays fit."""
    try:
        return None if function(*arguments) else NotImplemented
    except errors.TypingError:  # an array has another number of axes
        return NotImplemented


def lstm_forward_steps(
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
) -> Any:
    """Compute the steps of a long short-term memory from `first` until before `last`."""
    common = gates, product, recurrent, bias, cells, activated
    if product is not None:
        return _loop(steps.lstm_forward, *common, hidden, spans, first, last, False)
    size, batch = cells.shape[-1], len(cells) - len(gates)
    arrays = gates, hidden, cells, activated
    fits = lstm_forward_fits(*common, hidden, True)
    if not fits or not are_inside(spans, first, last, batch, len(cells)):
        return NotImplemented
    if _is_job(*arrays, recurrent, bias):
        weights = jobs.panels(recurrent)
        columns = _room(recurrent.shape[1])
        given = size, columns, *arrays, weights, bias
        _run(jobs.lstm_forward, spans[first:last], batch, columns, *given)
        return None
    product = np.empty((batch, 4 * size), gates.dtype)
    common = gates, product, recurrent, bias, cells, activated
    if recurrent.size * batch <= _MAX_LOOPS:
        steps.lstm_forward(*common, hidden, spans, first, last, True)
        return None
    for t in range(first, last):
        before, _, n = spans[t].tolist()
        np.matmul(hidden[before : before + n], recurrent, out=product[:n])
        steps.lstm_forward(*common, hidden, spans, t, t + 1, False)
    return None


def lstm_backward_steps(
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
) -> Any:
    """Compute the backward pass of the steps from the one before `last` down to `first`."""
    read = gates, cells, activated
    grads = grad_gates, grad_hidden, grad_cells, grad_outputs
    if not multiply:
        return _loop(steps.lstm_backward, *grads, recurrent, *read, spans, first, last, False)
    size, batch = cells.shape[-1], len(cells) - len(gates)
    fits = lstm_backward_fits(*grads, recurrent, *read, True)
    if not fits or not are_inside(spans, first, last, batch, len(cells)):
        return NotImplemented
    if _is_job(*read, *grads, recurrent):
        weights = jobs.panels(recurrent)
        columns = _room(recurrent.shape[1])
        given = size, columns, *read, weights, *grads
        _run(jobs.lstm_backward, spans[first:last], batch, columns, *given)
        return None
    if recurrent.size * batch <= _MAX_LOOPS:
        steps.lstm_backward(*grads, recurrent, *read, spans, first, last, True)
        return None
    for t in range(last - 1, first - 1, -1):
        _, start, n = spans[t].tolist()
        steps.lstm_backward(*grads, recurrent, *read, spans, t, t + 1, False)
        row = start - batch
        np.matmul(grad_gates[row : row + n], recurrent, out=grad_hidden[:n])
    return None


def gru_forward_steps(
    gates: Array,
    product: Array | None,
    recurrent: Array,
    bias: Array,
    candidates: Array,
    hidden: Array,
    spans: Array,
    first: int,
    last: int,
) -> Any:
    """Compute the steps of a gated recurrent unit with the reset after the product."""
    common = gates, product, recurrent, bias, candidates, hidden
    if product is not None:
        return _loop(steps.gru_forward, *common, spans, first, last, False)
    size, batch = hidden.shape[-1], len(hidden) - len(gates)
    fits = gru_forward_fits(*common, True)
    if not fits or not are_inside(spans, first, last, batch, len(hidden)):
        return NotImplemented
    if _is_job(gates, hidden, candidates, recurrent, bias):
        weights = jobs.panels(recurrent)
        columns = _room(recurrent.shape[1])
        given = size, columns, gates, hidden, candidates, weights, bias
        _run(jobs.gru_forward, spans[first:last], batch, columns, *given)
        return None
    product = np.empty((batch, 3 * size), gates.dtype)
    common = gates, product, recurrent, bias, candidates, hidden
    if recurrent.size * batch <= _MAX_LOOPS:
        steps.gru_forward(*common, spans, first, last, True)
        return None
    for t in range(first, last):
        before, _, n = spans[t].tolist()
        np.matmul(hidden[before : before + n], recurrent, out=product[:n])
        steps.gru_forward(*common, spans, t, t + 1, False)
    return None


def gru_backward_steps(
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
) -> Any:
    """Compute the backward pass of `gru_forward_steps`."""
    grads, read = (grad_gates, grad_hidden, grad_outputs), (gates, candidates, hidden)
    if not multiply:
        return _loop(steps.gru_backward, *grads, recurrent, *read, spans, first, last, False)
    size, batch = hidden.shape[-1], len(hidden) - len(gates)
    fits = gru_backward_fits(*grads, recurrent, *read, True)
    if not fits or not are_inside(spans, first, last, batch, len(hidden)):
        return NotImplemented
    if _is_job(*grads, *read, recurrent):
        weights = jobs.panels(recurrent)
        columns = _room(recurrent.shape[1])
        given = size, columns, gates, hidden, candidates, weights, *grads
        _run(jobs.gru_backward, spans[first:last], batch, columns, *given)
        return None
    if recurrent.size * batch <= _MAX_LOOPS:
        steps.gru_backward(*grads, recurrent, *read, spans, first, last, True)
        return None
    for t in range(last - 1, first - 1, -1):
        _, start, n = spans[t].tolist()
        steps.gru_backward(*grads, recurrent, *read, spans, t, t + 1, False)
        row = start - batch
        grad_hidden[:n] += grad_gates[row : row + n, : 3 * size] @ recurrent
    return None


def gru_before_forward_steps(
    gates: Array,
    recurrent: Array,
    bias: Array,
    candidates: Array,
    hidden: Array,
    mask: Any,
    spans: Array,
) -> Any:
    """Compute all steps of a gated recurrent unit with the reset before the product."""
    if not isinstance(mask, float) or not _is_job(gates, hidden, candidates, recurrent, bias):
        return NotImplemented
    size, batch = hidden.shape[-1], len(hidden) - len(gates)
    fits = gru_forward_fits(gates, None, recurrent, bias, candidates, hidden, True)
    if not fits or not are_inside(spans, 0, len(spans), batch, len(hidden)):
        return NotImplemented
    weights = jobs.panels(recurrent[:, : 2 * size])
    new_weights = jobs.panels(recurrent[:, 2 * size :])
    columns, new_columns = _room(2 * size), _room(size)
    given = size, columns, gates, hidden, candidates, weights, new_weights, new_columns, bias
    _run(jobs.gru_before_forward, spans, batch, columns, *given)
    return None


def gru_before_backward_steps(
    grad_gates: Array,
    grad_hidden: Array,
    grad_outputs: Array,
    recurrent: Array,
    gates: Array,
    hidden: Array,
    mask: Any,
    grad_mask: Any,
    spans: Array,
) -> Any:
    """Compute the backward pass of `gru_before_forward_steps`."""
    grads = grad_gates, grad_hidden, grad_outputs
    masked = grad_mask is not None or not isinstance(mask, float)
    if masked or not _is_job(*grads, gates, hidden, recurrent):
        return NotImplemented
    size, batch = hidden.shape[-1], len(hidden) - len(gates)
    fits = gru_backward_fits(*grads, recurrent, gates, None, hidden, True)
    if not fits or not are_inside(spans, 0, len(spans), batch, len(hidden)):
        return NotImplemented
    weights, new_weights = jobs.panels(recurrent[: 2 * size]), jobs.panels(recurrent[2 * size :])
    columns = _room(recurrent.shape[1])
    given = size, columns, gates, hidden, weights, new_weights, *grads
    _run(jobs.gru_before_backward, spans, batch, columns, *given)
    return None


def rnn_forward_steps(
    hidden: Array, recurrent: Array, mask: Any, spans: Array, batch: int, nonlinearity: str
) -> Any:
    """Compute all steps of a simple recurrent network."""
    if not isinstance(mask, float) or not _is_job(hidden, recurrent):
        return NotImplemented
    if hidden.ndim != 2 or recurrent.shape != (hidden.shape[1], hidden.shape[1]):
        return NotImplemented
    if not are_inside(spans, 0, len(spans), batch, len(hidden)):
        return NotImplemented
    weights = jobs.panels(recurrent)
    columns = _room(recurrent.shape[1])
    given = hidden.shape[1], columns, hidden, weights, int(nonlinearity == "tanh")
    _run(jobs.rnn_forward, spans, batch, columns, *given)
    return None


def rnn_backward_steps(
    grad_sums: Array,
    grad_hidden: Array,
    grad_outputs: Array,
    recurrent: Array,
    hidden: Array,
    mask: Any,
    grad_mask: Any,
    spans: Array,
    nonlinearity: str,
) -> Any:
    """Compute the backward pass of `rnn_forward_steps`."""
    grads = grad_sums, grad_hidden, grad_outputs
    masked = grad_mask is not None or not isinstance(mask, float)
    if masked or not _is_job(*grads, hidden, recurrent):
        return NotImplemented
    rows, size = len(grad_sums), hidden.shape[-1]
    batch = len(hidden) - rows
    shapes = grad_sums.shape, grad_outputs.shape, grad_hidden.shape, recurrent.shape
    if hidden.ndim != 2 or shapes != ((rows, size), (rows, size), (batch, size), (size, size)):
        return NotImplemented
    if not are_inside(spans, 0, len(spans), batch, len(hidden)):
        return NotImplemented
    weights = jobs.panels(recurrent)
    columns = _room(recurrent.shape[1])
    given = hidden.shape[1], columns, hidden, weights, int(nonlinearity == "tanh"), *grads
    _run(jobs.rnn_backward, spans, batch, columns, *given)
    return None
