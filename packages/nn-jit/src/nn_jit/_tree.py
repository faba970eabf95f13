"""Tuples, named tuples, lists and dicts, and what is in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["is_tree", "leaves_of", "map_parts", "map_tree"]


def is_tree(x: Any) -> bool:
    """Return whether `x` has parts; what is derived from a list or dict may have more of them."""
    return type(x) in (tuple, list, dict) or (isinstance(x, tuple) and hasattr(x, "_fields"))


def map_parts(function: Callable[[Any], Any], x: Any) -> Any:
    """Return a structure like `x` of what a function gives for each of its parts."""
    if type(x) is dict:
        return {key: function(part) for key, part in x.items()}
    parts = map(function, x)
    return x._make(parts) if hasattr(x, "_fields") else type(x)(parts)


def map_tree(function: Callable[[Any], Any], x: Any) -> Any:
    """Return a structure like `x` of what a function gives for each leaf."""
    if not is_tree(x):
        return function(x)
    return map_parts(lambda part: map_tree(function, part), x)


def leaves_of(x: Any) -> Iterator[Any]:
    """Yield what is in structures."""
    if is_tree(x):
        for part in x.values() if type(x) is dict else x:
            yield from leaves_of(part)
    else:
        yield x
