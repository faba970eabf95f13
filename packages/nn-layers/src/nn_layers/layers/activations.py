"""Activations: functions of each element, and softmax, as layers without parameters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Literal

from nn_tensor import (
    Tensor,
    is_grad_enabled,
    log_softmax,
    parse_device,
    relu,
    sigmoid,
    softmax,
    softplus,
    tanh,
)
from nn_tensor.extend import Device, check_choice, check_number, keyword_only

from nn_layers.layers.inputs import as_tensor
from nn_layers.module.base_layer import Base_Layer
from nn_layers.ops.activations import elu, leaky_relu, silu
from nn_layers.ops.gelu import gelu, gelu_tanh

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
    """The base class of activations, which have no parameters.

    An activation computes on the device of its input and keeps its dtype. `device` is an attribute
    only: it moves no data, and needs no GPU.

    Shapes: any, to the same.

    Args:
        device: ``'cpu'``, ``'cuda'`` or ``'cuda:N'``.

    Raises:
        ValueError: if `device` is not one of these.

    >>> class Square(Activation):
    ...     def forward(self, inputs):
    ...         return inputs * inputs
    >>> Square()(Tensor([2.0, 3.0]))
    Tensor([4., 9.])
    """

    def __init__(self, device: str | Device = "cpu") -> None:
        super().__init__()
        self.device: str = str(parse_device(device))

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

    Shapes: any, to the same. The dtype of floating input is kept.

    Args:
        device: ``'cpu'``, ``'cuda'`` or ``'cuda:N'``; see `Activation`.

    >>> ReLU()(Tensor([-1.0, 2.0]))
    Tensor([0., 2.])
    """

    def forward(self, inputs: Any) -> Tensor:
        """Return ``max(inputs, 0)``."""
        return relu(as_tensor(inputs))


class Tanh(Activation):
    """The hyperbolic tangent, with values in [-1, 1].

    Shapes: any, to the same. The dtype of floating input is kept.

    Args:
        device: ``'cpu'``, ``'cuda'`` or ``'cuda:N'``; see `Activation`.

    >>> Tanh()(Tensor([0.0, 100.0]))
    Tensor([0., 1.])
    """

    def forward(self, inputs: Any) -> Tensor:
        """Return ``tanh(inputs)``."""
        return tanh(as_tensor(inputs))


class Sigmoid(Activation):
    r"""The logistic function, :math:`1 / (1 + e^{-x})`, with values in [0, 1].

    Shapes: any, to the same. The dtype of floating input is kept.

    Args:
        device: ``'cpu'``, ``'cuda'`` or ``'cuda:N'``; see `Activation`.

    >>> Sigmoid()(Tensor([-1000.0, 0.0, 1000.0]))
    Tensor([0. , 0.5, 1. ])
    """

    def forward(self, inputs: Any) -> Tensor:
        """Return ``1 / (1 + exp(-inputs))``, computed without overflow."""
        return sigmoid(as_tensor(inputs))


class _AxisActivation(Activation):
    """An activation that normalizes along an axis."""

    @keyword_only
    def __init__(self, axis: int = -1, *, device: str | Device = "cpu") -> None:
        super().__init__(device)
        self.axis = axis

    def _checked(self, inputs: Any) -> Tensor:
        inputs = as_tensor(inputs)
        if not -inputs.ndim <= self.axis < inputs.ndim:
            raise ValueError(f"input of shape {inputs.shape} has no axis {self.axis}")
        return inputs

    def extra_repr(self) -> str:
        """Return the axis."""
        return f"axis={self.axis}"


class Softmax(_AxisActivation):
    r"""The softmax function, :math:`e^{x_i} / \sum_j e^{x_j}` along an axis (Bridle, 1990).

    Shapes: any, to the same. The dtype of floating input is kept.

    Args:
        axis: the axis along which the outputs sum to 1.
        device: ``'cpu'``, ``'cuda'`` or ``'cuda:N'``; see `Activation`.

    Raises:
        ValueError: when called, if the input has no such axis.

    >>> Softmax(axis=-1)(Tensor([[1000.0, 1000.0]]))
    Tensor([[0.5, 0.5]])
    """

    def forward(self, inputs: Any) -> Tensor:
        """Return ``exp(inputs)`` divided by its sum, computed without overflow."""
        return softmax(self._checked(inputs), self.axis)


class LogSoftmax(_AxisActivation):
    r"""The logarithm of softmax, :math:`x_i - \log \sum_j e^{x_j}` along an axis.

    It is accurate where the probabilities of `Softmax` round to 0.

    Shapes: any, to the same. The dtype of floating input is kept.

    Args:
        axis: the axis along which the exponentials of the outputs sum to 1.
        device: ``'cpu'``, ``'cuda'`` or ``'cuda:N'``; see `Activation`.

    Raises:
        ValueError: when called, if the input has no such axis.

    >>> LogSoftmax(axis=-1)(Tensor([[1000.0, 0.0]]))
    Tensor([[    0., -1000.]])
    """

    def forward(self, inputs: Any) -> Tensor:
        """Return the log-softmax of `inputs`."""
        return log_softmax(self._checked(inputs), self.axis)


