"""Plans a replay: which calls are needed, and when each value is used last."""

from __future__ import annotations

from typing import Any

import numpy as np

from nn_jit._program import Call, Program, Value, values_in

__all__ = ["drop_unused", "generators_of", "last_uses", "output_values"]


def output_values(output: Any) -> list[Value]:
    """Return the values in the template of what a function returns."""
    if isinstance(output, Value):
        return [output]
    if isinstance(output, (tuple, list)):
        return [value for part in output for value in output_values(part)]
    if isinstance(output, dict):
        return [value for part in output.values() for value in output_values(part)]
    return []


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
    needed = {id(value) for value in output_values(program.output)}
    for call in reversed(program.calls):
        call.used = _is_needed(call) or any(id(value) in needed for value in call.results)
        if call.used:
            needed.update(id(v) for v in values_in((call.arguments, call.options)))
            if call.filled is not None:
                needed.add(id(call.filled))


def last_uses(program: Program) -> dict[int, int]:
    """Return the position of the last call that uses each value; values are known by identity.

    What is returned is used by the end.
    """
    found: dict[int, int] = {}
    for position, call in enumerate(program.calls):
        if call.used:
            for value in values_in((call.arguments, call.options)):
                found[id(value)] = position
    for value in output_values(program.output):
        found[id(value)] = len(program.calls)
    return found
