"""`Packing`: a padded batch of sequences without its padding, and back; rows taken and put."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from nn_tensor import Tensor
from nn_tensor.extend import op

from nn_recurrent.ops.steps import Steps

__all__ = ["Packing", "put_rows", "take_rows"]

Indices = np.ndarray[Any, np.dtype[np.int64]]


@op
def take_rows(xp: Any, x: Any, index: Any, /) -> Any:
    """Return the rows of a matrix at an index that names each row at most once."""
    return xp.take(x, index, axis=0)


@take_rows.gradient("x")
def _(g: Any, index: Any, x_shape: tuple[int, ...]) -> Any:
    return put_rows(g, index, x_shape[0])


@op
def put_rows(xp: Any, x: Any, index: Any, /, count: int) -> Any:
    """Return `count` rows: those of `x` at an index that names each row at most once, else 0."""
    allocate = xp.empty if len(index) == count else xp.zeros
    result = allocate((count, x.shape[1]), x.dtype)
    result[index] = x
    return result


@put_rows.gradient("x")
def _(g: Any, index: Any) -> Any:
    return take_rows(g, index)


class Packing:
    """How the sequences of a batch are packed, see `Steps`, and unpacked.

    Steps after the end of a sequence are never read.

    Args:
        batch: the number of sequences.
        time: the common length of the sequences, padding included.
        lengths: the length of each sequence without padding, in any order; None if there is no
            padding.
        device: the device of the sequences.

    >>> from nn_tensor import Tensor
    >>> packing = Packing(2, 3, np.array([1, 3]), "cpu")
    >>> x = Tensor([[[1.0], [9.0], [9.0]], [[2.0], [3.0], [4.0]]])
    >>> packing.pack(x)
    Tensor([[2.],
            [1.],
            [3.],
            [4.]])
    >>> packing.unpack(packing.pack(x))[0]
    Tensor([[1.],
            [0.],
            [0.]])
    """

    def __init__(self, batch: int, time: int, lengths: Indices | None, device: str) -> None:
        self.batch: int = batch
        self.time: int = time
        self.device: str = device
        self.steps: Steps
        self._order: Indices | None = None
        self._index: Tensor | None = None
        self._lengths = np.full(batch, time) if lengths is None else lengths
        if lengths is None or (lengths == time).all():
            self.steps = Steps([batch] * time, batch)
            return
        self._order = np.argsort(-lengths, kind="stable")
        self._lengths = lengths[self._order]
        steps = np.arange(lengths.max(initial=0))
        self.steps = Steps((lengths > steps[:, None]).sum(1), batch)
        self._index = self._place(self._order[self._sequence] * time + self._time)

    @functools.cached_property
    def _sequence(self) -> Indices:
        """Of each packed row the position of its sequence among the sorted ones."""
        starts = self.steps.spans[:, 1] - self.batch
        return np.arange(self.steps.total) - np.repeat(starts, self.steps.spans[:, 2])

    @functools.cached_property
    def _time(self) -> Indices:
        """Of each packed row its step."""
        return np.repeat(np.arange(len(self.steps.spans)), self.steps.spans[:, 2])

    @functools.cached_property
    def _reversed(self) -> Tensor:
        """For each packed row that of the same sequence as far from its other end."""
        starts = self.steps.spans[:, 1] - self.batch
        mirrored = self._lengths[self._sequence] - 1 - self._time
        return self._place(starts[mirrored] + self._sequence)

    @functools.cached_property
    def _sorted(self) -> Tensor:
        return self._place(self._order)

    def _place(self, index: Any) -> Tensor:
        return Tensor(np.asarray(index, dtype=np.int64), device=self.device)

    def pack(self, x: Tensor) -> Tensor:
        """Return the rows of (batch, time, features) without padding."""
        features = x.shape[2]
        if self._index is None:
            return x.swapaxes(0, 1).reshape(self.steps.total, features)
        return take_rows(x.reshape(self.batch * self.time, features), self._index)

    def unpack(self, rows: Tensor) -> Tensor:
        """Return packed rows as (batch, time, features), with zeros as padding."""
        features = rows.shape[1]
        if self._index is None:
            return rows.reshape(self.time, self.batch, features).swapaxes(0, 1)
        padded = put_rows(rows, self._index, self.batch * self.time)
        return padded.reshape(self.batch, self.time, features)

    def reverse(self, rows: Tensor) -> Tensor:
        """Return packed rows with each sequence reversed; twice, the rows as they were."""
        return take_rows(rows, self._reversed)

    def sort(self, rows: Tensor) -> Tensor:
        """Return a row for each sequence in the order in which they are packed."""
        return rows if self._order is None else take_rows(rows, self._sorted)

    def unsort(self, rows: Tensor) -> Tensor:
        """Return a row for each packed sequence in the order of the batch."""
        return rows if self._order is None else put_rows(rows, self._sorted, self.batch)
