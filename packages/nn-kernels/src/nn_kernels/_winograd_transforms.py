r"""The transforms of Winograd's convolution F(4×4, 3×3), 16 tiles at a time.

Four outputs of a filter with three taps are a product of polynomials, and a product is known from
its values at six points: six multiplications instead of twelve, and in two dimensions 36 instead of
144 (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2016). With the matrices

.. math:: Y = A^T \, [(G w G^T) \odot (B^T x B)] \, A

a tile of 6×6 inputs gives 4×4 outputs. The points here are 0, ±5/8, ±3/2 and infinity instead of
the usual 0, ±1, ±2 and infinity: all entries of A and B are exact in float32, and the largest error
is a quarter.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.core import types

from nn_kernels._compile import intrinsic, jit
from nn_kernels._vectors import LANES, VectorBuilder, index, pointer

__all__ = [
    "gradient_columns",
    "gradient_rows",
    "input_columns",
    "input_rows",
    "outputs",
    "transform_weights",
    "weight_gradient",
]

_A, _B = 0.625, 1.5  # the points 0, ±a, ±b, infinity
_A2, _B2 = _A * _A, _B * _B


def _b_transposed(v: VectorBuilder, d: list[Any]) -> list[Any]:
    """Return B^T d: the six input values become values at the points."""
    first = v.multiply_add(d[0], _A2 * _B2, v.multiply_add(d[2], -_A2 - _B2, d[4]))
    last = v.multiply_add(d[1], _A2 * _B2, v.multiply_add(d[3], -_A2 - _B2, d[5]))
    p, q = v.multiply_add(d[2], -_B2, d[4]), v.multiply_add(d[1], -_B2, d[3])
    r, s = v.multiply_add(d[2], -_A2, d[4]), v.multiply_add(d[1], -_A2, d[3])
    return [
        first,
        v.multiply_add(q, _A, p),
        v.multiply_add(q, -_A, p),
        v.multiply_add(s, _B, r),
        v.multiply_add(s, -_B, r),
        last,
    ]


def _a_transposed(v: VectorBuilder, m: list[Any]) -> list[Any]:
    """Return A^T m: the six products become four outputs."""
    s1, d1 = v.add(m[1], m[2]), v.subtract(m[1], m[2])
    s2, d2 = v.add(m[3], m[4]), v.subtract(m[3], m[4])
    return [
        v.add(m[0], v.add(s1, s2)),
        v.multiply_add(d1, _A, v.multiply(d2, _B)),
        v.multiply_add(s1, _A2, v.multiply(s2, _B2)),
        v.multiply_add(d1, _A2 * _A, v.multiply_add(d2, _B2 * _B, m[5])),
    ]


def _a(v: VectorBuilder, y: list[Any]) -> list[Any]:
    """Return A y: four gradients become values at the six points."""
    p, q = v.multiply_add(y[2], _A2, y[0]), v.multiply_add(y[3], _A2, y[1])
    r, s = v.multiply_add(y[2], _B2, y[0]), v.multiply_add(y[3], _B2, y[1])
    return [
        y[0],
        v.multiply_add(q, _A, p),
        v.multiply_add(q, -_A, p),
        v.multiply_add(s, _B, r),
        v.multiply_add(s, -_B, r),
        y[3],
    ]


def _every_fourth(v: VectorBuilder, base: Any, phases: int) -> list[Any]:
    """Return `phases` vectors: the elements phase, phase + 4, phase + 8, ... of 64 floats."""
    parts = [v.load(base, index(LANES * i)) for i in range(4)]
    found = []
    for phase in range(phases):
        places = [phase + 4 * i for i in range(8)] * 2
        low, high = v.shuffle(parts[0], parts[1], places), v.shuffle(parts[2], parts[3], places)
        found.append(v.shuffle(low, high, [*range(8), *range(16, 24)]))
    return found


def _rows(count: int, transform: Any) -> Any:
    """Return an intrinsic that transforms 16 columns of a row of tiles vertically."""

    @intrinsic
    def rows(typing, x, x0, width, top, bottom, left, right, lines, line0, step):  # type: ignore[no-untyped-def]
        """Transform rows of `x`, and write the six results to lines.

        What lies above row `top`, from row `bottom` on, before column `left` or from column `right`
        on counts as zero and is not read.
        """
        n = types.intp
        signature = types.void(x, n, n, n, n, n, n, lines, n, n)

        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            kinds = signature.args
            source = pointer(context, builder, kinds[0], arguments[0], arguments[1])
            target = pointer(context, builder, kinds[7], arguments[7], arguments[8])
            width, top, bottom = arguments[2:5]
            v = VectorBuilder(builder)
            lanes = v.lanes(*arguments[5:7])
            values = []
            for r in range(count):
                inside = builder.and_(
                    builder.icmp_signed("<=", top, index(r)),
                    builder.icmp_signed(">", bottom, index(r)),
                )
                place = builder.mul(width, index(r))
                values.append(v.load_lanes(source, place, lanes, inside))
            for i, value in enumerate(transform(v, values)):
                v.store(value, target, builder.mul(arguments[9], index(i)))
            return context.get_dummy_value()

        return signature, generate

    return rows


input_rows = _rows(6, _b_transposed)
gradient_rows = _rows(4, _a)


@intrinsic
def input_columns(typing, lines, line0, shifted0, step, v, v0, v_step):  # type: ignore[no-untyped-def]
    """Transform 16 tiles of six lines horizontally.

    A tile has six columns, the last two of which are the first two of the next. They are read from
    lines shifted by four columns, as the next tile may belong to another row.
    """
    n = types.intp
    signature = types.void(lines, n, n, n, v, n, n)

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        kinds = signature.args
        sources = [pointer(context, builder, kinds[0], arguments[0], arguments[i]) for i in (1, 2)]
        target = pointer(context, builder, kinds[4], arguments[4], arguments[5])
        v = VectorBuilder(builder)
        for i in range(6):
            line, shifted = (builder.gep(s, [builder.mul(arguments[3], index(i))]) for s in sources)
            columns = _every_fourth(v, line, 4) + _every_fourth(v, shifted, 2)
            for j, value in enumerate(_b_transposed(v, columns)):
                v.store(value, target, builder.mul(arguments[6], index(i * 6 + j)))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def gradient_columns(typing, lines, line0, step, z, z0, z_step):  # type: ignore[no-untyped-def]
    """Transform 16 tiles of six lines of gradients horizontally."""
    n = types.intp
    signature = types.void(lines, n, n, z, n, n)

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        kinds = signature.args
        source = pointer(context, builder, kinds[0], arguments[0], arguments[1])
        target = pointer(context, builder, kinds[3], arguments[3], arguments[4])
        v = VectorBuilder(builder)
        for i in range(6):
            line = builder.gep(source, [builder.mul(arguments[2], index(i))])
            for j, value in enumerate(_a(v, _every_fourth(v, line, 4))):
                v.store(value, target, builder.mul(arguments[5], index(i * 6 + j)))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def outputs(typing, m, m0, m_step, y, y0, y_step, bias, bound):  # type: ignore[no-untyped-def]
    """Transform 16 tiles of products to four rows of 64 outputs, and add the bias.

    What is not above the bound becomes the bound; NaN stays.
    """
    n, f = types.intp, types.float32
    signature = types.void(m, n, n, y, n, n, f, f)

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        kinds = signature.args
        source = pointer(context, builder, kinds[0], arguments[0], arguments[1])
        target = pointer(context, builder, kinds[3], arguments[3], arguments[4])
        v = VectorBuilder(builder)
        rows: list[list[Any]] = [[], [], [], []]
        for j in range(6):
            column = [v.load(source, builder.mul(arguments[2], index(i * 6 + j))) for i in range(6)]
            for row, value in zip(rows, _a_transposed(v, column), strict=True):
                row.append(value)
        bias, bound = v.broadcast(arguments[6]), v.broadcast(arguments[7])
        low = [q for i in range(8) for q in (i, 16 + i)]
        high = [q for i in range(8, 16) for q in (i, 16 + i)]
        for r, row in enumerate(rows):
            ys = [v.bounded(v.add(value, bias), bound) for value in _a_transposed(v, row)]
            # interleave the four columns of each tile
            halves = [(v.shuffle(ys[0], ys[1], h), v.shuffle(ys[2], ys[3], h)) for h in (low, high)]
            for q in range(4):
                first = 8 * (q % 2)
                places = [
                    first + shift + 2 * i + k for i in range(4) for shift in (0, 16) for k in (0, 1)
                ]
                place = builder.add(builder.mul(arguments[5], index(r)), index(LANES * q))
                v.store(v.shuffle(*halves[q // 2], places), target, place)
        return context.get_dummy_value()

    return signature, generate


_N0 = np.float32(1 / (_A2 * _B2))
_NA = np.float32(1 / (2 * _A2 * (_A2 - _B2)))
_NB = np.float32(1 / (2 * _B2 * (_B2 - _A2)))
_FA, _FB, _FA2, _FB2 = np.float32(_A), np.float32(_B), np.float32(_A2), np.float32(_B2)
_L = 16


@jit("contract")
def transform_weights(w, u, outputs, channels, flip, group, rows, panels):  # type: ignore[no-untyped-def]
    """Write G w G^T for 16 outputs to `u`, which is (36, panels, channels, rows).

    With `flip`, the weights are (channels, outputs, 3, 3) and rotated by 180 degrees.
    """
    g = np.empty((9, _L), np.float32)
    t = np.empty((6, 3, _L), np.float32)
    z = np.empty((36, _L), np.float32)
    for c in range(channels):
        for m in range(_L):
            o = group * _L + m
            if o >= outputs:
                for q in range(9):
                    g[q, m] = 0
            elif flip:
                s = np.uintp((c * outputs + o) * 9)
                for q in range(9):
                    g[q, m] = w[s + np.uintp(8 - q)]
            else:
                s = np.uintp((o * channels + c) * 9)
                for q in range(9):
                    g[q, m] = w[s + np.uintp(q)]
        for v in range(3):
            for m in range(_L):
                x0, x1, x2 = g[v, m], g[3 + v, m], g[6 + v, m]
                t[0, v, m] = x0 * _N0
                e, f = (x0 + _FA2 * x2) * _NA, x1 * (_FA * _NA)
                t[1, v, m] = e + f
                t[2, v, m] = e - f
                e, f = (x0 + _FB2 * x2) * _NB, x1 * (_FB * _NB)
                t[3, v, m] = e + f
                t[4, v, m] = e - f
                t[5, v, m] = x2
        for i in range(6):
            for m in range(_L):
                x0, x1, x2 = t[i, 0, m], t[i, 1, m], t[i, 2, m]
                z[6 * i, m] = x0 * _N0
                e, f = (x0 + _FA2 * x2) * _NA, x1 * (_FA * _NA)
                z[6 * i + 1, m] = e + f
                z[6 * i + 2, m] = e - f
                e, f = (x0 + _FB2 * x2) * _NB, x1 * (_FB * _NB)
                z[6 * i + 3, m] = e + f
                z[6 * i + 4, m] = e - f
                z[6 * i + 5, m] = x2
        for f in range(36):
            for h in range(_L // rows):
                d = np.uintp(((f * panels + group * (_L // rows) + h) * channels + c) * rows)
                for m in range(rows):
                    u[d + np.uintp(m)] = z[f, h * rows + m]


@jit("contract")
def weight_gradient(du, parts, size, dw, outputs, channels, block, blocks):  # type: ignore[no-untyped-def]
    """Write G^T u G for four outputs to `dw`: `u` is the sum of parts of `du`, (36, 4×4 blocks)."""
    m = np.empty((6, _L), np.float32)
    t = np.empty((3, 6, _L), np.float32)
    z = np.empty((9, _L), np.float32)
    for cb in range(blocks):
        for j in range(6):
            for i in range(6):
                s = np.uintp((i * 6 + j) * (size // 36) + (block * blocks + cb) * _L)
                for q in range(_L):
                    m[i, q] = du[s + np.uintp(q)]
                for _ in range(1, parts):
                    s += np.uintp(size)
                    for q in range(_L):
                        m[i, q] += du[s + np.uintp(q)]
            for q in range(_L):
                s1, e1 = (m[1, q] + m[2, q]) * _NA, (m[1, q] - m[2, q]) * _NA
                s2, e2 = (m[3, q] + m[4, q]) * _NB, (m[3, q] - m[4, q]) * _NB
                t[0, j, q] = m[0, q] * _N0 + s1 + s2
                t[1, j, q] = e1 * _FA + e2 * _FB
                t[2, j, q] = s1 * _FA2 + s2 * _FB2 + m[5, q]
        for i in range(3):
            for q in range(_L):
                s1, e1 = (t[i, 1, q] + t[i, 2, q]) * _NA, (t[i, 1, q] - t[i, 2, q]) * _NA
                s2, e2 = (t[i, 3, q] + t[i, 4, q]) * _NB, (t[i, 3, q] - t[i, 4, q]) * _NB
                z[3 * i, q] = t[i, 0, q] * _N0 + s1 + s2
                z[3 * i + 1, q] = e1 * _FA + e2 * _FB
                z[3 * i + 2, q] = s1 * _FA2 + s2 * _FB2 + t[i, 5, q]
        for q in range(_L):
            o, c = 4 * block + q // 4, 4 * cb + q % 4
            if o < outputs and c < channels:
                for k in range(9):
                    dw[(o * channels + c) * 9 + k] = z[k, q]
