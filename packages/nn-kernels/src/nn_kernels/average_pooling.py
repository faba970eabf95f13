"""Average pooling and its gradient, plane by plane; padding counts as zeros.

Windows of 2×2 that do not overlap have loops of their own, as in `nn_kernels.pooling`. The others
add one element of all windows of a row at a time, or, where a row has few windows, one window after
the other. Sums have the same order in both: that of the elements in a window.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nn_kernels._atomics import floats
from nn_kernels._compile import Job, subroutine
from nn_kernels._windows import (
    belong,
    fill_last_with_zeros,
    output_size,
    run_on_planes,
    window_numbers,
)

__all__ = ["avg_pool2d", "avg_pool2d_gradient"]

_ZERO, _FOUR = np.float32(0), np.float32(4)
_FEW = 16  # windows in a row, so that a loop over them may cost more than it saves


@subroutine()
def _mean_of_pairs(x, out, plane, height, width, rows, columns):  # type: ignore[no-untyped-def]
    one, two = np.uintp(1), np.uintp(2)
    for p in range(rows):
        upper = np.uintp((plane * height + 2 * p) * width)
        lower = np.uintp((plane * height + 2 * p + 1) * width)
        target = np.uintp((plane * rows + p) * columns)
        for q in range(np.uintp(columns)):
            a, b = x[upper + two * q], x[upper + two * q + one]
            c, d = x[lower + two * q], x[lower + two * q + one]
            out[target + q] = (a + b + c + d) / _FOUR


@subroutine()
def _gradient_of_pairs(g, out, plane, height, width, rows, columns):  # type: ignore[no-untyped-def]
    one, two = np.uintp(1), np.uintp(2)
    for p in range(rows):
        source = np.uintp((plane * rows + p) * columns)
        upper = np.uintp((plane * height + 2 * p) * width)
        lower = np.uintp((plane * height + 2 * p + 1) * width)
        for target in (upper, lower):  # both in one loop do not become vector instructions
            for q in range(np.uintp(columns)):
                v = g[source + q] / _FOUR
                out[target + two * q] = v
                out[target + two * q + one] = v
    fill_last_with_zeros(out, plane, height, width, np.float32(0))


@subroutine(returns="UniTuple(int64, 2)")
def _range_inside(size, count, stride, shift):  # type: ignore[no-untyped-def]
    """Return the first and the last window, plus 1, whose element is inside the image.

    The element of window `q` is at ``q * stride + shift``.
    """
    first = max(0, (stride - 1 - shift) // stride)
    return first, max(first, min(count, (size - 1 - shift) // stride + 1))


@subroutine()
def _add_elements(x, out, source, target, first, last, stride):  # type: ignore[no-untyped-def]
    """Add elements of a row of images to the means of windows."""
    target, count = np.uintp(target + first), np.uintp(last - first)
    source = np.uintp(source + first * stride)
    if stride == 1:
        for q in range(count):
            out[target + q] += x[source + q]
    else:
        step = np.uintp(stride)
        for q in range(count):
            out[target + q] += x[source + q * step]


@subroutine()
def _add_shares(g, out, source, target, first, last, stride, elements):  # type: ignore[no-untyped-def]
    """Add the shares of windows to elements of a row of images."""
    source, count = np.uintp(source + first), np.uintp(last - first)
    target = np.uintp(target + first * stride)
    if stride == 1:
        for q in range(count):
            out[target + q] += g[source + q] / elements
    else:
        step = np.uintp(stride)
        for q in range(count):
            out[target + q * step] += g[source + q] / elements


@subroutine()
def _mean_of_few_windows(x, out, plane, height, width, rows, columns, w):  # type: ignore[no-untyped-def]
    """Add up one window after the other, where rows of windows are short."""
    kh, kw, sh, sw, top, left, dh, dw = w
    elements = np.float32(kh * kw)
    for p in range(rows):
        first_row = p * sh - top
        i0, i1 = _range_inside(height, kh, dh, first_row)
        for q in range(columns):
            first_column = q * sw - left
            j0, j1 = _range_inside(width, kw, dw, first_column)
            total, step, count = _ZERO, np.uintp(dw), np.uintp(j1 - j0)
            for i in range(i0, i1):
                row = plane * height + first_row + i * dh
                source = np.uintp(row * width + first_column + j0 * dw)
                for j in range(count):
                    total += x[source + j * step]
            out[(plane * rows + p) * columns + q] = total / elements


@subroutine()
def _gradient_of_few_windows(g, out, plane, height, width, rows, columns, w):  # type: ignore[no-untyped-def]
    """Add the shares of one window after the other; the last first, as `_gradient_of_windows`."""
    kh, kw, sh, sw, top, left, dh, dw = w
    elements = np.float32(kh * kw)
    for i in range(plane * height * width, (plane + 1) * height * width):
        out[i] = 0
    for p in range(rows - 1, -1, -1):
        first_row = p * sh - top
        i0, i1 = _range_inside(height, kh, dh, first_row)
        for q in range(columns - 1, -1, -1):
            first_column = q * sw - left
            j0, j1 = _range_inside(width, kw, dw, first_column)
            share = g[(plane * rows + p) * columns + q] / elements
            step, count = np.uintp(dw), np.uintp(j1 - j0)
            for i in range(i0, i1):
                row = plane * height + first_row + i * dh
                target = np.uintp(row * width + first_column + j0 * dw)
                for j in range(count):
                    out[target + j * step] += share


@subroutine()
def _mean_of_windows(x, out, plane, height, width, rows, columns, w):  # type: ignore[no-untyped-def]
    kh, kw, sh, sw, top, left, dh, dw = w
    elements = np.float32(kh * kw)
    for p in range(rows):
        target = (plane * rows + p) * columns
        for q in range(columns):
            out[target + q] = 0
        for i in range(kh):
            row = p * sh - top + i * dh
            if row < 0 or row >= height:
                continue
            for j in range(kw):
                shift = j * dw - left
                first, last = _range_inside(width, columns, sw, shift)
                source = (plane * height + row) * width + shift
                _add_elements(x, out, source, target, first, last, sw)
        for q in range(columns):
            out[target + q] /= elements


@subroutine()
def _gradient_of_windows(g, out, plane, height, width, rows, columns, w):  # type: ignore[no-untyped-def]
    kh, kw, sh, sw, top, left, dh, dw = w
    elements = np.float32(kh * kw)
    for i in range(plane * height * width, (plane + 1) * height * width):
        out[i] = 0
    for i in range(kh):
        for j in range(kw):
            shift = j * dw - left
            first, last = _range_inside(width, columns, sw, shift)
            for p in range(rows):
                row = p * sh - top + i * dh
                if row >= 0 and row < height:
                    source = (plane * rows + p) * columns
                    target = (plane * height + row) * width + shift
                    _add_shares(g, out, source, target, first, last, sw, elements)


def _mean_job(a, part, thread):  # type: ignore[no-untyped-def]
    x, out = floats(a[2]), floats(a[3])
    sizes = a[6], a[7], a[8], a[9]
    w = (a[10], a[11], a[12], a[13], a[14], a[15], a[16], a[17])
    few = a[9] < _FEW and a[9] <= 3 * a[11]
    for plane in range(part * a[5], min((part + 1) * a[5], a[4])):
        if a[18]:
            _mean_of_pairs(x, out, plane, *sizes)
        elif few:
            _mean_of_few_windows(x, out, plane, *sizes, w)
        else:
            _mean_of_windows(x, out, plane, *sizes, w)


def _gradient_job(a, part, thread):  # type: ignore[no-untyped-def]
    g, out = floats(a[2]), floats(a[3])
    sizes = a[6], a[7], a[8], a[9]
    w = (a[10], a[11], a[12], a[13], a[14], a[15], a[16], a[17])
    few = a[9] < _FEW and a[9] <= 2 * a[11]
    for plane in range(part * a[5], min((part + 1) * a[5], a[4])):
        if a[18]:
            _gradient_of_pairs(g, out, plane, *sizes)
        elif few:
            _gradient_of_few_windows(g, out, plane, *sizes, w)
        else:
            _gradient_of_windows(g, out, plane, *sizes, w)


_MEAN, _GRADIENT = Job(_mean_job), Job(_gradient_job)


def avg_pool2d(x: Any, windows: Any) -> Any:
    """Return the mean of each window of float32 images.

    Args:
        x: images, (batch, channels, height, width).
        windows: kernel, stride, padding (top, bottom, left, right) and dilation, each for height
            and width, and an algorithm, which is for convolutions.
    """
    if x.dtype != np.float32 or not x.size or x.ndim != 4:
        return NotImplemented
    output = output_size(x.shape[2:], windows)
    if min(output) < 1:
        return NotImplemented  # the reference raises
    out = np.empty((*x.shape[:2], *output), np.float32)
    arrays = np.ascontiguousarray(x), out
    run_on_planes(_MEAN, arrays, x.shape, out.shape, window_numbers(windows))
    return out


def avg_pool2d_gradient(g: Any, out: Any, windows: Any) -> Any:
    """Write zeros to `out`, and add to each element of a window its part of the element of `g`."""
    if not g.size or not (g.dtype == out.dtype == np.float32 and out.flags.carray):
        return NotImplemented
    if not belong(g, out, windows):
        return NotImplemented  # the reference raises where it does not broadcast
    arrays = np.ascontiguousarray(g), out
    run_on_planes(_GRADIENT, arrays, out.shape, g.shape, window_numbers(windows))
    return None
