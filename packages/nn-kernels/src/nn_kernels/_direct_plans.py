"""How direct convolutions are divided into parts, which depends on their shapes alone.

What follows from the shapes takes longer to work out than a small convolution to compute: it is
kept.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from nn_kernels._planes import (
    PARTS,
    Planes,
    distance,
    extent,
    input_taps,
    is_shared,
    output_taps,
    planes_of,
)
from nn_kernels._products import PER_NANOSECOND, ROWS
from nn_kernels._threads import address

__all__ = ["Plan", "forward_plan", "gradient_plans"]

Pair = tuple[int, int]
_CACHED = 1 << 16  # elements of images or products that stay in the cache
_CHUNK = 64  # taps, the least for which products are added up in several chunks


class Plan(NamedTuple):
    """How products with the windows of images are divided into parts, and what the jobs get."""

    planes: Planes
    taps: tuple[Any, Any]  # kept here, as the numbers have the address of the offsets
    packed_size: int
    panels: int
    is_shared: bool
    parts: int
    memory: int
    work: int
    sources: int  # the address of the places of the taps in the weights of an output
    preparing: array[int]  # numbers of the jobs
    numbers: array[int]


def _plan(
    planes: Planes,
    taps: tuple[Any, Any],
    batch: int,
    image: Sequence[int],
    groups: int,
    steps: Pair,
    target: tuple[int, int, int, int, int, int],
) -> Plan:
    """Return the plan of sums over taps, for some rows and columns of images.

    Args:
        planes: the layout of the input.
        taps: the offset of each tap, and its place in the weights of an output.
        batch: the number of samples.
        image: ``(outputs, height, width)``.
        groups: the number of groups.
        steps: the distances in the weights between two groups, and between two outputs.
        target: row, distance and number of rows in the images, and the same for the columns.
    """
    total, height, width = image
    offsets, sources = taps
    count = total // groups
    rows = ROWS if count > ROWS // 4 else 1
    panels = -(-count // rows)
    packed_size = groups * panels * rows * sources.size
    packed_size += -packed_size % 16
    step = distance((target[2] - 1) * planes.line + max(planes.line, target[5]) + 16)
    shared = is_shared(batch, packed_size)
    if shared:
        units, memory = groups * panels, rows * step
    else:
        units, memory = batch, planes.size + panels * rows * step
    per_part, chunk = -(-units // PARTS), sources.size
    together = per_part * batch * rows * step
    if shared and sources.size > _CHUNK and together <= _CACHED:
        chunk, memory = max(_CHUNK, chunk * _CACHED // (batch * planes.size)), together
    numbers = (
        address(offsets), offsets.size, rows, panels, count, groups,
        batch, per_part, planes.line, planes.group_size(groups), planes.size, height, width,
        *target, step, shared, *planes[:9], planes.plane, chunk,
    )  # fmt: skip
    consecutive = bool((sources == np.arange(sources.size)).all())
    work = batch * target[2] * target[5] * count * groups * offsets.size // PER_NANOSECOND
    preparing = (
        groups * panels, sources.size, rows, panels, count, *steps, consecutive, *planes
    )  # fmt: skip
    return Plan(
        planes, taps, packed_size, groups * panels, shared, -(-units // per_part), memory + 256,
        work, address(sources), array("q", preparing), array("q", numbers),
    )  # fmt: skip


@lru_cache(256)
def forward_plan(
    x: tuple[int, ...],
    w: tuple[int, ...],
    size: Pair,
    stride: Pair,
    padding: tuple[int, int, int, int],
    dilation: Pair,
    groups: int,
) -> Plan:
    """Return the plan of a convolution of images and weights of these shapes."""
    outputs, channels, *kernel = w
    planes = planes_of(x[1:], padding, stride, extent(kernel, dilation))
    taps = input_taps(planes, channels, (kernel[0], kernel[1]), dilation)
    step = taps[0].size
    target, steps = (0, 1, size[0], 0, 1, size[1]), (outputs // groups * step, step)
    return _plan(planes, taps, x[0], (outputs, *size), groups, steps, target)


@lru_cache(256)
def gradient_plans(
    g: tuple[int, ...],
    w: tuple[int, ...],
    dx: tuple[int, ...],
    stride: Pair,
    padding: tuple[int, int, int, int],
    dilation: Pair,
    groups: int,
) -> list[Plan | None]:
    """Return the plan of each phase of the images, None for those that no window reaches."""
    outputs, channels, kh, kw = w
    batch, *image = dx
    _, height, width = image
    (sh, sw), (dh, dw), (top, _, left, _) = stride, dilation, padding
    step = channels * kh * kw
    steps = outputs // groups * step, kh * kw
    last_row, last_column = (kh - 1) * dh, (kw - 1) * dw
    around = tuple(
        last - p for last, p in zip((last_row,) * 2 + (last_column,) * 2, padding, strict=True)
    )
    if stride == (1, 1) and min(around) >= 0:
        planes = planes_of(g[1:], around)
        taps = output_taps(planes, outputs // groups, step, (kh, kw), stride, dilation, (0, 0))
        return [_plan(planes, taps, batch, image, groups, steps, (0, 1, height, 0, 1, width))]
    before, beside = (kh - 1) * dh // sh, (kw - 1) * dw // sw
    rows, columns = -(-(top + height) // sh), -(-(left + width) // sw)  # of a phase
    # windows reach at most over the rows of `g`, and the phase may be longer
    below = max(rows - g[2], 0)
    right = max(columns - g[3], 0)
    planes = planes_of(g[1:], (before, below, beside, right))
    plans: list[Plan | None] = []
    for a, b in np.ndindex(sh, sw):
        taps = output_taps(planes, outputs // groups, step, (kh, kw), stride, dilation, (a, b))
        target = a - top, sh, rows, b - left, sw, columns
        filled = taps[0].size > 0
        plans.append(_plan(planes, taps, batch, image, groups, steps, target) if filled else None)
    return plans
