"""Sources made of others, and sequences of samples."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Self

from nn_data._collate import Collate
from nn_data._sources._source import Batch, Indices, ItemSource, Source
from nn_data._structure import like

__all__ = ["DictSource", "SequenceSource", "TupleSource"]


def _check_lengths(parts: Mapping[str, Source]) -> int:
    """Return the length that all sources have, or say which differ."""
    lengths = {name: len(source) for name, source in parts.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise ValueError(f"lengths differ: {listed}")
    return next(iter(lengths.values()))


class TupleSource(Source):
    """Several sources of one length, as a tuple."""

    def __init__(self, template: tuple[Any, ...], parts: Sequence[Source], name: str) -> None:
        self._length = _check_lengths({f"{name}[{i}]": part for i, part in enumerate(parts)})
        self._parts = tuple(parts)
        self._template = template if hasattr(template, "_fields") else None
        self._is_trusted = all(part._is_trusted for part in parts)

    def __len__(self) -> int:
        return self._length

    def take(self, indices: Indices) -> Batch:
        """Return the samples at `indices` of each."""
        batch = tuple([part.take(indices) for part in self._parts])
        return batch if self._template is None else like(self._template, batch)

    def slice(self, start: int, stop: int) -> Batch:
        """Return the samples from `start` to before `stop` of each."""
        batch = tuple([part.slice(start, stop) for part in self._parts])
        return batch if self._template is None else like(self._template, batch)

    def signature(self) -> str:
        """Describe each part."""
        return f"({', '.join(part.signature() for part in self._parts)})"

    def with_collate(self, collate: Collate) -> Self:
        """Change each part that is read sample by sample."""
        parts = tuple(part.with_collate(collate) for part in self._parts)
        if all(new is old for new, old in zip(parts, self._parts, strict=True)):
            return self
        changed = copy.copy(self)
        changed._parts = parts
        return changed


class DictSource(Source):
    """Several sources of one length, by name."""

    def __init__(self, parts: Mapping[Any, Source], name: str) -> None:
        self._length = _check_lengths({f"{name}[{key!r}]": part for key, part in parts.items()})
        self._parts = dict(parts)
        self._is_trusted = all(part._is_trusted for part in parts.values())

    @property
    def names(self) -> list[Any]:
        """The names of the parts."""
        return list(self._parts)

    def __len__(self) -> int:
        return self._length

    def take(self, indices: Indices) -> Batch:
        """Return the samples at `indices` of each."""
        return {key: part.take(indices) for key, part in self._parts.items()}

    def slice(self, start: int, stop: int) -> Batch:
        """Return the samples from `start` to before `stop` of each."""
        return {key: part.slice(start, stop) for key, part in self._parts.items()}

    def signature(self) -> str:
        """Describe each part."""
        return "{" + ", ".join(f"{k}: {part.signature()}" for k, part in self._parts.items()) + "}"

    def with_collate(self, collate: Collate) -> Self:
        """Change each part that is read sample by sample."""
        parts = {key: part.with_collate(collate) for key, part in self._parts.items()}
        if all(parts[key] is part for key, part in self._parts.items()):
            return self
        changed = copy.copy(self)
        changed._parts = parts
        return changed


class SequenceSource(ItemSource):
    """The items of a sequence, collated."""

    def __init__(self, items: Any) -> None:
        super().__init__()
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    def read(self, index: int) -> Any:
        """Return one item."""
        return self._items[index]

    def signature(self) -> str:
        """Name the type of the sequence."""
        return type(self._items).__qualname__
