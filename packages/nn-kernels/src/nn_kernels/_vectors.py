"""Vectors of 16 floats in LLVM's intermediate representation, for the intrinsics of this package.

LLVM splits them where a processor's registers are shorter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir

from nn_kernels._compile import cgutils, types
from nn_kernels._target import FUSED, WIDE

__all__ = [
    "FUSED",
    "LANES",
    "WIDE",
    "ZERO",
    "VectorBuilder",
    "call_prefetch",
    "index",
    "keep_rolled",
    "pointer",
]

LANES = 16
_FLOAT = ir.FloatType()
_VECTOR = ir.VectorType(_FLOAT, LANES)
_MASK = ir.VectorType(ir.IntType(1), LANES)
ZERO = ir.Constant(_VECTOR, [0.0] * LANES)


def index(value: int) -> Any:
    """Return a constant integer."""
    return ir.Constant(ir.IntType(64), value)


def pointer(context: Any, builder: Any, kind: Any, array: Any, place: Any) -> Any:
    """Return the address of an element of an array, or from a place (see `_atomics`)."""
    if not isinstance(kind, types.CPointer):
        array = context.make_array(kind)(context, builder, array).data
    return builder.gep(array, [place])


def call_prefetch(builder: Any, address: Any) -> None:
    """Ask for the line of the cache with an address, which may lie beyond the end of an array."""
    number = ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t, number, number, number])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    address = builder.bitcast(address, cgutils.voidptr_t)
    builder.call(function, [address, number(0), number(3), number(1)])  # data, to be read, soon


def keep_rolled(module: Any, branch: Any) -> None:
    """Keep LLVM from unrolling the loop that a branch goes back to the beginning of."""
    setting = module.add_metadata([ir.MetaDataString(module, "llvm.loop.unroll.disable")])
    loop = ir.MDValue(module, [setting], name=str(len(module.metadata)))
    loop.operands = (loop, setting)  # it has to name itself
    branch.set_metadata("llvm.loop", loop)


class VectorBuilder:
    """Operations on vectors, written at the place of a builder.

    Args:
        builder: LLVM's builder.
        lanes: the number of elements of what is loaded, repeated, multiplied and added.
    """

    def __init__(self, builder: Any, lanes: int = LANES) -> None:
        self.builder, self.kind = builder, ir.VectorType(_FLOAT, lanes)
        kind = ir.FunctionType(self.kind, [self.kind] * 3)
        self._fma = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fma.v{lanes}f32")

    def load(self, base: Any, place: Any) -> Any:
        """Return the elements of a vector, which need not be aligned."""
        where = self.builder.bitcast(self.builder.gep(base, [place]), self.kind.as_pointer())
        value = self.builder.load(where)
        value.align = 4
        return value

    def lanes(self, first: Any, last: Any) -> Any:
        """Return a mask of the lanes from `first` to before `last`, which may be any integers."""
        kind = ir.VectorType(ir.IntType(64), LANES)
        numbers = ir.Constant(kind, list(range(LANES)))
        bounds = [self._spread(bound, kind) for bound in (first, last)]
        return self.builder.and_(
            self.builder.icmp_signed(">=", numbers, bounds[0]),
            self.builder.icmp_signed("<", numbers, bounds[1]),
        )

    def load_lanes(self, base: Any, place: Any, lanes: Any, condition: Any) -> Any:
        """Return elements in the lanes of a mask if a condition holds, and zeros elsewhere.

        Only these elements are read: the others may lie outside the array.
        """
        kind = ir.FunctionType(_VECTOR, [_VECTOR.as_pointer(), ir.IntType(32), _MASK, _VECTOR])
        load = cgutils.get_or_insert_function(
            self.builder.module, kind, "llvm.masked.load.v16f32.p0"
        )
        lanes = self.builder.select(condition, lanes, ir.Constant(_MASK, [0] * LANES))
        where = self.builder.bitcast(self.builder.gep(base, [place]), _VECTOR.as_pointer())
        return self.builder.call(load, [where, ir.Constant(ir.IntType(32), 4), lanes, ZERO])

    def store(self, value: Any, base: Any, place: Any) -> None:
        """Write the elements of a vector."""
        where = self.builder.bitcast(self.builder.gep(base, [place]), value.type.as_pointer())
        self.builder.store(value, where).align = 4

    def store_lanes(self, value: Any, base: Any, place: Any, lanes: Any, condition: Any) -> None:
        """Write floats or bytes in the lanes of a mask if a condition holds.

        The others may lie outside.
        """
        kind = value.type
        size, letter = (1, "i8") if kind.element == ir.IntType(8) else (4, "f32")
        function = ir.FunctionType(ir.VoidType(), [kind, kind.as_pointer(), ir.IntType(32), _MASK])
        store = cgutils.get_or_insert_function(
            self.builder.module, function, f"llvm.masked.store.v16{letter}.p0"
        )
        lanes = self.builder.select(condition, lanes, ir.Constant(_MASK, [0] * LANES))
        where = self.builder.bitcast(self.builder.gep(base, [place]), kind.as_pointer())
        self.builder.call(store, [value, where, ir.Constant(ir.IntType(32), size), lanes])

    def bounded(self, x: Any, bound: Any) -> Any:
        """Return x, and the bound for elements that are not above it; NaN stays."""
        return self.builder.select(self.builder.fcmp_ordered("<=", x, bound), bound, x)

    def store_parts(self, value: Any, base: Any, step: Any, size: int) -> None:
        """Write each `size` elements, a distance apart."""
        kind = ir.VectorType(_FLOAT, size)
        for i in range(LANES // size):
            places = [size * i + k for k in range(size)]
            mask = ir.Constant(ir.VectorType(ir.IntType(32), size), places)
            part = self.builder.shuffle_vector(value, value, mask)
            where = self.builder.gep(base, [self.builder.mul(step, index(i))])
            self.builder.store(part, self.builder.bitcast(where, kind.as_pointer())).align = 4

    def constant(self, value: float) -> Any:
        """Return a vector of equal elements."""
        return ir.Constant(self.kind, [value] * self.kind.count)

    def broadcast(self, scalar: Any) -> Any:
        """Return a vector of one element."""
        return self._spread(scalar, self.kind)

    def broadcast_integer(self, scalar: Any) -> Any:
        """Return a vector of a 64-bit integer that fits in 32 bits."""
        short = self.builder.trunc(scalar, ir.IntType(32))
        return self._spread(short, ir.VectorType(ir.IntType(32), LANES))

    def _spread(self, scalar: Any, kind: Any) -> Any:
        undefined = ir.Constant(kind, ir.Undefined)
        first = self.builder.insert_element(undefined, scalar, ir.Constant(ir.IntType(32), 0))
        places = ir.Constant(ir.VectorType(ir.IntType(32), kind.count), [0] * kind.count)
        return self.builder.shuffle_vector(first, undefined, places)

    def shuffle(self, x: Any, y: Any, places: Sequence[int]) -> Any:
        """Return elements of `x`, counted from 0, and of `y`, counted from 16."""
        mask = ir.Constant(ir.VectorType(ir.IntType(32), LANES), list(places))
        return self.builder.shuffle_vector(x, y, mask)

    def add(self, x: Any, y: Any) -> Any:
        """Return x + y."""
        return self.builder.fadd(x, y)

    def subtract(self, x: Any, y: Any) -> Any:
        """Return x - y."""
        return self.builder.fsub(x, y)

    def multiply(self, x: Any, factor: float) -> Any:
        """Return x times a constant."""
        return self.builder.fmul(x, self.constant(factor))

    def multiply_add(self, x: Any, y: Any, z: Any) -> Any:
        """Return x * y + z, rounded once; `y` may be a number."""
        if isinstance(y, float):
            if y == 1.0:
                return self.add(x, z)
            y = self.constant(y)
        return self.builder.call(self._fma, [x, y, z])

    def interleave(self, vectors: Sequence[Any]) -> list[Any]:
        """Return the columns of up to 16 rows, a power of 2, one after the other in vectors.

        Each round interleaves the halves of a list of vectors, element by element; after log2(rows)
        rounds the elements of a column stand side by side.
        """
        vectors, half = list(vectors), len(vectors) // 2
        low = [place for i in range(LANES // 2) for place in (i, LANES + i)]
        high = [place + LANES // 2 for place in low]
        for _ in range(len(vectors).bit_length() - 1):
            pairs = zip(vectors[:half], vectors[half:], strict=True)
            vectors = [self.shuffle(a, b, side) for a, b in pairs for side in (low, high)]
        return vectors

    def sums(self, vectors: Sequence[Any]) -> Any:
        """Return a vector of the sums of up to 16 vectors, by a tree of shuffles."""
        level, width = [*vectors, *[ZERO] * (LANES - len(vectors))], LANES
        while width > 1:
            # Each vector holds groups of `width` elements of one sum: add their two halves.
            half = width // 2
            low = [
                base + q + r for base in (0, 16) for q in range(0, 16, width) for r in range(half)
            ]
            high = [place + half for place in low]
            level = [
                self.add(self.shuffle(x, y, low), self.shuffle(x, y, high))
                for x, y in zip(level[::2], level[1::2], strict=True)
            ]
            width = half
        return level[0]
