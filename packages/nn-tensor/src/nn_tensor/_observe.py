"""Observers: what a program does with arrays, told as it happens to an observer that records it.

A thread has at most one observer. Where no thread has one, all that is left of this is a test
whether `observers` is empty, and of an operation call not even that: its mode says so already.
"""

from __future__ import annotations

import contextlib
import functools
import os
from _thread import get_ident
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from nn_tensor._anomaly import check_result
from nn_tensor._device import common_device_scope, is_array
from nn_tensor._errors import describe_call
from nn_tensor._graph import Variable, new_variable
from nn_tensor._modes import CHECK, OBSERVE, modes

__all__ = [
    "Observer",
    "after_call",
    "current_observer",
    "external",
    "noted",
    "observe",
    "observers",
    "read",
    "unobserved",
]

Array = Any


class Observer:
    """Is told what a thread does with arrays, inside `observe`; the methods here do nothing.

    Arrays are told as they are, so an observer knows them by identity as long as it keeps them.
    Functions are those that were called: with the same arrays they give the same results. One that
    fills a list among its options is told as one that returns a tuple, the result and these arrays.
    """

    def computed(
        self, function: Any, arguments: Any, options: Any, result: Any, label: str, writes: bool
    ) -> None:
        """``result = function(*arguments, **options)`` was computed, from arrays alone.

        Args:
            function: the forward of an operation, a backward rule, or a function of arrays.
            arguments: arrays, options, and tuples and lists of these.
            options: by name.
            result: an array, or a tuple with arrays in it.
            label: a name for readers: ``"multiply"``, ``"gradient of exp"``.
            writes: whether the first argument was written into.
        """

    def inputs(self, name: str, inputs: Sequence[Any], arrays: Sequence[Array]) -> None:
        """`name` was called with `inputs`, whose arrays the next method that is called gets."""

    def external(self, function: Any, arguments: Any, result: Any, snapshot: Any) -> None:
        """``result = function(*arguments)`` was called by `external`."""

    def made(self, tensor: Variable, data: Any) -> None:
        """A Tensor was made of `data`, which is not a Tensor."""

    def read(self, tensor: Variable, how: str) -> None:
        """The program was given the values of a Tensor, and may do anything with them."""

    def replaced(self, tensor: Variable) -> None:
        """A Tensor was given another array, by ``tensor.data = array`` or by a change in place."""

    def written(self, array: Array) -> None:
        """The memory of an array was changed in place, as `mark_dirty` says."""

    def gradient_read(self, tensor: Variable) -> None:
        """The gradient of a Tensor was read, or whether there is one: see `gradient_of`."""

    def gradient_set(self, tensor: Variable) -> None:
        """The gradient of a Tensor was replaced or cleared."""

    def refused(self, what: str) -> None:
        """Something was done that no observer can follow."""


observers: dict[int, Observer] = {}
"""By thread; empty where nobody looks, which is what the fast paths test."""


def _after_fork() -> None:
    """Forget the threads that stayed in the parent: a new one may get the number of one of them."""
    for thread in [*observers]:
        if thread != get_ident():
            del observers[thread]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@contextlib.contextmanager
def observe(observer: Observer) -> Iterator[None]:
    """Tell `observer` what this thread does with arrays, inside the block.

    Raises:
        RuntimeError: if the thread is observed already.

    >>> from nn_tensor import Tensor
    >>> from nn_tensor.extend import Observer, observe
    >>> class Names(Observer):
    ...     def computed(self, function, arguments, options, result, label, writes):
    ...         print(label)
    >>> x = Tensor([1.0], requires_grad=True)
    >>> with observe(Names()):
    ...     (x * 2).backward()
    multiply
    ones_like
    gradient of multiply with respect to x
    """
    thread = get_ident()
    if thread in observers:
        raise RuntimeError("observe: this thread is observed already; observers do not nest")
    observers[thread] = observer
    modes.call |= OBSERVE
    try:
        yield
    finally:
        del observers[thread]
        modes.call &= ~OBSERVE  # perhaps late, after Ctrl-C: blocks around this one have ended


