"""Evolved sign momentum."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any

from nn_tensor import Tensor
from nn_tensor.extend import array_module, kernel

from nn_optim._blocks import blocks, flat
from nn_optim._optimizer import Optimizer
from nn_optim._options import Option
from nn_optim._state import State

__all__ = ["Lion"]

Array = Any


@kernel
def move_by_sign(
    xp: Any,
    parameter: Array,
    gradient: Array,
    mean: Array,
    rate: float,
    beta1: float,
    beta2: float,
    weight_decay: float,
) -> None:
    """Move `parameter` by the signs of a mean of its gradients."""
    for p, g, m, work, new in blocks(xp, parameter, gradient, mean):
        xp.multiply(m, beta1, out=work)
        xp.multiply(g, 1.0 - beta1, out=new)
        work += new
        xp.sign(work, out=work)
        if weight_decay:
            xp.multiply(p, weight_decay, out=new)
            work += new
        work *= rate
        p -= work
        xp.multiply(g, 1.0 - beta2, out=new)
        m *= beta2
        m += new


@move_by_sign.cpu
def _(p, g, m, rate, beta1, beta2, weight_decay):  # type: ignore[no-untyped-def]
    rate, weight_decay = p.dtype.type(rate), p.dtype.type(weight_decay)
    new1, new2 = p.dtype.type(1.0 - beta1), p.dtype.type(1.0 - beta2)
    beta1, beta2 = p.dtype.type(beta1), p.dtype.type(beta2)
    one = p.dtype.type(1)
    for i in range(p.size):
        c = beta1 * m[i] + new1 * g[i]
        if c > 0:
            c = one
        elif c < 0:
            c = -one  # 0 and NaN stay
        p[i] -= rate * (c + weight_decay * p[i])
        m[i] = beta2 * m[i] + new2 * g[i]


@move_by_sign.cuda
def _(
    cp: Any,
    p: Array,
    g: Array,
    m: Array,
    rate: float,
    beta1: float,
    beta2: float,
    weight_decay: float,
) -> None:
    _move_on_cuda(cp)(g, rate, beta1, 1.0 - beta1, beta2, 1.0 - beta2, weight_decay, p, m)


@functools.cache
def _move_on_cuda(cp: Any) -> Any:
    return cp.ElementwiseKernel(
        "T g, T rate, T beta1, T new1, T beta2, T new2, T weight_decay",
        "T p, T m",
        """
        T c = beta1 * m + new1 * g;
        if (c > 0) {
            c = 1;
        } else if (c < 0) {
            c = -1;
        }
        p -= rate * (c + weight_decay * p);
        m = beta2 * m + new2 * g;
        """,
        "nn_optim_move_by_sign",
    )


class Lion(Optimizer):
    r"""Lion: every element moves by the learning rate, in the direction of a mean gradient.

    .. math::
        c_t &= \beta_1 m_{t-1} + (1 - \beta_1)\, g_t \\
        \theta_t &= \theta_{t-1} - \text{lr}_t
            \left(\operatorname{sign}(c_t) + \lambda\, \theta_{t-1}\right) \\
        m_t &= \beta_2 m_{t-1} + (1 - \beta_2)\, g_t

    (Chen et al., "Symbolic Discovery of Optimization Algorithms", 2023, algorithm 2, with
    `weight_decay` :math:`\lambda`.) They recommend a learning rate three to ten times smaller
    than AdamW's, and a weight decay larger by as much.

    Floating parameters of any shape; they keep their dtype. Memory: one array for each parameter.

    Args:
        parameters: leaf Tensors that require a gradient, or groups of them; see `Optimizer`.
        lr: the learning rate, the change of an element in one step, finite and >= 0.
        beta1: the share of the mean in the direction of a step, >= 0 and < 1.
        beta2: the share of the mean that a step keeps, >= 0 and < 1.
        decay: how fast `decay_lr` lowers the learning rate, >= 0; see `Optimizer`.
        weight_decay: the share of a parameter, in units of the learning rate, that a step takes
            away, >= 0.

    Raises:
        ValueError: for an option out of range, no parameters, or one that is not a leaf or
            requires no gradient.
        TypeError: for a parameter that is no Tensor, or an option that is no number.

    >>> from nn_optim import Lion
    >>> from nn_tensor import Tensor
    >>> x = Tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = Lion([x], lr=0.5)
    >>> (x * x).sum().backward()
    >>> optimizer.step()
    >>> x.data
    array([ 0.5, -1.5], dtype=float32)
    """

    elementwise = True
    beta1 = Option(below=1.0)
    beta2 = Option(below=1.0)
    weight_decay = Option()

    def __init__(
        self,
        parameters: Iterable[Tensor] | Iterable[Mapping[str, Any]],
        lr: float = 0.0001,
        beta1: float = 0.9,
        beta2: float = 0.99,
        decay: float = 0.0,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, lr, decay, beta1=beta1, beta2=beta2, weight_decay=weight_decay)

    def arrays(self, options: Mapping[str, Any]) -> tuple[str, ...]:
        """Return ``mean``, the mean m of the gradients."""
        return ("mean",)

    def update(
        self, parameter: Array, gradient: Array, state: State, options: Mapping[str, Any]
    ) -> None:
        """Move one parameter by the equations of the class."""
        move_by_sign(
            array_module(parameter),
            *flat(parameter, gradient, state["mean"]),
            options["lr"],
            options["beta1"],
            options["beta2"],
            options["weight_decay"],
        )
