"""What the maps have in common: arrays read and checked, all problems in one error."""

from __future__ import annotations

from typing import Any

import numpy as np
from nn_tensor.extend import describe

__all__ = ["KINDS", "as_array", "check_shapes", "raise_problems"]

KINDS = {4: "LSTM", 3: "GRU", 1: "RNN"}
"""The layers by their numbers of gates."""


def as_array(name: str, value: Any) -> Any:
    """Return an array of another library as one of NumPy.

    Raises:
        TypeError: if it is not one of real numbers.
    """
    try:
        array = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
    except Exception as error:  # whatever another library's conversion raises
        raise TypeError(f"{name}: NumPy cannot read {describe(value)}: {error}") from None
    if array.dtype.kind != "f":
        raise TypeError(f"{name}: expected floats, got {describe(value)}")
    return array


def check_shapes(arrays: dict[str, Any], expected: dict[str, tuple[int, ...]]) -> list[str]:
    """Return a problem for each array that does not have its expected shape."""
    return [
        f"{name}: expected shape {shape}, got {arrays[name].shape}"
        for name, shape in expected.items()
        if name in arrays and arrays[name].shape != shape
    ]


def raise_problems(caller: str, problems: list[str]) -> None:
    """Raise one error with all problems, if there are any."""
    if problems:
        lines = "".join(f"\n  {problem}" for problem in problems)
        raise ValueError(f"{caller}: the weights do not fit{lines}")