def unobserved(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function, and tell the observer of this thread, if it has one, nothing of it."""
    observer = current_observer()
    if observer is None:
        return function(*arguments)
    thread, before = get_ident(), modes.call
    try:  # no context manager, before whose end Ctrl-C may come: it would not restore them
        del observers[thread]
        modes.call = before & ~OBSERVE
        return function(*arguments)
    finally:
        observers[thread], modes.call = observer, before


def current_observer() -> Observer | None:
    """Return the observer of this thread, or None.

    >>> from nn_tensor.extend import current_observer
    >>> current_observer() is None
    True
    """
    return observers.get(get_ident()) if observers else None


def external(
    function: Callable[..., Any],
    *arguments: Any,
    snapshot: Callable[[], Callable[[], None]] | None = None,
) -> Any:
    """Call a function that is not an operation: a check, a draw, a step of an optimizer.

    A program that is recorded and replayed calls it anew at each replay. It gets arrays in place of
    the Tensors among `arguments`, and what it does with them, and with any Tensor, is not observed.
    While it is observed, Python's numbers come back as Tensors, so that they are not mistaken for
    constants.

    Args:
        function: a function of arrays and other values; what it returns may hold arrays, in tuples
            too.
        arguments: Tensors, arrays and other values.
        snapshot: remembers the state that `function` changes beside its arguments, and returns a
            function that restores it; generators among the arguments need none.

    >>> import numpy as np
    >>> from nn_tensor import Tensor
    >>> from nn_tensor.extend import external
    >>> external(np.argmax, Tensor([1.0, 3.0])).item()
    1
    """
    arrays = [x._data if isinstance(x, Variable) else x for x in arguments] if arguments else []
    if not observers or (observer := current_observer()) is None:
        return function(*arrays)
    result = unobserved(function, *arrays)
    if type(result) in (int, float, bool):
        result = new_variable(np.asarray(result))
    observer.inputs(function.__name__, arguments, arrays)
    observer.external(function, arrays, result, snapshot)
    return result


def noted(
    function: Callable[..., Any], *arguments: Any, label: str = "", writes: bool = False
) -> Any:
    """Call a function of arrays outside of an operation, and tell the observer of it.

    Unlike one that `external` calls, it gives the same results for the same arguments: a program
    that is replayed may replace it by other functions that do.

    Args:
        function: a function of arrays and other values.
        arguments: Tensors, in whose place it gets arrays, and other values.
        label: a name for readers, by default that of the function.
        writes: whether it writes into its first argument, and nothing else is needed of it.

    >>> import numpy as np
    >>> from nn_tensor import Tensor
    >>> from nn_tensor.extend import noted
    >>> noted(np.add, Tensor([1.0, 3.0]), Tensor([2.0, 0.0]))
    array([3., 3.], dtype=float32)
    """
    arrays = tuple([x._data if isinstance(x, Variable) else x for x in arguments])
    if not observers or (observer := current_observer()) is None:
        return function(*arrays)
    result = unobserved(function, *arrays)
    label = label or function.__name__
    observer.inputs(label, arguments, arrays)
    observer.computed(function, arrays, {}, result, label, writes)
    return result


def read(value: Any, how: str) -> Any:
    """Return the array of a Tensor, other values as they are, and tell the observer of it."""
    if not isinstance(value, Variable):
        return value
    if observers and (observer := current_observer()) is not None:
        observer.read(value, how)
    return value._data


def after_call(
    mode: int, info: Any, inputs: Any, values: list[Any], options: Any, results: Any, result: Any
) -> None:
    """Check and tell what an operation computed, as the `mode` of the call says."""
    given, named = options
    if mode & CHECK:
        check_result(describe_call(info, values, given, named), values, result)
    if mode & OBSERVE:
        observer = observers[get_ident()]
        observer.inputs(info.name, inputs, values)
        with common_device_scope([*values, result._data]) as xp:
            arguments = (xp, *values, *given)
        output = tuple(results) if info.keeps else results[0]
        function = info.forward
        for name, option in named.items():
            if type(option) is list and any(map(is_array, option)):  # the function has filled it
                function, output = _filling(function, name), (output, *option)
                named = {key: x for key, x in named.items() if key != name}
                break
        observer.computed(function, arguments, named, output, info.name, False)


def _filling(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """Return a function that fills a list among its options as one that returns what is in it."""

    @functools.wraps(function)
    def filled(*arguments: Any, **options: Any) -> tuple[Any, ...]:
        found: list[Any] = []
        return function(*arguments, **options, **{name: found}), *found

    return filled
