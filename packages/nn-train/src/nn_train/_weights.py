"""Losses as a mean and the weight of that mean, with weights of examples and classes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from nn_tensor import Tensor
from nn_tensor.extend import array_module, check_integer, check_number, describe, device_of, put

from nn_train._means import count_examples

__all__ = ["ClassWeight", "check_takes_weights", "mean_and_weight"]

_NAME = "class_weight"


def mean_and_weight(loss: Any) -> Callable[..., tuple[Any, float]]:
    """Return the function that gives the loss and the number of items of its mean."""
    if hasattr(loss, "mean_and_weight"):
        return loss.mean_and_weight
    if hasattr(loss, "sum_and_weight"):
        is_sum = getattr(loss, "reduction", "mean") == "sum"

        def from_sum(prediction: Any, target: Any, **options: Any) -> tuple[Any, float]:
            total, weight = loss.sum_and_weight(prediction, target, **options)
            return (total if is_sum or not weight else total * (1 / weight)), weight

        return from_sum

    def counted(prediction: Any, target: Any, **options: Any) -> tuple[Any, float]:
        weights = options.get("sample_weight")
        count = count_examples(target) if weights is None else float(_array(weights).sum())
        return loss(prediction, target, **options), count

    return counted


def check_takes_weights(loss: Any) -> None:
    """Raise unless the function that `mean_and_weight` calls has an argument ``sample_weight``."""
    function = next(
        (
            getattr(loss, name)
            for name in ("mean_and_weight", "sum_and_weight")
            if hasattr(loss, name)
        ),
        loss,
    )
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):  # of a builtin: the call itself tells
        return
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    if "sample_weight" not in parameters and not takes_any:
        name = getattr(loss, "__qualname__", type(loss).__name__)
        raise TypeError(
            f"loss: {name} takes no sample_weight; expected a loss of nn-losses, or a function of "
            "(prediction, target, sample_weight=...)"
        )


def _array(values: Any) -> Any:
    return values.data if isinstance(values, Tensor) else np.asarray(values)


class ClassWeight:
    """The weights of the classes.

    Args:
        weights: a dict by class index, or a number for each class.

    >>> import numpy as np
    >>> ClassWeight({1: 5.0}).of(np.zeros((3, 2)), np.array([0, 1, 1]), None)
    array([1., 5., 5.])
    """

    def __init__(self, weights: Mapping[int, float] | Sequence[float]) -> None:
        numbers: dict[int, float]
        self._complete = not isinstance(weights, Mapping)
        if isinstance(weights, Mapping):
            numbers = {
                check_integer(f"{_NAME}: the class", key, minimum=0): value
                for key, value in weights.items()
            }
        elif isinstance(weights, str | bytes) or not hasattr(weights, "__len__"):
            raise TypeError(
                f"{_NAME}: expected a dict by class index, or a number for each class, "
                f"got {describe(weights)}"
            )
        else:
            numbers = dict(enumerate(weights))
        if not numbers:
            raise ValueError(f"{_NAME}: has no weights")
        # The last entry is for classes without a weight and for ignored indices.
        self._table = np.ones(max(numbers) + 2)
        for key, value in numbers.items():
            self._table[key] = check_number(f"{_NAME}[{key}]", value, minimum=0)

    def numbers(self) -> list[float]:
        """Return the weights of the classes from 0 on."""
        values: list[float] = self._table[:-1].tolist()
        return values

    def of(self, prediction: Any, target: Any, sample_weight: Any) -> Any:
        """Return the weight of each target, times that of its example.

        Raises:
            TypeError: if the targets are not class indices.
            ValueError: if the number of classes of the prediction, or the shape of the sample
                weights, does not fit.
        """
        classes = _array(target)
        if classes.dtype.kind not in "biu":
            raise TypeError(
                f"{_NAME}: expected targets of class indices, got {classes.dtype} of shape "
                f"{classes.shape}"
            )
        given = len(self._table) - 1
        shape = prediction.shape
        count = 2 if classes.shape == shape else shape[-1]
        if given > count or (self._complete and given != count):
            raise ValueError(
                f"{_NAME}: has weights for the classes 0 to {given - 1}, but the prediction has "
                f"{count} classes (its shape is {shape})"
            )
        xp = array_module(classes)
        known = (classes >= 0) & (classes < given)
        table = put(self._table, device_of(classes))
        weights = table[xp.where(known, classes, given).astype(np.int64)]
        if sample_weight is not None:
            own = _array(sample_weight)
            if not own.ndim or own.shape != weights.shape[: own.ndim]:
                raise ValueError(
                    f"sample_weight: expected the shape {weights.shape[:1]}, a weight for each "
                    f"example, got {own.shape}"
                )
            own = put(own, device_of(classes))
            weights = weights * own.reshape(own.shape + (1,) * (weights.ndim - own.ndim))
        return weights

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.numbers()})"
