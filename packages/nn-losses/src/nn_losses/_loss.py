"""`Loss`, the base class: how losses are called, and how they are reduced."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal, get_args

import numpy as np
from nn_tensor import Tensor, mean, sum
from nn_tensor.extend import (
    array_module,
    check_choice,
    current_observer,
    device_scope,
    external,
    keyword_only,
)

from nn_losses._sample_weight import read_sample_weight, weigh, without_absent

__all__ = ["Loss", "Reduction"]

Reduction = Literal["mean", "sum", "none"]


class Loss(ABC):
    r"""A loss between predictions and targets, as a Tensor to call `backward` on.

    A custom loss defines `forward`, which returns the result of `reduce`::

        class AbsoluteLoss(Loss):
            def forward(self, prediction, target):
                return self.reduce(nn_tensor.abs(prediction - target))

    The mean over an empty batch is NaN, as in NumPy and PyTorch, and has a gradient of zeros.

    ``loss(prediction, target, sample_weight=w)`` multiplies the losses of each example by its
    weight, and the mean divides by the sum of the weights: an example of weight k counts as k
    copies of it, and an example of weight 0 is ignored.

    Args:
        reduction: ``'mean'`` or ``'sum'`` over the losses of all examples, or ``'none'``, which
            returns them unreduced.

    Raises:
        ValueError: if `reduction` is not one of these.

    >>> from nn_losses import MSELoss
    >>> MSELoss("sum")([1.0, 2.0], [1.0, 4.0])
    Tensor(4.)
    """

    reductions: ClassVar[tuple[str, ...]] = get_args(Reduction)

    _counts: list[Any] | None = None  # what `reduce` divides by, noted where it is a list
    _sample_weight: Any = None  # an array, during a call with weights

    @keyword_only
    def __init__(self, reduction: Reduction = "mean") -> None:
        self.reduction: str = check_choice("reduction", reduction, self.reductions)

    def __call__(self, prediction: Any, target: Any, *, sample_weight: Any = None) -> Tensor:
        """Return ``forward(prediction, target)``.

        Args:
            prediction: the output of the model.
            target: the output that it should have.
            sample_weight: a weight for each example, or for each of its losses: numbers >= 0 whose
                shape is that of the unreduced losses, or the first dimensions of it.
        """
        if sample_weight is not None:
            return self._counting(self.reduction, prediction, target, sample_weight)[0]
        with device_scope(prediction):
            return self.forward(prediction, target)

    @abstractmethod
    def forward(self, prediction: Any, target: Any) -> Tensor:
        """Return the loss of `prediction` against `target`, reduced."""

    def mean_and_weight(
        self, prediction: Any, target: Any, *, sample_weight: Any = None
    ) -> tuple[Tensor, float]:
        """Return the loss, and the number of items in its mean.

        Ignored items are not counted; with class weights or sample weights the number is the sum of
        the weights. It is the weight of the batch in a mean over several batches.

        Raises:
            ValueError: for ``reduction='none'``.

        >>> from nn_losses import SoftmaxCrossEntropyLoss
        >>> loss = SoftmaxCrossEntropyLoss(ignore_index=-1)
        >>> loss.mean_and_weight([[0.0, 0.0], [1.0, 0.0]], [0, -1])
        (Tensor(0.6931472), 1.0)
        """
        return self._with_weight(self.reduction, prediction, target, sample_weight)

    def sum_and_weight(
        self, prediction: Any, target: Any, *, sample_weight: Any = None
    ) -> tuple[Tensor, float]:
        """Return the sum of the losses, and the number of items in their mean.

        >>> from nn_losses import MSELoss
        >>> MSELoss().sum_and_weight([1.0, 2.0], [1.0, 4.0])
        (Tensor(4.), 2.0)
        >>> MSELoss().sum_and_weight([1.0, 2.0], [1.0, 4.0], sample_weight=[1.0, 3.0])
        (Tensor(12.), 4.0)
        """
        return self._with_weight("sum", prediction, target, sample_weight)

    def _with_weight(
        self, reduction: Any, prediction: Any, target: Any, sample_weight: Any
    ) -> tuple[Tensor, float]:
        if reduction == "none":
            raise ValueError("reduction: 'none' has no mean; expected 'mean' or 'sum'")
        loss, counts = self._counting(reduction, prediction, target, sample_weight)
        if counts:
            return loss, float(counts[-1])
        shape = np.shape(target)  # a forward without `reduce`: the examples are counted
        return loss, float(shape[0] if shape else 1)

    def _counting(
        self, reduction: Any, prediction: Any, target: Any, sample_weight: Any
    ) -> tuple[Tensor, list[Any]]:
        """Return the loss, and what `reduce` has divided by."""
        # A copy, so that a loss can be called by several threads.
        counts: list[Any] = []
        counting = object.__new__(type(self))
        counting.__dict__.update(self.__dict__, reduction=reduction, _counts=counts)
        if sample_weight is not None:
            weight = counting._sample_weight = read_sample_weight(sample_weight)
            prediction, target = (without_absent(x, weight) for x in (prediction, target))
        loss = counting(prediction, target)
        if sample_weight is not None and not counts:
            raise TypeError(
                f"sample_weight: {type(self).__name__}.forward does not end with self.reduce(...), "
                "which applies the weights"
            )
        return loss, counts

    def _note_count(self, count: Any) -> None:
        if self._counts is not None:
            self._counts.append(count)

    def reduce(self, losses: Tensor, count: Any = None) -> Tensor:
        """Return the mean or the sum of `losses`, or `losses` themselves, as `reduction` says.

        Args:
            losses: the losses of all examples.
            count: the number that the mean divides the sum by, or an array with the weight of each
                loss in it, on the device of `losses`; by default the number of losses. A number
                cannot be combined with sample weights.
        """
        if self._sample_weight is None:
            return self._reduce(losses, count)
        weighted, count = weigh(losses, self._sample_weight, count)
        return self._reduce(weighted, count).astype(losses.dtype)

    def _reduce(self, losses: Tensor, count: Any) -> Tensor:
        if getattr(count, "ndim", 0):
            count = external(_total, count, current_observer() is not None)
        self._note_count(losses.size if count is None else count)
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
        factor, offset = external(_factor_and_offset, count, losses.size, average.dtype)
        return average * factor + offset

    def extra_repr(self) -> str:
        """Return the options that ``repr`` shows before the reduction."""
        return ""

    def __repr__(self) -> str:
        options = [self.extra_repr(), f"reduction={self.reduction!r}"]
        return f"{type(self).__name__}({', '.join(filter(None, options))})"


def _total(weights: Any, static: bool) -> Any:
    """Return the sum of weights; if static as an array, whose value no branch may read."""
    total = weights.sum(dtype=np.float64)
    return np.asarray(total) if static and isinstance(total, np.generic) else total


def _factor_and_offset(count: Any, size: int, dtype: Any) -> tuple[Any, Any]:
    """Return what turns a mean over `size` losses into one over `count`: NaN if that is 0."""
    xp = array_module(count)
    nothing = count == 0
    with np.errstate(divide="ignore"):
        factor = xp.where(nothing, 1, size / count)
    # adding -0 changes no number
    return factor.astype(dtype), xp.where(nothing, math.nan, -0.0).astype(dtype)
