"""Generates the Python function that replays a program: straight lines, no branches."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from nn_tensor import Tensor
from nn_tensor.extend import array_of, gradient_of, new_tensor, set_array, set_gradient

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


class _Generator:
    def __init__(self, program: Program) -> None:
        self.program = program
        self.space: dict[str, Any] = {
            "array_of": array_of,
            "gradient_of": gradient_of,
            "new_tensor": new_tensor,
            "set_array": set_array,
            "set_gradient": set_gradient,
            "asarray": np.asarray,
            "empty": np.empty,
            "number": _as_number,
            "check_shape": _check_shape,
            "check_layout": _check_layout,
            "checked": checked,
            "Tensor": Tensor,
        }
        self.names: dict[int, str] = {}  # of values
        self.bound: dict[int, str] = {}  # of objects, by identity
        self.results: dict[int, str] = {}  # Tensors that are returned, once or several times
        self.lines: list[str] = []
        self.last = last_uses(program)
        self.buffers = plan_buffers(program)
        self.fixed: dict[int, Any] = {}  # arrays that are the same in each replay, by their values
        calls = [c for c in program.calls if c.used and c.kind in ("operation", "fused")]
        self.operands = {id(v) for c in calls for v in _values(c)}

    def bind(self, prefix: str, value: Any) -> str:
        """Return the global name of an object."""
        if value is None or value is True or value is False or type(value) is int:
            return repr(value)
        name = self.bound.get(id(value))
        if name is None:
            self.bound[id(value)] = name = f"{prefix}{len(self.bound)}"
            self.space[name] = value
        return name

    def fix(self, value: Value, array: Any, prefix: str) -> None:
        """Name a value that has the same array in each replay."""
        self.names[id(value)], self.fixed[id(value)] = self.bind(prefix, array), array

    def text(self, template: Any) -> str:
        """Return the expression of an argument."""
        if isinstance(template, Value):
            return self.names[id(template)]
        if isinstance(template, Constant):
            return self.bind("c", template.value)
        if isinstance(template, TensorRef):
            return self.tensor(template)
        if isinstance(template, Made):
            return self.made(template)
        parts = [
            self.text(x) for x in (template.values() if isinstance(template, dict) else template)
        ]
        if isinstance(template, dict):
            keys = [self.bind("c", key) for key in template]
            return "{" + ", ".join(f"{k}: {x}" for k, x in zip(keys, parts, strict=True)) + "}"
        joined = "".join(f"{part}, " for part in parts)
        if hasattr(template, "_fields"):
            return f"{self.bind('c', type(template))}({joined})"
        return f"[{joined}]" if isinstance(template, list) else f"({joined})"

    def made(self, result: Made) -> str:
        """Return the expression of a result; one that is returned twice is one Tensor."""
        value = self.names[id(result.value)]
        if result.is_number:
            return f"number({value})"
        name = self.results.get(id(result))
        if name is None:
            self.results[id(result)] = name = f"r{len(self.results)}"
            value = f"asarray({value})" if result.value.zero_d else value
            self.lines.append(f"{name} = new_tensor({value})")
        return name

    def tensor(self, ref: TensorRef) -> str:
        return f"x{ref.number}" if ref.number is not None else self.bind("p", ref.tensor)

    def run(self) -> tuple[Callable[[Any], Any], str]:
        program = self.program
        fetched = {id(tensor) for tensor in program.guards.fetched}
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
        output = self.text(program.output)
        self.lines.append(f"return {output}")
        arguments = "".join(f"x{n}, " for n in range(len(program.inputs)))
        head = [f"({arguments}) = leaves"] if arguments else []
        body = "".join(f"    {line}\n" for line in (*head, *self.lines))
        source = f"def replay(leaves):\n{body}"
        code = compile(source, f"<nn_jit program {next(_NUMBERS)}>", "exec")
        exec(code, self.space)
        function: Callable[[Any], Any] = self.space["replay"]
        return function, source

    def call(self, position: int, call: Call) -> None:
        for value in _values(call):
            if value.source == "constant":
                self.fix(value, value.array, "k")
        for value in call.results:
            if id(value) in self.buffers:
                self.fix(value, self.buffers[id(value)], "b")
        if call.is_view and id(call.arguments[0]) in self.fixed:
            view = call.function(self.fixed[id(call.arguments[0])])
            return self.fix(call.results[0], view, "v")
        first = self.text(call.arguments[0]) if call.arguments else ""
        if call.kind == "set gradient":
            self.lines.append(f"set_gradient({first}, {self.text(call.arguments[1])})")
        elif call.kind == "fused":
            self.loop(position, call)
        elif call.kind == "set array":
            self.lines.append(f"set_array({first}, {self.text(call.arguments[1])})")
        else:
            self.function_call(position, call)
        used = {v for v in _values(call) if self.last.get(id(v)) == position}
        dead = sorted({self.names[id(v)] for v in used if self.names[id(v)][0] in "tl"})
        if dead:
            self.lines.append(f"del {', '.join(dead)}")

    def loop(self, position: int, call: Call) -> None:
        outputs = []
        for k, value in enumerate(call.results):
            if id(value) not in self.fixed:
                self.names[id(value)] = name = f"t{position}_{k}"
                shape, dtype = self.bind("c", value.shape), self.bind("c", value.dtype)
                self.lines.append(f"{name} = empty({shape}, {dtype})")
            outputs.append(self.names[id(value)])
        arguments = ", ".join([*map(self.operand, call.arguments), *outputs])
        self.lines.append(f"{self.bind('f', call.function)}({arguments})")

    def operand(self, value: Value) -> str:
        """Return an argument of a loop: NumPy and externals may give a number for an array."""
        return f"asarray({self.text(value)})" if value.shape == () else self.text(value)

    def function_call(self, position: int, call: Call) -> None:
        if call.kind == "read gradient":
            expression = f"gradient_of({self.text(call.arguments[0])})"
        else:
            if call.filled is not None:
                self.names[id(call.filled)] = f"l{position}"
                self.lines.append(f"l{position} = []")
            arguments = [self.text(x) for x in call.arguments]
            at = out_position(call)
            if at is not None and id(call.results[0]) in self.buffers:
                name = self.names[id(call.results[0])]
                is_ufunc = isinstance(call.function, np.ufunc)
                arguments[at : at + 1] = [f"out={name}" if is_ufunc else name]
            arguments += [f"{name}={self.text(x)}" for name, x in call.options.items()]
            expression = f"{self.bind('f', call.function)}({', '.join(arguments)})"
            for expected in call.outline:
                known = self.bind("c", expected)
                expression = f"checked({expression}, {known}, {call.label!r})"
        wanted = [value for value in call.results if id(value) in self.last]
        if call.kind == "operation" and call.results and id(call.results[0]) in self.buffers:
            wanted = []
        if not wanted and not call.check_shape:
            self.lines.append(expression)
            return
        name = f"t{position}"
        whole = [value for value in call.results if value.path == ()]
        for value in whole:
            self.names[id(value)] = name
        if any(value.zero_d for value in whole) and call.kind == "operation":
            expression = f"asarray({expression})"
        self.lines.append(f"{name} = {expression}")
        parts = [value for value in wanted if value.path != ()]
        for value in parts:
            own = name + "_" + "_".join(str(i) for i in value.path).replace("-", "m")
            part = _part(value, position)
            if value.zero_d and call.kind == "operation":
                part = f"asarray({part})"
            self.names[id(value)] = own
            self.lines.append(f"{own} = {part}")
        for value in call.results:
            if value.shape is None:
                continue
            shown = self.names.get(id(value), _part(value, position))
            if call.check_shape:
                arguments = [shown, self.bind("c", value.shape), repr(call.label)]
                self.lines.append(f"check_shape({', '.join(arguments)})")
            elif call.kind != "operation" and id(value) in self.operands:
                arguments = [shown, self.bind("c", layout_of(value.array)), repr(call.label)]
                self.lines.append(f"check_layout({', '.join(arguments)})")
        dead = [] if any(id(value) in self.last for value in whole) else [name]
        if call.filled is not None and id(call.filled) not in self.last:
            dead.append(f"l{position}")
        if dead:
            self.lines.append(f"del {', '.join(dead)}")


def _part(value: Value, position: int) -> str:
    """Return the expression of a part of what a call gave, or of the list that it filled."""
    filled = value.path[:1] == (-1,)
    path = "".join(f"[{i}]" for i in (value.path[1:] if filled else value.path))
    return f"{'l' if filled else 't'}{position}{path}"


def _values(call: Call) -> set[Value]:
    return set(values_in((call.arguments, call.options)))


def _constants(call: Call) -> list[Value]:
    return [value for value in _values(call) if value.source == "constant"]
