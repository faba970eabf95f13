"""The inner loops of attention, for 16 queries at a time: one query in each lane of a vector.

The scores of a block stand as ``s[key, query]``. Maximum, sum and division of a softmax then go
from vector to vector, and nothing is added up across the lanes of one.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from nn_kernels._compile import intrinsic, types
from nn_kernels._exponential import exp_of_negative
from nn_kernels._rows import Vector
from nn_kernels._vectors import LANES, WIDE, ZERO, VectorBuilder, index, keep_rolled, pointer

__all__ = [
    "HEIGHT",
    "multiply_lanes",
    "multiply_few_lanes",
    "multiply_lanes_of_row",
    "softmax_gradient_lanes",
    "softmax_lanes",
    "transpose_lanes",
]

_TRUE = ir.Constant(ir.IntType(1), 1)
_I64 = ir.IntType(64)
_INTEGERS = ir.VectorType(ir.IntType(32), LANES)
_NUMBERS = ir.Constant(_INTEGERS, list(range(LANES)))


def _pointers(context: Any, builder: Any, signature: Any, arguments: Any, *places: int) -> Any:
    """Return the addresses that pairs of arguments, an array and a place in it, stand for."""
    return [
        pointer(context, builder, signature.args[i], arguments[i], arguments[i + 1]) for i in places
    ]


def _loop(builder: Any, count: Any, starts: Any, body: Any) -> list[Any]:
    """Write ``for j in range(count): values = body(j, values)``; return the last values."""
    before = builder.block
    loop, end = builder.append_basic_block("loop"), builder.append_basic_block("end")
    builder.cbranch(builder.icmp_signed(">", count, index(0)), loop, end)
    builder.position_at_end(loop)
    j = builder.phi(_I64)
    values = [builder.phi(start.type) for start in starts]
    after = body(j, values)
    following = builder.add(j, index(1))
    for phi, first, last in zip(
        [j, *values], [index(0), *starts], [following, *after], strict=True
    ):
        phi.add_incoming(first, before)
        phi.add_incoming(last, loop)
    branch = builder.cbranch(builder.icmp_signed("<", following, count), loop, end)
    keep_rolled(builder.module, branch)
    builder.position_at_end(end)
    results = [builder.phi(start.type) for start in starts]
    for phi, first, last in zip(results, starts, after, strict=True):
        phi.add_incoming(first, before)
        phi.add_incoming(last, loop)
    return results


def _choose(builder: Any, condition: Any, one: Any, other: Any) -> list[Any]:
    """Write ``one() if condition else other()``; return the values."""
    branches = [builder.append_basic_block(name) for name in ("one", "other")]
    end = builder.append_basic_block("end")
    builder.cbranch(condition, *branches)
    results = []
    for block, body in zip(branches, (one, other), strict=True):
        builder.position_at_end(block)
        results.append(body())
        builder.branch(end)
    builder.position_at_end(end)
    values = []
    for pair in zip(*results, strict=True):
        values.append(builder.phi(pair[0].type))
        for value, block in zip(pair, branches, strict=True):
            values[-1].add_incoming(value, block)
    return values


def _first_lanes(v: VectorBuilder, count: Any) -> Any:
    """Return a mask of the first lanes, `count` of them."""
    return v.builder.icmp_signed("<", _NUMBERS, v.broadcast_integer(count))


def _multiply_lanes(height: int) -> Any:
    """Return c[m, n] = sum over k of a[m * a_row + k * a_step] * b[k * b_row + n], or += if `adds`.

    It is for up to `height` rows and 16 columns; nothing is read or written beyond them.
    """

    @intrinsic
    def multiply(  # type: ignore[no-untyped-def]
        typing, a, a0, a_row, a_step, b, b0, b_row, c, c0, c_row, rows, terms, columns, adds
    ):
        n = types.intp
        signature = types.void(a, n, n, n, b, n, n, c, n, n, n, n, n, n)

        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            a, b, c = _pointers(context, builder, signature, arguments, 0, 4, 7)
            a_row, a_step, b_row = arguments[2], arguments[3], arguments[6]
            c_row, rows, terms, columns, adds = arguments[9:]
            v = VectorBuilder(builder)
            lanes = _first_lanes(v, columns)
            exists = [builder.icmp_signed("<", index(m), rows) for m in range(height)]
            last = builder.sub(rows, index(1))
            numbers = [builder.select(e, index(m), last) for m, e in enumerate(exists)]
            factors = [builder.gep(a, [builder.mul(m, a_row)]) for m in numbers]
            places = [builder.mul(m, c_row) for m in numbers]

            def load_all():  # type: ignore[no-untyped-def]
                return [v.load_lanes(c, place, lanes, _TRUE) for place in places]

            adds = builder.icmp_signed("!=", adds, index(0))
            starts = _choose(builder, adds, load_all, lambda: [ZERO] * height)

            def add_products(k, totals):  # type: ignore[no-untyped-def]
                place = builder.mul(k, a_step)
                row = v.load_lanes(b, builder.mul(k, b_row), lanes, _TRUE)
                return [
                    v.multiply_add(
                        v.broadcast(builder.load(builder.gep(factor, [place]))), row, total
                    )
                    for factor, total in zip(factors, totals, strict=True)
                ]

            totals = _loop(builder, terms, starts, add_products)

            def store_all():  # type: ignore[no-untyped-def]
                for total, place in zip(totals, places, strict=True):
                    v.store(total, c, place)
                return []

            def store_lanes():  # type: ignore[no-untyped-def]
                for total, place, e in zip(totals, places, exists, strict=True):
                    v.store_lanes(total, c, place, lanes, e)
                return []

            # what a masked instruction has stored, the next one to load it has to wait for
            whole = builder.and_(
                builder.icmp_signed(">=", rows, index(height)),
                builder.icmp_signed(">=", columns, index(LANES)),
            )
            _choose(builder, whole, store_all, store_lanes)
            return context.get_dummy_value()

        return signature, generate

    return multiply


HEIGHT = 8 if WIDE else 4  # rows of a product that stay in registers
multiply_lanes, multiply_few_lanes = _multiply_lanes(HEIGHT), _multiply_lanes(HEIGHT // 2)
multiply_lanes_of_row = _multiply_lanes(1)


def _transposed(v: VectorBuilder, vectors: list[Any]) -> list[Any]:
    """Return the columns of 16 rows, by shuffles that move little between quarters of a vector.

    Rounds exchange elements, pairs, quarters and halves between rows 1, 2, 4 and 8 apart: the
    bit of an element's place changes with that of its row. Others would take twice the time.
    """
    for size in (1, 2, 4, 8):
        low = [i if not i & size else LANES + i - size for i in range(LANES)]
        high = [i + size if not i & size else LANES + i for i in range(LANES)]
        rows = list(vectors)
        for m in range(LANES):
            if not m & size:
                rows[m] = v.shuffle(vectors[m], vectors[m + size], low)
                rows[m + size] = v.shuffle(vectors[m], vectors[m + size], high)
        vectors = rows
    return vectors


@intrinsic
def transpose_lanes(typing, x, x0, step, rows, columns, scale, out, out0):  # type: ignore[no-untyped-def]
    """out[n, m] = scale * x[m, n] for up to 16 rows and columns, and 0 up to 16 of both."""
    n = types.intp
    signature = types.void(x, n, n, n, n, types.float32, out, n)

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        x, out = _pointers(context, builder, signature, arguments, 0, 6)
        step, rows, columns, scale = arguments[2:6]
        v = VectorBuilder(builder)
        lanes, factor = _first_lanes(v, columns), v.broadcast(scale)
        vectors = []
        for m in range(LANES):
            exists = builder.icmp_signed("<", index(m), rows)
            row = v.load_lanes(x, builder.mul(step, index(m)), lanes, exists)
            vectors.append(builder.fmul(row, factor))
        for m, vector in enumerate(_transposed(v, vectors)):
            v.store(vector, out, index(LANES * m))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def softmax_lanes(typing, s, s0, keys, bound, w, w0, w_row, w_keys, w_lanes):  # type: ignore[no-untyped-def]
    """Replace the scores s[key, lane] by their softmax over the first `keys` keys.

    A lane attends to the keys up to `bound` + lane. The weights are also written to w[key, lane],
    for the first lanes, with zeros for the further keys up to `w_keys`.
    """
    n = types.intp
    signature = types.void(s, n, n, n, w, n, n, n, n)

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        s, w = _pointers(context, builder, signature, arguments, 0, 4)
        keys, bound, w_row, w_keys, w_lanes = (arguments[i] for i in (2, 3, 6, 7, 8))
        v = VectorBuilder(builder)
        lanes, lowest = _first_lanes(v, w_lanes), v.constant(float("-inf"))

        def take_maximum(j, values):  # type: ignore[no-untyped-def]
            place = builder.mul(j, index(LANES))
            first = v.broadcast_integer(builder.sub(j, bound))
            allowed = builder.icmp_signed(">=", _NUMBERS, first)
            x = builder.select(allowed, v.load(s, place), lowest)
            v.store(x, s, place)
            return [builder.select(builder.fcmp_ordered(">", x, values[0]), x, values[0])]

        (largest,) = _loop(builder, keys, [lowest], take_maximum)
        shift = builder.select(builder.fcmp_ordered("==", largest, lowest), ZERO, largest)

        def add_exponentials(j, values):  # type: ignore[no-untyped-def]
            place = builder.mul(j, index(LANES))
            e = exp_of_negative(Vector(builder, v.subtract(v.load(s, place), shift))).value
            v.store(e, s, place)
            return [v.add(values[0], e)]

        (total,) = _loop(builder, keys, [ZERO], add_exponentials)
        one = v.constant(1.0)
        total = builder.select(builder.fcmp_ordered("==", total, ZERO), one, total)
        inverse = builder.fdiv(one, total)

        def divide(j, values):  # type: ignore[no-untyped-def]
            place = builder.mul(j, index(LANES))
            weights = builder.fmul(v.load(s, place), inverse)
            v.store(weights, s, place)
            v.store_lanes(weights, w, builder.mul(j, w_row), lanes, _TRUE)
            return []

        def clear(j, values):  # type: ignore[no-untyped-def]
            v.store_lanes(ZERO, w, builder.mul(builder.add(keys, j), w_row), lanes, _TRUE)
            return []

        _loop(builder, keys, [], divide)
        _loop(builder, builder.sub(w_keys, keys), [], clear)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def softmax_gradient_lanes(typing, w, w0, w_row, w_lanes, g, g0, keys, scale):  # type: ignore[no-untyped-def]
    """Replace gradients g[key, lane] of weights by those of the scores, times a scale."""
    n = types.intp
    signature = types.void(w, n, n, n, g, n, n, types.float32)

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        w, g = _pointers(context, builder, signature, arguments, 0, 4)
        w_row, w_lanes, keys, scale = (arguments[i] for i in (2, 3, 6, 7))
        v = VectorBuilder(builder)
        lanes, factor = _first_lanes(v, w_lanes), v.broadcast(scale)

        def load(j):  # type: ignore[no-untyped-def]
            weights = v.load_lanes(w, builder.mul(j, w_row), lanes, _TRUE)
            return weights, v.load(g, builder.mul(j, index(LANES)))

        def add_product(j, values):  # type: ignore[no-untyped-def]
            weights, gradient = load(j)
            return [v.multiply_add(weights, gradient, values[0])]

        (total,) = _loop(builder, keys, [ZERO], add_product)

        def subtract(j, values):  # type: ignore[no-untyped-def]
            weights, gradient = load(j)
            gradient = builder.fmul(builder.fmul(weights, v.subtract(gradient, total)), factor)
            v.store(gradient, g, builder.mul(j, index(LANES)))
            return []

        _loop(builder, keys, [], subtract)
        return context.get_dummy_value()

    return signature, generate
