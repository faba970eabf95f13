"""What has to be as it was when a program was recorded, beside the arguments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import is_
from typing import Any

from nn_tensor import Tensor
from nn_tensor.extend import array_of, gradient_of, hooks_of, needs_grad_of

from nn_jit._program import Guards
from nn_jit._same import MISSING, PLAIN, is_unchanged, layout_of, same

__all__ = ["compile_guards"]

_SHORT = 16  # items of a list that are compared one by one


def compile_guards(guards: Guards) -> Callable[[Sequence[Any]], str | None]:
    """Return a function of the leaves that says what has changed, or None."""
    tensors, arrays, needs = _columns(guards.states, 3)
    reads = list(guards.reads.values())
    layouts = [(t, layout_of(array_of(t))) for t in guards.fetched]
    gradients, arguments = list(guards.gradients.values()), guards.arguments
    hooked = list({id(r.tensor): r.tensor for r in guards.leaves if r.number is None}.values())
    numbers = {ref.number for ref in guards.leaves if ref.number is not None}

    def explained(leaves: Sequence[Any]) -> str | None:
        for tensor, array, _ in guards.states:
            if array_of(tensor) is not array:
                return "the array of a Tensor was replaced (load_state_dict, set_dtype, to)"
        if list(map(needs_grad_of, tensors)) != needs:
            return "a Tensor requires a gradient, or no longer does (freeze)"
        if any(map(hooks_of, hooked)):
            return "the hooks of a Tensor"
        for function, name, value, kind in reads:
            if not same(function(), value):
                before = (
                    ""
                    if kind == "contents of"
                    else f", {_words(value)} when the function was recorded"
                )
                return f"the {kind} {name!r}{before}"
        return changed_state(leaves)

    def changed_state(leaves: Sequence[Any]) -> str | None:
        for tensor, layout in layouts:
            if layout_of(array_of(tensor)) != layout or needs_grad_of(tensor):
                return "the shape, dtype or layout of a Tensor, or whether it requires a gradient"
        for ref, had in gradients:
            array = gradient_of(ref.tensor if ref.number is None else leaves[ref.number])
            if (None if array is None else layout_of(array)) != had:
                return "whether a Tensor has a gradient before the call, or its memory layout"
        for number in numbers:
            if hooks_of(leaves[number]):
                return "the hooks of a Tensor"
        for number in guards.others:
            if id(leaves[number]) in guards.own:
                return "which Tensor an argument is that is reached from elsewhere too"
        for number, given in arguments:
            leaf = leaves[number]
            if leaf is not given and (not isinstance(leaf, Tensor) or array_of(leaf) is not given):
                return "which Tensor an argument is that is reached from elsewhere too"
        return None

    # most calls change nothing: only the tests that this program needs, and few calls of Python
    tests = {
        "all(map(is_, map(array_of, tensors), arrays))": tensors,
        "list(map(needs_grad_of, tensors)) == needs": tensors,
        "not any(map(hooks_of, hooked))": hooked,
    }
    known: dict[str, Any] = {}  # as arguments, which are read fastest
    found = [test for test, subjects in tests.items() if subjects]
    for n, (function, _, value, kind) in enumerate(reads):
        owner, *key = function.args
        holder, is_list = f"h{id(owner)}", type(owner) is list and len(owner) <= _SHORT
        names = {holder: owner, f"f{n}": function, f"v{n}": value, f"k{n}": [*key, None][0]}
        if function.func is dict.get and type(owner) is dict:
            test = f"k{n} not in {holder}" if value is MISSING else f"{holder}[k{n}] is v{n}"
        elif kind == "contents of" and is_list:
            items = [f"{holder}[{i}] is v{n}[{i}]" for i in range(len(owner))]
            test = " and ".join([f"len({holder}) == {len(owner)}", *items])
        else:
            test = f"is_unchanged(f{n}(), v{n})" if kind == "contents of" else f"f{n}() is v{n}"
        known |= {name: x for name, x in names.items() if name in test}
        found.append(test)
    in_state = layouts or gradients or numbers or arguments or guards.others
    defaults = "".join(f", {name}={name}" for name in known)
    source = f"""def changed(leaves{defaults}):
    try:
        if {" and ".join(found) or "True"}:
            return {"changed_state(leaves)" if in_state else "None"}
    except KeyError:  # of an entry that was removed
        pass
    return explained(leaves)
"""
    names = {
        "array_of": array_of, "hooks_of": hooks_of, "is_": is_,
        "is_unchanged": is_unchanged, "needs_grad_of": needs_grad_of, **locals(), **known,
    }  # fmt: skip
    exec(source, names)
    changed: Callable[[Sequence[Any]], str | None] = names["changed"]
    return changed


def _columns(rows: Any, count: int) -> list[list[Any]]:
    return [[row[n] for row in rows] for n in range(count)]


def _words(value: Any) -> str:
    if value is MISSING:
        return "not set"
    return repr(value) if isinstance(value, PLAIN) else f"another {type(value).__name__}"
