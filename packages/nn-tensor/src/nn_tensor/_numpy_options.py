"""Arguments of NumPy's functions that are not supported: they are refused by name."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import numpy as np

from nn_tensor._dtype import parse_dtype
from nn_tensor._elsewhere import keyword_hint
from nn_tensor._errors import CURES, describe

__all__ = ["explained", "positional_arguments", "reduction_dtype", "refuse"]

P = ParamSpec("P")
T = TypeVar("T")


def explained(function: Callable[P, T]) -> Callable[P, T]:
    """Let the TypeError for an unknown argument describe the call, as the errors of operations."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except TypeError as error:
            frame = error.__traceback__
            if frame is None or frame.tb_next is not None:  # the arguments were understood
                raise
            names = list(inspect.signature(function).parameters)
            given = {**dict(zip(names, args, strict=False)), **kwargs}
            first = names[0]
            parts = [
                f"{name}: {describe(value)}" if name == first else f"{name}={describe(value)}"
                for name, value in given.items()
            ]
            reason = str(error).removeprefix(f"{function.__name__}() ")
            for name in kwargs.keys() - set(names):
                reason += keyword_hint(name, names)
            raise TypeError(f"{function.__name__}({', '.join(parts)}): {reason}") from None

    return call


def refuse(function: str, **options: Any) -> None:
    """Raise a TypeError for an option of NumPy's that has a value; None and True are defaults."""
    for name, value in options.items():
        if value is None or (value is True and name != "out"):
            continue
        if name == "out" and isinstance(value, (bool, np.bool_)):
            raise TypeError(
                f"{function}: out: got {value!r}; keepdims is given by name, as in keepdims=True"
            )
        raise TypeError(f"{function}: {name}: not supported, got {describe(value)}; {CURES[name]}")


def reduction_dtype(dtype: Any) -> np.dtype[Any]:
    """Parse the dtype of a reduction, which stands where PyTorch has keepdim."""
    if isinstance(dtype, (bool, np.bool_)):
        raise TypeError(f"dtype: got {dtype!r}; keepdims is given by name, as in keepdims=True")
    return parse_dtype(dtype)


def positional_arguments(
    function: Callable[..., Any], operation: Callable[..., Any], args: Any, kwargs: Any
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments of NumPy's `function` as `operation` takes them.

    Arrays have names of their own in NumPy, as in ``np.sum(a=x)``, and are positional here.
    """
    args, kwargs = tuple(args), dict(kwargs)
    for name in _positional_names(function, operation)[len(args) :]:
        if name not in kwargs:
            break
        args += (kwargs.pop(name),)
    return args, kwargs


@functools.cache
def _positional_names(
    function: Callable[..., Any], operation: Callable[..., Any]
) -> tuple[str, ...]:
    """Return NumPy's names of the parameters that are positional-only in `operation`."""
    try:
        names = tuple(inspect.signature(function).parameters)
        ours = inspect.signature(operation).parameters.values()
    except (TypeError, ValueError):  # a built-in function without a signature
        return ()
    return names[: sum(p.kind is p.POSITIONAL_ONLY for p in ours)]
