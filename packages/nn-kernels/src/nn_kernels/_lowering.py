"""From Python to machine code: numba infers the types and writes LLVM's text, LLVM does the rest.

This module imports numba. It is imported when a job is compiled whose machine code is not on disk.
"""

from __future__ import annotations

import ctypes
import inspect
import os
from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import llvmlite.binding as llvm
import numba
import numba.extending
from llvmlite import ir
from numba.core import ir as numba_ir
from numba.core import types
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, Flags
from numba.core.compiler_lock import global_compiler_lock
from numba.core.compiler_machinery import PassManager
from numba.core.registry import cpu_target
from numba.core.sigutils import normalize_signature
from numba.core.typed_passes import (
    AnnotateTypes,
    IRLegalization,
    NativeLowering,
    NoPythonBackend,
    NopythonTypeInference,
    PreLowerStripPhis,
)
from numba.core.untyped_passes import (
    DeadBranchPrune,
    FixupArgs,
    GenericRewrites,
    IRProcessing,
    ReconstructSSA,
    TranslateByteCode,
)

from nn_kernels._target import MACHINE

__all__ = [
    "compile_object",
    "global_compiler_lock",
    "numba",
    "type_of_intrinsic",
    "type_of_subroutine",
]

_PASSES = (
    TranslateByteCode,
    FixupArgs,
    IRProcessing,
    DeadBranchPrune,
    GenericRewrites,
    ReconstructSSA,
    NopythonTypeInference,
    PreLowerStripPhis,
    IRLegalization,
    AnnotateTypes,
    NativeLowering,
    NoPythonBackend,
)
_RAISING = numba_ir.Raise, numba_ir.StaticRaise, numba_ir.DynamicRaise
_WORD = ir.IntType(64)
_JOB = types.void(types.CPointer(types.int64), types.int64, types.int64)
_JOB_IN_C = ir.FunctionType(ir.VoidType(), [_WORD.as_pointer(), _WORD, _WORD])


class _Compiler(CompilerBase):
    """Numba's compiler without what is for arrays, closures, generators and Python objects."""

    def define_pipelines(self) -> list[Any]:
        manager = PassManager("nn_kernels")
        for kind in _PASSES:
            manager.add_pass(kind, kind._name)
        manager.finalize()
        return [manager]


class _Library(JITCodeLibrary):
    """The functions of one job, optimized all together once, where numba does so three times."""

    def _optimize_functions(self, ll_module: Any) -> None:
        ll_module.data_layout = self._codegen._data_layout

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalized = True


def _lower(library: Any, function: Any, arguments: Any, returns: Any, flags: Any) -> Any:
    """Add a function to a library that is being made; return its description."""
    settings: Any = Flags()
    options = {"nopython": True, "error_model": "numpy", "fastmath": set(flags)}
    cpu_target.options.parse_as_flags(settings, options)
    settings.nrt = False  # arrays have no reference counts, and cannot be made
    settings.no_compile = settings.no_cpython_wrapper = settings.no_cfunc_wrapper = True
    typing, target = cpu_target.typing_context, cpu_target.target_context
    compiler = _Compiler(typing, target, library, arguments, returns, settings, {})
    description = compiler.compile_extra(function).fndesc
    for block in compiler.state.func_ir.blocks.values():
        for statement in block.body:
            if isinstance(statement, _RAISING):  # nobody would see it
                raise TypeError(f"{function.__name__}: a job cannot raise, {statement.loc}")
    return description


def type_of_intrinsic(function: Callable[..., Any]) -> Any:
    """Return numba's type of a function that writes LLVM's text for a call."""
    made = numba.extending.intrinsic(function)
    cpu_target.typing_context.refresh()
    return cpu_target.typing_context.resolve_value_type(made)


_lowered: Any = WeakKeyDictionary()  # of a library: descriptions of the subroutines in it


def type_of_subroutine(function: Callable[..., Any], flags: Any, returns: str) -> Any:
    """Return numba's type of a function that is lowered into the library of its caller."""
    (_, result) = normalize_signature(f"{returns}()")

    def definition(typing: Any, *kinds: Any) -> Any:
        return result(*kinds), generate

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        library = context.active_code_library
        lowered = _lowered.setdefault(library, {})
        if (key := (function, signature.args)) not in lowered:
            lowered[key] = _lower(library, function, signature.args, result, flags)
        return context.call_internal(builder, lowered[key], signature, arguments)

    first = inspect.Parameter("typing", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(function).parameters.values()
    definition.__signature__ = inspect.Signature([first, *parameters])  # type: ignore[attr-defined]
    definition.__name__, definition.__doc__ = function.__name__, function.__doc__
    return type_of_intrinsic(definition)


def _entry(context: Any, description: Any, name: str) -> Any:
    """Return a module with a function of C that calls the one described."""
    module = context.create_module(name)
    entry = ir.Function(module, _JOB_IN_C, name)
    builder = ir.IRBuilder(entry.append_basic_block())
    function = context.declare_function(module, description)
    context.call_conv.call_function(builder, function, _JOB.return_type, _JOB.args, entry.args)
    builder.ret_void()
    return module


def compile_object(function: Callable[..., Any], name: str) -> tuple[bytes, dict[str, int]]:
    """Return the machine code of a job, in which its function has a name, and what it needs.

    The latter are the addresses in this process of functions of numba that it calls. The function
    is given a pointer to 64-bit integers and two of them. It makes no arrays.

    Raises:
        numba.core.errors.TypingError: if it is not in numba's subset of Python.
        TypeError: if it raises an exception.
    """
    context = cpu_target.target_context
    library = _Library(context.codegen(), name)
    description = _lower(library, function, _JOB.args, _JOB.return_type, ())
    library.add_ir_module(_entry(context, description, name))
    library.finalize()
    module = library._final_module
    for defined in (*module.functions, *module.global_variables):
        if not defined.is_declaration and defined.name != name:
            defined.linkage = "internal"  # may be inlined, and dropped
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    options.slp_vectorization = False
    builder = llvm.create_pass_builder(MACHINE, options)
    builder.getModulePassManager().run(module, builder)
    called = [f.name for f in module.functions if f.is_declaration]
    return bytes(MACHINE.emit_object(module)), _addresses_of(called)


def _addresses_of(names: Sequence[str]) -> dict[str, int]:
    """Return those of the functions that only numba has, and not the process."""
    process = ctypes.CDLL(None) if os.name == "posix" else ctypes.cdll.msvcrt
    own = [n for n in names if not n.startswith("llvm.") and not hasattr(process, n)]
    return {name: address for name in own if (address := llvm.address_of_symbol(name))}
