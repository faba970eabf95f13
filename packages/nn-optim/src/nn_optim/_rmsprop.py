"""RMSprop: the gradient divided by the root of a running average of its square."""

from typing import ClassVar

import numpy as np
from nn_tensor.extend import check_bool, check_number

from nn_optim.extend import Optimizer, Options, UpdateRule, option, update_rule

__all__ = ["RMSprop", "rmsprop_step"]


@update_rule
def rmsprop_step(  # type: ignore[no-untyped-def]
    parameter, gradient, square, mean, velocity, /, lr, alpha, epsilon, momentum, weight_decay
):
    """Apply the equations of `RMSprop`; `mean` and `velocity` are None if they are not used."""
    direction = gradient
    if weight_decay:
        direction = gradient + weight_decay * parameter
    square *= alpha
    square += (1 - alpha) * (direction * direction)
    variance = square
    if mean is not None:
        mean += (1 - alpha) * (direction - mean)
        variance = np.maximum(square - mean * mean, 0)
    direction = direction / (np.sqrt(variance) + epsilon)
    if velocity is not None:
        velocity *= momentum
        velocity += direction
        direction = velocity
    parameter -= lr * direction


class RMSprop(Optimizer):
    r"""RMSprop: divides the gradient by the root of a running average of its square.

    .. math::
        d_t &= g_t + \lambda\, \theta_{t-1} \\
        v_t &= \alpha\, v_{t-1} + (1 - \alpha)\, d_t^2 \\
        b_t &= \mu\, b_{t-1} + \frac{d_t}{\sqrt{v_t} + \epsilon} \\
        \theta_t &= \theta_{t-1} - \text{lr}_t\, b_t

    with `momentum` :math:`\mu` and `weight_decay` :math:`\lambda` (Tieleman and Hinton, "Neural
    Networks for Machine Learning", 2012, lecture 6.5). If `centered`, :math:`v_t - m_t^2` with the
    mean :math:`m_t = \alpha\, m_{t-1} + (1 - \alpha)\, d_t` takes the place of :math:`v_t` under
    the root (Graves, "Generating Sequences With Recurrent Neural Networks", 2013, equations 38 to
    41). As in PyTorch, :math:`\epsilon` is added outside the root; where a centered
    variance rounds to below 0, it counts as 0.

    Floating parameters of any shape; they keep their dtype. Memory: one array for each parameter,
    one more if centered, and one more if there is momentum.

    Args:
        parameters: leaf Tensors that require a gradient, or groups of them; see `Optimizer`.
        lr: the learning rate, finite and >= 0.
        alpha: the decay rate of the running averages, >= 0 and < 1.
        epsilon: added to the denominator, >= 0.
        momentum: the factor of the velocity b in each step, >= 0 and < 1.
        centered: divide by the standard deviation instead of the root mean square.
        decay: the time-based decay of the learning rate by `decay_lr`, >= 0; see `Optimizer`.
        weight_decay: the coefficient of the L2 penalty, added to the gradient, >= 0.

    Raises:
        ValueError: for an option out of range, no parameters, or one that is not a leaf or does not
            require a gradient.
        TypeError: for a parameter that is not a Tensor, or an option that is not a number.

    >>> from nn_optim import RMSprop
    >>> from nn_tensor import Tensor
    >>> x = Tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = RMSprop([x], lr=0.5, alpha=0.75)
    >>> (x * x).sum().backward()
    >>> optimizer.step()
    >>> x.data
    array([ 0., -1.], dtype=float32)
    """

    rule: ClassVar[UpdateRule | None] = rmsprop_step
    lr: float = option(check_number, minimum=0, default=0.01, kw_only=False)
    alpha: float = option(check_number, minimum=0, below=1, default=0.99)
    epsilon: float = option(check_number, minimum=0, default=1e-8)
    momentum: float = option(check_number, minimum=0, below=1, default=0.0)
    centered: bool = option(check_bool, default=False)
    weight_decay: float = option(check_number, minimum=0, default=0.0)

    def init_state(self, options: Options) -> dict[str, float]:
        """Keep ``mean`` if centered, and ``velocity`` if there is momentum."""
        kept = {"square": True, "mean": options["centered"], "velocity": options["momentum"]}
        return {name: 0.0 for name, wanted in kept.items() if wanted}
