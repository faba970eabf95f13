"""`Reshape`: the values of each sample in another shape."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

from nn_tensor import Tensor

from nn_layers._inputs import as_tensor
from nn_layers._module import Base_Layer

__all__ = ["Reshape"]


class Reshape(Base_Layer):
    """Each sample's values, in their order, in another shape; the batch axis stays.

    Shapes: ``(batch, ...)`` to ``(batch, *shape)``. The dtype stays.

    Args:
        shape: the lengths of the axes after the first. One may be -1: what is left.
        name: shown in the description and in errors.

    Raises:
        ValueError: if a length is less than 1, or more than one is -1; when called, if the input
            has no axes, or its samples another number of values.
        TypeError: if a length is not an integer.

    >>> from nn_tensor import ones
    >>> Reshape((4, 4, -1))(ones(2, 48)).shape
    (2, 4, 4, 3)
    """

    def __init__(self, shape: int | Sequence[int], name: str | None = None) -> None:
        super().__init__()
        given = tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)
        try:
            self.shape = tuple(operator.index(length) for length in given)
        except TypeError:
            raise TypeError(f"shape: expected integers, got {shape!r}") from None
        if any(length < 1 and length != -1 for length in self.shape) or self.shape.count(-1) > 1:
            raise ValueError(
                f"shape: expected lengths of at least 1, and -1 at most once, got {shape!r}"
            )
        self.name = name

    def forward(self, x: Any) -> Tensor:
        """Return `x` as ``(batch, *shape)``."""
        x = as_tensor(x)
        if x.ndim == 0:
            raise ValueError("input has no axes, expected (batch, ...)")
        values = math.prod(x.shape[1:])
        known = math.prod(length for length in self.shape if length != -1)
        left = values // known if -1 in self.shape else 1
        if left * known != values:
            raise ValueError(
                f"input of shape {x.shape} has {values} values in each sample, which do not fit "
                f"into {self.shape}"
            )
        return x.reshape(x.shape[0], *(left if length == -1 else length for length in self.shape))

    def extra_repr(self) -> str:
        """Return the lengths."""
        return "×".join(map(str, self.shape))
