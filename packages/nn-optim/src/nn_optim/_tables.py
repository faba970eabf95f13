"""Tables of the arrays of several parameters that are updated together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ctypes import addressof, c_char
from typing import Any, Self

import numpy as np
from nn_tensor.extend import array_of, empty_aligned, gradient_of, mark_dirty

from nn_optim._aligned import PAGE, address, aligned
from nn_optim._blocks import Blocks
from nn_optim._group import SMALL, Array, State
from nn_optim._update_rule import UpdateRule

__all__ = ["AddressTable", "BlockTable"]

_PART = 8192  # elements that a thread updates at a time


class _Table:
    """The arrays of several parameters, which are where they were in the step before.

    Args:
        states: those of the parameters.
        rule: the update rule.
    """

    def __init__(self, states: Sequence[State], rule: UpdateRule) -> None:
        self._parameters: list[Array] = [state.array for state in states]
        self._dtype = states[0].dtype
        self._names = [name for name in rule.state if name in states[0]]
        for state in states:
            state.table = self

    @classmethod
    def of(cls, states: Sequence[State], rule: UpdateRule) -> Self:
        """Return the table of these states, the one of the step before if it holds no others."""
        table = states[0].table
        if type(table) is cls and len(table._parameters) == len(states):
            for state in states:
                if state.table is not table:
                    return cls(states, rule)
            return table
        return cls(states, rule)

    def fits(self, states: Sequence[State], initial: dict[str, float]) -> bool:
        """Return whether all `states` are as in the step before, and have a gradient."""
        step = states[0].step
        if len(states) != len(self._parameters) or states[0]._initial != initial:
            return False
        for state, array in zip(states, self._parameters, strict=True):
            parameter = state.parameter
            if state.table is not self or state.step != step or not array.flags.writeable:
                return False
            if array_of(parameter) is not array or gradient_of(parameter) is None:
                return False
        return True

    def _gradients(self, states: Sequence[State]) -> list[Array]:
        """Return the gradients, in the dtype of the table."""
        found = []
        for state, array in zip(states, self._parameters, strict=True):
            gradient = gradient_of(state.parameter)
            if gradient.shape != array.shape:
                shapes = f"{array.shape}, got a gradient of {gradient.shape}"
                raise ValueError(f"parameters[{state.position}]: expected shape {shapes}")
            if gradient.dtype != self._dtype:
                gradient = gradient.astype(self._dtype)
            found.append(gradient)
        return found

    def _finish(self, states: Sequence[State]) -> None:
        """Count an update."""
        for state in states:
            state.step += 1
        mark_dirty(*self._parameters)


class AddressTable(_Table):
    """Where the arrays of parameters are in memory, for a compiled loop over all of them.

    Only the addresses of the gradients are looked up in each step. Parameters are contiguous and of
    one dtype.
    """

    def __init__(self, states: Sequence[State], rule: UpdateRule) -> None:
        super().__init__(states, rule)
        self._kept: list[list[Array]] = []  # as long as the addresses are
        for state in states:
            for number, name in enumerate(self._names, 1):
                state[name] = _placed(state[name], number, state.array)
            self._kept.append([state.array, *(state[name] for name in self._names)])
        self._addresses = np.zeros((len(states), 2 + len(self._names)), np.int64)
        self._of_gradients = self._addresses[:, 1]
        for row, arrays in zip(self._addresses, self._kept, strict=True):
            parameter, *others = map(address, arrays)
            row[:] = parameter, 0, *others
        self._size = sum(array.size for array in self._parameters)
        self._slices, self._firsts = _divide([array.size for array in self._parameters])
        self._loop: Any = None

    def apply(
        self, loop: Callable[..., Any], options: Sequence[Any], states: Sequence[State]
    ) -> None:
        """Update the parameters of `states`, those of which this is the table.

        Args:
            loop: the compiled rule, to be bound to its arguments.
            options: the options of the rule.
        """
        if loop is not self._loop:
            self._loop, self._options = loop, np.empty(len(options))
            self._step = loop((self._addresses, self._options, self._slices, self._firsts))
        self._options[:] = options
        gradients = self._gradients(states)
        for n, gradient in enumerate(gradients):
            try:  # the fastest way to an address, but for arrays in another order or read-only
                self._of_gradients[n] = addressof(c_char.from_buffer(gradient))
            except (TypeError, ValueError):
                gradients[n] = gradient.copy("C")
                self._of_gradients[n] = address(gradients[n])
        self._step(len(self._firsts) - 1, self._size)  # about a nanosecond an element
        self._finish(states)


class BlockTable(_Table):
    """The arrays of parameters, which NumPy updates block by block.

    Calling NumPy takes longer than computing a thousand elements, so small parameters and their
    gradients are copied into one array at each update. Their state arrays become views of its.
    """

    def __init__(self, states: Sequence[State], rule: UpdateRule) -> None:
        super().__init__(states, rule)
        small = [n for n, state in enumerate(states) if state.array.size <= SMALL]
        if len(small) == 1 and states[small[0]].looped:  # nothing to put it together with
            small = []
        for state in states:
            for name in self._names:
                state[name] = aligned(state[name], address(state.array))
        large = [n for n in range(len(states)) if n not in small]
        arrays = [[state.get(name) for name in rule.state] for state in states]
        parts = [[self._parameters[n], *arrays[n]] for n in large]
        self._copied = [self._parameters[n] for n in small]
        if small:
            self._gradient, *joined = self._join(states, small, rule)
            parts.append(joined)
        self._large, self._small = large, small
        self._rule = rule.on_numpy(max(part[0].size for part in parts), self._dtype)
        self._blocks = [Blocks(self._rule, *map(_flat, part)) for part in parts]

    def _join(self, states: Sequence[State], small: Sequence[int], rule: UpdateRule) -> list[Any]:
        """Return new arrays for the gradients and the parameters of `small`, and their state."""
        shapes = [states[n].array.shape for n in small]
        stops = np.cumsum([states[n].array.size for n in small])

        def new() -> tuple[Array, list[Array]]:
            row = empty_aligned((int(stops[-1]),), self._dtype)
            parts = zip(np.split(row, stops[:-1]), shapes, strict=True)
            return row, [part.reshape(shape) for part, shape in parts]

        gradient, _ = new()
        parameter, self._views = new()
        joined: list[Any] = [gradient, parameter]
        for name in rule.state:
            row = None
            if name in self._names:
                row, views = new()
                for n, view in zip(small, views, strict=True):
                    view[...] = states[n][name]
                    states[n][name] = view
            joined.append(row)
        return joined

    def apply(self, options: Sequence[Any], states: Sequence[State]) -> None:
        """Update the parameters of `states`, those of which this is the table."""
        gradients = self._gradients(states)
        self._rule.set(*options)
        flat = [gradients[n].reshape(-1) for n in self._large]
        if self._small:
            np.concatenate(self._copied, axis=None, out=self._blocks[-1].parameter)
            np.concatenate([gradients[n] for n in self._small], axis=None, out=self._gradient)
            flat.append(self._gradient)
        for blocks, gradient in zip(self._blocks, flat, strict=True):
            blocks.update(gradient)
        if self._small:
            for array, view in zip(self._copied, self._views, strict=True):
                array[...] = view
        self._finish(states)


def _flat(array: Array) -> Array:
    return None if array is None else array.reshape(-1)


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
    return aligned(array, address(parameter) + number * (PAGE // 4), PAGE)
