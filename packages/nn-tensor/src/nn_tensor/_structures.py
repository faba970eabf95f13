"""Structures of values: tuples, named tuples, lists and dicts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["has_parts", "leaves_of", "map_parts", "map_structure", "named_leaves"]


def has_parts(x: Any) -> bool:
    """Return whether `x` is a tuple, named tuple, list or dict, and of no class derived from them.

    >>> from nn_tensor.extend import has_parts
    >>> has_parts([1, 2]), has_parts("ab")
    (True, False)
    """
    return type(x) in (tuple, list, dict) or (isinstance(x, tuple) and hasattr(x, "_fields"))


def map_parts(function: Callable[[Any], Any], x: Any) -> Any:
    """Return a structure like `x` of what a function gives for each of its parts.

    >>> from nn_tensor.extend import map_parts
    >>> map_parts(str, {"a": 1, "b": [2]})
    {'a': '1', 'b': '[2]'}
    """
    if type(x) is dict:
        return {key: function(part) for key, part in x.items()}
    parts = map(function, x)
    return x._make(parts) if hasattr(x, "_fields") else type(x)(parts)


def map_structure(function: Callable[[Any], Any], x: Any) -> Any:
    """Return a structure like `x` of what a function gives for each leaf.

    >>> from nn_tensor.extend import map_structure
    >>> map_structure(str, {"a": 1, "b": [2]})
    {'a': '1', 'b': ['2']}
    """
    if not has_parts(x):
        return function(x)
    return map_parts(lambda part: map_structure(function, part), x)


def leaves_of(x: Any) -> Iterator[Any]:
    """Yield the leaves of a structure.

    >>> from nn_tensor.extend import leaves_of
    >>> list(leaves_of({"a": 1, "b": (2, [3])}))
    [1, 2, 3]
    """
    if has_parts(x):
        for part in x.values() if type(x) is dict else x:
            yield from leaves_of(part)
    else:
        yield x


def named_leaves(x: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yield the leaves of a structure, each with where it is.

    >>> from nn_tensor.extend import named_leaves
    >>> list(named_leaves({"a": 1, "b": (2, [3])}, "x"))
    [("x['a']", 1), ("x['b'][0]", 2), ("x['b'][1][0]", 3)]
    """
    if has_parts(x):
        for key, part in x.items() if type(x) is dict else enumerate(x):
            yield from named_leaves(part, f"{name}[{key!r}]")
    else:
        yield name, x
