"""What a thread has switched on: recording, detection of NaN, kernel choice, mixed precision.

The switches are `threading.local` and not context variables: a new thread starts with the
defaults in every build of CPython.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = [
    "AUTOCAST",
    "CHECK",
    "OBSERVE",
    "RECORD",
    "Switch",
    "current_modes",
    "detect_anomaly",
    "enable_grad",
    "is_anomaly_detected",
    "is_grad_enabled",
    "modes",
    "no_grad",
    "recording",
]

F = TypeVar("F", bound=Callable[..., Any])


RECORD = 1  # a bit of `modes.call`: calls record what `backward` needs
CHECK = 2  # a bit of `modes.call`: calls are checked for NaN, and where they were is remembered
AUTOCAST = 4  # a bit of `modes.call`: inputs are cast to the precision of the operation
OBSERVE = 8  # a bit of `modes.call`: calls are told to the observer of the thread


class _Modes(threading.local):
    def __init__(self) -> None:
        self.call = RECORD  # one number, which the fast path of a call reads once
        self.kernels = "auto"
        self.autocast: Any = None  # the casts of the innermost block, where AUTOCAST is set
        self.saved: list[tuple[str, Any]] = []

    @property
    def grad(self) -> bool:
        return self.call & RECORD != 0


modes = _Modes()


class Switch(contextlib.ContextDecorator):
    """Sets one mode of this thread for a `with` block or a decorated function."""

    _mode: str
    _value: Any

    def __enter__(self) -> None:
        modes.saved.append((self._mode, getattr(modes, self._mode)))
        setattr(modes, self._mode, self._value)

    def __exit__(self, *exception: object) -> None:
        setattr(modes, *modes.saved.pop())

    def __call__(self, function: F) -> F:
        import inspect

        if inspect.isgeneratorfunction(function) or inspect.iscoroutinefunction(function):
            raise TypeError(
                f"{type(self).__name__}: cannot decorate {function.__qualname__}, whose body runs "
                "after the call returns; use a with block inside it"
            )
        return super().__call__(function)


class _CallSwitch(Switch):
    """Sets or clears bits of what calls do."""

    _cleared = 0
    _set = 0

    def __enter__(self) -> None:
        before = modes.call
        modes.saved.append(("call", before))
        modes.call = before & ~self._cleared | self._set


class no_grad(_CallSwitch):  # noqa: N801 - the name that users of every framework know
    """Disable the recording of gradients in this thread, as a context manager or a decorator.

    Blocks nest, and the previous state is restored after an exception too.

    >>> from nn_tensor import Tensor, no_grad
    >>> x = Tensor([1.0, 2.0], requires_grad=True)
    >>> with no_grad():
    ...     y = x * 2
    >>> y.requires_grad
    False
    """

    _cleared = RECORD


class enable_grad(_CallSwitch):  # noqa: N801
    """Enable the recording of gradients inside a `no_grad` block, in this thread.

    >>> from nn_tensor import Tensor, enable_grad, no_grad
    >>> x = Tensor([1.0], requires_grad=True)
    >>> with no_grad(), enable_grad():
    ...     y = x * 2
    >>> y.requires_grad
    True
    """

    _set = RECORD


class _BackwardPass(_CallSwitch):
    """Recorded or not, and in the dtypes that the forward pass has chosen."""

    _cleared = AUTOCAST | RECORD

    def __init__(self, recorded: bool) -> None:
        self._set = RECORD if recorded else 0


_RECORDED, _UNRECORDED = _BackwardPass(True), _BackwardPass(False)


def recording(create_graph: bool) -> Switch:
    """Return the context of a backward pass, in which operations are recorded or not."""
    return _RECORDED if create_graph else _UNRECORDED


def current_modes() -> tuple[Any, ...]:
    """Return what this thread has switched on, in a form that can be compared and hashed.

    >>> from nn_tensor import no_grad
    >>> from nn_tensor.extend import current_modes
    >>> before = current_modes()
    >>> with no_grad():
    ...     current_modes() == before
    False
    """
    casts = modes.autocast if modes.call & AUTOCAST else None
    return modes.call, modes.kernels, casts and casts.dtype


def is_anomaly_detected() -> bool:
    """Return whether this thread is inside `nn_tensor.detect_anomaly`.

    >>> from nn_tensor.extend import is_anomaly_detected
    >>> is_anomaly_detected()
    False
    """
    return modes.call & CHECK != 0


def is_grad_enabled() -> bool:
    """Return whether operations of this thread record what `backward` needs.

    >>> from nn_tensor import is_grad_enabled
    >>> is_grad_enabled()
    True
    """
    return modes.grad


class detect_anomaly(_CallSwitch):  # noqa: N801
    """Find where a NaN first appears, or where a saved array was changed: slow, for debugging.

    Inside the block an operation that produces NaN from inputs without NaN raises at once, forward
    and backward, and names the operation and the line of the program that called it. Arrays that
    an operation saved are checksummed, so that a change outside of the framework (through a
    NumPy array that shares their memory) raises in `backward` too.

    Raises:
        FloatingPointError: inside the block, at the first NaN.

    >>> from nn_tensor import Tensor, detect_anomaly, sqrt
    >>> import numpy as np
    >>> with np.errstate(invalid="ignore"), detect_anomaly():
    ...     sqrt(Tensor([-1.0]))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    FloatingPointError: sqrt(x: float32 (1,)) produced NaN from inputs without NaN, called at ...
    """

    _set = CHECK
