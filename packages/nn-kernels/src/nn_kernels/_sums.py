"""Sums over the elements of a row; NaN and infinity stay what they are.

They serve float32 and float64, and are called as `_rows.row_loop` says: with the number of
elements, and the place of the first one in each array (`_rows.at`).
"""

from __future__ import annotations

from typing import Any

from nn_kernels._rows import row_loop

__all__ = ["sum_of", "sum_of_products", "sum_of_squares"]


@row_loop(sums=1)
def sum_of(x: Any) -> Any:
    """Return the sum of the elements."""
    return x


@row_loop(sums=1)
def sum_of_squares(x: Any, mean: Any) -> Any:
    """Return the sum of the squared differences from `mean`."""
    difference = x - mean
    return difference * difference


@row_loop(sums=1)
def sum_of_products(x: Any, y: Any) -> Any:
    """Return the sum of ``x * y``."""
    return x * y
