"""`GRUCell`: one step of a gated recurrent unit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from nn_tensor import Tensor, random_generator
from nn_tensor.extend import Device, check_bool, keyword_only

from nn_recurrent.layers.cell import RecurrentCell
from nn_recurrent.layers.initialization import RecurrentInitialization
from nn_recurrent.ops.gru import gru
from nn_recurrent.ops.shared import split
from nn_recurrent.ops.steps import Steps

__all__ = ["GRUCell"]


class GRUCell(RecurrentCell):
    r"""One step of a gated recurrent unit, for custom loops.

    .. math:: r, z = \sigma(x W + h R + b), \quad h' = (1 - z) n + z h
    .. math:: n = \tanh(x W + b + r (h R + b_n))

    each with its own columns of :math:`W`, :math:`R` and :math:`b` (Cho et al., "Learning Phrase
    Representations using RNN Encoder-Decoder", 2014). This is the variant of cuDNN, PyTorch and
    Keras. With ``reset_after=False`` it is that of the paper, :math:`n = \tanh(x W + b + (r h) R)`.

    Shapes: ``(batch, input_size)``, and the state ``(batch, hidden_size)``, to the next state.

    Args:
        input_size: the number of features of the input.
        hidden_size: the number of units.
        reset_after: whether the reset gate acts after the product with the recurrent weights.
        bias: whether the layer has biases.
        initialization: the distribution of the initial input weights, gate by gate, see
            `nn_layers.initialize`; the recurrent weights are orthogonal. ``'torch'`` for PyTorch's
            initialization.
        device: the device of the parameters, ``'cpu'``, ``'cuda'`` or ``'cuda:N'``.
        dtype: the floating dtype of the parameters, to which floating input is converted.
        rng: a NumPy generator, a seed, or None for unpredictable weights.
        name: the name shown by ``repr`` and in errors.

    Attributes:
        weights: ``(input_size, 3 * hidden_size)``: reset gate, update gate (z), new state (n).
        recurrent_weights: ``(hidden_size, 3 * hidden_size)``.
        bias: ``(3 * hidden_size,)``, or None.
        recurrent_bias: :math:`b_n`, ``(hidden_size,)``; None without `reset_after` or `bias`.

    Raises:
        ValueError: if an option is out of range; when called, if a shape does not fit.
        TypeError: if an option is of the wrong type; when called, if an argument is not floating.

    >>> from nn_recurrent import GRUCell
    >>> from nn_tensor import ones
    >>> cell = GRUCell(3, 4, rng=0)
    >>> h = cell(ones(2, 3))
    >>> cell(ones(2, 3), h).shape
    (2, 4)
    """

    gates = 3

    @keyword_only
    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        reset_after: bool = True,
        bias: bool = True,
        initialization: RecurrentInitialization = "xavier",
        device: str | Device = "cpu",
        dtype: Any = np.float32,
        rng: np.random.Generator | int | None = None,
        name: str | None = None,
    ) -> None:
        rng = random_generator(rng)
        self.reset_after: bool = check_bool("reset_after", reset_after)
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
        self.recurrent_bias: Tensor | None = None
        if bias and reset_after:
            bound = 1 / np.sqrt(self.hidden_size) if initialization == "torch" else 0.0
            values = (
                rng.uniform(-bound, bound, self.hidden_size)
                if bound
                else np.zeros(self.hidden_size)
            )
            self.recurrent_bias = Tensor(
                values.astype(self.dtype, copy=False), device=device, requires_grad=True
            )

    def run(self, x: Tensor, states: Sequence[Tensor], steps: Steps, mask: Any) -> list[Tensor]:
        """Return the hidden states of all steps, packed, and the state at the end."""
        (h,) = states
        bias, new_bias = (0.0 if b is None else b for b in (self.bias, self.recurrent_bias))
        weights, recurrent = self.weights, self.recurrent_weights
        result = gru(x, weights, recurrent, bias, new_bias, h, mask, steps, self.reset_after)
        return split(result, steps, *self.state_sizes)

    def extra_repr(self) -> str:
        """Return the sizes and options."""
        return super().extra_repr() + ("" if self.reset_after else ", reset_after=False")
