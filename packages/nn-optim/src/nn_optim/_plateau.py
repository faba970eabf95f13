"""A schedule that looks at how training goes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real
from typing import Any, SupportsFloat

import numpy as np
from nn_tensor.extend import describe

from nn_optim._optimizer import Optimizer
from nn_optim._options import Count, Flag, Option
from nn_optim._schedule import Configured
from nn_optim._state import METADATA_KEY, Reader

__all__ = ["ReduceOnPlateau"]


class ReduceOnPlateau(Configured):
    r"""Multiplies the learning rate by a factor when a measure has stopped to improve.

    A value :math:`x` is better than the best so far, :math:`b`, if

    .. math:: x < b - \text{threshold} \cdot |b| \quad\text{or}\quad x < b - \text{threshold}

    where the threshold is `relative` or not; with `maximize`, if it is larger by as much. After
    more than `patience` values in a row that are not better,

    .. math:: \text{lr} \leftarrow \max(\gamma\, \text{lr},\; \text{min\_lr})

    in each group, and the next `cooldown` values are not counted. As PyTorch's
    ``ReduceLROnPlateau`` (for a negative best, where that one demands a value *worse* by the
    threshold, this one still demands a better one). NaN is never better.

    Args:
        optimizer: whose learning rate to set.
        gamma: the factor, >= 0 and < 1.
        patience: how many values in a row may fail to be better, 0 or more.
        threshold: by how much a value must be better, finite and >= 0.
        relative: whether the threshold is a share of the best value, or in the value's own unit.
        cooldown: for how many values after a change nothing is counted, 0 or more.
        min_lr: the least learning rate, finite and >= 0.
        epsilon: a change of the rate that is not larger is not made, finite and >= 0.
        maximize: whether larger values are better.

    Raises:
        ValueError: for an option out of range.
        TypeError: if `optimizer` is none, or for an option of another type.

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

    gamma = Option(below=1.0)
    patience = Count()
    threshold = Option()
    relative = Flag()
    cooldown = Count()
    min_lr = Option()
    epsilon = Option()
    maximize = Flag()

    def __init__(
        self,
        optimizer: Optimizer,
        gamma: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        relative: bool = True,
        cooldown: int = 0,
        min_lr: float = 0.0,
        epsilon: float = 1e-8,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            optimizer,
            gamma=gamma,
            patience=patience,
            threshold=threshold,
            relative=relative,
            cooldown=cooldown,
            min_lr=min_lr,
            epsilon=epsilon,
            maximize=maximize,
        )
        self._best: float | None = None
        self._waited = 0
        self._cooling = 0

    @property
    def best(self) -> float | None:
        """The best value so far, None before the first."""
        return self._best

    def step(self, value: SupportsFloat) -> None:
        """Take the next value of the measure, and lower the learning rates if it is time.

        Args:
            value: a number, or a Tensor with one element.

        Raises:
            TypeError: if it is no number.
            ValueError: if it has several elements.
        """
        number = _number(value)
        if self._improves(number):
            self._best, self._waited = number, 0
        else:
            self._waited += 1
        if self._cooling:
            self._cooling -= 1
            self._waited = 0
        if self._waited > self.patience:
            for group in self.optimizer.groups:
                rate = max(group["lr"] * self.gamma, self.min_lr)
                if group["lr"] - rate > self.epsilon:
                    group["lr"] = rate
            self._cooling, self._waited = self.cooldown, 0

    def _improves(self, number: float) -> bool:
        if self._best is None:
            return not math.isnan(number)
        margin = self.threshold * abs(self._best) if self.relative else self.threshold
        if math.isinf(self._best):
            margin = 0.0  # infinity times 0, and infinity less infinity, are NaN
        if self.maximize:
            return number > self._best + margin
        return number < self._best - margin

    def state_dict(self) -> dict[str, Any]:
        """Return its options, the best value and its counts, as a flat mapping."""
        found = self._saved_options()
        found["best"] = np.array(math.nan if self._best is None else self._best)
        found["waited"] = np.array(self._waited)
        found["cooling"] = np.array(self._cooling)
        found[METADATA_KEY] = self._metadata()
        return found

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state_dict` was called; the learning rates are the optimizer's affair.

        Raises:
            ValueError: listing every key that is missing, unexpected or out of range; then
                nothing was changed.
            TypeError: if `state` is not a mapping.
        """
        read = Reader(state, type(self).__name__)
        options = self._read_options(read)
        best = read.scalar("best", _number, math.nan)
        waited, cooling = read.count("waited"), read.count("cooling")
        read.finish()
        self._options = options
        self._best = None if math.isnan(best) else best
        self._waited, self._cooling = waited, cooling


def _number(value: Any) -> float:
    if isinstance(value, (bool, str)) or not (
        isinstance(value, Real) or (hasattr(value, "item") and hasattr(value, "size"))
    ):
        raise TypeError(f"value: expected a number, got {describe(value)}")
    if isinstance(value, Real):
        return float(value)
    if value.size != 1:
        raise ValueError(f"value: expected one number, got {describe(value)}")
    return float(value.item())
