"""Schedules: what sets the learning rate of an optimizer from step to step."""

from __future__ import annotations

import bisect
import itertools
import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, SupportsFloat

import numpy as np
from nn_tensor.extend import (
    METADATA_KEY,
    check_bool,
    check_integer,
    check_number,
    describe,
    external,
)

from nn_optim._optimizer import Optimizer, check_count
from nn_optim._options import Configured, Options, argument, option

__all__ = [
    "ChainedSchedules",
    "CosineSchedule",
    "ExponentialSchedule",
    "InverseSquareRoot",
    "LinearWarmup",
    "MultiStepSchedule",
    "OneCycle",
    "ReduceOnPlateau",
    "Schedule",
    "SequentialSchedules",
    "StepSchedule",
]


class Schedule(Configured):
    """Sets the learning rate of every group of an optimizer: a function of the step.

    The rate after :math:`t` calls of `step` is the pure function `rate` of :math:`t`, of the
    options and of the base learning rate of the group, the one that it had before its first
    schedule. The rate for :math:`t = 0` is set by the constructor. Call `step` after that of the
    optimizer, once per epoch or once per batch. Setting ``lr`` restarts the `decay` of the
    optimizer, so use one of the two.

    A custom schedule declares its options and has a `rate`: see `nn_optim.extend`.

    Args:
        optimizer: the optimizer whose learning rate is set.

    Raises:
        TypeError: if `optimizer` is not an Optimizer, or for an option of the wrong type.
        ValueError: for an option out of range.
    """

    _first: Optimizer = argument(alias="optimizer", kw_only=False)

    def _configure(self, first: Optimizer, options: Options) -> None:
        if not isinstance(first, Optimizer):
            raise TypeError(f"optimizer: expected an Optimizer, got {describe(first)}")
        self.check_options(options)
        self.optimizer: Optimizer = first
        self._options = options
        self._set_progress(self._new_progress())

    def _option(self, name: str) -> Any:
        return self._options[name]

    def _set_option(self, name: str, value: Any) -> None:
        self.check_options(changed := {**self._options, name: value})
        self._options = changed

    @abstractmethod
    def rate(self, base: float, step: int) -> float:
        """Return the learning rate after `step` steps of a group that started from `base`."""

    @property
    def steps(self) -> int:
        """The number of calls of `step`; 0 for a schedule that follows a metric."""
        return int(self._progress.get("steps", 0))

    @property
    def bases(self) -> tuple[float, ...]:
        """The learning rate that each group started from; empty if it follows a metric."""
        return tuple(base for key, base in self._progress.items() if key.endswith(".base"))

    def step(self) -> None:
        """Set the learning rate of each group for the next step.

        Raises:
            ValueError: if a rate would be infinite, NaN or negative; then nothing was changed.
        """
        external(self._step, snapshot=self._snapshot)

    def _snapshot(self) -> Callable[[], None]:
        """Remember the progress and the options, and return a function that restores them."""
        schedules = [(schedule, {**schedule._progress}) for _, schedule in self._walk()]
        restores = [group.snapshot() for group in self.optimizer.groups]

        def restore() -> None:
            for schedule, progress in schedules:
                schedule._progress = progress
            for function in restores:
                function()

        return restore

    def _step(self) -> None:
        # A group that was added meanwhile starts from its own learning rate.
        progress = self._new_progress() | self._progress
        self._set_progress(progress | {"steps": self.steps + 1})

    def _new_progress(self) -> dict[str, Any]:
        """Return the numbers that change from step to step, with their initial values."""
        groups = enumerate(self.optimizer.groups)
        return {"steps": 0} | {f"groups.{n}.base": group.base_lr() for n, group in groups}

    def _check_float(self, value: Any) -> float:
        """Check a floating-point number of the progress."""
        return check_number("lr", value, minimum=0)

    def _set_progress(self, progress: dict[str, Any]) -> None:
        """Load the progress, and set the learning rates that follow from it."""
        steps, *bases = progress.values()
        try:
            rates = [check_number("lr", self.rate(base, steps), minimum=0) for base in bases]
        except OverflowError:
            rates = [check_number("lr", math.inf, minimum=0)]
        for group, base, rate in zip(self.optimizer.groups, bases, rates, strict=True):
            group.set_scheduled_lr(base, rate)
        self._progress = progress

    def _walk(self, prefix: str = "") -> Iterator[tuple[str, Schedule]]:
        """Yield this schedule and those that it is made of, with the prefixes of their keys."""
        yield prefix, self

    def state_dict(self) -> dict[str, Any]:
        """Return the options and the progress, as a flat mapping to host arrays.

        >>> from nn_optim import SGD, ExponentialSchedule
        >>> from nn_tensor import zeros
        >>> optimizer = SGD([zeros(2, requires_grad=True)], lr=0.5)
        >>> list(ExponentialSchedule(optimizer, gamma=0.9).state_dict())
        ['gamma', 'steps', 'groups.0.base', '__metadata__']
        """
        numbers = {p + name: v for p, s in self._walk() for name, v in s._options.items()}
        numbers |= self._progress
        return {k: np.array(v) for k, v in numbers.items()} | {METADATA_KEY: self._metadata()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load what `state_dict` returned, and set the learning rates of that step.

        Raises:
            ValueError: listing every key that is missing, unexpected or out of range; then
                nothing was changed.
            TypeError: if `state` is not a mapping.
        """
        schedules = dict(self._walk())
        renamed = {o: n for p, s in schedules.items() for o, n in s._old_keys(p).items()}
        reader = self._reader(state, renamed)
        before = {prefix: schedule._options for prefix, schedule in schedules.items()}
        loaded = {p: s._read_options(reader, p, before[p]) for p, s in schedules.items()}
        for prefix, options in loaded.items():
            try:
                schedules[prefix].check_options(options)
            except ValueError as error:
                reader.problems.append(f"{prefix}{error}")
        progress = self._new_progress()
        for key, value in progress.items():
            check = check_count if isinstance(value, int) else self._check_float
            progress[key] = reader.value(key, check, value)
        reader.finish()
        try:
            for prefix, schedule in schedules.items():
                schedule._options = loaded[prefix]
            self._set_progress(progress)
        except ValueError:
            for prefix, schedule in schedules.items():
                schedule._options = before[prefix]
            raise

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{n}={v}' for n, v in self._options.items())})"


def check_milestones(name: str, value: Any) -> tuple[int, ...]:
    """Return `value` as a tuple of strictly increasing integers, 1 or more, or raise."""
    expected = f"{name}: expected strictly increasing integers >= 1, got {value!r}"
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise TypeError(expected)
    found = tuple(check_integer(name, item, 1) for item in value)
    if any(after <= before for before, after in itertools.pairwise(found)):
        raise ValueError(expected)
    return found


class StepSchedule(Schedule):
    r"""Multiplies the learning rate by a factor at regular intervals.

    .. math:: \text{lr}_t = \text{lr}_0\, \gamma^{\lfloor t / \text{step\_size} \rfloor}

    As PyTorch's ``StepLR``.

    Args:
        optimizer: the optimizer whose learning rate is set.
        step_size: the number of steps between two changes, 1 or more.
        gamma: the factor, finite and >= 0.

    Raises:
        ValueError: for an option out of range.
        TypeError: if `optimizer` is not an Optimizer, or for an option of the wrong type.

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

    step_size: int = option(check_integer, minimum=1, kw_only=False)
    gamma: float = option(check_number, minimum=0, default=0.1)

    def rate(self, base: float, step: int) -> float:
        """Return the learning rate after `step` steps of a group that started from `base`."""
        return base * self.gamma ** (step // self.step_size)


class MultiStepSchedule(Schedule):
    r"""Multiplies the learning rate by a factor at each of several steps.

    .. math:: \text{lr}_t = \text{lr}_0\, \gamma^{\left|\{k : \tau_k \le t\}\right|}

    with the `milestones` :math:`\tau_k`, as PyTorch's ``MultiStepLR``.

    Args:
        optimizer: the optimizer whose learning rate is set.
        milestones: the steps after which it changes, strictly increasing, 1 or more.
        gamma: the factor, finite and >= 0.

    Raises:
        ValueError: for an option out of range, or milestones that do not increase.
        TypeError: if `optimizer` is not an Optimizer, or for an option of the wrong type.

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

    milestones: Sequence[int] = option(check_milestones, kw_only=False)
    gamma: float = option(check_number, minimum=0, default=0.1)

    def rate(self, base: float, step: int) -> float:
        """Return the learning rate after `step` steps of a group that started from `base`."""
        return base * self.gamma ** bisect.bisect_right(self.milestones, step)


class ExponentialSchedule(Schedule):
    r"""Multiplies the learning rate by a factor at every step.

    .. math:: \text{lr}_t = \text{lr}_0\, \gamma^t

    As PyTorch's ``ExponentialLR``.

    Args:
        optimizer: the optimizer whose learning rate is set.
        gamma: the factor, finite and >= 0.

    Raises:
        ValueError: for an option out of range.
        TypeError: if `optimizer` is not an Optimizer, or for an option of the wrong type.

    >>> from nn_optim import SGD, ExponentialSchedule
    >>> from nn_tensor import zeros
    >>> optimizer = SGD([zeros(2, requires_grad=True)], lr=1.0)
    >>> schedule = ExponentialSchedule(optimizer, gamma=0.5)
    >>> for _ in range(3):
    ...     schedule.step()
    >>> optimizer.lr
    0.125
    """

    gamma: float = option(check_number, minimum=0, kw_only=False)

    def rate(self, base: float, step: int) -> float:
        """Return the learning rate after `step` steps of a group that started from `base`."""
        return float(base * self.gamma**step)


class CosineSchedule(Schedule):
    r"""Cosine annealing from the base to a minimum learning rate, once or with warm restarts.

    .. math::
        \text{lr}_t = \text{lr}_{\min} + \frac{1}{2} (\text{lr}_0 - \text{lr}_{\min})
            \left(1 + \cos \frac{\pi\, \tau}{T}\right)

    (Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", 2017, equation
    5.) Without `restarts`, :math:`T` is the `period` and :math:`\tau = t`: after the period the
    rate rises again along the cosine, as PyTorch's ``CosineAnnealingLR``. With `restarts`,
    :math:`\tau` counts the steps since the last restart, where the rate is the base again; each
    period is `T_mult` times as long as the one before, as PyTorch's
    ``CosineAnnealingWarmRestarts``.

    Args:
        optimizer: the optimizer whose learning rate is set.
        period: the number of steps of the (first) descent, 1 or more.
        min_lr: the minimum learning rate, finite and >= 0.
        restarts: start again from the base after each period.
        T_mult: the factor by which each period is longer than the one before, 1 or more.

    Raises:
        ValueError: for an option out of range, or `T_mult` without `restarts`.
        TypeError: if `optimizer` is not an Optimizer, or for an option of the wrong type.

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

    period: int = option(check_integer, minimum=1, kw_only=False)
    min_lr: float = option(check_number, minimum=0, default=0.0)
    restarts: bool = option(check_bool, default=False)
    T_mult: int = option(check_integer, minimum=1, default=1, old_name="growth")

    def check_options(self, options: Options) -> None:
        """Raise if periods change their length without restarts."""
        if options["T_mult"] > 1 and not options["restarts"]:
            raise ValueError(f"T_mult: needs restarts=True, got T_mult={options['T_mult']}")

    def rate(self, base: float, step: int) -> float:
        """Return the learning rate after `step` steps of a group that started from `base`."""
        period = self.period
        if self.restarts and self.T_mult == 1:
            step %= period
        elif self.restarts:
            while step >= period:
                step -= period
                period *= self.T_mult
        cosine = math.cos(math.pi * step / period)
        return self.min_lr + 0.5 * (base - self.min_lr) * (1.0 + cosine)


class LinearWarmup(Schedule):
    r"""Linear warmup from a fraction of the base learning rate to the base.

    .. math:: \text{lr}_t = \text{lr}_0 \left(s + (1 - s) \min(t / T, 1)\right)

    with the fraction `start_factor` :math:`s` and `warmup` :math:`T`, as PyTorch's ``LinearLR``
    with its ``end_factor`` 1 (Goyal et al., "Accurate, Large Minibatch SGD: Training ImageNet in
    1 Hour", 2017, section 2.2, "gradual warmup").

    Args:
        optimizer: the optimizer whose learning rate is set.
        warmup: the number of steps until the base is reached, 1 or more.
        start_factor: the fraction of the base at the beginning, finite and >= 0.

    Raises:
        ValueError: for an option out of range.
        TypeError: if `optimizer` is not an Optimizer, or for an option of the wrong type.

    >>> from nn_optim import SGD, LinearWarmup
    >>> from nn_tensor import zeros
    >>> optimizer = SGD([zeros(2, requires_grad=True)], lr=1.0)
    >>> schedule = LinearWarmup(optimizer, warmup=2, start_factor=0.5)
    >>> for _ in range(4):
    ...     print(optimizer.lr)
    ...     schedule.step()
    0.5
    0.75
    1.0
    1.0
    """

    warmup: int = option(check_integer, minimum=1, default=5, kw_only=False)
    start_factor: float = option(check_number, minimum=0, default=1.0 / 3.0, old_name="start")

    def rate(self, base: float, step: int) -> float:
        """Return the learning rate after `step` steps of a group that started from `base`."""
        if step >= self.warmup:
            return base
        return base * (self.start_factor + (1.0 - self.start_factor) * step / self.warmup)


class OneCycle(Schedule):
    r"""The 1cycle schedule: one increase to the maximum, then a decrease to a small fraction of it.

    .. math::
        \text{lr}_t = \begin{cases}
            b(\text{lr}_0 / \text{div\_factor},\; \text{lr}_0,\; t / t_1) & t \le t_1 \\
            b(\text{lr}_0,\; \text{lr}_0 / (\text{div\_factor} \cdot \text{final\_div\_factor}),\;
                (t - t_1) / (t_2 - t_1)) & t_1 < t \le t_2
        \end{cases}

    with :math:`t_1 = \text{pct\_start} \cdot \text{total\_steps} - 1`, :math:`t_2 =
    \text{total\_steps} - 1` and :math:`b(x, y, u) = y + \frac{1}{2} (x - y) (1 + \cos \pi u)`, or a
    straight line if `linear` (Smith and Topin, "Super-Convergence: Very Fast Training of Neural
    Networks Using Large Learning Rates", 2018, section 3; as PyTorch's ``OneCycleLR`` implements
    it). The base, the optimizer's learning rate, is the maximum. After :math:`t_2` the rate is
    constant. Momentum is not changed.

    Args:
        optimizer: the optimizer whose learning rate is set.
        total_steps: the number of steps of the cycle, at least one increasing and one decreasing.
        pct_start: the fraction of the steps in which the rate increases, >= 0 and < 1.
        div_factor: the maximum divided by the first rate, 1 or more.
        final_div_factor: the first rate divided by the last, 1 or more.
        linear: follow straight lines instead of cosines.

    Raises:
        ValueError: for an option out of range.
        TypeError: if `optimizer` is not an Optimizer, or for an option of the wrong type.

    >>> from nn_optim import SGD, OneCycle
    >>> from nn_tensor import zeros
    >>> optimizer = SGD([zeros(2, requires_grad=True)], lr=1.0)
    >>> options = {"pct_start": 0.6, "div_factor": 4.0, "final_div_factor": 2.0, "linear": True}
    >>> schedule = OneCycle(optimizer, total_steps=5, **options)
    >>> for _ in range(5):
    ...     print(optimizer.lr)
    ...     schedule.step()
    0.25
    0.625
    1.0
    0.5625
    0.125
    """

    total_steps: int = option(check_integer, minimum=2, kw_only=False, old_name="total")
    pct_start: float = option(check_number, minimum=0, below=1, default=0.3, old_name="rise")
    div_factor: float = option(check_number, minimum=1, default=25.0, old_name="div")
    final_div_factor: float = option(check_number, minimum=1, default=1e4, old_name="final_div")
    linear: bool = option(check_bool, default=False)

    def check_options(self, options: Options) -> None:
        """Raise if no step is left for the increase."""
        total = options["total_steps"]
        if (steps := options["pct_start"] * total) <= 1.0:
            raise ValueError(f"pct_start: expected more than one step of {total}, got {steps:g}")

    def rate(self, base: float, step: int) -> float:
        """Return the learning rate after `step` steps of a group that started from `base`."""
        peak, end = self.pct_start * self.total_steps - 1.0, self.total_steps - 1
        first = base / self.div_factor
        if step <= peak:
            return self._between(first, base, step / peak)
        last = first / self.final_div_factor
        return self._between(base, last, min((step - peak) / (end - peak), 1.0))

    def _between(self, start: float, end: float, fraction: float) -> float:
        if self.linear:
            return start + (end - start) * fraction
        return end + 0.5 * (start - end) * (1.0 + math.cos(math.pi * fraction))


class InverseSquareRoot(Schedule):
    r"""Linear warmup to the base, then decay with the inverse square root of the step.

    .. math:: \text{lr}_t = \text{lr}_0 \sqrt{T} \min\left(n^{-1/2},\; n\, T^{-3/2}\right)

    with `warmup` :math:`T` and the number :math:`n = t + 1` of the next step. The base is the
    maximum, reached in step :math:`T`. With a base of :math:`(d_{\text{model}}\, T)^{-1/2}` this
    is :math:`d_{\text{model}}^{-1/2} \min(n^{-1/2}, n\, T^{-3/2})` (Vaswani et al., "Attention Is
    All You Need", 2017, equation 3).

    Args:
        optimizer: the optimizer whose learning rate is set.
        warmup: the number of steps of the increase, 1 or more.

    Raises:
        ValueError: for an option out of range.
        TypeError: if `optimizer` is not an Optimizer, or for an option of the wrong type.

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

    warmup: int = option(check_integer, minimum=1, kw_only=False)

    def rate(self, base: float, step: int) -> float:
        """Return the learning rate after `step` steps of a group that started from `base`."""
        return base * min(math.sqrt(self.warmup / (step + 1)), (step + 1) / self.warmup)


class ReduceOnPlateau(Schedule):
    r"""Multiplies the learning rate by a factor when a metric has stopped improving.

    A value :math:`x` is better than the best so far, :math:`b`, if

    .. math:: x < b - \text{threshold} \cdot |b| \quad\text{or}\quad x < b - \text{threshold}

    where the threshold is `relative` or not; with `maximize`, if it is larger by as much. After
    more than `patience` values in a row that are not better,

    .. math:: \text{lr} \leftarrow \max(\gamma\, \text{lr},\; \text{min\_lr})

    in each group, and the next `cooldown` values are not counted. As PyTorch's
    ``ReduceLROnPlateau``, except that with a negative best value and a relative threshold PyTorch
    accepts values that are slightly *worse*, and this class does not. NaN is never better.

    Args:
        optimizer: the optimizer whose learning rate is set.
        gamma: the factor, >= 0 and < 1.
        patience: the number of consecutive values without improvement that are tolerated, 0 or
            more.
        threshold: the minimum improvement, finite and >= 0.
        relative: whether the threshold is relative to the best value, or absolute.
        cooldown: the number of values after a reduction that are not counted, 0 or more.
        min_lr: the minimum learning rate, finite and >= 0.
        epsilon: the minimum change of a learning rate: smaller ones are not applied, finite and >=
            0.
        maximize: whether larger values are better.

    Raises:
        ValueError: for an option out of range.
        TypeError: if `optimizer` is not an Optimizer, or for an option of the wrong type.

    >>> from nn_optim import SGD, ReduceOnPlateau
    >>> from nn_tensor import zeros
    >>> optimizer = SGD([zeros(2, requires_grad=True)], lr=1.0)
    >>> schedule = ReduceOnPlateau(optimizer, gamma=0.5, patience=1)
    >>> for loss in (3.0, 2.0, 2.0, 2.0):
    ...     schedule.step(loss)
    ...     print(optimizer.lr)
    1.0
    1.0
    1.0
    0.5
    """

    gamma: float = option(check_number, minimum=0, below=1, default=0.1)
    patience: int = option(check_integer, minimum=0, default=10)
    threshold: float = option(check_number, minimum=0, default=1e-4)
    relative: bool = option(check_bool, default=True)
    cooldown: int = option(check_integer, minimum=0, default=0)
    min_lr: float = option(check_number, minimum=0, default=0.0)
    epsilon: float = option(check_number, minimum=0, default=1e-8)
    maximize: bool = option(check_bool, default=False)

    @property
    def best(self) -> float | None:
        """The best value so far, None before the first."""
        best: float = self._progress["best"]
        return None if math.isnan(best) else best

    def step(self, value: SupportsFloat) -> None:  # type: ignore[override]
        """Take the next value of the metric; reduce the rates if `patience` is exceeded.

        Args:
            value: a number, or a Tensor with one element.

        Raises:
            TypeError: if it is not a number.
            ValueError: if it has several elements.
        """
        external(self._take, value, snapshot=self._snapshot)

    def _take(self, value: Any) -> None:
        number, (best, waited, cooling) = self._check_float(value), self._progress.values()
        improved = self._improves(number)
        waited = 0 if improved or cooling else waited + 1
        cooling = max(cooling - 1, 0)
        if waited > self.patience:
            for group in self.optimizer.groups:
                lr = self.rate(group["lr"], 1)
                if group["lr"] - lr > self.epsilon:
                    group["lr"] = lr
            waited, cooling = 0, self.cooldown
        best = number if improved else best
        self._progress = {"best": best, "waited": waited, "cooling": cooling}

    def rate(self, base: float, step: int) -> float:
        """Return the learning rate after `step` reductions of `base`."""
        return max(base * self.gamma**step, self.min_lr)

    def _improves(self, number: float) -> bool:
        best = self.best
        if best is None:
            return not math.isnan(number)
        margin = self.threshold * abs(best) if self.relative else self.threshold
        if math.isinf(best):
            margin = 0.0  # infinity times 0, and infinity less infinity, are NaN
        return number > best + margin if self.maximize else number < best - margin

    def _new_progress(self) -> dict[str, Any]:
        return {"best": math.nan, "waited": 0, "cooling": 0}

    def _set_progress(self, progress: dict[str, Any]) -> None:
        self._progress = progress

    def _check_float(self, value: Any) -> float:
        if getattr(value, "size", 1) != 1:
            raise ValueError(f"value: expected one number, got {describe(value)}")
        number = value.item() if hasattr(value, "item") else value
        return check_number("value", number, allow_infinite=True, allow_nan=True)


class _Composite(Schedule):
    """A schedule made of others, whose formulas it uses; they are not stepped themselves."""

    _first: Sequence[Schedule] = argument(alias="schedules", kw_only=False)  # type: ignore[assignment]

    def _configure(self, first: Any, options: Options) -> None:
        if not isinstance(first, (list, tuple)):
            raise TypeError(f"schedules: expected several in a list, got {describe(first)}")
        if not first:
            raise ValueError("schedules: expected at least one, got none")
        for position, schedule in enumerate(first):
            where = f"schedules[{position}]"
            if not isinstance(schedule, Schedule) or isinstance(schedule, ReduceOnPlateau):
                expected = "a Schedule, whose rate depends on the step alone"
                raise TypeError(f"{where}: expected {expected}, got {describe(schedule)}")
            if schedule.optimizer is not first[0].optimizer:
                raise ValueError(f"{where}: has another optimizer than the first")
        self.schedules: tuple[Schedule, ...] = tuple(first)
        super()._configure(first[0].optimizer, options)

    def _walk(self, prefix: str = "") -> Iterator[tuple[str, Schedule]]:
        yield prefix, self
        for number, schedule in enumerate(self.schedules):
            yield from schedule._walk(f"{prefix}{number}.")

    def _metadata(self) -> dict[str, Any]:
        return super()._metadata() | {"schedules": [s._metadata() for s in self.schedules]}


class ChainedSchedules(_Composite):
    r"""Applies several schedules at once: each changes the learning rate of the one before it.

    .. math:: \text{lr}_t = f_n(\dots f_2(f_1(\text{lr}_0, t), t) \dots, t)

    For schedules that multiply by a factor this is the product of the factors, as PyTorch's
    ``ChainedScheduler``. Call its `step`, not that of its parts.

    Args:
        schedules: the schedules, made for one optimizer.

    Raises:
        ValueError: if there are no schedules, or if they have several optimizers.
        TypeError: if one of them is not a schedule whose rate depends on the step alone.

    >>> from nn_optim import SGD, ChainedSchedules, ExponentialSchedule, LinearWarmup
    >>> from nn_tensor import zeros
    >>> optimizer = SGD([zeros(2, requires_grad=True)], lr=1.0)
    >>> parts = [LinearWarmup(optimizer, 2, start_factor=0.5), ExponentialSchedule(optimizer, 0.5)]
    >>> schedule = ChainedSchedules(parts)
    >>> for _ in range(3):
    ...     print(optimizer.lr)
    ...     schedule.step()
    0.5
    0.375
    0.25
    """

    def rate(self, base: float, step: int) -> float:
        """Return the learning rate after `step` steps of a group that started from `base`."""
        for schedule in self.schedules:
            base = schedule.rate(base, step)
        return base


class SequentialSchedules(_Composite):
    r"""Applies several schedules in sequence, from given steps on.

    .. math:: \text{lr}_t = f_k(\text{lr}_0, t - \tau_k), \qquad \tau_k \le t < \tau_{k+1}

    with :math:`\tau_0 = 0` and the `milestones` :math:`\tau_1 < \tau_2 < \dots`, as PyTorch's
    ``SequentialLR``. Call its `step`, not that of its parts.

    Args:
        schedules: the schedules, made for one optimizer.
        milestones: the steps at which the second and each later schedule begins.

    Raises:
        ValueError: if there are no schedules, if they have several optimizers, or unless there is
            one milestone fewer than schedules, in increasing order.
        TypeError: if one of them is not a schedule whose rate depends on the step alone, or a
            milestone is not an integer.

    >>> from nn_optim import SGD, ExponentialSchedule, LinearWarmup, SequentialSchedules
    >>> from nn_tensor import zeros
    >>> optimizer = SGD([zeros(2, requires_grad=True)], lr=1.0)
    >>> parts = [LinearWarmup(optimizer, 2, start_factor=0.5), ExponentialSchedule(optimizer, 0.5)]
    >>> schedule = SequentialSchedules(parts, milestones=[2])
    >>> for _ in range(5):
    ...     print(optimizer.lr)
    ...     schedule.step()
    0.5
    0.75
    1.0
    0.5
    0.25
    """

    milestones: Sequence[int] = option(check_milestones, kw_only=False)

    def check_options(self, options: Options) -> None:
        """Raise if the milestones are not one less than the schedules."""
        count, found = len(self.schedules), len(options["milestones"])
        if found != count - 1:
            raise ValueError(f"milestones: expected {count - 1} for {count} schedules, got {found}")

    def rate(self, base: float, step: int) -> float:
        """Return the learning rate after `step` steps of a group that started from `base`."""
        number = bisect.bisect_right(self.milestones, step)
        return self.schedules[number].rate(base, step - (0, *self.milestones)[number])
