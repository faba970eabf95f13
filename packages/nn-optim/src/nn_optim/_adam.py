"""Adaptive moment estimation."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from nn_tensor import Tensor
from nn_tensor.extend import array_module, kernel

from nn_optim._blocks import blocks, flat
from nn_optim._optimizer import Optimizer
from nn_optim._options import Option
from nn_optim._state import State

__all__ = ["Adam", "AdamW"]

Array = Any


@kernel
def adapt(
    xp: Any,
    parameter: Array,
    gradient: Array,
    mean: Array,
    square: Array,
    rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    weight_decay: float,
    shrink: float,
) -> None:
    """Move `parameter` by the moments of its gradient; `rate` and `epsilon` correct their bias."""
    for p, g, m, v, work, d in blocks(xp, parameter, gradient, mean, square):
        if shrink:
            p *= 1.0 - shrink
        if weight_decay:
            xp.multiply(p, weight_decay, out=d)
            d += g
        else:
            d = g
        xp.subtract(d, m, out=work)
        work *= 1.0 - beta1
        m += work
        xp.square(d, out=work)
        work *= 1.0 - beta2
        v *= beta2
        v += work
        xp.sqrt(v, out=work)
        work += epsilon
        xp.divide(m, work, out=work)
        work *= rate
        p -= work


@adapt.cpu
def _(p, g, m, v, rate, beta1, beta2, epsilon, weight_decay, shrink):  # type: ignore[no-untyped-def]
    new1, new2 = p.dtype.type(1.0 - beta1), p.dtype.type(1.0 - beta2)
    rate, beta2 = p.dtype.type(rate), p.dtype.type(beta2)
    epsilon, weight_decay = p.dtype.type(epsilon), p.dtype.type(weight_decay)
    keep = p.dtype.type(1.0 - shrink)
    for i in range(p.size):
        p[i] *= keep
        d = g[i] + weight_decay * p[i]
        m[i] += new1 * (d - m[i])
        v[i] = beta2 * v[i] + new2 * (d * d)
        p[i] -= rate * (m[i] / (np.sqrt(v[i]) + epsilon))


@adapt.cuda
def _(
    cp: Any,
    p: Array,
    g: Array,
    m: Array,
    v: Array,
    rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    weight_decay: float,
    shrink: float,
) -> None:
    new1, new2, keep = 1.0 - beta1, 1.0 - beta2, 1.0 - shrink
    _adapt_on_cuda(cp)(g, rate, new1, beta2, new2, epsilon, weight_decay, keep, p, m, v)


@functools.cache
def _adapt_on_cuda(cp: Any) -> Any:
    return cp.ElementwiseKernel(
        "T g, T rate, T new1, T beta2, T new2, T epsilon, T weight_decay, T keep",
        "T p, T m, T v",
        """
        p *= keep;
        T d = g + weight_decay * p;
        m += new1 * (d - m);
        v = beta2 * v + new2 * (d * d);
        p -= rate * (m / (sqrt(v) + epsilon));
        """,
        "nn_optim_adapt",
    )


class Adam(Optimizer):
    r"""Adam: steps in units of the gradient's own recent size.

    .. math::
        d_t &= g_t + \lambda\, \theta_{t-1} \\
        m_t &= \beta_1 m_{t-1} + (1 - \beta_1)\, d_t \\
        v_t &= \beta_2 v_{t-1} + (1 - \beta_2)\, d_t^2 \\
        \theta_t &= \theta_{t-1} - \text{lr}_t
            \frac{m_t / (1 - \beta_1^t)}{\sqrt{v_t / (1 - \beta_2^t)} + \epsilon}

    (Kingma and Ba, "Adam: A Method for Stochastic Optimization", 2015, algorithm 1; `weight_decay`
    :math:`\lambda` as in PyTorch's ``Adam``, where it is part of the gradient.) What is computed
    is the same in the order given at the end of their section 2: both corrections of bias are
    numbers, drawn into the learning rate and :math:`\epsilon`. The count :math:`t` is each
    parameter's own.

    Floating parameters of any shape; they keep their dtype. Memory: two arrays for each parameter.

    Args:
        parameters: leaf Tensors that require a gradient, or groups of them; see `Optimizer`.
        lr: the learning rate, about the largest change of an element in one step, finite and >= 0.
        beta1: the share of the mean that a step keeps, >= 0 and < 1.
        beta2: the share of the mean square that a step keeps, >= 0 and < 1.
        epsilon: added to the root of the mean square, >= 0.
        decay: how fast `decay_lr` lowers the learning rate, >= 0; see `Optimizer`.
        weight_decay: the weight of half the squared norm of the parameters in what is minimised,
            >= 0.

    Raises:
        ValueError: for an option out of range, no parameters, or one that is not a leaf or
            requires no gradient.
        TypeError: for a parameter that is no Tensor, or an option that is no number.

    >>> from nn_optim import Adam
    >>> from nn_tensor import Tensor
    >>> x = Tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = Adam([x], lr=0.5)
    >>> (x * x).sum().backward()
    >>> optimizer.step()
    >>> x.data
    array([ 0.5, -1.5], dtype=float32)
    """

    elementwise = True
    beta1 = Option(below=1.0)
    beta2 = Option(below=1.0)
    epsilon = Option()
    weight_decay = Option()

    def __init__(
        self,
        parameters: Iterable[Tensor] | Iterable[Mapping[str, Any]],
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        decay: float = 0.0,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(
            parameters,
            lr,
            decay,
            beta1=beta1,
            beta2=beta2,
            epsilon=epsilon,
            weight_decay=weight_decay,
        )

    def arrays(self, options: Mapping[str, Any]) -> tuple[str, ...]:
        """Return ``mean`` and ``square``, the moments m and v."""
        return ("mean", "square")

    def update(
        self, parameter: Array, gradient: Array, state: State, options: Mapping[str, Any]
    ) -> None:
        """Move one parameter by the equations of the class."""
        _step(parameter, gradient, state, options, options["weight_decay"], 0.0)


class AdamW(Adam):
    r"""Adam with decoupled weight decay: parameters shrink beside the step, not by it.

    .. math::
        m_t &= \beta_1 m_{t-1} + (1 - \beta_1)\, g_t \\
        v_t &= \beta_2 v_{t-1} + (1 - \beta_2)\, g_t^2 \\
        \theta_t &= (1 - \text{lr}_t \lambda)\, \theta_{t-1} - \text{lr}_t
            \frac{m_t / (1 - \beta_1^t)}{\sqrt{v_t / (1 - \beta_2^t)} + \epsilon}

    (Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019, algorithm 2, in the
    form of PyTorch, where the learning rate multiplies `weight_decay` :math:`\lambda` too.)

    Floating parameters of any shape; they keep their dtype. Memory: two arrays for each parameter.

    Args:
        parameters: leaf Tensors that require a gradient, or groups of them; see `Optimizer`.
        lr: the learning rate, about the largest change of an element in one step, finite and >= 0.
        beta1: the share of the mean that a step keeps, >= 0 and < 1.
        beta2: the share of the mean square that a step keeps, >= 0 and < 1.
        epsilon: added to the root of the mean square, >= 0.
        decay: how fast `decay_lr` lowers the learning rate, >= 0; see `Optimizer`.
        weight_decay: the share of a parameter, in units of the learning rate, that a step takes
            away, >= 0.

    Raises:
        ValueError: for an option out of range, no parameters, or one that is not a leaf or
            requires no gradient.
        TypeError: for a parameter that is no Tensor, or an option that is no number.

    >>> from nn_optim import AdamW
    >>> from nn_tensor import Tensor
    >>> x = Tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = AdamW([x], lr=0.5, weight_decay=0.5)
    >>> (x * x).sum().backward()
    >>> optimizer.step()
    >>> x.numpy().round(4)
    array([ 0.25, -1.  ], dtype=float32)
    """

    elementwise = True

    def __init__(
        self,
        parameters: Iterable[Tensor] | Iterable[Mapping[str, Any]],
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        decay: float = 0.0,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(parameters, lr, beta1, beta2, epsilon, decay, weight_decay)

    def update(
        self, parameter: Array, gradient: Array, state: State, options: Mapping[str, Any]
    ) -> None:
        """Move one parameter by the equations of the class."""
        shrink = options["lr"] * options["weight_decay"]
        _step(parameter, gradient, state, options, 0.0, shrink)


def _step(
    parameter: Array,
    gradient: Array,
    state: State,
    options: Mapping[str, Any],
    weight_decay: float,
    shrink: float,
) -> None:
    beta1, beta2 = options["beta1"], options["beta2"]
    correction = math.sqrt(1.0 - beta2**state.step)
    adapt(
        array_module(parameter),
        *flat(parameter, gradient, state["mean"], state["square"]),
        options["lr"] * correction / (1.0 - beta1**state.step),
        beta1,
        beta2,
        options["epsilon"] * correction,
        weight_decay,
        shrink,
    )
