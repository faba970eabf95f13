"""Maxima of windows of 2×2 that do not overlap, and their gradient, 16 windows at a time.

LLVM makes vector instructions of loops over long rows only, and rows of images are short.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from nn_kernels._compile import intrinsic, types
from nn_kernels._vectors import LANES, ZERO, VectorBuilder, index, pointer

__all__ = ["max_of_16_windows", "max_of_some_windows", "unpool_lower_row", "unpool_upper_row"]

_BYTES = ir.VectorType(ir.IntType(8), LANES)
_TRUE = ir.Constant(ir.IntType(1), 1)
_EVEN, _ODD = range(0, 2 * LANES, 2), range(1, 2 * LANES, 2)
_LOW = [q for i in range(8) for q in (i, LANES + i)]
_HIGH = [q for i in range(8, 16) for q in (i, LANES + i)]


def _equal_bytes(value: int) -> Any:
    return ir.Constant(_BYTES, [value] * LANES)


def _byte_pointer(builder: Any, base: Any) -> Any:
    return builder.bitcast(base, _BYTES.as_pointer())


def _maxima(v: VectorBuilder, rows: list[tuple[Any, Any]]) -> tuple[Any, Any]:
    """Return the maxima of 16 windows of two rows, each of two vectors, and their places."""
    builder = v.builder
    elements = [v.shuffle(low, high, q) for low, high in rows for q in (_EVEN, _ODD)]
    best, place = elements[0], _equal_bytes(0)
    for number, value in enumerate(elements[1:], 1):
        larger = builder.or_(
            builder.fcmp_ordered(">", value, best), builder.fcmp_unordered("uno", value, value)
        )
        best = builder.select(larger, value, best)
        place = builder.select(larger, _equal_bytes(number), place)
    return best, place


def _load_rows(
    v: VectorBuilder, context: Any, kind: Any, x: Any, starts: Any
) -> list[tuple[Any, Any]]:
    """Return two rows of 32 elements."""
    bases = [pointer(context, v.builder, kind, x, start) for start in starts]
    return [(v.load(base, index(0)), v.load(base, index(LANES))) for base in bases]


@intrinsic
def max_of_16_windows(typing, x, upper, lower, out, places, target):  # type: ignore[no-untyped-def]
    """Write the maxima of two rows of 32 elements, and their places in the windows.

    Of equal elements the first counts, of NaN the last.
    """
    n = types.intp
    signature = types.void(x, n, n, out, places, n)

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        kinds = signature.args
        v = VectorBuilder(builder)
        best, place = _maxima(v, _load_rows(v, context, kinds[0], arguments[0], arguments[1:3]))
        maxima = pointer(context, builder, kinds[3], arguments[3], arguments[5])
        v.store(best, maxima, index(0))
        indices = pointer(context, builder, kinds[4], arguments[4], arguments[5])
        builder.store(place, _byte_pointer(builder, indices)).align = 1
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def max_of_some_windows(  # type: ignore[no-untyped-def]
    typing, x, upper, lower, bias, bound, count, whole, out, places, target
):
    """Write the maxima of up to 16 windows, `count`, of elements plus a bias, and their places.

    What is not above the bound becomes the bound; NaN stays. If `whole` is not 0, something is
    written for 16 windows: without AVX-512, single bytes take long.
    """
    n, f = types.intp, types.float32
    signature = types.void(x, n, n, f, f, n, n, out, places, n)

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        kinds = signature.args
        v = VectorBuilder(builder)
        bias, bound = v.broadcast(arguments[3]), v.broadcast(arguments[4])
        rows = _load_rows(v, context, kinds[0], arguments[0], arguments[1:3])
        best, place = _maxima(v, [(v.add(low, bias), v.add(high, bias)) for low, high in rows])
        best = v.bounded(best, bound)
        maxima = pointer(context, builder, kinds[7], arguments[7], arguments[9])
        indices = pointer(context, builder, kinds[8], arguments[8], arguments[9])
        whole = builder.icmp_signed("!=", arguments[6], index(0))
        with builder.if_else(whole) as (then, otherwise):
            with then:
                v.store(best, maxima, index(0))
                builder.store(place, _byte_pointer(builder, indices)).align = 1
            with otherwise:
                lanes = v.lanes(index(0), arguments[5])
                v.store_lanes(best, maxima, index(0), lanes, _TRUE)
                v.store_lanes(place, indices, index(0), lanes, _TRUE)
        return context.get_dummy_value()

    return signature, generate


def _unpool(first: int) -> Any:
    @intrinsic
    def unpool(typing, g, places, source, out, target):  # type: ignore[no-untyped-def]
        """Write 32 elements of a row: `g` at the places `first` and first + 1, and zeros."""
        n = types.intp
        signature = types.void(g, places, n, out, n)

        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            kinds = signature.args
            v = VectorBuilder(builder)
            values = v.load(
                pointer(context, builder, kinds[0], arguments[0], arguments[2]), index(0)
            )
            indices = pointer(context, builder, kinds[1], arguments[1], arguments[2])
            place = builder.load(_byte_pointer(builder, indices))
            place.align = 1
            left, right = (
                builder.select(
                    builder.icmp_signed("==", place, _equal_bytes(first + i)), values, ZERO
                )
                for i in range(2)
            )
            row = pointer(context, builder, kinds[3], arguments[3], arguments[4])
            v.store(v.shuffle(left, right, _LOW), row, index(0))
            v.store(v.shuffle(left, right, _HIGH), row, index(LANES))
            return context.get_dummy_value()

        return signature, generate

    return unpool


unpool_upper_row, unpool_lower_row = _unpool(0), _unpool(2)
