"""Elementwise functions of NumPy that follow each other, as one compiled function with their bits.

What IEEE 754 rounds correctly, and selections, become loops over the elements. Functions like
`exp`, which each library rounds in its own way, are left to NumPy: the compiled function calls the
loop that the ufunc has for them, between its own.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from nn_kernels._generated import compile_job, compile_source
from nn_kernels._threads import run
from nn_kernels._ufunc_loops import ufunc_loop

__all__ = ["compile_steps", "is_elementwise"]

_TEXT: dict[Any, str] = {
    np.positive: "{0}",
    np.add: "{0} + {1}",
    np.subtract: "{0} - {1}",
    np.multiply: "{0} * {1}",
    np.true_divide: "{0} / {1}",
    np.negative: "-{0}",
    np.square: "{0} * {0}",
    np.sqrt: "np.sqrt({0})",
    np.absolute: "np.abs({0})",
    np.greater: "{0} > {1}",
    np.less: "{0} < {1}",
    np.greater_equal: "{0} >= {1}",
    np.less_equal: "{0} <= {1}",
    np.equal: "{0} == {1}",
    np.not_equal: "{0} != {1}",
    np.where: "({1} if {0} else {2})",
}
_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
_BOOL = np.dtype(bool)
# Elements, from which on the call from Python is a small part of the time of a loop of NumPy's.
_MANY = 1 << 14
_SHARED = 1 << 16  # elements, from which on several threads compute
_PART = 1 << 14  # elements of a part


def _is_array(x: Any) -> bool:
    return hasattr(x, "shape") and not isinstance(x, np.generic)


def _is_contiguous(x: Any) -> bool:
    return bool(x.flags.c_contiguous if isinstance(x, np.ndarray) else x.contiguous)


def is_elementwise(step: Any) -> bool:
    """Return whether a call of NumPy can be part of what `compile_steps` compiles.

    It is an elementwise function of float32 or float64, whose result is in C order: in another
    order later sums would have another order too.

    Args:
        step: an object with the attributes ``function``, ``operands``, ``options`` and ``result``.
            Arrays are arrays of NumPy, or objects with ``shape``, ``dtype`` and ``contiguous`` that
            stand for them.

    >>> import numpy as np
    >>> from types import SimpleNamespace
    >>> x = np.ones(3)
    >>> step = SimpleNamespace(function=np.add, operands=(x, 1.0), options={}, result=x + 1)
    >>> is_elementwise(step)
    True
    """
    result = step.result
    if step.options or not result.shape or 0 in result.shape or not _is_contiguous(result):
        return False
    if not _text(step):
        return _loop_of(step) is not None
    compares = "ff->?" in getattr(step.function, "types", ())
    dtype = _common_dtype(step)
    is_known = dtype is not None and dtype in _FLOATS  # NumPy takes None for float64
    return is_known and result.dtype == (_BOOL if compares else dtype)


def _text(step: Any) -> str:
    """Return the expression of a call, empty where a loop may give other bits."""
    if step.function is np.maximum and not _is_array(step.operands[1]) and step.operands[1] == 0:
        return _positive_part()
    return _TEXT.get(step.function, "")


@functools.cache
def _positive_part() -> str:
    """Return what NumPy computes as ``maximum(x, 0)``, whose zero may have the sign of -0."""
    zeros = (np.full(n, -0.0, dtype) for n in range(1, 100) for dtype in _FLOATS)
    signs = {bool(sign) for x in zeros for sign in np.signbit(np.maximum(x, 0))}
    if len(signs) == 2:
        return ""
    return f"({{0}} if {{0}} {'>=' if signs == {True} else '>'} {{1}} or {{0}} != {{0}} else {{1}})"


def _common_dtype(step: Any) -> Any:
    """Return the one dtype of the operands that are arrays, None if there are several."""
    operands = step.operands
    if step.function is np.where:
        if getattr(operands[0], "dtype", None) != _BOOL:
            return None
        operands = operands[1:]
    dtypes = {getattr(x, "dtype", type(x)) for x in operands if type(x) not in (int, float)}
    numbers = [float(x) for x in operands if isinstance(x, (int, float, np.floating))]
    fits = len(dtypes) == 1 and any(map(_is_array, operands)) and np.isfinite(numbers).all()
    return dtypes.pop() if fits else None


def _loop_of(step: Any) -> tuple[int, int] | None:
    """Return the addresses of NumPy's loop for a call that is left to it, or None."""
    function, result = step.function, step.result
    if not isinstance(function, np.ufunc) or (function.nin, function.nout) != (1, 1):
        return None
    x = step.operands[0]
    if not _is_array(x) or x.shape != result.shape or not _is_contiguous(x):
        return None
    if x.dtype not in _FLOATS or x.dtype != result.dtype or math.prod(x.shape) > _MANY:
        return None
    return ufunc_loop(function, x.dtype)


