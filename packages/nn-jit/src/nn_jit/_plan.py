"""Plans a replay: which calls are needed, when each value is used last, and where it stands."""

from __future__ import annotations

from typing import Any

import numpy as np

from nn_jit._expand import large_product
from nn_jit._program import Call, Program, values_in

__all__ = [
    "drop_unused",
    "fold_constants",
    "generators_of",
    "last_uses",
    "out_position",
    "plan_buffers",
]


_MOST_FOLDED = 1 << 20  # bytes
_LINE = 64  # bytes of a line of the cache


def _is_needed(call: Call) -> bool:
    """Return whether a call does more than to give its result: it writes, draws or checks."""
    return call.kind != "operation" or call.writes or call.check_shape or bool(generators_of(call))


def generators_of(call: Call) -> list[np.random.Generator]:
    """Return the generators among the arguments of a call."""
    constants = [getattr(x, "value", None) for x in (*call.arguments, *call.options.values())]
    return [x for x in constants if isinstance(x, np.random.Generator)]


def drop_unused(program: Program) -> None:
    """Mark the calls whose results nobody uses, from the last to the first.

    What reads indices stays, since it may raise.
    """
    needed = {id(value) for value in values_in(program.output)}
    for call in reversed(program.calls):
        call.used = _is_needed(call) or any(id(value) in needed for value in call.results)
        if call.used:
            needed.update(id(v) for v in values_in((call.arguments, call.options)))
            if call.filled is not None:
                needed.add(id(call.filled))


def fold_constants(program: Program) -> None:
    """Keep what is computed of shapes alone, as the gradient that a backward pass starts from.

    Only where no one can write into it or keep it: it is used by operations alone.
    """
    ends, folded = _ends(program), set[int]()
    for call in (call for call in program.calls if call.used):
        arguments = values_in((call.arguments, call.options))
        starts = call.label in ("ones_like", "zeros_like")
        (value,) = call.results if len(call.results) == 1 else (None,)
        if call.kind != "operation" or call.writes or generators_of(call) or value is None:
            continue
        is_known = starts or (bool(arguments) and all(id(v) in folded for v in arguments))
        if (
            is_known
            and value.path == ()
            and value.array is not None
            and (value.nbytes < _MOST_FOLDED and ends.get(id(value), 0) < len(program.calls))
        ):
            folded.add(id(value))
            call.used, value.source = False, "constant"


def last_uses(program: Program) -> dict[int, int]:
    """Return the position of the last call that uses each value; values are known by identity.

    What is returned is used by the end.
    """
    found: dict[int, int] = {}
    for position, call in enumerate(program.calls):
        if call.used:
            for value in values_in((call.arguments, call.options)):
                found[id(value)] = position
    for value in values_in(program.output):
        found[id(value)] = len(program.calls)
    return found


def out_position(call: Call) -> int | None:
    """Return the place of the array to fill among the arguments of a function of NumPy."""
    function = call.function
    if isinstance(function, np.ufunc) or function in (np.dot, large_product):
        return len(call.arguments)
    is_reduction = isinstance(getattr(function, "__self__", None), np.ufunc)
    return 3 if is_reduction and len(call.arguments) == 5 else None


def _can_fill(call: Call) -> bool:
    return call.kind == "fused" or (call.kind == "operation" and out_position(call) is not None)


def _ends(program: Program) -> dict[int, int]:
    """Return the last use of each value, of what may share its memory too.

    What leaves the program, is written into, or is kept by what is not an operation, is used by
    the end.
    """
    ends, count = last_uses(program), len(program.calls)
    for call in reversed([call for call in program.calls if call.used]):
        results = [] if _can_fill(call) else [*call.results, *filter(None, [call.filled])]
        for x in values_in((call.arguments, call.options)):
            if call.kind not in ("operation", "fused") or call.writes:
                ends[id(x)] = count
            for y in results:
                if (
                    call.is_view
                    or x.array is None
                    or y.array is None
                    or np.may_share_memory(x.array, y.array)
                ):
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
        for value in call.results if call.used and _can_fill(call) else []:
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
