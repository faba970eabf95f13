"""Fuses elementwise calls that follow each other into one loop, compiled by numba.

Only what IEEE 754 rounds correctly takes part: a fused loop gives the same bits as NumPy.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from nn_tensor.extend import compile_source

from nn_jit._plan import last_uses
from nn_jit._program import Call, Constant, Program, Value, values_in

__all__ = ["fuse"]

_TEXT: dict[Any, str] = {
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
_MOST = 32  # arguments of a loop
_BOOL = np.dtype(bool)


def fuse(program: Program) -> None:
    """Replace runs of elementwise calls by fused ones."""
    last = last_uses(program)
    calls: list[Call] = []
    run: list[Call] = []

    def close() -> None:
        fused = _fused(run, last, program.calls) if len(run) > 1 else None
        calls.extend(run if fused is None else [fused])
        run.clear()

    for call in program.calls:
        if not call.used:
            continue
        if _is_fusable(call):
            if run and not _fits(run, call):
                close()
            run.append(call)
        else:
            close()
            calls.append(call)
    close()
    program.calls = calls


def _is_fusable(call: Call) -> bool:
    if call.kind != "operation" or call.writes or call.options or not _text(call):
        return False
    (result,) = call.results if len(call.results) == 1 else (None,)
    if result is None or not result.shape or not result.nbytes or not result.contiguous:
        return False  # what is in another order stays so, and with it the order of later sums
    dtype = _loop_dtype(call)
    compares = "ff->?" in getattr(call.function, "types", ())
    expected = _BOOL if compares else dtype
    return dtype in _FLOATS and result.dtype == expected


def _text(call: Call) -> str:
    """Return the expression of a call, empty where a loop may give other bits."""
    if call.function is np.maximum and [getattr(x, "value", None) for x in call.arguments[1:]] == [
        0
    ]:
        return _positive_part()
    return _TEXT.get(call.function, "")


@functools.cache
def _positive_part() -> str:
    """Return what NumPy computes as ``maximum(x, 0)``, whose zero may have the sign of -0."""
    zeros = (np.full(n, -0.0, dtype) for n in range(1, 100) for dtype in _FLOATS)
    signs = {bool(sign) for x in zeros for sign in np.signbit(np.maximum(x, 0))}
    if len(signs) == 2:
        return ""
    return f"({{0}} if {{0}} {'>=' if signs == {True} else '>'} {{1}} or {{0}} != {{0}} else {{1}})"


def _loop_dtype(call: Call) -> Any:
    """Return the one dtype of the operands that are arrays, None if there are several."""
    operands = call.arguments[1:] if call.function is np.where else call.arguments
    values = [x for x in operands if isinstance(x, Value)]
    if call.function is np.where and (
        not isinstance(call.arguments[0], Value) or call.arguments[0].dtype != _BOOL
    ):
        return None
    dtypes = {x.dtype for x in values}
    for x in operands:
        if isinstance(x, Constant):
            if isinstance(x.value, np.generic):
                dtypes.add(x.value.dtype)
            elif type(x.value) not in (int, float):
                return None
        elif not isinstance(x, Value):
            return None
    return dtypes.pop() if len(dtypes) == 1 and values else None


def _fits(run: list[Call], call: Call) -> bool:
    arguments = {id(v) for c in (*run, call) for v in values_in(c.arguments)}
    return run[0].results[0].shape == call.results[0].shape and len(arguments) < _MOST


def _fused(run: list[Call], last: dict[int, int], calls: list[Call]) -> Call | None:
    positions = {id(call): n for n, call in enumerate(calls)}
    end = positions[id(run[-1])]
    inside = {id(call.results[0]): f"v{n}" for n, call in enumerate(run)}
    inputs: dict[int, Value] = {}
    lines: list[str] = []
    shape = run[0].results[0].shape or ()
    names: dict[int, str] = {}

    def operand(x: Any, dtype: Any) -> str:
        if isinstance(x, Constant):
            return f"np.{dtype}({float(x.value)!r})"
        if id(x) in inside:
            return inside[id(x)]
        if id(x) not in inputs:
            inputs[id(x)] = x
            names[id(x)] = f"x{len(inputs) - 1}"
        return names[id(x)] + _index(x.shape, shape)

    for n, call in enumerate(run):
        dtype = _loop_dtype(call)
        if any(isinstance(x, Constant) and not np.isfinite(float(x.value)) for x in call.arguments):
            return None
        operands = [operand(x, dtype) for x in call.arguments]
        lines.append(f"v{n} = {_text(call).format(*operands)}")
    outputs = [c.results[0] for c in run if last.get(id(c.results[0]), -1) > end]
    if not outputs:
        return None
    lines += [f"y{k}{_index(shape, shape)} = {inside[id(v)]}" for k, v in enumerate(outputs)]
    arguments = [names[key] for key in inputs] + [f"y{k}" for k in range(len(outputs))]
    source = f"import numpy as np\n\n\ndef run({', '.join(arguments)}):\n"
    indent = "    "
    for axis in range(len(shape)):
        source += f"{indent}for i{axis} in range(y0.shape[{axis}]):\n"
        indent += "    "
    source += "".join(f"{indent}{line}\n" for line in lines)
    function = compile_source(source)
    if function is None:
        return None
    label = "fused: " + ", ".join(call.label for call in run)
    fused = Call("fused", label, function, tuple(inputs.values()), {}, run[0].place)
    fused.results = outputs
    for k, value in enumerate(outputs):
        value.source, value.path = fused, (k,)
    return fused


def _index(shape: Any, full: tuple[int, ...]) -> str:
    if not shape:
        return "[()]"
    offset = len(full) - len(shape)
    parts = ["0" if n == 1 != full[offset + k] else f"i{offset + k}" for k, n in enumerate(shape)]
    return f"[{', '.join(parts)}]"
