"""Compilation by numba: when a function is first called, kept in numba's cache where it can be."""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import numba
import numba.extending
from llvmlite.binding import ffi
from numba import types
from numba.core.compiler import Flags, compile_internal
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target

__all__ = ["Job", "compile_function", "intrinsic", "jit", "subroutine"]

intrinsic: Any = numba.extending.intrinsic  # it adds a parameter, which type checkers miss

_JOB = types.void(types.CPointer(types.int64), types.int64, types.int64)
_SUBROUTINE = {
    "nopython": True,  # else numba would compile what it cannot type for its object mode
    "error_model": "numpy",
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}


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


_defined: Any = WeakKeyDictionary()  # of a library of numba: the subroutines that are part of it


def subroutine(*flags: str, returns: Any = types.none) -> Callable[[Callable[..., Any]], Any]:
    """Return a decorator for a function that compiled functions call, and are compiled with.

    A function of `jit` is compiled by itself, with what is needed to call it from Python, and again
    where it is called. This one is only lowered, into the library of its caller, and optimized with
    it: that takes half the time.

    Args:
        flags: those of LLVM, as for `jit`.
        returns: the type of the result, one of numba.
    """
    settings = {**_SUBROUTINE, "fastmath": set(flags)}

    def decorate(function: Callable[..., Any]) -> Any:
        def definition(typing: Any, *kinds: Any) -> Any:
            return returns(*kinds), generate

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            library = context.active_code_library
            defined = _defined.setdefault(library, {})
            key = function, signature.args
            if key not in defined:
                defined[key] = _lower(context, library, function, signature, settings)
            return context.call_internal(builder, defined[key], signature, arguments)

        first = inspect.Parameter("typing", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        parameters = inspect.signature(function).parameters.values()
        described: Any = functools.update_wrapper(definition, function)
        described.__signature__ = inspect.Signature([first, *parameters])
        return intrinsic(described)

    return decorate


def _lower(context: Any, library: Any, function: Any, signature: Any, settings: Any) -> Any:
    """Add a function to a library of numba that is being made; return its description."""
    flags: Any = Flags()
    cpu_target.options.parse_as_flags(flags, settings)
    flags.no_compile = True
    result = compile_internal(
        context.typing_context, context, library, function, signature.args, signature.return_type,
        flags, {},
    )  # fmt: skip
    # as what numba links: it does not stay where all calls are inlined
    library.get_function(result.fndesc.mangled_name).linkage = "linkonce_odr"
    return result.fndesc


_held = contextlib.ExitStack()


def _before_fork() -> None:
    """Wait until no other thread compiles: in the child nobody would release the locks it has."""
    _held.enter_context(global_compiler_lock)
    _held.enter_context(getattr(ffi.lib, "_lock", contextlib.nullcontext()))  # it is private


def _after_fork() -> None:
    _held.pop_all().close()  # emptied first: the next thread that forks may have the locks at once


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork
    )


class Job:
    """A function that computes one part of a kernel, compiled to an address that threads call.

    The function is given a pointer to 64-bit integers (sizes, and addresses of arrays), the number
    of the part, and the number of the thread, which selects a workspace.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function, self.name = function, function.__name__.strip("_").removesuffix("_job")

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
