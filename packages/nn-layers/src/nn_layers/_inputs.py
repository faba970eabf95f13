"""Checks that layers share."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np
from nn_tensor import Tensor, parse_dtype

__all__ = ["as_tensor", "cast_like", "finite", "floating_type", "positive"]


def as_tensor(x: Any) -> Tensor:
    """Return `x` itself, or a Tensor of an array or nested list."""
    return x if isinstance(x, Tensor) else Tensor(x)


def cast_like(x: Tensor, weights: Tensor) -> Tensor:
    """Return a floating input in the dtype of the layer's `weights`.

    Raises:
        TypeError: for integers, which only layers that look something up take, and complex input.
    """
    if x.dtype == weights.dtype:
        return x
    if x.dtype.kind != "f":
        raise TypeError(
            f"input is {x.dtype}, expected floats; convert it with .astype('{weights.dtype}')"
        )
    return x.astype(weights.dtype)


def positive(name: str, value: Any) -> int:
    """Return `value` as an int of at least 1.

    Raises:
        TypeError: if it is not an integer.
        ValueError: if it is less than 1.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}: expected a positive integer, got {value!r}")
    if number < 1:
        raise ValueError(f"{name}: expected a positive integer, got {value!r}")
    return number


def finite(name: str, value: Any) -> float:
    """Return `value` as a finite float.

    Raises:
        TypeError: if it is not a number.
        ValueError: if it is infinite or NaN.
    """
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name}: expected a number, got {value!r}") from None
    if not math.isfinite(number):
        raise ValueError(f"{name}: expected a finite number, got {value!r}")
    return number


def floating_type(dtype: Any) -> np.dtype[Any]:
    """Return the dtype of parameters.

    Raises:
        TypeError: if it is not floating.
    """
    parsed = parse_dtype(dtype)
    if parsed.kind != "f":
        raise TypeError(f"dtype: expected a floating type for the parameters, got {parsed}")
    return parsed
