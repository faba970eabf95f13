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

from nn_kernels._atomics import room_for_floats
from nn_kernels._compile import intrinsic, subroutine, types
from nn_kernels._products import ROWS
from nn_kernels._vectors import LANES, ZERO, VectorBuilder, index, pointer

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


_N0, _NA, _NB = 1 / (_A2 * _B2), 1 / (2 * _A2 * (_A2 - _B2)), 1 / (2 * _B2 * (_B2 - _A2))


def _g(v: VectorBuilder, w: list[Any]) -> list[Any]:
    """Return G w: the three weights become values at the points."""
    p = v.multiply_add(w[2], _A2 * _NA, v.multiply(w[0], _NA))
    q = v.multiply_add(w[2], _B2 * _NB, v.multiply(w[0], _NB))
    return [
        v.multiply(w[0], _N0),
        v.multiply_add(w[1], _A * _NA, p),
        v.multiply_add(w[1], -_A * _NA, p),
        v.multiply_add(w[1], _B * _NB, q),
        v.multiply_add(w[1], -_B * _NB, q),
        w[2],
    ]


def _g_transposed(v: VectorBuilder, u: list[Any]) -> list[Any]:
    """Return G^T u: the six products become three gradients."""
    s1, d1 = v.add(u[1], u[2]), v.subtract(u[1], u[2])
    s2, d2 = v.add(u[3], u[4]), v.subtract(u[3], u[4])
    return [
        v.multiply_add(u[0], _N0, v.multiply_add(s1, _NA, v.multiply(s2, _NB))),
        v.multiply_add(d1, _A * _NA, v.multiply(d2, _B * _NB)),
        v.multiply_add(s1, _A2 * _NA, v.multiply_add(s2, _B2 * _NB, u[5])),
    ]


@intrinsic
def _transform_kernels(typing, w, w0, step, flip, u, u0, u_step, panel_step):  # type: ignore[no-untyped-def]
    """Write G w G^T for 16 kernels that are a distance apart, `ROWS` of them in a panel of `u`.

    Seven elements after the last kernel are read too.
    """
    n = types.intp
    signature = types.void(w, n, n, types.boolean, u, n, n, n)

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        kinds = signature.args
        source = pointer(context, builder, kinds[0], arguments[0], arguments[1])
        target = pointer(context, builder, kinds[4], arguments[4], arguments[5])
        v = VectorBuilder(builder)
        kernels = [v.load(source, builder.mul(arguments[2], index(m))) for m in range(LANES)]
        taps = v.interleave(kernels)[:9]
        taps = [builder.select(arguments[3], taps[8 - q], taps[q]) for q in range(9)]
        columns = [_g(v, taps[j::3]) for j in range(3)]
        for i in range(6):
            for j, value in enumerate(_g(v, [column[i] for column in columns])):
                place = builder.gep(target, [builder.mul(arguments[6], index(6 * i + j))])
                v.store_parts(value, place, arguments[7], ROWS)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def _transform_sums(typing, du, du0, step, kernels):  # type: ignore[no-untyped-def]
    """Write 16 kernels G^T u G one after the other.

    Seven elements after the last are written too.
    """
    n = types.intp
    signature = types.void(du, n, n, kernels)

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        kinds = signature.args
        v = VectorBuilder(builder)
        source = pointer(context, builder, kinds[0], arguments[0], arguments[1])
        target = pointer(context, builder, kinds[3], arguments[3], index(0))
        places = [builder.mul(arguments[2], index(f)) for f in range(36)]
        first = [v.load(source, place) for place in places]
        rows = [_g_transposed(v, first[j::6]) for j in range(6)]
        taps = [tap for i in range(3) for tap in _g_transposed(v, [row[i] for row in rows])]
        for m, kernel in enumerate(v.interleave([*taps, *[ZERO] * 7])):
            v.store(kernel, target, index(9 * m))
        return context.get_dummy_value()

    return signature, generate


_KERNELS = 16 * 9 + 7  # of 16 pairs of channels; vectors may end behind the last
_room_for_kernels = room_for_floats(_KERNELS)


@subroutine()
def transform_weights(  # type: ignore[no-untyped-def]
    w, outputs, channels, flip, group, first, last, u, step, panel
):
    """Write G w G^T for some channels of 16 outputs to `u`, from a panel on.

    It is (36, panels, last - first, ROWS), the 36 a step apart. With `flip`, the weights are
    (channels, outputs, 3, 3) and rotated by 180 degrees.
    """
    kernels = _room_for_kernels()
    for i in range(_KERNELS):
        kernels[i] = 0
    output, w_step = 16 * group, 9 if flip else 9 * channels
    count, panel_step = min(16, outputs - output), (last - first) * ROWS
    for c in range(first, last):
        start = 9 * (c * outputs + output) if flip else 9 * (output * channels + c)
        place = panel * panel_step + (c - first) * ROWS
        if count == 16 and start + 15 * w_step + 16 <= 9 * outputs * channels:
            _transform_kernels(w, start, w_step, flip, u, place, step, panel_step)
            continue
        for m in range(count):  # nothing is read beyond the weights
            for q in range(9):
                kernels[9 * m + q] = w[start + m * w_step + q]
        _transform_kernels(kernels, 0, 9, flip, u, place, step, panel_step)


@subroutine()
def weight_gradient(  # type: ignore[no-untyped-def]
    du, start, step, parts, size, dw, outputs, channels, output, channel, blocks, width
):
    """Write G^T u G to `dw`, where `u` is the sum of parts of `du`, which is overwritten.

    Args:
        du: the sums, in blocks of 16: a number of outputs, each with `width` channels.
        start: the place of the first block.
        step: the distance between two of the 36.
        parts: the number of parts.
        size: that of a part.
        dw: ``(outputs, channels, 3, 3)``.
        outputs: the number of outputs.
        channels: the number of channels.
        output: the first output of the blocks.
        channel: the first channel of the first block.
        blocks: the number of blocks, one after the other.
        width: the number of channels of a block.
    """
    kernels = _room_for_kernels()
    for part in range(1, parts):
        for f in range(36):
            s = np.uintp(start + f * step)
            for i in range(np.uintp(16 * blocks)):
                du[s + i] += du[s + np.uintp(part * size) + i]
    for block in range(blocks):
        place = start + 16 * block
        _transform_sums(du, place, step, kernels)
        for m in range(16):
            o, c = output + m // width, channel + width * block + m % width
            if o < outputs and c < channels:
                for q in range(9):
                    dw[9 * (o * channels + c) + q] = kernels[9 * m + q]
