"""Plans a replay: which calls are needed, when each value is used last, and where it stands."""

from __future__ import annotations

from typing import Any

import numpy as np
from nn_tensor.extend import leaves_of

from nn_jit._program import Call, Program, values_in

__all__ = ["drop_unused", "generators_of", "last_uses", "plan_buffers"]

_MOST_FOLDED = 1 << 20  # bytes
_LINE = 64  # bytes of a line of the cache


def generators_of(call: Call) -> list[np.random.Generator]:
    """Return the generators among the arguments of a call."""
    leaves = leaves_of((call.arguments, call.options))
    return [x for x in leaves if isinstance(x, np.random.Generator)]


def drop_unused(program: Program) -> None:
    """Drop the calls whose results nobody uses, and those that are the same in each replay.

    What writes, draws or reads indices stays: it may raise. The same are results that are computed
    of shapes alone, as the gradient that a backward pass starts from. They are kept, unless someone
    could write into them or keep them: where operations alone use them.
    """
    needed = {id(value) for value in values_in(program.output)}
    ends, count = _ends(program), len(program.calls)
    kept: list[Call] = []
    for call in reversed(program.calls):
        gives = call.kind in ("read array", "read gradient") or _computes_alone(call)
        is_needed = not gives or call.check == "shape"
        if is_needed or any(id(value) in needed for value in call.results):
            needed.update(id(value) for value in call.inputs)
            kept.append(call)
    program.calls = []
    for call in reversed(kept):
        starts = call.label in ("ones_like", "zeros_like") and call.check != "layout"
        is_same = starts or (bool(call.inputs) and all(v.source is None for v in call.inputs))
        fitting = [
            value
            for value in call.results
            if value.array is not None and not value.path and value.nbytes < _MOST_FOLDED
        ]
        if is_same and _computes_alone(call) and fitting and ends.get(id(fitting[0]), 0) < count:
            fitting[0].source = None
        else:
            program.calls.append(call)
    program.dropped = count - len(program.calls)


def _computes_alone(call: Call) -> bool:
    return call.computes and not generators_of(call)


def last_uses(program: Program) -> dict[int, int]:
    """Return the position of the last call that uses each value; values are known by identity.

    What is returned is used by the end.
    """
    found = {id(value): n for n, call in enumerate(program.calls) for value in call.inputs}
    return found | {id(value): len(program.calls) for value in values_in(program.output)}


def _may_share_memory(x: Any, y: Any) -> bool:
    return type(x) is type(y) and np.may_share_memory(x, y)  # else one is on a device


def _ends(program: Program) -> dict[int, int]:
    """Return the last use of each value, of what may share its memory too.

    What leaves the program, is written into, or is kept by what is not an operation, is used by
    the end.
    """
    ends, count = last_uses(program), len(program.calls)
    for call in reversed(program.calls):
        results = [] if call.fills else call.results
        for x in call.inputs:
            if not call.computes:
                ends[id(x)] = count
            for y in results:
                unknown = call.is_view or x.array is None or y.array is None
                if unknown or _may_share_memory(x.array, y.array):
                    ends[id(x)] = max(ends[id(x)], ends.get(id(y), -1))
    return ends


def plan_buffers(program: Program) -> dict[int, Any]:
    """Return arrays for the results that operations alone use, by the identity of the values.

    They stay from one replay to the next. Results that are not needed at the same time share
    memory.
    """
    ends, found, count = _ends(program), dict[int, Any](), len(program.calls)
    free: list[Any] = []
    waiting: dict[int, list[Any]] = {}  # by the last use
    for position, call in enumerate(program.calls):
        for value in call.results if call.fills else []:
            end, size = ends.get(id(value), position), value.nbytes  # nobody may use it at all
            if end == count or not size or not value.shape or value.axes is None:
                continue
            fitting = [n for n, memory in enumerate(free) if size <= memory.nbytes <= 2 * size]
            memory = free.pop(fitting[0]) if fitting else _aligned(size)
            program.buffers += [] if fitting else [memory]
            array = memory[:size].view(value.dtype).reshape(value.memory_shape)
            found[id(value)] = array.transpose(value.axes)
            waiting.setdefault(end, []).append(memory)
        free += waiting.pop(position, [])
    return found


def _aligned(size: int) -> Any:
    memory = np.empty(size + _LINE, np.uint8)
    start = -memory.ctypes.data % _LINE
    return memory[start : start + size]