class LeakyReLU(Activation):
    r"""The leaky ReLU: :math:`x` if :math:`x > 0`, else :math:`\alpha x` (Maas et al., 2013).

    Shapes: any, to the same. The dtype of floating input is kept.

    Args:
        alpha: the derivative for negative inputs and at 0.
        device: ``'cpu'``, ``'cuda'`` or ``'cuda:N'``; see `Activation`.

    Raises:
        ValueError: if `alpha` is infinite or NaN.
        TypeError: if it is not a number.

    >>> LeakyReLU(alpha=0.5)(Tensor([-1.0, 2.0]))
    Tensor([-0.5,  2. ])
    """

    @keyword_only
    def __init__(self, alpha: float = 0.01, *, device: str | Device = "cpu") -> None:
        super().__init__(device)
        self.alpha: float = check_number("alpha", alpha)

    def forward(self, inputs: Any) -> Tensor:
        """Return `inputs` where they are positive, ``alpha * inputs`` elsewhere."""
        return leaky_relu(as_tensor(inputs), self.alpha)

    def extra_repr(self) -> str:
        """Return alpha."""
        return f"alpha={self.alpha:g}"


class ELU(Activation):
    r"""The exponential linear unit (Clevert, Unterthiner and Hochreiter, 2016).

    :math:`x` if :math:`x > 0`, else :math:`\alpha (e^x - 1)`; the derivative at 0 is
    :math:`\alpha`.

    Shapes: any, to the same. The dtype of floating input is kept.

    Args:
        alpha: the output tends to ``-alpha`` for very negative inputs.
        device: ``'cpu'``, ``'cuda'`` or ``'cuda:N'``; see `Activation`.

    Raises:
        ValueError: if `alpha` is infinite or NaN.
        TypeError: if it is not a number.

    >>> ELU(alpha=2.0)(Tensor([-1000.0, 3.0]))
    Tensor([-2.,  3.])
    """

    @keyword_only
    def __init__(self, alpha: float = 1.0, *, device: str | Device = "cpu") -> None:
        super().__init__(device)
        self.alpha: float = check_number("alpha", alpha)

    def forward(self, inputs: Any) -> Tensor:
        """Return `inputs` where they are positive, ``alpha * (exp(inputs) - 1)`` elsewhere."""
        return elu(as_tensor(inputs), self.alpha)

    def extra_repr(self) -> str:
        """Return alpha."""
        return f"alpha={self.alpha:g}"


class GELU(Activation):
    r"""The Gaussian error linear unit, :math:`x \, \Phi(x)` (Hendrycks and Gimpel, 2016).

    :math:`\Phi(x) = \frac{1}{2} (1 + \mathrm{erf}(x / \sqrt 2))` is the probability that a standard
    normal variable is less than :math:`x` (section 2 there).

    Shapes: any, to the same. The dtype of floating input is kept.

    Args:
        approximate: ``'none'``, or ``'tanh'`` for :math:`\frac{x}{2} \bigl(1 + \tanh(\sqrt{2 / \pi}
            \, (x + 0.044715 x^3))\bigr)`, which GPT-2 and other older models use.
        device: ``'cpu'``, ``'cuda'`` or ``'cuda:N'``; see `Activation`.

    Raises:
        ValueError: if `approximate` is neither.

    >>> GELU()(Tensor([-1000.0, 0.0, 1000.0]))
    Tensor([  -0.,    0., 1000.])
    """

    @keyword_only
    def __init__(
        self, approximate: Literal["none", "tanh"] = "none", *, device: str | Device = "cpu"
    ) -> None:
        super().__init__(device)
        self.approximate: str = check_choice("approximate", approximate, ("none", "tanh"))

    def forward(self, inputs: Any) -> Tensor:
        """Return GELU of `inputs`."""
        x = as_tensor(inputs)
        if self.approximate == "tanh":
            return gelu_tanh(x)
        return gelu(x, x.requires_grad and is_grad_enabled())

    def extra_repr(self) -> str:
        """Return the approximation, if there is one."""
        return "" if self.approximate == "none" else f"approximate={self.approximate!r}"


class SiLU(Activation):
    r"""The sigmoid linear unit, :math:`x / (1 + e^{-x})` (Elfwing, Uchibe and Doya, 2018).

    It is also called swish (Ramachandran, Zoph and Le, 2017).

    Shapes: any, to the same. The dtype of floating input is kept.

    Args:
        device: ``'cpu'``, ``'cuda'`` or ``'cuda:N'``; see `Activation`.

    >>> SiLU()(Tensor([-1000.0, 0.0, 1000.0]))
    Tensor([  -0.,    0., 1000.])
    """

    def forward(self, inputs: Any) -> Tensor:
        """Return `inputs` times their logistic function."""
        return silu(as_tensor(inputs))


class Softplus(Activation):
    r"""The softplus function, :math:`\log(1 + e^x)` (Dugas et al., 2001).

    Shapes: any, to the same. The dtype of floating input is kept.

    Args:
        device: ``'cpu'``, ``'cuda'`` or ``'cuda:N'``; see `Activation`.

    >>> Softplus()(Tensor([-1000.0, 1000.0]))
    Tensor([   0., 1000.])
    """

    def forward(self, inputs: Any) -> Tensor:
        """Return ``log(1 + exp(inputs))``, computed without overflow."""
        return softplus(as_tensor(inputs))


class Identity(Activation):
    """Returns its input: a placeholder where a model may have another layer.

    Shapes: any, to the same. The dtype of floating input is kept.

    Args:
        device: ``'cpu'``, ``'cuda'`` or ``'cuda:N'``; see `Activation`.

    >>> Identity()(Tensor([-1.0, 2.0]))
    Tensor([-1.,  2.])
    """

    def forward(self, inputs: Any) -> Tensor:
        """Return `inputs`."""
        return as_tensor(inputs)
