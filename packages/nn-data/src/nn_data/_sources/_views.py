"""Part of a source, and several as one: without copying what they hold."""

from __future__ import annotations

import copy
import hashlib
from typing import Any, Self

import numpy as np

from nn_data._collate import Collate
from nn_data._sources._convert import as_source
from nn_data._sources._source import Batch, Indices, Source
from nn_data._structure import like

__all__ = ["Concat", "Subset"]


class Subset(Source):
    """The samples of a source at given indices, in that order; nothing is copied.

    ``subset[:]`` is all of it as one batch.

    Args:
        data: the data, as for `Loader`.
        indices: the indices of the samples: integers, or one boolean for each sample.

    Raises:
        IndexError: for an index out of range.
        TypeError: for indices that are neither integers nor bools.

    >>> Subset((np.arange(5) * 10, np.arange(5)), [4, 0])[:]
    (array([40,  0]), array([4, 0]))
    """

    def __init__(self, data: Any, indices: Any) -> None:
        self.data: Source = as_source(data)
        self.indices: Indices = check_indices("indices", indices, len(self.data))
        self._is_trusted = self.data._is_trusted

    def __len__(self) -> int:
        return len(self.indices)

    def take(self, indices: Indices) -> Batch:
        """Return the samples at `indices` of the subset."""
        return self.data.take(self.indices[indices])

    def signature(self) -> str:
        """Describe the whole, and hash which of its samples are meant."""
        return f"{self.data.signature()}@{_digest(self.indices)}"

    def with_collate(self, collate: Collate) -> Self:
        """Change how the whole makes batches of samples."""
        data = self.data.with_collate(collate)
        if data is self.data:
            return self
        changed = copy.copy(self)
        changed.data = data
        return changed


def check_indices(name: str, indices: Any, length: int) -> Indices:
    """Return `indices` as an array of integers from 0 to `length` - 1."""
    array = np.asarray(indices)
    if array.size == 0:
        array = array.astype(np.intp)
    if array.ndim != 1 or array.dtype.kind not in "biu":
        raise TypeError(
            f"{name}: expected a sequence of integers, got {array.dtype} of shape {array.shape}"
        )
    if array.dtype == np.bool_:
        if len(array) != length:
            raise IndexError(f"{name}: {len(array)} bools for {length} samples")
        return np.flatnonzero(array)
    wrong = np.flatnonzero((array < 0) | (array >= length))
    if len(wrong):
        raise IndexError(
            f"{name}: index {array[wrong[0]]} at position {wrong[0]} is out of range for "
            f"{length} samples"
        )
    return array.astype(np.intp)


def _digest(indices: Indices) -> str:
    content = indices.astype("<i8").tobytes()
    return hashlib.blake2b(content, digest_size=4).hexdigest()


class Concat(Source):
    """The concatenation of several sources; nothing is copied.

    Args:
        parts: the data, each as for `Loader`, at least one.

    Raises:
        ValueError: without parts.

    >>> Concat([1, 2, 3], [10, 20])[2:4]
    array([ 3, 10])
    """

    def __init__(self, *parts: Any) -> None:
        if not parts:
            raise ValueError("Concat needs at least one source")
        self.parts: tuple[Source, ...] = tuple(
            as_source(part, f"parts[{i}]") for i, part in enumerate(parts)
        )
        self._starts = np.cumsum([0, *map(len, self.parts)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def take(self, indices: Indices) -> Batch:
        """Return the samples at `indices`, from whichever parts have them."""
        owners = np.searchsorted(self._starts, indices, side="right") - 1
        found = [int(owner) for owner in np.unique(owners)]
        if len(found) == 1:
            return self.parts[found[0]].take(indices - self._starts[found[0]])
        places = [np.flatnonzero(owners == owner) for owner in found]
        pieces = [
            self.parts[owner].take(indices[place] - self._starts[owner])
            for owner, place in zip(found, places, strict=True)
        ]
        back = np.argsort(np.concatenate([*places, np.empty(0, np.intp)]), kind="stable")
        return _merge(pieces, back) if pieces else self.parts[0].take(indices)

    def signature(self) -> str:
        """Describe each part."""
        return "+".join(f"{len(part)}×{part.signature()}" for part in self.parts)

    def with_collate(self, collate: Collate) -> Self:
        """Change how each part makes batches of samples."""
        parts = tuple(part.with_collate(collate) for part in self.parts)
        if all(new is old for new, old in zip(parts, self.parts, strict=True)):
            return self
        changed = copy.copy(self)
        changed.parts = parts
        return changed


def _structure(piece: Any) -> str:
    """Describe what has to be equal for batches to be concatenated, at the outermost level."""
    if isinstance(piece, tuple):
        return f"tuple of {len(piece)}"
    if isinstance(piece, dict):
        return f"dict of {', '.join(sorted(map(str, piece)))}"
    return "list" if isinstance(piece, list) else str(tuple(np.shape(piece)[1:]))


def _merge(pieces: list[Any], back: Indices) -> Any:
    """Concatenate batches of one structure, then put the samples in order."""
    first = pieces[0]
    shapes = {_structure(piece) for piece in pieces}
    if len(shapes) > 1:
        listed = ", ".join(sorted(shapes))
        raise ValueError(f"Concat: the parts have samples of different shapes: {listed}")
    if isinstance(first, tuple):
        return like(first, [_merge(list(part), back) for part in zip(*pieces, strict=True)])
    if isinstance(first, dict):
        return {name: _merge([piece[name] for piece in pieces], back) for name in first}
    if isinstance(first, list):
        flat = [sample for piece in pieces for sample in piece]
        return [flat[i] for i in back.tolist()]
    return np.concatenate(pieces)[back]
