"""The batches of an epoch as indices: a function of seed and epoch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nn_data._random import ORDER, generator
from nn_data._samplers import BatchSampler, Sampler
from nn_data._sources import Source

__all__ = ["Batches", "Order", "batch_sampler_order", "sampler_order", "sequential", "shuffled"]

Indices: TypeAlias = NDArray[np.intp]


class Batches(ABC):
    """The batches of one epoch."""

    @abstractmethod
    def __len__(self) -> int:
        """Return how many there are."""

    @abstractmethod
    def indices(self, number: int) -> Indices:
        """Return the indices of the samples of a batch."""

    def read(self, source: Source, number: int) -> Any:
        """Return the samples of a batch."""
        return source.take(self.indices(number))


Order: TypeAlias = Callable[[int], Batches]
"""What gives the batches of an epoch."""


class _Consecutive(Batches):
    """The samples as they come."""

    def __init__(self, samples: int, size: int, drop_last: bool) -> None:
        self._samples = samples - samples % size if drop_last else samples
        self._size = size

    def __len__(self) -> int:
        return -(-self._samples // self._size)

    def indices(self, number: int) -> Indices:
        start = number * self._size
        return np.arange(start, min(start + self._size, self._samples))

    def read(self, source: Source, number: int) -> Any:
        start = number * self._size
        return source.slice(start, min(start + self._size, self._samples))


class _Sliced(Batches):
    """A sequence of samples, cut into batches of one size."""

    def __init__(self, sequence: Indices, size: int, drop_last: bool) -> None:
        self._sequence = sequence[: len(sequence) - len(sequence) % size] if drop_last else sequence
        self._size = size

    def __len__(self) -> int:
        return -(-len(self._sequence) // self._size)

    def indices(self, number: int) -> Indices:
        start = number * self._size
        return self._sequence[start : start + self._size]


class _Listed(Batches):
    """Batches of any sizes."""

    def __init__(self, batches: Sequence[Indices]) -> None:
        self._batches = batches

    def __len__(self) -> int:
        return len(self._batches)

    def indices(self, number: int) -> Indices:
        return self._batches[number]


def sequential(samples: int, size: int, drop_last: bool) -> Order:
    """Return the order of samples as they come."""
    batches = _Consecutive(samples, size, drop_last)
    return lambda epoch: batches


def shuffled(samples: int, size: int, drop_last: bool, seed: int) -> Order:
    """Return the order of a random permutation, another one in each epoch."""

    def order(epoch: int) -> Batches:
        return _Sliced(generator(seed, ORDER, epoch).permutation(samples), size, drop_last)

    return order


def sampler_order(sampler: Any, samples: int, size: int, drop_last: bool, seed: int) -> Order:
    """Return the order that a sampler draws, or that a sequence of indices is."""

    def order(epoch: int) -> Batches:
        drawn = sampler
        if isinstance(sampler, Sampler):
            drawn = sampler.indices(generator(seed, ORDER, epoch))
        return _Sliced(_checked("sampler", drawn, samples), size, drop_last)

    return order


def batch_sampler_order(sampler: Any, samples: int, seed: int) -> Order:
    """Return the batches that a batch sampler draws, or that a sequence of them is."""

    def order(epoch: int) -> Batches:
        batches = sampler
        if isinstance(sampler, BatchSampler):
            batches = sampler.batches(generator(seed, ORDER, epoch))
        if not len(batches):
            raise ValueError("batch_sampler: there are no batches")
        try:
            lengths = [len(batch) for batch in batches]
        except TypeError:
            raise TypeError(
                "batch_sampler: expected a sequence of sequences of indices; a single sequence of "
                "indices is a sampler"
            ) from None
        if not all(lengths):
            raise ValueError(f"batch_sampler: batch {lengths.index(0)} is empty")
        # All at once: to check each batch would cost more than the batches.
        together = np.concatenate([np.asarray(batch) for batch in batches])
        checked = _checked("batch_sampler", together, samples)
        return _Listed(np.split(checked, np.cumsum(lengths)[:-1]))

    return order


def _checked(name: str, indices: Any, samples: int) -> Indices:
    """Return `indices` as an array, or say which is out of range."""
    array = np.asarray(indices)
    if array.size == 0:
        raise ValueError(f"{name}: there are no indices")
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise TypeError(
            f"{name}: expected a sequence of integers, got {array.dtype} of shape {array.shape}"
        )
    if array.min() < 0 or array.max() >= samples:
        at = int(np.flatnonzero((array < 0) | (array >= samples))[0])
        raise IndexError(
            f"{name}: index {array[at]} at position {at} is out of range for {samples} samples"
        )
    return array.astype(np.intp, copy=False)
