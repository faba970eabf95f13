"""The base classes of samplers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["BatchSampler", "Sampler"]


class Sampler(ABC):
    """The order of the samples in an epoch, drawn anew for each.

    A subclass has one method, whose result follows from `rng` alone: the loader hands it a
    generator that depends on seed and epoch.

    >>> class Backwards(Sampler):
    ...     def indices(self, rng):
    ...         return np.arange(9, -1, -1)
    """

    population: int | None = None
    """Of how many samples it draws, which must be the number that there are; None for any."""

    @abstractmethod
    def indices(self, rng: np.random.Generator) -> NDArray[np.intp]:
        """Return the indices of the samples of an epoch, in order; some may occur again."""


class BatchSampler(ABC):
    """The batches of an epoch, drawn anew for each.

    A subclass has one method, whose result follows from `rng` alone: the loader hands it a
    generator that depends on seed and epoch.
    """

    population: int | None = None
    """Of how many samples it draws, which must be the number that there are; None for any."""

    @abstractmethod
    def batches(self, rng: np.random.Generator) -> Sequence[Any]:
        """Return the indices of the samples of each batch."""
