"""Schedules: what sets the learning rate of an optimizer from step to step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from nn_tensor.extend import describe

from nn_optim._optimizer import Optimizer
from nn_optim._options import Milestones, Setting
from nn_optim._state import FORMAT_VERSION, METADATA_KEY, Reader

__all__ = ["ChainedSchedules", "Configured", "Schedule", "SequentialSchedules"]


class Configured:
    """An optimizer to steer, options, and the state dict of both kinds of schedule."""

    def __init__(self, optimizer: Optimizer, **options: Any) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"optimizer: expected an Optimizer, got {describe(optimizer)}")
        self._optimizer = optimizer
        self._options = {name: self._setting(name).check(v) for name, v in options.items()}
        self.check_options(self._options)

    @classmethod
    def _setting(cls, name: str) -> Setting[Any]:
        setting = getattr(cls, name, None)
        if not isinstance(setting, Setting):
            raise TypeError(f"{cls.__name__}: has no option {name!r}")
        return setting

    def _option(self, name: str) -> Any:
        return self._options[name]

    def _set_option(self, name: str, value: Any) -> None:
        changed = {**self._options, name: value}
        self.check_options(changed)
        self._options = changed

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Raise if the options do not go together: a schedule's own affair."""

    @property
    def optimizer(self) -> Optimizer:
        """The optimizer whose learning rate it sets."""
        return self._optimizer

    def _metadata(self) -> dict[str, Any]:
        return {"format_version": FORMAT_VERSION, "class": type(self).__name__}

    def _saved_options(self, prefix: str = "") -> dict[str, Any]:
        return {f"{prefix}{name}": np.array(value) for name, value in self._options.items()}

    def _read_options(self, read: Reader, prefix: str = "") -> dict[str, Any]:
        options = {
            name: read.value(f"{prefix}{name}", self._setting(name).check, value)
            for name, value in self._options.items()
        }
        try:
            self.check_options(options)
        except ValueError as error:
            read.problems.append(f"{prefix}{error}")
        return options

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{n}={v}' for n, v in self._options.items())})"


