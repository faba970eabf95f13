"""Maxima of windows of 2×2 that do not overlap, and their gradient, 16 windows at a time.

LLVM makes vector instructions of loops over long rows only, and rows of images are short.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types

from nn_kernels._compile import intrinsic
from nn_kernels._vectors import LANES, ZERO, VectorBuilder, index, pointer

__all__ = ["max_of_16_windows", "unpool_lower_row", "unpool_upper_row"]

_BYTES = ir.VectorType(ir.IntType(8), LANES)
_EVEN, _ODD = range(0, 2 * LANES, 2), range(1, 2 * LANES, 2)
_LOW = [q for i in range(8) for q in (i, LANES + i)]
_HIGH = [q for i in range(8, 16) for q in (i, LANES + i)]


def _equal_bytes(value: int) -> Any:
    return ir.Constant(_BYTES, [value] * LANES)


def _byte_pointer(builder: Any, base: Any) -> Any:
    return builder.bitcast(base, _BYTES.as_pointer())


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
        elements = []
        for row in arguments[1:3]:
            base = pointer(context, builder, kinds[0], arguments[0], row)
            halves = v.load(base, index(0)), v.load(base, index(LANES))
            elements += [v.shuffle(*halves, _EVEN), v.shuffle(*halves, _ODD)]
        best, place = elements[0], _equal_bytes(0)
        for number, value in enumerate(elements[1:], 1):
            larger = builder.or_(
                builder.fcmp_ordered(">", value, best), builder.fcmp_unordered("uno", value, value)
            )
            best = builder.select(larger, value, best)
            place = builder.select(larger, _equal_bytes(number), place)
        maxima = pointer(context, builder, kinds[3], arguments[3], arguments[5])
        v.store(best, maxima, index(0))
        indices = pointer(context, builder, kinds[4], arguments[4], arguments[5])
        builder.store(place, _byte_pointer(builder, indices)).align = 1
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
