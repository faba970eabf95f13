"""What NumPy's functions do with a Tensor: ``np.exp(x)`` is ``nn_tensor.exp(x)``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from nn_tensor import ops
from nn_tensor._graph import Variable

__all__ = ["counterparts"]


def _on_arrays(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a function that only compares see plain arrays."""

    def compare(*args: Any, **kwargs: Any) -> Any:
        return function(*(a._data if isinstance(a, Variable) else a for a in args), **kwargs)

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
    "ndim": lambda x: x.ndim,
    "shape": lambda x: x.shape,
    "size": lambda x: x.size,
}
"""The functions by NumPy's names for them; `creation` adds those that make new Tensors."""
