"""Sums over consecutive elements, in several lanes at a time; NaN and infinity stay what they are.

They serve float32 and float64: the sum has the dtype of the array.
"""

from __future__ import annotations

import numpy as np

from nn_kernels._compile import jit

__all__ = ["sum_of", "sum_of_products", "sum_of_squares"]


@jit("reassoc", "contract")
def sum_of(x, start, count):  # type: ignore[no-untyped-def]
    """Return the sum of `count` elements from `start` on."""
    total = x.dtype.type(0)
    for i in range(np.uintp(count)):
        total += x[start + i]
    return total


@jit("reassoc", "contract")
def sum_of_squares(x, start, count, mean):  # type: ignore[no-untyped-def]
    """Return the sum of the squared differences from `mean`."""
    total = x.dtype.type(0)
    for i in range(np.uintp(count)):
        difference = x[start + i] - mean
        total += difference * difference
    return total


@jit("reassoc", "contract")
def sum_of_products(x, y, start, count):  # type: ignore[no-untyped-def]
    """Return the sum of ``x * y``."""
    total = x.dtype.type(0)
    for i in range(np.uintp(count)):
        total += x[start + i] * y[start + i]
    return total
