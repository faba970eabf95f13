"""Means that add up: a sum and a weight until they are read."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from nn_train._protocols import HasState, Metric

__all__ = ["Mean", "Values", "count_examples"]


def count_examples(target: Any) -> int:
    """Return the number of examples of a batch: the length of the first array in it."""
    while isinstance(target, tuple | list | dict):
        if not target:
            return 0
        target = next(iter(target.values())) if isinstance(target, dict) else target[0]
    shape = getattr(target, "shape", ())
    return int(shape[0]) if shape else 1


class Mean:
    """A weighted mean, as its sum and its weight.

    >>> mean = Mean()
    >>> mean.add(1.0, 3)
    >>> mean.add(5.0, 1)
    >>> mean.result()
    2.0
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Clear the sum and the weight."""
        self.sum: float = 0.0
        self.weight: float = 0.0

    def add(self, value: float, weight: float) -> None:
        """Add a mean over `weight` items; one over none counts nothing, even if it is NaN."""
        if weight:
            self.sum += value * weight
            self.weight += weight

    def result(self) -> float:
        """Return the mean; that of nothing is NaN."""
        return self.sum / self.weight if self.weight else math.nan

    def state_dict(self) -> dict[str, Any]:
        """Return sum and weight."""
        return {"sum": np.float64(self.sum), "weight": np.float64(self.weight)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load sum and weight."""
        self.sum, self.weight = float(state["sum"]), float(state["weight"])


class _MeanOfCalls(Mean):
    """The mean of a function of prediction and target, weighted by the examples of each batch."""

    def __init__(self, function: Callable[[Any, Any], Any]) -> None:
        super().__init__()
        self._function = function

    def update(self, prediction: Any, target: Any) -> None:
        """Add the value of a batch."""
        self.add(float(self._function(prediction, target)), count_examples(target))


class Values:
    """The loss and the metrics over the batches of an epoch."""

    def __init__(self, metrics: Mapping[str, Any]) -> None:
        self.loss: Mean = Mean()
        self.metrics: dict[str, Any] = {}
        for name, metric in metrics.items():
            # A copy: training and validation count apart, and the user's own is left alone.
            own = copy.deepcopy(metric) if isinstance(metric, Metric) else _MeanOfCalls(metric)
            own.reset()
            self.metrics[name] = own

    def update(self, prediction: Any, target: Any) -> None:
        """Add a batch to the metrics."""
        if prediction is None:
            raise ValueError(
                "metrics: forward_loss returned no prediction and target; return "
                "Forward(loss, weight, prediction, target), or leave out metrics"
            )
        for metric in self.metrics.values():
            metric.update(prediction, target)

    def result(self) -> dict[str, float]:
        """Return the numbers by name."""
        numbers = {"loss": self.loss.result()}
        for name, metric in self.metrics.items():
            value = metric.result()
            try:
                numbers[name] = float(value)
            except (TypeError, ValueError):
                raise TypeError(
                    f"metrics[{name!r}]: expected one number, got {type(value).__name__}"
                ) from None
        return numbers

    def reset(self) -> None:
        """Clear the accumulated batches."""
        self.loss.reset()
        for metric in self.metrics.values():
            metric.reset()

    def unsaved(self) -> list[str]:
        """Return the names of the metrics that cannot be saved within an epoch."""
        return [name for name, metric in self.metrics.items() if not isinstance(metric, HasState)]

    def state_dict(self) -> dict[str, Any]:
        """Return the sums so far; metrics that cannot be saved are left out."""
        state = {f"loss.{key}": value for key, value in self.loss.state_dict().items()}
        for name, metric in self.metrics.items():
            if isinstance(metric, HasState):
                state |= {f"metrics.{name}.{k}": v for k, v in metric.state_dict().items()}
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load the sums."""
        for prefix, part in {
            "loss.": self.loss,
            **{f"metrics.{name}.": metric for name, metric in self.metrics.items()},
        }.items():
            own = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
            if own and isinstance(part, HasState):
                part.load_state_dict(own)
