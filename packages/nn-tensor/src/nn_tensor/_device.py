"""Where arrays live: device strings, array modules and moves between them.

CuPy is imported here and nowhere else, and only once something asks for CUDA.
"""

from __future__ import annotations

import contextlib
import functools
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from nn_tensor._deferred_errors import raise_deferred_errors

__all__ = [
    "CPU",
    "Device",
    "common_device_scope",
    "device_of",
    "device_scope",
    "has_cuda",
    "is_array",
    "namespace_of",
    "parse_device",
    "put",
    "same_device",
    "xp_for",
]

# NumPy and CuPy share no array type that checkers know, so arrays are `Any` in annotations.
Array = Any


class Device:
    """A device: ``str()`` gives the name that users write."""

    __slots__ = ("index", "kind")

    def __init__(self, kind: str, index: int = 0) -> None:
        self.kind: str = kind
        self.index: int = index

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and (self.kind, self.index) == (other.kind, other.index)

    def __hash__(self) -> int:
        return hash((self.kind, self.index))

    def __str__(self) -> str:
        return self.kind if self.index == 0 else f"{self.kind}:{self.index}"

    def __repr__(self) -> str:
        return f"Device({str(self)!r})"


CPU = Device("cpu")
_DEVICE_PATTERN = re.compile(r"cpu|cuda(?::(\d+))?")


def parse_device(device: str | Device) -> Device:
    """Parse ``'cpu'``, ``'cuda'`` or ``'cuda:N'`` (``'cuda'`` is ``'cuda:0'``).

    The spelling alone is checked here; whether the device is available is checked when it is used.

    Raises:
        ValueError: if it is none of these names.
        TypeError: for anything but a string or a `Device`.

    >>> str(parse_device("cuda:1")), parse_device("cuda:0") == parse_device("cuda")
    ('cuda:1', True)
    """
    if isinstance(device, Device):
        return device
    if not isinstance(device, str):
        raise TypeError(f"device: expected 'cpu', 'cuda' or 'cuda:N', got {device!r}")
    match = _DEVICE_PATTERN.fullmatch(device)
    if match is None:
        raise ValueError(f"device: expected 'cpu', 'cuda' or 'cuda:N', got {device!r}")
    return CPU if device == "cpu" else Device("cuda", int(match[1] or 0))


_INSTALL = "pip install 'nn-tensor[cuda13]' (or [cuda12])"


@functools.cache
def _cuda_problem() -> str | None:
    """Say what keeps CUDA from working, or None where it works."""
    try:
        import cupy
    except ModuleNotFoundError as error:
        if error.name != "cupy":
            return f"CuPy does not import ({error}); reinstall it: {_INSTALL}"
        return f"CuPy is not installed: {_INSTALL}"
    except Exception as error:  # a broken CuPy raises whatever its loader raises
        return f"CuPy is installed but does not import ({type(error).__name__}: {error})"
    runtime = cupy.cuda.runtime
    built_for = runtime.runtimeGetVersion() // 1000
    try:
        runtime.getDeviceCount()
    except Exception as error:
        driver = runtime.driverGetVersion() // 1000  # 0 where there is none
        if driver == 0:
            return f"no NVIDIA driver is installed ({error}): install the driver"
        if driver < built_for:
            return (
                f"the NVIDIA driver is for CUDA {driver}, CuPy for CUDA {built_for} ({error}): "
                f"update the driver, or pip install 'nn-tensor[cuda{driver}]' instead"
            )
        return f"the NVIDIA driver shows no device ({error})"
    try:  # compiles a kernel, and multiplies with cuBLAS
        ones = cupy.ones((2, 2))
        float((ones @ ones).sum())
    except Exception as error:
        return (
            f"the CUDA libraries are incomplete ({error}): pip install 'cupy-cuda{built_for}x[ctk]'"
        )
    return None


def has_cuda() -> bool:
    """Return whether CuPy can be imported and a CUDA device is available (determined once)."""
    return _cuda_problem() is None


def xp_for(device: Device) -> Any:
    """Return the array module of a device: NumPy, or CuPy where CUDA works.

    Raises:
        RuntimeError: if CUDA cannot be used; the message says which part is missing.
        ValueError: if there are fewer devices than the index asks for.
    """
    if device.kind == "cpu":
        return np
    problem = _cuda_problem()
    if problem is not None:
        raise RuntimeError(f"device {str(device)!r} cannot be used: {problem}")
    import cupy

    count = cupy.cuda.runtime.getDeviceCount()
    if device.index >= count:
        raise ValueError(f"device: {str(device)!r} does not exist, there are {count} CUDA devices")
    return cupy


def is_array(value: object) -> bool:
    """Return whether `value` is a NumPy or CuPy array (or NumPy scalar), without importing CuPy."""
    return isinstance(value, (np.ndarray, np.generic)) or _is_cupy(value)


def _is_cupy(value: object) -> bool:
    cupy = sys.modules.get("cupy")
    return cupy is not None and isinstance(value, getattr(cupy, "ndarray", ()))


def namespace_of(array: Array) -> Any:
    """Return the module whose functions compute on `array`: NumPy, or CuPy for its arrays."""
    if _is_cupy(array):
        return sys.modules["cupy"]
    return np


def device_of(array: Array) -> Device:
    """Return the device that holds an array or Tensor; numbers count as being on the CPU."""
    if type(array) is np.ndarray:
        return CPU
    array = getattr(array, "_data", array)
    return Device("cuda", array.device.id) if _is_cupy(array) else CPU


_HOST_SCOPE = contextlib.nullcontext()


def device_scope(array: Array) -> contextlib.AbstractContextManager[Any]:
    """Return a context in which the device of an array or Tensor is the current one.

    CuPy allocates and launches on the current device, so code that computes with arrays by itself
    does so inside this context; operations enter it by themselves. For NumPy it does nothing.

    >>> import numpy as np
    >>> from nn_tensor.extend import device_scope
    >>> values = np.zeros(2)
    >>> with device_scope(values):
    ...     values[...] = 1
    """
    if type(array) is np.ndarray:
        return _HOST_SCOPE
    array = getattr(array, "_data", array)
    return array.device if _is_cupy(array) else _HOST_SCOPE


@contextlib.contextmanager
def common_device_scope(values: Sequence[Any]) -> Iterator[Any]:
    """Enter the device of the arrays among `values`, and give the module that computes on them.

    Raises:
        ValueError: if they are on different devices.
    """
    # NumPy's scalars are values on no device: they combine with arrays on any
    arrays = [v for v in values if is_array(v) and not isinstance(v, np.generic)]
    for other in arrays[1:]:
        if device_of(other) != device_of(arrays[0]):
            raise ValueError(
                f"the inputs are on different devices, {device_of(arrays[0])!s} and "
                f"{device_of(other)!s}; move one with .to(...)"
            )
    first = arrays[0] if arrays else None
    with device_scope(first):
        yield namespace_of(first)


def put(array: Array, device: Device) -> Array:
    """Return `array` on `device`: itself if it is there already, otherwise a copy."""
    here = device_of(array)
    if here == device:
        return array
    xp = xp_for(device)
    if device == CPU:
        host = sys.modules["cupy"].asnumpy(array)
        raise_deferred_errors()  # the device has been waited for
        return host
    with xp.cuda.Device(device.index):
        return xp.asarray(array)


def same_device(name: str, array: Array, other: Array) -> None:
    """Raise unless both arrays lie on one device."""
    if type(array) is type(other) is np.ndarray:
        return
    if device_of(array) != device_of(other):
        raise ValueError(f"{name}: is on {device_of(array)!s}, expected {device_of(other)!s}")
