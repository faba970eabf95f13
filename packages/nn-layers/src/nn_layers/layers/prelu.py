"""`PReLU`: the leaky rectifier with a trained derivative."""

from __future__ import annotations

from typing import Any

import numpy as np
from nn_tensor import Tensor, full, where
from nn_tensor.extend import (
    Device,
    check_floating_dtype,
    check_integer,
    check_number,
    keyword_only,
)

from nn_layers.layers.inputs import floating_input
from nn_layers.module.base_layer import Base_Layer

__all__ = ["PReLU"]


class PReLU(Base_Layer):
    r"""The parametric rectifier: :math:`x` if :math:`x > 0`, else :math:`w x` with a trained `w`.

    (He, Zhang, Ren and Sun, "Delving Deep into Rectifiers", 2015, section 2.1.)

    Shapes: any, to the same; with `num_parameters` greater than 1, ``(batch, num_parameters,
    ...)``. Floating input of another dtype than the parameters' is converted to it.

    Args:
        num_parameters: 1, or the number of channels, for one parameter per channel.
        alpha: the initial value.
        device: the device of the parameters, ``'cpu'``, ``'cuda'`` or ``'cuda:N'``.
        dtype: the floating dtype of the parameters.
        name: the name shown by ``repr`` and in errors.

    Attributes:
        weights: ``(num_parameters,)``.

    Raises:
        ValueError: if an option is out of range; when called, if the input does not have that many
            channels.
        TypeError: if an option is of the wrong type; when called, if the input is not floating.

    >>> PReLU()(Tensor([-1.0, 2.0])).tolist()
    [-0.25, 2.0]
    """

    @keyword_only
    def __init__(
        self,
        num_parameters: int = 1,
        *,
        alpha: float = 0.25,
        device: str | Device = "cpu",
        dtype: Any = np.float32,
        name: str | None = None,
    ) -> None:
        super().__init__()
        count = check_integer("num_parameters", num_parameters, 1)
        value = check_number("alpha", alpha)
        parsed = check_floating_dtype("dtype", dtype)
        self.name = name
        self.weights: Tensor = full(
            (count,), value, dtype=parsed, device=device, requires_grad=True
        )

    @property
    def num_parameters(self) -> int:
        """The number of parameters."""
        return self.weights.shape[0]

    @property
    def device(self) -> str:
        """The device of the parameters."""
        return self.weights.device

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the parameters."""
        return self.weights.dtype

    def forward(self, x: Any) -> Tensor:
        """Return `x` where it is positive, `weights` times `x` elsewhere."""
        x = floating_input(x, self.dtype)
        count = self.num_parameters
        if count > 1 and (x.ndim < 2 or x.shape[1] != count):
            raise ValueError(
                f"input of shape {x.shape} does not have {count} channels, expected (batch, "
                f"{count}, ...)"
            )
        weights = self.weights.reshape(count, *(1,) * (x.ndim - 2)) if count > 1 else self.weights
        if x.ndim == 0:
            weights = weights.reshape(())
        return where(x > 0, x, weights * x)

    def extra_repr(self) -> str:
        """Return the number of parameters."""
        return "" if self.num_parameters == 1 else str(self.num_parameters)
