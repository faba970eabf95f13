"""Stochastic gradient descent, with momentum and Nesterov's momentum."""

from typing import ClassVar

from nn_tensor.extend import check_bool, check_number

from nn_optim.extend import Optimizer, Options, UpdateRule, option, update_rule

__all__ = ["SGD", "sgd_step"]


@update_rule
def sgd_step(parameter, gradient, velocity, /, lr, momentum, nesterov, weight_decay):  # type: ignore[no-untyped-def]
    """Apply the equations of `SGD`; without momentum `velocity` is None."""
    direction = gradient
    if weight_decay:
        direction = gradient + weight_decay * parameter
    if velocity is not None:
        velocity *= momentum
        velocity += direction
        if nesterov:
            direction = direction + momentum * velocity
        else:
            direction = velocity
    parameter -= lr * direction


class SGD(Optimizer):
    r"""Stochastic gradient descent, optionally with momentum.

    .. math::
        d_t &= g_t + \lambda\, \theta_{t-1} \\
        v_t &= \mu\, v_{t-1} + d_t \\
        \theta_t &= \theta_{t-1} - \text{lr}_t\, v_t

    with the gradient :math:`g`, `momentum` :math:`\mu` and `weight_decay` :math:`\lambda` (Robbins
    and Monro, "A Stochastic Approximation Method", 1951, equation 7; momentum: Polyak, "Some
    methods of speeding up the convergence of iteration methods", 1964, equation 9). With
    `nesterov` the last line takes :math:`d_t + \mu v_t` in place of :math:`v_t` (Sutskever et al.,
    "On the importance of initialization and momentum in deep learning", 2013, equations 3 and 4,
    as PyTorch implements them, where the learning rate does not enter the velocity).

    Floating parameters of any shape; they keep their dtype. Memory: one array for each parameter
    if there is momentum, otherwise none.

    Args:
        parameters: leaf Tensors that require a gradient, or groups of them; see `Optimizer`.
        lr: the learning rate, finite and >= 0.
        momentum: the factor of the velocity in each step, >= 0 and < 1.
        decay: the time-based decay of the learning rate by `decay_lr`, >= 0; see `Optimizer`.
        nesterov: use Nesterov's momentum; needs momentum.
        weight_decay: the coefficient of the L2 penalty, added to the gradient, >= 0.

    Raises:
        ValueError: for an option out of range, `nesterov` without momentum, no parameters, or one
            that is not a leaf or does not require a gradient.
        TypeError: for a parameter that is not a Tensor, or an option that is not a number.

    >>> from nn_optim import SGD
    >>> from nn_tensor import Tensor
    >>> x = Tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = SGD([x], lr=0.25)
    >>> (x * x).sum().backward()
    >>> optimizer.step()
    >>> x.data
    array([ 0.5, -1. ], dtype=float32)
    """

    rule: ClassVar[UpdateRule | None] = sgd_step
    lr: float = option(check_number, minimum=0, default=0.01, kw_only=False)
    momentum: float = option(check_number, minimum=0, below=1, default=0.0)
    nesterov: bool = option(check_bool, default=False)
    weight_decay: float = option(check_number, minimum=0, default=0.0)

    def check_options(self, options: Options) -> None:
        """Raise if `nesterov` is on without momentum."""
        if options["nesterov"] and options["momentum"] == 0:
            raise ValueError("nesterov: needs momentum above 0, got momentum=0")

    def init_state(self, options: Options) -> dict[str, float]:
        """Keep a velocity if there is momentum."""
        return {"velocity": 0.0} if options["momentum"] else {}
