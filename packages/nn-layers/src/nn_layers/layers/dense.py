"""`Dense`: the fully connected layer."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from nn_tensor import Tensor
from nn_tensor.extend import Device, check_integer, keyword_only

from nn_layers.initializers import Initialization, initialize
from nn_layers.layers.inputs import as_tensor, floating_input
from nn_layers.layers.weighted import WeightedLayer
from nn_layers.ops.linear import linear

__all__ = ["Dense"]


class Dense(WeightedLayer):
    r"""The fully connected layer, :math:`y = x W + b`.

    Shapes: ``(..., input_size)`` to ``(..., output_size)``.

    Args:
        input_size: the number of features of the input.
        output_size: the number of features of the output.
        initialization: the distribution of the initial weights, see `initialize`; the bias starts
            at 0.
        bias: whether the layer has a bias.
        device: the device of the parameters, ``'cpu'``, ``'cuda'`` or ``'cuda:N'``.
        dtype: the floating dtype of the parameters, to which floating input is converted.
        rng: a NumPy generator, a seed, or None for unpredictable weights.
        name: the name shown by ``repr`` and in errors.

    Attributes:
        weights: ``(input_size, output_size)``.
        bias: ``(output_size,)``, or None.

    Raises:
        ValueError: if a size is less than 1 or `initialization` is unknown; when called, if the
            input does not have `input_size` features or is on another device.
        TypeError: if a size is not an integer or `dtype` not floating; when called, if the input
            is not floating.

    >>> from nn_tensor import ones
    >>> layer = Dense(128, 10, initialization="xavier", rng=0)
    >>> layer
    Dense(128→10)
    >>> layer(ones(32, 128)).shape
    (32, 10)
    """

    @keyword_only
    def __init__(
        self,
        input_size: int,
        output_size: int,
        *,
        initialization: Initialization = "xavier",
        bias: bool = True,
        device: str | Device = "cpu",
        dtype: Any = np.float32,
        rng: np.random.Generator | int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        shape = (
            check_integer("input_size", input_size, 1),
            check_integer("output_size", output_size, 1),
        )
        self.weights: Tensor = initialize(
            initialization, shape, *shape, rng=rng, device=device, dtype=dtype
        )
        self.bias: Tensor | None = self._new_bias(shape[1]) if bias else None

    @property
    def input_size(self) -> int:
        """The number of features of the input."""
        return self.weights.shape[0]

    @property
    def output_size(self) -> int:
        """The number of features of the output."""
        return self.weights.shape[1]

    def forward(self, x: Any) -> Tensor:
        """Return ``x @ weights + bias``."""
        x, weights, bias = as_tensor(x), self.weights, self.bias
        shape = x.shape
        if not shape or shape[-1] != weights.shape[0]:
            raise ValueError(self._mismatch(shape))
        x = floating_input(x, weights.dtype)
        return x @ weights if bias is None else linear(x, weights, bias)

    def _mismatch(self, shape: tuple[int, ...]) -> str:
        features = f"{shape[-1]} features" if shape else "no dimensions"
        message = f"input has {features}, expected {self.input_size} (its shape is {shape})"
        if len(shape) > 2 and math.prod(shape[1:]) == self.input_size:
            message += "; put Flatten() in front"
        return message

    def extra_repr(self) -> str:
        """Return the sizes."""
        sizes = f"{self.input_size}→{self.output_size}"
        return sizes if self.bias is not None else f"{sizes}, bias=False"
