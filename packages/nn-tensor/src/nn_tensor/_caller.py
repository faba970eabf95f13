"""Where in the user's program something happens."""

from __future__ import annotations

import sys

__all__ = ["FRAMEWORK", "caller"]

FRAMEWORK = frozenset(
    "nn_data nn_io nn_jit nn_kernels nn_layers nn_losses nn_optim nn_recurrent nn_tensor nn_train "
    "nn_transformer".split()
)
"""The packages of this framework."""


def caller() -> str:
    """Return the place in the user's program that is being executed, as ``file:line in name``.

    >>> from nn_tensor.extend import caller
    >>> " in " in caller()
    True
    """
    frame = sys._getframe(1)
    while frame.f_back is not None:
        package = frame.f_globals.get("__name__", "").partition(".")[0]
        if package not in FRAMEWORK and package != "contextlib":
            break
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"
