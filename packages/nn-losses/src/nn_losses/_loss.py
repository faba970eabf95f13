"""What all losses share: how they are called, and how the values of the examples become one."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar

from nn_tensor import Tensor, mean, sum
from nn_tensor.extend import device_scope

from nn_losses._inputs import among

__all__ = ["Loss"]


class Loss(ABC):
    r"""How far predictions are from their targets, as a Tensor to call `backward` on.

    A loss of your own writes `forward` and ends it with `reduce`::

        class AbsoluteLoss(Loss):
            def forward(self, prediction, target):
                return self.reduce(nn_tensor.abs(prediction - target))

    The mean of no losses is NaN, as in NumPy and PyTorch, and has a gradient of zeros.

    Args:
        reduction: ``'mean'`` or ``'sum'`` of the losses of all examples, or ``'none'``, which
            keeps them apart.

    Raises:
        ValueError: for another reduction.

    >>> from nn_losses import MSELoss
    >>> MSELoss(reduction="sum")([1.0, 2.0], [1.0, 4.0])
    Tensor(4.)
    """

    reductions: ClassVar[tuple[str, ...]] = ("mean", "sum", "none")

    def __init__(self, reduction: str = "mean") -> None:
        among("reduction", reduction, self.reductions)
        self.reduction = reduction

    def __call__(self, prediction: Any, target: Any) -> Tensor:
        """Return ``forward(prediction, target)``."""
        with device_scope(prediction):
            return self.forward(prediction, target)

    @abstractmethod
    def forward(self, prediction: Any, target: Any) -> Tensor:
        """Return the loss of `prediction` against `target`, reduced."""

    def reduce(self, losses: Tensor, count: float | None = None) -> Tensor:
        """Return the mean or the sum of `losses`, or `losses` themselves, as `reduction` says.

        Args:
            losses: of all examples.
            count: what the mean divides the sum by; by default how many losses there are.
        """
        if self.reduction == "none":
            return losses
        if self.reduction == "sum":
            return sum(losses)
        if losses.size == 0 or count == 0:
            return sum(losses) + math.nan
        average = mean(losses)
        return average if count is None else average * (losses.size / count)

    def extra_repr(self) -> str:
        """Return the settings that the description shows before the reduction."""
        return ""

    def __repr__(self) -> str:
        settings = [self.extra_repr(), f"reduction={self.reduction!r}"]
        return f"{type(self).__name__}({', '.join(filter(None, settings))})"
