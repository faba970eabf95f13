"""Adam (adaptive moment estimation), and AdamW with decoupled weight decay."""

import math
from typing import ClassVar

import numpy as np
from nn_tensor.extend import check_bool, check_number

from nn_optim.extend import Optimizer, Options, UpdateRule, option, update_rule

__all__ = ["Adam", "AdamW", "adam_step"]


@update_rule
def adam_step(  # type: ignore[no-untyped-def]
    parameter, gradient, mean, square, largest, /, step, lr, beta1, beta2, epsilon, weight_decay,
    decoupled, amsgrad
):  # fmt: skip
    """Apply the equations of `Adam` or `AdamW`; `mean` is their m and `square` their v.

    With `amsgrad` `largest` is the largest v so far, otherwise None.

    Both bias corrections are numbers, and enter the learning rate and epsilon: the order of
    computation at the end of section 2 of the paper.
    """
    direction = gradient
    if decoupled:
        parameter *= 1 - lr * weight_decay
    elif weight_decay:
        direction = gradient + weight_decay * parameter
    mean += (1 - beta1) * (direction - mean)
    square *= beta2
    square += (1 - beta2) * (direction * direction)
    second = square
    if largest is not None:
        largest += np.maximum(square - largest, 0)
        second = largest
    correction = math.sqrt(1 - beta2**step)
    corrected_lr = lr * correction / (1 - beta1**step)
    parameter -= corrected_lr * (mean / (np.sqrt(second) + epsilon * correction))


class Adam(Optimizer):
    r"""Adam: adaptive moment estimation.

    .. math::
        d_t &= g_t + \lambda\, \theta_{t-1} \\
        m_t &= \beta_1 m_{t-1} + (1 - \beta_1)\, d_t \\
        v_t &= \beta_2 v_{t-1} + (1 - \beta_2)\, d_t^2 \\
        \theta_t &= \theta_{t-1} - \text{lr}_t
            \frac{m_t / (1 - \beta_1^t)}{\sqrt{v_t / (1 - \beta_2^t)} + \epsilon}

    (Kingma and Ba, "Adam: A Method for Stochastic Optimization", 2015, algorithm 1; `weight_decay`
    :math:`\lambda` as in PyTorch's ``Adam``, where it is part of the gradient.) Each parameter
    counts its own steps :math:`t`. With `amsgrad` the largest :math:`v` of all steps takes the
    place of :math:`v_t` in the last line (Reddi, Kale and Kumar, "On the Convergence of Adam and
    Beyond", 2018, algorithm 2; with the bias correction of PyTorch).

    Floating parameters of any shape; they keep their dtype. Memory: two arrays for each parameter,
    three with `amsgrad`.

    Args:
        parameters: leaf Tensors that require a gradient, or groups of them; see `Optimizer`.
        lr: the learning rate, about the largest change of an element in one step, finite and >= 0.
        beta1: the decay rate of the first moment, >= 0 and < 1.
        beta2: the decay rate of the second moment, >= 0 and < 1.
        epsilon: added to the denominator, >= 0.
        decay: the time-based decay of the learning rate by `decay_lr`, >= 0; see `Optimizer`.
        weight_decay: the coefficient of the L2 penalty, added to the gradient, >= 0.
        amsgrad: divide by the largest second moment so far.

    Raises:
        ValueError: for an option out of range, no parameters, or one that is not a leaf or does not
            require a gradient.
        TypeError: for a parameter that is not a Tensor, or an option that is not a number.

    >>> from nn_optim import Adam
    >>> from nn_tensor import Tensor
    >>> x = Tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = Adam([x], lr=0.5)
    >>> (x * x).sum().backward()
    >>> optimizer.step()
    >>> x.data
    array([ 0.5, -1.5], dtype=float32)
    """

    rule: ClassVar[UpdateRule | None] = adam_step
    decoupled = False
    lr: float = option(check_number, minimum=0, default=0.001, kw_only=False)
    beta1: float = option(check_number, minimum=0, below=1, default=0.9)
    beta2: float = option(check_number, minimum=0, below=1, default=0.999)
    epsilon: float = option(check_number, minimum=0, default=1e-8)
    weight_decay: float = option(check_number, minimum=0, default=0.0)
    amsgrad: bool = option(check_bool, default=False, is_new=True)

    def init_state(self, options: Options) -> dict[str, float]:
        """Keep ``mean`` and ``square``, and ``largest`` with `amsgrad`."""
        kept = {"mean": True, "square": True, "largest": options["amsgrad"]}
        return {name: 0.0 for name, wanted in kept.items() if wanted}


class AdamW(Adam):
    r"""Adam with decoupled weight decay.

    .. math::
        m_t &= \beta_1 m_{t-1} + (1 - \beta_1)\, g_t \\
        v_t &= \beta_2 v_{t-1} + (1 - \beta_2)\, g_t^2 \\
        \theta_t &= (1 - \text{lr}_t \lambda)\, \theta_{t-1} - \text{lr}_t
            \frac{m_t / (1 - \beta_1^t)}{\sqrt{v_t / (1 - \beta_2^t)} + \epsilon}

    (Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019, algorithm 2, as PyTorch
    implements it, where the learning rate multiplies `weight_decay` :math:`\lambda` too; for
    `amsgrad` see `Adam`.)

    Floating parameters of any shape; they keep their dtype. Memory: two arrays for each parameter,
    three with `amsgrad`.

    Args:
        parameters: leaf Tensors that require a gradient, or groups of them; see `Optimizer`.
        lr: the learning rate, about the largest change of an element in one step, finite and >= 0.
        beta1: the decay rate of the first moment, >= 0 and < 1.
        beta2: the decay rate of the second moment, >= 0 and < 1.
        epsilon: added to the denominator, >= 0.
        decay: the time-based decay of the learning rate by `decay_lr`, >= 0; see `Optimizer`.
        weight_decay: the factor :math:`\lambda` of the decay of the parameters, >= 0.
        amsgrad: divide by the largest second moment so far.

    Raises:
        ValueError: for an option out of range, no parameters, or one that is not a leaf or does not
            require a gradient.
        TypeError: for a parameter that is not a Tensor, or an option that is not a number.

    >>> from nn_optim import AdamW
    >>> from nn_tensor import Tensor
    >>> x = Tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = AdamW([x], lr=0.5, weight_decay=0.5)
    >>> (x * x).sum().backward()
    >>> optimizer.step()
    >>> x.numpy().round(4)
    array([ 0.25, -1.  ], dtype=float32)
    """

    decoupled = True
    weight_decay: float = option(check_number, minimum=0, default=0.01)
