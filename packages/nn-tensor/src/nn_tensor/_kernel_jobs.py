"""Operations that consist of the job of one compiled kernel, for programs that are replayed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nn_tensor._kernel import compiled_kernels_run
from nn_tensor._observe import unobserved
from nn_tensor._structures import leaves_of

__all__ = ["kernel_job"]

_HARMLESS = (np.ndarray, bool, int, float, type(None), str, np.dtype, type, type(np))


def kernel_job(
    function: Any, arguments: Sequence[Any], options: dict[str, Any], result: Any
) -> Any:
    """Return the job by which a function has computed `result`, None if it is not just that.

    Args:
        function: one that an `Observer` was told of: the forward of an operation, a backward rule.
        arguments: arrays and other values.
        options: by name.
        result: an array, or arrays in a structure.

    Returns:
        A function of some of the arrays among the arguments, whose numbers are in its attribute
        ``inputs``, and of arrays to write those of the result into: all have the dtypes, shapes and
        strides that they had here. ``bind(*arrays)`` returns a function without arguments that does
        the same for arrays that stay where they are.

    >>> import numpy as np
    >>> from nn_tensor.extend import kernel_job
    >>> x = np.ones(3)
    >>> kernel_job(np.add, (x, x), {}, x + x) is None
    True
    """
    leaves = list(leaves_of((tuple(arguments), options)))
    inputs = [x for x in leaves if type(x) is np.ndarray]
    results = [x for x in leaves_of(result) if x is not None]
    is_known = inputs and results and all(isinstance(x, _HARMLESS) for x in leaves)
    if not is_known or not all(type(x) is np.ndarray and x.size for x in results):
        return None
    if not compiled_kernels_run():
        return None

    def call() -> list[Any]:
        return [x for x in leaves_of(function(*arguments, **options)) if x is not None]

    return unobserved(_job_of, call, inputs, results)


def _job_of(*arguments: Any) -> Any:
    import nn_kernels.jobs

    return nn_kernels.jobs.job_of(*arguments)
