"""Weights from and to the operators ``LSTM``, ``GRU`` and ``RNN`` of ONNX."""

from __future__ import annotations

from typing import Any

import numpy as np
from nn_tensor.extend import describe

from nn_recurrent.layers.gru_cell import GRUCell
from nn_recurrent.layers.recurrent import RecurrentLayer
from nn_recurrent.weights.arrays import KINDS, as_array, check_shapes, raise_problems
from nn_recurrent.weights.gate_order import reorder_gates

__all__ = ["from_onnx_recurrent", "to_onnx_recurrent"]


def from_onnx_recurrent(w: Any, r: Any, b: Any = None) -> dict[str, Any]:
    """Return the state dict of a layer from the inputs ``W``, ``R`` and ``B`` of an ONNX operator.

    Two directions give a bidirectional layer. For a GRU this is the one with `reset_after`, whose
    operator has ``linear_before_reset=1``. Peephole weights have no counterpart.

    Args:
        w: ``(directions, gates * hidden_size, input_size)``.
        r: ``(directions, gates * hidden_size, hidden_size)``.
        b: ``(directions, 2 * gates * hidden_size)``, or None.

    Raises:
        ValueError: if a shape does not fit.
        TypeError: if one is not an array of floats.

    >>> import numpy as np
    >>> from nn_recurrent import LSTM
    >>> from nn_recurrent import from_onnx_recurrent
    >>> state = from_onnx_recurrent(np.ones((1, 16, 3)), np.ones((1, 16, 4)), np.ones((1, 32)))
    >>> LSTM(3, 4).load_state_dict(state)
    """
    caller = "from_onnx_recurrent"
    arrays = {"w": as_array("w", w), "r": as_array("r", r)}
    if b is not None:
        arrays["b"] = as_array("b", b)
    recurrent = arrays["r"]
    size = recurrent.shape[-1] if recurrent.ndim == 3 else 0
    rows, rest = divmod(recurrent.shape[1], size) if size else (0, 1)
    if rest or rows not in KINDS or recurrent.shape[0] not in (1, 2):
        raise_problems(caller, [f"r: shape {recurrent.shape} is of no LSTM, GRU, RNN"])
    directions, kind = recurrent.shape[0], KINDS[rows]
    expected: dict[str, tuple[int, ...]] = {
        "w": (directions, rows * size, arrays["w"].shape[-1]),
        "b": (directions, 2 * rows * size),
    }
    raise_problems(caller, check_shapes(arrays, expected))
    result: dict[str, Any] = {}
    for index, direction in enumerate(("forward", "backward")[:directions]):
        path = f"layers.0.{direction}."
        for name, key in (("weights", "w"), ("recurrent_weights", "r")):
            result[path + name] = reorder_gates(arrays[key][index].T, kind, "onnx", "nn_recurrent")
        if b is None:
            continue
        pair = arrays["b"][index].reshape(2, rows * size)
        first, second = reorder_gates(pair, kind, "onnx", "nn_recurrent")
        stop = first.size if kind != "GRU" else 2 * size
        first = first.copy()
        first[:stop] += second[:stop]
        result[f"{path}bias"] = first
        if kind == "GRU":
            result[f"{path}recurrent_bias"] = second[stop:].copy()
    return result


def to_onnx_recurrent(layer: RecurrentLayer) -> dict[str, Any]:
    """Return the inputs ``W``, ``R`` and ``B`` of the ONNX operator, from one layer.

    A GRU needs the attribute ``linear_before_reset``: 1 with `reset_after`, 0 without.

    Args:
        layer: an `LSTM`, `GRU` or `RNN` with ``num_layers=1`` and without projection.

    Raises:
        ValueError: if it has several layers or a projection.
        TypeError: if it is not a recurrent layer.

    >>> from nn_recurrent import LSTM
    >>> from nn_recurrent import to_onnx_recurrent
    >>> {name: array.shape for name, array in to_onnx_recurrent(LSTM(3, 4)).items()}
    {'W': (1, 16, 3), 'R': (1, 16, 4), 'B': (1, 32)}
    """
    if not isinstance(layer, RecurrentLayer):
        raise TypeError(f"layer: expected an LSTM, GRU or RNN, got {describe(layer)}")
    if layer.num_layers > 1:
        raise ValueError(f"layer: has {layer.num_layers} layers, an ONNX operator has one")
    parts: dict[str, list[Any]] = {"W": [], "R": [], "B": []}
    for cell in layer.layers[0].values():
        if cell.output_size != cell.hidden_size:
            raise ValueError("layer: has a projection, which the ONNX operator does not have")
        kind = KINDS[cell.gates]
        for name, tensor in (("W", cell.weights), ("R", cell.recurrent_weights)):
            parts[name].append(reorder_gates(tensor.numpy(), kind, "nn_recurrent", "onnx").T)
        if cell.bias is not None:
            bias = cell.bias.numpy()
            second = np.zeros_like(bias)
            if isinstance(cell, GRUCell) and cell.recurrent_bias is not None:
                second[2 * cell.hidden_size :] = cell.recurrent_bias.numpy()
            both = [reorder_gates(x, kind, "nn_recurrent", "onnx") for x in (bias, second)]
            parts["B"].append(np.concatenate(both))
    return {name: np.stack(arrays) for name, arrays in parts.items() if arrays}
