"""Lion (evolved sign momentum): the sign of an average of the gradients."""

from typing import ClassVar

import numpy as np
from nn_tensor.extend import check_number

from nn_optim.extend import Optimizer, UpdateRule, option, update_rule

__all__ = ["Lion", "lion_step"]


@update_rule
def lion_step(parameter, gradient, mean, /, lr, beta1, beta2, weight_decay):  # type: ignore[no-untyped-def]
    """Apply the equations of `Lion`; `mean` is their m."""
    direction = np.sign(beta1 * mean + (1 - beta1) * gradient)
    if weight_decay:
        direction = direction + weight_decay * parameter
    parameter -= lr * direction
    mean *= beta2
    mean += (1 - beta2) * gradient


class Lion(Optimizer):
    r"""Lion (evolved sign momentum): steps of size `lr` by the sign of a running average.

    .. math::
        c_t &= \beta_1 m_{t-1} + (1 - \beta_1)\, g_t \\
        \theta_t &= \theta_{t-1} - \text{lr}_t
            \left(\operatorname{sign}(c_t) + \lambda\, \theta_{t-1}\right) \\
        m_t &= \beta_2 m_{t-1} + (1 - \beta_2)\, g_t

    (Chen et al., "Symbolic Discovery of Optimization Algorithms", 2023, algorithm 2, with
    `weight_decay` :math:`\lambda`.) They recommend a learning rate three to ten times smaller
    than AdamW's, and a weight decay larger by the same factor.

    Floating parameters of any shape; they keep their dtype. Memory: one array for each parameter.

    Args:
        parameters: leaf Tensors that require a gradient, or groups of them; see `Optimizer`.
        lr: the learning rate, the change of an element in one step, finite and >= 0.
        beta1: the weight of the running average in the update, >= 0 and < 1.
        beta2: the decay rate of the average, >= 0 and < 1.
        decay: the time-based decay of the learning rate by `decay_lr`, >= 0; see `Optimizer`.
        weight_decay: the factor :math:`\lambda` of the decay of the parameters, >= 0.

    Raises:
        ValueError: for an option out of range, no parameters, or one that is not a leaf or does not
            require a gradient.
        TypeError: for a parameter that is not a Tensor, or an option that is not a number.

    >>> from nn_optim import Lion
    >>> from nn_tensor import Tensor
    >>> x = Tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = Lion([x], lr=0.5)
    >>> (x * x).sum().backward()
    >>> optimizer.step()
    >>> x.data
    array([ 0.5, -1.5], dtype=float32)
    """

    rule: ClassVar[UpdateRule | None] = lion_step
    lr: float = option(check_number, minimum=0, default=0.0001, kw_only=False)
    beta1: float = option(check_number, minimum=0, below=1, default=0.9)
    beta2: float = option(check_number, minimum=0, below=1, default=0.99)
    weight_decay: float = option(check_number, minimum=0, default=0.0)
