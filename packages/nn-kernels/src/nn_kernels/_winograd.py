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

from nn_kernels._atomics import floats, unsigned_bytes
from nn_kernels._compile import Job
from nn_kernels._epilogue import NO_EPILOGUE, Epilogue, lower_bound
from nn_kernels._products import PER_NANOSECOND, ROWS, dot_block, multiply
from nn_kernels._threads import aligned, get_num_threads, run
from nn_kernels._winograd_tiles import (
    COLUMNS,
    fill_last_with_zeros,
    layout,
    transform_gradient,
    transform_input,
    write_outputs,
)
from nn_kernels._winograd_transforms import transform_weights, weight_gradient

__all__ = ["convolve", "convolve_weight_gradient"]

_TILES = 64  # of a block, about
_GRADIENT_TILES = 128  # twice as many where all products, to which each block adds, are large
_MANY = 128  # channels or outputs
_MAX_PARTS = 4  # of a weight gradient, which are added up


def _transform_weights_job(a, part, thread):  # type: ignore[no-untyped-def]
    w, u, count, channels, flip, panels = floats(a[2]), floats(a[3]), a[4], a[5], a[6] != 0, a[7]
    panel = part * (16 // ROWS)
    transform_weights(
        w, count, channels, flip, part, 0, channels, u, panels * channels * ROWS + 16, panel
    )


def _convolve_job(a, part, thread):  # type: ignore[no-untyped-def]
    x, u, bias, out = floats(a[2]), floats(a[3]), floats(a[4]), floats(a[5])
    channels, height, width, top, left = a[6], a[7], a[8], a[9], a[10]
    count, rows, columns, panels, block, total = a[11], a[12], a[13], a[14], a[15], a[16]
    tiles, line, lines_end, v_end = a[17], a[18], a[19], a[20]
    work = a[0] + 4 * thread * a[1]
    lines, v, m = floats(work), floats(work + 4 * lines_end), floats(work + 4 * v_end)
    tile_rows, tile_columns = (rows + 3) // 4, (columns + 3) // 4
    v_step, m_step = channels * tiles + 16, panels * ROWS * tiles + 16
    u_step = panels * channels * ROWS + 16
    row0 = part * block
    row1 = min(row0 + block, total)
    used = (row1 - row0) * tile_columns
    transform_input(
        x, row0, row1, tile_rows, tile_columns, 0, channels, channels, height, width, top, left,
        lines, line, v, v_step, tiles,
    )  # fmt: skip
    for f in range(36):
        for t in range(0, used, COLUMNS):
            for panel in range(panels):
                weights = f * u_step + panel * channels * ROWS
                place = f * m_step + panel * ROWS * tiles + t
                vectors = min(COLUMNS // 16, (used - t + 15) // 16)
                multiply(
                    vectors, u, weights, v, f * v_step + t, tiles, 0, channels, m, place, tiles
                )
    index, pooled, bound = unsigned_bytes(a[21]), a[21] != 0, lower_bound(a[22] != 0)
    write_outputs(
        m, m_step, tiles, lines, line, bias, out, 0, count, count,
        row0, row1, tile_rows, tile_columns, rows, columns, index, pooled, bound,
    )  # fmt: skip


def _weight_gradient_job(a, part, thread):  # type: ignore[no-untyped-def]
    x, g, du = floats(a[2]), floats(a[3]), floats(a[4])
    channels, height, width, top, left = a[5], a[6], a[7], a[8], a[9]
    count, rows, columns, block, total, parts = a[10], a[11], a[12], a[13], a[14], a[15]
    tiles, line, lines_end, v_end, shares = a[16], a[17], a[18], a[19], a[20]
    work = a[0] + 4 * thread * a[1]
    lines, v, z = floats(work), floats(work + 4 * lines_end), floats(work + 4 * v_end)
    tile_rows, tile_columns = (rows + 3) // 4, (columns + 3) // 4
    output_blocks, channel_blocks = (count + 3) // 4, (channels + 3) // 4
    part, share = part // shares, part % shares
    first_block, last_block = share * output_blocks // shares, (share + 1) * output_blocks // shares
    first, last = 4 * first_block, min(4 * last_block, count)
    v_step, z_step = 4 * channel_blocks * tiles + 16, 4 * (last_block - first_block) * tiles + 16
    row_size = channel_blocks * 16  # of a block of outputs, for each of the 36 products
    size = output_blocks * row_size
    for f in range(36):
        start = (part * 36 + f) * size
        for i in range(start + first_block * row_size, start + last_block * row_size):
            du[i] = 0
        # what the last block of channels or outputs lacks
        for i in range(channels * tiles, 4 * channel_blocks * tiles):
            v[f * v_step + i] = 0
        for i in range((last - first) * tiles, 4 * (last_block - first_block) * tiles):
            z[f * z_step + i] = 0
    per_part = (total + parts - 1) // parts
    row0, end = part * per_part, min((part + 1) * per_part, total)
    while row0 < end:
        row1 = min(row0 + block, end)
        used = (row1 - row0) * tile_columns
        transform_input(
            x, row0, row1, tile_rows, tile_columns, 0, channels, channels, height, width, top, left,
            lines, line, v, v_step, tiles,
        )  # fmt: skip
        transform_gradient(
            g, row0, row1, tile_rows, tile_columns, first, last, count, rows, columns,
            lines, line, z, z_step, tiles,
        )  # fmt: skip
        fill_last_with_zeros(v, v_step, channels, tiles, used)
        fill_last_with_zeros(z, z_step, last - first, tiles, used)
        for f in range(36):
            for ob in range(first_block, last_block):
                for cb in range(channel_blocks):
                    dot_block(
                        z, f * z_step + 4 * (ob - first_block) * tiles, tiles,
                        v, f * v_step + 4 * cb * tiles, tiles, used,
                        du, (part * 36 + f) * size + ob * row_size + cb * 16,
                    )  # fmt: skip
        row0 = row1


def _sum_job(a, part, thread):  # type: ignore[no-untyped-def]
    du, dw, parts, size, count, channels, blocks = (
        floats(a[2]),
        floats(a[3]),
        a[4],
        a[5],
        a[6],
        a[7],
        a[8],
    )
    start = part * blocks * 16
    weight_gradient(du, start, size // 36, parts, size, dw, count, channels, 4 * part, 0, blocks, 4)


_transform_weights = Job(_transform_weights_job)
_convolve = Job(_convolve_job)
_weight_gradient = Job(_weight_gradient_job)
_sum = Job(_sum_job)


def convolve(
    x: Any,
    w: Any,
    bias: Any,
    out: Any,
    size: tuple[int, int],
    padding: tuple[int, int],
    flip: bool = False,
    epilogue: Epilogue = NO_EPILOGUE,
) -> None:
    """Write the convolution 3×3 of `x` with `w`, plus a bias, to `out`.

    Args:
        x: images, ``(batch, channels, height, width)``.
        w: weights, ``(outputs, channels, 3, 3)``; with `flip`, ``(channels, outputs, 3, 3)``, and
            each kernel is rotated by 180 degrees: then this is the gradient for the input of `w`.
        bias: ``(outputs,)``.
        out: ``(batch, outputs, rows, columns)``; with pooling, the maxima.
        size: rows and columns of the convolution.
        padding: the zeros above and on the left; `size` says those below and on the right.
        flip: see `w`.
        epilogue: ReLU and pooling of the outputs, or neither.
    """
    batch, channels, height, width = x.shape
    count, (rows, columns) = out.shape[1], size
    groups = -(-count // 16)
    panels = groups * 16 // ROWS
    u = np.empty(36 * (panels * ROWS * channels + 16), np.float32)
    run(_transform_weights, (w, u, count, channels, flip, panels), groups)
    block, total, *places = layout(rows, columns, batch, _TILES, channels)
    m_size = 36 * (panels * ROWS * places[0] + 16) + 64
    arguments = (
        x, u, bias, out, channels, height, width, *padding, count, rows, columns, panels,
        block, total, *places, *epilogue.numbers,
    )  # fmt: skip
    work = 3 * batch * count * rows * columns * channels // PER_NANOSECOND  # with the transforms
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
    tiles = _GRADIENT_TILES if max(count, channels) < _MANY else 2 * _GRADIENT_TILES
    block, total, *places = layout(rows, columns, batch, tiles, 4 * channel_blocks)
    parts = min(max(total // block, 1), _MAX_PARTS)
    # Threads that have no part of their own share the outputs of one: its inputs are transformed
    # several times, and each sum is the same.
    shares = min(max(get_num_threads() // parts, 1), output_blocks)
    du = aligned(parts * size)
    z_size = 36 * (4 * output_blocks * places[0] + 16) + 64
    arguments = (
        x, g, du, channels, height, width, *padding, count, rows, columns,
        block, total, parts, *places, shares,
    )  # fmt: skip
    work = 3 * g.size * channels // PER_NANOSECOND
    run(_weight_gradient, arguments, parts * shares, places[-1] + z_size, work)
    run(_sum, (du, dw, parts, size, count, channels, channel_blocks), output_blocks)
