"""What NumPy's functions do with a Tensor: ``np.exp(x)`` is ``nn_tensor.exp(x)``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from nn_tensor import ops
from nn_tensor._observe import read

__all__ = ["counterpart", "counterparts", "linalg_counterparts", "name_of"]


def _on_arrays(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a function that only compares see plain arrays."""

    def compare(*args: Any, **kwargs: Any) -> Any:
        return function(*(read(a, function.__name__) for a in args), **kwargs)

    return compare


counterparts: dict[str, Callable[..., Any]] = {
    **{name: getattr(ops, name) for name in vars(ops)["__all__"]},
    "absolute": ops.abs,
    "allclose": _on_arrays(np.allclose),
    "amax": ops.max,
    "amin": ops.min,
    "array_equal": _on_arrays(np.array_equal),
    "bitwise_invert": ops.invert,
    "isclose": _on_arrays(np.isclose),
    "mod": ops.remainder,
    "round": ops.round,
    "ndim": lambda x: x.ndim,
    "shape": lambda x: x.shape,
    "size": lambda x: x.size,
}
"""The functions by NumPy's names for them; `creation` adds those that make new Tensors."""

linalg_counterparts: dict[str, Callable[..., Any]] = {
    "matmul": ops.matmul,
    "outer": ops.outer,
    "tensordot": ops.tensordot,
}
"""Those of `numpy.linalg`, some of whose functions differ from their namesakes in `numpy`."""


def counterpart(function: Callable[..., Any]) -> Callable[..., Any] | None:
    """Return the operation for NumPy's `function` on Tensors, or None."""
    if function.__module__ == "numpy.linalg":
        return linalg_counterparts.get(function.__name__)
    return counterparts.get(function.__name__) if function.__module__ == "numpy" else None


def name_of(function: Callable[..., Any]) -> str:
    """Return the name of one of NumPy's functions after "numpy.", as in "linalg.eig"."""
    return f"{function.__module__}.{function.__name__}".removeprefix("numpy.")