def compile_steps(steps: Sequence[Any], outputs: Sequence[Any]) -> tuple[list[Any], Any] | None:
    """Compile calls of NumPy, whose results have one shape, to one function.

    Several threads compute results of 2^16 elements and more.

    Args:
        steps: calls for which `is_elementwise` is true, in order; see there.
        outputs: the results that are wanted.

    Returns:
        The arrays among the operands that are no results; and a function of these, and then of
        arrays in C order to write the outputs into, which share no memory with any other. None
        for a single call, where NumPy is as fast.

    >>> import numpy as np
    >>> from types import SimpleNamespace
    >>> x = np.array([0.0, 1.0])
    >>> y = np.exp(x)
    >>> z = y * 2
    >>> steps = [
    ...     SimpleNamespace(function=np.exp, operands=(x,), options={}, result=y),
    ...     SimpleNamespace(function=np.multiply, operands=(y, 2), options={}, result=z),
    ... ]
    >>> arrays, function = compile_steps(steps, [z])
    >>> out = np.empty(2)
    >>> function(*arrays, out)
    >>> out
    array([2.        , 5.43656366])
    """
    shared = _SharedWriter(steps, outputs)
    if shared.is_possible():
        return shared.given, shared.function()
    if len(steps) == 1:
        return None
    writer = _Writer(steps, outputs)
    function = compile_source(writer.source())
    if writer.loops:  # their addresses are not part of the text, which is kept on disk
        function = functools.partial(function, np.array(writer.loops, np.int64))
    return writer.given, function


class _Writer:
    """Writes the text of calls: in stages, each one loop, or one call of a loop of NumPy's."""

    def __init__(self, steps: Sequence[Any], outputs: Sequence[Any]) -> None:
        self.shape = steps[0].result.shape
        self.outputs = outputs
        self.stages: list[list[tuple[int, Any]]] = [[]]
        for number, step in enumerate(steps):
            if self.stages[-1] and not (_text(step) and _text(self.stages[-1][-1][1])):
                self.stages.append([])
            self.stages[-1].append((number, step))
        made = {id(step.result): n for n, stage in enumerate(self.stages) for _, step in stage}
        given: dict[int, Any] = {}
        self.users: dict[int, list[Any]] = {}  # of results, in other stages than their own
        for number, stage in enumerate(self.stages):
            for _, step in stage:
                for x in filter(_is_array, step.operands):
                    if id(x) not in made:
                        given[id(x)] = x
                    elif made[id(x)] != number:
                        self.users.setdefault(id(x), []).append(step)
        self.given = list(given.values())
        self.loops: list[int] = []  # addresses
        self.scratch: list[Any] = []
        self.memory = {id(x): f"x{n}" for n, x in enumerate(self.given)}
        self.memory |= {id(x): f"y{n}" for n, x in enumerate(outputs)}
        for stage in reversed(self.stages):
            for _, step in stage:
                self._place(step)

    def _place(self, step: Any) -> None:
        """Choose where a result stands that other stages use, or that a loop of NumPy's writes."""
        value = step.result
        users = self.users.get(id(value), [])
        if id(value) in self.memory or (_text(step) and not users):
            return
        if len(users) == 1 and not _text(users[0]):  # the loop may write over what it reads
            self.memory[id(value)] = self.memory[id(users[0].result)]
        else:
            self.memory[id(value)] = f"s{len(self.scratch)}"
            self.scratch.append(value)

    def source(self) -> str:
        """Return the text of a module with the function ``run``."""
        lines = [f"s{n} = np.empty(y0.shape, np.{x.dtype})" for n, x in enumerate(self.scratch)]
        for stage in self.stages:
            lines += self._loop(stage) if _text(stage[0][1]) else [self._call(stage[0][1])]
        names = ["loops"] if self.loops else []
        names += [f"x{n}" for n in range(len(self.given))]
        names += [f"y{n}" for n in range(len(self.outputs))]
        body = "".join(f"    {line}\n" for line in lines)
        return f"import numpy as np\n\n\ndef run({', '.join(names)}):\n{body}"

    def _call(self, step: Any) -> str:
        """Return the line that calls a loop of NumPy's."""
        function, data = (f"loops[{len(self.loops) + n}]" for n in range(2))
        self.loops += _loop_of(step) or ()
        x, out = self.memory[id(step.operands[0])], self.memory[id(step.result)]
        return f"call_unary({function}, {data}, y0.size, {x}, {out})"

    def _loop(self, stage: list[tuple[int, Any]]) -> list[str]:
        """Return the lines of a loop over the elements."""
        axes = range(len(self.shape))
        lines = ["    " * n + f"for i{n} in range(y0.shape[{n}]):" for n in axes]
        return lines + ["    " * len(axes) + line for line in self._body(stage)]

    def _body(self, stage: list[tuple[int, Any]]) -> list[str]:
        """Return the lines that compute one element."""
        here: dict[int, str] = {}  # results of this stage
        body = []
        for number, step in stage:
            dtype = _common_dtype(step)
            operands = [
                here.get(id(x)) or self._element(x) if _is_array(x) else self._number(x, dtype)
                for x in step.operands
            ]
            here[id(step.result)] = f"v{number}"
            body.append(f"v{number} = {_text(step).format(*operands)}")
        return body + [
            f"{self._element(step.result)} = {here[id(step.result)]}"
            for _, step in stage
            if id(step.result) in self.memory
        ]

    def _number(self, x: Any, dtype: Any) -> str:
        return f"np.{dtype}({float(x)!r})"

    def _element(self, x: Any) -> str:
        """Return the element of an array that belongs to those of the results in a loop."""
        if not x.shape:
            return f"{self.memory[id(x)]}[()]"
        offset = len(self.shape) - len(x.shape)
        places = [
            "0" if n == 1 != self.shape[offset + k] else f"i{offset + k}"
            for k, n in enumerate(x.shape)
        ]
        return f"{self.memory[id(x)]}[{', '.join(places)}]"


