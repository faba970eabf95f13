"""Hooks: functions that see, and may replace, a gradient that has been computed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

from nn_tensor._convert import as_output
from nn_tensor._graph import Variable, new_variable

__all__ = ["RETAIN", "add_hook", "hooks_of", "run_hooks"]

_next_hook = itertools.count(1)  # hooks are called in the order of their numbers
RETAIN = math.inf
"""The key of retain_grad's own hook, which sees what the others leave."""


def hooks_of(variable: Variable) -> dict[float, Callable[..., Any]]:
    """Return the hooks of a variable; those of a result stand at its node."""
    owner: Any = variable._parent()
    if owner._hooks is None:
        owner._hooks = {}
    hooks: dict[float, Callable[..., Any]] = owner._hooks
    return hooks


def add_hook(variable: Variable, hook: Callable[..., Any]) -> Callable[[], None]:
    """Add a hook, and return the function that removes it."""
    hooks, key = hooks_of(variable), next(_next_hook)
    hooks[key] = hook

    def remove() -> None:
        hooks.pop(key, None)

    return remove


def run_hooks(hooks: dict[float, Callable[..., Any]], grad: Any) -> Any:
    """Let each hook see, and perhaps replace, a gradient that has been computed."""
    recorded = isinstance(grad, Variable)
    variable: Any = grad if recorded else new_variable(as_output("hook", grad))
    for _, hook in sorted(hooks.items()):
        replaced = hook(variable)
        if replaced is None:
            continue
        if not isinstance(replaced, Variable):
            replaced = type(variable)(replaced, variable.device, variable.dtype)
        if replaced.shape != variable.shape:
            raise ValueError(
                f"hook: must return a gradient of shape {variable.shape}, got {replaced.shape}"
            )
        variable = replaced.astype(variable.dtype)
    return variable if recorded else variable._data
