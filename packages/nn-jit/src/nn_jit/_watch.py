"""Watches the objects whose methods run: a program depends on their plain attributes."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from nn_tensor.extend import current_observer

from nn_jit._program import Guards

__all__ = ["watch_objects"]

_PLAIN = (bool, int, float, str)
_UNWATCHED = sys.stdlib_module_names | {
    "nn_tensor", "nn_optim", "nn_kernels", "nn_jit", "numpy", "numba", "cupy"
}  # fmt: skip


@contextlib.contextmanager
def watch_objects(guards: Guards) -> Iterator[None]:
    """Remember the training mode and the plain attributes of every object that is called."""
    before, training = sys.getprofile(), guards.training

    def profile(frame: Any, event: str, argument: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_argcount and code.co_varnames[0] == "self":
            owner = frame.f_locals.get("self")
            mode = getattr(type(owner), "training", None)
            if mode is not None and id(owner) not in training:
                training[id(owner)] = owner, owner.training
            if frame.f_globals.get("__name__", "").partition(".")[0] not in _UNWATCHED:
                _watch_attributes(owner, code.co_names, guards)

    sys.setprofile(profile)
    try:
        yield
    finally:
        sys.setprofile(before)


def _watch_attributes(owner: Any, names: Sequence[str], guards: Guards) -> None:
    """Remember the attributes among `names` that are plain values, unless an external is called."""
    values = getattr(owner, "__dict__", None)
    if values is not None and current_observer() is not None:
        for name in names:
            if isinstance(values.get(name), _PLAIN):
                guards.attributes.setdefault((id(owner), name), (owner, values[name]))
