"""The usual schedules of the learning rate."""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping, Sequence
from typing import Any

from nn_optim._optimizer import Optimizer
from nn_optim._options import Count, Flag, Milestones, Option
from nn_optim._schedule import Schedule

__all__ = [
    "CosineSchedule",
    "ExponentialSchedule",
    "InverseSquareRoot",
    "LinearWarmup",
    "MultiStepSchedule",
    "OneCycle",
    "StepSchedule",
]


class StepSchedule(Schedule):
    r"""Multiplies the learning rate by a factor at regular intervals.

    .. math:: \text{lr}_t = \text{lr}_0\, \gamma^{\lfloor t / \text{step\_size} \rfloor}

    As PyTorch's ``StepLR``.

    Args:
        optimizer: whose learning rate to set.
        step_size: the number of steps between two changes, 1 or more.
        gamma: the factor, finite and >= 0.

    Raises:
        ValueError: for an option out of range.
        TypeError: if `optimizer` is none, or for an option of another type.

    >>> from nn_optim import SGD, StepSchedule
    >>> from nn_tensor import zeros
    >>> optimizer = SGD([zeros(2, requires_grad=True)], lr=1.0)
    >>> schedule = StepSchedule(optimizer, step_size=2, gamma=0.5)
    >>> for _ in range(4):
    ...     print(optimizer.lr)
    ...     schedule.step()
    1.0
    1.0
    0.5
    0.5
    """

    step_size = Count(least=1)
    gamma = Option()

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        super().__init__(optimizer, step_size=step_size, gamma=gamma)

    def rate(self, base: float, step: int) -> float:
        """Return the learning rate after `step` steps of a group that started from `base`."""
        return float(base * self.gamma ** (step // self.step_size))


class MultiStepSchedule(Schedule):
    r"""Multiplies the learning rate by a factor at each of several steps.

    .. math:: \text{lr}_t = \text{lr}_0\, \gamma^{\left|\{k : \tau_k \le t\}\right|}

    with the `milestones` :math:`\tau_k`, as PyTorch's ``MultiStepLR``.

    Args:
        optimizer: whose learning rate to set.
        milestones: the steps after which it changes, 1 or more, rising.
        gamma: the factor, finite and >= 0.

    Raises:
        ValueError: for an option out of range, or milestones that do not rise.
        TypeError: if `optimizer` is none, or for an option of another type.

    >>> from nn_optim import SGD, MultiStepSchedule
    >>> from nn_tensor import zeros
    >>> optimizer = SGD([zeros(2, requires_grad=True)], lr=1.0)
    >>> schedule = MultiStepSchedule(optimizer, milestones=[1, 3], gamma=0.5)
    >>> for _ in range(4):
    ...     print(optimizer.lr)
    ...     schedule.step()
    1.0
    0.5
    0.5
    0.25
    """

    milestones = Milestones()
    gamma = Option()

    def __init__(self, optimizer: Optimizer, milestones: Sequence[int], gamma: float = 0.1) -> None:
        super().__init__(optimizer, milestones=milestones, gamma=gamma)

    def rate(self, base: float, step: int) -> float:
        """Return the learning rate after `step` steps of a group that started from `base`."""
        return float(base * self.gamma ** bisect.bisect_right(self.milestones, step))


class ExponentialSchedule(Schedule):
    r"""Multiplies the learning rate by a factor at every step.

    .. math:: \text{lr}_t = \text{lr}_0\, \gamma^t

    As PyTorch's ``ExponentialLR``.

    Args:
        optimizer: whose learning rate to set.
        gamma: the factor, finite and >= 0.

    Raises:
        ValueError: for an option out of range.
        TypeError: if `optimizer` is none, or for an option of another type.

    >>> from nn_optim import SGD, ExponentialSchedule
    >>> from nn_tensor import zeros
    >>> optimizer = SGD([zeros(2, requires_grad=True)], lr=1.0)
    >>> schedule = ExponentialSchedule(optimizer, gamma=0.5)
    >>> for _ in range(3):
    ...     schedule.step()
    >>> optimizer.lr
    0.125
    """

    gamma = Option()

    def __init__(self, optimizer: Optimizer, gamma: float) -> None:
        super().__init__(optimizer, gamma=gamma)

    def rate(self, base: float, step: int) -> float:
        """Return the learning rate after `step` steps of a group that started from `base`."""
        return float(base * self.gamma**step)


class CosineSchedule(Schedule):
    r"""Half a cosine from the base down to a least learning rate, once or again and again.

    .. math::
        \text{lr}_t = \text{lr}_{\min} + \frac{1}{2} (\text{lr}_0 - \text{lr}_{\min})
            \left(1 + \cos \frac{\pi\, \tau}{T}\right)

    (Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", 2017, equation
    5.) Without `restarts`, :math:`T` is the `period` and :math:`\tau = t`: after the period the
    rate rises again along the cosine, as PyTorch's ``CosineAnnealingLR``. With `restarts`,
    :math:`\tau` counts the steps since the last restart, where the rate is the base again; each
    period is `growth` times as long as the one before, as PyTorch's
    ``CosineAnnealingWarmRestarts``.

    Args:
        optimizer: whose learning rate to set.
        period: the number of steps of the (first) descent, 1 or more.
        min_lr: the least learning rate, finite and >= 0.
        restarts: start again from the base after each period.
        growth: how many times as long each period is as the one before, 1 or more.

    Raises:
        ValueError: for an option out of range, or `growth` without `restarts`.
        TypeError: if `optimizer` is none, or for an option of another type.

    >>> from nn_optim import SGD, CosineSchedule
    >>> from nn_tensor import zeros
    >>> optimizer = SGD([zeros(2, requires_grad=True)], lr=1.0)
    >>> schedule = CosineSchedule(optimizer, period=2, restarts=True)
    >>> for _ in range(4):
    ...     print(round(optimizer.lr, 3))
    ...     schedule.step()
    1.0
    0.5
    1.0
    0.5
    """

    period = Count(least=1)
    min_lr = Option()
    restarts = Flag()
    growth = Count(least=1)

    def __init__(
        self,
        optimizer: Optimizer,
        period: int,
        min_lr: float = 0.0,
        restarts: bool = False,
        growth: int = 1,
    ) -> None:
        super().__init__(optimizer, period=period, min_lr=min_lr, restarts=restarts, growth=growth)

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Raise if there is growth without restarts."""
        if options["growth"] > 1 and not options["restarts"]:
            raise ValueError(f"growth: needs restarts=True, got growth={options['growth']}")

    def rate(self, base: float, step: int) -> float:
        """Return the learning rate after `step` steps of a group that started from `base`."""
        period = self.period
        if self.restarts and self.growth == 1:
            step %= period
        elif self.restarts:
            while step >= period:
                step -= period
                period *= self.growth
        cosine = math.cos(math.pi * step / period)
        return self.min_lr + 0.5 * (base - self.min_lr) * (1.0 + cosine)


class LinearWarmup(Schedule):
    r"""Raises the learning rate in a line from a fraction of the base to the base.

    .. math:: \text{lr}_t = \text{lr}_0 \left(s + (1 - s) \min(t / T, 1)\right)

    with the fraction `start` :math:`s` and `warmup` :math:`T`, as PyTorch's ``LinearLR`` with its
    ``end_factor`` 1 (Goyal et al., "Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour",
    2017, section 2.2, "gradual warmup").

    Args:
        optimizer: whose learning rate to set.
        warmup: the number of steps until the base is reached, 1 or more.
        start: the fraction of the base at the beginning, finite and >= 0.

    Raises:
        ValueError: for an option out of range.
        TypeError: if `optimizer` is none, or for an option of another type.

    >>> from nn_optim import SGD, LinearWarmup
    >>> from nn_tensor import zeros
    >>> optimizer = SGD([zeros(2, requires_grad=True)], lr=1.0)
    >>> schedule = LinearWarmup(optimizer, warmup=2, start=0.5)
    >>> for _ in range(4):
    ...     print(optimizer.lr)
    ...     schedule.step()
    0.5
    0.75
    1.0
    1.0
    """

    warmup = Count(least=1)
    start = Option()

    def __init__(self, optimizer: Optimizer, warmup: int = 5, start: float = 1.0 / 3.0) -> None:
        super().__init__(optimizer, warmup=warmup, start=start)

    def rate(self, base: float, step: int) -> float:
        """Return the learning rate after `step` steps of a group that started from `base`."""
        if step >= self.warmup:
            return base
        return base * (self.start + (1.0 - self.start) * step / self.warmup)


class OneCycle(Schedule):
    r"""One rise to the base and one long descent to almost nothing.

    .. math::
        \text{lr}_t = \begin{cases}
            b(\text{lr}_0 / \text{div},\; \text{lr}_0,\; t / t_1) & t \le t_1 \\
            b(\text{lr}_0,\; \text{lr}_0 / (\text{div} \cdot \text{final\_div}),\;
                (t - t_1) / (t_2 - t_1)) & t_1 < t \le t_2
        \end{cases}

    with :math:`t_1 = \text{rise} \cdot \text{total} - 1`, :math:`t_2 = \text{total} - 1` and
    :math:`b(x, y, u) = y + \frac{1}{2} (x - y) (1 + \cos \pi u)`, or a straight line if `linear`
    (Smith and Topin, "Super-Convergence: Very Fast Training of Neural Networks Using Large Learning
    Rates", 2018, section 3; in the form of PyTorch's ``OneCycleLR``). The base, the optimizer's
    learning rate, is the peak. After :math:`t_2` the rate stays. Momentum is not changed.

    Args:
        optimizer: whose learning rate to set.
        total: the number of steps of the cycle, with at least one in the rise and in the descent.
        rise: the share of the steps that rise, >= 0 and < 1.
        div: how many times smaller than the peak the first rate is, 1 or more.
        final_div: how many times smaller than the first the last rate is, 1 or more.
        linear: go along straight lines instead of cosines.

    Raises:
        ValueError: for an option out of range.
        TypeError: if `optimizer` is none, or for an option of another type.

    >>> from nn_optim import SGD, OneCycle
    >>> from nn_tensor import zeros
    >>> optimizer = SGD([zeros(2, requires_grad=True)], lr=1.0)
    >>> schedule = OneCycle(optimizer, total=5, rise=0.6, div=4.0, final_div=2.0, linear=True)
    >>> for _ in range(5):
    ...     print(optimizer.lr)
    ...     schedule.step()
    0.25
    0.625
    1.0
    0.5625
    0.125
    """

    total = Count(least=2)
    rise = Option(below=1.0)
    div = Option(least=1.0)
    final_div = Option(least=1.0)
    linear = Flag()

    def __init__(
        self,
        optimizer: Optimizer,
        total: int,
        rise: float = 0.3,
        div: float = 25.0,
        final_div: float = 1e4,
        linear: bool = False,
    ) -> None:
        super().__init__(
            optimizer, total=total, rise=rise, div=div, final_div=final_div, linear=linear
        )

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Raise if no step is left for the rise."""
        rise, total = options["rise"], options["total"]
        if rise * total <= 1.0:
            raise ValueError(f"rise: expected more than one step of {total}, got {rise * total:g}")

    def rate(self, base: float, step: int) -> float:
        """Return the learning rate after `step` steps of a group that started from `base`."""
        peak, end = self.rise * self.total - 1.0, self.total - 1
        first = base / self.div
        if step <= peak:
            return self._between(first, base, step / peak)
        last = first / self.final_div
        return self._between(base, last, min((step - peak) / (end - peak), 1.0))

    def _between(self, start: float, end: float, share: float) -> float:
        if self.linear:
            return start + (end - start) * share
        return end + 0.5 * (start - end) * (1.0 + math.cos(math.pi * share))


class InverseSquareRoot(Schedule):
    r"""A linear rise to the base, then a descent with the inverse square root of the step.

    .. math:: \text{lr}_t = \text{lr}_0 \sqrt{T} \min\left(n^{-1/2},\; n\, T^{-3/2}\right)

    with `warmup` :math:`T` and the number :math:`n = t + 1` of the step that is about to be made.
    The base is the peak, reached in step :math:`T`. With a base of
    :math:`(d_{\text{model}}\, T)^{-1/2}` this is :math:`d_{\text{model}}^{-1/2} \min(n^{-1/2},
    n\, T^{-3/2})` (Vaswani et al., "Attention Is All You Need", 2017, equation 3).

    Args:
        optimizer: whose learning rate to set.
        warmup: the number of steps of the rise, 1 or more.

    Raises:
        ValueError: for an option out of range.
        TypeError: if `optimizer` is none, or for an option of another type.

    >>> from nn_optim import Adam, InverseSquareRoot
    >>> from nn_tensor import zeros
    >>> d_model, warmup = 512, 4000
    >>> x = zeros(2, requires_grad=True)
    >>> optimizer = Adam([x], lr=(d_model * warmup) ** -0.5, beta2=0.98, epsilon=1e-9)
    >>> schedule = InverseSquareRoot(optimizer, warmup)
    >>> for _ in range(15999):
    ...     schedule.step()
    >>> bool(abs(optimizer.lr - (d_model * 16000) ** -0.5) < 1e-12)
    True
    """

    warmup = Count(least=1)

    def __init__(self, optimizer: Optimizer, warmup: int) -> None:
        super().__init__(optimizer, warmup=warmup)

    def rate(self, base: float, step: int) -> float:
        """Return the learning rate after `step` steps of a group that started from `base`."""
        number = step + 1
        return base * min(math.sqrt(self.warmup / number), number / self.warmup)
