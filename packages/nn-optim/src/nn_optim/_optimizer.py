"""`Optimizer`: everything about optimizers but the rules themselves."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from numbers import Real
from typing import Any, Self, cast, overload

import numpy as np
from nn_tensor import Tensor
from nn_tensor.extend import Device, array_module, device_of, mark_written, put

__all__ = ["Flag", "Optimizer", "Option", "State"]

Array = Any

METADATA_KEY = "__metadata__"  # where every state dict of these packages has its configuration
FORMAT_VERSION = 1


class Option:
    """A number that steers an optimizer, checked whenever it is set.

    Args:
        least: the smallest value allowed.
        below: what the value must stay below.

    >>> from nn_optim import SGD
    >>> from nn_tensor import zeros
    >>> SGD([zeros(2, requires_grad=True)], momentum=1.5)
    Traceback (most recent call last):
        ...
    ValueError: momentum: expected a number >= 0 and < 1, got 1.5
    """

    name: str

    def __init__(self, least: float = 0.0, below: float = math.inf) -> None:
        self.least = least
        self.below = below

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, optimizer: None, owner: type) -> Self: ...
    @overload
    def __get__(self, optimizer: Optimizer, owner: type) -> float: ...
    def __get__(self, optimizer: Optimizer | None, owner: type) -> Self | float:
        if optimizer is None:
            return self
        value: float = optimizer._options[self.name]
        return value

    def __set__(self, optimizer: Optimizer, value: Any) -> None:
        optimizer._options[self.name] = self.check(value)

    def check(self, value: Any) -> float:
        """Return `value` as a Python number, or raise."""
        if isinstance(value, (bool, np.bool_)) or not isinstance(value, Real):
            raise TypeError(f"{self.name}: expected a number, got {value!r}")
        number = float(value)
        if not self.least <= number < self.below:  # NaN compares as false
            above = "and finite" if math.isinf(self.below) else f"and < {self.below:g}"
            raise ValueError(
                f"{self.name}: expected a number >= {self.least:g} {above}, got {number}"
            )
        return number


class Flag(Option):
    """An option that is on or off."""

    def check(self, value: Any) -> bool:
        """Return `value` as a bool, or raise."""
        if not isinstance(value, (bool, np.bool_)):
            raise TypeError(f"{self.name}: expected True or False, got {value!r}")
        return bool(value)


class _LearningRate(Option):
    """The rate of the next step, decayed; to set it starts the decay anew."""

    @overload
    def __get__(self, optimizer: None, owner: type) -> Self: ...
    @overload
    def __get__(self, optimizer: Optimizer, owner: type) -> float: ...
    def __get__(self, optimizer: Optimizer | None, owner: type) -> Self | float:
        if optimizer is None:
            return self
        rate: float = optimizer._options["lr"]
        return rate / (1.0 + optimizer.decay * optimizer._decays)

    def __set__(self, optimizer: Optimizer, value: Any) -> None:
        super().__set__(optimizer, value)
        optimizer._decays = 0


class State:
    """What an optimizer remembers of one parameter.

    ``state[name]`` is an array with the shape, dtype and device of the parameter, zeros at first;
    the names are those that the rule declares. `step` counts the steps of this parameter: 1
    during the first.
    """

    __slots__ = ("_arrays", "_followed", "step")

    def __init__(self) -> None:
        self.step = 0
        self._arrays: dict[str, Array] = {}
        self._followed: tuple[Array, tuple[str, ...]] = (None, ())

    def __getitem__(self, name: str) -> Array:
        return self._arrays[name]

    def __setitem__(self, name: str, array: Array) -> None:
        self._arrays[name] = array

    def follow(self, parameter: Array, names: tuple[str, ...], position: int) -> None:
        """Hold the arrays `names` and no others, on the device of `parameter`, in its dtype."""
        if self._followed[0] is parameter and self._followed[1] == names:
            return  # as in the step before: the usual case
        arrays = self._arrays
        dtype, device = _working_dtype(parameter), device_of(parameter)
        if arrays.keys() != set(names):
            xp = array_module(parameter)
            new = {n: xp.zeros(parameter.shape, dtype) for n in names if n not in arrays}
            arrays = {name: arrays.get(name, new.get(name)) for name in names}
        for name, array in arrays.items():
            if array.shape != parameter.shape:
                raise ValueError(
                    f"parameters[{position}]: its shape {array.shape} became {parameter.shape}"
                )
            if array.dtype != dtype or device_of(array) != device:
                moved = put(array, device).astype(dtype, copy=False)
                arrays = {**arrays, name: moved}
        self._arrays = arrays
        self._followed = (parameter, names)


class Optimizer(ABC):
    r"""Moves parameters so that a loss becomes smaller, by the gradients that `backward` left.

    The learning rate after :math:`t` calls of `decay_lr` is

    .. math:: \text{lr}_t = \frac{\text{lr}_0}{1 + \text{decay} \cdot t}

    as the time-based decay of Keras (its optimizers' `decay` argument, today
    ``InverseTimeDecay`` with one decay step). Nothing decays without that call.

    A rule of your own names the arrays that it keeps, and says what happens to one parameter::

        class Momentum(Optimizer):
            def arrays(self, options):
                return ("velocity",)

            def update(self, parameter, gradient, state, options):
                velocity = state["velocity"]
                velocity *= 0.9
                velocity += gradient
                parameter -= options["lr"] * velocity

    Args:
        parameters: leaf Tensors that require a gradient, ``model.parameters`` for example.
            One that occurs several times counts once.
        lr: the learning rate, finite and at least 0.
        decay: how fast `decay_lr` lowers it, finite and at least 0.

    Raises:
        ValueError: if there are no parameters, if one is not a leaf or requires no gradient (the
            message holds its position), or if an option is out of its range.
        TypeError: if one of the parameters is no Tensor, or an option no number.
    """

    lr = _LearningRate()
    decay = Option()

    def __init__(self, parameters: Iterable[Tensor], lr: float, decay: float = 0.0) -> None:
        self._parameters = _checked(parameters)
        self._states = [State() for _ in self._parameters]
        self._options: dict[str, Any] = {}
        self._decays = 0
        self.lr = lr
        self.decay = decay

    @property
    def parameters(self) -> tuple[Tensor, ...]:
        """The parameters, in order and without duplicates."""
        return tuple(self._parameters)

    def decay_lr(self) -> None:
        """Lower the learning rate by one more step of its decay.

        >>> from nn_optim import SGD
        >>> from nn_tensor import zeros
        >>> optimizer = SGD([zeros(2, requires_grad=True)], lr=1.0, decay=0.5)
        >>> for _ in range(2):
        ...     optimizer.decay_lr()
        >>> optimizer.lr
        0.5
        """
        self._decays += 1

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for parameter in self._parameters:
            parameter.zero_grad()

    def step(self) -> None:
        """Move every parameter that has a gradient, in place.

        Raises:
            ValueError: if a parameter cannot be moved (its array is read-only, or has another
                shape than in earlier steps); then none was moved.
        """
        options = {**self._options, "lr": self.lr}
        names = self.arrays(options)
        ready = []
        for position, parameter in enumerate(self._parameters):
            if parameter.has_grad:
                array, gradient = parameter.data, cast(Tensor, parameter.grad).data
                state = self._states[position]
                if not getattr(array.flags, "writeable", True):  # CuPy knows no such flag
                    raise ValueError(f"parameters[{position}]: its array is read-only")
                state.follow(array, names, position)
                ready.append((array, gradient, state))
        for array, gradient, state in ready:
            state.step += 1
            dtype = _working_dtype(array)
            if gradient.dtype != dtype:
                gradient = gradient.astype(dtype)
            if array.dtype == dtype and array.flags.c_contiguous:
                self.update(array, gradient, state, options)
            else:
                block = array.astype(dtype, order="C")
                self.update(block, gradient, state, options)
                array[...] = block
            mark_written(array)

    def arrays(self, options: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the names of the arrays that the rule keeps of each parameter: none here."""
        return ()

    @abstractmethod
    def update(
        self, parameter: Array, gradient: Array, state: State, options: Mapping[str, Any]
    ) -> None:
        """Move one parameter in place: the rule of the optimizer.

        Args:
            parameter: a C-contiguous array, to be written into; float16 comes as float32.
            gradient: of its shape, dtype and device, not to be written into.
            state: the arrays of this parameter, and its count of steps.
            options: the options by name; ``lr`` is the decayed learning rate.
        """

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next steps depend on, but the parameters, as a flat mapping.

        The keys are ``groups.0.<option>``, ``groups.0.decays``, and for each parameter
        ``<position>.step`` and ``<position>.<array>``; their values are host arrays that nobody
        else holds. ``__metadata__`` names the class. With the parameters and this, training
        continues bit for bit.

        >>> from nn_optim import SGD
        >>> from nn_tensor import zeros
        >>> list(SGD([zeros(2, requires_grad=True)], momentum=0.9).state_dict())[:3]
        ['groups.0.lr', 'groups.0.decay', 'groups.0.momentum']
        """
        found: dict[str, Any] = {
            f"groups.0.{name}": np.array(value) for name, value in self._options.items()
        }
        found["groups.0.decays"] = np.array(self._decays)
        names = self.arrays(self._options)
        for position, (parameter, state) in enumerate(
            zip(self._parameters, self._states, strict=True)
        ):
            found[f"{position}.step"] = np.array(state.step)
            if state.step:
                state.follow(parameter.data, names, position)
                for name in names:
                    found[f"{position}.{name}"] = np.array(put(state[name], Device("cpu")))
        found[METADATA_KEY] = {"format_version": FORMAT_VERSION, "class": type(self).__name__}
        return found

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state_dict` was called: take over its options and arrays.

        Arrays take the dtype and the device of their parameters.

        Raises:
            ValueError: listing every key that is missing, unexpected, of another shape, or out
                of range; then nothing was changed.
            TypeError: if `state` is not a mapping.
        """
        options: dict[str, Any] = {}
        states: list[State] = []
        read = _Reader(state, type(self).__name__)
        for name in self._options:
            check = getattr(type(self), name).check
            options[name] = read.scalar(f"groups.0.{name}", check, self._options[name])
        decays = read.scalar("groups.0.decays", _count, 0)
        names = self.arrays(options)
        for position, parameter in enumerate(self._parameters):
            loaded = State()
            loaded.step = read.scalar(f"{position}.step", _count, 0)
            if loaded.step:
                for name in names:
                    loaded[name] = read.array(f"{position}.{name}", parameter.data)
            states.append(loaded)
        read.finish()
        self._options, self._decays, self._states = options, decays, states

    def __repr__(self) -> str:
        options = {**self._options, "lr": self.lr}
        settings = ", ".join(f"{name}={value}" for name, value in options.items())
        return f"{type(self).__name__}({len(self._parameters)} parameters, {settings})"