class Schedule(Configured, ABC):
    """Sets the learning rate of every group of an optimizer as a function of the steps taken.

    The rate after :math:`t` calls of `step` depends on nothing but :math:`t` and the group's base,
    the rate that it had before its first schedule. The rate for :math:`t = 0` is set at once; to
    be stepped once an epoch or once a batch, always after the optimizer. To set ``lr`` starts the
    `decay` of the optimizer anew, so use one of the two.

    A schedule of your own says what the rate is::

        class Linear(Schedule):
            end = Count(least=1)

            def __init__(self, optimizer, end):
                super().__init__(optimizer, end=end)

            def rate(self, base, step):
                return base * max(0.0, 1.0 - step / self.end)

    Args:
        optimizer: whose learning rate to set.
        options: the options that the schedule declares.

    Raises:
        TypeError: if `optimizer` is none, or for an option of another type.
        ValueError: for an option out of its range.
    """

    def __init__(self, optimizer: Optimizer, **options: Any) -> None:
        super().__init__(optimizer, **options)
        self._bases = [group.base_rate() for group in optimizer.groups]
        self._steps = 0
        self._apply(0)

    @abstractmethod
    def rate(self, base: float, step: int) -> float:
        """Return the learning rate after `step` steps of a group that started from `base`."""

    @property
    def steps(self) -> int:
        """How often `step` was called."""
        return self._steps

    @property
    def bases(self) -> tuple[float, ...]:
        """The learning rate that each group started from."""
        return tuple(self._bases)

    def step(self) -> None:
        """Go one step on, and set the learning rate of each group.

        Raises:
            ValueError: if a rate would be infinite, NaN or negative; then nothing was changed.
        """
        self._apply(self._steps + 1)

    def _apply(self, steps: int) -> None:
        groups = self._optimizer.groups
        late = [group.base_rate() for group in groups[len(self._bases) :]]  # added meanwhile
        bases = self._bases + late
        rates = [self._rate(base, steps) for base in bases]
        for group, base, rate in zip(groups, bases, rates, strict=True):
            group.follow_schedule(base, rate)
        self._bases, self._steps = bases, steps

    def _rate(self, base: float, steps: int) -> float:
        try:
            rate = self.rate(base, steps)
        except OverflowError:
            rate = float("inf")
        return Optimizer.lr.check(rate)

    def _members(self) -> Sequence[Schedule]:
        return ()

    def state_dict(self) -> dict[str, Any]:
        """Return its options, its count of steps and the base of each group, as a flat mapping.

        >>> from nn_optim import SGD, ExponentialSchedule
        >>> from nn_tensor import zeros
        >>> optimizer = SGD([zeros(2, requires_grad=True)], lr=0.5)
        >>> list(ExponentialSchedule(optimizer, gamma=0.9).state_dict())
        ['gamma', 'steps', 'groups.0.base', '__metadata__']
        """
        found = self._all_options("")
        found["steps"] = np.array(self._steps)
        for number, base in enumerate(self._bases):
            found[f"groups.{number}.base"] = np.array(base)
        found[METADATA_KEY] = self._metadata()
        return found

    def _all_options(self, prefix: str) -> dict[str, Any]:
        found = self._saved_options(prefix)
        for number, member in enumerate(self._members()):
            found |= member._all_options(f"{prefix}{number}.")
        return found

    def _metadata(self) -> dict[str, Any]:
        members = self._members()
        more = {"schedules": [member._metadata() for member in members]} if members else {}
        return super()._metadata() | more

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state_dict` was called, and set the learning rates of that step.

        Raises:
            ValueError: listing every key that is missing, unexpected or out of range; then
                nothing was changed.
            TypeError: if `state` is not a mapping.
        """
        read = Reader(state, type(self).__name__)
        expected = self._metadata().get("schedules", [])
        saved = read.metadata.get("schedules", expected)
        if _classes(saved) != _classes(expected):
            read.problems.append(f"expected schedules {_classes(expected)}, got {_classes(saved)}")
        options = self._read_all_options(read, "")
        steps = read.count("steps")
        bases = [
            read.scalar(f"groups.{number}.base", Optimizer.lr.check, 0.0)
            for number in range(len(self._optimizer.groups))
        ]
        read.finish()
        before = self._exchange(options), self._bases, self._steps
        self._bases = bases
        try:
            self._apply(steps)
        except BaseException:
            self._exchange(before[0])
            self._bases, self._steps = before[1:]
            raise

    def _read_all_options(self, read: Reader, prefix: str) -> list[tuple[Schedule, dict[str, Any]]]:
        found = [(self, self._read_options(read, prefix))]
        for number, member in enumerate(self._members()):
            found += member._read_all_options(read, f"{prefix}{number}.")
        return found

    @staticmethod
    def _exchange(
        options: list[tuple[Schedule, dict[str, Any]]],
    ) -> list[tuple[Schedule, dict[str, Any]]]:
        """Give each schedule its options, and return what they had."""
        before = [(schedule, schedule._options) for schedule, _ in options]
        for schedule, new in options:
            schedule._options = new
        return before


def _classes(metadata: Any) -> Any:
    """Return the names of the classes in the metadata of several schedules."""
    if not isinstance(metadata, list) or not all(isinstance(one, Mapping) for one in metadata):
        return metadata
    return [
        [one.get("class"), *_classes(one["schedules"])] if "schedules" in one else one.get("class")
        for one in metadata
    ]


class _Composite(Schedule):
    """A schedule made of others, which give their formulas and are not stepped themselves."""

    def __init__(self, schedules: Sequence[Schedule], **options: Any) -> None:
        if not isinstance(schedules, (list, tuple)):
            raise TypeError(f"schedules: expected several in a list, got {describe(schedules)}")
        if not schedules:
            raise ValueError("schedules: expected at least one, got none")
        for position, schedule in enumerate(schedules):
            if not isinstance(schedule, Schedule):
                raise TypeError(
                    f"schedules[{position}]: expected a Schedule, whose rate depends on the step "
                    f"alone, got {describe(schedule)}"
                )
            if schedule.optimizer is not schedules[0].optimizer:
                raise ValueError(f"schedules[{position}]: steers another optimizer than the first")
        self._schedules = tuple(schedules)
        super().__init__(schedules[0].optimizer, **options)

    @property
    def schedules(self) -> tuple[Schedule, ...]:
        """The schedules that it is made of."""
        return self._schedules

    def _members(self) -> Sequence[Schedule]:
        return self._schedules


class ChainedSchedules(_Composite):
    r"""Several schedules at once: each starts from the rate that the one before it gives.

    .. math:: \text{lr}_t = f_n(\dots f_2(f_1(\text{lr}_0, t), t) \dots, t)

    For schedules that multiply by a factor this is the product of the factors, as PyTorch's
    ``ChainedScheduler``. Step it, and not its parts.

    Args:
        schedules: the schedules, made for one optimizer.

    Raises:
        ValueError: if there are none, or if they steer several optimizers.
        TypeError: if one of them is no `Schedule`.

    >>> from nn_optim import SGD, ChainedSchedules, ExponentialSchedule, LinearWarmup
    >>> from nn_tensor import zeros
    >>> optimizer = SGD([zeros(2, requires_grad=True)], lr=1.0)
    >>> parts = [LinearWarmup(optimizer, 2, start=0.5), ExponentialSchedule(optimizer, 0.5)]
    >>> schedule = ChainedSchedules(parts)
    >>> for _ in range(3):
    ...     print(optimizer.lr)
    ...     schedule.step()
    0.5
    0.375
    0.25
    """

    def __init__(self, schedules: Sequence[Schedule]) -> None:
        super().__init__(schedules)

    def rate(self, base: float, step: int) -> float:
        """Return the learning rate after `step` steps of a group that started from `base`."""
        for schedule in self._schedules:
            base = schedule.rate(base, step)
        return base


class SequentialSchedules(_Composite):
    r"""Several schedules one after the other, each from its own step 0 and the same base.

    .. math:: \text{lr}_t = f_k(\text{lr}_0, t - \tau_k), \qquad \tau_k \le t < \tau_{k+1}

    with :math:`\tau_0 = 0` and the `milestones` :math:`\tau_1 < \tau_2 < \dots`, as PyTorch's
    ``SequentialLR``. Step it, and not its parts.

    Args:
        schedules: the schedules, made for one optimizer.
        milestones: the steps at which the second and each later schedule begins.

    Raises:
        ValueError: if there are no schedules, if they steer several optimizers, if there is not
            one milestone less than schedules, or if they do not rise.
        TypeError: if one of them is no `Schedule`, or a milestone no whole number.

    >>> from nn_optim import SGD, ExponentialSchedule, LinearWarmup, SequentialSchedules
    >>> from nn_tensor import zeros
    >>> optimizer = SGD([zeros(2, requires_grad=True)], lr=1.0)
    >>> parts = [LinearWarmup(optimizer, 2, start=0.5), ExponentialSchedule(optimizer, 0.5)]
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

    milestones = Milestones()

    def __init__(self, schedules: Sequence[Schedule], milestones: Sequence[int]) -> None:
        super().__init__(schedules, milestones=milestones)

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Raise if the milestones are not one less than the schedules."""
        expected, found = len(self._schedules) - 1, len(options["milestones"])
        if found != expected:
            raise ValueError(
                f"milestones: expected {expected} for {expected + 1} schedules, got {found}"
            )

    def rate(self, base: float, step: int) -> float:
        """Return the learning rate after `step` steps of a group that started from `base`."""
        passed = [milestone for milestone in self.milestones if milestone <= step]
        start = passed[-1] if passed else 0
        return self._schedules[len(passed)].rate(base, step - start)
