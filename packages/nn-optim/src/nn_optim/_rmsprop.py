"""Steps in units of the root mean square of the gradient."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from nn_tensor import Tensor
from nn_tensor.extend import array_module, kernel

from nn_optim._blocks import blocks, flat
from nn_optim._optimizer import Optimizer
from nn_optim._options import Flag, Option
from nn_optim._state import State

__all__ = ["RMSprop"]

Array = Any


@kernel
def adapt_to_root(
    xp: Any,
    parameter: Array,
    gradient: Array,
    square: Array,
    mean: Array,
    velocity: Array,
    rate: float,
    alpha: float,
    epsilon: float,
    momentum: float,
    weight_decay: float,
    centered: bool,
) -> None:
    """Move `parameter` in units of the root mean square of its gradient.

    `mean` is used only if `centered`, and `velocity` only with `momentum`; without, any array of
    the shape may stand there.
    """
    for p, g, v, m, b, work, d in blocks(xp, parameter, gradient, square, mean, velocity):
        if weight_decay:
            xp.multiply(p, weight_decay, out=d)
            d += g
        else:
            d = g
        xp.square(d, out=work)
        work *= 1.0 - alpha
        v *= alpha
        v += work
        if centered:
            xp.subtract(d, m, out=work)
            work *= 1.0 - alpha
            m += work
            xp.square(m, out=work)
            xp.subtract(v, work, out=work)
            xp.maximum(work, 0.0, out=work)  # of a constant gradient it may round to below 0
            xp.sqrt(work, out=work)
        else:
            xp.sqrt(v, out=work)
        work += epsilon
        xp.divide(d, work, out=work)
        if momentum:
            b *= momentum
            b += work
            xp.multiply(b, rate, out=work)
        else:
            work *= rate
        p -= work


@adapt_to_root.cpu
def _(p, g, v, m, b, rate, alpha, epsilon, momentum, weight_decay, centered):  # type: ignore[no-untyped-def]
    rate, epsilon = p.dtype.type(rate), p.dtype.type(epsilon)
    new, alpha = p.dtype.type(1.0 - alpha), p.dtype.type(alpha)
    keep, weight_decay = p.dtype.type(momentum), p.dtype.type(weight_decay)
    zero = p.dtype.type(0)
    for i in range(p.size):
        d = g[i] + weight_decay * p[i]
        v[i] = alpha * v[i] + new * (d * d)
        variance = v[i]
        if centered:
            m[i] += new * (d - m[i])
            variance = v[i] - m[i] * m[i]
            if variance < 0:
                variance = zero
        step = d / (np.sqrt(variance) + epsilon)
        if momentum:
            b[i] = keep * b[i] + step
            step = b[i]
        p[i] -= rate * step


@adapt_to_root.cuda
def _(
    cp: Any,
    p: Array,
    g: Array,
    v: Array,
    m: Array,
    b: Array,
    rate: float,
    alpha: float,
    epsilon: float,
    momentum: float,
    weight_decay: float,
    centered: bool,
) -> None:
    kernel = _adapt_on_cuda(cp, centered, momentum > 0)
    used = [array for array, use in ((m, centered), (b, momentum > 0)) if use]
    kernel(g, rate, alpha, 1.0 - alpha, epsilon, momentum, weight_decay, p, v, *used)


@functools.cache
def _adapt_on_cuda(cp: Any, centered: bool, with_momentum: bool) -> Any:
    middle, variance, step = "", "v", "d / (sqrt(variance) + epsilon)"
    if centered:
        middle = "m += new_ * (d - m);"
        # fmax would take the 0 of a pair of 0 and NaN
        variance = "v - m * m < 0 ? T(0) : v - m * m"
    if with_momentum:
        step = f"(b = momentum * b + {step})"
    return cp.ElementwiseKernel(
        "T g, T rate, T alpha, T new_, T epsilon, T momentum, T weight_decay",
        "T p, T v" + ", T m" * centered + ", T b" * with_momentum,
        f"""
        T d = g + weight_decay * p;
        v = alpha * v + new_ * (d * d);
        {middle}
        T variance = {variance};
        p -= rate * ({step});
        """,
        "nn_optim_adapt_to_root" + "_centered" * centered + "_momentum" * with_momentum,
    )


class RMSprop(Optimizer):
    r"""RMSprop: steps in units of the root mean square of the recent gradients.

    .. math::
        d_t &= g_t + \lambda\, \theta_{t-1} \\
        v_t &= \alpha\, v_{t-1} + (1 - \alpha)\, d_t^2 \\
        b_t &= \mu\, b_{t-1} + \frac{d_t}{\sqrt{v_t} + \epsilon} \\
        \theta_t &= \theta_{t-1} - \text{lr}_t\, b_t

    with `momentum` :math:`\mu` and `weight_decay` :math:`\lambda` (Tieleman and Hinton, "Neural
    Networks for Machine Learning", 2012, lecture 6.5). If `centered`, :math:`v_t - m_t^2` with the
    mean :math:`m_t = \alpha\, m_{t-1} + (1 - \alpha)\, d_t` takes the place of :math:`v_t` under
    the root (Graves, "Generating Sequences With Recurrent Neural Networks", 2013, equations 38 to
    41). In the form of PyTorch: :math:`\epsilon` stands outside the root; where a centered
    variance rounds to below 0, it counts as 0.

    Floating parameters of any shape; they keep their dtype. Memory: one array for each parameter,
    one more if centered, and one more if there is momentum.

    Args:
        parameters: leaf Tensors that require a gradient, or groups of them; see `Optimizer`.
        lr: the learning rate, finite and >= 0.
        alpha: the share of the mean square that a step keeps, >= 0 and < 1.
        epsilon: added to the root of the mean square, >= 0.
        momentum: the share of the velocity b that a step keeps, >= 0 and < 1.
        centered: divide by the standard deviation instead of the root mean square.
        decay: how fast `decay_lr` lowers the learning rate, >= 0; see `Optimizer`.
        weight_decay: the weight of half the squared norm of the parameters in what is minimised,
            >= 0.

    Raises:
        ValueError: for an option out of range, no parameters, or one that is not a leaf or
            requires no gradient.
        TypeError: for a parameter that is no Tensor, or an option that is no number.

    >>> from nn_optim import RMSprop
    >>> from nn_tensor import Tensor
    >>> x = Tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = RMSprop([x], lr=0.5, alpha=0.75)
    >>> (x * x).sum().backward()
    >>> optimizer.step()
    >>> x.data
    array([ 0., -1.], dtype=float32)
    """

    elementwise = True
    alpha = Option(below=1.0)
    epsilon = Option()
    momentum = Option(below=1.0)
    centered = Flag()
    weight_decay = Option()

    def __init__(
        self,
        parameters: Iterable[Tensor] | Iterable[Mapping[str, Any]],
        lr: float = 0.01,
        alpha: float = 0.99,
        epsilon: float = 1e-8,
        momentum: float = 0.0,
        centered: bool = False,
        decay: float = 0.0,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(
            parameters,
            lr,
            decay,
            alpha=alpha,
            epsilon=epsilon,
            momentum=momentum,
            centered=centered,
            weight_decay=weight_decay,
        )

    def arrays(self, options: Mapping[str, Any]) -> tuple[str, ...]:
        """Return ``square`` v, and ``mean`` m and ``velocity`` b where they are used."""
        names: tuple[str, ...] = ("square",)
        if options["centered"]:
            names += ("mean",)
        if options["momentum"]:
            names += ("velocity",)
        return names

    def update(
        self, parameter: Array, gradient: Array, state: State, options: Mapping[str, Any]
    ) -> None:
        """Move one parameter by the equations of the class."""
        square = state["square"]
        mean = state["mean"] if options["centered"] else square
        velocity = state["velocity"] if options["momentum"] else square
        adapt_to_root(
            array_module(parameter),
            *flat(parameter, gradient, square, mean, velocity),
            options["lr"],
            options["alpha"],
            options["epsilon"],
            options["momentum"],
            options["weight_decay"],
            options["centered"],
        )