def _working_dtype(parameter: Array) -> np.dtype[Any]:
    """Return the dtype to compute in: squares of gradients leave the range of float16."""
    dtype: np.dtype[Any] = parameter.dtype
    return dtype if dtype.itemsize > 2 else np.dtype(np.float32)


def _count(value: Any) -> int:
    """Return `value` as a count, or raise."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"expected a count, got {value!r}")
    return value


class _Reader:
    """Reads a state dict, and notes what is wrong with it until `finish`."""

    def __init__(self, state: Mapping[str, Any], name: str) -> None:
        if not isinstance(state, Mapping):
            raise TypeError(f"state: expected a dict from key to array, got {type(state).__name__}")
        self.state = state
        self.name = name
        self.unread = {key: None for key in state if key != METADATA_KEY}
        self.problems: list[str] = []
        metadata = state.get(METADATA_KEY)
        if isinstance(metadata, Mapping):
            if metadata.get("class", name) != name:
                self.problems.append(f"it belongs to {metadata['class']}, not to {name}")
            version = metadata.get("format_version")
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
        try:
            return check(array.item())  # of an array with several elements this is a ValueError
        except (TypeError, ValueError) as error:
            self.problems.append(f"{key}: {error}")
            return otherwise

    def array(self, key: str, parameter: Array) -> Array:
        """Return a copy of the array at `key` that fits to `parameter`."""
        array = self._take(key)
        if array is not None and array.shape != parameter.shape:
            self.problems.append(f"{key}: expected shape {parameter.shape}, got {array.shape}")
        elif array is not None:
            return put(array.astype(_working_dtype(parameter)), device_of(parameter))
        return None

    def finish(self) -> None:
        """Raise if anything was wrong."""
        problems = self.problems + [f"unexpected: {key}" for key in self.unread]
        if problems:
            lines = "".join(f"\n  {problem}" for problem in problems)
            raise ValueError(
                f"{self.name}.load_state_dict: the state does not fit, nothing was changed{lines}"
            )


def _checked(parameters: Iterable[Tensor]) -> list[Tensor]:
    """Return the parameters, each once, or raise."""
    if isinstance(parameters, Tensor) or not isinstance(parameters, Iterable):
        raise TypeError(
            f"parameters: expected several Tensors, got {type(parameters).__name__}; "
            "put a single one into a list"
        )
    found: dict[int, Tensor] = {}
    for position, parameter in enumerate(parameters):
        if not isinstance(parameter, Tensor):
            raise TypeError(
                f"parameters[{position}]: expected a Tensor, got {type(parameter).__name__}"
            )
        if not parameter.is_leaf:
            raise ValueError(
                f"parameters[{position}]: is the result of an operation, expected a leaf"
            )
        if not parameter.requires_grad:
            raise ValueError(f"parameters[{position}]: does not require a gradient")
        found.setdefault(id(parameter), parameter)
    if not found:
        raise ValueError("parameters: expected at least one Tensor, got none")
    return list(found.values())
