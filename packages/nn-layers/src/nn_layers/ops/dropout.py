"""The operation of dropout."""

from __future__ import annotations

from typing import Any

import numpy as np
from nn_tensor.extend import dropout_mask, op

__all__ = ["dropout"]


@op(keeps=("mask",))
def dropout(xp: Any, x: Any, /, p: float, rng: np.random.Generator) -> Any:
    """Set elements of `x` to 0 with probability `p`, and scale the others by ``1 / (1 - p)``.

    The generator draws a key, from which `dropout_mask` makes the same mask on all devices.
    """
    key = int(rng.integers(1 << 64, dtype=np.uint64))
    mask = dropout_mask(xp, x.shape, x.dtype, p, (key, 0))
    return x * mask, mask


@dropout.gradient("x")
def _(g: Any, mask: Any) -> Any:
    return g * mask
