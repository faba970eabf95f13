"""Compilation of generated text, whose machine code is kept on disk by its content."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from nn_kernels._atomics import double_array, doubles, float_array, floats, integer_array, integers
from nn_kernels._compile import Job, compile_function
from nn_kernels._objects import folder_of_user, write
from nn_kernels._threads import BoundJob
from nn_kernels._ufunc_loops import call_unary

__all__ = ["compile_job", "compile_parts", "compile_source"]

_FOR_FUNCTIONS = {
    "doubles": double_array,
    "floats": float_array,
    "integers": integer_array,
    "call_unary": call_unary,
}
_FOR_JOBS = {"doubles": doubles, "floats": floats, "integers": integers}


@functools.cache
def compile_source(source: str) -> Callable[..., Any]:
    """Return the function ``run`` of a module's text, compiled when it is called.

    The text is written into the user's cache folder, under a name made of its content, so that
    numba finds its machine code again in the next process; ``NUMBA_CACHE_DIR`` names another
    folder. Where it cannot be written, each process compiles for itself.

    Args:
        source: in numba's subset of Python; equal texts give one function. ``floats(address)`` and
            ``doubles(address)`` are the arrays of float32 and float64 at an address, given as
            int64; nothing checks where they end.

    >>> compile_source("def run(x):\\n    return x + 1\\n")(2)
    3
    """
    compiled: Callable[..., Any] = compile_function(_module_of(source).run)
    return compiled


def compile_parts(source: str) -> Callable[[Sequence[Any]], Callable[[int, int], None]]:
    """Return a function that binds a job, whose text is compiled as by `compile_source`.

    It is given integers and contiguous arrays, and returns a function of the number of parts, and
    of the nanoseconds that one thread needs for all of them, roughly: longer jobs are divided among
    the threads of the pool.

    Args:
        source: a module's text, with ``run(arguments, part, thread)``. Its arguments are a pointer
            to 64-bit integers, of which those given (for arrays their addresses) begin at
            ``arguments[2]``; the part; and a number that no two parts have that run at the same
            time. ``floats(address)``, ``doubles(address)`` and ``integers(address)`` are indexed by
            one integer each; nothing checks where they end. It makes no arrays, lists or
            functions, and raises no exceptions.

    Raises:
        TypeError: if the text raises an exception (when the job is run first).

    >>> import numpy as np
    >>> text = "def run(a, part, thread):\\n    floats(a[2])[part] = a[3] + part\\n"
    >>> x = np.empty(3, np.float32)
    >>> compile_parts(text)((x, 10))(3, 1000)
    >>> x
    array([10., 11., 12.], dtype=float32)
    """
    return functools.partial(BoundJob, compile_job(source))


@functools.cache
def compile_job(source: str) -> Job:
    """Return the job whose text is that of `compile_parts`."""
    name = _name_of(source)
    return Job(_run(ModuleType(name), source, f"<{name}>", _FOR_JOBS).run, name)


def _name_of(source: str) -> str:
    return f"nn_kernels_generated_{hashlib.sha256(source.encode()).hexdigest()[:24]}"


def _module_of(source: str) -> ModuleType:
    name = _name_of(source)
    module = _module_of_file(name, source)
    if module is None:
        module = _run(ModuleType(name), source, f"<{name}>", _FOR_FUNCTIONS)
    sys.modules[name] = module  # numba's cache loads by the name of the module
    return module


def _module_of_file(name: str, source: str) -> ModuleType | None:
    """Return the module of a file with this text, written if there is none; None if it fails."""
    try:
        path, text = folder_of_user() / f"{name}.py", source.encode()
        # a file with another text was damaged, as its name is made of the text
        if not path.exists() or path.read_bytes() != text:
            write(path, text)
    except (OSError, RuntimeError):  # no folder that can be written to, or no home
        return None
    specification = importlib.util.spec_from_file_location(name, path)
    if specification is None or specification.loader is None:
        return None
    module = importlib.util.module_from_spec(specification)
    return _run(module, source, str(path), _FOR_FUNCTIONS)


def _run(module: ModuleType, source: str, filename: str, names: dict[str, Any]) -> ModuleType:
    vars(module).update(names)
    exec(compile(source, filename, "exec"), vars(module))
    return module
