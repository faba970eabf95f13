"""`Dense`: the fully connected layer."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from nn_tensor import Tensor, zeros
from nn_tensor.extend import Device, op

from nn_layers._initializers import initialize
from nn_layers._inputs import as_tensor, cast_like, positive
from nn_layers._module import Base_Layer

__all__ = ["Dense"]


def _rows(x: Any) -> Any:
    """Make one matrix of an array or Tensor: a product with it is then a single GEMM."""
    return x if x.ndim == 2 else x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


@op
def linear(xp: Any, x: Any, weights: Any, bias: Any, /) -> Any:
    """Return ``x @ weights + bias`` for `x` of any number of axes."""
    out = xp.matmul(_rows(x), weights)
    out = xp.add(out, bias, out=out if bias.dtype == out.dtype else None)
    return out if x.ndim == 2 else out.reshape(*x.shape[:-1], weights.shape[1])


@linear.gradient("x")
def _(g: Any, weights: Any, x_shape: tuple[int, ...]) -> Any:
    gradient = _rows(g) @ weights.T
    return gradient if len(x_shape) == 2 else gradient.reshape(x_shape)


@linear.gradient("weights")
def _(g: Any, x: Any) -> Any:
    return _rows(x).T @ _rows(g)


@linear.gradient("bias")
def _(g: Any) -> Any:
    return g


class Dense(Base_Layer):
    r"""The fully connected layer, :math:`y = x W + b`.

    Args:
        input_size: the number of features of the input.
        output_size: the number of features of the output.
        name: shown in the description and in errors.
        initialization: how the weights are drawn, see `initialize`; the bias starts at 0.
        device: where the parameters live.
        dtype: their floating type; floating input of another type is converted to it.
        bias: whether there is a bias.
        rng: a NumPy generator, a seed, or None for unpredictable weights.

    Attributes:
        weights: ``(input_size, output_size)``.
        bias: ``(output_size,)``, or None.

    Shapes: ``(..., input_size)`` to ``(..., output_size)``.

    Raises:
        ValueError: if a size is less than 1 or `initialization` is unknown; when called, if the
            input does not have `input_size` features or lies on another device.
        TypeError: if a size is not an integer or `dtype` not floating; when called, if the input
            is not floating.

    >>> from nn_tensor import ones
    >>> layer = Dense(128, 10, initialization="xavier", rng=0)
    >>> layer
    Dense(128→10)
    >>> layer(ones(32, 128)).shape
    (32, 10)
    """

    weights: Tensor
    bias: Tensor | None

    def __init__(
        self,
        input_size: int,
        output_size: int,
        name: str | None = None,
        initialization: str = "xavier",
        device: str | Device = "cpu",
        dtype: Any = np.float32,
        bias: bool = True,
        rng: np.random.Generator | int | None = None,
    ) -> None:
        super().__init__()
        shape = positive("input_size", input_size), positive("output_size", output_size)
        self.name = name
        self.weights = initialize(initialization, shape, *shape, rng, device, dtype)
        self.bias = None
        if bias:
            self.bias = zeros(shape[1], dtype=self.dtype, device=self.device, requires_grad=True)

    @property
    def input_size(self) -> int:
        """The number of features of the input."""
        return self.weights.shape[0]

    @property
    def output_size(self) -> int:
        """The number of features of the output."""
        return self.weights.shape[1]

    @property
    def device(self) -> str:
        """Where the parameters live."""
        return self.weights.device

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the parameters."""
        return self.weights.dtype

    def forward(self, x: Any) -> Tensor:
        """Return ``x @ weights + bias``."""
        x = as_tensor(x)
        if x.ndim == 0 or x.shape[-1] != self.input_size:
            raise ValueError(self._misfit(x.shape))
        x = cast_like(x, self.weights)
        return x @ self.weights if self.bias is None else linear(x, self.weights, self.bias)

    def _misfit(self, shape: tuple[int, ...]) -> str:
        features = f"{shape[-1]} features" if shape else "no axes"
        message = f"input has {features}, expected {self.input_size} (its shape is {shape})"
        if len(shape) > 2 and math.prod(shape[1:]) == self.input_size:
            message += "; put Flatten() in front"
        return message

    def extra_repr(self) -> str:
        """Return the sizes."""
        sizes = f"{self.input_size}→{self.output_size}"
        return sizes if self.bias is not None else f"{sizes}, bias=False"
