"""`WeightedLayer`: what layers of weights and a bias have in common."""

from __future__ import annotations

from typing import Any

import numpy as np
from nn_tensor import Tensor, zeros

from nn_layers.module.base_layer import Base_Layer

__all__ = ["WeightedLayer"]


class WeightedLayer(Base_Layer):
    """A layer with weights, and a bias that starts at 0 or is None."""

    weights: Tensor
    bias: Tensor | None

    def _new_bias(self, size: int) -> Tensor:
        return zeros(size, dtype=self.dtype, device=self.device, requires_grad=True)

    @property
    def device(self) -> str:
        """The device of the parameters."""
        return self.weights.device

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the parameters."""
        return self.weights.dtype
