"""The orders in which libraries keep the gates, and the change from one to another."""

from __future__ import annotations

from typing import Any

import numpy as np
from nn_tensor.extend import check_choice

__all__ = ["GATE_ORDERS", "reorder_gates"]

Array = np.ndarray[Any, Any]

GATE_ORDERS: dict[str, dict[str, str]] = {
    "nn_recurrent": {"LSTM": "ifgo", "GRU": "rzn", "RNN": "h"},
    "torch": {"LSTM": "ifgo", "GRU": "rzn", "RNN": "h"},
    "keras": {"LSTM": "ifgo", "GRU": "zrn", "RNN": "h"},
    "onnx": {"LSTM": "iofg", "GRU": "zrn", "RNN": "h"},
}
"""By library and layer: input, forget, cell (g) and output gate; reset, update (z), new state (n).

Keras and ONNX write c for g, and h for n.
"""


def reorder_gates(array: Array, layer: str, source: str, target: str, axis: int = -1) -> Array:
    """Return a copy of weights or biases with the blocks of the gates in another library's order.

    Args:
        array: the blocks of all gates, of the same size, are next to each other along `axis`.
        layer: ``'LSTM'``, ``'GRU'`` or ``'RNN'``.
        source: the library of the current order: a key of `GATE_ORDERS`.
        target: the library of the new order.
        axis: the axis of the gates.

    Raises:
        ValueError: if a name is unknown, or the gates do not divide the axis.

    >>> reorder_gates(np.array([1, 2, 3, 4]), "LSTM", "onnx", "keras").tolist()
    [1, 3, 4, 2]
    """
    check_choice("source", source, GATE_ORDERS)
    check_choice("target", target, GATE_ORDERS)
    check_choice("layer", layer, GATE_ORDERS[source])
    orders = GATE_ORDERS[source][layer], GATE_ORDERS[target][layer]
    array = np.asarray(array)
    if array.shape[axis] % len(orders[0]):
        raise ValueError(
            f"array: axis {axis} has {array.shape[axis]} elements, expected a multiple of the "
            f"{len(orders[0])} gates of an {layer}"
        )
    blocks = dict(zip(orders[0], np.split(array, len(orders[0]), axis), strict=True))
    return np.concatenate([blocks[gate] for gate in orders[1]], axis)
