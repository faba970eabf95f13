"""What a thread has switched on: recording of gradients, detection of NaN, and kernel choice.

The switches are `threading.local` and not context variables: a new thread starts with the
defaults in every build of CPython.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["detect_anomaly", "enable_grad", "is_grad_enabled", "no_grad"]

F = TypeVar("F", bound=Callable[..., Any])


CHECK = 2  # a call computes, records and checks
RECORD = 1  # a call computes and records
COMPUTE = 0


class _Modes(threading.local):
    def __init__(self) -> None:
        self.grad = True
        self.anomaly = False
        self.kernels = "auto"
        self.call = RECORD  # what the two first mean, in one number for the fast path
        self.saved: list[tuple[str, Any]] = []

    def set(self, name: str, value: Any) -> None:
        setattr(self, name, value)
        self.call = CHECK if self.anomaly else RECORD if self.grad else COMPUTE


modes = _Modes()


class Switch(contextlib.ContextDecorator):
    """Sets one mode of this thread for a `with` block or a decorated function."""

    _mode: str
    _value: Any

    def __enter__(self) -> None:
        modes.saved.append((self._mode, getattr(modes, self._mode)))
        modes.set(self._mode, self._value)

    def __exit__(self, *exception: object) -> None:
        modes.set(*modes.saved.pop())

    def __call__(self, function: F) -> F:
        import inspect

        if inspect.isgeneratorfunction(function) or inspect.iscoroutinefunction(function):
            raise TypeError(
                f"{type(self).__name__}: cannot decorate {function.__qualname__}, whose body runs "
                "after the call returns; use a with block inside it"
            )
        return super().__call__(function)


class no_grad(Switch):  # noqa: N801 - the name that users of every framework know
    """Switch recording off in this thread, as a context manager or a decorator.

    Blocks nest, and an exception restores what was before.

    >>> from nn_tensor import Tensor, no_grad
    >>> x = Tensor([1.0, 2.0], requires_grad=True)
    >>> with no_grad():
    ...     y = x * 2
    >>> y.requires_grad
    False
    """

    _mode, _value = "grad", False


class enable_grad(Switch):  # noqa: N801
    """Switch recording on again inside a `no_grad` block, in this thread.

    >>> from nn_tensor import Tensor, enable_grad, no_grad
    >>> x = Tensor([1.0], requires_grad=True)
    >>> with no_grad(), enable_grad():
    ...     y = x * 2
    >>> y.requires_grad
    True
    """

    _mode, _value = "grad", True


def is_grad_enabled() -> bool:
    """Tell whether operations of this thread record what `backward` needs.

    >>> from nn_tensor import is_grad_enabled
    >>> is_grad_enabled()
    True
    """
    return modes.grad


class detect_anomaly(Switch):  # noqa: N801
    """Find where a NaN first appears, or where a saved array was changed: slow, for debugging.

    Inside the block an operation that produces NaN from inputs without one raises at once, forward
    and backward, and names the operation and the line of the program that called it. Arrays that
    an operation saved are checksummed, so that a change behind the framework's back (through a
    NumPy array that shares their memory) raises in `backward` too.

    Raises:
        FloatingPointError: inside the block, at the first NaN.

    >>> from nn_tensor import Tensor, detect_anomaly, sqrt
    >>> import numpy as np
    >>> with np.errstate(invalid="ignore"), detect_anomaly():
    ...     sqrt(Tensor([-1.0]))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    FloatingPointError: sqrt(x: float32 (1,)) produced NaN from inputs without one, called at ...
    """

    _mode, _value = "anomaly", True
