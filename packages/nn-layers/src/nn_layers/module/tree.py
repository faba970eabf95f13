"""The tree of a model: the modules and Tensors that one walk over its attributes finds."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, NamedTuple

import numpy as np
from nn_tensor import Tensor

__all__ = ["Entry", "ModuleNode", "generators", "walk"]

# Skipped at once: a model may keep a vocabulary of many thousands of these in a dict.
_PLAIN = frozenset({bool, int, float, str, bytes, type(None), np.ndarray, np.dtype})


class ModuleNode:
    """A module as the walk, the error messages and the summary see it; see `Base_Layer`."""

    unsaved: ClassVar[tuple[str, ...]] = ()
    buffers: ClassVar[tuple[str, ...]] = ()
    name: str | None = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the output; each subclass defines it.

        Raises:
            NotImplementedError: if the subclass does not.
        """
        raise NotImplementedError(f"class {type(self).__name__} does not define forward")

    def extra_repr(self) -> str:
        """Return what the description shows in its parentheses: sizes and options."""
        return ""

    def _label(self) -> str:
        parts = [self.extra_repr(), "" if self.name is None else f"name={self.name!r}"]
        inside = ", ".join(filter(None, parts))
        return f"{type(self).__name__}({inside})" if inside else type(self).__name__

    def _children(self) -> Iterable[tuple[Any, Any]]:
        return list(vars(self).items())  # as they are: another thread may set an attribute


class Entry(NamedTuple):
    """A Tensor or module that the walk found."""

    path: str
    value: Tensor | ModuleNode
    owner: ModuleNode  # the module whose attribute it is, directly or in a list, tuple or dict
    saved: bool  # whether it is not under one of the owner's `unsaved` attributes


def walk(root: ModuleNode, deep: bool = True) -> list[Entry]:
    """List the Tensors and modules under `root`, in the order in which they were assigned.

    It goes through modules (only `root` unless `deep`), lists, tuples and dicts. What is reachable
    by several paths is listed once, under the first; cycles end there too. The results of recorded
    operations are intermediate values, not part of the model: left out.
    """
    found: list[Entry] = []
    seen = {id(root)}
    # not recursive: a chain of modules may be deeper than Python's stack
    stack: list[tuple[str, Iterator[tuple[Any, Any]], ModuleNode, bool, tuple[str, ...]]]
    stack = [("", iter(root._children()), root, True, root.unsaved)]
    while stack:
        prefix, items, owner, saved, unsaved = stack[-1]
        for name, value in items:
            if type(value) in _PLAIN or id(value) in seen:
                continue
            if isinstance(value, Tensor):
                if value.is_leaf:
                    seen.add(id(value))
                    kept = saved and name not in unsaved
                    found.append(Entry(f"{prefix}{name}", value, owner, kept))
            elif isinstance(value, ModuleNode):
                seen.add(id(value))
                path, kept = f"{prefix}{name}", saved and name not in unsaved
                found.append(Entry(path, value, owner, kept))
                if deep:
                    children = iter(value._children())
                    stack.append((f"{path}.", children, value, kept, value.unsaved))
                    break
            elif isinstance(value, (list, tuple, dict)):
                seen.add(id(value))
                inside = value.values() if isinstance(value, dict) else value
                if not _PLAIN.issuperset(map(type, inside)):
                    items = iter(value.items() if isinstance(value, dict) else enumerate(value))
                    kept = saved and name not in unsaved
                    stack.append((f"{prefix}{name}.", items, owner, kept, ()))
                    break
        else:
            stack.pop()
    return found


_GENERATORS = (np.random.Generator, np.random.RandomState, random.Random)


def generators(root: ModuleNode) -> list[tuple[str, Any]]:
    """List the generators of random numbers under `root` with their paths, shared ones once."""
    found: list[tuple[str, Any]] = []
    seen: set[int] = set()
    modules = [("", root)]
    modules += [(f"{e.path}.", e.value) for e in walk(root) if isinstance(e.value, ModuleNode)]
    for prefix, module in modules:
        stack = [(prefix + str(name), value) for name, value in module._children()][::-1]
        while stack:
            path, value = stack.pop()
            if type(value) in _PLAIN or id(value) in seen or isinstance(value, ModuleNode | Tensor):
                continue
            if isinstance(value, _GENERATORS):
                seen.add(id(value))
                found.append((path, value))
            elif isinstance(value, (list, tuple, dict)):
                seen.add(id(value))
                items = value.items() if isinstance(value, dict) else enumerate(value)
                stack += [(f"{path}.{name}", part) for name, part in items][::-1]
    return found
