"""What has to be as it was when a program was recorded, beside the arguments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter, is_
from types import FunctionType
from typing import Any

from nn_tensor import Tensor
from nn_tensor.extend import array_of, gradient_of, hooks_of, needs_grad_of

from nn_jit._program import Guards
from nn_jit._same import layout_of

__all__ = ["compile_guards", "names_read"]

_training_of = attrgetter("training")
_SCALARS = (bool, int, float, str, type(None))


def names_read(function: Any) -> list[tuple[Callable[[], Any], str, Any]]:
    """Return how to read each plain value that a function takes from around it, and its value."""
    found: list[tuple[Callable[[], Any], str, Any]] = []
    inner = getattr(function, "__wrapped__", None) or getattr(function, "func", None)
    if inner is not None:  # of a decorator, or of functools.partial
        found += names_read(inner)
    function = getattr(function, "__func__", function)
    if not isinstance(function, FunctionType):
        return found
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    for name, cell in cells:
        try:
            value = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
        if isinstance(value, _SCALARS):
            found.append((lambda cell=cell: cell.cell_contents, name, value))  # type: ignore[misc]
    scope = function.__globals__
    for name in function.__code__.co_names:
        if name in scope and isinstance(scope[name], _SCALARS):
            found.append((lambda name=name: scope.get(name), name, scope[name]))  # type: ignore[misc]
    return found


def compile_guards(guards: Guards) -> Callable[[Sequence[Any]], str | None]:
    """Return a function of the leaves that says what has changed, or None."""
    tensors = [tensor for tensor, _, _ in guards.states]
    arrays = [array for _, array, _ in guards.states]
    needs = [needs_grad for _, _, needs_grad in guards.states]
    layouts = [(t, layout_of(array_of(t))) for t in guards.fetched]
    modules, modes = zip(*guards.training.values(), strict=True) if guards.training else ((), ())
    modes = tuple(modes)
    gradients, names = list(guards.gradients.values()), guards.names

    attributes = [(vars(o), name, v) for (_, name), (o, v) in guards.attributes.items()]
    spaces, keys, values = (
        [a[0] for a in attributes],
        [a[1] for a in attributes],
        [a[2] for a in attributes],
    )
    hooked = list({id(r.tensor): r.tensor for r in guards.leaves if r.number is None}.values())
    arguments = {ref.number for ref in guards.leaves if ref.number is not None}
    needed, same = tuple(needs), guards.arguments
    simple = not (layouts or gradients or names or same or arguments)

    def changed(leaves: Sequence[Any]) -> str | None:
        if (
            simple
            and all(map(is_, map(array_of, tensors), arrays))
            and tuple(map(needs_grad_of, tensors)) == needed
            and tuple(map(_training_of, modules)) == modes
            and not any(map(hooks_of, hooked))
            and list(map(dict.get, spaces, keys)) == values
        ):
            return None
        return explained(leaves)

    def explained(leaves: Sequence[Any]) -> str | None:
        for tensor, array, needs_grad in zip(tensors, arrays, needs, strict=True):
            if array_of(tensor) is not array:
                return "the array of a Tensor was replaced (load_state_dict, set_dtype, to)"
            if tensor.requires_grad is not needs_grad:
                return "a Tensor requires a gradient, or no longer does (freeze)"
        for module, mode in zip(modules, modes, strict=True):
            if module.training is not mode:
                return "the training mode of a module (train, eval)"
        for tensor, layout in layouts:
            if layout_of(array_of(tensor)) != layout or tensor.requires_grad:
                return "the shape, dtype or layout of a Tensor, or whether it requires a gradient"
        for ref, had in gradients:
            tensor = ref.tensor if ref.number is None else leaves[ref.number]
            array = gradient_of(tensor)
            if (None if array is None else layout_of(array)) != had:
                return "whether a Tensor has a gradient before the call, or its memory layout"
        if any(map(hooks_of, hooked)) or any(hooks_of(leaves[n]) for n in arguments):
            return "the hooks of a Tensor"
        for space, name, value in attributes:
            if space.get(name) != value:
                return f"the attribute {name!r}, {value!r} when the function was recorded"
        for number, given in same:
            leaf = leaves[number]
            if leaf is not given and (not isinstance(leaf, Tensor) or array_of(leaf) is not given):
                return "which Tensor an argument is that is reached from elsewhere too"
        for read, name, value in names:
            now = read()
            if now is not value and (type(now) is not type(value) or now != value):
                return f"the variable {name!r}, {value!r} when the function was recorded"
        return None

    return changed
