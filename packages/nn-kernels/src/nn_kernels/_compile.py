"""Compilation: when a function is first called or its address is asked for, and kept on disk.

Nothing here imports numba before it compiles. What is decorated is a `Definition`, which numba asks
for its type where a function that it compiles calls it.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib
import itertools
import logging  # noqa: F401 - numba imports it, see `register_at_fork` below
import os
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

import llvmlite.binding as llvm
from llvmlite.binding import ffi

from nn_kernels import _objects, _target

__all__ = [
    "Job",
    "cgutils",
    "compile_function",
    "errors",
    "intrinsic",
    "subroutine",
    "types",
]


class _Module:
    """A module that is imported when something of it is first used."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self._name), name)


types: Any = _Module("numba.core.types")
cgutils: Any = _Module("numba.core.cgutils")
errors: Any = _Module("numba.core.errors")


_importing = threading.RLock()
_loaded: Any = None


def _lowering() -> Any:
    """Import numba and what uses it, with a lock of our own, which a fork waits for."""
    global _loaded
    if _loaded is None:
        with _importing:
            from nn_kernels import _lowering as loaded

            _loaded = loaded
    return _loaded


class Definition:
    """A function that compiled functions call.

    Args:
        function: the function.
        describe: returns numba's type of it.
    """

    def __init__(self, function: Callable[..., Any], describe: Callable[[], Any]) -> None:
        functools.update_wrapper(self, function)
        self._describe = describe

    def __getattr__(self, name: str) -> Any:
        """Return what numba asks for: an attribute from then on."""
        if name != "_numba_type_":
            raise AttributeError(name)
        try:
            self._numba_type_ = self._describe()
        except AttributeError as error:  # numba would take it for a missing attribute
            raise RuntimeError(f"{self.__name__}: numba cannot describe it") from error
        return self._numba_type_

    def __call__(self, *arguments: Any) -> Any:
        raise NotImplementedError(f"{self.__name__} is called by compiled functions alone")


class Subroutine(Definition):
    """A function that compiled functions call, and Python with arrays."""

    def __init__(
        self, function: Callable[..., Any], describe: Callable[[], Any], flags: Sequence[str]
    ) -> None:
        super().__init__(function, describe)
        self._flags = flags
        self._compiled: Callable[..., Any] | None = None

    def __call__(self, *arguments: Any) -> Any:
        if self._compiled is None:
            self._compiled = _dispatcher(self.__wrapped__, {"fastmath": set(self._flags)})
        return self._compiled(*arguments)


def intrinsic(function: Callable[..., Any]) -> Any:
    """Declare a function that returns a signature, and a function that writes LLVM's text."""

    def describe() -> Any:
        return _lowering().type_of_intrinsic(function)

    return Definition(function, describe)


def subroutine(*flags: str, returns: str = "none") -> Callable[[Callable[..., Any]], Any]:
    """Return a decorator for a function that compiled functions call, and are compiled with.

    It is only lowered, into the library of its caller, and optimized with it: that takes half the
    time of a function that is compiled by itself, as it is where Python calls it, with arrays.

    Args:
        flags: LLVM's floating-point flags, of which none breaks NaN. `contract` allows fused
            multiply-adds, `reassoc` other orders of sums, `arcp` reciprocals, `nsz` ignores the
            sign of zero.
        returns: the type of the result, by numba's name.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        def describe() -> Any:
            return _lowering().type_of_subroutine(function, flags, returns)

        return Subroutine(function, describe, flags)

    return decorate


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
    return _dispatcher(function, {"fastmath": {"reassoc"}} if reassociate else {})


def _dispatcher(function: Callable[..., Any], settings: dict[str, Any]) -> Any:
    numba = _lowering().numba
    settings = {"nogil": True, "error_model": "numpy", **settings}
    cache = os.path.isfile(function.__code__.co_filename)  # what was typed into a console has none
    try:
        return numba.njit(cache=cache, **settings)(function)
    except RuntimeError:  # numba found no folder that it can write to: compile in each process
        return numba.njit(**settings)(function)


_held = contextlib.ExitStack()


def _before_fork() -> None:
    """Wait until no other thread compiles: in the child nobody would release the locks it has."""
    for _ in range(2):  # numba may have been imported while this thread waited
        compiler = sys.modules.get("numba.core.compiler_lock")
        _held.enter_context(getattr(compiler, "global_compiler_lock", contextlib.nullcontext()))
        _held.enter_context(_importing)
    _held.enter_context(getattr(ffi.lib, "_lock", contextlib.nullcontext()))  # it is private


def _after_fork() -> None:
    _held.pop_all().close()  # emptied first: the next thread that forks may have the locks at once


if hasattr(os, "register_at_fork"):  # after that of logging, so that it is called before it
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork
    )

_ENTRY = "job"
_C_FUNCTION = ctypes.CFUNCTYPE(None)
_numbers = itertools.count()


@functools.cache
def _linker() -> Any:
    return llvm.create_lljit_compiler(_target.MACHINE)


def _link(name: str, code: bytes, imports: dict[str, int] | None = None) -> int:
    """Put machine code into memory, where it stays, and return its address.

    It may be running when all that is left of the process is the thread that runs it.
    """
    builder = llvm.JITLibraryBuilder().add_object_img(code).add_current_process()
    for symbol, address in (imports or {}).items():
        builder.import_symbol(symbol, address)
    try:
        library = builder.export_symbol(_ENTRY).link(_linker(), f"nn_kernels_{next(_numbers)}")
    except RuntimeError as error:
        raise RuntimeError(f"{name}: its machine code cannot be linked") from error
    found = int(library[_ENTRY])
    library.detach()
    return found


class Job:
    """A function that computes one part of a kernel, compiled to an address that threads call.

    The function is given a pointer to 64-bit integers (sizes, and addresses of arrays), the number
    of the part, and the number of the thread, which selects a workspace.

    Args:
        function: a function of a module, in numba's subset of Python.
        key: the name of the machine code on disk, by default made from the function's source.
    """

    def __init__(self, function: Callable[..., Any], key: str | None = None) -> None:
        self._function, self._key = function, key
        self.name = function.__name__.strip("_").removesuffix("_job")

    def __getattr__(self, name: str) -> Any:
        """Return the machine code's `address`, or the `function` there: attributes from then on.

        The latter is called with instances of `c_size_t`. If it had types of arguments, to convert
        integers, a call would take twice the time.
        """
        if name == "function":
            self.function = _C_FUNCTION(self.address)
            return self.function
        if name != "address":
            raise AttributeError(name)
        key = self._key or _objects.key_of(self._function)
        code = None if key is None else _objects.load(key)
        if code is None:
            return self._compile(key)
        return vars(self).setdefault("address", _link(self.name, code))

    def _compile(self, key: str | None) -> Any:
        lowering = _lowering()
        # No other lock: a thread that has this one may ask for an address.
        with lowering.global_compiler_lock:
            if "address" not in vars(self):
                code, imports = lowering.compile_object(self._function, _ENTRY)
                self.address = _link(self.name, code, imports)
                if key is not None and not imports:
                    _objects.save(key, code)
            return self.address
