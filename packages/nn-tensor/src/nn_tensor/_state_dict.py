"""State dicts: how one is read, so that a load changes everything or nothing.

A state dict maps dotted paths to host arrays; under `METADATA_KEY` it holds its configuration.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np

from nn_tensor._convert import refuse_masked
from nn_tensor._device import CPU, device_of, device_scope, put
from nn_tensor._errors import describe
from nn_tensor._versions import mark_dirty

__all__ = ["FORMAT_VERSION", "METADATA_KEY", "StateDictReader", "write_array"]

METADATA_KEY = "__metadata__"
"""The key of a state dict under which its configuration stands; every other holds an array."""

FORMAT_VERSION = 1
"""The version of the state dicts that these packages write, under ``"format_version"``."""

T = TypeVar("T")
Array = Any

_MAX_COMPARED = 64  # keys of one shape that are compared by name, pair by pair


class StateDictReader:
    """Reads a state dict entry by entry and collects what is wrong; `finish` raises it all.

    Nothing may be written before `finish` has returned, so that a failed load changes nothing.

    Args:
        state: the state dict.
        caller: the function whose argument it is, for the message.

    Raises:
        TypeError: if `state` is not a mapping.

    >>> import numpy as np
    >>> reader = StateDictReader({"weight": np.zeros(3)}, "Dense.load_state_dict")
    >>> weights = reader.array("weights", (2,), np.float32)
    >>> reader.finish()
    Traceback (most recent call last):
        ...
    ValueError: Dense.load_state_dict: the state does not fit, nothing was changed
      missing: weights, shape (2,)
      unexpected: weight, float64 (3,)
    """

    def __init__(self, state: Mapping[str, Any], caller: str) -> None:
        if not isinstance(state, Mapping):
            raise TypeError(f"state: expected a dict from key to array, got {describe(state)}")
        self.caller = caller
        self.problems: list[str] = []
        self._entries = {key: value for key, value in state.items() if key != METADATA_KEY}
        self._unread = dict(self._entries)
        self._missing: dict[str, tuple[int, ...]] = {}
        metadata = state.get(METADATA_KEY)
        self.metadata: Mapping[str, Any] = metadata if isinstance(metadata, Mapping) else {}
        version = self.metadata.get("format_version")
        if isinstance(version, int) and version > FORMAT_VERSION:
            self.problems.append(
                f"{METADATA_KEY}: format version {version} is newer than {FORMAT_VERSION}, update"
            )

    def array(self, key: str, shape: tuple[int, ...], dtype: Any) -> Array:
        """Return a host copy in `dtype` of the array at `key`, or None if it does not fit."""
        if key not in self._entries:
            self._missing[key] = shape
            return None
        return self._read(key, lambda value: _fitting(value, shape, np.dtype(dtype)), None)

    def value(self, key: str, check: Callable[[Any], T], default: T) -> T:
        """Return ``check(value)`` of the number or list of numbers at `key`.

        What `check` raises as a TypeError or ValueError is noted, and `default` returned.
        """
        if key not in self._entries:
            self._missing[key] = ()
            return default
        return self._read(key, lambda value: check(_as_array(value).tolist()), default)

    def _read(self, key: str, read: Callable[[Any], Any], default: Any) -> Any:
        self._unread.pop(key, None)
        try:
            return read(self._entries[key])
        except (TypeError, ValueError) as error:
            self.problems.append(f"{key}: {error}")
            return default

    def finish(self) -> None:
        """Raise a ValueError that lists all that is wrong, if anything is."""
        missing = [f"missing: {key}, shape {shape}" for key, shape in self._missing.items()]
        unexpected = [f"unexpected: {key}, {describe(v)}" for key, v in self._unread.items()]
        shapes = {k: v.shape for k, v in self._unread.items() if hasattr(v, "shape")}
        named = {key: shape for key, shape in shapes.items() if isinstance(key, str)}
        renamed = [f"perhaps renamed: {a} -> {b}" for a, b in _renames(self._missing, named)]
        problems = [*missing, *unexpected, *renamed, *self.problems]
        if problems:
            lines = "".join(f"\n  {problem}" for problem in problems)
            raise ValueError(f"{self.caller}: the state does not fit, nothing was changed{lines}")


def write_array(tensor: Any, array: Array) -> None:
    """Write a host array of the same shape and dtype into the memory of `tensor`.

    A Tensor whose memory is read-only gets memory of its own instead.

    >>> import numpy as np
    >>> from nn_tensor import Tensor
    >>> x = Tensor([1.0, 2.0])
    >>> write_array(x, np.float32([3.0, 4.0]))
    >>> x
    Tensor([3., 4.])
    """
    data = tensor.data
    if getattr(data.flags, "writeable", True):
        moved = put(array, device_of(data))
        with device_scope(data):
            data[...] = moved
        mark_dirty(data)
    else:
        tensor.data = np.array(array)


def _as_array(value: Any) -> np.ndarray[Any, Any]:
    refuse_masked(value)
    try:
        array = value.numpy() if hasattr(value, "numpy") else np.asarray(put(value, CPU))
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"expected numbers, got {describe(value)}") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biufc":
        raise TypeError(f"expected numbers, got {describe(value)}")
    return array


def _fitting(value: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Return a copy, since `state` may hold the memory that will be written."""
    array = _as_array(value)
    if array.shape != shape:
        raise ValueError(f"expected shape {shape}, got {array.shape}")
    if not np.can_cast(array.dtype, dtype, "same_kind"):
        raise TypeError(f"expected {dtype}, got {array.dtype}, which does not convert")
    with np.errstate(all="ignore"):
        converted = np.array(array, dtype, order="C")
    if not np.can_cast(array.dtype, dtype, "safe"):
        if dtype.kind in "fc":
            lost = np.isfinite(array) & ~np.isfinite(converted)
        else:
            lost = converted != array
        if lost.any():
            raise ValueError(f"{array[lost].flat[0]} does not fit into {dtype}")
    return converted


def _renames(
    missing: Mapping[str, tuple[int, ...]], unexpected: Mapping[str, tuple[int, ...]]
) -> list[tuple[str, str]]:
    """Pair each missing key with the unexpected one of its shape that has the closest name."""
    pairs: list[tuple[str, str]] = []
    for shape in dict.fromkeys(missing.values()):
        new = [key for key in missing if missing[key] == shape][:_MAX_COMPARED]
        old = [key for key in unexpected if unexpected[key] == shape][:_MAX_COMPARED]
        alone = len(new) == len(old) == 1
        ranked = sorted(
            (-difflib.SequenceMatcher(None, o, n, False).ratio(), i, j, o, n)
            for i, n in enumerate(new)
            for j, o in enumerate(old)
        )
        taken: set[tuple[str, str]] = set()
        for closeness, _, _, o, n in ranked:
            if (closeness <= -0.5 or alone) and not taken & {("old", o), ("new", n)}:
                taken |= {("old", o), ("new", n)}
                pairs.append((o, n))
    return pairs
