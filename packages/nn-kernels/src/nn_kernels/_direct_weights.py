"""The gradient of the direct convolution for its weights: products of gradients and windows.

The weight of a tap has the gradient d[o, k] = sum over p of g[o, p] * x[offsets[k] + p], with the
offsets of the convolution and the gradients laid out in lines as long as those of the images. A
part of the work is some samples, whose sums are added up at the end, or some outputs.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nn_kernels._atomics import floats, integers
from nn_kernels._compile import Job, subroutine
from nn_kernels._planes import (
    PARTS,
    WRITE_PLANES,
    extent,
    input_taps,
    is_shared,
    lay_out,
    planes_of,
    write_planes,
)
from nn_kernels._products import (
    DOT_ROWS,
    PER_NANOSECOND,
    TAPS,
    TAPS_1,
    dot_products,
    dot_products_1,
)
from nn_kernels._threads import aligned, run

__all__ = ["convolve_weight_gradient"]

Pair = tuple[int, int]
_MAX_PARTS = 4  # which are added up
_CACHED = 1 << 16  # elements of images that stay in the cache


@subroutine()
def _dots(  # type: ignore[no-untyped-def]
    g,
    g0,
    g_row,
    g_sample,
    x,
    x0,
    x_sample,
    offsets,
    first,
    last,
    taps,
    places,
    samples,
    d,
    d0,
    rows,
):
    """Add the gradients of `rows` outputs, which are one block, for the taps `first` to `last`."""
    if rows == 1:
        for t in range(first, last, TAPS_1):
            dot_products_1(
                g, g0, g_row, g_sample, x, x0, x_sample, offsets, t, places, samples,
                d, d0 + t, taps,
            )  # fmt: skip
    else:
        for t in range(first, last, TAPS):
            dot_products(
                g, g0, g_row, g_sample, x, x0, x_sample, offsets, t, places, samples,
                d, d0 + t, taps,
            )  # fmt: skip


def _weight_gradient_job(a, part, thread):  # type: ignore[no-untyped-def]
    x, g, d, offsets = floats(a[2]), floats(a[3]), floats(a[4]), integers(a[5])
    taps, rows, blocks, count, groups = a[6], a[7], a[8], a[9], a[10]
    batch, per_part, line, group_size, size = a[11], a[12], a[13], a[14], a[15]
    row_count, column_count, g_row, shared = a[16], a[17], a[18], a[19]
    places = (row_count * line + 15) // 16 * 16
    total = groups * blocks  # blocks of outputs
    if shared:  # the part is some blocks of outputs
        first_block, last_block, chunk = part * per_part, min((part + 1) * per_part, total), a[31]
        for i in range(first_block * rows * taps, last_block * rows * taps):
            d[i] = 0
        # some channels of all samples stay in the cache for all blocks of the part
        for t in range(0, taps, chunk):
            for b in range(first_block, last_block):
                group, first = b // blocks, b % blocks * rows
                _dots(
                    g, (group * count + first) * g_row, g_row, a[29], x, group * group_size, size,
                    offsets, t, min(t + chunk, taps), taps, places, batch, d, b * rows * taps, rows,
                )  # fmt: skip
        return
    work = a[0] + 4 * thread * a[1]
    planes, lines = floats(work), floats(work + 4 * size)
    for i in range(size):
        planes[i] = 0
    for i in range(a[29]):
        lines[i] = 0
    own = part * total * rows * taps
    for i in range(total * rows * taps):
        d[own + i] = 0
    for n in range(part * per_part, min((part + 1) * per_part, batch)):
        write_planes(
            x, n, a[20], a[21], a[22], a[23], a[24], a[25], a[26], a[27], a[28],
            line, a[30], planes, 0,
        )  # fmt: skip
        write_planes(
            g, n, groups * count, row_count, column_count, 0, 0, 1, 1, 1, 1, line, g_row, lines, 0
        )  # fmt: skip
        for b in range(total):
            group, first = b // blocks, b % blocks * rows
            _dots(
                lines, (group * count + first) * g_row, g_row, 0, planes, group * group_size, 0,
                offsets, 0, taps, taps, places, 1, d, own + b * rows * taps, rows,
            )  # fmt: skip


_weight_gradient = Job(_weight_gradient_job)


def convolve_weight_gradient(
    x: Any,
    g: Any,
    dw: Any,
    stride: Pair,
    padding: tuple[int, int, int, int],
    dilation: Pair,
    groups: int,
) -> None:
    """Write the gradient for the weights to `dw`, from the images and the gradient `g`."""
    outputs, channels, kh, kw = dw.shape
    batch, _, row_count, column_count = g.shape
    planes = planes_of(x.shape[1:], padding, stride, extent((kh, kw), dilation))
    offsets, _ = input_taps(planes, channels, (kh, kw), dilation)
    count = outputs // groups
    rows, width = (DOT_ROWS, TAPS) if count >= DOT_ROWS else (1, TAPS_1)
    taps = -(-offsets.size // width) * width
    offsets = np.append(offsets, np.zeros(taps - offsets.size, np.int64))
    blocks = -(-count // rows)
    lines = planes_of((outputs, row_count, planes.line), (0, 0, 0, 0))
    g_size = lines.size + rows * lines.plane  # a block may read over the last output
    shared = is_shared(batch, 4 * outputs * taps)
    if shared:
        xs = lay_out(x, planes)
        gs = aligned(batch * g_size)
        layout = row_count, column_count, 0, 0, 1, 1, 1, 1, planes.line, lines.plane, g_size
        run(WRITE_PLANES, (g, gs, outputs, *layout), batch)
        x, g, units, parts, memory = xs, gs, groups * blocks, min(PARTS, groups * blocks), 0
    else:
        units, parts = batch, min(batch, _MAX_PARTS)
        memory = planes.size + g_size
    per_part = -(-units // parts)
    chunk = max(1, taps * _CACHED // (batch * planes.size) // width) * width
    d = np.empty((1 if shared else parts, groups, blocks * rows, taps), np.float32)
    parts = -(-units // per_part)
    arguments = (
        x, g, d, offsets, taps, rows, blocks, count, groups, batch, per_part, planes.line,
        planes.group_size(groups), planes.size, row_count, column_count, lines.plane, shared,
        *planes[:9], g_size, planes.plane, chunk,
    )  # fmt: skip
    work = dw.size * batch * row_count * column_count // PER_NANOSECOND
    run(_weight_gradient, arguments, parts, memory + 256, work)
    total = d[0] if shared or parts == 1 else np.add.reduce(d[:parts], 0)
    size = channels * kh * kw
    dw.reshape(groups, count, size)[...] = total[:, :count, :size]
