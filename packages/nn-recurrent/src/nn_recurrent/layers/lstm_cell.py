"""`LSTMCell`: one step of a long short-term memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from nn_layers import initialize
from nn_layers.initializers import Initialization
from nn_tensor import Tensor, random_generator
from nn_tensor.extend import Device, check_integer, check_number, keyword_only

from nn_recurrent.layers.cell import RecurrentCell
from nn_recurrent.layers.initialization import RecurrentInitialization
from nn_recurrent.ops.lstm import lstm
from nn_recurrent.ops.shared import split
from nn_recurrent.ops.steps import Steps

__all__ = ["LSTMCell"]


class LSTMCell(RecurrentCell):
    r"""One step of a long short-term memory, for custom loops.

    .. math:: i, f, o = \sigma(x W + h R + b), \quad g = \tanh(x W + h R + b)
    .. math:: c' = f c + i g, \quad h' = o \tanh c'

    each with its own columns of :math:`W`, :math:`R` and :math:`b` (Hochreiter and Schmidhuber,
    "Long Short-Term Memory", 1997; the forget gate of Gers, Schmidhuber and Cummins, 2000). With
    `projection`, :math:`h' = (o \tanh c') P` (Sak, Senior and Beaufays, 2014).

    Shapes: ``(batch, input_size)``, and the state ``(h, c)`` of ``(batch, output_size)`` and
    ``(batch, hidden_size)``, to the next state ``(h, c)``.

    Args:
        input_size: the number of features of the input.
        hidden_size: the number of units.
        bias: whether the layer has a bias.
        forget_bias: the initial bias of the forget gate; 1 lets gradients flow at the beginning of
            training (Jozefowicz, Zaremba and Sutskever, 2015). By default 1, or 0 on top of the
            bias that ``initialization='torch'`` draws.
        projection: the number of features that the hidden state is projected to, or None.
        initialization: the distribution of the initial input weights, gate by gate, see
            `nn_layers.initialize`; the recurrent weights are orthogonal. ``'torch'`` for PyTorch's
            initialization.
        device: the device of the parameters, ``'cpu'``, ``'cuda'`` or ``'cuda:N'``.
        dtype: the floating dtype of the parameters, to which floating input is converted.
        rng: a NumPy generator, a seed, or None for unpredictable weights.
        name: the name shown by ``repr`` and in errors.

    Attributes:
        weights: ``(input_size, 4 * hidden_size)``: input, forget, cell (g) and output gate.
        recurrent_weights: ``(output_size, 4 * hidden_size)``.
        bias: ``(4 * hidden_size,)``, or None.
        projection: ``(hidden_size, projection)``, or None.

    Raises:
        ValueError: if an option is out of range; when called, if a shape does not fit.
        TypeError: if an option is of the wrong type; when called, if an argument is not floating.

    >>> from nn_recurrent import LSTMCell
    >>> from nn_tensor import ones
    >>> cell = LSTMCell(3, 4, rng=0)
    >>> h, c = cell(ones(2, 3))
    >>> h, c = cell(ones(2, 3), (h, c))
    >>> h.shape, c.shape
    ((2, 4), (2, 4))
    """

    gates = 4
    states: ClassVar[tuple[str, ...]] = ("h", "c")

    @keyword_only
    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        bias: bool = True,
        forget_bias: float | None = None,
        projection: int | None = None,
        initialization: RecurrentInitialization = "xavier",
        device: str | Device = "cpu",
        dtype: Any = np.float32,
        rng: np.random.Generator | int | None = None,
        name: str | None = None,
    ) -> None:
        rng = random_generator(rng)
        if projection is not None:
            check_integer("projection", projection, 1)
        if forget_bias is None:
            forget_bias = 0.0 if initialization == "torch" else 1.0
        forget = check_number("forget_bias", forget_bias)
        super().__init__(
            input_size,
            hidden_size,
            state_size=projection,
            bias=bias,
            initialization=initialization,
            device=device,
            dtype=dtype,
            rng=rng,
            name=name,
        )
        size = self.hidden_size
        if self.bias is not None:
            self.bias.data[size : 2 * size] += forget
        self.projection: Tensor | None = None
        if projection is not None:
            kind: Initialization = "lecun" if initialization == "torch" else initialization
            shape = size, projection
            self.projection = initialize(kind, shape, *shape, rng=rng, device=device, dtype=dtype)
            if initialization == "torch":
                self.projection.data /= np.sqrt(3)  # to the bound 1 / sqrt(size)

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """The number of features of hidden state and cell."""
        return self.output_size, self.hidden_size

    def run(self, x: Tensor, states: Sequence[Tensor], steps: Steps, mask: Any) -> list[Tensor]:
        """Return the hidden states of all steps, packed, then hidden state and cell at the end."""
        bias = 0.0 if self.bias is None else self.bias
        projection = 1.0 if self.projection is None else self.projection
        h, c = states
        weights, recurrent = self.weights, self.recurrent_weights
        result = lstm(x, weights, recurrent, bias, h, c, mask, projection, steps)
        return split(result, steps, *self.state_sizes)

    def extra_repr(self) -> str:
        """Return the sizes and options."""
        text = super().extra_repr()
        return text if self.projection is None else f"{text}, projection={self.output_size}"
