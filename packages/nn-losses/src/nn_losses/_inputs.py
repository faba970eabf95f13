"""Checks of predictions and targets, before anything is computed."""

from __future__ import annotations

from typing import Any

import numpy as np
from nn_tensor import Tensor
from nn_tensor.extend import (
    accumulation_dtype,
    check_range,
    current_observer,
    describe,
    device_of,
    external,
    is_autocast_dtype,
    is_floating,
)

__all__ = [
    "check_indices",
    "check_probabilities",
    "read_classes",
    "read_logits",
    "read_prediction",
    "read_target",
    "read_weights",
    "widen",
]


def widen(x: Any) -> Any:
    """Return a Tensor or array of half precision in float32, and others as they are."""
    wide = accumulation_dtype(x.dtype)
    return x if wide is None else x.astype(wide)


def read_prediction(prediction: Any) -> Tensor:
    """Return `prediction` as a floating Tensor, or raise."""
    scores = prediction if isinstance(prediction, Tensor) else Tensor(prediction)
    if not is_floating(scores.dtype):
        raise TypeError(f"prediction: expected a floating dtype, got {scores.dtype}")
    return scores.astype(np.float32) if is_autocast_dtype(scores.dtype) else scores


def read_logits(prediction: Any) -> Tensor:
    """Return `prediction`, the logits of the classes along the last axis, as a Tensor, or raise."""
    logits = read_prediction(prediction)
    if logits.ndim == 0 or logits.shape[-1] == 0:
        raise ValueError(
            f"prediction: expected shape (..., classes) with at least one class, got {logits.shape}"
        )
    return logits


def _on_the_device_of(prediction: Tensor, target: Any) -> Tensor:
    if isinstance(target, Tensor):
        values = target
    else:  # arrays have a device of their own and are not moved silently; lists have none
        values = Tensor(target, None if hasattr(target, "dtype") else prediction.device)
    if values.dtype.kind not in "biuf":
        raise TypeError(f"target: expected real numbers, got {values.dtype}")
    if device_of(values) != device_of(prediction):
        raise ValueError(
            f"target: is on {values.device}, the prediction on {prediction.device}; move one "
            "with .to(...)"
        )
    return values


def read_target(prediction: Tensor, target: Any) -> Tensor:
    """Return `target` as a Tensor of the shape and dtype of `prediction`, or raise."""
    values = _on_the_device_of(prediction, target)
    if values.shape != prediction.shape:
        cure = ""
        if values.shape == (*prediction.shape, 1):
            cure = "; prediction[:, None] or target[:, 0] makes them equal"
        elif prediction.shape == (*values.shape, 1):
            cure = "; target[:, None] or prediction[:, 0] makes them equal"
        raise ValueError(
            f"target: shape {values.shape} differs from the prediction's shape "
            f"{prediction.shape}{cure}"
        )
    return values.astype(prediction.dtype)


def read_classes(
    prediction: Tensor, target: Any, ignore_index: int | None = None
) -> tuple[Tensor, bool]:
    """Return `target` as a Tensor, and whether it holds class indices, or raise.

    A target with one dimension less than `prediction` holds indices, among which `ignore_index` is
    allowed; one of the same shape holds a probability for each class, one-hot included, and takes
    the prediction's dtype.
    """
    given = _on_the_device_of(prediction, target)
    if given.shape == prediction.shape:
        check_probabilities("target", given)
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
    arguments = prediction.shape[-1], ignore_index
    if current_observer() is None:
        replaced = _replaced_indices(given.data, *arguments)
    else:
        replaced = external(_replaced_indices, given, *arguments)
    return given if replaced is None else Tensor(replaced), True


def _replaced_indices(values: Any, count: int, ignore_index: int | None) -> Any:
    """Check target classes; return those that take their place on CUDA, None on the CPU."""
    checked = check_indices("target", values, count, ignore_index)
    return None if checked is values else checked


def check_probabilities(name: str, values: Any) -> None:
    """Raise if a value in the Tensor or array `values` is outside [0, 1]; NaN passes.

    Of an array on a CUDA device the error comes when the next value is read.
    """
    external(_check_probabilities, name, values)


def _check_probabilities(name: str, values: Any) -> None:
    if values.dtype.kind not in "f":
        values = values.astype(np.float64)
    check_range(values, 0, 1, ValueError, f"{name}: probabilities lie between 0 and 1, got {{}}")


def check_indices(name: str, values: Any, count: int, ignore_index: int | None = None) -> Any:
    """Return the integers in the array `values`, or raise unless they are classes below `count`.

    Of an array on a CUDA device the error comes when the next value is read.
    """
    also = "" if ignore_index is None else f" or {ignore_index=}"
    message = f"{name}: class {{}} does not exist, expected 0 to {count - 1}{also}"
    return check_range(values, 0, count - 1, IndexError, message, ignore_index)


def read_weights(name: str, value: Any) -> np.ndarray[Any, Any]:
    """Return the option `value`, finite numbers >= 0, as a host array of float64, or raise."""
    try:
        array = value.numpy() if isinstance(value, Tensor) else np.asarray(value)
    except (TypeError, ValueError):  # nested lists of unequal lengths
        array = np.array(None)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name}: expected numbers, got {describe(value)}")
    if np.ma.is_masked(value):
        raise TypeError(f"{name}: a masked array would lose its mask; use .filled(...)")
    wrong = ~(np.isfinite(array) & (array >= 0))
    if wrong.any():
        first = array[wrong].reshape(-1)[0].item()
        raise ValueError(f"{name}: expected finite numbers >= 0, got {first}")
    return array.astype(np.float64)
