"""`RNNCell`: one step of a simple recurrent network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from nn_tensor import Tensor
from nn_tensor.extend import Device, check_choice, keyword_only

from nn_recurrent.layers.cell import RecurrentCell
from nn_recurrent.layers.initialization import RecurrentInitialization
from nn_recurrent.ops.rnn import rnn
from nn_recurrent.ops.shared import split
from nn_recurrent.ops.steps import Steps

__all__ = ["RNNCell"]


class RNNCell(RecurrentCell):
    r"""One step of a simple recurrent network, :math:`h' = \tanh(x W + h R + b)`.

    (Elman, "Finding Structure in Time", 1990.)

    Shapes: ``(batch, input_size)``, and the state ``(batch, hidden_size)``, to the next state.

    Args:
        input_size: the number of features of the input.
        hidden_size: the number of units.
        nonlinearity: ``'tanh'`` or ``'relu'``.
        bias: whether the layer has a bias.
        initialization: the distribution of the initial input weights, see `nn_layers.initialize`;
            the recurrent weights are orthogonal. ``'torch'`` for PyTorch's initialization.
        device: the device of the parameters, ``'cpu'``, ``'cuda'`` or ``'cuda:N'``.
        dtype: the floating dtype of the parameters, to which floating input is converted.
        rng: a NumPy generator, a seed, or None for unpredictable weights.
        name: the name shown by ``repr`` and in errors.

    Attributes:
        weights: ``(input_size, hidden_size)``.
        recurrent_weights: ``(hidden_size, hidden_size)``.
        bias: ``(hidden_size,)``, or None.

    Raises:
        ValueError: if an option is out of range; when called, if a shape does not fit.
        TypeError: if an option is of the wrong type; when called, if an argument is not floating.

    >>> from nn_recurrent import RNNCell
    >>> from nn_tensor import ones
    >>> cell = RNNCell(3, 4, rng=0)
    >>> h = cell(ones(2, 3))
    >>> cell(ones(2, 3), h).shape
    (2, 4)
    """

    gates = 1

    @keyword_only
    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        nonlinearity: Literal["tanh", "relu"] = "tanh",
        bias: bool = True,
        initialization: RecurrentInitialization = "xavier",
        device: str | Device = "cpu",
        dtype: Any = np.float32,
        rng: np.random.Generator | int | None = None,
        name: str | None = None,
    ) -> None:
        self.nonlinearity = check_choice("nonlinearity", nonlinearity, ("tanh", "relu"))
        super().__init__(
            input_size,
            hidden_size,
            bias=bias,
            initialization=initialization,
            device=device,
            dtype=dtype,
            rng=rng,
            name=name,
        )

    def run(self, x: Tensor, states: Sequence[Tensor], steps: Steps, mask: Any) -> list[Tensor]:
        """Return the hidden states of all steps, packed, and the state at the end."""
        bias = 0.0 if self.bias is None else self.bias
        (h,) = states
        weights, recurrent = self.weights, self.recurrent_weights
        result = rnn(x, weights, recurrent, bias, h, mask, steps, self.nonlinearity)
        return split(result, steps, *self.state_sizes)

    def extra_repr(self) -> str:
        """Return the sizes and options."""
        text = super().extra_repr()
        return text if self.nonlinearity == "tanh" else f"{text}, nonlinearity='relu'"
