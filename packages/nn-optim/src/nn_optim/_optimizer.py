"""`Optimizer`: everything about optimizers but the rules themselves."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, cast

import numpy as np
from nn_tensor import Tensor
from nn_tensor.extend import Device, device_scope, mark_dirty, put

from nn_optim._blocks import LENGTH
from nn_optim._group import Group, parse_group, parse_groups, refuse_shared
from nn_optim._options import Option, Setting
from nn_optim._state import (
    FORMAT_VERSION,
    METADATA_KEY,
    Bundle,
    Reader,
    State,
    working_dtype,
)

__all__ = ["Optimizer"]

Array = Any

# Below this, calling NumPy for each array costs more than copying it into a row and back.
_SMALL = LENGTH // 2


class Optimizer(ABC):
    r"""Moves parameters so that a loss becomes smaller, by the gradients that `backward` left.

    The learning rate after :math:`t` calls of `decay_lr` is

    .. math:: \text{lr}_t = \frac{\text{lr}_0}{1 + \text{decay} \cdot t}

    as the time-based decay of Keras (its optimizers' `decay` argument, today
    ``InverseTimeDecay`` with one decay step). Nothing decays without that call.

    Parameters may come in groups, each with options of its own; what a group does not say it
    takes from the optimizer's arguments::

        Adam([{"parameters": weights, "weight_decay": 0.1}, {"parameters": biases}], lr=0.001)

    An option of the optimizer reads as the common value of its groups, and to set it sets it in
    all of them; `groups` gives access to each.

    A rule of your own names the arrays that it keeps, and says what happens to one parameter::

        class Momentum(Optimizer):
            momentum = Option(below=1.0)

            def __init__(self, parameters, lr, momentum=0.9):
                super().__init__(parameters, lr, momentum=momentum)

            def arrays(self, options):
                return ("velocity",)

            def update(self, parameter, gradient, state, options):
                velocity = state["velocity"]
                velocity *= options["momentum"]
                velocity += gradient
                parameter -= options["lr"] * velocity

    Args:
        parameters: leaf Tensors that require a gradient, ``model.parameters`` for example, or
            dicts with ``"parameters"`` and options. One that occurs several times in a group
            counts once.
        lr: the learning rate, finite and at least 0.
        decay: how fast `decay_lr` lowers it, finite and at least 0.
        options: the other options that the rule declares.

    Raises:
        ValueError: if there are no parameters, if one is in two groups, is not a leaf or requires
            no gradient (the message holds its position), or if an option is out of its range.
        TypeError: if one of the parameters is no Tensor, or an option no number.
    """

    lr = Option()
    decay = Option()

    elementwise = False
    """Whether the rule moves each element by its own numbers alone, and writes arrays in place.

    Then `update` may be given several small parameters as one row. A class that has an `update`
    of its own says so itself.
    """

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "update" in vars(cls) and "elementwise" not in vars(cls):
            cls.elementwise = False

    def __init__(
        self, parameters: Iterable[Any], lr: float, decay: float = 0.0, **options: Any
    ) -> None:
        given = {"lr": lr, "decay": decay, **options}
        self._settings: dict[str, Setting[Any]] = {n: self._setting(n) for n in given}
        self._defaults = {n: self._settings[n].check(value) for n, value in given.items()}
        self._groups: list[Group] = []
        self._states: list[State] = []
        for tensors, own in parse_groups(parameters, self._settings):
            self._add(tensors, own)

    @classmethod
    def _setting(cls, name: str) -> Setting[Any]:
        setting = getattr(cls, name, None)
        if not isinstance(setting, Setting):
            raise TypeError(f"{cls.__name__}: has no option {name!r}")
        return setting

    def _add(self, tensors: tuple[Tensor, ...], own: Mapping[str, Any]) -> None:
        options = {**self._defaults, **own}
        self.check_options(options)
        self._groups.append(Group(tensors, options, self._settings))
        self._states += [State() for _ in tensors]

    def check_options(self, options: Mapping[str, Any]) -> None:  # noqa: B027
        """Raise if the options of a group do not go together: a rule's own affair."""

    def _option(self, name: str) -> Any:
        values = [group[name] for group in self._groups]
        if any(value != values[0] for value in values):
            raise ValueError(
                f"{name}: is {values} in the groups; read it from one, as groups[0][{name!r}]"
            )
        return values[0]

    def _set_option(self, name: str, value: Any) -> None:
        if name not in self._settings:  # a rule that sets its own after this class's __init__
            self._settings[name] = self._setting(name)
            self._defaults[name] = value
            for group in self._groups:
                group._options[name] = value
        for group in self._groups:
            group[name] = value

    @property
    def parameters(self) -> tuple[Tensor, ...]:
        """The parameters of all groups, in order and without duplicates."""
        return tuple(parameter for group in self._groups for parameter in group.parameters)

    @property
    def groups(self) -> tuple[Group, ...]:
        """The groups of parameters, with their options."""
        return tuple(self._groups)

    def add_group(self, group: Mapping[str, Any]) -> None:
        """Add a group: a dict with ``"parameters"`` and options, as in the constructor.

        Raises:
            ValueError: if it has no parameters, one that the optimizer has already, or an option
                that is unknown or out of range; then nothing was added.
            TypeError: if it is no dict, or holds something else than Tensors and numbers.

        >>> from nn_optim import SGD
        >>> from nn_tensor import zeros
        >>> optimizer = SGD([zeros(2, requires_grad=True)], lr=0.1)
        >>> optimizer.add_group({"parameters": [zeros(3, requires_grad=True)], "lr": 0.5})
        >>> [group["lr"] for group in optimizer.groups]
        [0.1, 0.5]
        """
        tensors, own = parse_group("group", group, self._settings)
        refuse_shared("group", tensors, (g.parameters for g in self._groups))
        self._add(tensors, own)

    def decay_lr(self) -> None:
        """Lower the learning rate of every group by one more step of its decay.

        >>> from nn_optim import SGD
        >>> from nn_tensor import zeros
        >>> optimizer = SGD([zeros(2, requires_grad=True)], lr=1.0, decay=0.5)
        >>> for _ in range(2):
        ...     optimizer.decay_lr()
        >>> optimizer.lr
        0.5
        """
        for group in self._groups:
            group._decays += 1

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for group in self._groups:
            for parameter in group.parameters:
                parameter.zero_grad()

    def step(self) -> None:
        """Move every parameter that has a gradient, in place.

        Raises:
            ValueError: if a parameter cannot be moved (its array is read-only, or has another
                shape than in earlier steps); then none was moved.
        """
        ready = []
        positions = itertools.count()  # zip asks it last, so that it loses none between groups
        for group in self._groups:
            options = dict(group)
            names = self.arrays(options)
            moving = []
            for parameter, position in zip(group.parameters, positions, strict=False):
                if parameter.has_grad:
                    array, gradient = parameter.data, cast(Tensor, parameter.grad).data
                    state = self._states[position]
                    if not getattr(array.flags, "writeable", True):  # CuPy knows no such flag
                        raise ValueError(f"parameters[{position}]: its array is read-only")
                    state.follow(array, names, position)
                    moving.append((array, gradient, state))
            ready.append((options, names, moving))
        for options, names, moving in ready:
            small: dict[tuple[Any, int], list[tuple[Array, Array, State]]] = {}
            for array, gradient, state in moving:
                if self.elementwise and type(array) is np.ndarray and array.size <= _SMALL:
                    alike = small.setdefault((working_dtype(array), state.step), [])
                    alike.append((array, gradient, state))
                else:
                    with device_scope(array):
                        self._move(array, gradient, state, options)
            for (dtype, _), alike in small.items():
                if len(alike) == 1:
                    self._move(*alike[0], options)
                else:
                    self._move_together(alike, names, dtype, options)

    def _move(
        self, array: Array, gradient: Array, state: State, options: Mapping[str, Any]
    ) -> None:
        state.step += 1
        dtype = working_dtype(array)
        if gradient.dtype != dtype:
            gradient = gradient.astype(dtype)
        if array.dtype == dtype and array.flags.c_contiguous:
            self.update(array, gradient, state, options)
        else:
            block = array.astype(dtype, order="C")
            self.update(block, gradient, state, options)
            array[...] = block
        mark_dirty(array)

    def _move_together(
        self,
        alike: list[tuple[Array, Array, State]],
        names: tuple[str, ...],
        dtype: np.dtype[Any],
        options: Mapping[str, Any],
    ) -> None:
        arrays, gradients, states = zip(*alike, strict=True)
        bundle = states[0].bundle
        if bundle is None or not bundle.holds(states, names, dtype):
            bundle = Bundle(states, [array.shape for array in arrays], names, dtype)
        for state in states:
            state.step += 1
        bundle.gather(arrays, gradients, states[0].step)
        self.update(bundle.parameter, bundle.gradient, bundle.state, options)
        bundle.scatter(arrays)
        for array in arrays:
            mark_dirty(array)

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

        The keys are ``groups.<group>.<option>``, ``groups.<group>.decays``, and for each
        parameter ``<position>.step`` and ``<position>.<array>``, the positions counted through
        all groups; their values are host arrays that nobody else holds. ``__metadata__`` names
        the class and the number of parameters in each group. With the parameters and this,
        training continues bit for bit.

        >>> from nn_optim import SGD
        >>> from nn_tensor import zeros
        >>> list(SGD([zeros(2, requires_grad=True)], momentum=0.9).state_dict())[:3]
        ['groups.0.lr', 'groups.0.decay', 'groups.0.momentum']
        """
        found: dict[str, Any] = {}
        for number, group in enumerate(self._groups):
            for name, value in group._options.items():
                found[f"groups.{number}.{name}"] = np.array(value)
            found[f"groups.{number}.decays"] = np.array(group._decays)
        for position, (parameter, state, names) in enumerate(self._remembered()):
            found[f"{position}.step"] = np.array(state.step)
            if state.step:
                state.follow(parameter.data, names, position)
                for name in names:
                    found[f"{position}.{name}"] = np.array(put(state[name], Device("cpu")))
        found[METADATA_KEY] = {
            "format_version": FORMAT_VERSION,
            "class": type(self).__name__,
            "groups": [len(group.parameters) for group in self._groups],
        }
        return found

    def _remembered(self) -> Iterable[tuple[Tensor, State, tuple[str, ...]]]:
        states = iter(self._states)
        for group in self._groups:
            names = self.arrays(dict(group))
            for parameter in group.parameters:
                yield parameter, next(states), names

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state_dict` was called: take over its options and arrays.

        Arrays take the dtype and the device of their parameters.

        Raises:
            ValueError: listing every key that is missing, unexpected, of another shape, or out
                of range; then nothing was changed.
            TypeError: if `state` is not a mapping.
        """
        read = Reader(state, type(self).__name__)
        sizes = [len(group.parameters) for group in self._groups]
        saved = read.metadata.get("groups", sizes)
        if saved != sizes:
            read.problems.append(f"expected groups of {sizes} parameters, got {saved}")
        loaded = []
        states: list[State] = []
        for number, group in enumerate(self._groups):
            options = {
                name: read.scalar(f"groups.{number}.{name}", self._settings[name].check, value)
                for name, value in group._options.items()
            }
            loaded.append((group, options, read.count(f"groups.{number}.decays")))
            names = self.arrays(options)
            for parameter in group.parameters:
                position, new = len(states), State()
                new.step = read.count(f"{position}.step")
                if new.step:
                    for name in names:
                        new[name] = read.array(f"{position}.{name}", parameter.data)
                states.append(new)
        read.finish()
        self._states = states
        for group, options, decays in loaded:
            group._options, group._decays = options, decays

    def __repr__(self) -> str:
        parts = [f"{len(self._states)} parameters"]
        if len(self._groups) > 1:
            parts[0] += f" in {len(self._groups)} groups"
        for name in self._settings:
            values = [group[name] for group in self._groups]
            same = all(value == values[0] for value in values)
            parts.append(f"{name}={values[0] if same else values}")
        return f"{type(self).__name__}({', '.join(parts)})"
