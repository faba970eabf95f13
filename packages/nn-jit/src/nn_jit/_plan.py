"""Plans a replay: which calls are needed, when each value is used last, and where it stands."""

from __future__ import annotations

from typing import Any

import numpy as np

from nn_jit._program import Call, Program, leaves_of, values_in

__all__ = [
    "drop_unused",
    "fold_constants",
    "generators_of",
    "last_uses",
    "plan_buffers",
]

_MOST_FOLDED = 1 << 20  # bytes
_LINE = 64  # bytes of a line of the cache


def generators_of(call: Call) -> list[np.random.Generator]:
    """Return the generators among the arguments of a call."""
    leaves = leaves_of((call.arguments, call.options))
    return [x for x in leaves if isinstance(x, np.random.Generator)]


def _does_more(call: Call) -> bool:
    """Return whether a call does more than to give its result: it writes, draws or checks."""
    is_read = call.kind in ("read array", "read gradient")
    computes = (call.computes and call.check != "shape") or is_read
    return not computes or bool(generators_of(call))


def drop_unused(program: Program) -> None:
    """Drop the calls whose results nobody uses, from the last to the first.

    What reads indices stays, since it may raise.
    """
    needed = {id(value) for value in values_in(program.output)}
    kept: list[Call] = []
    for call in reversed(program.calls):
        if _does_more(call) or any(id(value) in needed for value in call.results):
            needed.update(id(value) for value in call.inputs)
            kept.append(call)
    _keep(program, kept[::-1])


def _keep(program: Program, calls: list[Call]) -> None:
    program.dropped += len(program.calls) - len(calls)
    program.calls = calls


def fold_constants(program: Program) -> None:
    """Keep what is computed of shapes alone, as the gradient that a backward pass starts from.

    Only where no one can write into it or keep it: it is used by operations alone.
    """
    ends, folded = _ends(program), set[int]()
    kept: list[Call] = []
    for call in program.calls:
        inputs = call.inputs
        starts = call.label in ("ones_like", "zeros_like") and call.check != "layout"
        starts = starts or (bool(inputs) and all(id(value) in folded for value in inputs))
        value = call.results[0] if len(call.results) == 1 else None
        if (
            not (starts and call.computes and value is not None and value.array is not None)
            or generators_of(call)
            or value.path
            or value.nbytes >= _MOST_FOLDED
            or ends.get(id(value), 0) == len(program.calls)
        ):
            kept.append(call)
        else:
            folded.add(id(value))
            value.source = None
    _keep(program, kept)


def last_uses(program: Program) -> dict[int, int]:
    """Return the position of the last call that uses each value; values are known by identity.

    What is returned is used by the end.
    """
    found = {id(value): n for n, call in enumerate(program.calls) for value in call.inputs}
    return found | {id(value): len(program.calls) for value in values_in(program.output)}


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
                if unknown or np.may_share_memory(x.array, y.array):
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
            end, size = ends.get(id(value), count), value.nbytes
            if end == count or not size or not value.shape or not value.contiguous:
                continue
            fitting = [n for n, memory in enumerate(free) if size <= memory.nbytes <= 2 * size]
            memory = free.pop(fitting[0]) if fitting else _aligned(size)
            program.buffers += [] if fitting else [memory]
            found[id(value)] = memory[:size].view(value.dtype).reshape(value.shape)
            waiting.setdefault(end, []).append(memory)
        free += waiting.pop(position, [])
    return found


def _aligned(size: int) -> Any:
    memory = np.empty(size + _LINE, np.uint8)
    start = -memory.ctypes.data % _LINE
    return memory[start : start + size]
