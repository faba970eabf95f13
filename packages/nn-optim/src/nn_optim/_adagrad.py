"""Adaptive gradient."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from nn_tensor import Tensor
from nn_tensor.extend import array_module, kernel

from nn_optim._blocks import blocks, flat
from nn_optim._optimizer import Optimizer
from nn_optim._options import Option
from nn_optim._state import State

__all__ = ["Adagrad"]

Array = Any


@kernel
def adapt_to_sum(
    xp: Any,
    parameter: Array,
    gradient: Array,
    total: Array,
    rate: float,
    epsilon: float,
    weight_decay: float,
) -> None:
    """Move `parameter` in units of the root of the sum of all squares of its gradient."""
    for p, g, s, work, d in blocks(xp, parameter, gradient, total):
        if weight_decay:
            xp.multiply(p, weight_decay, out=d)
            d += g
        else:
            d = g
        xp.square(d, out=work)
        s += work
        xp.sqrt(s, out=work)
        work += epsilon
        xp.divide(d, work, out=work)
        work *= rate
        p -= work


@adapt_to_sum.cpu
def _(p, g, s, rate, epsilon, weight_decay):  # type: ignore[no-untyped-def]
    rate, epsilon = p.dtype.type(rate), p.dtype.type(epsilon)
    weight_decay = p.dtype.type(weight_decay)
    for i in range(p.size):
        d = g[i] + weight_decay * p[i]
        s[i] += d * d
        p[i] -= rate * (d / (np.sqrt(s[i]) + epsilon))


@adapt_to_sum.cuda
def _(
    cp: Any, p: Array, g: Array, s: Array, rate: float, epsilon: float, weight_decay: float
) -> None:
    _adapt_on_cuda(cp)(g, rate, epsilon, weight_decay, p, s)


@functools.cache
def _adapt_on_cuda(cp: Any) -> Any:
    return cp.ElementwiseKernel(
        "T g, T rate, T epsilon, T weight_decay",
        "T p, T s",
        """
        T d = g + weight_decay * p;
        s += d * d;
        p -= rate * (d / (sqrt(s) + epsilon));
        """,
        "nn_optim_adapt_to_sum",
    )


class Adagrad(Optimizer):
    r"""Adagrad: steps that become smaller where gradients were large or frequent.

    .. math::
        d_t &= g_t + \lambda\, \theta_{t-1} \\
        s_t &= s_{t-1} + d_t^2 \\
        \theta_t &= \theta_{t-1} - \text{lr}_t \frac{d_t}{\sqrt{s_t} + \epsilon}

    with :math:`s_0` = `initial` (Duchi, Hazan and Singer, "Adaptive Subgradient Methods for Online
    Learning and Stochastic Optimization", 2011, equation 1 with the diagonal of the matrix; in the
    form of PyTorch, whose ``lr_decay`` is `decay` with a call of `decay_lr` after each step).

    Floating parameters of any shape; they keep their dtype. Memory: one array for each parameter.

    Args:
        parameters: leaf Tensors that require a gradient, or groups of them; see `Optimizer`.
        lr: the learning rate, the largest change of an element in the first step, finite and >= 0.
        epsilon: added to the root of the sum of squares, >= 0.
        decay: how fast `decay_lr` lowers the learning rate, >= 0; see `Optimizer`.
        weight_decay: the weight of half the squared norm of the parameters in what is minimised,
            >= 0.
        initial: what the sum of squares begins with, >= 0.

    Raises:
        ValueError: for an option out of range, no parameters, or one that is not a leaf or
            requires no gradient.
        TypeError: for a parameter that is no Tensor, or an option that is no number.

    >>> from nn_optim import Adagrad
    >>> from nn_tensor import Tensor
    >>> x = Tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = Adagrad([x], lr=0.5)
    >>> (x * x).sum().backward()
    >>> optimizer.step()
    >>> x.data
    array([ 0.5, -1.5], dtype=float32)
    """

    elementwise = True
    epsilon = Option()
    weight_decay = Option()
    initial = Option()

    def __init__(
        self,
        parameters: Iterable[Tensor] | Iterable[Mapping[str, Any]],
        lr: float = 0.01,
        epsilon: float = 1e-10,
        decay: float = 0.0,
        weight_decay: float = 0.0,
        initial: float = 0.0,
    ) -> None:
        super().__init__(
            parameters, lr, decay, epsilon=epsilon, weight_decay=weight_decay, initial=initial
        )

    def arrays(self, options: Mapping[str, Any]) -> tuple[str, ...]:
        """Return ``sum``, the sum s of squares."""
        return ("sum",)

    def update(
        self, parameter: Array, gradient: Array, state: State, options: Mapping[str, Any]
    ) -> None:
        """Move one parameter by the equations of the class."""
        if state.step == 1 and options["initial"]:
            state["sum"][...] = options["initial"]
        adapt_to_sum(
            array_module(parameter),
            *flat(parameter, gradient, state["sum"]),
            options["lr"],
            options["epsilon"],
            options["weight_decay"],
        )
