"""The lengths of sequences: numbers, or a mask, as an array on the host."""

from __future__ import annotations

from typing import Any

import numpy as np
from nn_tensor import Tensor
from nn_tensor.extend import describe

__all__ = ["read_lengths"]


def read_lengths(lengths: Any, batch: int, time: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the lengths of a batch of sequences.

    Args:
        lengths: an integer for each sequence, or booleans ``(batch, time)``, True at each step that
            is not padding. What is on a CUDA device is copied once.
        batch: the number of sequences.
        time: the number of steps, padding included.

    Raises:
        ValueError: if the number of lengths is not `batch`, one is out of range, or a mask has
            another shape or padding before the end of a sequence.
        TypeError: if they are neither integers nor booleans.

    >>> read_lengths([[True, True, False], [True, False, False]], 2, 3).tolist()
    [2, 1]
    """
    array: Any = lengths.numpy() if isinstance(lengths, Tensor) else lengths
    if hasattr(array, "__cuda_array_interface__"):
        array = array.get()  # of CuPy
    array = np.asarray(array)
    if np.ma.is_masked(lengths):
        raise TypeError("lengths: a masked array would lose its mask; use .filled(...)")
    if array.dtype == np.dtype(bool):
        return _of_mask(array, batch, time)
    if array.size == 0 and array.dtype.kind == "f":  # an empty list
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu":
        raise TypeError(
            f"lengths: expected an integer for each sequence, or a boolean mask, got "
            f"{describe(lengths)}"
        )
    if array.shape != (batch,):
        raise ValueError(
            f"lengths: expected {batch} lengths, one for each sequence, got shape {array.shape}"
        )
    wrong = (array < 0) | (array > time)
    if wrong.any():
        position = int(np.argmax(wrong))
        raise ValueError(
            f"lengths[{position}]: expected 0 to {time}, the number of steps, got {array[position]}"
        )
    return array.astype(np.int64)


def _of_mask(mask: Any, batch: int, time: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    if mask.shape != (batch, time):
        raise ValueError(
            f"lengths: expected a mask of shape ({batch}, {time}), got shape {mask.shape}"
        )
    counts = mask.sum(1, dtype=np.int64)
    wrong = (mask != (np.arange(time) < counts[:, None])).any(1)
    if wrong.any():
        raise ValueError(
            f"lengths: row {int(np.argmax(wrong))} of the mask has padding before the end of the "
            "sequence; expected True at its steps and False at the padding after them (pad on the "
            "right)"
        )
    return counts
