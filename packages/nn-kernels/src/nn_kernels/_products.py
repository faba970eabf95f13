"""The microkernels: small blocks of products of matrices that stay in registers.

A processor multiplies faster than it loads. So a block of the result is kept in vector registers
while the sum runs, and each loaded number is used several times (Goto and van de Geijn, "Anatomy of
High-Performance Matrix Multiplication", 2008). numba cannot be told which numbers stay in
registers: these are written in LLVM's intermediate representation instead.

With AVX-512 there are 32 registers of 16 floats. A block of 8 by 48 results takes 24 of them, three
hold a row of b, and one a number of a: 24 multiply-adds for 11 loads. With 16 registers of 8
floats, 4 by 24 results take 12 in the same way: 48 columns are computed in two passes.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from nn_kernels._compile import intrinsic, subroutine, types
from nn_kernels._vectors import (
    LANES,
    WIDE,
    ZERO,
    VectorBuilder,
    call_prefetch,
    index,
    pointer,
)

__all__ = [
    "DOT_ROWS",
    "PER_NANOSECOND",
    "ROWS",
    "TAPS",
    "TAPS_1",
    "VECTORS",
    "copy_in_parts",
    "dot_block",
    "dot_products",
    "dot_products_1",
    "interleave_16",
    "interleave_rows",
    "multiply",
    "multiply_1",
    "multiply_2",
    "multiply_3",
    "multiply_row",
    "multiply_row_half",
    "multiply_row_wide",
    "prefetch",
]

ROWS = 8 if WIDE else 4  # of a panel of weights
VECTORS = 3  # of 16 columns, in the widest block
TAPS = 6 if WIDE else 2  # columns of a block of dot products
TAPS_1 = 9 if WIDE else 3
DOT_ROWS = 4 if WIDE else 2
_REGISTER = LANES if WIDE else LANES // 2  # its floats
_SUMS = 24 if WIDE else 12  # registers for sums: a row of b, and a number of a, need some too
PER_NANOSECOND = 40 if WIDE else 20  # multiplications of a thread, about


def _passes(rows: int, vectors: int) -> tuple[int, list[list[int]]]:
    """Return the length of vectors, and for each pass over the rows of b where they begin."""
    lanes = LANES if WIDE or vectors % 3 else LANES // 2
    columns = list(range(0, LANES * vectors, lanes))
    most = max(1, _SUMS * _REGISTER // (lanes * rows))
    return lanes, [columns[first : first + most] for first in range(0, len(columns), most)]


def _panel_product(rows: int, vectors: int) -> Any:
    """Return c[m, :16 * vectors] = sum over k of a[k, m] * b[offsets[k] : + 16 * vectors].

    From a first offset `k0` other than 0 on, the sum is added to what c holds. An integer in place
    of the offsets is the distance between rows of b.
    """

    @intrinsic
    def multiply(typing, a, a0, b, b0, offsets, k0, count, c, c0, step):  # type: ignore[no-untyped-def]
        n = types.intp
        is_distance = isinstance(offsets, types.Integer)
        signature = types.void(a, n, b, n, n if is_distance else offsets, n, n, c, n, n)

        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            kinds = signature.args
            a, b, c = (
                pointer(context, builder, kinds[i], arguments[i], arguments[i + 1])
                for i in (0, 2, 7)
            )
            offsets = arguments[4]
            if not is_distance:
                offsets = pointer(context, builder, kinds[4], offsets, arguments[5])
            k0, count, step = arguments[5], arguments[6], arguments[9]
            lanes, passes = _passes(rows, vectors)
            v = VectorBuilder(builder, lanes)
            zero = v.constant(0.0)
            for columns in passes:
                entry = builder.block
                resume, loop, end = (
                    builder.append_basic_block(name) for name in ("resume", "loop", "end")
                )
                builder.cbranch(builder.icmp_signed("==", k0, index(0)), loop, resume)
                builder.position_at_end(resume)
                places = [
                    [builder.add(builder.mul(step, index(m)), index(column)) for column in columns]
                    for m in range(rows)
                ]
                held = [[v.load(c, place) for place in row] for row in places]
                builder.branch(loop)
                builder.position_at_end(loop)
                k, ka = builder.phi(ir.IntType(64)), builder.phi(ir.IntType(64))
                for value in (k, ka):
                    value.add_incoming(index(0), entry)
                    value.add_incoming(index(0), resume)
                totals = [[builder.phi(zero.type) for _ in columns] for _ in range(rows)]
                if is_distance:
                    row = builder.gep(b, [builder.mul(k, offsets)])
                else:
                    row = builder.gep(b, [builder.load(builder.gep(offsets, [k]))])
                bs = [v.load(row, index(column)) for column in columns]
                panel = builder.gep(a, [ka])
                after = []
                for m in range(rows):
                    factor = v.broadcast(builder.load(builder.gep(panel, [index(m)])))
                    pairs = zip(bs, totals[m], strict=True)
                    after.append([v.multiply_add(factor, x, total) for x, total in pairs])
                next_k, next_ka = builder.add(k, index(1)), builder.add(ka, index(rows))
                k.add_incoming(next_k, loop)
                ka.add_incoming(next_ka, loop)
                for m in range(rows):
                    for total, before, value in zip(totals[m], held[m], after[m], strict=True):
                        total.add_incoming(zero, entry)
                        total.add_incoming(before, resume)
                        total.add_incoming(value, loop)
                builder.cbranch(builder.icmp_signed("<", next_k, count), loop, end)
                builder.position_at_end(end)
                for m in range(rows):
                    start = builder.mul(step, index(m))
                    for value, column in zip(after[m], columns, strict=True):
                        v.store(value, c, builder.add(start, index(column)))
            return context.get_dummy_value()

        return signature, generate

    return multiply


multiply_1 = _panel_product(ROWS, 1)
multiply_2 = _panel_product(ROWS, 2)
multiply_3 = _panel_product(ROWS, VECTORS)
multiply_row = _panel_product(1, 1)
multiply_row_half = _panel_product(1, 4 if WIDE else 2)
multiply_row_wide = _panel_product(1, 8 if WIDE else 4)


@subroutine()
def multiply(vectors, a, a0, b, b0, offsets, k0, count, c, c0, step):  # type: ignore[no-untyped-def]
    """Multiply a panel by up to `VECTORS` vectors of columns."""
    if vectors == 3:
        multiply_3(a, a0, b, b0, offsets, k0, count, c, c0, step)
    elif vectors == 2:
        multiply_2(a, a0, b, b0, offsets, k0, count, c, c0, step)
    else:
        multiply_1(a, a0, b, b0, offsets, k0, count, c, c0, step)


def _dot_products(rows: int, taps: int) -> Any:
    """Return d[o, t] += sum over samples s and places p of g[s, o, p] * x[s, offsets[t] + p]."""

    @intrinsic
    def dot(  # type: ignore[no-untyped-def]
        typing, g, g0, g_row, g_sample, x, x0, x_sample, offsets, t0, places, samples, d, d0, d_row
    ):
        n = types.intp
        signature = types.void(g, n, n, n, x, n, n, offsets, n, n, n, d, n, n)

        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            kinds = signature.args
            g, x, offsets, d = (
                pointer(context, builder, kinds[i], arguments[i], arguments[i + 1])
                for i in (0, 4, 7, 11)
            )
            g_row, g_sample, x_sample = arguments[2], arguments[3], arguments[6]
            places, samples, d_row = arguments[9], arguments[10], arguments[13]
            v = VectorBuilder(builder)
            pairs = [(o, t) for o in range(rows) for t in range(taps)]
            g_rows = [builder.mul(g_row, index(o)) for o in range(rows)]
            x_rows = [builder.load(builder.gep(offsets, [index(t)])) for t in range(taps)]
            entry = builder.block
            outer, loop, latch, end = (
                builder.append_basic_block(name) for name in ("outer", "loop", "latch", "end")
            )
            builder.branch(outer)
            builder.position_at_end(outer)
            s = builder.phi(ir.IntType(64))
            s.add_incoming(index(0), entry)
            before = [builder.phi(ZERO.type) for _ in pairs]
            g_start = builder.gep(g, [builder.mul(s, g_sample)])
            x_start = builder.gep(x, [builder.mul(s, x_sample)])
            gs = [builder.gep(g_start, [r]) for r in g_rows]
            xs = [builder.gep(x_start, [r]) for r in x_rows]
            builder.branch(loop)
            builder.position_at_end(loop)
            p = builder.phi(ir.IntType(64))
            p.add_incoming(index(0), outer)
            totals = [builder.phi(ZERO.type) for _ in pairs]
            g_values = [v.load(row, p) for row in gs]
            x_values = [v.load(row, p) for row in xs]
            after = [
                v.multiply_add(g_values[o], x_values[t], total)
                for (o, t), total in zip(pairs, totals, strict=True)
            ]
            next_p = builder.add(p, index(LANES))
            p.add_incoming(next_p, loop)
            builder.cbranch(builder.icmp_signed("<", next_p, places), loop, latch)
            builder.position_at_end(latch)
            next_s = builder.add(s, index(1))
            s.add_incoming(next_s, latch)
            for first, total, value in zip(before, totals, after, strict=True):
                first.add_incoming(ZERO, entry)
                first.add_incoming(value, latch)
                total.add_incoming(first, outer)
                total.add_incoming(value, loop)
            builder.cbranch(builder.icmp_signed("<", next_s, samples), outer, end)
            builder.position_at_end(end)
            for start in range(0, len(pairs), LANES):
                sums = v.sums(after[start : start + LANES])
                for lane, (o, t) in enumerate(pairs[start : start + LANES]):
                    total = builder.extract_element(sums, ir.Constant(ir.IntType(32), lane))
                    place = builder.gep(d, [builder.add(builder.mul(d_row, index(o)), index(t))])
                    builder.store(builder.fadd(builder.load(place), total), place)
            return context.get_dummy_value()

        return signature, generate

    return dot


dot_products = _dot_products(DOT_ROWS, TAPS)
dot_products_1 = _dot_products(1, TAPS_1)


@intrinsic
def dot_block(typing, g, g0, g_row, x, x0, x_row, places, d, d0):  # type: ignore[no-untyped-def]
    """d[4 * o + c] += sum over places p of g[o, p] * x[c, p], for 4 rows of each.

    The 16 sums are stored as one vector: with short rows, storing them one by one would take as
    long as the products.
    """
    n = types.intp
    signature = types.void(g, n, n, x, n, n, n, d, n)

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        kinds = signature.args
        g, x, d = (
            pointer(context, builder, kinds[i], arguments[i], arguments[i + 1]) for i in (0, 3, 7)
        )
        g_row, x_row, places = arguments[2], arguments[5], arguments[6]
        v = VectorBuilder(builder)
        gs = [builder.gep(g, [builder.mul(g_row, index(o))]) for o in range(4)]
        xs = [builder.gep(x, [builder.mul(x_row, index(c))]) for c in range(4)]
        entry = builder.block
        loop, end = builder.append_basic_block("loop"), builder.append_basic_block("end")
        builder.branch(loop)
        builder.position_at_end(loop)
        p = builder.phi(ir.IntType(64))
        p.add_incoming(index(0), entry)
        totals = [builder.phi(ZERO.type) for _ in range(16)]
        g_values, x_values = [v.load(row, p) for row in gs], [v.load(row, p) for row in xs]
        after = [
            v.multiply_add(g_values[i // 4], x_values[i % 4], total)
            for i, total in enumerate(totals)
        ]
        next_p = builder.add(p, index(LANES))
        p.add_incoming(next_p, loop)
        for total, value in zip(totals, after, strict=True):
            total.add_incoming(ZERO, entry)
            total.add_incoming(value, loop)
        builder.cbranch(builder.icmp_signed("<", next_p, places), loop, end)
        builder.position_at_end(end)
        v.store(v.add(v.load(d, index(0)), v.sums(after)), d, index(0))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def prefetch(typing, x, x0):  # type: ignore[no-untyped-def]
    """Ask for the line of the cache with an element, which may lie beyond the end of `x`."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        call_prefetch(builder, pointer(context, builder, signature.args[0], *arguments))
        return context.get_dummy_value()

    return types.void(x, types.intp), generate


