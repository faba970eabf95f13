"""The base classes of samplers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["BatchSampler", "Sampler"]


class Sampler(ABC):
    """The base class of samplers: the order of the samples in each epoch.

    A subclass defines one method, whose result depends on `rng` alone: the loader passes a
    generator that depends on the seed and the epoch.

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
    """The base class of batch samplers: the batches of each epoch.

    A subclass defines one method, whose result depends on `rng` alone: the loader passes a
    generator that depends on the seed and the epoch.
    """

    population: int | None = None
    """Of how many samples it draws, which must be the number that there are; None for any."""

    @abstractmethod
    def batches(self, rng: np.random.Generator) -> Sequence[Any]:
        """Return the indices of the samples of each batch."""
