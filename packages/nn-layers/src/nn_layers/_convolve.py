r"""The operations of convolution: one form that is linear in images, weights and output.

For images :math:`x`, weights :math:`w` and values :math:`g` at the places of the windows, let
:math:`T(x, w, g) = \sum g_{nopq} \, w_{ocij} \, x_{nc,\,ps+id,\,qs+jd}`. `convolve` is its
derivative with respect to `g`, `convolve_back` (the transposed convolution) that with respect to
`x`, and `correlate` that with respect to `w`: so each has the other two as its gradients, in every
order.

All three come down to products of matrices. The windows of a few samples are written as the columns
of a matrix (Chellapilla, Puri and Simard, "High Performance Convolutional Neural Networks for
Document Processing", 2006, section 3) that stays in the cache, and that the next samples overwrite:
the columns of a whole batch would be many times its size. Where a sample is large, its windows are
unfolded along the width only. Those that belong to one row of the kernel are then a slice, and the
products for all rows add up: a third of the copies for a kernel 3×3.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from nn_tensor.extend import kernel, op

from nn_layers._windows import Pair, Windows

__all__ = ["convolve", "convolve_back", "convolve_biased", "correlate"]

Array = Any

# About how many columns a product has. With fewer, a processor spends its time on reading the
# weights, with more on waiting for memory; a GPU wants few products, and has memory for many
# elements.
_COLUMNS = 1024
_CUDA_ELEMENTS = 1 << 26
# How long the columns are at least when only one row of the kernel is in them.
_ROW_LENGTH = 48
# Then the weights have to be put into another order, which so many columns for each output repay.
_COLUMNS_PER_OUTPUT = 8


@kernel
def unfold(
    xp: Any, columns: Array, padded: Array, first: int, sh: int, sw: int, dh: int, dw: int
) -> None:
    """Write windows of `padded`, (n, c, h, w), to `columns`, (c, kh, kw, rows, n, line).

    Both are contiguous; `first` is the row of the first window.
    """
    n, c, h, w = padded.strides
    strides = (c, h * dh, w * dw, h * sh, n, w * sw)
    columns[...] = xp.lib.stride_tricks.as_strided(padded[:, :, first:], columns.shape, strides)


@unfold.cpu
def _(columns, padded, first, sh, sw, dh, dw):  # type: ignore[no-untyped-def]
    channels, kh, kw, rows, samples, line = columns.shape
    height, width = padded.shape[2:]
    target, source = columns.reshape(-1), padded.reshape(-1)
    end = np.uintp(0)  # unsigned, since for others numba looks whether they count from the end
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
def fold(
    xp: Any, padded: Array, columns: Array, first: int, sh: int, sw: int, dh: int, dw: int
) -> None:
    """Add `columns` to the places in `padded` that `unfold` reads them from."""
    _, kh, kw, count, _, line = columns.shape
    windows = Windows((kh, kw), (sh, sw), dilation=(dh, dw))
    by_channel = padded[:, :, first:].transpose(1, 2, 0, 3)
    for place, (rows, width) in enumerate(windows.offsets((count, line))):
        by_channel[:, rows, :, width] += columns[:, place // kw, place % kw]


@fold.cpu
def _(padded, columns, first, sh, sw, dh, dw):  # type: ignore[no-untyped-def]
    channels, kh, kw, rows, samples, line = columns.shape
    height, width = padded.shape[2:]
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


class _Part(NamedTuple):
    """Some samples, and of them some rows of windows."""

    samples: slice
    rows: slice

    def pick(self, values: Array, groups: int) -> Array:
        """Return these of the values at the windows, (n, o, rows, line), as (g, o, rows, n, line).

        That is the order of the columns: a slice of them is all samples of some rows.
        """
        values = values[self.samples, :, self.rows]
        n, o, rows, line = values.shape
        return values.reshape(n, groups, o // groups, rows, line).transpose(1, 2, 3, 0, 4)


class _Plan:
    """How one convolution is cut into products of matrices."""

    def __init__(
        self,
        x_shape: tuple[int, ...],
        outputs: int,
        windows: Windows,
        groups: int,
        columns: int,
    ) -> None:
        batch, channels, height, width = x_shape
        self.windows, self.groups = windows, groups
        self.size = height, width
        self.count = rows, line = windows.fit(self.size)
        self.channels = channels // groups
        kh, kw = windows.kernel
        self.by_row = (
            kh > 1
            and windows.stride[0] == 1
            and self.channels * kw >= _ROW_LENGTH
            and batch * rows * line >= _COLUMNS_PER_OUTPUT * outputs
        )
        self.samples = min(max(columns // (rows * line), 1), max(batch, 1))
        self.rows = min(max(columns // line, 1), rows)
        self.places = self.samples * self.rows * line  # of the largest part
        self.parts = [
            _Part(slice(n, min(n + self.samples, batch)), slice(p, min(p + self.rows, rows)))
            for n in range(0, batch, self.samples)
            for p in range(0, rows, self.rows)
        ]

    def weights(self, xp: Any, w: Array) -> Array:
        """Return weights as (products, groups, outputs, column)."""
        if not self.by_row:
            return w.reshape(1, self.groups, -1, w[0].size)
        rows = xp.ascontiguousarray(w.transpose(2, 0, 1, 3))
        return rows.reshape(rows.shape[0], self.groups, -1, rows[0, 0].size)

    def columns(self, xp: Any, x: Array) -> Iterator[tuple[_Part, list[Array]]]:
        """Yield for each part the columns of each product: (groups, column, places)."""
        windows, groups = self.windows, self.groups
        line, channels = self.count[1], x.shape[1]
        (kh, kw), (sh, sw), (dh, dw) = windows.kernel, windows.stride, windows.dilation
        starts = [0]
        if self.by_row:
            starts = [i * dh for i in range(kh)]
            kh = 1
        most = self.rows + starts[-1]
        work = xp.empty(channels * kh * kw * most * self.samples * line, x.dtype)
        padded = x = xp.ascontiguousarray(x)
        if any(windows.padding):
            padded = xp.zeros((self.samples, channels, *windows.padded(self.size)), x.dtype)
        for part in self.parts:
            n, count = part.samples.stop - part.samples.start, part.rows.stop - part.rows.start
            source = x[part.samples]
            if windows.plain and n == 1:
                source = source[:, :, part.rows].reshape(groups, self.channels, count * line)
                yield part, [source]
                continue
            if padded is not x:
                if part.rows.start == 0:
                    padded[(slice(n), slice(None), *windows.inside(self.size))] = source
                source = padded[:n]
            shape = channels, kh, kw, count + starts[-1], n, line
            columns = work[: math.prod(shape)].reshape(shape)
            unfold(xp, columns, source, part.rows.start * sh, sh, sw, dh, dw)
            matrix = columns.reshape(groups, self.channels * kh * kw, -1)
            step = n * line
            yield part, [matrix[:, :, i * step : (i + count) * step] for i in starts]


@kernel
def products(
    xp: Any,
    x: Array,
    w: Array,
    bias: Array | None,
    windows: Windows,
    groups: int,
    columns: int = _COLUMNS,
) -> Array:
    """Return the products of all windows of `x` with the weights, plus a bias for each output."""
    dtype = xp.result_type(x, w)
    x, w = x.astype(dtype, copy=False), w.astype(dtype, copy=False)
    outputs = w.shape[0]
    plan = _Plan(x.shape, outputs, windows, groups, columns)
    result = xp.empty((x.shape[0], outputs, *plan.count), dtype)
    weights = plan.weights(xp, w)
    offset = 0 if bias is None else bias.astype(dtype, copy=False).reshape(groups, -1, 1, 1, 1)
    work = xp.empty((2, outputs * plan.places), dtype)
    for part, matrices in plan.columns(xp, x):
        target = part.pick(result, groups)
        total, more = work[:, : target.size].reshape(2, *target.shape[:2], -1)
        xp.matmul(weights[0], matrices[0], out=total)
        for weight, matrix in zip(weights[1:], matrices[1:], strict=True):
            xp.matmul(weight, matrix, out=more)
            total += more
        xp.add(total.reshape(target.shape), offset, out=target)
    return result


@products.cuda
def _(cp: Any, x: Array, w: Array, bias: Array | None, windows: Windows, groups: int) -> Array:
    columns = _CUDA_ELEMENTS // (w[0].size * groups)
    return products.reference(cp, x, w, bias, windows, groups, columns)


@kernel
def sums(
    xp: Any, x: Array, g: Array, windows: Windows, groups: int, columns: int = _COLUMNS
) -> Array:
    """Return the sum over all windows of `x`, each times the values `g` at its place."""
    dtype = xp.result_type(x, g)
    x, g = x.astype(dtype, copy=False), g.astype(dtype, copy=False)
    (kh, kw), outputs = windows.kernel, g.shape[1]
    plan = _Plan(x.shape, outputs, windows, groups, columns)
    count = kh if plan.by_row else 1
    column = plan.channels * kh * kw // count
    totals = xp.empty((count, groups, column, outputs // groups), dtype)
    work = xp.empty(totals.shape[1:], dtype) if len(plan.parts) > 1 else None
    if not plan.parts:
        totals[...] = 0
    turned = xp.empty(plan.places * outputs, dtype)
    for part, matrices in plan.columns(xp, x):
        values = part.pick(g, groups).transpose(0, 2, 3, 4, 1)
        # the product is a third faster when neither factor has to be turned on the way
        rows = turned[: values.size].reshape(values.shape)
        rows[...] = values
        rows = rows.reshape(groups, -1, outputs // groups)
        for total, matrix in zip(totals, matrices, strict=True):
            if part is plan.parts[0]:
                xp.matmul(matrix, rows, out=total)
            else:
                xp.matmul(matrix, rows, out=work)
                total += work
    totals = totals.reshape(count, groups, plan.channels, -1, kw, outputs // groups)
    totals = totals.transpose(1, 5, 2, 0, 3, 4)
    return xp.ascontiguousarray(totals).reshape(outputs, plan.channels, kh, kw)


@sums.cuda
def _(cp: Any, x: Array, g: Array, windows: Windows, groups: int) -> Array:
    kh, kw = windows.kernel
    columns = _CUDA_ELEMENTS // (x.shape[1] * kh * kw)
    return sums.reference(cp, x, g, windows, groups, columns)


@kernel
def spread(
    xp: Any,
    g: Array,
    w: Array,
    size: Pair,
    windows: Windows,
    groups: int,
    columns: int = _COLUMNS,
) -> Array:
    """Return images of `size`: the weights, times `g`, added up at the places of the windows."""
    outputs, channels, kh, kw = w.shape
    mirrored = _mirrored(windows)
    if mirrored is not None and outputs <= 4 * channels * groups:
        # with stride 1 this is a convolution itself, by the weights turned round
        turned = w.reshape(groups, outputs // groups, channels, kh * kw)[..., ::-1]
        turned = xp.ascontiguousarray(turned.swapaxes(1, 2))
        turned = turned.reshape(groups * channels, outputs // groups, kh, kw)
        return products(xp, g, turned, None, mirrored, groups)
    dtype = xp.result_type(g, w)
    g, w = g.astype(dtype, copy=False), w.astype(dtype, copy=False)
    total = channels * groups
    result = xp.empty((g.shape[0], total, *size), dtype)
    plan = _Plan(result.shape, outputs, windows, groups, columns)
    weights = w.reshape(groups, outputs // groups, -1).transpose(0, 2, 1)
    work = xp.empty(total * kh * kw * plan.places, dtype)
    padded = xp.empty((plan.samples, total, *windows.padded(size)), dtype)
    for part in plan.parts:
        values = part.pick(g, groups)
        count, n, line = values.shape[2:]
        blocks = work[: total * kh * kw * count * n * line]
        matrix = blocks.reshape(groups, channels * kh * kw, -1)
        xp.matmul(weights, values.reshape(groups, outputs // groups, -1), out=matrix)
        blocks = blocks.reshape(total, kh, kw, count, n, line)
        if part.rows.start == 0:
            padded[...] = 0
        first = part.rows.start * windows.stride[0]
        fold(xp, padded[:n], blocks, first, *windows.stride, *windows.dilation)
        if part.rows.stop == plan.count[0]:
            result[part.samples] = padded[(slice(n), slice(None), *windows.inside(size))]
    return result


@spread.cuda
def _(cp: Any, g: Array, w: Array, size: Pair, windows: Windows, groups: int) -> Array:
    columns = _CUDA_ELEMENTS // (w[0].size * groups)
    return spread.reference(cp, g, w, size, windows, groups, columns)


def _mirrored(windows: Windows) -> Windows | None:
    """Return the windows of the values in which each element of the image finds its own."""
    (kh, kw), (dh, dw) = windows.kernel, windows.dilation
    top, bottom, left, right = windows.padding
    height, width = dh * (kh - 1), dw * (kw - 1)
    padding = height - top, height - bottom, width - left, width - right
    if windows.stride != (1, 1) or min(padding) < 0:
        return None
    return Windows(windows.kernel, (1, 1), padding, windows.dilation)


@op
def convolve(xp: Any, x: Any, w: Any, /, windows: Windows, groups: int = 1) -> Any:
    """Return the products of the windows of `x` with the weights, (n, o, rows, columns)."""
    return products(xp, x, w, None, windows, groups)


@convolve.gradient("x")
def _(g: Any, w: Any, x_shape: tuple[int, ...], windows: Windows, groups: int) -> Any:
    return convolve_back(g, w, (x_shape[2], x_shape[3]), windows, groups)


@convolve.gradient("w")
def _(g: Any, x: Any, windows: Windows, groups: int) -> Any:
    return correlate(x, g, windows, groups)


@op
def convolve_back(
    xp: Any, values: Any, w: Any, /, size: Pair, windows: Windows, groups: int = 1
) -> Any:
    """Return the gradient of `convolve` for its images, which have `size`."""
    return spread(xp, values, w, size, windows, groups)


@convolve_back.gradient("values")
def _(g: Any, w: Any, windows: Windows, groups: int) -> Any:
    return convolve(g, w, windows, groups)


@convolve_back.gradient("w")
def _(g: Any, values: Any, windows: Windows, groups: int) -> Any:
    return correlate(g, values, windows, groups)


@op
def correlate(xp: Any, x: Any, values: Any, /, windows: Windows, groups: int = 1) -> Any:
    """Return the gradient of `convolve` for its weights."""
    return sums(xp, x, values, windows, groups)


@correlate.gradient("x")
def _(g: Any, values: Any, x_shape: tuple[int, ...], windows: Windows, groups: int) -> Any:
    return convolve_back(values, g, (x_shape[2], x_shape[3]), windows, groups)


@correlate.gradient("values")
def _(g: Any, x: Any, windows: Windows, groups: int) -> Any:
    return convolve(x, g, windows, groups)


@op
def convolve_biased(
    xp: Any, x: Any, w: Any, bias: Any, /, windows: Windows, groups: int = 1
) -> Any:
    """Return `convolve` plus a bias for each output, of the common dtype."""
    return products(xp, x, w, bias, windows, groups)


@convolve_biased.gradient("x")
def _(g: Any, w: Any, x_shape: tuple[int, ...], windows: Windows, groups: int) -> Any:
    return convolve_back(g, w, (x_shape[2], x_shape[3]), windows, groups)


@convolve_biased.gradient("w")
def _(g: Any, x: Any, windows: Windows, groups: int) -> Any:
    return correlate(x, g, windows, groups)


@convolve_biased.gradient("bias")
def _(g: Any) -> Any:
    return g.sum((0, 2, 3))
