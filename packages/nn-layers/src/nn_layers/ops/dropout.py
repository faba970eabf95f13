"""The operation of dropout."""

from __future__ import annotations

from typing import Any

import numpy as np
from nn_tensor.extend import apply_dropout, op

__all__ = ["dropout"]


@op(keeps=("mask",))
def dropout(xp: Any, x: Any, /, p: float, rng: np.random.Generator) -> Any:
    """Set elements of `x` to 0 with probability `p`, and scale the others by ``1 / (1 - p)``.

    The generator draws a key, from which `apply_dropout` makes the same mask on all devices.
    """
    key = int(rng.integers(1 << 64, dtype=np.uint64))
    return apply_dropout(xp, x, p, (key, 0))


@dropout.gradient("x")
def _(g: Any, mask: Any) -> Any:
    return g * mask