@intrinsic
def copy_in_parts(typing, x, x0, d, d0, step):  # type: ignore[no-untyped-def]
    """Write 16 elements in parts of `ROWS`: d[i * step + m] = x[i * ROWS + m]."""
    n = types.intp
    signature = types.void(x, n, d, n, n)

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        kinds = signature.args
        x = pointer(context, builder, kinds[0], arguments[0], arguments[1])
        d = pointer(context, builder, kinds[2], arguments[2], arguments[3])
        v = VectorBuilder(builder)
        v.store_parts(v.load(x, index(0)), d, arguments[4], ROWS)
        return context.get_dummy_value()

    return signature, generate


def _interleave(rows: int) -> Any:
    """Write 16 columns of some rows as rows: d[k * rows + m] = x[m * step + k], for k < 16."""

    @intrinsic
    def interleave(typing, x, x0, step, d, d0, d_step):  # type: ignore[no-untyped-def]
        n = types.intp
        signature = types.void(x, n, n, d, n, n)

        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            kinds = signature.args
            x = pointer(context, builder, kinds[0], arguments[0], arguments[1])
            d = pointer(context, builder, kinds[3], arguments[3], arguments[4])
            v = VectorBuilder(builder)
            vectors = [v.load(x, builder.mul(arguments[2], index(m))) for m in range(rows)]
            for i, vector in enumerate(v.interleave(vectors)):
                v.store(vector, d, builder.mul(arguments[5], index(i)))
            return context.get_dummy_value()

        return signature, generate

    return interleave


interleave_rows = _interleave(ROWS)
interleave_16 = _interleave(16)
