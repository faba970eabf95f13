"""The kernels that write the windows of images as the columns of a matrix, and add them back."""

from __future__ import annotations

from typing import Any

import numpy as np
from nn_tensor.extend import kernel

from nn_layers.ops.windows import Pair, Windows

__all__ = ["col2im", "im2col"]

Array = Any


@kernel
def im2col(
    xp: Any, columns: Array, padded: Array, first: int, stride: Pair, dilation: Pair
) -> None:
    """Write the windows of `padded`, (n, c, h, w), to `columns`, (c, kh, kw, rows, n, width).

    Both are contiguous; `first` is the row of the image at which the first window starts.
    """
    (sh, sw), (dh, dw) = stride, dilation
    n, c, h, w = padded.strides
    strides = (c, h * dh, w * dw, h * sh, n, w * sw)
    columns[...] = xp.lib.stride_tricks.as_strided(padded[:, :, first:], columns.shape, strides)


@im2col.cpu
def _(columns, padded, first, stride, dilation):  # type: ignore[no-untyped-def]
    channels, kh, kw, rows, samples, line = columns.shape
    height, width = padded.shape[2:]
    (sh, sw), (dh, dw) = stride, dilation
    target, source = columns.reshape(-1), padded.reshape(-1)
    end = np.uintp(0)  # unsigned: a signed index costs a test for counting from the end
    for c in range(channels):
        for i in range(kh):
            for j in range(kw):
                for p in range(rows):
                    for n in range(samples):
                        row = (n * channels + c) * height + first + p * sh + i * dh
                        start = np.uintp(row * width + j * dw)
                        if sw == 1:
                            for q in range(np.uintp(line)):
                                target[end + q] = source[start + q]
                        else:
                            for q in range(np.uintp(line)):
                                target[end + q] = source[start + q * np.uintp(sw)]
                        end += np.uintp(line)


@kernel
def col2im(
    xp: Any, padded: Array, columns: Array, first: int, stride: Pair, dilation: Pair
) -> None:
    """Add `columns` to the elements of `padded` that `im2col` reads them from."""
    _, kh, kw, rows, _, width = columns.shape
    slices = Windows((kh, kw), stride, dilation=dilation).slices((rows, width))
    by_channel = padded[:, :, first:].transpose(1, 2, 0, 3)
    for element, (down, along) in enumerate(slices):
        by_channel[:, down, :, along] += columns[:, element // kw, element % kw]


@col2im.cpu
def _(padded, columns, first, stride, dilation):  # type: ignore[no-untyped-def]
    channels, kh, kw, rows, samples, line = columns.shape
    height, width = padded.shape[2:]
    (sh, sw), (dh, dw) = stride, dilation
    target, source = padded.reshape(-1), columns.reshape(-1)
    end = np.uintp(0)
    for c in range(channels):
        for i in range(kh):
            for j in range(kw):
                for p in range(rows):
                    for n in range(samples):
                        row = (n * channels + c) * height + first + p * sh + i * dh
                        start = np.uintp(row * width + j * dw)
                        if sw == 1:
                            for q in range(np.uintp(line)):
                                target[start + q] += source[end + q]
                        else:
                            for q in range(np.uintp(line)):
                                target[start + q * np.uintp(sw)] += source[end + q]
                        end += np.uintp(line)
