"""Batches of sequences of similar lengths."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nn_data._checks import check_bool, check_integer, keyword_only
from nn_data._samplers._sampler import BatchSampler

__all__ = ["ByLength"]

_JITTER = 0.1


class ByLength(BatchSampler):
    """Batches of sequences of similar lengths, with a limit on the tokens of a batch.

    The padded size of a batch, the number of sequences times the longest of them, is at most
    `max_tokens`. Each sample is in exactly one batch. With `shuffle` the lengths are sorted after
    each was multiplied by a random factor between 1 and 1.1, so that the batches are composed
    differently in each epoch, and the batches come in random order; without it the order is from
    short to long in every epoch.

    Args:
        lengths: the length of each sample, shape ``(n,)``; or ``(n, k)`` where a sample has several
            sequences, such as a sentence and its translation, each of which keeps to `max_tokens`.
        max_tokens: the maximum number of tokens in a batch, padding included.
        max_samples: the maximum number of samples in a batch.
        shuffle: whether the batches are drawn anew in each epoch.

    Raises:
        TypeError: for lengths that are not integers.
        ValueError: for a sample longer than `max_tokens`, or a negative length.

    >>> sampler = ByLength([3, 9, 4, 8], max_tokens=18, shuffle=False)
    >>> [batch.tolist() for batch in sampler.batches(np.random.default_rng(0))]
    [[0, 2], [3, 1]]
    """

    @keyword_only
    def __init__(
        self,
        lengths: Any,
        max_tokens: int,
        *,
        max_samples: int | None = None,
        shuffle: bool = True,
    ) -> None:
        array = np.asarray(lengths)
        if array.ndim not in (1, 2) or array.dtype.kind not in "iu" or array.size == 0:
            raise TypeError(
                "lengths: expected integers of shape (n,) or (n, k), got "
                f"{array.dtype} of shape {array.shape}"
            )
        self.max_tokens: int = check_integer("max_tokens", max_tokens, minimum=1)
        if max_samples is not None:
            max_samples = check_integer("max_samples", max_samples, minimum=1)
        self.max_samples = max_samples
        self.shuffle: bool = check_bool("shuffle", shuffle)
        longest = array.reshape(len(array), -1).max(axis=1)
        if array.min() < 0:
            at = int(array.reshape(len(array), -1).min(axis=1).argmin())
            raise ValueError(f"lengths: sample {at} has the length {array[at]}")
        if longest.max() > self.max_tokens:
            at = int(longest.argmax())
            raise ValueError(
                f"lengths: sample {at} has {longest[at]} tokens, max_tokens is {self.max_tokens}"
            )
        # An empty sequence takes a row like any other.
        self._lengths = np.maximum(array.reshape(len(array), -1).T, 1).astype(np.int64)
        self.population: int | None = len(array)

    def batches(self, rng: np.random.Generator) -> list[NDArray[np.intp]]:
        """Return the indices of the samples of each batch."""
        keys: NDArray[Any] = self._lengths
        if self.shuffle:
            keys = keys * rng.uniform(1, 1 + _JITTER, keys.shape)
            # Rounded, so that there are ties for the next length to break.
            keys[:-1] = np.rint(keys[:-1])
        # The last key is the first to sort by.
        order = np.lexsort(keys[::-1])
        ends = self._ends(self._lengths[:, order])
        batches = np.split(order, ends[:-1])
        if self.shuffle:
            batches = [batches[i] for i in rng.permutation(len(batches)).tolist()]
        return batches

    def _ends(self, lengths: NDArray[np.int64]) -> list[int]:
        """Return where each batch of the sorted samples ends: as late as the limits allow."""
        n = lengths.shape[1]
        ends, start = [], 0
        while start < n:
            limit = self.max_tokens // int(lengths[:, start].max())
            if self.max_samples is not None:
                limit = min(limit, self.max_samples)
            window = lengths[:, start : start + limit]
            tokens = np.maximum.accumulate(window.max(axis=0)) * np.arange(1, window.shape[1] + 1)
            start += int(np.searchsorted(tokens, self.max_tokens, side="right"))
            ends.append(start)
        return ends

    def __repr__(self) -> str:
        return f"ByLength({self.population} lengths, max_tokens={self.max_tokens})"
