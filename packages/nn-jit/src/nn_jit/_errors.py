"""`JitError`, and the place in the user's program that it names."""

from __future__ import annotations

import sys

from nn_jit._names import FRAMEWORK

__all__ = ["JitError", "place"]


class JitError(RuntimeError):
    """A function cannot be recorded, or its replay differed; the message names the line."""


def place() -> str:
    """Return the line of the user's program that is being executed, as ``file:line in name``."""
    frame = sys._getframe(1)
    while frame.f_back is not None:
        package = frame.f_globals.get("__name__", "").partition(".")[0]
        if package not in FRAMEWORK and package != "contextlib":
            break
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"
