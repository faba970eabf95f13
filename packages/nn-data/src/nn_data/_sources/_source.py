"""What a source is, and sources that read one sample at a time."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nn_data._cancel import raise_if_cancelled
from nn_data._collate import Collate, stack
from nn_data._structure import map_structure

__all__ = ["Batch", "Indices", "ItemSource", "Source"]

Indices: TypeAlias = NDArray[np.intp]
Batch: TypeAlias = Any
"""An array or a list, or tuples and dicts of these."""


class Source(ABC):
    """Samples that are read by index, many at a time.

    A database or a file format becomes data for a `Loader` by a subclass with two methods. If the
    loader has workers, `take` is called by several threads at once.

    >>> class Squares(Source):
    ...     def __len__(self):
    ...         return 100
    ...     def take(self, indices):
    ...         return indices, indices**2
    >>> Squares()[3:6]
    (array([3, 4, 5]), array([ 9, 16, 25]))
    """

    _is_trusted = False  # to return as many samples as were asked for

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of samples."""

    @abstractmethod
    def take(self, indices: Indices) -> Batch:
        """Return the samples at `indices`, none of them negative or too large, as one batch."""

    def slice(self, start: int, stop: int) -> Batch:
        """Return the samples from `start` to before `stop`; views if that is cheaper."""
        return self.take(np.arange(start, stop))

    def signature(self) -> str:
        """Describe the samples, so that other data is recognized when a loader is resumed."""
        return type(self).__qualname__

    def with_collate(self, collate: Collate) -> Self:
        """Return the source with another way to make a batch of a list of samples.

        The source itself, where none of it is read sample by sample.
        """
        return self

    def __getitem__(self, key: Any) -> Any:
        """Return one sample for an integer, a batch for a slice or an array of integers or bools.

        Raises:
            IndexError: for an index out of range.
        """
        n = len(self)
        if isinstance(key, slice):
            start, stop, step = key.indices(n)
            if step == 1:
                return self.slice(start, max(start, stop))
            return self.take(np.arange(start, stop, step))
        try:
            indices = np.arange(n)[key]
        except IndexError:
            raise IndexError(f"index {key!r} is out of range for {n} samples") from None
        if indices.ndim == 0:
            return map_structure(lambda part: part[0], self.take(indices.reshape(1)))
        return self.take(indices)


class ItemSource(Source):
    """Samples that are read one at a time, and collated.

    Args:
        collate: the function that makes a batch of a list of samples; by default they are stacked.
    """

    def __init__(self, collate: Collate | None = None) -> None:
        self.collate: Collate = stack if collate is None else collate

    def with_collate(self, collate: Collate) -> Self:
        """Return the source with another way to make a batch of a list of samples."""
        changed = copy.copy(self)
        changed.collate = collate
        return changed

    @abstractmethod
    def read(self, index: int) -> Any:
        """Return one sample."""

    def take(self, indices: Indices) -> Batch:
        """Read and collate the samples at `indices`."""
        samples = []
        for index in indices.tolist():
            raise_if_cancelled()
            try:
                samples.append(self.read(index))
            except Exception as error:
                error.add_note(f"while reading sample {index}")
                raise
        return self.collate(samples) if samples else []

    def __getitem__(self, key: Any) -> Any:
        """Return one sample for an integer, a batch for a slice or an array of integers or bools.

        Raises:
            IndexError: for an index out of range.
        """
        if isinstance(key, (int, np.integer)):
            if not -len(self) <= key < len(self):
                raise IndexError(f"index {key} is out of range for {len(self)} samples")
            return self.read(int(key) % len(self))
        return super().__getitem__(key)
