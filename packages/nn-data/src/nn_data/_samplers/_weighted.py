"""Samplers that draw some samples more often than others."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nn_data._checks import check_bool, check_integer, distinct, keyword_only
from nn_data._samplers._sampler import Sampler

__all__ = ["Balanced", "Weighted"]


class Weighted(Sampler):
    """Draw samples with probabilities proportional to weights.

    Args:
        weights: the weight of each sample, >= 0; they need not add up to 1.
        num_samples: the number of samples in an epoch; by default the number of weights.
        replacement: whether a sample may occur again within an epoch.

    Raises:
        TypeError: for weights that are not numbers.
        ValueError: for weights that are negative, not finite or all zero, or if fewer than
            `num_samples` samples have a positive weight and `replacement` is False.

    >>> sampler = Weighted([0.0, 1.0, 0.0], num_samples=4)
    >>> sampler.indices(np.random.default_rng(0))
    array([1, 1, 1, 1])
    """

    @keyword_only
    def __init__(
        self, weights: Any, *, num_samples: int | None = None, replacement: bool = True
    ) -> None:
        array = np.asarray(weights)
        if array.dtype.kind not in "biuf":
            raise TypeError(f"weights: expected numbers, got {array.dtype}")
        array = array.astype(np.float64)
        if array.ndim != 1 or not len(array):
            raise ValueError(f"weights: expected one for each sample, got the shape {array.shape}")
        if not np.isfinite(array).all() or (array < 0).any() or not array.any():
            raise ValueError("weights: expected finite numbers >= 0, one of them positive")
        self._weights = array
        self.population: int | None = len(array)
        self.num_samples: int = (
            len(array) if num_samples is None else check_integer("num_samples", num_samples, 1)
        )
        self.replacement: bool = check_bool("replacement", replacement)
        positive = int(np.count_nonzero(array))
        if not self.replacement and self.num_samples > positive:
            raise ValueError(
                f"num_samples: {self.num_samples} without replacement, but only {positive} of "
                f"{len(array)} weights are positive"
            )

    def __repr__(self) -> str:
        return f"Weighted({self.population} weights, num_samples={self.num_samples})"

    def indices(self, rng: np.random.Generator) -> NDArray[np.intp]:
        """Return the indices of the samples of an epoch."""
        if self.replacement:
            cumulative = np.cumsum(self._weights)
            drawn = rng.random(self.num_samples) * cumulative[-1]
            # A product that was rounded up to the total would be past the end.
            last = int(np.flatnonzero(self._weights)[-1])
            return np.minimum(np.searchsorted(cumulative, drawn, side="right"), last)
        # The smallest of exponential times with these rates are a weighted draw without
        # replacement (Efraimidis and Spirakis, "Weighted random sampling with a reservoir", 2006).
        with np.errstate(divide="ignore", invalid="ignore"):
            times = rng.standard_exponential(len(self._weights)) / self._weights
        return np.argsort(times, kind="stable")[: self.num_samples]


class Balanced(Sampler):
    """Draw each class equally often.

    Within a class, every sample is drawn once before one is drawn again: small classes are repeated
    and large ones subsampled, differently in each epoch.

    Args:
        labels: the class of each sample: integers, strings or bools.
        num_samples: the number of samples in an epoch; by default the number of labels. If it is
            not divisible by the number of classes, the remainder goes to classes drawn at random.

    Raises:
        TypeError: for labels of several kinds.
        ValueError: without labels.

    >>> sampler = Balanced(["cat", "cat", "cat", "dog"])
    >>> np.sort(sampler.indices(np.random.default_rng(0)))[-2:]
    array([3, 3])
    """

    @keyword_only
    def __init__(self, labels: Any, *, num_samples: int | None = None) -> None:
        array = np.asarray(labels)
        if array.ndim != 1 or not len(array):
            raise ValueError(f"labels: expected one for each sample, got the shape {array.shape}")
        classes, inverse = distinct("labels", array)
        counts = np.bincount(inverse)
        self.classes: np.ndarray[Any, Any] = classes
        self.population: int | None = len(array)
        self._members = np.split(np.argsort(inverse, kind="stable"), np.cumsum(counts)[:-1])
        self.num_samples: int = (
            len(array) if num_samples is None else check_integer("num_samples", num_samples, 1)
        )

    def __repr__(self) -> str:
        return f"Balanced({self.population} labels, num_samples={self.num_samples})"

    def indices(self, rng: np.random.Generator) -> NDArray[np.intp]:
        """Return the indices of the samples of an epoch."""
        each, rest = divmod(self.num_samples, len(self._members))
        counts = np.full(len(self._members), each)
        counts[rng.permutation(len(counts))[:rest]] += 1
        drawn = []
        for members, count in zip(self._members, counts.tolist(), strict=True):
            rounds = [rng.permutation(members) for _ in range(-(-count // len(members)))]
            drawn.append(np.concatenate([members[:0], *rounds])[:count])
        return rng.permutation(np.concatenate(drawn))
