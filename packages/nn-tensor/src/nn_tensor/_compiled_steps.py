"""Elementwise steps of programs as one compiled function, where compiled kernels run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from nn_tensor._kernel import compiled_kernels_run
from nn_tensor._numpy_steps import Step

__all__ = ["compile_steps", "is_elementwise"]


def is_elementwise(step: Step) -> bool:
    """Return whether a step can be part of what `compile_steps` compiles.

    It is an elementwise function of NumPy of float32 or float64 whose compiled result has the same
    bits, and where compiled kernels run. Its arrays may be objects with ``shape``, ``dtype`` and
    ``contiguous`` (in C order) that stand for them.

    >>> import numpy as np
    >>> from nn_tensor import use_kernels
    >>> from nn_tensor.extend import Step, is_elementwise
    >>> x = np.ones(2)
    >>> with use_kernels("reference"):
    ...     is_elementwise(Step(np.add, (x, x), {}, x + x, "add"))
    False
    """
    if not compiled_kernels_run():
        return False
    import nn_kernels.elementwise

    return nn_kernels.elementwise.is_elementwise(step)


def compile_steps(
    steps: Sequence[Step], outputs: Sequence[Any]
) -> tuple[list[Any], Callable[..., None]] | None:
    """Compile steps whose results have one shape to one function.

    Several threads compute results of 2^16 elements and more.

    Args:
        steps: those for which `is_elementwise` is true, in order.
        outputs: the results that are wanted.

    Returns:
        The arrays among the operands that are no results; and a function of these, and then of
        arrays in C order to write the outputs into, which share no memory with any other. None
        for a single step, where NumPy is as fast.

    >>> import numpy as np
    >>> from nn_tensor.extend import Step, compile_steps, is_elementwise
    >>> x = np.array([0.0, 1.0])
    >>> y = np.exp(x)
    >>> steps = [Step(np.exp, (x,), {}, y, "exp"), Step(np.multiply, (y, 2), {}, y * 2, "multiply")]
    >>> if all(map(is_elementwise, steps)):
    ...     arrays, function = compile_steps(steps, [steps[-1].result])
    ...     function(*arrays, out := np.empty(2))
    """
    import nn_kernels.elementwise

    compiled: tuple[list[Any], Callable[..., None]] | None
    compiled = nn_kernels.elementwise.compile_steps(steps, outputs)
    return compiled
