"""Primitives that numba lacks: atomic operations on words, functions and elements by address.

Elements are indexed like those of an array, from a place: a pointer, which is compiled in less time
than an array, that has a length and strides, and counts references. Only where a function asks for
its length or dtype an address has to become an array.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from nn_kernels._compile import cgutils, intrinsic, types

__all__ = [
    "add",
    "call",
    "compare_exchange",
    "double_array",
    "doubles",
    "float_array",
    "float_of",
    "floats",
    "integer_array",
    "integers",
    "load",
    "pause",
    "room_for_floats",
    "store",
    "unsigned_bytes",
    "unsigned_shorts",
]

_I64 = ir.IntType(64)


def _word(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    data, kind = arguments[0], signature.args[0]
    if not isinstance(kind, types.CPointer):
        data = context.make_array(kind)(context, builder, data).data
    return builder.gep(data, [arguments[1]])


@intrinsic
def load(typing, array, index):  # type: ignore[no-untyped-def]
    """Return a word, and see what was written before it was stored."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.load_atomic(_word(context, builder, signature, arguments), "acquire", 8)

    return types.int64(array, types.intp), generate


@intrinsic
def store(typing, array, index, value):  # type: ignore[no-untyped-def]
    """Store a word after everything that was written before."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        place = _word(context, builder, signature, arguments)
        builder.store_atomic(arguments[2], place, "release", 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.int64), generate


@intrinsic
def add(typing, array, index, value):  # type: ignore[no-untyped-def]
    """Add to a word, and return what it was before."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        place = _word(context, builder, signature, arguments)
        return builder.atomic_rmw("add", place, arguments[2], "acq_rel")

    return types.int64(array, types.intp, types.int64), generate


@intrinsic
def compare_exchange(typing, array, index, expected, value):  # type: ignore[no-untyped-def]
    """Store a word if it has the expected value, and return whether it had."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        place = _word(context, builder, signature, arguments)
        pair = builder.cmpxchg(place, arguments[2], arguments[3], "acq_rel", "acquire")
        return builder.extract_value(pair, 1)

    return types.boolean(array, types.intp, types.int64, types.int64), generate


@intrinsic
def call(typing, address, pointer, part, thread):  # type: ignore[no-untyped-def]
    """Call the job at an address."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        kind = ir.FunctionType(ir.VoidType(), [_I64.as_pointer(), _I64, _I64])
        function = builder.inttoptr(arguments[0], kind.as_pointer())
        pointer = builder.inttoptr(arguments[1], _I64.as_pointer())
        builder.call(function, [pointer, *arguments[2:]])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, types.int64), generate


@intrinsic
def float_of(typing, x):  # type: ignore[no-untyped-def]
    """Return the float32 that has the bits of an integer."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), generate


@intrinsic
def pause(typing):  # type: ignore[no-untyped-def]
    """Let other threads of the system run (POSIX `sched_yield`)."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        kind = ir.FunctionType(ir.IntType(32), [])
        builder.call(cgutils.get_or_insert_function(builder.module, kind, "sched_yield"), [])
        return context.get_dummy_value()

    return types.void(), generate


def room_for_floats(count: int) -> Any:
    """Return an intrinsic that gives a place on the stack, until its caller returns."""

    @intrinsic
    def room(typing):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            return cgutils.alloca_once(builder, ir.FloatType(), size=count)

        return types.CPointer(types.float32)(), generate

    return room


def _place(element: str, kind: Any, name: str) -> Any:
    """Return an intrinsic that makes an address a place, which is indexed like an array."""

    @intrinsic
    def place(typing, address):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            return builder.inttoptr(arguments[0], kind.as_pointer())

        return types.CPointer(getattr(types, element))(types.int64), generate

    place.__doc__ = f"Return the place of {name} at an address; nothing checks where they end."
    return place


doubles = _place("float64", ir.DoubleType(), "float64")
floats = _place("float32", ir.FloatType(), "float32")
integers = _place("int64", _I64, "int64")
unsigned_bytes = _place("uint8", ir.IntType(8), "bytes")
unsigned_shorts = _place("uint16", ir.IntType(16), "uint16")


def _array(element: str, kind: Any) -> Any:
    """Return an intrinsic that makes an address an array of unknown length."""

    @intrinsic
    def array(typing, address):  # type: ignore[no-untyped-def]
        item = ir.Constant(_I64, getattr(types, element).bitwidth // 8)
        result = types.Array(getattr(types, element), 1, "C")

        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            made = context.make_array(result)(context, builder)
            size = ir.Constant(_I64, 1 << 48)
            context.populate_array(
                made,
                data=builder.inttoptr(arguments[0], kind.as_pointer()),
                shape=[size],
                strides=[item],
                itemsize=item,
                meminfo=None,
            )
            return made._getvalue()

        return result(types.int64), generate

    array.__doc__ = f"Return the array of {element} at an address; nothing checks where it ends."
    return array


double_array = _array("float64", ir.DoubleType())
float_array = _array("float32", ir.FloatType())
integer_array = _array("int64", _I64)
