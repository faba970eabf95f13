"""Compiles tests of what has to be as it was when a program was recorded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import is_
from typing import Any

from nn_tensor import Tensor
from nn_tensor.extend import array_of, current_modes, gradient_of, hooks_of, needs_grad_of

from nn_jit._program import Program, Read
from nn_jit._same import MISSING, PLAIN, is_unchanged, layout_of, same

__all__ = ["compile_guards", "compile_quick_test"]

_STATES = {
    "all(map(is_, map(array_of, tensors), arrays))":
        "the array of a Tensor was replaced (load_state_dict, set_dtype, to)",
    "list(map(needs_grad_of, tensors)) == needs":
        "a Tensor requires a gradient, or no longer does (freeze)",
    "not any(map(hooks_of, hooked))": "the hooks of a Tensor",
}  # fmt: skip


_FUNCTIONS = {
    "array_of": array_of, "current_modes": current_modes, "hooks_of": hooks_of, "is_": is_,
    "is_unchanged": is_unchanged, "needs_grad_of": needs_grad_of, "Tensor": Tensor,
}  # fmt: skip


def compile_guards(program: Program) -> Callable[[Sequence[Any]], str | None]:
    """Return a function of the leaves that says what has changed, or None."""
    guards = program.guards
    own = {id(ref.tensor) for ref in program.refs if ref.number is None}
    tensors, arrays, needs = ([row[n] for row in guards.states.values()] for n in range(3))
    leaves = [ref for ref, _ in guards.gradients.values() if not hooks_of(ref.tensor)]
    hooked = [ref.tensor for ref in leaves if ref.number is None]
    numbers = [ref.number for ref in leaves if ref.number is not None]
    gradients = [(ref, had) for ref, had in guards.gradients.values() if had is not ...]
    states = {"tensors": tensors, "arrays": arrays, "needs": needs, "hooked": hooked}

    def explained(leaves: Sequence[Any]) -> str | None:
        for test, change in _STATES.items():
            if not eval(test, {**_FUNCTIONS, **states}):
                return change
        for function, name, value, kind in guards.reads.values():
            if not same(function(), value):
                before = "" if kind == "keys of" else f", {_words(value)} when it was recorded"
                return f"the {kind} {name!r}{before}"
        return changed_state(leaves)

    def changed_state(leaves: Sequence[Any]) -> str | None:
        for tensor, layout, needs_grad in guards.fetched.values():
            if layout_of(array_of(tensor)) != layout or needs_grad_of(tensor) != needs_grad:
                return "the shape, dtype or layout of a Tensor, or whether it requires a gradient"
        for ref, had in gradients:
            array = gradient_of(ref.tensor if ref.number is None else leaves[ref.number])
            if (None if array is None else layout_of(array)) != had:
                return "whether a Tensor has a gradient before the call, or its memory layout"
        for number in numbers:
            if hooks_of(leaves[number]):
                return "the hooks of a Tensor"
        for tensor, ref, needs_grad in guards.aliases.values():
            other = ref.tensor if ref.number is None else leaves[ref.number]
            array = array_of(other) if isinstance(other, Tensor) else other
            if array_of(tensor) is not array or needs_grad_of(tensor) != needs_grad:
                return "which Tensors have one array, or whether they require a gradient"
        for number, given in guards.arguments:
            leaf = leaves[number]
            if id(leaf) in own if given is None else leaf is not given:
                return "which Tensor an argument is that is reached from elsewhere too"
        return None

    # most calls change nothing: only the tests that this program needs, and few calls of Python
    tests = [test for test in _STATES if (hooked if "hooked" in test else tensors)]
    known: dict[str, Any] = {}
    for n, read in enumerate(guards.reads.values()):
        tests.append(_test(n, read, known))
    known |= {"explained": explained, "changed_state": changed_state}
    in_state = guards.fetched or gradients or numbers or guards.aliases or guards.arguments
    body = f"""
    try:
        if {" and ".join(tests) or "True"}:
            return {"changed_state(leaves)" if in_state else "None"}
    except LookupError:  # of an entry or item that was removed
        pass
    return explained(leaves)"""
    return _compiled("leaves", body, {**states, **known})


def _test(n: int, read: Read, known: dict[str, Any]) -> str:
    """Return the expression that tests one read, with `known` names."""
    owner, *key = read.function.args
    holder = f"h{id(owner)}"
    test = f"f{n}() is v{n}"
    if read.kind == "keys of":
        test = f"is_unchanged({holder}, v{n})"
    elif read.kind == "size of":
        test = f"len({holder}) == v{n}"
    elif read.kind == "item" or type(owner) is dict:
        test = f"k{n} not in {holder}" if read.value is MISSING else f"{holder}[k{n}] is v{n}"
    names = {holder: owner, f"f{n}": read.function, f"v{n}": read.value, f"k{n}": [*key, None][0]}
    known.update((name, x) for name, x in names.items() if name in test)
    return test


def _compiled(argument: str, body: str, names: dict[str, Any]) -> Any:
    """Return a function, whose names are arguments too: these are read fastest."""
    space = {**_FUNCTIONS, **names}
    used = "".join(f", {name}={name}" for name in names if name in body)
    exec(f"def compiled({argument}{used}):{body}\n", space)
    return space["compiled"]


def compile_quick_test(key: Any, args: tuple[Any, ...]) -> Callable[[Any], bool]:
    """Return a test whether later arguments have the same signature: of Tensors without gradients.

    Where there are others it is always false. It takes a fraction of the time of a signature.
    """
    modes, *parts = key
    if len(parts) != len(args) or any(type(x) is not Tensor or needs_grad_of(x) for x in args):
        return lambda _: False
    tests, known = [f"len(args) == {len(args)}", "current_modes() == modes"], {"modes": modes}
    for n, part in enumerate(parts):
        known[f"part{n}"] = part
        tests.append(
            f"type(args[{n}]) is Tensor and ((a{n} := array_of(args[{n}])).shape, a{n}.dtype.char, "
            f"needs_grad_of(args[{n}]), type(a{n}), a{n}.strides) == part{n}"
        )
    arrays = "".join(f"id(a{n}), " for n in range(len(parts)))
    tests += [f"len({{{arrays}}}) == {len(parts)}"] if len(parts) > 1 else []
    return _compiled("args", f"\n    return {' and '.join(tests)}", known)


def _words(value: Any) -> str:
    if value is MISSING:
        return "not set"
    return repr(value) if isinstance(value, PLAIN) else f"another {type(value).__name__}"
