"""Weights from and to PyTorch's ``LSTM``, ``GRU`` and ``RNN``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from nn_tensor.extend import METADATA_KEY, describe

from nn_recurrent.layers.gru_cell import GRUCell
from nn_recurrent.layers.lstm_cell import LSTMCell
from nn_recurrent.layers.recurrent import RecurrentLayer
from nn_recurrent.weights.arrays import KINDS, as_array, check_shapes, raise_problems

__all__ = ["from_torch_recurrent", "to_torch_recurrent", "torch_recurrent_settings"]

_NAME = re.compile(r"(weight_ih|weight_hh|weight_hr|bias_ih|bias_hh)_l(0|[1-9]\d*)(_reverse)?")
Key = tuple[int, str]  # a layer and a direction


class _State:
    """The arrays of a state dict by layer and direction, and what their shapes say."""

    def __init__(self, caller: str, state: Any) -> None:
        if not isinstance(state, Mapping):
            raise TypeError(f"{caller}: state: expected a dict of arrays, got {describe(state)}")
        problems: list[str] = []
        self.cells: dict[Key, dict[str, Any]] = {}
        for name, value in state.items():
            match = _NAME.fullmatch(str(name))
            if name == METADATA_KEY:
                continue
            if match is None:
                problems.append(f"unknown: {name}, {describe(value)}")
                continue
            key = int(match[2]), "backward" if match[3] else "forward"
            try:
                self.cells.setdefault(key, {})[match[1]] = as_array(str(name), value)
            except TypeError as error:
                problems.append(str(error))
        first = self.cells.get((0, "forward"), {})
        missing = [name for name in ("weight_ih", "weight_hh") if name not in first]
        raise_problems(caller, problems + [f"missing: {name}_l0" for name in missing])
        self.projection = first["weight_hr"].shape[0] if "weight_hr" in first else None
        recurrent = first["weight_hh"]
        self.hidden_size = first["weight_hr"].shape[-1] if self.projection else recurrent.shape[-1]
        gates, rest = divmod(recurrent.shape[0], self.hidden_size or 1)
        if rest or gates not in KINDS:
            raise_problems(
                caller, [f"weight_hh_l0: shape {recurrent.shape} is of no LSTM, GRU, RNN"]
            )
        self.kind, self.input_size = KINDS[gates], first["weight_ih"].shape[-1]
        self.bias = "bias_ih" in first
        self.num_layers = 1 + max(layer for layer, _ in self.cells)
        self.directions = ("forward", "backward")[: 1 + ((0, "backward") in self.cells)]
        raise_problems(caller, self._problems(gates))

    def _problems(self, gates: int) -> list[str]:
        problems = []
        size, state_size = self.hidden_size, self.projection or self.hidden_size
        inputs = self.input_size
        keys = [(n, direction) for n in range(self.num_layers) for direction in self.directions]
        problems += [
            f"unknown: weights of layer {n}, {direction}"
            for n, direction in self.cells
            if (n, direction) not in keys
        ]
        for layer, direction in keys:
            expected: dict[str, tuple[int, ...]] = {
                "weight_ih": (
                    gates * size,
                    inputs if layer == 0 else state_size * len(self.directions),
                ),
                "weight_hh": (gates * size, state_size),
            }
            if self.bias:
                expected |= {"bias_ih": (gates * size,), "bias_hh": (gates * size,)}
            if self.projection:
                expected["weight_hr"] = (state_size, size)
            suffix = _suffix(layer, direction)
            found = self.cells.get((layer, direction), {})
            problems += [f"missing: {n}{suffix}" for n in expected if n not in found]
            problems += [f"unknown: {n}{suffix}" for n in found if n not in expected]
            named = {name + suffix: array for name, array in found.items()}
            problems += check_shapes(named, {n + suffix: s for n, s in expected.items()})
        return problems


def _suffix(layer: int, direction: str) -> str:
    return f"_l{layer}{'_reverse' if direction == 'backward' else ''}"


def from_torch_recurrent(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state dict of an `LSTM`, `GRU` or `RNN` from that of PyTorch's module.

    Which of them it is follows from the shapes, as do the sizes: see `torch_recurrent_settings`.
    Matrices are transposed. PyTorch's two biases are added, except that of the new state of a GRU,
    whose second is `recurrent_bias`.

    Args:
        state: the state dict of a ``torch.nn.LSTM``, ``GRU`` or ``RNN``: arrays, or Tensors.

    Returns:
        New arrays of the same dtypes.

    Raises:
        ValueError: if a name is unknown, one is missing or a shape does not fit; it lists all.
        TypeError: if `state` is not a mapping.

    >>> import numpy as np
    >>> from nn_recurrent import LSTM
    >>> from nn_recurrent import from_torch_recurrent
    >>> shapes = {"weight_ih_l0": (16, 3), "weight_hh_l0": (16, 4),
    ...           "bias_ih_l0": (16,), "bias_hh_l0": (16,)}
    >>> state = from_torch_recurrent({name: np.ones(shape) for name, shape in shapes.items()})
    >>> LSTM(3, 4).load_state_dict(state)
    """
    given = _State("from_torch_recurrent", state)
    result: dict[str, Any] = {}
    for layer in range(given.num_layers):
        for direction in given.directions:
            arrays = given.cells[layer, direction]
            path = f"layers.{layer}.{direction}."
            result[f"{path}weights"] = arrays["weight_ih"].T.copy()
            result[f"{path}recurrent_weights"] = arrays["weight_hh"].T.copy()
            if given.bias:
                bias, second = arrays["bias_ih"].copy(), arrays["bias_hh"]
                start = bias.size if given.kind != "GRU" else 2 * given.hidden_size
                bias[:start] += second[:start]
                result[f"{path}bias"] = bias
                if given.kind == "GRU":
                    result[f"{path}recurrent_bias"] = second[start:].copy()
            if given.projection:
                result[f"{path}projection"] = arrays["weight_hr"].T.copy()
    return result


