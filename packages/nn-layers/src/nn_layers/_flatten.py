"""`Flatten`: from images to rows."""

from __future__ import annotations

import math
from typing import Any

from nn_tensor import Tensor

from nn_layers._inputs import as_tensor
from nn_layers._module import Base_Layer

__all__ = ["Flatten"]


class Flatten(Base_Layer):
    """Each sample's values in a row: all axes but the first become one.

    Shapes: ``(batch, ...)`` to ``(batch, features)``. The dtype stays, and gradients get the
    shape of the input again.

    Raises:
        ValueError: when called, if the input has no axes.

    >>> from nn_tensor import ones
    >>> Flatten()(ones(2, 3, 4, 5)).shape
    (2, 60)
    """

    def forward(self, x: Any) -> Tensor:
        """Return `x` as ``(batch, features)``."""
        x = as_tensor(x)
        if x.ndim == 0:
            raise ValueError("input has no axes, expected (batch, ...)")
        return x.reshape(x.shape[0], math.prod(x.shape[1:]))
