"""Version counters: which memory was changed in place since an operation saved it."""

from __future__ import annotations

import functools
import os
import threading
import weakref
from typing import Any

from nn_tensor._graph import Node, arrays_in
from nn_tensor._observe import current_observer, observers

__all__ = ["check_saved", "mark_dirty", "versions"]

Array = Any


class _Versions:
    """When each block of memory was last changed in place, by one counter for all.

    A node remembers the counter at its recording. Memory that was saved by the node and has a
    larger version makes its gradient wrong, which a backward pass reports.
    """

    def __init__(self) -> None:
        self.current = 0
        self._last: dict[int, list[Any]] = {}  # version and weak reference
        self.unlock()

    def unlock(self) -> None:
        self._lock = threading.RLock()  # a signal handler may change arrays too

    def mark(self, *arrays: Array) -> None:
        """Count a change of the memory of `arrays`."""
        last = self._last  # the callback must not keep `self` in a cycle
        with self._lock:
            self.current += 1
            for array in arrays:
                owner = array if array.base is None else _owner(array)
                key = id(owner)
                entry = last.get(key)
                if entry is not None and entry[1]() is owner:
                    entry[0] = self.current
                else:
                    forget = functools.partial(_forget, last, key)
                    last[key] = [self.current, weakref.ref(owner, forget)]

    def changed_since(self, version: int, array: Array) -> bool:
        """Return whether the memory of `array` was changed after `version`."""
        owner = _owner(array)
        entry = self._last.get(id(owner))
        return entry is not None and entry[0] > version and entry[1]() is owner


def _forget(last: dict[int, Any], key: int, _: Any) -> None:
    last.pop(key, None)


def _owner(array: Array) -> Array:
    while type(array.base) is type(array):
        array = array.base
    return array


versions = _Versions()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=versions.unlock)  # a thread of the parent may have had it


def check_saved(node: Node, create_graph: bool) -> None:
    """Raise if an array that the node saved was changed in place since."""
    for array in arrays_in((node.edges, node.recipe if create_graph else None)):
        if versions.changed_since(node.version, array):
            raise RuntimeError(
                f"{node.op.name} saved an array of shape {array.shape} that was changed in "
                "place before backward"
            )


def mark_dirty(*arrays: Array) -> None:
    """Tell autograd that `arrays` were changed in place.

    Code that writes into ``tensor.data`` by itself (an optimizer's kernel) calls this, so that a
    later `backward` through an operation that saved one raises instead of computing a
    wrong gradient.

    >>> import numpy as np
    >>> from nn_tensor import Tensor
    >>> from nn_tensor.extend import mark_dirty
    >>> x = Tensor([2.0], requires_grad=True)
    >>> y = x * x
    >>> x.data[0] = 5.0
    >>> mark_dirty(x.data)
    >>> y.backward()
    Traceback (most recent call last):
        ...
    RuntimeError: multiply saved an array of shape (1,) that was changed in place before backward
    """
    versions.mark(*arrays)
    if observers and (observer := current_observer()) is not None:
        for array in arrays:
            observer.written(array)
