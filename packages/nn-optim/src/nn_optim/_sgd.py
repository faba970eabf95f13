"""Stochastic gradient descent."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any

from nn_tensor import Tensor
from nn_tensor.extend import array_module, kernel

from nn_optim._blocks import blocks, flat
from nn_optim._optimizer import Optimizer
from nn_optim._options import Flag, Option
from nn_optim._state import State

__all__ = ["SGD"]

Array = Any


@kernel
def descend(xp: Any, parameter: Array, gradient: Array, rate: float, weight_decay: float) -> None:
    """Move `parameter` against its gradient."""
    for p, g, work, _ in blocks(xp, parameter, gradient):
        xp.multiply(p, weight_decay, out=work)
        work += g
        work *= rate
        p -= work


@descend.cpu
def _(p, g, rate, weight_decay):  # type: ignore[no-untyped-def]
    rate, weight_decay = p.dtype.type(rate), p.dtype.type(weight_decay)
    for i in range(p.size):
        p[i] -= rate * (g[i] + weight_decay * p[i])


@descend.cuda
def _(cp: Any, p: Array, g: Array, rate: float, weight_decay: float) -> None:
    _descend_on_cuda(cp)(g, rate, weight_decay, p)


@functools.cache
def _descend_on_cuda(cp: Any) -> Any:
    return cp.ElementwiseKernel(
        "T g, T rate, T weight_decay",
        "T p",
        "p -= rate * (g + weight_decay * p)",
        "nn_optim_descend",
    )


@kernel
def descend_with_momentum(
    xp: Any,
    parameter: Array,
    gradient: Array,
    velocity: Array,
    rate: float,
    momentum: float,
    weight_decay: float,
    nesterov: bool,
) -> None:
    """Move `parameter` along its velocity, to which its gradient is added."""
    for p, g, v, work, ahead in blocks(xp, parameter, gradient, velocity):
        xp.multiply(p, weight_decay, out=work)
        work += g
        v *= momentum
        v += work
        if nesterov:
            xp.multiply(v, momentum, out=ahead)
            work += ahead
            work *= rate
        else:
            xp.multiply(v, rate, out=work)
        p -= work


@descend_with_momentum.cpu
def _(p, g, v, rate, momentum, weight_decay, nesterov):  # type: ignore[no-untyped-def]
    rate, momentum = p.dtype.type(rate), p.dtype.type(momentum)
    weight_decay = p.dtype.type(weight_decay)
    for i in range(p.size):
        d = g[i] + weight_decay * p[i]
        v[i] = momentum * v[i] + d
        p[i] -= rate * (d + momentum * v[i] if nesterov else v[i])


@descend_with_momentum.cuda
def _(
    cp: Any,
    p: Array,
    g: Array,
    v: Array,
    rate: float,
    momentum: float,
    weight_decay: float,
    nesterov: bool,
) -> None:
    _momentum_on_cuda(cp)(g, rate, momentum, weight_decay, nesterov, p, v)


@functools.cache
def _momentum_on_cuda(cp: Any) -> Any:
    return cp.ElementwiseKernel(
        "T g, T rate, T momentum, T weight_decay, bool nesterov",
        "T p, T v",
        """
        T d = g + weight_decay * p;
        v = momentum * v + d;
        p -= rate * (nesterov ? d + momentum * v : v);
        """,
        "nn_optim_descend_with_momentum",
    )


class SGD(Optimizer):
    r"""Stochastic gradient descent, with momentum if asked for.

    .. math::
        d_t &= g_t + \lambda\, \theta_{t-1} \\
        v_t &= \mu\, v_{t-1} + d_t \\
        \theta_t &= \theta_{t-1} - \text{lr}_t\, v_t

    with the gradient :math:`g`, `momentum` :math:`\mu` and `weight_decay` :math:`\lambda` (Robbins
    and Monro, "A Stochastic Approximation Method", 1951, equation 7; momentum: Polyak, "Some
    methods of speeding up the convergence of iteration methods", 1964, equation 9). With
    `nesterov` the last line takes :math:`d_t + \mu v_t` in place of :math:`v_t` (Sutskever et al.,
    "On the importance of initialization and momentum in deep learning", 2013, equations 3 and 4,
    in the form of PyTorch, where the learning rate does not enter the velocity).

    Floating parameters of any shape; they keep their dtype. Memory: one array for each parameter
    if there is momentum, otherwise none.

    Args:
        parameters: leaf Tensors that require a gradient, or groups of them; see `Optimizer`.
        lr: the learning rate, finite and >= 0.
        momentum: the share of the velocity that a step keeps, >= 0 and < 1.
        decay: how fast `decay_lr` lowers the learning rate, >= 0; see `Optimizer`.
        nesterov: look ahead along the velocity; needs momentum.
        weight_decay: the weight of half the squared norm of the parameters in what is minimised,
            >= 0.

    Raises:
        ValueError: for an option out of range, `nesterov` without momentum, no parameters, or one
            that is not a leaf or requires no gradient.
        TypeError: for a parameter that is no Tensor, or an option that is no number.

    >>> from nn_optim import SGD
    >>> from nn_tensor import Tensor
    >>> x = Tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = SGD([x], lr=0.25)
    >>> (x * x).sum().backward()
    >>> optimizer.step()
    >>> x.data
    array([ 0.5, -1. ], dtype=float32)
    """

    elementwise = True
    momentum = Option(below=1.0)
    nesterov = Flag()
    weight_decay = Option()

    def __init__(
        self,
        parameters: Iterable[Tensor] | Iterable[Mapping[str, Any]],
        lr: float = 0.01,
        momentum: float = 0.0,
        decay: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(
            parameters,
            lr,
            decay,
            momentum=momentum,
            nesterov=nesterov,
            weight_decay=weight_decay,
        )

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Raise if `nesterov` is on without momentum."""
        if options["nesterov"] and options["momentum"] == 0:
            raise ValueError("nesterov: needs momentum above 0, got momentum=0")

    def arrays(self, options: Mapping[str, Any]) -> tuple[str, ...]:
        """Return ``velocity`` if there is momentum."""
        return ("velocity",) if options["momentum"] else ()

    def update(
        self, parameter: Array, gradient: Array, state: State, options: Mapping[str, Any]
    ) -> None:
        """Move one parameter by the equations of the class."""
        xp = array_module(parameter)
        rate, weight_decay = options["lr"], options["weight_decay"]
        if options["momentum"]:
            descend_with_momentum(
                xp,
                *flat(parameter, gradient, state["velocity"]),
                rate,
                options["momentum"],
                weight_decay,
                options["nesterov"],
            )
        else:
            descend(xp, *flat(parameter, gradient), rate, weight_decay)
