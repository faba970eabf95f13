"""Compilation by numba: when a function is first called, kept in numba's cache where it can be."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numba
import numba.extending
from numba import types
from numba.core.compiler_lock import global_compiler_lock

__all__ = ["Job", "compile_function", "intrinsic", "jit"]

intrinsic: Any = numba.extending.intrinsic  # it adds a parameter, which type checkers miss

_JOB = types.void(types.CPointer(types.int64), types.int64, types.int64)


def _decorate(decorator: Callable[..., Any], function: Callable[..., Any], settings: Any) -> Any:
    """Decorate with a cache, or without one if neither the source's folder nor the user's has."""
    cache = os.path.isfile(function.__code__.co_filename)  # what was typed into a console has none
    try:
        return decorator(**settings, cache=cache)(function)
    except RuntimeError:  # numba found no folder that it can write to: compile in each process
        return decorator(**settings)(function)


def compile_function(function: Callable[..., Any], reassociate: bool = False) -> Any:
    """Return a function in numba's subset of Python, compiled when it is called.

    Args:
        function: a function of a module: numba keeps the machine code beside its source, or in the
            user's cache folder (``NUMBA_CACHE_DIR`` names another one).
        reassociate: whether sums may be added up in another order, several at a time.

    >>> import numpy as np
    >>> def total(x):
    ...     s = 0.0
    ...     for v in x:
    ...         s += v
    ...     return s
    >>> compile_function(total)(np.ones(3))
    3.0
    """
    settings: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    if reassociate:
        settings["fastmath"] = {"reassoc"}
    return _decorate(numba.njit, function, settings)


def jit(*flags: str) -> Callable[[Callable[..., Any]], Any]:
    """Return a decorator that compiles with LLVM's floating-point flags, of which none breaks NaN.

    `contract` allows fused multiply-adds, `reassoc` other orders of sums, `arcp` reciprocals,
    `nsz` ignores the sign of zero.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        settings = {"nogil": True, "error_model": "numpy", "fastmath": set(flags)}
        return _decorate(numba.njit, function, settings)

    return decorate


class Job:
    """A function that computes one part of a kernel, compiled to an address that threads call.

    The function is given a pointer to 64-bit integers (sizes, and addresses of arrays), the number
    of the part, and the number of the thread, which selects a workspace.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __getattr__(self, name: str) -> Any:
        """Return the address of the machine code: `address`, an attribute from then on."""
        if name != "address":
            raise AttributeError(name)
        # No other lock: a thread that has this one may ask for an address.
        with global_compiler_lock:
            if "address" not in vars(self):
                settings = {"sig": _JOB, "nopython": True, "error_model": "numpy"}
                self._compiled = _decorate(numba.cfunc, self._function, settings)  # owns the code
                self.address = int(self._compiled.address)
            return self.address
