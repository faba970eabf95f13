"""Direct convolution: products of weights with windows that are addressed by a table of offsets.

One microkernel is the convolution with any kernel, stride, dilation and groups, and its gradient
for the input. Nothing is copied but the padded planes of a sample, which `_planes` explains.

There are two orders. Usually a part of the work is some samples: their planes stay in the cache,
and the weights are streamed. Where the weights do not fit into the cache, or there are few samples,
all samples are laid out first, and a part is some outputs: their weights stay in the cache, and the
samples are streamed, some channels of all of them at a time, which stay in the cache for all
outputs of the part.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nn_kernels._atomics import floats, integers, unsigned_bytes
from nn_kernels._compile import Job, subroutine
from nn_kernels._direct_plans import Plan, forward_plan, gradient_plans
from nn_kernels._epilogue import NO_EPILOGUE, Epilogue, lower_bound, write_maxima
from nn_kernels._planes import lay_out_sample, write_planes
from nn_kernels._products import (
    ROWS,
    VECTORS,
    interleave_rows,
    multiply_1,
    multiply_2,
    multiply_3,
    multiply_row,
    multiply_row_wide,
)
from nn_kernels._rows import at
from nn_kernels._threads import address, run
from nn_kernels._vectors import WIDE

__all__ = ["convolve", "convolve_input_gradient"]

Pair = tuple[int, int]
_ROW_VECTORS = 8 if WIDE else 4
_PREPARED = 3  # elements that are copied in a nanosecond


@subroutine()
def _multiply(  # type: ignore[no-untyped-def]
    weights, panel, panels, rows, taps, k0, count, planes, base, offsets, products, target0, step,
    vectors,
):  # fmt: skip
    """Write the products of panels of weights with all windows, a block of columns at a time.

    They have `count` taps from `k0` on; unless that is 0, they are added to what is there.
    """
    v = 0
    while v < vectors:
        rest = vectors - v
        place = base + 16 * v
        if rows == 1:
            for i in range(panels):
                w0, target = (panel + i) * taps + k0, target0 + i * step + 16 * v
                if rest >= _ROW_VECTORS:
                    multiply_row_wide(
                        weights, w0, planes, place, offsets, k0, count, products, target, step
                    )
                else:
                    multiply_row(
                        weights, w0, planes, place, offsets, k0, count, products, target, step
                    )
            v += _ROW_VECTORS if rest >= _ROW_VECTORS else 1
        elif rest >= VECTORS and rest != VECTORS + 1:
            for i in range(panels):
                w0 = ((panel + i) * taps + k0) * ROWS
                target = target0 + i * ROWS * step + 16 * v
                multiply_3(weights, w0, planes, place, offsets, k0, count, products, target, step)
            v += VECTORS
        elif rest >= 2:
            for i in range(panels):
                w0 = ((panel + i) * taps + k0) * ROWS
                target = target0 + i * ROWS * step + 16 * v
                multiply_2(weights, w0, planes, place, offsets, k0, count, products, target, step)
            v += 2
        else:
            for i in range(panels):
                w0 = ((panel + i) * taps + k0) * ROWS
                target = target0 + i * ROWS * step + 16 * v
                multiply_1(weights, w0, planes, place, offsets, k0, count, products, target, step)
            v += 1


@subroutine()
def _write(  # type: ignore[no-untyped-def]
    products, step, line, bias, out, first, count, height, width,
    row0, row_step, rows, column0, column_step, columns, index, pooled, bound,
):  # fmt: skip
    """Write outputs plus their bias to planes `first` and following of `out`, of a size.

    If they are `pooled`, `out` is the maxima.
    """
    if pooled:
        size = (rows // 2) * (columns // 2)
        for o in range(count):
            write_maxima(
                products, o * step, line, rows // 2, columns // 2, bias[o], bound,
                out, index, (first + o) * size, (first + count) * size,
            )  # fmt: skip
        return
    q0 = max(0, -(column0 // column_step))  # the first and the last column in the image
    q1 = max(q0, min(columns, (width - 1 - column0) // column_step + 1))
    for o in range(count):
        b = bias[o]
        for r in range(rows):
            h = row0 + r * row_step
            if h < 0 or h >= height:
                continue
            s = np.uintp(o * step + r * line + q0)
            d = np.uintp(((first + o) * height + h) * width + column0 + q0 * column_step)
            if column_step == 1:
                for q in range(np.uintp(q1 - q0)):
                    value = products[s + q] + b
                    out[d + q] = bound if value <= bound else value
            else:
                for q in range(np.uintp(q1 - q0)):
                    value = products[s + q] + b
                    out[d] = bound if value <= bound else value
                    d += np.uintp(column_step)


@subroutine()
def _pack(  # type: ignore[no-untyped-def]
    w, sources, packed, part, taps, rows, panels, count, group_step, output_step, consecutive
):  # fmt: skip
    """Write a panel: for each tap the weights of neighboring outputs."""
    group, first = part // panels, part % panels * rows
    start = np.uintp(group * group_step + first * output_step)
    if rows == ROWS and first + rows <= count:  # a number of rows that the compiler knows
        target, step = np.uintp(part * taps * ROWS), np.uintp(output_step)
        whole = taps // 16 * 16 if consecutive else 0  # weights that are one after the other
        for k in range(0, whole, 16):
            place = (part * taps + k) * ROWS
            interleave_rows(w, np.intp(start) + k, output_step, packed, place, 16)
        target += np.uintp(whole * ROWS)
        for k in range(np.uintp(whole), np.uintp(taps)):
            source = start + np.uintp(sources[k])
            for m in range(np.uintp(ROWS)):
                packed[target + m] = w[source + m * step]
            target += np.uintp(ROWS)
        return
    for k in range(taps):
        d = np.uintp((part * taps + k) * rows)
        for m in range(rows):
            source = start + np.uintp(sources[k] + m * output_step)
            packed[d + np.uintp(m)] = w[source] if first + m < count else np.float32(0)


def _prepare_job(a, part, thread):  # type: ignore[no-untyped-def]
    """Write a panel of weights, or after all of them the planes of a sample."""
    panels = a[7]
    if part < panels:
        _pack(
            floats(a[2]), integers(a[4]), floats(a[5]), part,
            a[8], a[9], a[10], a[11], a[12], a[13], a[14] != 0,
        )  # fmt: skip
    else:
        lay_out_sample(
            floats(a[3]), part - panels, a[15], a[16], a[17], a[18], a[19], a[20], a[21], a[22],
            a[23], a[24], a[25], a[26], floats(a[6]),
        )  # fmt: skip


def _convolve_job(a, part, thread):  # type: ignore[no-untyped-def]
    x, packed, bias, out = floats(a[2]), floats(a[3]), floats(a[4]), floats(a[5])
    offsets = integers(a[8])
    taps, rows, panels, count, groups = a[9], a[10], a[11], a[12], a[13]
    batch, per_part, line, group_size, size = a[14], a[15], a[16], a[17], a[18]
    height, width, row0, row_step, row_count = a[19], a[20], a[21], a[22], a[23]
    column0, column_step, column_count, step, shared = a[24], a[25], a[26], a[27], a[28]
    index, pooled, bound = unsigned_bytes(a[6]), a[6] != 0, lower_bound(a[7] != 0)
    # a window in the padding alone may lie past the end of a line
    vectors = ((row_count - 1) * line + max(line, column_count) + 15) // 16
    work = a[0] + 4 * thread * a[1]
    if shared:  # the part is some panels of all groups
        products, chunk = floats(work), a[39]
        first_panel, last_panel = part * per_part, min((part + 1) * per_part, groups * panels)
        # With chunks of taps, all products of the part are added up side by side.
        kept = rows * step if chunk < taps else 0
        for k0 in range(0, taps, chunk):
            taken = min(chunk, taps - k0)
            for panel in range(first_panel, last_panel):
                group, first = panel // panels, panel % panels * rows
                for n in range(batch):
                    place = ((panel - first_panel) * batch + n) * kept
                    _multiply(
                        packed, panel, 1, rows, taps, k0, taken, x,
                        n * size + group * group_size, offsets, products, place, step, vectors,
                    )  # fmt: skip
                    if k0 + taken == taps:
                        o = group * count + first
                        _write(
                            at(products, place), step, line, at(bias, o), out,
                            n * groups * count + o, min(rows, count - first), height, width,
                            row0, row_step, row_count, column0, column_step, column_count,
                            index, pooled, bound,
                        )  # fmt: skip
        return
    planes, products = floats(work), floats(work + 4 * size)
    for i in range(np.uintp(size)):
        planes[i] = 0
    for n in range(part * per_part, min((part + 1) * per_part, batch)):
        write_planes(
            x, n, a[29], a[30], a[31], a[32], a[33], a[34], a[35], a[36], a[37],
            line, a[38], planes, 0,
        )  # fmt: skip
        for group in range(groups):
            _multiply(
                packed, group * panels, panels, rows, taps, 0, taps, planes, group * group_size,
                offsets, products, 0, step, vectors,
            )  # fmt: skip
            o = group * count
            _write(
                products, step, line, at(bias, o), out, n * groups * count + o, count,
                height, width, row0, row_step, row_count, column0, column_step, column_count,
                index, pooled, bound,
            )  # fmt: skip


_PREPARE, _CONVOLVE = Job(_prepare_job), Job(_convolve_job)


def _carry_out(
    plan: Plan, x: Any, w: Any, bias: Any, out: Any, epilogue: Epilogue = NO_EPILOGUE
) -> None:
    """Write to `out` the products of the weights with the windows of `x`, plus a bias."""
    samples = x.shape[0] if plan.is_shared else 0
    size = plan.packed_size + samples * plan.planes.size
    prepared = np.empty(size, np.float32)
    packed, images = address(prepared), address(x)
    laid_out = packed + 4 * plan.packed_size
    inputs = address(w), images, plan.sources, packed, laid_out
    run(_PREPARE, inputs, plan.panels + samples, 0, size // _PREPARED, plan.preparing)
    source = laid_out if samples else images
    given = source, packed, address(bias), address(out), *epilogue.numbers
    run(_CONVOLVE, given, plan.parts, plan.memory, plan.work, plan.numbers)


def convolve(
    x: Any,
    w: Any,
    bias: Any,
    out: Any,
    stride: Pair,
    padding: tuple[int, int, int, int],
    dilation: Pair,
    groups: int,
    size: Pair,
    epilogue: Epilogue = NO_EPILOGUE,
) -> None:
    """Write the convolution of `x` with `w`, plus a bias, to `out`.

    Args:
        x: images, ``(batch, channels, height, width)``.
        w: weights, ``(outputs, channels / groups, kernel height, kernel width)``.
        bias: ``(outputs,)``.
        out: ``(batch, outputs, rows, columns)``; with pooling, the maxima.
        stride: the distance between windows.
        padding: rows and columns of zeros: top, bottom, left, right.
        dilation: the distance between elements of a window.
        groups: the number of groups of channels.
        size: rows and columns of the convolution.
        epilogue: ReLU and pooling of the outputs, or neither.
    """
    plan = forward_plan(x.shape, w.shape, size, stride, padding, dilation, groups)
    _carry_out(plan, x, w, bias, out, epilogue)


def convolve_input_gradient(
    g: Any,
    w: Any,
    dx: Any,
    stride: Pair,
    padding: tuple[int, int, int, int],
    dilation: Pair,
    groups: int,
) -> None:
    """Write the gradient for the images to `dx`, from that of the outputs `g`.

    With stride 1 that is a convolution of `g` with the flipped weights. With a larger stride the
    padded images are divided into phases by the stride; in each, the gradient is a convolution of
    `g` with the flipped weights that contribute to it.
    """
    plans = gradient_plans(g.shape, w.shape, dx.shape, stride, padding, dilation, groups)
    bias = np.zeros(dx.shape[1], np.float32)
    if None in plans:
        dx.fill(0)
    for plan in plans:
        if plan is not None:
            _carry_out(plan, g, w, bias, dx)
