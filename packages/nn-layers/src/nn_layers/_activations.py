"""Activations: functions of each element, and softmax, as layers without parameters."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

from nn_tensor import (
    Tensor,
    clip,
    exp,
    log_softmax,
    minimum,
    parse_device,
    relu,
    sigmoid,
    softmax,
    softplus,
    tanh,
    where,
)
from nn_tensor.extend import Device, op

from nn_layers._gelu import FAR, gelu
from nn_layers._inputs import as_tensor, finite
from nn_layers._module import Base_Layer

__all__ = [
    "ELU",
    "GELU",
    "Activation",
    "Identity",
    "LeakyReLU",
    "LogSoftmax",
    "ReLU",
    "Sigmoid",
    "SiLU",
    "Softmax",
    "Softplus",
    "Tanh",
]


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
        return softmax(_with_axis(inputs, self.axis), self.axis)

    def extra_repr(self) -> str:
        """Return the axis."""
        return f"axis={self.axis}"


def _with_axis(inputs: Any, axis: int) -> Tensor:
    inputs = as_tensor(inputs)
    if not -inputs.ndim <= axis < inputs.ndim:
        raise ValueError(f"input of shape {inputs.shape} has no axis {axis}")
    return inputs


class LogSoftmax(Activation):
    r"""Logarithms of probabilities, :math:`x_i - \log \sum_j e^{x_j}` along an axis.

    They are accurate where the probabilities of `Softmax` round to 0.

    Args:
        axis: along which the exponentials of the outputs sum to 1.
        device: as for every `Activation`.

    Raises:
        ValueError: when called, if the input has no such axis.

    >>> LogSoftmax(axis=-1)(Tensor([[1000.0, 0.0]]))
    Tensor([[    0., -1000.]])
    """

    def __init__(self, axis: int = -1, device: str | Device = "cpu") -> None:
        super().__init__(device)
        self.axis = axis

    def forward(self, inputs: Any) -> Tensor:
        """Return `inputs` minus the logarithm of the sum of their exponentials."""
        return log_softmax(_with_axis(inputs, self.axis), self.axis)

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


# The next two multiply by a gate that is 0 or 1 as far as floats go long before these limits, as
# `gelu` does.
_VERY_FAR = 800.0


_SLOPE, _CUBIC = math.sqrt(2 / math.pi), 0.044715


def _tanh_gate(x: Any) -> Any:
    near = clip(x, -FAR, FAR)
    return 0.5 * (1 + tanh(_SLOPE * near * (1 + _CUBIC * near * near)))


@op(keeps=("gate",))
def gelu_by_tanh(xp: Any, x: Any, /) -> Any:
    """Return `gelu` with the approximation of its gate by the hyperbolic tangent."""
    gate = _tanh_gate(x)
    return xp.maximum(x, -FAR) * gate, gate


@gelu_by_tanh.kept
def _(x: Any) -> Any:
    return (_tanh_gate(x),)


@gelu_by_tanh.gradient("x")
def _(g: Any, x: Any, gate: Any) -> Any:
    near = clip(x, -FAR, FAR)
    inner = 2 * _SLOPE * (1 + 3 * _CUBIC * near * near)
    return g * gate * (1 + near * (1 - gate) * inner)


class GELU(Activation):
    r"""The Gaussian error linear unit, :math:`x \, \Phi(x)` (Hendrycks and Gimpel, 2016).

    :math:`\Phi(x) = \frac{1}{2} (1 + \mathrm{erf}(x / \sqrt 2))` is the probability that a standard
    normal variable is less than :math:`x` (section 2 there).

    Args:
        approximate: ``'none'``, or ``'tanh'`` for :math:`\frac{x}{2} \bigl(1 + \tanh(\sqrt{2 / \pi}
            \, (x + 0.044715 x^3))\bigr)`, which older models were trained with.
        device: as for every `Activation`.

    Raises:
        ValueError: for another `approximate`.

    >>> GELU()(Tensor([-1000.0, 0.0, 1000.0]))
    Tensor([  -0.,    0., 1000.])
    """

    def __init__(self, approximate: str = "none", device: str | Device = "cpu") -> None:
        super().__init__(device)
        if approximate not in ("none", "tanh"):
            raise ValueError(f"approximate: expected 'none' or 'tanh', got {approximate!r}")
        self.approximate = approximate

    def forward(self, inputs: Any) -> Tensor:
        """Return `inputs` times the probability of a normal variable to be less."""
        function = gelu if self.approximate == "none" else gelu_by_tanh
        return function(as_tensor(inputs))

    def extra_repr(self) -> str:
        """Return the approximation, if there is one."""
        return "" if self.approximate == "none" else f"approximate={self.approximate!r}"


@op(keeps=("gate",))
def silu(xp: Any, x: Any, /) -> Any:
    """Return `x` times its logistic function."""
    gate = sigmoid(x)
    return xp.maximum(x, -_VERY_FAR) * gate, gate


@silu.kept
def _(x: Any) -> Any:
    return (sigmoid(x),)


@silu.gradient("x")
def _(g: Any, x: Any, gate: Any) -> Any:
    return g * gate * (1 + clip(x, -_VERY_FAR, _VERY_FAR) * (1 - gate))


class SiLU(Activation):
    r"""The sigmoid linear unit, :math:`x / (1 + e^{-x})` (Elfwing, Uchibe and Doya, 2018).

    It is also called swish (Ramachandran, Zoph and Le, 2017).

    >>> SiLU()(Tensor([-1000.0, 0.0, 1000.0]))
    Tensor([  -0.,    0., 1000.])
    """

    def forward(self, inputs: Any) -> Tensor:
        """Return `inputs` times their logistic function."""
        return silu(as_tensor(inputs))


class Softplus(Activation):
    r"""The smooth rectifier, :math:`\log(1 + e^x)` (Dugas et al., 2001).

    >>> Softplus()(Tensor([-1000.0, 1000.0]))
    Tensor([   0., 1000.])
    """

    def forward(self, inputs: Any) -> Tensor:
        """Return ``log(1 + exp(inputs))``, computed without overflow."""
        return softplus(as_tensor(inputs))


class Identity(Activation):
    """Returns its input: what stands where a model may have another layer.

    >>> Identity()(Tensor([-1.0, 2.0]))
    Tensor([-1.,  2.])
    """

    def forward(self, inputs: Any) -> Tensor:
        """Return `inputs`."""
        return as_tensor(inputs)
