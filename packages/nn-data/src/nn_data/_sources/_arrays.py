"""Sources of arrays: NumPy's in memory or mapped from a file, and what is indexed like them."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nn_data._sources._source import Indices, Source

__all__ = ["ArraySource", "ForeignArraySource", "SortedArraySource"]

_SAMPLED_ROWS = 64


class ArraySource(Source):
    """The rows of a NumPy array: copies where they are taken, read-only views where sliced."""

    def __init__(self, array: NDArray[Any], name: str) -> None:
        if array.dtype == object:
            raise TypeError(
                f"{name} is an object array, which cannot be batched: give an array of numbers or "
                "strings, or a list with collate=Pad() where the samples have unequal lengths"
            )
        if isinstance(array, np.ma.MaskedArray):
            raise TypeError(f"{name} is a masked array, whose mask would be lost: give filled()")
        if array.ndim == 0:
            raise ValueError(f"{name} has no dimension for the samples: its shape is ()")
        # A view: a batch must not be a numpy.memmap, nor a way to write into the data.
        self._array = np.asarray(array).view()
        self._array.flags.writeable = False
        self._is_trusted = True
        self._is_contiguous = self._array.flags.c_contiguous and self._array.flags.aligned

    def __len__(self) -> int:
        return len(self._array)

    def take(self, indices: Indices) -> NDArray[Any]:
        """Return the rows at `indices`, as a contiguous array."""
        if self._is_contiguous:
            return self._array.take(indices, 0)
        # numpy.take would first copy the whole array: a column of a table, a mapped field.
        return np.ascontiguousarray(self._array[indices])

    def slice(self, start: int, stop: int) -> NDArray[Any]:
        """Return a read-only view of the rows from `start` to before `stop`."""
        return self._array[start:stop]

    def signature(self) -> str:
        """Name dtype and shape of a sample, and hash some rows of integers, strings and times.

        The last bits of floating values may differ between machines for the same data.
        """
        array = self._array
        text = f"{array.dtype}{list(array.shape[1:])}"
        if array.dtype.kind not in "biuSUmM" or not len(array):
            return text
        rows = np.linspace(0, len(array) - 1, _SAMPLED_ROWS).astype(np.intp)
        content = np.ascontiguousarray(array[rows]).tobytes()
        return f"{text}:{hashlib.blake2b(content, digest_size=4).hexdigest()}"


class ForeignArraySource(Source):
    """The rows of an array of another library, indexed as it does; batches are its arrays."""

    def __init__(self, array: Any, name: str) -> None:
        if len(array.shape) == 0:
            raise ValueError(f"{name} has no dimension for the samples: its shape is ()")
        self._array = array

    def __len__(self) -> int:
        return int(self._array.shape[0])

    def take(self, indices: Indices) -> Any:
        """Return the rows at `indices`."""
        return self._array[indices]

    def slice(self, start: int, stop: int) -> Any:
        """Return the rows from `start` to before `stop`."""
        return self._array[start:stop]

    def signature(self) -> str:
        """Name dtype and shape of a sample."""
        return f"{self._array.dtype}{list(self._array.shape[1:])}"


class SortedArraySource(ForeignArraySource):
    """The rows of an array in a file, such as HDF5, read in increasing order and once each."""

    def take(self, indices: Indices) -> NDArray[Any]:
        """Return the rows at `indices`."""
        increasing, inverse = np.unique(indices, return_inverse=True)
        return np.asarray(self._array[increasing])[inverse]
