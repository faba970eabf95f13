"""Options: values that steer an optimizer or a schedule, checked whenever they are set."""

from __future__ import annotations

import itertools
import math
import operator
from abc import abstractmethod
from collections.abc import Iterable
from numbers import Real
from typing import Any, Generic, Protocol, Self, TypeVar, overload

import numpy as np

__all__ = ["Count", "Flag", "Milestones", "Option", "Setting"]

T = TypeVar("T")


class _Owner(Protocol):
    def _option(self, name: str, /) -> Any: ...
    def _set_option(self, name: str, value: Any, /) -> None: ...


class Setting(Generic[T]):
    """An attribute of an optimizer or a schedule that is checked whenever it is set."""

    name: str

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, owner: None, kind: type) -> Self: ...
    @overload
    def __get__(self, owner: _Owner, kind: type) -> T: ...
    def __get__(self, owner: _Owner | None, kind: type) -> Self | T:
        if owner is None:
            return self
        value: T = owner._option(self.name)
        return value

    def __set__(self, owner: _Owner, value: Any) -> None:
        owner._set_option(self.name, self.check(value))

    @abstractmethod
    def check(self, value: Any) -> T:
        """Return `value` as a plain Python value, or raise."""


class Option(Setting[float]):
    """A number that steers an optimizer or a schedule, checked whenever it is set.

    Args:
        least: the smallest value allowed.
        below: what the value must stay below.

    >>> from nn_optim import SGD
    >>> from nn_tensor import zeros
    >>> SGD([zeros(2, requires_grad=True)], momentum=1.5)
    Traceback (most recent call last):
        ...
    ValueError: momentum: expected a number >= 0 and < 1, got 1.5
    """

    def __init__(self, least: float = 0.0, below: float = math.inf) -> None:
        self.least = least
        self.below = below

    def check(self, value: Any) -> float:
        """Return `value` as a Python number, or raise."""
        if isinstance(value, (bool, np.bool_)) or not isinstance(value, Real):
            raise TypeError(f"{self.name}: expected a number, got {value!r}")
        try:
            number = float(value)
        except OverflowError:  # an integer beyond all floats
            number = math.inf if int(value) > 0 else -math.inf  # type: ignore[call-overload]
        if not self.least <= number < self.below:  # NaN compares as false
            above = "and finite" if math.isinf(self.below) else f"and < {self.below:g}"
            raise ValueError(
                f"{self.name}: expected a number >= {self.least:g} {above}, got {number}"
            )
        return number


class Flag(Setting[bool]):
    """An option that is on or off."""

    def check(self, value: Any) -> bool:
        """Return `value` as a bool, or raise."""
        if not isinstance(value, (bool, np.bool_)):
            raise TypeError(f"{self.name}: expected True or False, got {value!r}")
        return bool(value)


class Count(Setting[int]):
    """An option that is a whole number.

    Args:
        least: the smallest value allowed.
    """

    def __init__(self, least: int = 0) -> None:
        self.least = least

    def check(self, value: Any) -> int:
        """Return `value` as a Python integer, or raise."""
        return _whole(self.name, value, self.least)


class Milestones(Setting[tuple[int, ...]]):
    """An option that is a rising row of whole numbers, 1 or more."""

    def check(self, value: Any) -> tuple[int, ...]:
        """Return `value` as a tuple of Python integers, or raise."""
        if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
            raise TypeError(f"{self.name}: expected whole numbers in a list, got {value!r}")
        found = tuple(_whole(self.name, item, 1) for item in value)
        if any(after <= before for before, after in itertools.pairwise(found)):
            raise ValueError(f"{self.name}: expected rising numbers, got {list(found)}")
        return found


def _whole(name: str, value: Any, least: int) -> int:
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: expected a whole number, got {value!r}") from None
    if number < least:
        raise ValueError(f"{name}: expected a whole number >= {least}, got {number}")
    return number
