"""One place that says what was called, so that errors read alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nn_tensor._op import OpInfo


def describe(value: Any) -> str:
    """Say for an error what an argument is: dtype and shape of an array, otherwise the value.

    >>> import numpy as np
    >>> from nn_tensor.extend import describe
    >>> describe(np.zeros((2, 3))), describe("cpu")
    ('float64 (2, 3)', "'cpu'")
    """
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"{value.dtype} {tuple(value.shape)}"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def describe_call(info: OpInfo, values: list[Any], options: tuple[Any, ...]) -> str:
    """Write a call as ``matmul(x: float32 (2, 3), y: float32 (4, 5))``."""
    names = [f"{info.inputs[0]}[{i}]" for i in range(len(values))] if info.variadic else info.inputs
    parts = [f"{name}: {describe(value)}" for name, value in zip(names, values, strict=True)]
    changed = zip(info.options, options, info.defaults, strict=True)
    parts += [f"{name}={describe(v)}" for name, v, default in changed if v is not default]
    return f"{info.name}({', '.join(parts)})"


def explain(
    info: OpInfo, values: list[Any], options: tuple[Any, ...], error: Exception
) -> Exception:
    """Return `error` with the call that caused it in front of its reason."""
    reason = str(error)
    if "broadcast" in reason and "together" in reason:
        shapes = [str(v.shape) for v in values if getattr(v, "shape", ()) != ()]
        if len(shapes) > 1:
            reason = f"the shapes {' and '.join(shapes)} do not broadcast together"
        else:
            reason = "the shapes do not broadcast together"
    message = f"{describe_call(info, values, options)}: {reason}"
    try:
        return type(error)(message)
    except TypeError:  # an exception of another library with arguments of its own
        base = next(c for c in (IndexError, ValueError, TypeError) if isinstance(error, c))
        return base(message)