def torch_recurrent_settings(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of the layer for the state dict of `from_torch_recurrent`.

    `input_size`, `hidden_size`, `num_layers`, `bidirectional` and `bias`, for an LSTM also
    `projection`. The nonlinearity of an RNN cannot be inferred, nor dropout.

    Args:
        state: as for `from_torch_recurrent`.

    Raises:
        ValueError: as `from_torch_recurrent`.
        TypeError: as `from_torch_recurrent`.

    >>> import numpy as np
    >>> from nn_recurrent import torch_recurrent_settings
    >>> shapes = {"weight_ih_l0": (12, 3), "weight_hh_l0": (12, 4)}
    >>> torch_recurrent_settings({name: np.ones(shape) for name, shape in shapes.items()})
    {'input_size': 3, 'hidden_size': 4, 'num_layers': 1, 'bidirectional': False, 'bias': False}
    """
    given = _State("torch_recurrent_settings", state)
    settings = {
        "input_size": given.input_size,
        "hidden_size": given.hidden_size,
        "num_layers": given.num_layers,
        "bidirectional": len(given.directions) == 2,
        "bias": given.bias,
    }
    if given.kind == "LSTM":
        settings["projection"] = given.projection
    return settings


def to_torch_recurrent(layer: RecurrentLayer) -> dict[str, Any]:
    """Return the state dict of PyTorch's module with the weights of an `LSTM`, `GRU` or `RNN`.

    Load it with ``module.load_state_dict({k: torch.from_numpy(v) for k, v in state.items()})``.
    The second of PyTorch's biases is zero, except that of the new state of a GRU.

    Args:
        layer: the layer.

    Raises:
        ValueError: if it has ``reverse=True`` or is a GRU with ``reset_after=False``: PyTorch has
            neither.
        TypeError: if it is not a recurrent layer.

    >>> from nn_recurrent import GRU
    >>> from nn_recurrent import to_torch_recurrent
    >>> {name: array.shape for name, array in to_torch_recurrent(GRU(3, 4, bias=False)).items()}
    {'weight_ih_l0': (12, 3), 'weight_hh_l0': (12, 4)}
    """
    if not isinstance(layer, RecurrentLayer):
        raise TypeError(f"layer: expected an LSTM, GRU or RNN, got {describe(layer)}")
    if layer.reverse:
        raise ValueError("layer: has reverse=True, which PyTorch's modules do not have")
    result: dict[str, Any] = {}
    for number, cells in enumerate(layer.layers):
        for direction, cell in cells.items():
            suffix = _suffix(number, direction)
            if isinstance(cell, GRUCell) and not cell.reset_after:
                raise ValueError("layer: has reset_after=False, which PyTorch's GRU does not have")
            result[f"weight_ih{suffix}"] = cell.weights.numpy().T.copy()
            result[f"weight_hh{suffix}"] = cell.recurrent_weights.numpy().T.copy()
            if cell.bias is not None:
                second = np.zeros_like(cell.bias.numpy())
                if isinstance(cell, GRUCell) and cell.recurrent_bias is not None:
                    second[2 * cell.hidden_size :] = cell.recurrent_bias.numpy()
                result[f"bias_ih{suffix}"] = cell.bias.numpy().copy()
                result[f"bias_hh{suffix}"] = second
            if isinstance(cell, LSTMCell) and cell.projection is not None:
                result[f"weight_hr{suffix}"] = cell.projection.numpy().T.copy()
    return result
