"""Fuses elementwise calls that follow each other into one loop, compiled by numba.

Only what IEEE 754 rounds correctly takes part: a fused loop gives the same bits as NumPy.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from nn_tensor.extend import compile_source

from nn_jit._plan import last_uses
from nn_jit._program import Call, Program, Value

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
    ends, calls, run = last_uses(program), list[Call](), list[Call]()
    for position, call in enumerate([*program.calls, None]):
        if call is not None and _is_fusable(call) and _fits(run, call):
            run.append(call)
            continue
        outputs = [c.results[0] for c in run if ends.get(id(c.results[0]), -1) >= position]
        fused = _fused(run, outputs) if len(run) > 1 and outputs else None
        calls += run if fused is None else [fused]
        run.clear()
        if call is not None:
            (run if _is_fusable(call) else calls).append(call)
    program.calls = calls


def _is_fusable(call: Call) -> bool:
    if not call.computes or call.options or len(call.results) != 1 or not _text(call):
        return False
    (result,), dtype = call.results, _loop_dtype(call)
    if not result.shape or not result.nbytes or not result.contiguous:
        return False  # what is in another order stays so, and with it the order of later sums
    compares = "ff->?" in getattr(call.function, "types", ())
    return dtype in _FLOATS and result.dtype == (_BOOL if compares else dtype)


def _text(call: Call) -> str:
    """Return the expression of a call, empty where a loop may give other bits."""
    given = call.arguments[1:]
    if call.function is np.maximum and not isinstance(given[0], Value) and given[0] == 0:
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
    operands = call.arguments
    if call.function is np.where:
        if getattr(operands[0], "dtype", None) != _BOOL:
            return None
        operands = operands[1:]
    dtypes = {getattr(x, "dtype", type(x)) for x in operands if type(x) not in (int, float)}
    numbers = [float(x) for x in operands if isinstance(x, (int, float, np.floating))]
    has_arrays = any(isinstance(x, Value) for x in operands)
    fits = len(dtypes) == 1 and has_arrays and np.isfinite(numbers).all()
    return dtypes.pop() if fits else None


def _fits(run: list[Call], call: Call) -> bool:
    arguments = {id(value) for c in (*run, call) for value in c.inputs}
    shape = call.results[0].shape
    return len(arguments) < _MOST and all(c.results[0].shape == shape for c in run[:1])


def _fused(run: list[Call], outputs: list[Value]) -> Call | None:
    inside = {id(call.results[0]): f"v{n}" for n, call in enumerate(run)}
    given = {id(v): v for call in run for v in call.inputs if id(v) not in inside}
    shape = outputs[0].shape
    texts = {id(v): f"x{n}{_index(v.shape, shape)}" for n, v in enumerate(given.values())} | inside
    lines = []
    for n, call in enumerate(run):
        dtype = _loop_dtype(call)
        operands = [
            texts[id(x)] if isinstance(x, Value) else f"np.{dtype}({float(x)!r})"
            for x in call.arguments
        ]
        lines.append(f"v{n} = {_text(call).format(*operands)}")
    lines += [f"y{k}{_index(shape, shape)} = {inside[id(v)]}" for k, v in enumerate(outputs)]
    names = [f"x{n}" for n in range(len(given))] + [f"y{k}" for k in range(len(outputs))]
    source = f"import numpy as np\n\n\ndef run({', '.join(names)}):\n"
    for axis in range(len(shape)):
        source += "    " * (axis + 1) + f"for i{axis} in range(y0.shape[{axis}]):\n"
    source += "".join("    " * (len(shape) + 1) + f"{line}\n" for line in lines)
    function = compile_source(source)
    if function is None:
        return None
    label = "fused: " + ", ".join(call.label for call in run)
    fused = Call("fused", label, function, run[0].place, tuple(given.values()), results=outputs)
    for k, value in enumerate(outputs):
        value.source, value.path = fused, (k,)
    return fused


def _index(shape: Any, full: tuple[int, ...]) -> str:
    if not shape:
        return "[()]"
    offset = len(full) - len(shape)
    parts = ["0" if n == 1 != full[offset + k] else f"i{offset + k}" for k, n in enumerate(shape)]
    return f"[{', '.join(parts)}]"
