"""Generates the Python function that replays a program: straight lines, no branches."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from typing import Any

import numpy as np
from nn_tensor.extend import array_of, new_tensor

from nn_jit._errors import JitError
from nn_jit._plan import last_uses, out_position, plan_buffers
from nn_jit._program import Call, Constant, Made, Program, TensorRef, Value, values_in
from nn_jit._results import checked
from nn_jit._same import layout_of

__all__ = ["generate"]

_NUMBERS = itertools.count()


def generate(program: Program) -> tuple[Callable[[Any], Any], str]:
    """Return the function that replays a program, given the leaves of its arguments; its text."""
    return _Generator(program).run()


def _as_number(x: Any) -> Any:
    return x if isinstance(x, (bool, int, float)) else x.item()


def _check_shape(array: Any, shape: tuple[int, ...], label: str) -> None:
    if array.shape != shape:
        raise JitError(
            f"{label} gave shape {array.shape}, and {shape} when the function was recorded: the "
            "shape depends on values; compute it outside of the function"
        )


def _check_layout(array: Any, expected: tuple[tuple[int, ...], Any, bool], label: str) -> None:
    """Check what comes from outside of the program: a compiled loop does not."""
    found = layout_of(array)
    if found != expected:
        words = [
            f"{dtype} {s}{'' if c else ', not in C order'}" for s, dtype, c in (found, expected)
        ]
        raise JitError(
            f"{label} gave {words[0]}, and {words[1]} when the function was recorded: operations "
            "that use it need the same shape, dtype and order in each call"
        )


_FUNCTIONS = {
    "array_of": array_of, "asarray": np.asarray, "check_layout": _check_layout,
    "check_shape": _check_shape, "checked": checked, "empty": np.empty, "new_tensor": new_tensor,
    "number": _as_number,
}  # fmt: skip


class _Generator:
    def __init__(self, program: Program) -> None:
        self.program = program
        self.space: dict[str, Any] = {**_FUNCTIONS}
        self.names: dict[int, str] = {}  # of values
        self.bound: dict[int, str] = {}  # of objects, by identity
        self.returned: dict[int, str] = {}  # Tensors that are made
        self.lines: list[str] = []
        self.last = last_uses(program)
        self.buffers = plan_buffers(program)
        self.fixed: dict[int, Any] = {}  # arrays that are the same in each replay, by their values
        calls = [c for c in program.calls if c.used and c.kind in ("operation", "fused")]
        self.operands = {id(v) for c in calls for v in values_in((c.arguments, c.options))}

    def bind(self, prefix: str, value: Any) -> str:
        """Return the global name of an object."""
        if value is None or value is True or value is False or type(value) is int:
            return repr(value)
        name = self.bound.setdefault(id(value), f"{prefix}{len(self.bound)}")
        self.space[name] = value
        return name

    def fix(self, value: Value, array: Any, prefix: str) -> None:
        """Name a value that has the same array in each replay."""
        self.names[id(value)], self.fixed[id(value)] = self.bind(prefix, array), array

    def text(self, template: Any) -> str:
        """Return the expression of an argument, or of what the function returns."""
        if isinstance(template, Value):
            return self.names[id(template)]
        if isinstance(template, Constant):
            return self.bind("c", template.value)
        if isinstance(template, TensorRef):
            number = template.number
            return self.bind("p", template.tensor) if number is None else f"x{number}"
        if isinstance(template, Made):
            return self.made(template)
        if isinstance(template, dict):
            items = (f"{self.bind('c', key)}: {self.text(x)}" for key, x in template.items())
            return "{" + ", ".join(items) + "}"
        parts = "".join(f"{self.text(part)}, " for part in template)
        if hasattr(template, "_fields"):
            return f"{self.bind('c', type(template))}({parts})"
        return f"[{parts}]" if isinstance(template, list) else f"({parts})"

    def made(self, result: Made) -> str:
        """Return the expression of a result; one that is returned twice is one Tensor."""
        value = self.names[id(result.value)]
        if result.is_number:
            return f"number({value})"
        if id(result) not in self.returned:
            self.returned[id(result)] = name = f"r{len(self.returned)}"
            value = f"asarray({value})" if result.value.zero_d else value
            self.lines.append(f"{name} = new_tensor({value})")
        return self.returned[id(result)]

    def run(self) -> tuple[Callable[[Any], Any], str]:
        program = self.program
        fetched = {id(tensor) for tensor in program.guards.fetched}
        arguments = "".join(f"x{n}, " for n in range(len(program.inputs)))
        if arguments:
            self.lines.append(f"{arguments}= leaves")
        for number, value in enumerate(program.inputs):
            self.names[id(value)] = f"a{number}" if value.is_tensor else f"x{number}"
            if value.is_tensor:
                self.lines.append(f"a{number} = array_of(x{number})")
        for tensor, value in program.states:
            if id(tensor) in fetched:
                self.names[id(value)] = name = f"s{value.number}"
                self.lines.append(f"{name} = array_of({self.bind('p', tensor)})")
            else:
                self.fix(value, value.array, "w")
        for position, call in enumerate(program.calls):
            if call.used:
                self.call(position, call)
        self.lines.append(f"return {self.text(program.output)}")
        source = "def replay(leaves):\n" + "".join(f"    {line}\n" for line in self.lines)
        exec(compile(source, f"<nn_jit program {next(_NUMBERS)}>", "exec"), self.space)
        function: Callable[[Any], Any] = self.space["replay"]
        return function, source

    def call(self, position: int, call: Call) -> None:
        used = values_in((call.arguments, call.options))
        for value in used:
            if value.source == "constant":
                self.fix(value, value.array, "k")
        for value in call.results:
            if id(value) in self.buffers:
                self.fix(value, self.buffers[id(value)], "b")
        if call.is_view and id(call.arguments[0]) in self.fixed:
            array = self.fixed[id(call.arguments[0])]
            if np.may_share_memory(view := call.function(array), array):  # else it is a copy
                return self.fix(call.results[0], view, "v")
        dead = self.loop(position, call) if call.kind == "fused" else self.line(position, call)
        dead |= {self.names[id(v)] for v in used if self.last[id(v)] == position}
        if dead := {name for name in dead if name[0] in "tl"}:
            self.lines.append(f"del {', '.join(sorted(dead))}")

    def loop(self, position: int, call: Call) -> set[str]:
        """Call a fused loop with its arguments, and with arrays to fill."""
        for k, value in enumerate(call.results):
            if id(value) not in self.fixed:
                self.names[id(value)] = name = f"t{position}_{k}"
                shape, dtype = self.bind("c", value.shape), self.bind("c", value.dtype)
                self.lines.append(f"{name} = empty({shape}, {dtype})")
        names = [self.text(x) for x in (*call.arguments, *call.results)]
        for n, x in enumerate(call.arguments):
            if x.shape == ():  # NumPy and externals may give a number for an array
                names[n] = f"asarray({names[n]})"
        self.lines.append(f"{self.bind('loop', call.function)}({', '.join(names)})")
        return set()

    def line(self, position: int, call: Call) -> set[str]:
        """Call a function, and name what it gives; return names of what nobody uses."""
        if call.filled is not None:
            self.names[id(call.filled)] = f"l{position}"
            self.lines.append(f"l{position} = []")
        results = [value for value in call.results if id(value) not in self.buffers]
        shown = [v for v in results if id(v) in self.last or call.check_shape]
        target = f"t{position} = " if shown else ""
        self.lines.append(target + self.expression(call, filling=call.results != results))
        for value in results:
            part = _part(value, position)
            if id(value) in self.last:
                self.names[id(value)] = name = re.sub(r"\W+", "_", part).rstrip("_")
                if value.zero_d and call.kind == "operation":
                    part = f"asarray({part})"
                self.lines += [f"{name} = {part}"] if name != part else []
                part = name
            if value.shape is not None:
                self.check(call, value, part)
        names = {self.names.get(id(value)) for value in (*results, call.filled)}
        raw = {f"t{position}"} if shown else set()
        return (raw | {f"l{position}"} if call.filled is not None else raw) - names

    def expression(self, call: Call, filling: bool) -> str:
        arguments = [self.text(x) for x in call.arguments]
        if filling and (at := out_position(call)) is not None:
            name = self.names[id(call.results[0])]
            arguments[at : at + 1] = [
                f"out={name}" if isinstance(call.function, np.ufunc) else name
            ]
        arguments += [f"{name}={self.text(x)}" for name, x in call.options.items()]
        name = re.sub(r"\W+", "_", getattr(call.function, "__name__", "call"))
        expression = f"{self.bind(f'{name}_f', call.function)}({', '.join(arguments)})"
        for expected in call.outline:
            expression = f"checked({expression}, {self.bind('c', expected)}, {call.label!r})"
        return expression

    def check(self, call: Call, value: Value, part: str) -> None:
        """Check what may differ from what was recorded."""
        if call.check_shape:
            self.lines.append(f"check_shape({part}, {value.shape}, {call.label!r})")
        elif call.kind != "operation" and id(value) in self.operands:
            layout = self.bind("c", layout_of(value.array))
            self.lines.append(f"check_layout({part}, {layout}, {call.label!r})")


def _part(value: Value, position: int) -> str:
    """Return the expression of a part of what a call gave, or of the list that it filled."""
    filled = value.path[:1] == (-1,)
    path = "".join(f"[{i}]" for i in (value.path[1:] if filled else value.path))
    return f"{'l' if filled else 't'}{position}{path}"
