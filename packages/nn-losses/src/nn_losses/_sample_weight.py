"""Weights of the examples of a batch."""

from __future__ import annotations

from typing import Any

import numpy as np
from nn_tensor import Tensor, where
from nn_tensor.extend import array_module, check_range, describe, device_of, is_floating, put

from nn_losses._inputs import read_weights, widen

__all__ = ["broadcast_weight", "host_weight", "read_sample_weight", "weigh", "without_absent"]

_MESSAGE = "sample_weight: expected finite numbers >= 0, got {}"


def read_sample_weight(value: Any) -> Any:
    """Return the weights as an array of float64 where they are, or raise."""
    array = value.data if isinstance(value, Tensor) else value
    if not hasattr(array, "__cuda_array_interface__"):
        return read_weights("sample_weight", array)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"sample_weight: expected numbers, got {describe(value)}")
    array = array.astype(np.float64)
    check_range(array, 0, float(np.finfo(np.float64).max), ValueError, _MESSAGE)
    return array


def broadcast_weight(weight: Any, shape: tuple[int, ...], what: str = "losses") -> Any:
    """Return the weights, which have the first of these dimensions, in this shape, or raise."""
    if weight.shape != shape[: weight.ndim] or (weight.ndim == 0 and shape):
        raise ValueError(
            f"sample_weight: shape {weight.shape} does not fit the {what} of shape {shape}: "
            f"expected {shape[:1]}, a weight for each example"
            + (f", or {shape}" if len(shape) > 1 else "")
        )
    weight = weight.reshape(weight.shape + (1,) * (len(shape) - weight.ndim))
    return array_module(weight).broadcast_to(weight, shape)


def host_weight(sample_weight: Any, shape: tuple[int, ...]) -> Any:
    """Return a weight for each example of a metric as a host array of float64, or raise."""
    weight = put(read_sample_weight(sample_weight), device_of(np.empty(0)))
    return broadcast_weight(weight, shape, "examples")


def without_absent(values: Any, weight: Any) -> Any:
    """Return predictions or targets with 0 in place of what is not finite and has weight 0.

    An example of weight 0 counts as absent, and the product of 0 with infinity or NaN in the rules
    of a loss would make NaN of its gradient.

    Args:
        values: the argument of a loss: a Tensor, an array, or what one can be made of.
        weight: an array of the first dimensions of its shape; with others nothing changes.
    """
    data = values.data if isinstance(values, Tensor) else values
    data = data if hasattr(data, "dtype") else np.asarray(data)
    if not is_floating(data.dtype) or data.shape[: weight.ndim] != weight.shape:
        return values
    xp = array_module(data)
    absent = put(weight == 0, device_of(data))
    absent = absent.reshape(absent.shape + (1,) * (data.ndim - absent.ndim)) & ~xp.isfinite(data)
    if xp is np and not absent.any():
        return values
    if isinstance(values, Tensor):
        return where(absent, 0, values)
    clean = xp.where(absent, 0, data)
    return clean if hasattr(values, "dtype") else clean.tolist()


def weigh(losses: Tensor, weight: Any, count: Any = None) -> tuple[Tensor, Any]:
    """Return the losses multiplied by the weights of their examples, and how much each counts.

    Args:
        losses: the unreduced losses.
        weight: an array of the first dimensions of their shape.
        count: how much each counts without the weights; by default 1.
    """
    shape = losses.shape
    if count is not None and not getattr(count, "ndim", 0) and shape:
        raise TypeError(
            "sample_weight: forward calls reduce(losses, count) with a number; expected an array "
            "with how much each of the losses counts"
        )
    losses = widen(losses)  # half precision has no large sums of weights, and no small weights
    weight = broadcast_weight(put(weight, device_of(losses.data)), shape)
    counts = weight if count is None else weight * count.reshape(shape)
    # an example of weight 0 counts as absent, whatever its loss is; see `without_absent`
    present = where(weight == 0, 0, losses) * Tensor(weight.astype(losses.dtype))
    return present, counts
