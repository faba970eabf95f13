"""The operation of dropout."""

from __future__ import annotations

from typing import Any

import numpy as np
from nn_tensor.extend import device_of, op, put

__all__ = ["dropout"]


@op(keeps=("mask",))
def dropout(xp: Any, x: Any, /, p: float, rng: np.random.Generator) -> Any:
    """Set elements of `x` to 0 with probability `p`, and scale the others by ``1 / (1 - p)``.

    The random numbers are drawn on the host, so that the mask is the same on all devices.
    """
    kept = rng.random(x.shape, np.float32) >= p
    mask = put(np.multiply(kept, 1 / (1 - p) if p < 1 else 0, dtype=x.dtype), device_of(x))
    return x * mask, mask


@dropout.gradient("x")
def _(g: Any, mask: Any) -> Any:
    return g * mask
