"""Activations: functions of each element, and softmax, as layers without parameters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from nn_tensor import Tensor, exp, minimum, parse_device, relu, sigmoid, softmax, tanh, where
from nn_tensor.extend import Device, op

from nn_layers._inputs import as_tensor, finite
from nn_layers._module import Base_Layer

__all__ = ["ELU", "Activation", "LeakyReLU", "ReLU", "Sigmoid", "Softmax", "Tanh"]


class Activation(Base_Layer, ABC):
    """The base of activations, which have no parameters.

    An activation computes where its input lives and keeps its dtype. `device` says where the
    model is meant to run, for those who ask; it moves no data, and needs no GPU.

    Args:
        device: ``'cpu'``, ``'cuda'`` or ``'cuda:N'``.

    Raises:
        ValueError: for another spelling of `device`.

    >>> class Square(Activation):
    ...     def forward(self, inputs):
    ...         return inputs * inputs
    >>> Square()(Tensor([2.0, 3.0]))
    Tensor([4., 9.])
    """

    def __init__(self, device: str | Device = "cpu") -> None:
        super().__init__()
        self.device = str(parse_device(device))

    def set_gpu(self) -> None:
        """Set `device` to ``'cuda'``."""
        self.device = "cuda"

    def set_cpu(self) -> None:
        """Set `device` to ``'cpu'``."""
        self.device = "cpu"

    @abstractmethod
    def forward(self, inputs: Any) -> Tensor:
        """Return the activations of `inputs`, of the same shape."""


class ReLU(Activation):
    r"""The rectified linear unit, :math:`\max(0, x)` (Nair and Hinton, 2010).

    Its derivative at 0 is taken as 0.

    >>> ReLU()(Tensor([-1.0, 2.0]))
    Tensor([0., 2.])
    """

    def forward(self, inputs: Any) -> Tensor:
        """Return ``max(inputs, 0)``."""
        return relu(as_tensor(inputs))


class Tanh(Activation):
    """The hyperbolic tangent, with values in [-1, 1].

    >>> Tanh()(Tensor([0.0, 100.0]))
    Tensor([0., 1.])
    """

    def forward(self, inputs: Any) -> Tensor:
        """Return ``tanh(inputs)``."""
        return tanh(as_tensor(inputs))


class Sigmoid(Activation):
    r"""The logistic function, :math:`1 / (1 + e^{-x})`, with values in [0, 1].

    >>> Sigmoid()(Tensor([-1000.0, 0.0, 1000.0]))
    Tensor([0. , 0.5, 1. ])
    """

    def forward(self, inputs: Any) -> Tensor:
        """Return ``1 / (1 + exp(-inputs))``, computed without overflow."""
        return sigmoid(as_tensor(inputs))


class Softmax(Activation):
    r"""Probabilities, :math:`e^{x_i} / \sum_j e^{x_j}` along an axis (Bridle, 1990).

    Args:
        axis: along which the outputs sum to 1.
        device: as for every `Activation`.

    Raises:
        ValueError: when called, if the input has no such axis.

    >>> Softmax(axis=-1)(Tensor([[1000.0, 1000.0]]))
    Tensor([[0.5, 0.5]])
    """

    def __init__(self, axis: int = -1, device: str | Device = "cpu") -> None:
        super().__init__(device)
        self.axis = axis

    def forward(self, inputs: Any) -> Tensor:
        """Return ``exp(inputs)`` divided by its sum, computed without overflow."""
        inputs = as_tensor(inputs)
        if not -inputs.ndim <= self.axis < inputs.ndim:
            raise ValueError(f"input of shape {inputs.shape} has no axis {self.axis}")
        return softmax(inputs, self.axis)

    def extra_repr(self) -> str:
        """Return the axis."""
        return f"axis={self.axis}"


@op
def leaky_relu(xp: Any, x: Any, /, alpha: float) -> Any:
    """Return `x` where it is positive, ``alpha * x`` elsewhere."""
    return xp.where(x > 0, x, x * alpha)


@leaky_relu.gradient("x")
def _(g: Any, x: Any, alpha: float) -> Any:
    return where(x > 0, g, g * alpha)


class LeakyReLU(Activation):
    r"""The leaky rectifier: :math:`x` if :math:`x > 0`, else :math:`\alpha x` (Maas et al., 2013).

    Args:
        alpha: the slope on the negative side, which is also the derivative at 0.
        device: as for every `Activation`.

    Raises:
        ValueError: if `alpha` is infinite or NaN.

    >>> LeakyReLU(alpha=0.5)(Tensor([-1.0, 2.0]))
    Tensor([-0.5,  2. ])
    """

    def __init__(self, alpha: float = 0.01, device: str | Device = "cpu") -> None:
        super().__init__(device)
        self.alpha = finite("alpha", alpha)

    def forward(self, inputs: Any) -> Tensor:
        """Return `inputs` where they are positive, ``alpha * inputs`` elsewhere."""
        return leaky_relu(as_tensor(inputs), self.alpha)

    def extra_repr(self) -> str:
        """Return alpha."""
        return f"alpha={self.alpha:g}"


@op
def elu(xp: Any, x: Any, /, alpha: float) -> Any:
    """Return `x` where it is positive, ``alpha * (exp(x) - 1)`` elsewhere."""
    return xp.where(x > 0, x, alpha * xp.expm1(xp.minimum(x, 0)))


@elu.gradient("x")
def _(g: Any, x: Any, alpha: float) -> Any:
    # out + alpha would save the exponential, but has no correct digit left where x is very negative
    return where(x > 0, g, g * (alpha * exp(minimum(x, 0))))


class ELU(Activation):
    r"""The exponential linear unit (Clevert, Unterthiner and Hochreiter, 2016).

    :math:`x` if :math:`x > 0`, else :math:`\alpha (e^x - 1)`; the derivative at 0 is
    :math:`\alpha`.

    Args:
        alpha: minus the value that very negative inputs come near.
        device: as for every `Activation`.

    Raises:
        ValueError: if `alpha` is infinite or NaN.

    >>> ELU(alpha=2.0)(Tensor([-1000.0, 3.0]))
    Tensor([-2.,  3.])
    """

    def __init__(self, alpha: float = 1.0, device: str | Device = "cpu") -> None:
        super().__init__(device)
        self.alpha = finite("alpha", alpha)

    def forward(self, inputs: Any) -> Tensor:
        """Return `inputs` where they are positive, ``alpha * (exp(inputs) - 1)`` elsewhere."""
        return elu(as_tensor(inputs), self.alpha)

    def extra_repr(self) -> str:
        """Return alpha."""
        return f"alpha={self.alpha:g}"
