"""Where a loss that is not finite comes from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from nn_tensor import Tensor, isfinite, no_grad

__all__ = ["NonFiniteError", "first_nonfinite"]


class NonFiniteError(FloatingPointError):
    """A loss is NaN or infinite: the message names the step, the batch and the first layer.

    Attributes:
        step: the number of the step, counted from 1.
        where: the first input, parameter or layer that is not finite.
        indices: the indices of the samples of the batch, or None if the loader does not provide
            them.
    """

    def __init__(self, message: str, step: int, where: str, indices: Any = None) -> None:
        super().__init__(message)
        self.step: int = step
        self.where: str = where
        self.indices: Any = indices


def first_nonfinite(model: Any, batch: Any, compute: Callable[[Any], Any]) -> str:
    """Return the first of inputs, parameters and layers that is not finite, or the loss.

    The forward pass is done once more, without changing the model; random layers draw other
    numbers then.
    """
    if not _finite(batch):
        return "the batch itself"
    for name, tensor in _call(model, "named_parameters"):
        if not _finite(tensor):
            return f"parameter {name}, before the step"
    former = {k: v.copy() if hasattr(v, "copy") else v for k, v in model.state_dict().items()}
    found: list[str] = []
    try:
        with _watched(model, found), no_grad(), np.errstate(all="ignore"):
            compute(batch)
    except Exception as error:  # a diagnosis that fails must not hide what it is about
        return f"a forward pass that failed when repeated: {error}"
    finally:
        model.load_state_dict(former)
    return found[0] if found else "the loss, of a finite prediction"


def _call(model: Any, method: str) -> list[Any]:
    return list(getattr(model, method)()) if hasattr(model, method) else []


@contextmanager
def _watched(model: Any, found: list[str]) -> Iterator[None]:
    """Note the first module whose output is not finite; the innermost returns first."""
    watched = []
    try:
        for path, module in _call(model, "named_modules"):
            if "forward" not in vars(module):
                module.forward = _watcher(module.forward, path, type(module).__name__, found)
                watched.append(module)
        yield
    finally:
        for module in watched:
            del module.forward


def _watcher(forward: Any, path: str, kind: str, found: list[str]) -> Any:
    def watch(*args: Any, **kwargs: Any) -> Any:
        result = forward(*args, **kwargs)
        if not found and not _finite(result):
            found.append(f"the output of {path or 'the model'} ({kind})")
        return result

    return watch


def _finite(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return all(map(_finite, value))
    if isinstance(value, dict):
        return all(map(_finite, value.values()))
    if not isinstance(value, Tensor | np.ndarray):
        return True
    if value.dtype.kind != "f":
        return True
    return bool(isfinite(value).all().item())
