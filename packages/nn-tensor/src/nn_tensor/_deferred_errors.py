"""Checks of values on CUDA that do not wait for the device.

To learn on the host whether an index is out of bounds, a program would have to wait until the
device has computed it. Instead a kernel notes the wrong value in memory that both sides see, and
goes on with one that is allowed. The error is raised when the next value is read, which waits for
the device anyway, or by the next step of an optimizer.
"""

from __future__ import annotations

import functools
import itertools
import struct
import sys
from typing import Any

import numpy as np

from nn_tensor._dtype import is_floating

__all__ = ["check_range", "raise_deferred_errors"]

Array = Any
Error = tuple[type[Exception], str, str]  # the class, the message, the format of the value

_FEW = 8  # of which Python's numbers take less time than an array

_numbers: dict[Error, int] = {}  # from errors to what the device writes for them
_new_number = itertools.count(1).__next__
_notes: dict[int, Array] = {}  # by device: the number of an error or 0, and the wrong value


def check_range(
    values: Array,
    low: float,
    high: float,
    error: type[Exception],
    message: str,
    allowed: int | None = None,
) -> Array:
    """Return `values`, or raise `error` if one is less than `low` or more than `high`.

    On CUDA nothing waits: what is returned are integers within the bounds, and the error is raised
    when the next value is read. NaN passes.

    Args:
        values: an array of integers or floats.
        low: the smallest value.
        high: the largest.
        error: the class of the error.
        message: its text, in which ``{}`` becomes the first wrong value.
        allowed: another integer that passes.

    >>> import numpy as np
    >>> from nn_tensor.extend import check_range
    >>> check_range(np.array([0, 5]), 0, 4, IndexError, "token {} is not in the vocabulary")
    Traceback (most recent call last):
    IndexError: token 5 is not in the vocabulary
    """
    if not _on_host(values):
        if low <= high:
            return _check_on_device(values, low, high, error, message, allowed)
        # nothing is allowed that a wrong value could become
        check_range(values.get(), low, high, error, message, allowed)
        return values
    if values.dtype.kind in "iu" and values.size:  # as nearly always: two passes, no array
        if values.size <= _FEW:
            numbers = values.ravel().tolist()
            extremes = min(numbers), max(numbers)
        else:
            extremes = np.minimum.reduce(values, axis=None), np.maximum.reduce(values, axis=None)
        if low <= extremes[0] and extremes[1] <= high:
            return values
    wrong: Any = (values < low) | (values > high)
    if allowed is not None:
        wrong &= values != allowed
    if wrong.any():
        raise error(message.format(values[wrong].reshape(-1)[0].item()))
    return values


def _on_host(values: Any) -> bool:
    return isinstance(values, (np.ndarray, np.generic))


def _check_on_device(
    values: Array, low: float, high: float, error: type[Exception], message: str, allowed: Any
) -> Array:
    cp, floats = sys.modules["cupy"], is_floating(values.dtype)
    key = error, message, "d" if floats else "q"
    number = _numbers.get(key) or _numbers.setdefault(key, _new_number())
    with values.device:
        note = _note(cp, values.device.id).ctypes.data
        if floats:
            _check_floats(cp)(values, low, high, note, number, size=values.size)
            return values
        limits = np.iinfo(values.dtype)  # beyond them nothing has to be compared
        bounds = max(int(low), int(limits.min)), min(int(high), int(limits.max))
        passes = allowed is not None
        return _check_integers(cp)(values, *bounds, passes, allowed or 0, note, number)


def _note(cp: Any, device: int) -> Array:
    if device not in _notes:
        memory = cp.cuda.alloc_pinned_memory(16)  # mapped into the address space of the device
        note = np.frombuffer(memory, np.uint64, 2)
        note[:] = 0
        _notes.setdefault(device, note)
    return _notes[device]


_NOTE = """
    unsigned long long *words = (unsigned long long *)note;
    if (atomicCAS(words, 0ull, (unsigned long long)number) == 0)
"""


@functools.cache
def _check_integers(cp: Any) -> Any:
    return cp.ElementwiseKernel(
        "T value, T low, T high, bool passes, int64 allowed, uint64 note, uint64 number",
        "T result",
        f"""
        result = value < low ? low : value > high ? high : value;
        if (result != value) {{
            if (passes && (long long)value == allowed) {{
                result = value;
            }} else {{
                {_NOTE} words[1] = (unsigned long long)(long long)value;
            }}
        }}
        """,
        "nn_tensor_check_integers",
    )


@functools.cache
def _check_floats(cp: Any) -> Any:
    return cp.ElementwiseKernel(
        "raw T values, float64 low, float64 high, uint64 note, uint64 number",
        "",
        f"""
        const double value = (double)values[i];
        if (value < low || value > high) {{
            {_NOTE} words[1] = (unsigned long long)__double_as_longlong(value);
        }}
        """,
        "nn_tensor_check_floats",
    )


def raise_deferred_errors() -> None:
    """Raise the error of a check on CUDA that has failed; for use after the device was waited for.

    >>> from nn_tensor.extend import raise_deferred_errors
    >>> raise_deferred_errors()
    """
    for device, note in _notes.items():
        if note[0]:
            sys.modules["cupy"].cuda.Device(device).synchronize()
            number, bits = map(int, note)
            note[:] = 0
            error, message, kind = next(key for key, n in _numbers.items() if n == number)
            raise error(message.format(*struct.unpack(kind, struct.pack("Q", bits))))
