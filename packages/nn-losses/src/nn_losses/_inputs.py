"""Reading predictions and targets: what they may be, checked before anything is computed."""

from __future__ import annotations

from typing import Any

from nn_tensor import Tensor
from nn_tensor.extend import device_of

__all__ = ["read_classes", "read_like", "read_logits", "read_prediction"]


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


def read_classes(prediction: Tensor, target: Any) -> tuple[Tensor, bool]:
    """Return `target` as a Tensor, and whether it holds the indices of classes, or raise.

    A target with one axis less than `prediction` holds indices; one with as many axes holds a
    probability for each class, of which one-hot is a case, and takes the prediction's dtype.
    """
    given = _read_target(prediction, target)
    values = given.data
    if given.shape == prediction.shape:
        wrong = (values < 0) | (values > 1)
        if wrong.any():
            raise ValueError(
                "target: probabilities of classes lie between 0 and 1, got "
                f"{values[wrong][0].item()}"
            )
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
    count = prediction.shape[-1]
    wrong = (values < 0) | (values >= count)
    if wrong.any():
        raise IndexError(
            f"target: class {values[wrong][0].item()} does not exist, expected 0 to {count - 1}"
        )
    return given, True
