"""Weights from and to Keras's ``LSTM``, ``GRU`` and ``SimpleRNN``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from nn_tensor.extend import describe

from nn_recurrent.layers.gru_cell import GRUCell
from nn_recurrent.layers.recurrent import RecurrentLayer
from nn_recurrent.weights.arrays import KINDS, as_array, check_shapes, raise_problems
from nn_recurrent.weights.gate_order import reorder_gates

__all__ = ["from_keras_recurrent", "to_keras_recurrent"]


def from_keras_recurrent(weights: Sequence[Any]) -> dict[str, Any]:
    """Return the state dict of a layer from the result of ``get_weights()`` of Keras's layer.

    Those of a ``Bidirectional`` around it, twice as many, give a bidirectional layer. Which layer
    it is follows from the shapes; the gates of a GRU are reordered. A GRU with one row of biases
    is one with ``reset_after=False``.

    Args:
        weights: kernel, recurrent kernel and, with ``use_bias``, bias; once or twice.

    Raises:
        ValueError: if their number or a shape does not fit.
        TypeError: if one is not an array of floats.

    >>> import numpy as np
    >>> from nn_recurrent import GRU
    >>> from nn_recurrent import from_keras_recurrent
    >>> state = from_keras_recurrent([np.ones((3, 12)), np.ones((4, 12)), np.ones((2, 12))])
    >>> GRU(3, 4).load_state_dict(state)
    """
    caller = "from_keras_recurrent"
    arrays = [as_array(f"weights[{i}]", x) for i, x in enumerate(weights)]
    if len(arrays) not in (2, 3, 4, 6):
        raise ValueError(
            f"{caller}: weights: expected kernel, recurrent kernel and perhaps a bias, or those of "
            f"two directions, got {len(arrays)} arrays"
        )
    count = len(arrays) if len(arrays) < 4 else len(arrays) // 2
    result: dict[str, Any] = {}
    for start, direction in zip(
        range(0, len(arrays), count), ("forward", "backward"), strict=False
    ):
        path = f"layers.0.{direction}."
        cell = _cell(caller, arrays[start : start + count], start)
        result.update({path + name: value for name, value in cell.items()})
    return result


def _cell(caller: str, arrays: list[Any], start: int) -> dict[str, Any]:
    kernel, recurrent, *biases = arrays
    names = [f"weights[{start + i}]" for i in range(len(arrays))]
    size = recurrent.shape[0]
    gates, rest = divmod(recurrent.shape[-1], size or 1)
    if recurrent.ndim != 2 or rest or gates not in KINDS:
        raise_problems(caller, [f"{names[1]}: shape {recurrent.shape} is of no LSTM, GRU, RNN"])
    kind = KINDS[gates]
    columns = gates * size
    expected: dict[str, tuple[int, ...]] = {names[0]: (kernel.shape[0], columns)}
    reset_after = kind == "GRU" and bool(biases) and biases[0].ndim == 2
    if biases:
        expected[names[2]] = (2, columns) if reset_after else (columns,)
    raise_problems(caller, check_shapes(dict(zip(names, arrays, strict=True)), expected))
    result = {
        "weights": reorder_gates(kernel, kind, "keras", "nn_recurrent"),
        "recurrent_weights": reorder_gates(recurrent, kind, "keras", "nn_recurrent"),
    }
    if reset_after:
        first, second = reorder_gates(biases[0], kind, "keras", "nn_recurrent")
        first = first.copy()
        first[: 2 * size] += second[: 2 * size]
        result |= {"bias": first, "recurrent_bias": second[2 * size :].copy()}
    elif biases:
        result["bias"] = reorder_gates(biases[0], kind, "keras", "nn_recurrent")
    return result


def to_keras_recurrent(layer: RecurrentLayer) -> list[Any]:
    """Return the arrays for ``set_weights()`` of Keras's layer, from a layer with ``num_layers=1``.

    Those of a bidirectional layer are for a ``Bidirectional`` around it.

    Args:
        layer: an `LSTM`, `GRU` or `RNN` with ``num_layers=1`` and without projection.

    Raises:
        ValueError: if it has several layers or a projection.
        TypeError: if it is not a recurrent layer.

    >>> from nn_recurrent import LSTM
    >>> from nn_recurrent import to_keras_recurrent
    >>> [array.shape for array in to_keras_recurrent(LSTM(3, 4))]
    [(3, 16), (4, 16), (16,)]
    """
    if not isinstance(layer, RecurrentLayer):
        raise TypeError(f"layer: expected an LSTM, GRU or RNN, got {describe(layer)}")
    if layer.num_layers > 1:
        raise ValueError(f"layer: has {layer.num_layers} layers, Keras's layers have one each")
    result: list[Any] = []
    for cell in layer.layers[0].values():
        if cell.output_size != cell.hidden_size:
            raise ValueError("layer: has a projection, which Keras's LSTM does not have")
        kind = KINDS[cell.gates]
        blocks = [cell.weights.numpy(), cell.recurrent_weights.numpy()]
        if cell.bias is not None:
            bias = cell.bias.numpy()
            if isinstance(cell, GRUCell) and cell.recurrent_bias is not None:
                second = np.zeros_like(bias)
                second[2 * cell.hidden_size :] = cell.recurrent_bias.numpy()
                bias = np.stack([bias, second])
            blocks.append(bias)
        result += [reorder_gates(x, kind, "nn_recurrent", "keras") for x in blocks]
    return result
