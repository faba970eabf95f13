"""Adagrad: the gradient divided by the root of the sum of all its squares."""

from typing import ClassVar

import numpy as np
from nn_tensor.extend import check_number

from nn_optim.extend import Optimizer, Options, UpdateRule, option, update_rule

__all__ = ["Adagrad", "adagrad_step"]


@update_rule
def adagrad_step(parameter, gradient, sum, /, lr, epsilon, weight_decay):  # type: ignore[no-untyped-def]
    """Apply the equations of `Adagrad`; `sum` is their s."""
    direction = gradient
    if weight_decay:
        direction = gradient + weight_decay * parameter
    sum += direction * direction
    parameter -= lr * (direction / (np.sqrt(sum) + epsilon))


class Adagrad(Optimizer):
    r"""Adagrad: divides the gradient by the root of the sum of all its squares.

    .. math::
        d_t &= g_t + \lambda\, \theta_{t-1} \\
        s_t &= s_{t-1} + d_t^2 \\
        \theta_t &= \theta_{t-1} - \text{lr}_t \frac{d_t}{\sqrt{s_t} + \epsilon}

    with :math:`s_0` = `initial_accumulator_value` (Duchi, Hazan and Singer, "Adaptive Subgradient
    Methods for Online Learning and Stochastic Optimization", 2011, equation 1 with the diagonal of
    the matrix, as PyTorch implements it; its ``lr_decay`` is `decay` with a call of `decay_lr`
    after each step).

    Floating parameters of any shape; they keep their dtype. Memory: one array for each parameter.

    Args:
        parameters: leaf Tensors that require a gradient, or groups of them; see `Optimizer`.
        lr: the learning rate, the largest change of an element in the first step, finite and >= 0.
        epsilon: added to the denominator, >= 0.
        decay: the time-based decay of the learning rate by `decay_lr`, >= 0; see `Optimizer`.
        weight_decay: the coefficient of the L2 penalty, added to the gradient, >= 0.
        initial_accumulator_value: the sum of squares before the first step, >= 0.

    Raises:
        ValueError: for an option out of range, no parameters, or one that is not a leaf or does not
            require a gradient.
        TypeError: for a parameter that is not a Tensor, or an option that is not a number.

    >>> from nn_optim import Adagrad
    >>> from nn_tensor import Tensor
    >>> x = Tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = Adagrad([x], lr=0.5)
    >>> (x * x).sum().backward()
    >>> optimizer.step()
    >>> x.data
    array([ 0.5, -1.5], dtype=float32)
    """

    rule: ClassVar[UpdateRule | None] = adagrad_step
    lr: float = option(check_number, minimum=0, default=0.01, kw_only=False)
    epsilon: float = option(check_number, minimum=0, default=1e-10)
    weight_decay: float = option(check_number, minimum=0, default=0.0)
    initial_accumulator_value: float = option(
        check_number, minimum=0, default=0, old_name="initial"
    )

    def init_state(self, options: Options) -> dict[str, float]:
        """Keep the sum of squares."""
        return {"sum": options["initial_accumulator_value"]}
