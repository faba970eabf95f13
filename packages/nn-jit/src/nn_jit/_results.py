"""What externals give, compared with what they gave when a function was recorded."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from nn_tensor import Tensor
from nn_tensor.extend import array_of

from nn_jit._errors import JitError
from nn_jit._same import MISSING, PLAIN, same
from nn_jit._tree import map_tree, rebuilt

__all__ = ["changes_dtype", "checked", "is_array", "outline"]


def is_array(x: Any) -> bool:
    """Return whether `x` is an array or scalar of NumPy, or an array on a device."""
    return isinstance(x, (np.ndarray, np.generic)) or hasattr(x, "__cuda_array_interface__")


def outline(x: Any) -> Any:
    """Return what an external gave, with MISSING for arrays and for objects that may hold some."""

    def part(y: Any) -> Any:
        is_part = is_array(y) or isinstance(y, Tensor)
        return MISSING if is_part or not (y is x or isinstance(y, PLAIN)) else y

    return map_tree(part, x)


def checked(x: Any, expected: Any, label: str) -> Any:
    """Return what an external gives in a replay with arrays in place of Tensors.

    Raises:
        JitError: if it is not as it was recorded, beside the values of arrays.
    """
    if x is expected:
        return x
    if expected is MISSING:
        return array_of(x) if isinstance(x, Tensor) else x
    if type(x) is type(expected) and isinstance(x, (tuple, list, dict)) and len(x) == len(expected):
        if isinstance(x, dict):
            return {k: checked(x.get(k, MISSING), y, label) for k, y in expected.items()}
        return rebuilt(x, [checked(a, b, label) for a, b in zip(x, expected, strict=True)])
    if same(x, expected):
        return x
    raise JitError(
        f"{label} gave {x!r:.80}, and {expected!r:.80} when the function was recorded, which a "
        "replay would not see; return such a number as an array, np.asarray(number, dtype)"
    )


def changes_dtype(arrays: Sequence[Any], numbers: Collection[int], result: Any) -> bool:
    """Return whether a result has another dtype with numbers of Python that stand in arrays.

    `numbers` are the identities of these arrays.
    """
    others = [a.dtype for a in arrays if id(a) not in numbers]
    if not others or len(others) == len(arrays):
        return False
    dtype, with_numbers = np.result_type(*others), np.result_type(*(a.dtype for a in arrays))
    first = result[0] if type(result) is tuple and result else result
    return dtype != with_numbers and getattr(first, "dtype", None) not in (bool, dtype)
