"""`ClassLoss`, the base of losses with class weights and an ignored class index."""

from __future__ import annotations

from typing import Any

import numpy as np
from nn_tensor import Tensor
from nn_tensor.extend import (
    array_module,
    array_of,
    check_integer,
    current_observer,
    device_of,
    external,
    keyword_only,
    put,
)

from nn_losses._inputs import read_weights, widen
from nn_losses._loss import Loss, Reduction

__all__ = ["ClassLoss", "as_examples", "as_rows"]


def as_rows(scores: Tensor) -> Tensor:
    """Return `scores` as a matrix with a row for each example, in float32 at least."""
    rows = scores if scores.ndim == 2 else scores.reshape(-1, scores.shape[-1])
    return widen(rows)


def as_examples(losses: Tensor, scores: Tensor) -> Tensor:
    """Return the losses of `as_rows` in the shape of `scores` without the classes."""
    return losses if scores.ndim == 2 else losses.reshape(scores.shape[:-1])


class ClassLoss(Loss):
    """A loss against class indices, with a weight for each class and an index that is ignored."""

    @keyword_only
    def __init__(
        self, reduction: Reduction = "mean", *, weight: Any = None, ignore_index: int | None = None
    ) -> None:
        super().__init__(reduction)
        self.weight: np.ndarray[Any, Any] | None = (
            None if weight is None else read_weights("weight", weight)
        )
        if self.weight is not None and self.weight.ndim != 1:
            raise ValueError(f"weight: expected shape (classes,), got shape {self.weight.shape}")
        self.ignore_index: int | None = (
            None if ignore_index is None else check_integer("ignore_index", ignore_index)
        )

    def weight_for(self, scores: Tensor) -> Any:
        """Return the class weights in the dtype and on the device of `scores`, or None."""
        if self.weight is None:
            return None
        if len(self.weight) != scores.shape[-1]:
            raise ValueError(
                f"weight: has {len(self.weight)} entries, but the prediction {scores.shape[-1]} "
                f"classes (its shape is {scores.shape})"
            )
        return external(self._weight_as, scores.dtype, device_of(scores))

    def _weight_as(self, dtype: Any, device: Any) -> Any:
        return put(np.asarray(self.weight).astype(dtype), device)

    def examples(self, target: Tensor, weight: Any, dtype: Any) -> tuple[Any, Any]:
        """Return the class of each example and its weight.

        The weight is None if each example counts 1. Ignored ones have class 0 and weight 0.
        """
        if current_observer() is None:
            return self._examples(target.data, weight, dtype, target.xp is not np)
        if weight is None and self.ignore_index is None:  # operations, which are recorded
            rows = target if target.ndim == 1 else target.reshape(-1)
            return array_of(rows.astype(np.int64)), None
        # neither a device nor a program that is recorded waits for whether one is ignored
        found: tuple[Any, Any] = external(self._examples, target, weight, dtype, True)
        return found

    def _examples(self, target: Any, weight: Any, dtype: Any, static: bool) -> tuple[Any, Any]:
        xp = array_module(target)
        classes = target.reshape(-1).astype(np.int64, copy=False)
        scale = None
        if self.ignore_index is not None:
            ignored = classes == self.ignore_index
            if static or ignored.any():  # if static the sum may count each example as 1
                classes = xp.where(ignored, 0, classes)
                scale = (~ignored).astype(dtype)
        if weight is not None:
            scale = weight[classes] if scale is None else weight[classes] * scale
        return classes, scale

    def extra_repr(self) -> str:
        """Return the class weights and the ignored index."""
        parts = [
            "" if self.weight is None else f"weight={self.weight.tolist()}",
            "" if self.ignore_index is None else f"ignore_index={self.ignore_index}",
        ]
        return ", ".join(filter(None, parts))
