"""Tuples, named tuples, lists and dicts, and what is in them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

__all__ = ["leaves_of", "map_tree", "rebuilt"]


def rebuilt(x: Any, parts: Iterable[Any]) -> Any:
    """Return a tuple, named tuple or list like `x` of other parts."""
    return x._make(parts) if hasattr(x, "_fields") else type(x)(parts)


def map_tree(function: Callable[[Any], Any], x: Any) -> Any:
    """Return tuples, lists and dicts like `x` of what a function gives for each thing in them."""
    if type(x) in (tuple, list) or (isinstance(x, tuple) and hasattr(x, "_fields")):
        return rebuilt(x, [map_tree(function, part) for part in x])
    if type(x) is dict:
        return {key: map_tree(function, part) for key, part in x.items()}
    return function(x)


def leaves_of(x: Any) -> Iterator[Any]:
    """Yield what is in tuples, lists and dicts."""
    if isinstance(x, (tuple, list, dict)):
        for part in x.values() if isinstance(x, dict) else x:
            yield from leaves_of(part)
    else:
        yield x