class _SharedWriter(_Writer):
    """Writes the text of a job, of which several threads compute parts.

    The axes are divided in two, so that each operand is repeated along all axes of a side or none:
    those of the first side are the rows, those of the second the columns, if any are needed. Sizes
    and numbers are not part of the text, which is compiled once for all of them.
    """

    def __init__(self, steps: Sequence[Any], outputs: Sequence[Any]) -> None:
        super().__init__(steps, outputs)
        self.numbers: list[Any] = []  # arrays of one element
        axes = range(len(self.shape), -1, -1)
        self.axis = next((axis for axis in axes if self._divides(axis)), None)

    def _sides(self, shape: tuple[int, ...], axis: int | None) -> list[tuple[int, ...]]:
        whole = (1,) * (len(self.shape) - len(shape)) + shape
        return [whole[:axis], whole[axis:]]

    def _divides(self, axis: int) -> bool:
        wholes = self._sides(self.shape, axis)
        return all(
            side == whole or math.prod(side) == 1
            for x in self.given
            for side, whole in zip(self._sides(x.shape, axis), wholes, strict=True)
        )

    def is_possible(self) -> bool:
        """Return whether the job can be written, and there is enough to compute."""
        arrays = [*self.given, *self.outputs]
        fits = all(_is_contiguous(x) and x.dtype in _FLOATS for x in arrays)
        return math.prod(self.shape) >= _SHARED and fits and self.axis is not None

    def function(self) -> Callable[..., None]:
        """Return a function of arrays, and of arrays in C order to write the outputs into."""
        job, given = compile_job(self.source()), len(self.given)
        rows, columns = map(math.prod, self._sides(self.shape, self.axis))
        part_rows = max(1, _PART // columns)
        first = [part_rows, rows, columns, *self.numbers]
        parts = -(-rows // part_rows)

        def compute(*arrays: Any) -> None:
            contiguous = [np.ascontiguousarray(x) for x in arrays[:given]]
            run(job, [*first, *contiguous, *arrays[given:]], parts)

        return compute

    def source(self) -> str:
        """Return the text of a module with the function ``run`` of a job."""
        (stage,) = self.stages  # of large arrays nothing is left to loops of NumPy's
        body = self._body(stage)
        lines = ["part_rows, rows, columns = np.uintp(a[2]), np.uintp(a[3]), np.uintp(a[4])"]
        arrays = [(f"n{n}", x) for n, x in enumerate(self.numbers)]
        arrays += [(self.memory[id(x)], x) for x in (*self.given, *self.outputs)]
        for place, (name, x) in enumerate(arrays, 5):
            kind = "floats" if x.dtype == np.float32 else "doubles"
            lines.append(f"{name} = {kind}(a[{place}])")
        lines += [f"v{name} = {name}[0]" for name, _ in arrays[: len(self.numbers)]]
        lines.append("first = np.uintp(part) * part_rows")
        lines.append("for i in range(first, min(first + part_rows, rows)):")
        has_columns = math.prod(self._sides(self.shape, self.axis)[1]) > 1
        lines += ["    for j in range(columns):"] if has_columns else []
        indent = "        " if has_columns else "    "
        text = "".join(f"    {line}\n" for line in [*lines, *(indent + line for line in body)])
        return f"import numpy as np\n\n\ndef run(a, part, thread):\n{text}"

    def _number(self, x: Any, dtype: Any) -> str:
        self.numbers.append(np.full(1, x, dtype))
        return f"vn{len(self.numbers) - 1}"

    def _element(self, x: Any) -> str:
        rows, columns = map(math.prod, self._sides(x.shape, self.axis))
        row = "i * columns" if columns > 1 else "i"
        terms = [row] * (rows > 1) + ["j"] * (columns > 1)
        return f"{self.memory[id(x)]}[{' + '.join(terms) or 'np.uintp(0)'}]"
