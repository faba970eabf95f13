"""Reading predictions and targets: what they may be, checked before anything is computed."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from nn_tensor import Tensor
from nn_tensor.extend import describe, device_of

__all__ = [
    "among",
    "check_indices",
    "check_probabilities",
    "integer",
    "number",
    "read_classes",
    "read_like",
    "read_logits",
    "read_prediction",
    "weights",
]


def read_prediction(prediction: Any) -> Tensor:
    """Return `prediction` as a floating Tensor, or raise."""
    scores = prediction if isinstance(prediction, Tensor) else Tensor(prediction)
    if scores.dtype.kind != "f":
        raise TypeError(f"prediction: expected a floating dtype, got {scores.dtype}")
    return scores


def read_logits(prediction: Any) -> Tensor:
    """Return `prediction`, scores of classes along its last axis, as a Tensor, or raise."""
    logits = read_prediction(prediction)
    if logits.ndim == 0 or logits.shape[-1] == 0:
        raise ValueError(
            f"prediction: expected shape (..., classes) with at least one class, got {logits.shape}"
        )
    return logits


def _read_target(prediction: Tensor, target: Any) -> Tensor:
    if isinstance(target, Tensor):
        values = target
    else:  # what has a dtype has a place of its own, and is not moved behind its owner's back
        values = Tensor(target, None if hasattr(target, "dtype") else prediction.device)
    if values.dtype.kind not in "biuf":
        raise TypeError(f"target: expected real numbers, got {values.dtype}")
    if device_of(values.data) != device_of(prediction.data):
        raise ValueError(
            f"target: is on {values.device}, the prediction on {prediction.device}; move one "
            "with .to(...)"
        )
    return values


def read_like(prediction: Tensor, target: Any) -> Tensor:
    """Return `target` as a Tensor of the shape and dtype of `prediction`, or raise."""
    values = _read_target(prediction, target)
    if values.shape != prediction.shape:
        raise ValueError(
            f"target: shape {values.shape} differs from the prediction's shape {prediction.shape}"
        )
    return values.astype(prediction.dtype)


def check_probabilities(name: str, values: Any) -> None:
    """Raise if a number in the array `values` is outside [0, 1]; NaN is let through."""
    wrong = (values < 0) | (values > 1)
    if wrong.any():
        raise ValueError(
            f"{name}: probabilities lie between 0 and 1, got {values[wrong].reshape(-1)[0].item()}"
        )


def check_indices(name: str, values: Any, count: int, ignored: int | None = None) -> None:
    """Raise unless the integers in the array `values` are classes below `count`, or `ignored`."""
    wrong = (values < 0) | (values >= count)
    also = ""
    if ignored is not None:
        wrong &= values != ignored
        also = f" or ignore_index={ignored}"
    if wrong.any():
        first = values[wrong].reshape(-1)[0].item()
        raise IndexError(f"{name}: class {first} does not exist, expected 0 to {count - 1}{also}")


def read_classes(
    prediction: Tensor, target: Any, ignore_index: int | None = None
) -> tuple[Tensor, bool]:
    """Return `target` as a Tensor, and whether it holds the indices of classes, or raise.

    A target with one axis less than `prediction` holds indices; one with as many axes holds a
    probability for each class, of which one-hot is a case, and takes the prediction's dtype.
    Among indices `ignore_index` is allowed.
    """
    given = _read_target(prediction, target)
    values = given.data
    if given.shape == prediction.shape:
        check_probabilities("target", values)
        return given.astype(prediction.dtype), False
    if given.shape != prediction.shape[:-1]:
        raise ValueError(
            f"target: shape {given.shape} does not fit the prediction's shape {prediction.shape}: "
            f"expected class indices of shape {prediction.shape[:-1]}, or one-hot or "
            f"probabilities of shape {prediction.shape}"
        )
    if given.dtype.kind not in "iu":
        raise TypeError(
            f"target: class indices must be integers, got {given.dtype} of shape {given.shape} "
            f"for a prediction of shape {prediction.shape}"
        )
    check_indices("target", values, prediction.shape[-1], ignore_index)
    return given, True


def number(name: str, value: Any) -> float:
    """Return the setting `value` as a float, or raise."""
    try:
        if isinstance(value, (bool, np.bool_, str)):
            raise TypeError
        return float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name}: expected a number, got {value!r}") from None


def integer(name: str, value: Any, least: int | None = None) -> int:
    """Return the setting `value` as an int of at least `least`, or raise."""
    expected = "an integer" if least is None else f"an integer of at least {least}"
    try:
        result = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: expected {expected}, got {value!r}") from None
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}: expected {expected}, got {value!r}")
    if least is not None and result < least:
        raise ValueError(f"{name}: expected {expected}, got {value!r}")
    return result


def weights(name: str, value: Any, axes: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """Return the setting `value`, numbers of at least 0, as a host array of float64, or raise.

    `axes` are the numbers of axes that it may have.
    """
    try:
        array = value.numpy() if isinstance(value, Tensor) else np.asarray(value)
    except (TypeError, ValueError):
        array = np.array(None)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name}: expected numbers, got {describe(value)}")
    if array.ndim not in axes:
        counts = " or ".join(map(str, axes))
        raise ValueError(f"{name}: expected {counts} axes, got shape {array.shape}")
    wrong = ~(np.isfinite(array) & (array >= 0))
    if wrong.any():
        first = array[wrong].reshape(-1)[0].item()
        raise ValueError(f"{name}: expected finite numbers of at least 0, got {first}")
    return array.astype(np.float64)


def among(name: str, value: Any, choices: tuple[str, ...]) -> None:
    """Raise unless the setting `value` is one of `choices`."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name}: expected one of {choices}, got {value!r}")
