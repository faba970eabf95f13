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
from nn_optim._optimizer import Optimizer, Option, State

__all__ = ["Adam"]

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
) -> None:
    """Move `parameter` by the moments of its gradient; `rate` and `epsilon` correct their bias."""
    for p, g, m, v, work, d in blocks(xp, parameter, gradient, mean, square):
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
def _(p, g, m, v, rate, beta1, beta2, epsilon, weight_decay):  # type: ignore[no-untyped-def]
    new1, new2 = p.dtype.type(1.0 - beta1), p.dtype.type(1.0 - beta2)
    rate, beta2 = p.dtype.type(rate), p.dtype.type(beta2)
    epsilon, weight_decay = p.dtype.type(epsilon), p.dtype.type(weight_decay)
    for i in range(p.size):
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
) -> None:
    _adapt_on_cuda(cp)(g, rate, 1.0 - beta1, beta2, 1.0 - beta2, epsilon, weight_decay, p, m, v)


@functools.cache
def _adapt_on_cuda(cp: Any) -> Any:
    return cp.ElementwiseKernel(
        "T g, T rate, T new1, T beta2, T new2, T epsilon, T weight_decay",
        "T p, T m, T v",
        """
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
        parameters: leaf Tensors that require a gradient; duplicates count once.
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

    beta1 = Option(below=1.0)
    beta2 = Option(below=1.0)
    epsilon = Option()
    weight_decay = Option()

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        decay: float = 0.0,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, lr, decay)
        self.beta1 = beta1
        self.beta2 = beta2
        self.epsilon = epsilon
        self.weight_decay = weight_decay

    def arrays(self, options: Mapping[str, Any]) -> tuple[str, ...]:
        """Return ``mean`` and ``square``, the moments m and v."""
        return ("mean", "square")

    def update(
        self, parameter: Array, gradient: Array, state: State, options: Mapping[str, Any]
    ) -> None:
        """Move one parameter by the equations of the class."""
        beta1, beta2 = options["beta1"], options["beta2"]
        correction = math.sqrt(1.0 - beta2**state.step)
        adapt(
            array_module(parameter),
            *flat(parameter, gradient, state["mean"], state["square"]),
            options["lr"] * correction / (1.0 - beta1**state.step),
            beta1,
            beta2,
            options["epsilon"] * correction,
            options["weight_decay"],
        )
