"""Generates the Python function that replays a program: straight lines, no branches."""

from __future__ import annotations

import itertools
import re
from typing import Any, NoReturn

import numpy as np
from nn_tensor.extend import array_of, new_tensor, set_gradient

from nn_jit._plan import last_uses, plan_buffers
from nn_jit._program import Call, JitError, Made, Program, Ref, Value
from nn_jit._same import checked, layout_of

__all__ = ["generate"]

_NUMBERS = itertools.count()


def generate(program: Program) -> None:
    """Write the function that replays a program, given the leaves of its arguments."""
    generator = _Generator(program)
    generator.run()
    program.source = "def replay(leaves):\n" + "".join(f"    {x}\n" for x in generator.lines)
    code = compile(program.source, f"<nn_jit program {next(_NUMBERS)}>", "exec")
    exec(code, generator.space)
    program.replay = generator.space["replay"]


def _refuse(array: Any, expected: Any, label: str, kind: str) -> NoReturn:
    """Say that what comes from outside, or depends on values, is not as it was recorded."""
    words = [
        f"{dtype} {shape}{'' if strides is None else ', not in C order'}"
        for shape, dtype, strides in (layout_of(array), expected)
    ]
    why = (
        "the shape depends on values; compute it outside of the function"
        if kind == "operation"
        else "operations that use it need the same shape, dtype and order in each call"
    )
    raise JitError(f"{label} gave {words[0]}, and {words[1]} when the function was recorded: {why}")


_FUNCTIONS = {
    "array_of": array_of, "asarray": np.asarray, "checked": checked, "empty": np.empty,
    "layout_of": layout_of, "new_tensor": new_tensor, "refuse": _refuse,
    "set_gradient": set_gradient,
}  # fmt: skip


