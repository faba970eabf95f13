"""What externals give, compared with what they gave when a function was recorded."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from nn_tensor import Tensor
from nn_tensor.extend import array_of, is_array

from nn_jit._program import JitError
from nn_jit._same import MISSING, PLAIN, same
from nn_jit._tree import is_tree, map_tree

__all__ = ["changes_dtype", "checked", "outline"]


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
    if not _fits(x, expected):
        raise JitError(
            f"{label} gave {x!r:.80}, and {expected!r:.80} when the function was recorded, which a "
            "replay would not see; return such a number as an array, np.asarray(number, dtype)"
        )
    return map_tree(lambda y: array_of(y) if isinstance(y, Tensor) else y, x)


def _fits(x: Any, expected: Any) -> bool:
    if expected is MISSING or not is_tree(expected):
        return expected is MISSING or same(x, expected)
    if type(x) is not type(expected) or len(x) != len(expected):
        return False
    keys = expected if isinstance(x, dict) else range(len(x))
    return (not isinstance(x, dict) or list(x) == list(keys)) and all(
        _fits(x[key], expected[key]) for key in keys
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
