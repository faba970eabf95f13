"""`RunningMetric`: what metrics add up over batches."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["RunningMetric", "ratio"]

Sums = dict[str, Any]


def ratio(total: Any, weight: Any) -> float:
    """Return the sum divided by the weight, or NaN if the weight is 0."""
    return float(total / weight) if weight else math.nan


class RunningMetric(ABC):
    """A metric: of one batch when called, of many batches by `update`, `result` and `reset`.

    It accumulates sums or, for metrics that rank scores, the scores themselves. The result is
    computed over all examples together; it is not the mean of the results of the batches.

    ``sample_weight`` is a weight >= 0 for each example, of the shape of the examples or the first
    dimensions of it: an example of weight k counts as k copies of it.
    """

    _sums: Sums | None = None

    def reset(self) -> None:
        """Clear the accumulated batches."""
        self._sums = None

    def update(self, prediction: Any, target: Any, *, sample_weight: Any = None) -> None:
        """Add a batch."""
        new = self._of_batch(prediction, target, sample_weight)
        self._sums = new if self._sums is None else self._combined(self._sums, new)

    def result(self) -> Any:
        """Return the metric of all batches since `reset`.

        Raises:
            ValueError: if there was no batch.
        """
        if self._sums is None:
            raise ValueError(f"{type(self).__name__}: no batch since reset(); call update() first")
        return self._value(self._sums)

    def state_dict(self) -> dict[str, Any]:
        """Return what has been accumulated, as arrays."""
        return {name: np.array(value) for name, value in (self._sums or {}).items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load what `state_dict` returned."""
        self._sums = {name: np.array(value) for name, value in state.items()} or None

    @abstractmethod
    def _of_batch(self, prediction: Any, target: Any, sample_weight: Any) -> Sums:
        """Return what a batch contributes."""

    def _combined(self, sums: Sums, new: Sums) -> Sums:
        """Return the contributions of two together."""
        return {name: value + new[name] for name, value in sums.items()}

    @abstractmethod
    def _value(self, sums: Sums) -> Any:
        """Return the metric of what has been accumulated."""