class _Generator:
    def __init__(self, program: Program) -> None:
        self.program = program
        self.space: dict[str, Any] = {**_FUNCTIONS}
        self.names: dict[int, str] = {}  # of values, and of Tensors that are made
        self.bound: dict[int, str] = {}  # of objects, by identity
        self.lines: list[str] = []
        self.last = last_uses(program)
        self.buffers = plan_buffers(program)
        self.fixed: dict[int, Any] = {}  # arrays that are the same in each replay, by their values
        self.operands = {id(value) for c in program.calls if c.computes for value in c.inputs}

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
        if isinstance(template, Ref):
            number = template.number
            return self.bind("p", template.tensor) if number is None else f"x{number}"
        if isinstance(template, Made):
            return self.made(template)
        if isinstance(template, dict):
            items = (f"{self.bind('c', key)}: {self.text(x)}" for key, x in template.items())
            return "{" + ", ".join(items) + "}"
        if not isinstance(template, (tuple, list)):
            return self.bind("c", template)
        parts = "".join(f"{self.text(part)}, " for part in template)
        if hasattr(template, "_fields"):
            return f"{self.bind('c', type(template))}({parts})"
        return f"[{parts}]" if isinstance(template, list) else f"({parts})"

    def made(self, result: Made) -> str:
        """Return the expression of a new Tensor; one that is returned twice is one Tensor."""
        if id(result) not in self.names:
            value, name = self.names[id(result.value)], f"r{len(self.names)}"
            self.names[id(result)] = name
            value = f"asarray({value})" if result.value.zero_d else value
            self.lines.append(f"{name} = new_tensor({value})")
            if result.needs_grad:
                self.lines.append(f"{name}.requires_grad = True")
            if result.gradient is not None:
                self.lines.append(f"set_gradient({name}, {self.text(result.gradient)})")
        return self.names[id(result)]

    def run(self) -> None:
        program = self.program
        if program.inputs:
            self.lines.append("".join(f"x{n}, " for n in range(len(program.inputs))) + "= leaves")
        for number, (value, is_tensor) in enumerate(program.inputs):
            self.names[id(value)] = f"a{number}" if is_tensor else f"x{number}"
            self.lines += [f"a{number} = array_of(x{number})"] if is_tensor else []
        for number, (tensor, value) in enumerate(program.states):
            if id(tensor) in program.guards.fetched:
                self.names[id(value)] = f"s{number}"
                self.lines.append(f"s{number} = array_of({self.bind('p', tensor)})")
            else:
                self.fix(value, value.array, "w")
        for position, call in enumerate(program.calls):
            self.call(position, call)
        self.lines.append(f"return {self.text(program.output)}")

    def call(self, position: int, call: Call) -> None:
        """Call a function, name what it gives, and forget what nobody uses any longer."""
        used = call.inputs
        for value in used:
            if value.source is None:
                self.fix(value, value.array, "k")
        for value in call.results:
            if id(value) in self.buffers:
                self.fix(value, self.buffers[id(value)], "b")
        if call.is_view and id(call.arguments[0]) in self.fixed:
            array = self.fixed[id(call.arguments[0])]
            if np.may_share_memory(view := call.function(array), array):  # else it is a copy
                return self.fix(call.results[0], view, "v")
        dead = {self.names[id(value)] for value in used if self.last[id(value)] == position}
        dead |= (self.loop if call.kind == "fused" else self.line)(f"t{position}", call)
        if dead := {name for name in dead if name[0] == "t"}:
            self.lines.append(f"del {', '.join(sorted(dead))}")
        return None

    def loop(self, target: str, call: Call) -> set[str]:
        """Call a fused loop with its arguments, and with arrays to fill."""
        for k, value in enumerate(call.results):
            if id(value) not in self.fixed:
                self.names[id(value)] = f"{target}_{k}"
                shape, dtype = self.bind("c", value.memory_shape), self.bind("c", value.dtype)
                in_order = value.axes == tuple(range(len(value.shape)))
                view = "" if in_order else f".transpose({value.axes})"
                self.lines.append(f"{target}_{k} = empty({shape}, {dtype}){view}")
        values, function = [*call.arguments, *call.results], call.function
        if call.job is not None:
            arrays = [self.fixed.get(id(value)) for value in values]
            function = function.bind(*arrays)
            values = [value for value, x in zip(values, arrays, strict=True) if x is None]
        # NumPy may give a number for an array
        names = [f"asarray({self.text(x)})" if x.shape == () else self.text(x) for x in values]
        self.lines.append(f"{self.bind('loop', function)}({', '.join(names)})")
        return set()

    def line(self, target: str, call: Call) -> set[str]:
        """Call any other function; return the name of its result where nobody uses it as such."""
        results = [value for value in call.results if id(value) not in self.buffers]
        if call.check == "shape" or any(id(value) in self.last for value in results):
            self.lines.append(f"{target} = {self.expression(call)}")
        else:
            self.lines.append(self.expression(call))
            target = ""
        for value in results:
            part = target + "".join(f"[{n}]" for n in value.path)
            if id(value) in self.last:
                name = re.sub(r"\W+", "_", part).rstrip("_")
                is_scalar = value.zero_d and call.kind == "operation"
                if is_scalar or name != part:
                    self.lines.append(f"{name} = {f'asarray({part})' if is_scalar else part}")
                self.names[id(value)] = part = name
            if value.shape is not None:
                self.check(call, value, part)
        return {target} - {self.names.get(id(value)) for value in results} - {""}

    def expression(self, call: Call) -> str:
        arguments = [self.text(x) for x in call.arguments]
        if call.out is not None and id(call.results[0]) in self.buffers:
            keyword = "out=" if isinstance(call.function, np.ufunc) else ""
            arguments[call.out : call.out + 1] = [keyword + self.text(call.results[0])]
        arguments += [f"{name}={self.text(x)}" for name, x in call.options.items()]
        name = re.sub(r"\W+", "_", getattr(call.function, "__name__", "call"))
        expression = f"{self.bind(f'{name}_f', call.function)}({', '.join(arguments)})"
        for expected in call.outline:
            expression = f"checked({expression}, {self.bind('c', expected)}, {call.label!r})"
        return expression

    def check(self, call: Call, value: Value, part: str) -> None:
        """Check what may differ from what was recorded, which a compiled loop does not."""
        layout = layout_of(value.array)
        expected = self.bind("c", layout)
        if call.check == "shape":
            test = f"{part}.shape != {value.shape}"
        elif call.check == "layout" and id(value) in self.operands:
            test = f"layout_of({part}) != {expected}"
        else:
            return
        self.lines.append(f"if {test}: refuse({part}, {expected}, {call.label!r}, {call.kind!r})")
