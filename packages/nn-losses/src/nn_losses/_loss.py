"""What all losses share: how they are called, and how the values of the examples become one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Literal, get_args

from nn_tensor import Tensor, mean, sum

__all__ = ["Loss", "Reduction"]

Reduction = Literal["mean", "sum", "none"]


class Loss(ABC):
    r"""How far predictions are from their targets, as a Tensor to call `backward` on.

    A loss of your own writes `forward` and ends it with `reduce`::

        class AbsoluteLoss(Loss):
            def forward(self, prediction, target):
                return self.reduce(nn_tensor.abs(prediction - target))

    Args:
        reduction: ``'mean'`` or ``'sum'`` of the losses of all examples, or ``'none'``, which
            keeps them apart.

    Raises:
        ValueError: for another reduction.

    >>> from nn_losses import MSELoss
    >>> MSELoss(reduction="sum")([1.0, 2.0], [1.0, 4.0])
    Tensor(4.)
    """

    def __init__(self, reduction: Reduction = "mean") -> None:
        if reduction not in get_args(Reduction):
            raise ValueError(f"reduction: expected one of {get_args(Reduction)}, got {reduction!r}")
        self.reduction: Reduction = reduction

    def __call__(self, prediction: Any, target: Any) -> Tensor:
        """Return ``forward(prediction, target)``."""
        return self.forward(prediction, target)

    @abstractmethod
    def forward(self, prediction: Any, target: Any) -> Tensor:
        """Return the loss of `prediction` against `target`, reduced."""

    def reduce(self, losses: Tensor) -> Tensor:
        """Return the mean or the sum of `losses`, or `losses` themselves, as `reduction` says."""
        if self.reduction == "none":
            return losses
        return mean(losses) if self.reduction == "mean" else sum(losses)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(reduction={self.reduction!r})"
