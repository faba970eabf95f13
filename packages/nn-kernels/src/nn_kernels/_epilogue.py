"""The epilogue of a convolution: ReLU and max-pooling of outputs that are still in the cache.

A pass over the outputs takes as long as the memory needs to deliver them; right after they are
computed it costs next to nothing. The maxima of windows of 2×2 are a quarter of the outputs, which
themselves are then never written.

ReLU is a lower bound of the outputs, which without it is minus infinity: so no loop is needed
twice. Of pooled outputs the maxima are bounded, which gives the same.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from nn_kernels._compile import subroutine
from nn_kernels._pairs import max_of_some_windows
from nn_kernels._threads import address
from nn_kernels._vectors import WIDE

__all__ = ["NO_EPILOGUE", "Epilogue", "lower_bound", "write_maxima"]


class Epilogue(NamedTuple):
    """What follows a convolution.

    Args:
        relu: whether negative outputs become 0.
        index: bytes for the index of each maximum in its window of 2×2, of the shape of the
            maxima; None for no pooling.
    """

    relu: bool = False
    index: Any = None

    @property
    def numbers(self) -> tuple[int, int]:
        """What a job is given: the address of the index or 0, and whether there is ReLU."""
        return 0 if self.index is None else address(self.index), int(self.relu)


NO_EPILOGUE = Epilogue()


@subroutine(returns="float32")
def lower_bound(relu):  # type: ignore[no-untyped-def]
    """Return the number that replaces what is not above it."""
    return np.float32(0) if relu else np.float32(-np.inf)


@subroutine()
def write_maxima(  # type: ignore[no-untyped-def]
    values, start, line, pairs, columns, bias, bound, out, index, target, end
):  # fmt: skip
    """Write the maxima of pairs of rows, plus a bias, and where they are in their windows.

    Args:
        values: the outputs, in lines, with 32 elements after each row that may be read.
        start: the place of the first row.
        line: the distance between rows.
        pairs: the number of pairs of rows.
        columns: the number of windows in a row.
        bias: the bias, which is added before the elements are compared; -0.0 changes nothing.
        bound: that of the maxima.
        out: the maxima.
        index: the indices of the maxima.
        target: the place of the first.
        end: the end of the places that are written later: up to there, too much may be written.
    """
    for p in range(pairs):
        for q in range(0, columns, 16):
            upper = start + 2 * p * line + 2 * q
            place = target + p * columns + q
            whole = 0 if WIDE else 1 if place + 16 <= end or columns - q >= 16 else 0
            max_of_some_windows(
                values, upper, upper + line, bias, bound, columns - q, whole, out, index, place
            )
