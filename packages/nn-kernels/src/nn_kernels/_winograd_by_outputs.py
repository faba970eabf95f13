"""Winograd's convolution where there are few tiles for many weights, some outputs at a time.

The transformed weights are four times as many as the weights: those of 512 channels and outputs,
38 MB, would be written to memory and read again. With few tiles the transformed inputs of the whole
batch are small instead. They are computed first; then a part of the work is some outputs, whose
weights are transformed, some channels at a time, and used for all tiles while they are in the
cache. The weight gradient takes the same way back: 36 products, and their transform.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from nn_kernels._atomics import floats, integers, unsigned_bytes
from nn_kernels._compile import Job
from nn_kernels._epilogue import NO_EPILOGUE, Epilogue, lower_bound
from nn_kernels._products import (
    PER_NANOSECOND,
    ROWS,
    VECTORS,
    interleave_16,
    interleave_rows,
    multiply,
)
from nn_kernels._rows import at
from nn_kernels._threads import aligned, run
from nn_kernels._winograd_tiles import (
    fill_last_with_zeros,
    layout,
    transform_gradient,
    transform_input,
    write_outputs,
)
from nn_kernels._winograd_transforms import transform_weights, weight_gradient

__all__ = ["convolve", "convolve_weight_gradient"]

_GROUP = 16  # channels or outputs, which are transformed together
_OUTPUTS = 32  # of a part
_CHANNELS = 96  # whose weights for the outputs of a part stay in the cache


def _transform_input_job(a, part, thread):  # type: ignore[no-untyped-def]
    """Transform a group of channels of all images to `v`: (36, channels, tiles), or transposed."""
    x, v, channels, height, width, top, left = (
        floats(a[2]),
        floats(a[3]),
        a[4],
        a[5],
        a[6],
        a[7],
        a[8],
    )
    total, tile_rows, tile_columns, tiles, line, lines_end = a[9], a[10], a[11], a[12], a[13], a[14]
    v_step, row, transposed = a[15], a[16], a[17]
    work = a[0] + 4 * thread * a[1]
    lines, own = floats(work), floats(work + 4 * lines_end)
    first, last = part * _GROUP, min((part + 1) * _GROUP, channels)
    target, step = own, _GROUP * tiles
    if not transposed:
        target, step = at(v, first * tiles), v_step
    transform_input(
        x, 0, total, tile_rows, tile_columns, first, last, channels, height, width, top, left,
        lines, line, target, step, tiles,
    )  # fmt: skip
    if transposed:
        fill_last_with_zeros(own, step, last - first, tiles, total * tile_columns)
        for f in range(36):
            for i in range(f * step + (last - first) * tiles, (f + 1) * step):
                own[i] = 0
            for t in range(0, tiles, 16):
                interleave_16(own, f * step + t, tiles, v, f * v_step + t * row + first, row)


def _convolve_job(a, part, thread):  # type: ignore[no-untyped-def]
    v, w, bias, out, offsets = (
        floats(a[2]),
        floats(a[3]),
        floats(a[4]),
        floats(a[5]),
        integers(a[6]),
    )
    channels, flip, count, rows, columns = a[7], a[8] != 0, a[9], a[10], a[11]
    total, tile_rows, tile_columns, tiles, line, lines_end = (
        a[12],
        a[13],
        a[14],
        a[15],
        a[16],
        a[17],
    )
    v_step, groups, m_end = a[18], a[19], a[20]
    index, pooled, bound = unsigned_bytes(a[21]), a[21] != 0, lower_bound(a[22] != 0)
    work = a[0] + 4 * thread * a[1]
    lines, m, u = floats(work), floats(work + 4 * lines_end), floats(work + 4 * m_end)
    panels = groups * (_GROUP // ROWS)
    m_step = groups * _GROUP * tiles + 16
    for first in range(0, channels, _CHANNELS):
        taken = min(_CHANNELS, channels - first)
        u_step = panels * taken * ROWS + 16
        for group in range(groups):
            transform_weights(
                w, count, channels, flip, part * groups + group, first, first + taken,
                u, u_step, group * (_GROUP // ROWS),
            )  # fmt: skip
        for f in range(36):
            for t in range(0, tiles, 16 * VECTORS):
                vectors = min(VECTORS, (tiles - t) // 16)
                for panel in range(panels):
                    multiply(
                        vectors, u, f * u_step + panel * taken * ROWS, v, f * v_step + t,
                        offsets, first, taken, m, f * m_step + panel * ROWS * tiles + t, tiles,
                    )  # fmt: skip
    first = part * groups * _GROUP
    write_outputs(
        m, m_step, tiles, lines, line, bias, out, first, min(first + groups * _GROUP, count), count,
        0, total, tile_rows, tile_columns, rows, columns, index, pooled, bound,
    )  # fmt: skip


def _weight_gradient_job(a, part, thread):  # type: ignore[no-untyped-def]
    v, g, dw, offsets = floats(a[2]), floats(a[3]), floats(a[4]), integers(a[5])
    channels, count, rows, columns = a[6], a[7], a[8], a[9]
    total, tile_rows, tile_columns, tiles, line, lines_end = (
        a[10],
        a[11],
        a[12],
        a[13],
        a[14],
        a[15],
    )
    v_step, row, groups, z_end, du_end = a[16], a[17], a[18], a[19], a[20]
    work = a[0] + 4 * thread * a[1]
    lines, z = floats(work), floats(work + 4 * lines_end)
    packed, du = floats(work + 4 * z_end), floats(work + 4 * du_end)
    panels = groups * (_GROUP // ROWS)
    first, last = part * groups * _GROUP, min((part + 1) * groups * _GROUP, count)
    z_step, du_step = groups * _GROUP * tiles, groups * _GROUP * _CHANNELS + 16
    transform_gradient(
        g, 0, total, tile_rows, tile_columns, first, last, count, rows, columns,
        lines, line, z, z_step, tiles,
    )  # fmt: skip
    fill_last_with_zeros(z, z_step, last - first, tiles, total * tile_columns)
    for f in range(36):
        for i in range(f * z_step + (last - first) * tiles, (f + 1) * z_step):
            z[i] = 0
        for panel in range(panels):
            place = f * z_step + panel * ROWS * tiles
            for t in range(0, tiles, 16):
                interleave_rows(z, place + t, tiles, packed, place + t * ROWS, 16)
    for channel in range(0, row, _CHANNELS):
        taken = min(_CHANNELS, row - channel)
        for f in range(36):
            for c in range(0, taken, 16 * VECTORS):
                vectors = min(VECTORS, (taken - c) // 16)
                for panel in range(panels):
                    multiply(
                        vectors, packed, f * z_step + panel * ROWS * tiles,
                        v, f * v_step + channel + c, offsets, 0, tiles,
                        du, f * du_step + panel * ROWS * _CHANNELS + c, _CHANNELS,
                    )  # fmt: skip
        for o in range(first, last):
            weight_gradient(
                du, (o - first) * _CHANNELS, du_step, 1, 0, dw, count, channels,
                o, channel, taken // 16, 16,
            )  # fmt: skip


_transform_input = Job(_transform_input_job)
_convolve = Job(_convolve_job)
_weight_gradient = Job(_weight_gradient_job)


@functools.lru_cache(256)
def _offsets(count: int, step: int) -> Any:
    return np.arange(count) * step


def _groups(count: int) -> int:
    """Return the number of groups of outputs in a part."""
    return _OUTPUTS // _GROUP if count > 4 * _OUTPUTS else 1


def _inputs(
    x: Any, size: tuple[int, int], padding: tuple[int, int], transposed: bool
) -> tuple[Any, int, int, tuple[int, ...]]:
    """Return transformed images, their distances, and what a job has to know about tiles."""
    batch, channels, height, width = x.shape
    row = -(-channels // 16) * 16
    _, total, _, _, _, _ = layout(*size, batch, 1, row)
    tile_rows, tile_columns = -(-size[0] // 4), -(-size[1] // 4)
    tiles = -(-total * tile_columns // 16) * 16
    line = 4 * tiles + 32
    lines_end = 12 * line
    v_step = row * tiles + 16
    v = aligned(36 * v_step)
    places = total, tile_rows, tile_columns, tiles, line, lines_end
    arguments = x, v, channels, height, width, *padding, *places, v_step, row, transposed
    memory = lines_end + 36 * _GROUP * tiles + 64
    run(_transform_input, arguments, -(-channels // _GROUP), memory)
    return v, v_step, row, places


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
    """Write the convolution 3×3 of `x` with `w`, plus a bias, to `out`, as in `_winograd`."""
    batch, channels = x.shape[:2]
    count, (rows, columns) = out.shape[1], size
    v, v_step, _, places = _inputs(x, size, padding, False)
    tiles, lines_end = places[3], places[5]
    groups = _groups(count)
    m_end = lines_end + 36 * (groups * _GROUP * tiles + 16)
    memory = m_end + 36 * (groups * _GROUP * min(channels, _CHANNELS) + 16)
    arguments = (
        v, w, bias, out, _offsets(channels, tiles), channels, flip, count, rows, columns,
        *places, v_step, groups, m_end, *epilogue.numbers,
    )  # fmt: skip
    work = 3 * batch * count * rows * columns * channels // PER_NANOSECOND
    run(_convolve, arguments, -(-count // (groups * _GROUP)), memory, work)


def convolve_weight_gradient(x: Any, g: Any, dw: Any, padding: tuple[int, int]) -> None:
    """Write the gradient for the weights to `dw`, as in `_winograd`."""
    _, count, rows, columns = g.shape
    v, v_step, row, places = _inputs(x, (rows, columns), padding, True)
    tiles, lines_end = places[3], places[5]
    groups = _groups(count)
    z_end = lines_end + 36 * groups * _GROUP * tiles
    du_end = z_end + 36 * groups * _GROUP * tiles
    memory = du_end + 36 * (groups * _GROUP * _CHANNELS + 16)
    arguments = (
        v, g, dw, _offsets(tiles, row), x.shape[1], count, rows, columns,
        *places, v_step, row, groups, z_end, du_end,
    )  # fmt: skip
    work = 3 * g.size * x.shape[1] // PER_NANOSECOND
    run(_weight_gradient, arguments, -(-count // (groups * _GROUP)), memory, work)
