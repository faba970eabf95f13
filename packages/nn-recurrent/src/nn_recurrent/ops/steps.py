"""`Steps`: where the rows of each time step lie in a packed batch of sequences."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["Steps"]

Array = Any


class Steps:
    """The time steps of a packed batch of sequences.

    The sequences are sorted by length, the longest first. A packed array has the rows of all
    sequences at the first step, then those at the second step of the sequences that have one, and
    so on: no padding. An array of states has the initial state of every sequence before them.

    Args:
        sizes: the number of sequences at each step, never more than at the step before.
        batch: the number of sequences, those of length 0 included.

    Attributes:
        batch: as given.
        total: the number of rows of a packed array.
        spans: an integer array with a row for each step: where the rows of the step before begin
            in an array of states, where those of the step itself begin, and their number.

    >>> steps = Steps([2, 2, 1], batch=3)
    >>> steps.spans.tolist(), steps.total
    ([[0, 3, 2], [3, 5, 2], [5, 7, 1]], 5)
    """

    __slots__ = ("batch", "spans", "total")

    def __init__(self, sizes: Any, batch: int) -> None:
        counts = np.asarray(sizes, dtype=np.int64)
        ends = batch + np.cumsum(counts)
        before = np.zeros_like(counts)
        before[1:] = ends[:-1] - counts[:-1]
        self.batch: int = batch
        self.total: int = int(counts.sum())
        self.spans: np.ndarray[Any, Any] = np.stack([before, ends - counts, counts], axis=1)

    @property
    def is_rectangular(self) -> bool:
        """Whether all sequences have the same length."""
        return self.total == self.batch * len(self.spans)

    def __repr__(self) -> str:
        return f"Steps({len(self.spans)} steps of {self.batch} sequences, {self.total} rows)"

    def before(self, xp: Any, states: Array) -> Array:
        """Return, packed, the state before each step."""
        if self.is_rectangular:
            return states[: self.total]
        return xp.concatenate([states[first : first + n] for first, _, n in self.spans.tolist()])

    def final(self, states: Array, out: Array) -> None:
        """Write the state of each sequence after its last step to `out`."""
        position, active = 0, self.batch
        for _, start, size in (*self.spans.tolist(), (0, 0, 0)):
            if size < active:  # some end before this step
                out[size:active] = states[position + size : position + active]
                active = size
            position = start
