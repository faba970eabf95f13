"""Sums of large arrays, which several threads compute where the ``fast`` extra is installed."""

from __future__ import annotations

from typing import Any

import numpy as np

from nn_tensor._kernel import kernel

__all__ = ["LARGE", "add_large", "is_large"]

LARGE = 1 << 16  # elements, up to which NumPy is as fast
_ndarray = np.ndarray


def is_large(x: Any) -> bool:
    """Return whether `x` is an array of NumPy with so many elements that `add_large` pays."""
    return type(x) is _ndarray and x.size >= LARGE


@kernel
def add_large(xp: Any, x: Any, y: Any, out: Any) -> Any:
    """Return ``x + y``, in a new array if `out` is None.

    The compiled kernel, for contiguous float32 of one shape, does not warn of overflow.
    """
    return xp.add(x, y, out=out)


add_large.cpu("add")
