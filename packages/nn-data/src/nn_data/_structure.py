"""The structure of a batch: tuples and dicts, nested as one likes, with arrays at their ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

__all__ = ["like", "map_structure", "named_leaves"]


def like(template: Any, values: Any) -> Any:
    """Return the iterable `values` as a tuple of the type of `template`, named tuples included."""
    kind = type(template)
    return kind(*values) if hasattr(kind, "_fields") else tuple(values)


def map_structure(function: Callable[[Any], Any], batch: Any) -> Any:
    """Apply a function to everything in a batch that is not a tuple or a dict.

    >>> map_structure(len, ([1, 2], {"x": [3]}))
    (2, {'x': 1})
    """
    if isinstance(batch, tuple):
        return like(batch, [map_structure(function, part) for part in batch])
    if isinstance(batch, Mapping):
        return {name: map_structure(function, part) for name, part in batch.items()}
    return function(batch)


def named_leaves(batch: Any, name: str = "batch") -> Iterator[tuple[str, Any]]:
    """Yield everything in a batch that is not a tuple or a dict, with where it is.

    >>> list(named_leaves((1, {"x": 2})))
    [('batch[0]', 1), ("batch[1]['x']", 2)]
    """
    if isinstance(batch, tuple):
        for i, part in enumerate(batch):
            yield from named_leaves(part, f"{name}[{i}]")
    elif isinstance(batch, Mapping):
        for key, part in batch.items():
            yield from named_leaves(part, f"{name}[{key!r}]")
    else:
        yield name, batch
