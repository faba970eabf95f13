"""Groups of parameters that share their options, with the state of each parameter."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from ctypes import addressof, c_char
from typing import Any

import numpy as np
from nn_tensor import Tensor
from nn_tensor.extend import (
    array_module,
    array_of,
    current_observer,
    device_of,
    device_scope,
    gradient_of,
    mark_dirty,
    put,
)

from nn_optim._options import Option, Options

__all__ = [
    "AddressTable",
    "Array",
    "FlatBuffer",
    "Group",
    "State",
    "check_parameters",
    "check_tensors",
]

# Up to this size, calling NumPy for each array costs more than copying it to a buffer and back.
_SMALL = 16384

_PAGE = 4096  # bytes

_PART = 8192  # elements that a thread updates at a time

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
        self.buffer: AddressTable | FlatBuffer | None = None
        self.array: Array = None  # that of the parameter, after `prepare`
        self._initial: dict[str, float] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "buffer": None, "array": None}

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
        elif type(parameter) is np.ndarray and parameter.size <= _SMALL:
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

    def apply(self, update: Update, options: Options, states: Sequence[State]) -> None:
        """Update the parameter; `states` is this one."""
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


class AddressTable:
    """Where the arrays of several parameters are in memory, for a compiled loop over all of them.

    Parameters and state are where they were in the step before, so only the addresses of the
    gradients are looked up in each.

    Args:
        states: those of the parameters, contiguous and of one dtype.
        names: the names of the state arrays.
    """

    def __init__(self, states: Sequence[State], names: Sequence[str]) -> None:
        self._kept: list[list[Array]] = []  # as long as the addresses are
        for state in states:
            for number, name in enumerate(names, 1):
                state[name] = _placed(state[name], number, state.array)
            self._kept.append([state.array, *(state[name] for name in names)])
            state.buffer = self
        self._shapes = [state.array.shape for state in states]
        self._dtype = states[0].array.dtype
        self._parameters = [state.array for state in states]
        self._addresses = np.zeros((len(states), 2 + len(names)), np.int64)
        self._gradients = self._addresses[:, 1]
        for row, arrays in zip(self._addresses, self._kept, strict=True):
            parameter, *others = map(_address, arrays)
            row[:] = parameter, 0, *others
        self._size = sum(array.size for array in self._parameters)
        self._slices, self._firsts = _divide([array.size for array in self._parameters])
        self._rule: Any = None

    @classmethod
    def of(cls, states: Sequence[State], names: Sequence[str]) -> AddressTable:
        """Return the table of these states, the one of the step before if it holds no others."""
        table = states[0].buffer
        if type(table) is AddressTable and len(table._kept) == len(states):
            for state in states:
                if state.buffer is not table:
                    return cls(states, names)
            return table
        return cls(states, names)

    def fits(self, states: Sequence[State], initial: dict[str, float]) -> bool:
        """Return whether all `states` are as in the step before, and have a gradient."""
        step = states[0].step
        if len(states) != len(self._parameters) or states[0]._initial != initial:
            return False
        for state, array in zip(states, self._parameters, strict=True):
            parameter = state.parameter
            if state.buffer is not self or state.step != step or not array.flags.writeable:
                return False
            if array_of(parameter) is not array or gradient_of(parameter) is None:
                return False
        return True

    def apply(
        self, rule: Callable[..., Any], options: Sequence[Any], states: Sequence[State]
    ) -> None:
        """Update the parameters of `states`, those of which this is the table.

        Args:
            rule: the compiled rule, to be bound to its arguments.
            options: the options of the rule.
        """
        if rule is not self._rule:
            self._rule, self._options = rule, np.empty(len(options))
            self._step = rule((self._addresses, self._options, self._slices, self._firsts))
        self._options[:] = options
        copies = []
        for n, state in enumerate(states):
            gradient = gradient_of(state.parameter)
            if gradient.shape != self._shapes[n]:
                shapes = f"{self._shapes[n]}, got a gradient of {gradient.shape}"
                raise ValueError(f"parameters[{state.position}]: expected shape {shapes}")
            if gradient.dtype != self._dtype:
                gradient = gradient.astype(self._dtype)
                copies.append(gradient)
            try:  # the fastest way to an address, but for arrays in another order or read-only
                self._gradients[n] = addressof(c_char.from_buffer(gradient))
            except (TypeError, ValueError):
                copies.append(gradient := gradient.copy("C"))
                self._gradients[n] = _address(gradient)
        self._step(len(self._firsts) - 1, self._size)  # about a nanosecond an element
        for state in states:
            state.step += 1
        mark_dirty(*self._parameters)


def _divide(sizes: Sequence[int]) -> tuple[Array, Array]:
    """Divide arrays into slices, and these into parts of about equal numbers of elements.

    Returns:
        For each slice the number of the array, its first element and its end; for each part its
        first slice, and at the end the number of slices.
    """
    slices: list[tuple[int, int, int]] = []
    firsts, room = [0], _PART
    for number, size in enumerate(sizes):
        for start in range(0, size, _PART):
            stop = min(start + _PART, size)
            if stop - start > room:
                firsts.append(len(slices))
                room = _PART
            slices.append((number, start, stop))
            room -= stop - start
    return np.array(slices, np.int64).reshape(-1, 3), np.array([*firsts, len(slices)])


def _placed(array: Array, number: int, parameter: Array) -> Array:
    """Return a state array where a loop reads and writes it together with its parameter fastest.

    It begins as far into a line of the cache as the parameter, so that no vector crosses two lines,
    and elsewhere in a page of memory: the processor takes equal places in pages for one address.
    """
    wanted = (_address(parameter) + number * (_PAGE // 4)) % _PAGE
    if array.flags.carray and (array.nbytes < _PAGE or _address(array) % _PAGE == wanted):
        return array
    memory = np.empty(array.nbytes + _PAGE, np.uint8)
    start = (wanted - _address(memory)) % _PAGE
    placed = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    placed[...] = array
    return placed


def _address(array: Array) -> int:
    return int(array.__array_interface__["data"][0])


class FlatBuffer(State):
    """Copies of several small parameters and of their gradients, concatenated.

    Calling NumPy takes longer than computing a thousand elements. The arrays of the states become
    views of those of the buffer; parameters and gradients are copied at each update.
    """

    def __init__(self, states: Sequence[State]) -> None:
        super().__init__()
        self._shapes = [state.parameter.shape for state in states]
        size = sum(state.parameter.size for state in states)
        self._row, self._gradient = np.empty((2, size), states[0].dtype)
        self._parameters, self._gradients = self._split(self._row), self._split(self._gradient)
        for name in states[0]:
            self[name] = np.empty_like(self._row)
            for state, view in zip(states, self._split(self[name]), strict=True):
                view[...] = state[name]
                state[name] = view
        for state in states:
            state.buffer = self

    @classmethod
    def of(cls, states: Sequence[State]) -> FlatBuffer:
        """Return the buffer of these states, the one of the step before if it holds no others."""
        buffer = states[0].buffer
        if type(buffer) is not FlatBuffer or len(buffer._shapes) != len(states):
            return cls(states)
        return buffer if all(state.buffer is buffer for state in states) else cls(states)

    def _split(self, row: Array) -> list[Array]:
        """Return consecutive views of `row` in the shapes of the parameters."""
        stops = np.cumsum([np.prod(shape, dtype=int) for shape in self._shapes])
        return [v.reshape(s) for v, s in zip(np.split(row, stops[:-1]), self._shapes, strict=True)]

    def apply(self, update: Update, options: Options, states: Sequence[State]) -> None:
        """Update the parameters of `states`, those of which this is the buffer."""
        for view, state in zip(self._parameters, states, strict=True):
            view[...] = state.array
        for view, state in zip(self._gradients, states, strict=True):
            view[...] = state.parameter.grad.data
        self.step: int = states[0].step + 1
        update(self._row, self._gradient, self, options)
        for view, state in zip(self._parameters, states, strict=True):
            state.array[...] = view
            state.step = self.step
        mark_dirty(*[state.array for state in states])


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
