"""Convolution 3×3 with stride 1 by Winograd's algorithm: `_winograd_transforms` has the formulas.

The image is cut into tiles of 4×4 outputs. For a block of about 64 tiles, the transformed input of
all channels is 36 matrices V (channels, tiles), one for each pair of points; those of the weights
are 36 matrices U (outputs, channels), and the outputs come from the 36 products U V. The weight
gradient is the adjoint: 36 products of transformed gradients and transformed inputs.

A block stays in a thread's share of the cache: nothing grows with the batch. The distance between
matrices is not a power of two, at which all of them would compete for the same lines of the cache.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nn_kernels._atomics import floats
from nn_kernels._compile import Job, jit
from nn_kernels._products import PER_NANOSECOND, ROWS, dot_block, multiply_1, multiply_2
from nn_kernels._threads import run
from nn_kernels._vectors import WIDE
from nn_kernels._winograd_transforms import (
    gradient_columns,
    gradient_rows,
    input_columns,
    input_rows,
    outputs,
    transform_weights,
    weight_gradient,
)

__all__ = ["convolve", "convolve_weight_gradient"]

_COLUMNS = 32 if WIDE else 16  # of a block of products
_TILES = 64  # of a block, about
_GRADIENT_TILES = 128
_MAX_PARTS = 4  # of a weight gradient, which are added up


@jit()
def _copy_row(source, start, count, line, first, left, size):  # type: ignore[no-untyped-def]
    """Copy `count` elements to a row of `size`, with zeros before and after them."""
    for q in range(np.uintp(left)):
        line[np.uintp(first) + q] = 0
    target = np.uintp(first + left)
    for q in range(np.uintp(count)):
        line[target + q] = source[np.uintp(start) + q]
    target += np.uintp(count)
    for q in range(np.uintp(size - left - count)):
        line[target + q] = 0


@jit()
def _transform_input(  # type: ignore[no-untyped-def]
    x, row0, row1, tile_rows, tile_columns, channels, height, width, top, left,
    line, line_size, p, p_step, v, v_step, tiles, padded,
):  # fmt: skip
    """Transform the rows of tiles row0 to row1 of the batch into `v`, (36, channels, tiles)."""
    for c in range(channels):
        row = row0
        base = 0
        while row < row1:  # sample by sample
            n, first = row // tile_rows, row % tile_rows
            count = min(tile_rows - first, row1 - row)
            for r in range(4 * count + 2):
                h = 4 * first + r - top
                if 0 <= h < height:
                    start = ((n * channels + c) * height + h) * width
                    _copy_row(x, start, width, line, r * line_size, left, line_size)
                else:
                    _copy_row(x, 0, 0, line, r * line_size, 0, line_size)
            for r in range(4 * count + 2):
                th, k = r // 4, r % 4
                for tw in range(0, tile_columns, 16):
                    # A row belongs to one row of tiles or two. Lanes past its end are overwritten
                    # by the next row, so the order matters, and any width is right.
                    place = (base + th) * tile_columns + tw
                    above = (k + 4) * p_step + place - tile_columns
                    here = k * p_step + place
                    if th == count:
                        here = above
                    elif k >= 2 or th == 0:
                        above = here
                    input_rows(line, r * line_size + 4 * tw, p, here, 6 * p_step, above)
            base += count
            row += count
        for t in range(0, padded, 16):
            input_columns(p, t, p_step, v, c * tiles + t, v_step)


def _transform_weights_job(a, part, thread):  # type: ignore[no-untyped-def]
    transform_weights(floats(a[2]), floats(a[3]), a[4], a[5], a[6] != 0, part, ROWS, a[7])


def _convolve_job(a, part, thread):  # type: ignore[no-untyped-def]
    x, u, bias, out = floats(a[2]), floats(a[3]), floats(a[4]), floats(a[5])
    channels, height, width, top, left = a[6], a[7], a[8], a[9], a[10]
    count, rows, columns, panels, block, total = a[11], a[12], a[13], a[14], a[15], a[16]
    line_size, tiles, line_end, p_end, v_end = a[17], a[18], a[19], a[20], a[21]
    work = a[0] + 4 * thread * a[1]
    line, p = floats(work), floats(work + 4 * line_end)
    v, m = floats(work + 4 * p_end), floats(work + 4 * v_end)
    tile_rows, tile_columns = (rows + 3) // 4, (columns + 3) // 4
    p_step, v_step, m_step = tiles + 32, channels * tiles + 16, panels * ROWS * tiles + 16
    offsets = np.empty(channels, np.intp)
    for c in range(channels):
        offsets[c] = c * tiles
    row0 = part * block
    row1 = min(row0 + block, total)
    used = (row1 - row0) * tile_columns
    padded = (used + 15) // 16 * 16
    _transform_input(
        x, row0, row1, tile_rows, tile_columns, channels, height, width, top, left,
        line, line_size, p, p_step, v, v_step, tiles, padded,
    )  # fmt: skip
    for f in range(36):
        for t in range(0, used, _COLUMNS):
            for panel in range(panels):
                weights = (f * panels + panel) * channels * ROWS
                place = f * m_step + panel * ROWS * tiles + t
                if used - t > 16:
                    multiply_2(u, weights, v, f * v_step + t, offsets, 0, channels, m, place, tiles)
                else:
                    multiply_1(u, weights, v, f * v_step + t, offsets, 0, channels, m, place, tiles)
    y_step = 4 * tiles + 16
    for o in range(count):
        for t in range(0, padded, 16):
            outputs(m, o * tiles + t, m_step, p, 4 * t, y_step, bias[o])
        for row in range(row0, row1):
            n, th = row // tile_rows, row % tile_rows
            for r in range(min(4, rows - 4 * th)):
                s = np.uintp(r * y_step + (row - row0) * 4 * tile_columns)
                d = np.uintp(((n * count + o) * rows + 4 * th + r) * columns)
                for q in range(np.uintp(columns)):
                    out[d + q] = p[s + q]


def _weight_gradient_job(a, part, thread):  # type: ignore[no-untyped-def]
    x, g, du = floats(a[2]), floats(a[3]), floats(a[4])
    channels, height, width, top, left = a[5], a[6], a[7], a[8], a[9]
    count, rows, columns, block, total, parts = a[10], a[11], a[12], a[13], a[14], a[15]
    line_size, tiles, line_end, p_end, v_end = a[16], a[17], a[18], a[19], a[20]
    work = a[0] + 4 * thread * a[1]
    line, p = floats(work), floats(work + 4 * line_end)
    v, z = floats(work + 4 * p_end), floats(work + 4 * v_end)
    tile_rows, tile_columns = (rows + 3) // 4, (columns + 3) // 4
    output_blocks, channel_blocks = (count + 3) // 4, (channels + 3) // 4
    p_step, v_step, z_step = (
        tiles + 32,
        4 * channel_blocks * tiles + 16,
        4 * output_blocks * tiles + 16,
    )
    size = output_blocks * channel_blocks * 16  # for each of the 36 products
    for i in range(36 * size):
        du[part * 36 * size + i] = 0
    for f in range(36):  # what the last block of channels or outputs lacks
        for i in range(channels * tiles, 4 * channel_blocks * tiles):
            v[f * v_step + i] = 0
        for i in range(count * tiles, 4 * output_blocks * tiles):
            z[f * z_step + i] = 0
    per_part = (total + parts - 1) // parts
    row0, end = part * per_part, min((part + 1) * per_part, total)
    while row0 < end:
        row1 = min(row0 + block, end)
        used = (row1 - row0) * tile_columns
        padded = (used + 15) // 16 * 16
        _transform_input(
            x, row0, row1, tile_rows, tile_columns, channels, height, width, top, left,
            line, line_size, p, p_step, v, v_step, tiles, padded,
        )  # fmt: skip
        for f in range(36):
            for c in range(channels):
                for t in range(used, padded):
                    v[f * v_step + c * tiles + t] = 0
        for o in range(count):
            for row in range(row0, row1):
                n, th = row // tile_rows, row % tile_rows
                for r in range(4):
                    h = 4 * th + r
                    start = ((n * count + o) * rows + h) * columns
                    size_row = columns if h < rows else 0
                    _copy_row(g, start, size_row, line, r * line_size, 0, line_size)
                    for tw in range(0, tile_columns, 16):
                        place = r * p_step + (row - row0) * tile_columns + tw
                        gradient_rows(line, r * line_size + 4 * tw, p, place, 4 * p_step)
            for q in range(24):
                for t in range(used, padded):
                    p[q * p_step + t] = 0
            for t in range(0, padded, 16):
                gradient_columns(p, t, p_step, z, o * tiles + t, z_step)
        for f in range(36):
            for ob in range(output_blocks):
                for cb in range(channel_blocks):
                    place = (part * 36 + f) * size + (ob * channel_blocks + cb) * 16
                    dot_block(
                        z, f * z_step + 4 * ob * tiles, tiles,
                        v, f * v_step + 4 * cb * tiles, tiles, padded, du, place,
                    )  # fmt: skip
        row0 = row1


def _sum_job(a, part, thread):  # type: ignore[no-untyped-def]
    weight_gradient(floats(a[2]), a[4], a[5], floats(a[3]), a[6], a[7], part, a[8])


_transform_weights = Job(_transform_weights_job)
_convolve = Job(_convolve_job)
_weight_gradient = Job(_weight_gradient_job)
_sum = Job(_sum_job)


def _layout(
    rows: int, columns: int, batch: int, tiles: int, channels: int
) -> tuple[int, int, int, int, int, int, int]:
    """Return block, rows of tiles, length of a line, tiles, and where three parts of memory end."""
    tile_rows, tile_columns = -(-rows // 4), -(-columns // 4)
    total = batch * tile_rows
    block = min(max(tiles // tile_columns, 1), total)
    tiles = -(-block * tile_columns // _COLUMNS) * _COLUMNS
    line_size = -(-tile_columns // 16) * 64 + 32
    line_end = (4 * min(tile_rows, block) + 2) * line_size + 16
    p_end = line_end + max(36 * (tiles + 32), 4 * (4 * tiles + 16)) + 64
    v_end = p_end + 36 * (channels * tiles + 16) + 64
    return block, total, line_size, tiles, line_end, p_end, v_end


def convolve(
    x: Any, w: Any, bias: Any, out: Any, padding: tuple[int, int], flip: bool = False
) -> None:
    """Write the convolution 3×3 of `x` with `w`, plus a bias, to `out`.

    Args:
        x: images, ``(batch, channels, height, width)``.
        w: weights, ``(outputs, channels, 3, 3)``; with `flip`, ``(channels, outputs, 3, 3)``, and
            each kernel is rotated by 180 degrees: then this is the gradient for the input of `w`.
        bias: ``(outputs,)``.
        out: ``(batch, outputs, rows, columns)``.
        padding: the zeros above and on the left; the shape of `out` says those below and right.
    """
    batch, channels, height, width = x.shape
    _, count, rows, columns = out.shape
    groups = -(-count // 16)
    panels = groups * 16 // ROWS
    u = np.empty(36 * panels * ROWS * channels, np.float32)
    run(_transform_weights, (w, u, count, channels, flip, panels), groups)
    block, total, *places = _layout(rows, columns, batch, _TILES, channels)
    m_size = 36 * (panels * ROWS * places[1] + 16) + 64
    arguments = (
        x, u, bias, out, channels, height, width, *padding, count, rows, columns, panels,
        block, total, *places,
    )  # fmt: skip
    work = 3 * out.size * channels // PER_NANOSECOND  # with the transforms
    run(_convolve, arguments, -(-total // block), places[-1] + m_size, work)


def convolve_weight_gradient(x: Any, g: Any, dw: Any, padding: tuple[int, int]) -> None:
    """Write the gradient for the weights, (outputs, channels, 3, 3), to `dw`.

    Args:
        x: images, ``(batch, channels, height, width)``.
        g: the gradient of the outputs, ``(batch, outputs, rows, columns)``.
        dw: the array that is written.
        padding: the zeros above and on the left of the images.
    """
    batch, channels, height, width = x.shape
    _, count, rows, columns = g.shape
    output_blocks, channel_blocks = -(-count // 4), -(-channels // 4)
    size = 36 * output_blocks * channel_blocks * 16
    block, total, *places = _layout(rows, columns, batch, _GRADIENT_TILES, 4 * channel_blocks)
    parts = min(max(total // block, 1), _MAX_PARTS)
    du = np.empty(parts * size, np.float32)
    z_size = 36 * (4 * output_blocks * places[1] + 16) + 64
    arguments = (
        x, g, du, channels, height, width, *padding, count, rows, columns,
        block, total, parts, *places,
    )  # fmt: skip
    work = 3 * g.size * channels // PER_NANOSECOND
    run(_weight_gradient, arguments, parts, places[-1] + z_size, work)
    run(_sum, (du, dw, parts, size, count, channels, channel_blocks), output_blocks)
