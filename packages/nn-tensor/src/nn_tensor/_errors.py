"""Errors that say what was called."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nn_tensor._elsewhere import keyword_hint

__all__ = ["CURES", "describe", "describe_call", "explain"]

CURES = {
    "out": "a result is a new Tensor; assign it to x[...]",
    "where": "choose the elements first, with where or an index",
    "initial": "combine the result with it: +, *, maximum or minimum",
    "casting": "convert the inputs with astype",
    "order": "the memory of results is in C order",
}
"""What to do instead of giving an option of NumPy's functions that is not supported."""


def describe(value: Any) -> str:
    """Say for an error what an argument is: dtype and shape of an array, otherwise the value.

    Of a data frame it is the columns that hold no numbers.

    >>> import numpy as np
    >>> from nn_tensor.extend import describe
    >>> describe(np.zeros((2, 3))), describe("cpu")
    ('float64 (2, 3)', "'cpu'")
    """
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"{value.dtype} {tuple(value.shape)}"
    if hasattr(value, "columns") and hasattr(value, "__array__"):
        wrong = [c for c in value.columns if np.asarray(value[c]).dtype.kind not in "biuf"]
        which = f" in the columns {', '.join(map(repr, wrong))}" if wrong else ""
        return f"a {type(value).__name__} with something else{which}"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def describe_call(
    info: Any, values: Sequence[Any], given: Sequence[Any] = (), named: Mapping[str, Any] = {}
) -> str:
    """Write a call of an operation as ``sum(x: float32 (2, 3), axis=5)``."""
    names = info.inputs
    if info.variadic:
        names = [f"{info.inputs[0]}[{i}]" for i in range(len(values))]
    parts = [f"{name}: {describe(value)}" for name, value in zip(names, values, strict=True)]
    options = {**dict(zip(info.options, given, strict=False)), **named}
    parts += [
        f"{name}={describe(value)}"
        for name, value in options.items()
        if name not in info.options or value is not info.options[name]
    ]
    return f"{info.name}({', '.join(parts)})"


def _numpy_names(name: str) -> list[str]:
    """Return the names of the parameters of NumPy's function of that name, if it tells them."""
    try:
        parameters = inspect.signature(getattr(np, name)).parameters.values()
        return [p.name for p in parameters if p.kind is not p.KEYWORD_ONLY]
    except (AttributeError, TypeError, ValueError):
        return []


def explain(
    info: Any,
    values: Sequence[Any],
    error: Exception,
    given: Sequence[Any] = (),
    named: Mapping[str, Any] = {},
) -> Exception:
    """Return `error` with the call that caused it in front of its reason."""
    reason = str(error).removeprefix(f"{info.forward.__qualname__}() ")
    if "broadcast" in reason and "together" in reason:
        shapes = [str(v.shape) for v in values if getattr(v, "shape", ()) != ()]
        which = f" {' and '.join(shapes)}" if len(shapes) > 1 else ""
        reason = f"the shapes{which} do not broadcast together"
    if isinstance(error, TypeError) and len(given) > len(info.options):
        names = [*info.inputs, *info.options]
        got = len(info.inputs) + len(given)
        reason = f"takes {len(names)} arguments ({', '.join(names)}), got {got}"
        further = _numpy_names(info.name)[len(names) : got]
        if further:  # what the further ones would have been in NumPy
            reason += f"; {', '.join(further)} of NumPy's is not supported"
    for name in named:
        if name not in info.options:
            if hint := keyword_hint(name, info.options):
                reason += hint
            elif name in CURES:
                reason += f"; {CURES[name]}"
    message = f"{describe_call(info, values, given, named)}: {reason}"
    try:
        return type(error)(message)
    except TypeError:  # an exception of another library with arguments of its own
        base = next(c for c in (IndexError, ValueError, TypeError) if isinstance(error, c))
        return base(message)
