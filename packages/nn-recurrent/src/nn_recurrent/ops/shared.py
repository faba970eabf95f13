"""What the operations have in common: dtypes, and the parts of their result."""

from __future__ import annotations

from typing import Any

import numpy as np
from nn_tensor.extend import accumulation_dtype

from nn_recurrent.ops.steps import Steps

__all__ = ["masked_before", "split", "widen"]

Array = Any


def widen(*arrays: Any) -> list[Any]:
    """Return arrays in one dtype, in which half precision is computed as well."""
    dtype = np.result_type(*(x.dtype for x in arrays if hasattr(x, "dtype")))
    dtype = accumulation_dtype(dtype) or dtype
    return [x.astype(dtype, copy=False) if hasattr(x, "dtype") else x for x in arrays]


def split(vector: Any, steps: Steps, *sizes: int) -> list[Any]:
    """Return as matrices the parts of a result: (rows, sizes[0]), then (batch, size) for each."""
    stop = steps.total * sizes[0]
    parts = [vector[:stop].reshape(steps.total, sizes[0])]
    for size in sizes:
        start, stop = stop, stop + steps.batch * size
        parts.append(vector[start:stop].reshape(steps.batch, size))
    return parts


def masked_before(xp: Any, hidden: Array, mask: Array | float, steps: Steps) -> Array:
    """Return, packed, what is multiplied with the recurrent weights: masked states before steps."""
    before = steps.before(xp, hidden)
    if isinstance(mask, float) or not steps.total:
        return before
    return before * xp.concatenate([mask[:n] for n in steps.spans[:, 2].tolist()])
