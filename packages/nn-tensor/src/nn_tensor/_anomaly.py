"""What `detect_anomaly` checks: where a NaN first appears, and whether saved arrays changed."""

from __future__ import annotations

from typing import Any

import numpy as np

from nn_tensor._caller import caller
from nn_tensor._device import namespace_of
from nn_tensor._dtype import is_floating
from nn_tensor._graph import Node, Variable, arrays_in

__all__ = ["Origin", "check_result", "has_nan"]


def has_nan(value: Any) -> bool:
    """Return whether an array or Tensor of floating numbers holds a NaN."""
    array = value._data if isinstance(value, Variable) else value
    dtype = getattr(array, "dtype", None)
    if dtype is None or (dtype.kind != "c" and not is_floating(dtype)):
        return False
    return bool(namespace_of(array).isnan(array).any())


def _checksum(array: Any) -> int:
    import zlib

    host = array if isinstance(array, (np.ndarray, np.generic)) else array.get()
    return zlib.crc32(np.ascontiguousarray(host).tobytes())


class Origin:
    """Where a node was recorded, and what the arrays that it saved held."""

    __slots__ = ("name", "place", "sums")

    def __init__(self, node: Node, description: str) -> None:
        self.name = description
        self.place = caller()
        self.sums = [_checksum(array) for array in arrays_in(node.edges or ())]

    def check_saved(self, node: Node) -> None:
        for array, before in zip(arrays_in(node.edges or ()), self.sums, strict=True):
            if _checksum(array) != before:
                raise RuntimeError(
                    f"{self.name} called at {self.place} saved an array of shape {array.shape} "
                    "that was changed in place before backward"
                )

    def check_gradient(self, rule: Any, incoming: Any, outgoing: Any) -> None:
        if has_nan(outgoing) and not has_nan(incoming):
            raise FloatingPointError(
                f"the gradient of {self.name} with respect to {rule.label} holds NaN; it was "
                f"called at {self.place}"
            )


def check_result(description: str, values: list[Any], result: Variable) -> None:
    """Raise if a call produced NaN from inputs without NaN; remember where it was recorded."""
    if has_nan(result._data) and not any(map(has_nan, values)):
        raise FloatingPointError(
            f"{description} produced NaN from inputs without NaN, called at {caller()}"
        )
    if isinstance(result._node, Node):
        result._node.debug = Origin(result._node, description)
