"""`Loss`, the base class: how losses are called, and how they are reduced."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal, get_args

import numpy as np
from nn_tensor import Tensor, mean, sum
from nn_tensor.extend import check_choice, device_scope, keyword_only

__all__ = ["Loss", "Reduction"]

Reduction = Literal["mean", "sum", "none"]


class Loss(ABC):
    r"""A loss between predictions and targets, as a Tensor to call `backward` on.

    A loss of your own writes `forward` and ends it with `reduce`::

        class AbsoluteLoss(Loss):
            def forward(self, prediction, target):
                return self.reduce(nn_tensor.abs(prediction - target))

    The mean of no losses is NaN, as in NumPy and PyTorch, and has a gradient of zeros.

    Args:
        reduction: ``'mean'`` or ``'sum'`` over the losses of all examples, or ``'none'``, which
            returns them unreduced.

    Raises:
        ValueError: for another reduction.

    >>> from nn_losses import MSELoss
    >>> MSELoss("sum")([1.0, 2.0], [1.0, 4.0])
    Tensor(4.)
    """

    reductions: ClassVar[tuple[str, ...]] = get_args(Reduction)

    @keyword_only
    def __init__(self, reduction: Reduction = "mean") -> None:
        self.reduction: str = check_choice("reduction", reduction, self.reductions)

    def __call__(self, prediction: Any, target: Any) -> Tensor:
        """Return ``forward(prediction, target)``."""
        with device_scope(prediction):
            return self.forward(prediction, target)

    @abstractmethod
    def forward(self, prediction: Any, target: Any) -> Tensor:
        """Return the loss of `prediction` against `target`, reduced."""

    def reduce(self, losses: Tensor, count: Any = None) -> Tensor:
        """Return the mean or the sum of `losses`, or `losses` themselves, as `reduction` says.

        Args:
            losses: the losses of all examples.
            count: what the mean divides the sum by, a number or an array on the device of
                `losses`; by default the number of losses.
        """
        if self.reduction == "none":
            return losses
        if self.reduction == "sum":
            return sum(losses)
        if isinstance(count, np.generic):
            count = count.item()
        on_device = count is not None and not isinstance(count, (int, float))
        if losses.size == 0 or (not on_device and count == 0):
            return sum(losses) + math.nan
        average = mean(losses)
        if count is None:
            return average
        if not on_device:
            return average * (losses.size / count)
        xp, nothing = losses.xp, count == 0
        factor = xp.where(nothing, 1, losses.size / count).astype(average.dtype)
        return average * factor + xp.where(nothing, math.nan, 0).astype(average.dtype)

    def extra_repr(self) -> str:
        """Return the options that ``repr`` shows before the reduction."""
        return ""

    def __repr__(self) -> str:
        options = [self.extra_repr(), f"reduction={self.reduction!r}"]
        return f"{type(self).__name__}({', '.join(filter(None, options))})"
