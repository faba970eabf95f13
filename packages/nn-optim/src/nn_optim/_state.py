"""What an optimizer remembers, and how a state dict is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from nn_tensor.extend import array_module, device_of, device_scope, put

__all__ = [
    "FORMAT_VERSION",
    "METADATA_KEY",
    "Bundle",
    "Reader",
    "State",
    "working_dtype",
]

Array = Any

METADATA_KEY = "__metadata__"  # where every state dict of these packages has its configuration
FORMAT_VERSION = 1


class State:
    """What an optimizer remembers of one parameter.

    ``state[name]`` is an array with the shape, dtype and device of the parameter, zeros at first;
    the names are those that the rule declares. `step` counts the steps of this parameter: 1
    during the first.
    """

    __slots__ = ("_arrays", "_followed", "bundle", "step")

    def __init__(self) -> None:
        self.step = 0
        self._arrays: dict[str, Array] = {}
        self._followed: tuple[Array, tuple[str, ...]] = (None, ())
        self.bundle: Bundle | None = None

    def __getitem__(self, name: str) -> Array:
        return self._arrays[name]

    def __setitem__(self, name: str, array: Array) -> None:
        self._arrays[name] = array

    def __getstate__(self) -> tuple[int, dict[str, Array]]:
        # A copy's arrays are no views of the bundle's rows, and its parameter is another.
        return self.step, dict(self._arrays)

    def __setstate__(self, content: tuple[int, dict[str, Array]]) -> None:
        self.step, self._arrays = content
        self._followed = (None, ())
        self.bundle = None

    def follow(self, parameter: Array, names: tuple[str, ...], position: int) -> None:
        """Hold the arrays `names` and no others, on the device of `parameter`, in its dtype."""
        if self._followed[0] is parameter and self._followed[1] == names:
            return  # as in the step before: the usual case
        arrays = self._arrays
        dtype, device = working_dtype(parameter), device_of(parameter)
        if arrays.keys() != set(names):
            xp = array_module(parameter)
            with device_scope(parameter):
                new = {n: xp.zeros(parameter.shape, dtype) for n in names if n not in arrays}
            arrays = {name: arrays.get(name, new.get(name)) for name in names}
        for name, array in arrays.items():
            if array.shape != parameter.shape:
                raise ValueError(
                    f"parameters[{position}]: its shape {array.shape} became {parameter.shape}"
                )
            if array.dtype != dtype or device_of(array) != device:
                with device_scope(parameter):
                    moved = put(array, device).astype(dtype, copy=False)
                arrays = {**arrays, name: moved}
        if arrays is not self._arrays:
            self._arrays, self.bundle = arrays, None
        self._followed = (parameter, names)


class Bundle:
    """Small arrays side by side in rows, so that a rule moves many parameters at once.

    NumPy takes longer to be called than to compute a thousand elements. The arrays of the
    members' states become views of the bundle's rows; parameters and gradients are copied.

    Args:
        states: what is remembered of each parameter.
        shapes: the shape of each parameter.
        names: the names of the arrays of a state.
        dtype: what is computed in.
    """

    def __init__(
        self,
        states: Sequence[State],
        shapes: Sequence[tuple[int, ...]],
        names: tuple[str, ...],
        dtype: np.dtype[Any],
    ) -> None:
        self.count = len(states)
        self._names, self._dtype = names, dtype
        size = int(sum(np.prod(shape, dtype=int) for shape in shapes))
        self.state = State()
        self.parameter, self.gradient = np.empty((2, size), dtype)
        self._parameters = _views(self.parameter, shapes)
        self._gradients = _views(self.gradient, shapes)
        rows = {name: np.empty(size, dtype) for name in names}
        for name, row in rows.items():
            self.state[name] = row
            for state, view in zip(states, _views(row, shapes), strict=True):
                view[...] = state[name]
                state[name] = view
        for state in states:
            state.bundle = self

    def holds(self, states: Sequence[State], names: tuple[str, ...], dtype: np.dtype[Any]) -> bool:
        """Tell whether it is the bundle of all these states, and of no others."""
        return (
            self.count == len(states)
            and self._names == names
            and self._dtype == dtype
            and all(state.bundle is self for state in states)
        )

    def gather(self, parameters: Sequence[Array], gradients: Sequence[Array], step: int) -> None:
        """Copy parameters and gradients into the rows."""
        self.state.step = step
        for views, arrays in ((self._parameters, parameters), (self._gradients, gradients)):
            for view, array in zip(views, arrays, strict=True):
                view[...] = array

    def scatter(self, parameters: Sequence[Array]) -> None:
        """Copy the moved parameters back."""
        for array, view in zip(parameters, self._parameters, strict=True):
            array[...] = view


def _views(row: Array, shapes: Sequence[tuple[int, ...]]) -> list[Array]:
    """Cut a row into arrays of the given shapes."""
    views, start = [], 0
    for shape in shapes:
        stop = start + int(np.prod(shape, dtype=int))
        views.append(row[start:stop].reshape(shape))
        start = stop
    return views


def working_dtype(parameter: Array) -> np.dtype[Any]:
    """Return the dtype to compute in: squares of gradients leave the range of float16."""
    dtype: np.dtype[Any] = parameter.dtype
    return dtype if dtype.itemsize > 2 else np.dtype(np.float32)


class Reader:
    """Reads a state dict, and notes what is wrong with it until `finish`."""

    def __init__(self, state: Mapping[str, Any], name: str) -> None:
        if not isinstance(state, Mapping):
            raise TypeError(f"state: expected a dict from key to array, got {type(state).__name__}")
        self.state = state
        self.name = name
        self.unread = {key: None for key in state if key != METADATA_KEY}
        self.problems: list[str] = []
        metadata = state.get(METADATA_KEY)
        self.metadata: Mapping[str, Any] = metadata if isinstance(metadata, Mapping) else {}
        if self.metadata.get("class", name) != name:
            self.problems.append(f"it belongs to {self.metadata['class']}, not to {name}")
        version = self.metadata.get("format_version")
        if isinstance(version, int) and version > FORMAT_VERSION:
            self.problems.append(f"format version {version} is newer than {FORMAT_VERSION}")

    def _take(self, key: str) -> Any:
        if key not in self.state:
            self.problems.append(f"missing: {key}")
            return None
        del self.unread[key]
        array = np.asarray(self.state[key])
        if array.dtype.kind not in "biuf":
            self.problems.append(f"{key}: expected real numbers, got {array.dtype}")
            return None
        return array

    def scalar(self, key: str, check: Callable[[Any], Any], otherwise: Any) -> Any:
        """Return the checked number at `key`, or `otherwise` if there is none."""
        array = self._take(key)
        if array is None:
            return otherwise
        if array.size != 1:
            self.problems.append(f"{key}: expected one number, got shape {array.shape}")
            return otherwise
        return self._checked(key, check, array.item(), otherwise)

    def value(self, key: str, check: Callable[[Any], Any], otherwise: Any) -> Any:
        """Return the checked number, or list of numbers, at `key`."""
        array = self._take(key)
        return otherwise if array is None else self._checked(key, check, array.tolist(), otherwise)

    def _checked(self, key: str, check: Callable[[Any], Any], value: Any, otherwise: Any) -> Any:
        try:
            return check(value)
        except (TypeError, ValueError) as error:
            self.problems.append(f"{key}: {error}")
            return otherwise

    def count(self, key: str) -> int:
        """Return the whole number at `key`, 0 or more."""
        number: int = self.scalar(key, _count, 0)
        return number

    def array(self, key: str, parameter: Array) -> Array:
        """Return a copy of the array at `key` that fits to `parameter`."""
        array = self._take(key)
        if array is not None and array.shape != parameter.shape:
            self.problems.append(f"{key}: expected shape {parameter.shape}, got {array.shape}")
        elif array is not None:
            return put(array.astype(working_dtype(parameter)), device_of(parameter))
        return None

    def finish(self) -> None:
        """Raise if anything was wrong."""
        problems = self.problems + [f"unexpected: {key}" for key in self.unread]
        if problems:
            lines = "".join(f"\n  {problem}" for problem in problems)
            raise ValueError(
                f"{self.name}.load_state_dict: the state does not fit, nothing was changed{lines}"
            )


def _count(value: Any) -> int:
    """Return `value` as a count, or raise."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"expected a count, got {value!r}")
    return value
