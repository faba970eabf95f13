"""Loops over the elements of a row in vectors of 64 bytes, short rows as fast as long ones.

LLVM makes vectors of a loop by itself, but only where it runs for dozens of elements: rows of ten
or fifty are computed one element at a time, after tests that cost as much again. Here a loop is
an expression of one element, written as a function of Python. It is called while a kernel is
compiled, with vectors that stand for 16 floats or 8 doubles: their operators append instructions
of LLVM. What is left of a row at its end is loaded and stored under a mask, so that nothing else
is touched.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from llvmlite import ir

from nn_kernels._compile import cgutils, intrinsic, types
from nn_kernels._vectors import call_prefetch, keep_rolled, pointer

__all__ = ["Vector", "at", "fill", "row_loop"]

_BYTES = 64
_TOGETHER = 4  # vectors of sums: an addition waits for the one before
_I32, _I64 = ir.IntType(32), ir.IntType(64)
_CONTRACT = ("contract",)  # a product and a sum may be rounded once


class Vector:
    """A vector, or one number, of a program that is being written."""

    def __init__(self, builder: Any, value: Any) -> None:
        self.builder, self.value = builder, value

    def constant(self, number: float) -> Vector:
        """Return a number in every element, in the type of this vector."""
        kind = self.value.type
        if isinstance(kind, ir.VectorType):
            return Vector(self.builder, ir.Constant(kind, [number] * kind.count))
        return Vector(self.builder, ir.Constant(kind, number))

    def _with(self, other: Any) -> Any:
        return other.value if isinstance(other, Vector) else self.constant(other).value

    def _operate(self, name: str, other: Any) -> Vector:
        return Vector(self.builder, getattr(self.builder, name)(self.value, self._with(other)))

    def _is_integer(self) -> bool:
        return isinstance(getattr(self.value.type, "element", self.value.type), ir.IntType)

    def _calculate(self, name: str, other: Any) -> Vector:
        if self._is_integer():
            return self._operate(name, other)
        operation = getattr(self.builder, "f" + name)
        return Vector(self.builder, operation(self.value, self._with(other), flags=_CONTRACT))

    def __add__(self, other: Any) -> Vector:
        return self._calculate("add", other)

    def __sub__(self, other: Any) -> Vector:
        return self._calculate("sub", other)

    def __mul__(self, other: Any) -> Vector:
        return self._calculate("mul", other)

    def __truediv__(self, other: Any) -> Vector:
        return self._operate("fdiv", other)

    def __lshift__(self, count: int) -> Vector:
        return self._operate("shl", count)

    def __rshift__(self, count: int) -> Vector:
        return self._operate("ashr", count)

    def __and__(self, other: Any) -> Vector:
        return self._operate("and_", other)

    def __xor__(self, other: Any) -> Vector:
        return self._operate("xor", other)

    def _compare(self, sign: str, other: Any) -> Vector:
        compare = self.builder.icmp_signed if self._is_integer() else self.builder.fcmp_ordered
        return Vector(self.builder, compare(sign, self.value, self._with(other)))

    def __lt__(self, other: Any) -> Vector:
        return self._compare("<", other)

    def __gt__(self, other: Any) -> Vector:
        return self._compare(">", other)

    def clip(self, low: float, high: float) -> Vector:
        """Return what is between two numbers, and the nearest of them elsewhere; NaN stays."""
        x = self.constant(low).where(self < low, self)
        return self.constant(high).where(x > high, x)

    def where(self, condition: Vector, other: Any) -> Vector:
        """Return this where a condition holds, and the other elsewhere."""
        chosen = self.builder.select(condition.value, self.value, self._with(other))
        return Vector(self.builder, chosen)

    def _bitcast(self, element: Any) -> Vector:
        kind = self.value.type
        target = ir.VectorType(element, kind.count) if isinstance(kind, ir.VectorType) else element
        return Vector(self.builder, self.builder.bitcast(self.value, target))

    def bits(self) -> Vector:
        """Return the bits of float32 as integers."""
        return self._bitcast(_I32)

    def floats(self) -> Vector:
        """Return the float32 that have the bits of integers."""
        return self._bitcast(ir.FloatType())


def _call(builder: Any, name: str, result: Any, arguments: list[Any], **options: Any) -> Any:
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    function = cgutils.get_or_insert_function(builder.module, kind, name)
    return builder.call(function, arguments, **options)


class _Writer:
    """Writes a loop: places are addresses of first elements, numbers are in all lanes."""

    def __init__(self, context: Any, builder: Any, function: Any, element: Any) -> None:
        self.builder, self.function, self.element = builder, function, element
        self.type = context.get_value_type(element)
        self.lanes = _BYTES * 8 // element.bitwidth
        self.vector = ir.VectorType(self.type, self.lanes)
        self.suffix = f"v{self.lanes}f{element.bitwidth}"

    def _address(self, place: Any, i: Any) -> Any:
        address = self.builder.gep(place, [i])
        return self.builder.bitcast(address, self.vector.as_pointer())

    def _load(self, place: Any, i: Any, mask: Any) -> Any:
        address, align = self._address(place, i), self.element.bitwidth // 8
        if mask is None:
            value = self.builder.load(address)
            value.align = align
            return value
        arguments = [address, _I32(align), mask, self.spread(self.type(0))]
        return _call(self.builder, f"llvm.masked.load.{self.suffix}.p0", self.vector, arguments)

    def _store(self, value: Any, place: Any, i: Any, mask: Any) -> None:
        address, align = self._address(place, i), self.element.bitwidth // 8
        if mask is None:
            self.builder.store(value, address).align = align
        else:
            arguments = [value, address, _I32(align), mask]
            _call(self.builder, f"llvm.masked.store.{self.suffix}.p0", ir.VoidType(), arguments)

    def spread(self, scalar: Any) -> Any:
        """Return a vector of one number."""
        kind = ir.VectorType(scalar.type, self.lanes)
        if isinstance(scalar, ir.Constant):
            return ir.Constant(kind, [scalar.constant] * self.lanes)
        first = self.builder.insert_element(ir.Constant(kind, ir.Undefined), scalar, _I32(0))
        zeros = ir.Constant(ir.VectorType(_I32, self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(first, first, zeros)

    def step(self, i: Any, mask: Any, written: Any, places: Any, numbers: Any) -> list[Any]:
        """Compute the elements from `i` on; return what is reduced."""
        vectors = [Vector(self.builder, self._load(place, i, mask)) for place in places]
        results = self.function(*vectors, *(Vector(self.builder, n) for n in numbers))
        results = [r.value for r in (results if isinstance(results, tuple) else (results,))]
        for place, value in zip(written, results, strict=False):
            self._store(value, place, i, mask)
        return results[len(written) :]

    def mask(self, count: Any) -> Any:
        """Return a mask of the first lanes."""
        numbers = ir.Constant(ir.VectorType(_I32, self.lanes), list(range(self.lanes)))
        count = self.spread(self.builder.trunc(count, _I32))
        return self.builder.icmp_unsigned("<", numbers, count)

    @contextmanager
    def _each(self, first: Any, last: Any, step: int) -> Iterator[Any]:
        """Write a loop, which LLVM shall not unroll: long rows do without, short ones suffer."""
        builder, function = self.builder, self.builder.function
        before, body = builder.block, function.append_basic_block("row.body")
        after = function.append_basic_block("row.after")
        builder.cbranch(builder.icmp_signed("<", first, last), body, after)
        builder.position_at_end(body)
        i = builder.phi(_I64)
        i.add_incoming(first, before)
        yield i
        following = builder.add(i, _I64(step))
        i.add_incoming(following, builder.block)
        branch = builder.cbranch(builder.icmp_signed("<", following, last), body, after)
        keep_rolled(builder.module, branch)
        builder.position_at_end(after)

    def loop(
        self, count: Any, reduce: _Sums, arrays: tuple[Any, ...], fetched: list[Any]
    ) -> list[Any]:
        """Compute all elements; return vectors whose elements are to be reduced.

        Of the places in `fetched` the row after this one is brought into the cache.
        """
        builder, step = self.builder, self.lanes * _TOGETHER
        whole, most = (builder.and_(count, _I64(-n)) for n in (self.lanes, step))
        kind, start = self.vector, self.spread(self.type(reduce.start))
        results = [cgutils.alloca_once(builder, kind) for _ in range(reduce.count)]
        for place in results:
            builder.store(start, place)

        def add(places: list[Any], i: Any, mask: Any = None) -> None:
            for place in fetched:
                call_prefetch(builder, builder.gep(place, [builder.add(i, count)]))
            for place, value in zip(places, self.step(i, mask, *arrays), strict=True):
                old = builder.load(place)
                new = reduce.combine(builder, old, value)
                builder.store(new if mask is None else builder.select(mask, new, old), place)

        with builder.if_then(builder.icmp_signed(">", most, _I64(0))):
            totals = [results]
            for _ in range(1, _TOGETHER):
                totals.append([cgutils.alloca_once(builder, kind) for _ in results])
                for place in totals[-1]:
                    builder.store(start, place)
            with self._each(_I64(0), most, step) as i:
                for number, places in enumerate(totals):
                    add(places, builder.add(i, _I64(number * self.lanes)))
            for parts in zip(*totals, strict=True):
                a, b, c, d = map(builder.load, parts)
                left, right = reduce.combine(builder, a, b), reduce.combine(builder, c, d)
                builder.store(reduce.combine(builder, left, right), parts[0])
        with self._each(most, whole, self.lanes) as i:
            add(results, i)
        rest = builder.sub(count, whole)
        with builder.if_then(builder.icmp_signed(">", rest, _I64(0))):
            add(results, whole, self.mask(rest))
        return [builder.load(place) for place in results]


class _Sums:
    start = 0.0

    def __init__(self, count: int) -> None:
        self.count = count

    def combine(self, builder: Any, x: Any, y: Any) -> Any:
        return builder.fadd(x, y, flags=_CONTRACT)

    def result(self, writer: _Writer, x: Any) -> Any:
        name = f"llvm.vector.reduce.fadd.{writer.suffix}"
        arguments = [writer.type(-0.0), x]
        return _call(writer.builder, name, writer.type, arguments, fastmath=("reassoc",))


class _Largest(_Sums):
    start = -math.inf

    def combine(self, builder: Any, x: Any, y: Any) -> Any:
        return builder.select(builder.fcmp_ordered(">", y, x), y, x)  # x is never NaN

    def result(self, writer: _Writer, x: Any) -> Any:
        name = f"llvm.vector.reduce.fmax.{writer.suffix}"
        return _call(writer.builder, name, writer.type, [x], fastmath=("nnan",))


@intrinsic
def at(typing, array, start):  # type: ignore[no-untyped-def]
    """Return the place of an element of an array, or from another place."""
    # a tuple of arrays would count their references anew for each row

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return pointer(context, builder, signature.args[0], *arguments)

    return types.CPointer(array.dtype)(array, types.intp), generate


def row_loop(
    written: int = 0, sums: int = 0, largest: int = 0, prefetch: int = 0
) -> Callable[[Any], Any]:
    """Return a decorator that makes an expression of one element a loop over those of a row.

    The loop is called within a compiled kernel, with the number of elements, places (see `at`) and
    numbers of the same type, float32 or float64. The first places are where results are written;
    the expression is a function of what the other places hold, and of the numbers. It returns what
    is written, in order, and then what is reduced.

    Args:
        written: the number of results that are written.
        sums: the number of results of which the loop returns the sums over the row.
        largest: the number of results of which it returns the largest; NaN is passed over.
        prefetch: the number of places that are read of which the next row is brought into the
            cache meanwhile. A loop that reads faster than memory delivers then need not wait.
    """
    reduce = _Largest(largest) if largest else _Sums(sums)

    def decorate(function: Callable[..., Any]) -> Any:
        @intrinsic
        def loop(typing, count, *operands):  # type: ignore[no-untyped-def]
            element = operands[0].dtype
            tuples = types.UniTuple(element, reduce.count)
            result = {0: types.none, 1: element}.get(reduce.count, tuples)
            signature = result(types.intp, types.BaseTuple.from_types(operands))

            def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
                writer = _Writer(context, builder, function, element)
                places, numbers = [], []
                for i, kind in enumerate(operands):
                    value = builder.extract_value(arguments[1], i)
                    if isinstance(kind, types.CPointer):
                        places.append(value)
                    else:
                        numbers.append(writer.spread(value))
                arrays = places[:written], places[written:], numbers
                totals = writer.loop(arguments[0], reduce, arrays, arrays[1][:prefetch])
                values = [reduce.result(writer, total) for total in totals]
                if not values:
                    return context.get_dummy_value()
                return values[0] if len(values) == 1 else cgutils.pack_array(builder, values)

            return signature, generate

        return loop

    return decorate


@row_loop(written=1)
def fill(value: Any) -> Any:
    """Write one value to all elements of a row."""
    return value
