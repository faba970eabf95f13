"""What a type checker sees of an operation: Tensors for Tensors, arrays for arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, Self, TypeVar, overload

import numpy as np

if TYPE_CHECKING:
    from nn_tensor._tensor import Tensor

__all__ = ["Data", "Decorator", "Function", "Op", "function"]

P = ParamSpec("P")
Q = ParamSpec("Q")
Data = TypeVar("Data", "Tensor", "np.ndarray[Any, Any]")  # of functions that give what they get
Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


class Function(Protocol[P]):
    """The type of a function of Tensors or arrays: a Tensor among its first three gives a Tensor.

    It gives an array for NumPy arrays alone. What it gives for CuPy's, numbers and lists, and for
    arrays that are named in the call, a type checker takes as Any.
    """

    @overload
    def __call__(
        self: Function[Concatenate[Any, Q]], x: Tensor, /, *args: Q.args, **kwargs: Q.kwargs
    ) -> Tensor: ...
    @overload
    def __call__(
        self: Function[Concatenate[Any, Any, Q]],
        x: Any,
        y: Tensor,
        /,
        *args: Q.args,
        **kwargs: Q.kwargs,
    ) -> Tensor: ...
    @overload
    def __call__(
        self: Function[Concatenate[Any, Any, Any, Q]],
        x: Any,
        y: Any,
        z: Tensor,
        /,
        *args: Q.args,
        **kwargs: Q.kwargs,
    ) -> Tensor: ...
    @overload
    def __call__(
        self: Function[Concatenate[Any, Q]],
        x: np.ndarray[Any, Any],
        /,
        *args: Q.args,
        **kwargs: Q.kwargs,
    ) -> np.ndarray[Any, Any]: ...
    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any: ...

    @overload
    def __get__(self, instance: None, owner: Any) -> Self: ...
    @overload
    def __get__(
        self: Function[Concatenate[Any, Q]], instance: object, owner: Any
    ) -> Callable[Q, Tensor]: ...


def function(definition: Callable[P, Any]) -> Function[P]:
    """Give a function that is composed of operations the type that operations have."""
    return definition  # type: ignore[return-value]


class Op(Function[P], Protocol[P]):
    """An operation: a function of Tensors or arrays, to which rules are added by `gradient`."""

    info: Any  # its Declaration

    def gradient(self, wrt: str) -> Decorator:
        """Declare the decorated function as the rule for one input, or for all of a ``*xs``."""

    def joint_gradient(self, *wrt: str) -> Decorator:
        """Declare the decorated function as one rule that returns a tuple: a gradient for each."""

    def kept(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Declare how the kept values follow from inputs, options and ``out``."""
