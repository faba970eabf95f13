"""Rows of tiles of images and of gradients, transformed for Winograd's convolution, and back."""

from __future__ import annotations

import numpy as np

from nn_kernels._compile import subroutine
from nn_kernels._epilogue import lower_bound, write_maxima
from nn_kernels._planes import distance
from nn_kernels._vectors import WIDE
from nn_kernels._winograd_transforms import (
    gradient_columns,
    gradient_rows,
    input_columns,
    input_rows,
    outputs,
)

__all__ = [
    "COLUMNS",
    "fill_last_with_zeros",
    "layout",
    "transform_gradient",
    "transform_input",
    "write_outputs",
]

COLUMNS = 32 if WIDE else 48  # of a block of products, at most
_TILES = 32 if WIDE else 16  # of whose multiples is the distance between two channels


@subroutine()
def transform_input(  # type: ignore[no-untyped-def]
    x, row0, row1, tile_rows, tile_columns, first, last, channels, height, width, top, left,
    lines, line, v, v_step, tiles,
):  # fmt: skip
    """Transform the rows of tiles row0 to row1 of the batch into `v`, (36, last - first, tiles).

    Each row of tiles becomes six rows by the vertical transform. They are laid out one after the
    other in six lines, so that however narrow the images are, the horizontal transform has 16 tiles
    at a time. The last of these may have no meaning.
    """
    length = 4 * tile_columns
    for c in range(first, last):
        for row in range(row0, row1):
            n, h = row // tile_rows, 4 * (row % tile_rows) - top
            source = ((n * channels + c) * height + h) * width - left
            for shift in (0, 4):
                place = 6 * line * (shift // 4) + (row - row0) * length
                for q in range(0, length - shift // 2, 16):
                    column = q + shift
                    input_rows(
                        x, source + column, width, -h, height - h,
                        left - column, left + width - column, lines, place + q, line,
                    )  # fmt: skip
        for t in range(0, (row1 - row0) * tile_columns, 16):
            input_columns(lines, 4 * t, 6 * line + 4 * t, line, v, (c - first) * tiles + t, v_step)


@subroutine()
def transform_gradient(  # type: ignore[no-untyped-def]
    g, row0, row1, tile_rows, tile_columns, first, last, count, rows, columns,
    lines, line, z, z_step, tiles,
):  # fmt: skip
    """Transform the same rows of the gradients of some outputs into `z`, (36, outputs, tiles)."""
    length = 4 * tile_columns
    for o in range(first, last):
        for row in range(row0, row1):
            n, h = row // tile_rows, 4 * (row % tile_rows)
            source, place = ((n * count + o) * rows + h) * columns, (row - row0) * length
            for q in range(0, length, 16):
                gradient_rows(
                    g, source + q, columns, 0, rows - h, 0, columns - q, lines, place + q, line
                )
        for t in range(0, (row1 - row0) * tile_columns, 16):
            gradient_columns(lines, 4 * t, line, z, (o - first) * tiles + t, z_step)


@subroutine()
def fill_last_with_zeros(v, v_step, channels, tiles, used):  # type: ignore[no-untyped-def]
    """Write zeros to the tiles from `used` on of the vector that it is part of."""
    end = (used + 15) // 16 * 16
    for f in range(36):
        for c in range(channels):
            for t in range(used, end):
                v[f * v_step + c * tiles + t] = 0


@subroutine()
def write_outputs(  # type: ignore[no-untyped-def]
    m, m_step, tiles, lines, line, bias, out, first, last, count,
    row0, row1, tile_rows, tile_columns, rows, columns, index, pooled, bound,
):  # fmt: skip
    """Write some of `count` outputs, from the products `m` for the tiles row0 to row1.

    If they are `pooled`, `out` is the maxima.
    """
    first_bound = lower_bound(False) if pooled else bound
    used = (row1 - row0) * tile_columns
    for o in range(first, last):
        for t in range(0, used, 16):
            outputs(m, (o - first) * tiles + t, m_step, lines, 4 * t, line, bias[o], first_bound)
        for row in range(row0, row1):
            n, th = row // tile_rows, row % tile_rows
            if pooled:
                start = (n * count + o) * (rows // 2)
                stop = min(2 * (min(row1, (n + 1) * tile_rows) - n * tile_rows), rows // 2)
                write_maxima(
                    lines, (row - row0) * 4 * tile_columns, line, min(4, rows - 4 * th) // 2,
                    columns // 2, np.float32(-0.0), bound, out, index,
                    (start + 2 * th) * (columns // 2), (start + stop) * (columns // 2),
                )  # fmt: skip
                continue
            for r in range(min(4, rows - 4 * th)):
                s = np.uintp(r * line + (row - row0) * 4 * tile_columns)
                d = np.uintp(((n * count + o) * rows + 4 * th + r) * columns)
                for q in range(np.uintp(columns)):
                    out[d + q] = lines[s + q]


def layout(
    rows: int, columns: int, batch: int, tiles: int, channels: int
) -> tuple[int, int, int, int, int, int]:
    """Return rows of tiles in a block and in all, tiles, the length of a line, and two ends."""
    tile_rows, tile_columns = -(-rows // 4), -(-columns // 4)
    total = batch * tile_rows
    block = min(max(tiles // tile_columns, 1), total)
    tiles = -(-block * tile_columns // _TILES) * _TILES
    line = distance(4 * tiles + 16)
    lines_end = 12 * line + 64
    return block, total, tiles, line, lines_end, lines_end + 36 * (channels * tiles + 16) + 64
