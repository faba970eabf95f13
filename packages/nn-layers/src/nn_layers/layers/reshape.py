"""`Flatten` and `Reshape`: the elements of each sample in another shape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from nn_tensor import Tensor
from nn_tensor.extend import check_shape, keyword_only

from nn_layers.layers.inputs import as_tensor
from nn_layers.module.base_layer import Base_Layer

__all__ = ["Flatten", "Reshape"]


class Flatten(Base_Layer):
    """Flattens all dimensions but the batch.

    Shapes: ``(batch, ...)`` to ``(batch, features)``. The dtype is kept.

    Raises:
        ValueError: when called, if the input has no dimensions.

    >>> from nn_tensor import ones
    >>> Flatten()(ones(2, 3, 4, 5)).shape
    (2, 60)
    """

    def forward(self, x: Any) -> Tensor:
        """Return `x` as ``(batch, features)``."""
        x = _batch(x)
        return x.reshape(x.shape[0], math.prod(x.shape[1:]))


class Reshape(Base_Layer):
    """Reshapes each sample; the batch dimension stays.

    Shapes: ``(batch, ...)`` to ``(batch, *shape)``. The dtype is kept.

    Args:
        shape: the sizes of the dimensions after the batch. One may be -1: it is inferred.
        name: the name shown by ``repr`` and in errors.

    Raises:
        ValueError: if a size is less than 1, or more than one is -1; when called, if the input
            has no dimensions, or its samples another number of elements.
        TypeError: if a size is not an integer.

    >>> from nn_tensor import ones
    >>> Reshape((4, 4, -1))(ones(2, 48)).shape
    (2, 4, 4, 3)
    """

    @keyword_only
    def __init__(self, shape: int | Sequence[int], *, name: str | None = None) -> None:
        super().__init__()
        self.shape: tuple[int, ...] = check_shape("shape", shape, -1)
        if 0 in self.shape or self.shape.count(-1) > 1:
            raise ValueError(f"shape: expected sizes >= 1, and -1 at most once, got {shape!r}")
        self.name = name

    def forward(self, x: Any) -> Tensor:
        """Return `x` as ``(batch, *shape)``."""
        x = _batch(x)
        elements = math.prod(x.shape[1:])
        known = math.prod(size for size in self.shape if size != -1)
        inferred = elements // known if -1 in self.shape else 1
        if inferred * known != elements:
            raise ValueError(
                f"input of shape {x.shape} has {elements} elements in each sample, which do not "
                f"fit into {self.shape}"
            )
        return x.reshape(x.shape[0], *(inferred if size == -1 else size for size in self.shape))

    def extra_repr(self) -> str:
        """Return the sizes."""
        return "×".join(map(str, self.shape))


def _batch(x: Any) -> Tensor:
    x = as_tensor(x)
    if x.ndim == 0:
        raise ValueError("input has no dimensions, expected (batch, ...)")
    return x
