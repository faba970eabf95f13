"""The parts of a Tensor, for programs that are replayed: no copies, no checks, nothing observed."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any

from nn_tensor._graph import Node, Variable, new_variable
from nn_tensor._tensor import Tensor

__all__ = [
    "array_of",
    "gradient_of",
    "has_graph",
    "hooks_of",
    "needs_grad_of",
    "new_tensor",
    "set_array",
    "set_gradient",
]

array_of: Callable[[Tensor], Any] = attrgetter("_data")
"""Return the array of a Tensor, as ``tensor.data`` does, without telling an observer."""

hooks_of: Callable[[Tensor], Any] = attrgetter("_hooks")
"""Return the hooks of a leaf, None or empty where it has none."""

needs_grad_of: Callable[[Tensor], bool] = attrgetter("_requires_grad")
"""Return whether a Tensor requires a gradient."""

new_tensor: Callable[[Any], Tensor] = new_variable  # type: ignore[assignment]
"""Return a Tensor of an array that is known to hold numbers; see `nn_tensor.Tensor`."""


def gradient_of(tensor: Tensor) -> Any:
    """Return the array of a gradient, or None if there is none.

    >>> from nn_tensor.extend import gradient_of
    >>> gradient_of(Tensor([1.0], requires_grad=True)) is None
    True
    """
    gradient = tensor._grad
    return None if gradient is None else gradient._data


def set_gradient(tensor: Tensor, array: Any) -> None:
    """Replace the gradient by an array of the right shape and dtype, or clear it."""
    tensor._grad = None if array is None else new_variable(array)


def set_array(tensor: Tensor, array: Any) -> None:
    """Replace the array of a Tensor that is not the result of an operation."""
    tensor._data = array


def has_graph(tensor: Variable) -> bool:
    """Return whether `backward` could go through the operation that computed a Tensor.

    >>> from nn_tensor.extend import has_graph
    >>> y = Tensor([1.0], requires_grad=True) * 2
    >>> has_graph(y)
    True
    >>> y.backward()
    >>> has_graph(y)
    False
    """
    node = tensor._node
    return isinstance(node, Node) and node.edges is not None
