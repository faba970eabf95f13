"""Replaces calls by compiled functions: elementwise ones that follow each other, and kernels."""

from __future__ import annotations

from nn_tensor.extend import Step, compile_steps, is_elementwise

from nn_jit._plan import last_uses
from nn_jit._program import Call, Program, Value, values_in

__all__ = ["fuse", "use_jobs"]

_MOST = 32  # arguments of a compiled function
_LONGEST = 100  # calls in it: the time to compile it grows faster than their number


def fuse(program: Program) -> None:
    """Replace runs of elementwise calls by fused ones."""
    ends, calls, run = last_uses(program), list[Call](), list[Call]()
    for position, call in enumerate([*program.calls, None]):
        if call is not None and _is_fusable(call) and _fits(run, call):
            run.append(call)
            continue
        outputs = [c.results[0] for c in run if ends.get(id(c.results[0]), -1) >= position]
        fused = _fused(run, outputs) if outputs else None
        calls += run if fused is None else [fused]
        run.clear()
        if call is not None:
            (run if _is_fusable(call) else calls).append(call)
    program.calls = calls


def _step(call: Call) -> Step:
    return Step(call.function, call.arguments, call.options, call.results[0], call.label)


def _is_fusable(call: Call) -> bool:
    return call.computes and len(call.results) == 1 and is_elementwise(_step(call))


def _fits(run: list[Call], call: Call) -> bool:
    if len(run) == _LONGEST:
        return False
    arguments = {id(value) for c in (*run, call) for value in c.inputs}
    arguments -= {id(c.results[0]) for c in run}
    shape = call.results[0].shape
    return len(arguments) < _MOST and all(c.results[0].shape == shape for c in run[:1])


def _fused(run: list[Call], outputs: list[Value]) -> Call | None:
    compiled = compile_steps([*map(_step, run)], outputs)
    if compiled is None:
        return None
    arrays, function = compiled
    label = ", ".join(call.label for call in run)
    label = f"fused: {label}" if len(run) > 1 else label
    fused = Call("fused", label, function, run[0].place, tuple(arrays), results=outputs)
    for k, value in enumerate(outputs):
        value.source, value.path = fused, (k,)
    return fused


def use_jobs(program: Program) -> None:
    """Replace calls that consist of the job of a kernel by this job."""
    needed = {id(value) for value in values_in(program.output)}
    for call in reversed(program.calls):
        results = [value for value in call.results if value.array is not None]
        used = [value for value in call.results if id(value) in needed]
        if call.job is not None and all(value in results for value in used):
            call.kind, (call.function, call.arguments) = "fused", call.job
            call.options, call.results = {}, results
        needed.update(id(value) for value in call.inputs)
