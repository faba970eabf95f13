"""Groups of parameters that share their options, with the state of each parameter."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from nn_tensor import Tensor
from nn_tensor.extend import (
    array_module,
    current_observer,
    device_of,
    device_scope,
    mark_dirty,
    put,
)

from nn_optim._options import Option, Options

__all__ = ["SMALL", "Array", "Group", "State", "check_parameters", "check_tensors"]

# Up to this size, calling NumPy for each array costs more than copying it to a buffer and back.
SMALL = 16384

_IN_LOOPS = (np.dtype(np.float32), np.dtype(np.float64))

Array = Any
Update = Callable[[Array, Array, "State", Options], None]


class State(dict[str, Array]):
    """The state arrays of one parameter, by name.

    They have the shape and the device of the parameter, and its dtype or, for half precision,
    float32. `step` counts the updates of the parameter; it is 1 during the first.
    """

    step: int
    dtype: np.dtype[Any]
    looped: Any

    def __init__(self, parameter: Tensor | None = None, position: int = 0) -> None:
        self.parameter: Any = parameter
        self.position = position
        self.load(0, {})

    def load(self, step: int, arrays: Mapping[str, Array]) -> None:
        """Take other arrays, which `prepare` moves to where the parameter is."""
        self.clear()
        self.update(arrays)
        self.step = step
        self.table: Any = None  # that of all parameters that are updated together
        self.array: Array = None  # that of the parameter, after `prepare`
        self._initial: dict[str, float] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "table": None, "array": None}

    def compute_dtype(self) -> np.dtype[Any]:
        """Return the dtype of an update: squares of gradients leave the range of float16."""
        dtype: np.dtype[Any] = self.parameter.dtype
        return dtype if dtype.itemsize > 2 else np.dtype(np.float32)

    def prepare(self, initial: dict[str, float]) -> None:
        """Keep the arrays `initial` and no others, where the parameter is and in its dtype.

        Args:
            initial: the names of the arrays, with the number that a new one is filled with.

        Raises:
            ValueError: if its shape has changed.
        """
        parameter = self.parameter.data
        if parameter is self.array and initial == self._initial:
            return
        dtype, arrays = self.compute_dtype(), {}
        with device_scope(parameter):
            for name, value in initial.items():
                array = self.get(name)
                if array is None:
                    array = array_module(parameter).full(parameter.shape, value, dtype)
                if array.shape != parameter.shape:
                    where = f"parameters[{self.position}]"
                    raise ValueError(f"{where}: its shape {array.shape} became {parameter.shape}")
                array = put(array, device_of(parameter))
                arrays[name] = array.astype(dtype, order="C", copy=False)
        self.load(self.step, arrays)
        self.array, self.dtype, self._initial = parameter, dtype, initial
        # what a loop over addresses updates together has the same value other than None
        in_order = type(parameter) is np.ndarray and parameter.flags.carray
        self.looped = dtype.char if in_order and parameter.dtype in _IN_LOOPS else None
        # what is updated together otherwise has the same value other than None
        self.batch: Any = None
        if type(parameter) is not np.ndarray and parameter.flags.c_contiguous:
            self.batch = device_of(parameter), parameter.dtype
        elif self.looped or (type(parameter) is np.ndarray and parameter.size <= SMALL):
            self.batch = dtype

    def snapshot(self) -> Callable[[], None]:
        """Remember the parameter and its state, and return a function that restores them."""
        array, step = self.parameter.data, self.step
        kept = [(array, array.copy()), *((a, a.copy()) for a in self.values())]
        arrays = {**self}

        def restore() -> None:
            if [*map(id, arrays.values())] != [*map(id, self.values())]:  # they may have moved
                self.load(step, arrays)
            self.step = step
            for target, values in kept:
                with device_scope(target):
                    target[...] = values
            mark_dirty(array)

        return restore

    def apply(self, update: Update, options: Options) -> None:
        """Update the parameter."""
        self.step += 1
        with device_scope(self.array):
            parameter = self.array.astype(self.dtype, order="C", copy=False)
            gradient = self.parameter.grad.data.astype(self.dtype, copy=False)
            update(parameter, gradient, self, options)
            if parameter is not self.array:
                self.array[...] = parameter
        mark_dirty(self.array)

    def arrays(self, names: Sequence[str]) -> list[Array]:
        """Return the arrays of an update on a device, contiguous, those of the state by `names`."""
        gradient = array_module(self.array).ascontiguousarray(self.parameter.grad.data)
        return [self.array, gradient, *map(self.get, names)]


class Group:
    """Parameters of an optimizer that share their options, which are read and set by name.

    ``group["lr"]`` is the learning rate of the next step, decayed; setting it restarts the decay.
    ``dict(group)`` holds all options.

    Raises:
        KeyError: for an option that the optimizer does not have.
        ValueError: for a value out of range.
        TypeError: for a value of the wrong type.

    >>> from nn_optim import SGD
    >>> from nn_tensor import zeros
    >>> weights, bias = zeros(2, 2, requires_grad=True), zeros(2, requires_grad=True)
    >>> optimizer = SGD([{"parameters": [weights]}, {"parameters": [bias], "lr": 0.5}], lr=0.1)
    >>> optimizer.groups[1]["lr"]
    0.5
    >>> optimizer.groups[1]["lr"] = 0.25
    >>> [group["lr"] for group in optimizer.groups]
    [0.1, 0.25]
    """

    def __init__(self, states: list[State], options: Options, declared: dict[str, Option]) -> None:
        self._states, self._options, self._declared = states, options, declared
        self._decays = 0
        self._scheduled: dict[float, float] = {}  # from a rate that a schedule set to its base

    @property
    def parameters(self) -> tuple[Tensor, ...]:
        """The parameters, in order and without duplicates."""
        return tuple(state.parameter for state in self._states)

    def __getitem__(self, name: str) -> Any:
        value = self._options[self._known(name)]
        return value / (1.0 + self._options["decay"] * self._decays) if name == "lr" else value

    def __setitem__(self, name: str, value: Any) -> None:
        if (observer := current_observer()) is not None:
            observer.refused(f"the option {name!r} of an optimizer was set")
        self._options[name] = self._declared[self._known(name)].check(value)
        if name == "lr":
            self._decays, self._scheduled = 0, {}

    def __iter__(self) -> Iterator[str]:
        return iter(self._options)

    def keys(self) -> Iterable[str]:
        """Return the names of the options."""
        return self._options.keys()

    def _known(self, name: str) -> str:
        if name not in self._options:
            raise KeyError(f"{name!r}: expected one of {', '.join(self._options)}")
        return name

    def current_options(self) -> dict[str, Any]:
        """Return all options, with the decayed learning rate."""
        return {**self._options, "lr": self["lr"]}

    def base_lr(self) -> float:
        """Return the learning rate that a new schedule starts from.

        That is the current one, unless another schedule set it: then it is the base of that
        schedule.
        """
        lr: float = self._options["lr"]
        return self._scheduled.get(lr, lr)

    def set_scheduled_lr(self, base: float, lr: float) -> None:
        """Set the learning rate that a schedule computed from `base`."""
        if self._options["lr"] != lr:
            self["lr"] = lr
        self._scheduled = {lr: base}

    def snapshot(self) -> Callable[[], None]:
        """Remember parameters, states and options, and return a function that restores them."""
        restores = [state.snapshot() for state in self._states]
        before = {"_options": {**self._options}, "_decays": self._decays}
        scheduled = {**self._scheduled}

        def restore() -> None:
            vars(self).update(before, _scheduled=scheduled)
            for function in restores:
                function()

        return restore

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={self[name]}" for name in self)
        return f"Group({len(self._states)} parameters, {options})"


def check_parameters(name: str, parameters: Any) -> list[Tensor]:
    """Return the parameters of a group, each once, or raise."""
    tensors = check_tensors(name, parameters)
    for position, tensor in enumerate(tensors):
        if not tensor.is_leaf:
            raise ValueError(f"{name}[{position}]: is the result of an operation, expected a leaf")
        if not tensor.requires_grad:
            raise ValueError(f"{name}[{position}]: does not require a gradient")
    if not tensors:
        raise ValueError(f"{name}: expected at least one Tensor, got none")
    return list({id(tensor): tensor for tensor in tensors}.values())


def check_tensors(name: str, tensors: Any) -> list[Tensor]:
    """Return one Tensor or several as a list, or raise."""
    if isinstance(tensors, Tensor):
        return [tensors]
    if isinstance(tensors, (str, Mapping)) or not isinstance(tensors, Iterable):
        raise TypeError(f"{name}: expected several Tensors, got {type(tensors).__name__}")
    found = list(tensors)
    for position, tensor in enumerate(found):
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{name}[{position}]: expected a Tensor, got {type(tensor).__name__}")
    return found
