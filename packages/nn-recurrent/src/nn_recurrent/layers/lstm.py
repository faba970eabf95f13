"""`LSTM`: long short-term memories over sequences."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from nn_tensor.extend import Device, keyword_only

from nn_recurrent.layers.cell import RecurrentCell
from nn_recurrent.layers.initialization import RecurrentInitialization
from nn_recurrent.layers.lstm_cell import LSTMCell
from nn_recurrent.layers.recurrent import RecurrentLayer

__all__ = ["LSTM"]


class LSTM(RecurrentLayer):
    r"""Long short-term memory over a batch of sequences, in one or several layers.

    Each step is that of `LSTMCell`; the whole sequence is one operation, with a backward pass of
    its own.

    Shapes: ``(batch, time, input_size)`` to the outputs ``(batch, time, directions * hidden_size)``
    and the state ``(h, c)`` after the last step of each sequence, each ``(num_layers * directions,
    batch, hidden_size)``; `h` and the outputs have `projection` features instead where it is given.
    With `lengths`, outputs after the end of a sequence are 0, and the state of a sequence of length
    0 is its initial state.

    Args:
        input_size: the number of features of the input.
        hidden_size: the number of units of each layer and direction.
        num_layers: the number of stacked layers; the input of each is the output of the one below.
        bidirectional: whether each layer processes the sequences in both directions, with the
            outputs of both concatenated.
        reverse: whether to process the sequences in reverse; each output stays at the time step of
            its input.
        dropout: the dropout probability of the outputs of each layer but the last.
        recurrent_dropout: the dropout probability of the hidden states in the products with the
            recurrent weights, with one mask for all steps of a sequence (Gal and Ghahramani, "A
            Theoretically Grounded Application of Dropout in Recurrent Neural Networks", 2016).
        bias: whether the layer has biases.
        forget_bias: the initial bias of the forget gates; by default 1, or 0 on top of the bias
            that ``initialization='torch'`` draws.
        projection: the number of features that the hidden states are projected to, or None.
        initialization: the distribution of the initial input weights, gate by gate, see
            `nn_layers.initialize`; the recurrent weights are orthogonal. ``'torch'`` for PyTorch's
            initialization.
        device: the device of the parameters, ``'cpu'``, ``'cuda'`` or ``'cuda:N'``.
        dtype: the floating dtype of the parameters, to which floating input is converted.
        rng: a NumPy generator, a seed, or None for unpredictable weights and masks.
        name: the name shown by ``repr`` and in errors.

    Attributes:
        layers: the cells, a dict of directions for each layer: the weights have paths like
            ``layers.0.forward.weights``; see `LSTMCell`.

    Raises:
        ValueError: if an option is out of range; when called, if a shape does not fit or a length
            is out of range.
        TypeError: if an option is of the wrong type; when called, if the input is not floating.

    >>> from nn_recurrent import LSTM
    >>> from nn_tensor import ones
    >>> lstm = LSTM(8, 16, num_layers=2, bidirectional=True, rng=0)
    >>> print(lstm)
    LSTM(8→16, num_layers=2, bidirectional=True)(
      layers.0.forward: LSTMCell(8→16)
      layers.0.backward: LSTMCell(8→16)
      layers.1.forward: LSTMCell(32→16)
      layers.1.backward: LSTMCell(32→16)
    )
    >>> output, (h, c) = lstm(ones(3, 5, 8), lengths=[5, 2, 0])
    >>> output.shape, h.shape
    ((3, 5, 32), (4, 3, 16))
    >>> chunk, state = lstm(ones(3, 5, 8), (h, c))
    """

    cell: ClassVar[type[RecurrentCell]] = LSTMCell

    @keyword_only
    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        forget_bias: float | None = None,
        projection: int | None = None,
        bidirectional: bool = False,
        reverse: bool = False,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        bias: bool = True,
        initialization: RecurrentInitialization = "xavier",
        device: str | Device = "cpu",
        dtype: Any = np.float32,
        rng: np.random.Generator | int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            bidirectional=bidirectional,
            reverse=reverse,
            dropout=dropout,
            recurrent_dropout=recurrent_dropout,
            rng=rng,
            name=name,
            options={
                "forget_bias": forget_bias,
                "projection": projection,
                "bias": bias,
                "initialization": initialization,
                "device": device,
                "dtype": dtype,
            },
        )
