"""The memory layout of images for the direct convolution, and tables of the offsets of a window.

The planes of an image are written with their padding, row after row. The output at flat index p of
an output plane is then a sum over the window of w[k] * x[offsets[k] + p], the same offsets for all
p: rows need no loop of their own, and a vector may go across the end of a row. What it computes
there is not used. With stride 1, the zeros on the right of a row are those on the left of the next.

With a stride s, the plane is split into its s × s phases, each with every s-th row and column; in
a phase the windows lie next to each other again.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir

from nn_kernels._atomics import floats
from nn_kernels._compile import Job, intrinsic, subroutine, types
from nn_kernels._threads import aligned, run
from nn_kernels._vectors import VectorBuilder, index, pointer

__all__ = [
    "PARTS",
    "WRITE_PLANES",
    "Planes",
    "distance",
    "extent",
    "input_taps",
    "is_shared",
    "lay_out",
    "lay_out_sample",
    "output_taps",
    "planes_of",
    "write_planes",
]

Pair = tuple[int, int]

PARTS = 16  # into which the work is divided, whatever the number of threads
_LARGE = 1 << 18  # weights: 1 MB
_FEW = 4  # samples


def distance(size: int) -> int:
    """Return a distance for rows or planes of a size: no multiple of 4096 bytes is near."""
    size += -size % 16 + 16
    return size + 48 if size % 1024 < 32 else size


def extent(kernel: Sequence[int], dilation: Pair) -> Pair:
    """Return the size of a window, with what lies between its elements."""
    return (kernel[0] - 1) * dilation[0] + 1, (kernel[1] - 1) * dilation[1] + 1


class Planes(NamedTuple):
    """The layout of the padded planes of one sample: `size` elements in all."""

    channels: int
    height: int
    width: int
    top: int
    left: int
    rows_apart: int  # the stride that the phases take out
    columns_apart: int
    row_phases: int  # which the windows reach
    column_phases: int
    line: int
    plane: int
    size: int

    def group_size(self, groups: int) -> int:
        """Return the number of elements of the planes of a group of channels."""
        return self.channels // groups * self.rows_apart * self.columns_apart * self.plane


def planes_of(
    shape: Sequence[int], padding: Sequence[int], stride: Pair = (1, 1), window: Pair = (1, 1)
) -> Planes:
    """Return the layout for images (channels, height, width) with a padding on four sides.

    Args:
        shape: that of an image.
        padding: rows and columns of zeros: top, bottom, left, right.
        stride: the distance between windows.
        window: the size of the windows, as from `extent`.
    """
    channels, height, width = shape
    top, bottom, left, right = padding
    rows, columns = stride
    line = width + max(left, right) if columns == 1 else -(-(width + left + right) // columns)
    # the zeros on the right of the last row, or what windows have beyond it
    more = 1 if any(padding) or max(window) > 1 else 0
    plane = distance((-(-(height + top + bottom) // rows) + more) * line)
    size = channels * rows * columns * plane + 2 * line + 256
    size += -size % 16  # so that the samples begin with a line of the cache
    phases = min(rows, window[0]), min(columns, window[1])
    return Planes(channels, height, width, top, left, rows, columns, *phases, line, plane, size)


@intrinsic
def _copy(typing, x, source, count, out, target):  # type: ignore[no-untyped-def]
    """Write up to 16 elements, `count`, and zeros in place of the others."""
    n = types.intp
    signature = types.void(x, n, n, out, n)

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        kinds = signature.args
        v = VectorBuilder(builder)
        base = pointer(context, builder, kinds[0], arguments[0], arguments[1])
        lanes = v.lanes(index(0), arguments[2])
        values = v.load_lanes(base, index(0), lanes, ir.Constant(ir.IntType(1), 1))
        v.store(values, pointer(context, builder, kinds[3], arguments[3], arguments[4]), index(0))
        return context.get_dummy_value()

    return signature, generate


@subroutine()
def write_planes(  # type: ignore[no-untyped-def]
    x, sample, channels, height, width, top, left, rows, columns, row_phases, column_phases,
    line, plane, planes, base,
):  # fmt: skip
    """Write a sample to its planes, whose padding is zero already."""
    for r in range(row_phases):
        for f in range(column_phases):
            row, column = (r - top) % rows, (f - left) % columns  # the first of the phase
            start = base + (r * columns + f) * plane
            start += (row + top) // rows * line + (column + left) // columns
            count = np.uintp((width - column + columns - 1) // columns)
            for c in range(channels):
                target = np.uintp(start + c * rows * columns * plane)
                source = np.uintp(((sample * channels + c) * height + row) * width + column)
                for _ in range(row, height, rows):
                    if columns == 1:
                        # the zeros after a row are padding, or the next row overwrites them
                        for q in range(0, width, 16):
                            place = np.intp(target) + q
                            _copy(x, np.intp(source) + q, width - q, planes, place)
                    elif columns == 2:  # a number that the compiler knows
                        for q in range(count):
                            planes[target + q] = x[source + np.uintp(2) * q]
                    else:
                        for q in range(count):
                            planes[target + q] = x[source + np.uintp(columns) * q]
                    target += np.uintp(line)
                    source += np.uintp(rows * width)


@subroutine()
def lay_out_sample(  # type: ignore[no-untyped-def]
    x, sample, channels, height, width, top, left, rows, columns, row_phases, column_phases,
    line, plane, size, planes,
):  # fmt: skip
    """Write a sample with its padding to the planes of all samples."""
    first = np.uintp(sample * size)
    for i in range(np.uintp(size)):
        planes[first + i] = 0
    write_planes(
        x, sample, channels, height, width, top, left, rows, columns, row_phases, column_phases,
        line, plane, planes, sample * size,
    )  # fmt: skip


def _write_planes_job(a, part, thread):  # type: ignore[no-untyped-def]
    """Lay out one sample in memory that all parts read."""
    lay_out_sample(
        floats(a[2]), part, a[4], a[5], a[6], a[7], a[8], a[9], a[10], a[11], a[12], a[13], a[14],
        a[15], floats(a[3]),
    )  # fmt: skip


WRITE_PLANES = Job(_write_planes_job)


def is_shared(batch: int, weights: int) -> bool:
    """Return whether all samples are laid out first: the weights do not fit, or samples are few."""
    return batch < _FEW or weights > _LARGE


def lay_out(x: Any, planes: Planes) -> Any:
    """Return the planes of all samples."""
    memory = aligned(x.shape[0] * planes.size)
    run(WRITE_PLANES, (x, memory, *planes), x.shape[0])
    return memory


@lru_cache(256)
def input_taps(planes: Planes, channels: int, kernel: Pair, dilation: Pair) -> tuple[Any, Any]:
    """Return the offset of the input of each weight of an output, and the place of the weight."""
    c, i, j = np.ogrid[:channels, : kernel[0], : kernel[1]]
    row, column = i * dilation[0], j * dilation[1]
    rows, columns = planes.rows_apart, planes.columns_apart
    phase = (c * rows + row % rows) * columns + column % columns
    offsets = phase * planes.plane + row // rows * planes.line + column // columns
    return np.ascontiguousarray(offsets.reshape(-1)), np.arange(offsets.size)


@lru_cache(256)
def output_taps(
    planes: Planes, outputs: int, step: int, kernel: Pair, stride: Pair, dilation: Pair, phase: Pair
) -> tuple[Any, Any]:
    """Return the same for the gradient of one phase of the input: the windows that it is part of.

    Args:
        planes: the layout of the gradient of the outputs.
        outputs: the outputs of a group.
        step: the distance between the weights of two outputs.
        kernel: the size of the windows.
        stride: the distance between windows.
        dilation: the distance between elements of a window.
        phase: row and column of the padded input, modulo the stride.
    """
    (kh, kw), (sh, sw), (dh, dw) = kernel, stride, dilation
    offsets, sources = [], []
    for o in range(outputs):
        for i in range(kh):
            for j in range(kw):
                if (i * dh) % sh == phase[0] and (j * dw) % sw == phase[1]:
                    row = (kh - 1) * dh // sh - i * dh // sh
                    column = (kw - 1) * dw // sw - j * dw // sw
                    offsets.append(o * planes.plane + row * planes.line + column)
                    sources.append(o * step + i * kw + j)
    return np.array(offsets, np.int64), np.array(sources, np.int64)
