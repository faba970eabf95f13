"""The compiled loops of NumPy's own functions, called by address.

A ufunc holds, for each combination of dtypes, a function of C that computes many elements: the
inner loop (NumPy's C API, `PyUFuncGenericFunction`). Called from compiled code it takes some
nanoseconds, where a call from Python takes half a microsecond, and it gives the bits that NumPy
gives: no other implementation of `exp` or `tanh` does.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from typing import Any

import numpy as np
from llvmlite import ir

from nn_kernels._compile import cgutils, intrinsic, types

__all__ = ["call_unary", "ufunc_loop"]

_I64 = ir.IntType(64)
_POINTER = ir.IntType(8).as_pointer()
_SAMPLES = (1, 7, 16, 33)  # lengths


class _Head(ctypes.Structure):
    """The beginning of a ufunc in memory (`PyUFuncObject` in NumPy's ufuncobject.h)."""

    _fields_ = (
        ("nin", ctypes.c_int),
        ("nout", ctypes.c_int),
        ("nargs", ctypes.c_int),
        ("identity", ctypes.c_int),
        ("functions", ctypes.POINTER(ctypes.c_void_p)),
        ("data", ctypes.POINTER(ctypes.c_void_p)),
        ("ntypes", ctypes.c_int),
        ("reserved", ctypes.c_int),
        ("name", ctypes.c_char_p),
    )


@intrinsic
def call_unary(typing, function, data, count, x, out):  # type: ignore[no-untyped-def]
    """Call the loop at an address for contiguous arrays; `out` may be `x`."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        kinds = signature.args

        def table(values: Any) -> Any:
            place = cgutils.alloca_once(builder, values[0].type, size=len(values))
            for n, value in enumerate(values):
                builder.store(value, builder.gep(place, [ir.Constant(_I64, n)]))
            return place

        arrays = [context.make_array(kinds[n])(context, builder, arguments[n]) for n in (3, 4)]
        pointers = [builder.bitcast(array.data, _POINTER) for array in arrays]
        steps = [ir.Constant(_I64, kinds[n].dtype.bitwidth // 8) for n in (3, 4)]
        given = [table(pointers), table([arguments[2]]), table(steps)]
        given.append(builder.inttoptr(arguments[1], _POINTER))
        kind = ir.FunctionType(ir.VoidType(), [value.type for value in given])
        builder.call(builder.inttoptr(arguments[0], kind.as_pointer()), given)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.intp, x, out), generate


_LOOP = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 4)


def _call(function: int, data: int, x: Any, out: Any) -> None:
    """Call the loop at an address as NumPy does."""
    arrays, steps = (x.ctypes.data, out.ctypes.data), (x.itemsize, out.itemsize)
    counts = (ctypes.c_ssize_t * 1)(x.size)
    given = (ctypes.c_void_p * 2)(*arrays), counts, (ctypes.c_ssize_t * 2)(*steps)
    _LOOP(function)(*given, data)


@functools.cache
def ufunc_loop(ufunc: np.ufunc, dtype: Any) -> tuple[int, int] | None:
    """Return the addresses of the loop of a function of one array, and of what it is given.

    None where the ufunc is not laid out in memory as expected, has no loop for the dtype, or where
    the loop gives other bits than the ufunc, into another array or into the one that it reads.
    """
    kinds = f"{dtype.char}->{dtype.char}"
    if sys.implementation.name != "cpython" or kinds not in ufunc.types:
        return None
    if type(ufunc).__basicsize__ < object.__basicsize__ + ctypes.sizeof(_Head):
        return None
    head = _Head.from_address(id(ufunc) + object.__basicsize__)
    counts = head.nin, head.nout, head.nargs, head.ntypes
    if counts != (1, 1, 2, len(ufunc.types)) or head.name != ufunc.__name__.encode():
        return None
    number = ufunc.types.index(kinds)
    function, data = head.functions[number], head.data[number] if head.data else 0
    if not function:
        return None
    with np.errstate(all="ignore"):
        for count in _SAMPLES:
            x = np.linspace(-2, 2, count, dtype=dtype)
            x[: count // 4] = [np.nan, np.inf, -0.0, -np.inf, 1e-40, 1e30, 0, 1][: count // 4]
            wanted, out = ufunc(x).tobytes(), np.empty_like(x)
            for place in (out, x):
                _call(function, data or 0, x, place)
                if place.tobytes() != wanted:
                    return None
    return function, data or 0
