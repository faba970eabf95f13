"""The graph of recorded operations: variables, nodes and edges.

A variable that was computed points to a `Node`, and a node points to the nodes and leaf variables
that it was computed from: never to its own output, so no cycle keeps memory waiting for the
garbage collector. Nothing here knows an operation or `Tensor`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from nn_tensor._device import is_array

__all__ = [
    "Edge",
    "Node",
    "Parent",
    "Variable",
    "arrays_in",
    "as_variable",
    "new_variable",
    "next_sequence",
    "use_tensor_class",
]

Array = Any


class Variable:
    """An array and its place in the graph; `Tensor` is the class of those that users see."""

    __slots__ = ("__weakref__", "_data", "_grad", "_hooks", "_node", "_requires_grad")

    _data: Array
    _node: Parent | None  # a leaf where a saved array stands for that leaf itself
    _grad: Any
    _hooks: dict[float, Callable[..., Any]] | None
    _requires_grad: bool

    @property
    def shape(self) -> tuple[int, ...]:
        """The size of each dimension."""
        return self._data.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The data type of the elements."""
        return self._data.dtype

    def _parent(self) -> Parent:
        """Return where gradients of this variable go: its node, or itself if it is a leaf."""
        return self if self._node is None else self._node


class Node:
    """One recorded operation.

    `edges` holds for each backward rule: the rule, the values that it asks for, and the parents
    that its gradients go to (None where no gradient is needed). It becomes None when a backward
    pass has used and freed the node.
    """

    __slots__ = "_hooks", "debug", "dtype", "edges", "op", "recipe", "sequence", "shape", "version"

    op: Any  # its declaration
    edges: tuple[Edge, ...] | None
    recipe: tuple[Any, ...] | None  # what recomputes the kept values, for higher derivatives
    sequence: int  # later operations have larger numbers: a topological order
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    version: int  # the version counter at the time of recording
    _hooks: dict[float, Callable[..., Any]] | None
    debug: Any  # what `detect_anomaly` remembers


Parent = Node | Variable
Edge = tuple[Any, ...]  # a rule, the values saved for it, and its parents: one, unless it is joint

next_sequence = itertools.count(1).__next__
_new = object.__new__

tensor_class: type[Variable] = Variable
"""The class of the variables that users see."""


def use_tensor_class(cls: type[Variable]) -> None:
    """Make `cls` the class of all variables that operations and hooks produce."""
    global tensor_class
    tensor_class = cls


def new_variable(array: Array) -> Variable:
    """Return a leaf that requires no gradient."""
    variable = _new(tensor_class)
    variable._data = array
    variable._node = variable._grad = variable._hooks = None
    variable._requires_grad = False
    return variable


def as_variable(value: Any, parent: Parent | None) -> Any:
    """Return a saved array as the variable that it was, whose gradient goes to `parent`."""
    if not is_array(value):
        return value
    if isinstance(parent, Variable) and parent._data is value:
        return parent
    variable = new_variable(value)
    variable._requires_grad = parent is not None
    variable._node = parent
    return variable


def arrays_in(values: tuple[Any, ...]) -> Iterator[Array]:
    """Yield the arrays among saved values, those inside tuples included."""
    for value in values:
        if isinstance(value, tuple):
            yield from arrays_in(value)
        elif is_array(value):
            yield value
