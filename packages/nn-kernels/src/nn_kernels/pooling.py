"""Max-pooling and its gradient, plane by plane, with the index of each maximum in its window.

Windows of 2×2 that do not overlap have loops of their own; the gradient then writes each element
once.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nn_kernels._atomics import floats, unsigned_bytes
from nn_kernels._compile import Job, subroutine
from nn_kernels._pairs import max_of_16_windows, unpool_lower_row, unpool_upper_row
from nn_kernels._windows import (
    belong,
    fill_last_with_zeros,
    output_size,
    run_on_planes,
    window_numbers,
)

__all__ = ["max_pool2d", "max_pool2d_gradient"]


@subroutine()
def _max_of_pairs(x, out, index, plane, last, height, width, rows, columns):  # type: ignore[no-untyped-def]
    one, two, end = np.uintp(1), np.uintp(2), last * rows * columns
    for p in range(rows):
        row = (plane * height + 2 * p) * width
        place, first = (plane * rows + p) * columns, 0
        # What 16 windows write past the end of a row is written again, as the planes up to `last`
        # follow.
        while first < columns and place + first + 16 <= end:
            x0 = row + 2 * first
            max_of_16_windows(x, x0, x0 + width, out, index, place + first)
            first += 16
        upper, lower, target = np.uintp(row), np.uintp(row + width), np.uintp(place)
        for q in range(np.uintp(first), np.uintp(max(first, columns))):
            a, b = x[upper + two * q], x[upper + two * q + one]
            c, d = x[lower + two * q], x[lower + two * q + one]
            # of equal elements the first counts, of NaN the last
            second = (b > a) | (b != b)
            best = b if second else a
            place = np.uint8(1) if second else np.uint8(0)
            third = (c > best) | (c != c)
            best = c if third else best
            place = np.uint8(2) if third else place
            fourth = (d > best) | (d != d)
            out[target + q] = d if fourth else best
            index[target + q] = np.uint8(3) if fourth else place


@subroutine()
def _max_of_windows(x, out, index, plane, height, width, rows, columns, w):  # type: ignore[no-untyped-def]
    kh, kw, sh, sw, top, left, dh, dw = w
    lowest = np.float32(-np.inf)
    for p in range(rows):
        for q in range(columns):
            target = (plane * rows + p) * columns + q
            found = False
            best, place = lowest, 0  # of a window that is wholly in the padding
            for i in range(kh):
                row = p * sh - top + i * dh
                if row < 0 or row >= height:
                    continue
                for j in range(kw):
                    column = q * sw - left + j * dw
                    if column < 0 or column >= width:
                        continue
                    value = x[(plane * height + row) * width + column]
                    if not found or value > best or value != value:
                        found, best, place = True, value, i * kw + j
            out[target] = best
            index[target] = place


@subroutine()
def _unpool_row(g, index, out, source, target, left, right, first, count):  # type: ignore[no-untyped-def]
    """Write a row of images from a window on: two elements for each."""
    zero = np.float32(0)
    for q in range(first, count):
        v, place = g[np.uintp(source + q)], index[np.uintp(source + q)]
        out[np.uintp(target + 2 * q)] = v if place == left else zero
        out[np.uintp(target + 2 * q + 1)] = v if place == right else zero


@subroutine()
def _unpool_pairs(g, index, out, plane, last, height, width, rows, columns):  # type: ignore[no-untyped-def]
    end = last * rows * columns
    for p in range(rows):
        source, upper = (plane * rows + p) * columns, (plane * height + 2 * p) * width
        lower, first = upper + width, 0
        # What 16 windows write past the end of a row is written again, as the planes up to `last`
        # follow.
        while first < columns and source + first + 16 <= end:
            unpool_upper_row(g, index, source + first, out, upper + 2 * first)
            first += 16
        _unpool_row(g, index, out, source, upper, np.uint8(0), np.uint8(1), first, columns)
        for q in range(0, first, 16):
            unpool_lower_row(g, index, source + q, out, lower + 2 * q)
        _unpool_row(g, index, out, source, lower, np.uint8(2), np.uint8(3), first, columns)
    fill_last_with_zeros(out, plane, height, width, np.float32(0))


@subroutine()
def _unpool_windows(g, index, out, plane, height, width, rows, columns, w):  # type: ignore[no-untyped-def]
    """Add each element of `g` at its place; an index outside the window or the image has none."""
    kh, kw, sh, sw, top, left, dh, dw = w
    for i in range(plane * height * width, (plane + 1) * height * width):
        out[i] = 0
    for p in range(rows):
        for q in range(columns):
            source = (plane * rows + p) * columns + q
            place = np.intp(index[source])
            row, column = p * sh - top + place // kw * dh, q * sw - left + place % kw * dw
            inside = row >= 0 and row < height and column >= 0 and column < width
            if inside and place >= 0 and place < kh * kw:
                out[(plane * height + row) * width + column] += g[source]


def _max_job(a, part, thread):  # type: ignore[no-untyped-def]
    x, out, index = floats(a[2]), floats(a[3]), unsigned_bytes(a[4])
    height, width, rows, columns = a[7], a[8], a[9], a[10]
    w = (a[11], a[12], a[13], a[14], a[15], a[16], a[17], a[18])
    last = min((part + 1) * a[6], a[5])
    for plane in range(part * a[6], last):
        if a[19]:
            _max_of_pairs(x, out, index, plane, last, height, width, rows, columns)
        else:
            _max_of_windows(x, out, index, plane, height, width, rows, columns, w)


def _unpool_job(a, part, thread):  # type: ignore[no-untyped-def]
    g, out, index = floats(a[2]), floats(a[3]), unsigned_bytes(a[4])
    height, width, rows, columns = a[7], a[8], a[9], a[10]
    w = (a[11], a[12], a[13], a[14], a[15], a[16], a[17], a[18])
    last = min((part + 1) * a[6], a[5])
    for plane in range(part * a[6], last):
        if a[19]:
            _unpool_pairs(g, index, out, plane, last, height, width, rows, columns)
        else:
            _unpool_windows(g, index, out, plane, height, width, rows, columns, w)


_MAX, _UNPOOL = Job(_max_job), Job(_unpool_job)


@subroutine()
def _unpool_all(g, index, out, planes, height, width, rows, columns, w):  # type: ignore[no-untyped-def]
    for plane in range(planes):
        _unpool_windows(g, index, out, plane, height, width, rows, columns, w)


def max_pool2d(x: Any, windows: Any) -> Any:
    """Return the maximum of each window of float32 images, and its index in the window.

    Args:
        x: images, ``(batch, channels, height, width)``.
        windows: kernel, stride, padding ``(top, bottom, left, right)`` and dilation, each for
            height and width, and an algorithm, which is for convolutions.
    """
    kernel = windows[0]
    if x.dtype != np.float32 or kernel[0] * kernel[1] > 256 or not x.size or x.ndim != 4:
        return NotImplemented
    x, output = np.ascontiguousarray(x), output_size(x.shape[2:], windows)
    if min(output) < 1:
        return NotImplemented  # the reference raises
    shape = (*x.shape[:2], *output)
    out, index = np.empty(shape, np.float32), np.empty(shape, np.uint8)
    run_on_planes(_MAX, (x, out, index), x.shape, shape, window_numbers(windows))
    return out, index


def max_pool2d_gradient(g: Any, index: Any, out: Any, windows: Any) -> Any:
    """Write zeros to `out`, and add each element of `g` at the place that `index` gives."""
    if not g.size or not (g.flags.c_contiguous and out.flags.carray):
        return NotImplemented
    if index.shape != g.shape or index.dtype.kind not in "iu" or not belong(g, out, windows):
        return NotImplemented  # the reference raises where it does not broadcast
    w, index = window_numbers(windows), np.ascontiguousarray(index)
    if g.dtype == out.dtype == np.float32 and index.dtype == np.uint8:
        run_on_planes(_UNPOOL, (g, out, index), out.shape, g.shape, w)
    else:
        planes = out.shape[0] * out.shape[1]
        flat = g.reshape(-1), index.reshape(-1), out.reshape(-1)
        _unpool_all(*flat, planes, *out.shape[2:], *g.shape[2:], w)
    return None
