r"""Convolution of images: an operation that is linear in the images and in the weights.

For images :math:`x`, weights :math:`w` and values :math:`g` at the windows, let
:math:`T(x, w, g) = \sum g_{nopq} \, w_{ocij} \, x_{nc,\,ps+id,\,qs+jd}`. `conv2d` is its derivative
with respect to `g`, `conv2d_input_gradient` (the transposed convolution) with respect to `x`, and
`conv2d_weight_gradient` with respect to `w`: so each has the other two as its gradients, in every
order.

With the `fast` extra of nn-tensor, nn-kernels convolves float32 arrays on the CPU. The references
here, for other dtypes, for CUDA and for NumPy alone, are products of matrices. The windows of a few
samples are written as the columns of a matrix (Chellapilla, Puri and Simard, "High Performance
Convolutional Neural Networks for Document Processing", 2006, section 3) that stays in the cache,
and that the next samples overwrite: the columns of a whole batch would be many times its size.
Where a sample is large, its windows are unfolded along the width only. Those that belong to one row
of the kernel are then a slice, and the products for all rows add up: a third of the copies for a
kernel 3×3.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from nn_tensor import broadcast_to, sum
from nn_tensor.extend import accumulation_dtype, kernel, matrix_product, op

from nn_layers.ops.im2col import col2im, im2col
from nn_layers.ops.windows import Pair, Windows

__all__ = [
    "conv2d",
    "conv2d_backward_bias",
    "conv2d_backward_input",
    "conv2d_backward_weight",
    "conv2d_bias_gradient",
    "conv2d_forward",
    "conv2d_input_gradient",
    "conv2d_weight_gradient",
]

Array = Any

# About how many columns a product has. With fewer, a processor spends its time on reading the
# weights, with more on waiting for memory; a GPU wants few products, and has memory for many
# elements.
_COLUMNS = 1024
_CUDA_ELEMENTS = 1 << 26
# The least length of a column when only one row of the kernel is in it.
_MIN_ROW_LENGTH = 48
# Then the weights are reordered, which pays off with so many columns for each output.
_MIN_COLUMNS_PER_OUTPUT = 8


class _Tile(NamedTuple):
    """Some samples, and of them some rows of windows."""

    samples: slice
    rows: slice

    def select(self, values: Array, groups: int) -> Array:
        """Return its part of values at the windows, (n, o, rows, width), as (g, o, rows, n, width).

        That is the order of the columns: a slice of them is all samples of some rows.
        """
        values = values[self.samples, :, self.rows]
        n, o, rows, width = values.shape
        return values.reshape(n, groups, o // groups, rows, width).transpose(1, 2, 3, 0, 4)


class _Tiling:
    """How one convolution is divided into products of matrices."""

    def __init__(
        self,
        x_shape: tuple[int, ...],
        outputs: int,
        windows: Windows,
        groups: int,
        max_columns: int,
    ) -> None:
        batch, channels, height, width = x_shape
        self.windows, self.groups = windows, groups
        self.size = height, width
        self.output_size = rows, columns = windows.output_size(self.size)
        self.channels = channels // groups
        kh, kw = windows.kernel
        self.by_row = (
            kh > 1
            and max_columns <= _COLUMNS  # a GPU is faster with one large product
            and windows.stride[0] == 1
            and self.channels * kw >= _MIN_ROW_LENGTH
            and batch * rows * columns >= _MIN_COLUMNS_PER_OUTPUT * outputs
        )
        self.samples = min(max(max_columns // (rows * columns), 1), max(batch, 1))
        self.rows = min(max(max_columns // columns, 1), rows)
        self.columns = self.samples * self.rows * columns  # of the largest tile
        self.tiles = [
            _Tile(slice(n, min(n + self.samples, batch)), slice(p, min(p + self.rows, rows)))
            for n in range(0, batch, self.samples)
            for p in range(0, rows, self.rows)
        ]

    def weights(self, xp: Any, w: Array) -> Array:
        """Return the weights as (products, groups, outputs, column)."""
        if not self.by_row:
            return w.reshape(1, self.groups, -1, w[0].size)
        rows = xp.ascontiguousarray(w.transpose(2, 0, 1, 3))
        return rows.reshape(rows.shape[0], self.groups, -1, rows[0, 0].size)

    def matrices(self, xp: Any, x: Array) -> Iterator[tuple[_Tile, list[Array]]]:
        """Yield for each tile the matrix of each product: (groups, column, columns)."""
        windows, groups = self.windows, self.groups
        width, channels = self.output_size[1], x.shape[1]
        (kh, kw), (dh, _) = windows.kernel, windows.dilation
        starts = [0]
        if self.by_row:
            starts = [i * dh for i in range(kh)]
            kh = 1
        max_rows = self.rows + starts[-1]
        work = xp.empty(channels * kh * kw * max_rows * self.samples * width, x.dtype)
        padded = x = xp.ascontiguousarray(x)
        if any(windows.padding):
            padded = xp.zeros((self.samples, channels, *windows.padded_size(self.size)), x.dtype)
        for tile in self.tiles:
            n, rows = tile.samples.stop - tile.samples.start, tile.rows.stop - tile.rows.start
            source = x[tile.samples]
            if windows.is_pointwise and n == 1:
                source = source[:, :, tile.rows].reshape(groups, self.channels, rows * width)
                yield tile, [source]
                continue
            if padded is not x:
                if tile.rows.start == 0:
                    padded[(slice(n), slice(None), *windows.interior(self.size))] = source
                source = padded[:n]
            shape = channels, kh, kw, rows + starts[-1], n, width
            columns = work[: math.prod(shape)].reshape(shape)
            first = tile.rows.start * windows.stride[0]
            im2col(xp, columns, source, first, windows.stride, windows.dilation)
            matrix = columns.reshape(groups, self.channels * kh * kw, -1)
            step = n * width
            yield tile, [matrix[:, :, i * step : (i + rows) * step] for i in starts]


@kernel
def conv2d_forward(
    xp: Any,
    x: Array,
    w: Array,
    bias: Array | float,
    windows: Windows,
    groups: int,
    max_columns: int = _COLUMNS,
) -> Array:
    """Return the products of all windows of `x` with the weights, plus a bias for each output."""
    outputs, dtype = w.shape[0], xp.result_type(x, w)
    tiling = _Tiling(x.shape, outputs, windows, groups, max_columns)
    result = xp.empty((x.shape[0], outputs, *tiling.output_size), dtype)
    dtype = accumulation_dtype(dtype) or dtype  # in which the products are added up
    x, w = x.astype(dtype, copy=False), w.astype(dtype, copy=False)
    if not isinstance(bias, float):
        bias = bias.astype(dtype, copy=False).reshape(groups, -1, 1, 1, 1)
    weights = tiling.weights(xp, w)
    work = xp.empty((2, outputs * tiling.columns), dtype)
    for tile, matrices in tiling.matrices(xp, x):
        target = tile.select(result, groups)
        total, product = work[:, : target.size].reshape(2, *target.shape[:2], -1)
        _multiply(xp, weights[0], matrices[0], total)
        for weight, matrix in zip(weights[1:], matrices[1:], strict=True):
            _multiply(xp, weight, matrix, product)
            total += product
        xp.add(total.reshape(target.shape), bias, out=target)
    return result


conv2d_forward.cpu("conv2d")


@conv2d_forward.cuda
def _(cp: Any, x: Array, w: Array, bias: Array | float, windows: Windows, groups: int) -> Array:
    max_columns = _CUDA_ELEMENTS // (w[0].size * groups)
    return conv2d_forward.reference(cp, x, w, bias, windows, groups, max_columns)


@op(precision="low")
def conv2d(xp: Any, x: Any, w: Any, bias: Any, /, windows: Windows, groups: int = 1) -> Any:
    """Return the cross-correlation of images with weights, plus a bias, which may be 0.0.

    Args:
        x: images, ``(batch, in_channels, height, width)``.
        w: weights, ``(out_channels, in_channels / groups, kernel height, kernel width)``.
        bias: ``(out_channels,)``, or 0.0. The dtype of the result is that of `x` and `w`.
        windows: the size, stride, padding and dilation of the windows.
        groups: the number of groups of channels.
    """
    return conv2d_forward(xp, x, w, bias, windows, groups)


@conv2d.gradient("x")
def _(g: Any, w: Any, x_shape: tuple[int, ...], windows: Windows, groups: int) -> Any:
    return conv2d_input_gradient(g, w, (x_shape[2], x_shape[3]), windows, groups)


@conv2d.gradient("w")
def _(g: Any, x: Any, windows: Windows, groups: int) -> Any:
    return conv2d_weight_gradient(x, g, windows, groups)


@conv2d.gradient("bias")
def _(g: Any) -> Any:
    return conv2d_bias_gradient(g)


@kernel
def conv2d_backward_bias(xp: Any, g: Array) -> Array:
    """Return the sum over each channel of `g`."""
    return sum(g, (0, 2, 3))


conv2d_backward_bias.cpu("conv2d_bias_gradient")


@op
def conv2d_bias_gradient(xp: Any, values: Any, /) -> Any:
    """Return the gradient of `conv2d` with respect to its bias: the sum over each channel."""
    return conv2d_backward_bias(xp, values)


@conv2d_bias_gradient.gradient("values")
def _(g: Any, values_shape: tuple[int, ...]) -> Any:
    return broadcast_to(g.reshape(1, g.shape[0], 1, 1), values_shape)


@kernel
def conv2d_backward_input(
    xp: Any,
    g: Array,
    w: Array,
    size: Pair,
    windows: Windows,
    groups: int,
    max_columns: int = _COLUMNS,
) -> Array:
    """Return images of `size`: the sum over all windows of the weights, times `g`."""
    outputs, channels, kh, kw = w.shape
    flipped = _flipped(windows)
    if flipped is not None and outputs <= 4 * channels * groups:
        # with stride 1 this is a convolution itself, with the weights flipped
        weights = w.reshape(groups, outputs // groups, channels, kh * kw)[..., ::-1]
        weights = xp.ascontiguousarray(weights.swapaxes(1, 2))
        weights = weights.reshape(groups * channels, outputs // groups, kh, kw)
        return conv2d_forward.reference(xp, g, weights, 0.0, flipped, groups, max_columns)
    dtype = xp.result_type(g, w)
    total = channels * groups
    result = xp.empty((g.shape[0], total, *size), dtype)
    dtype = accumulation_dtype(dtype) or dtype  # in which the windows are added up
    g, w = g.astype(dtype, copy=False), w.astype(dtype, copy=False)
    tiling = _Tiling(result.shape, outputs, windows, groups, max_columns)
    weights = w.reshape(groups, outputs // groups, -1).transpose(0, 2, 1)
    work = xp.empty(total * kh * kw * tiling.columns, dtype)
    padded = xp.empty((tiling.samples, total, *windows.padded_size(size)), dtype)
    for tile in tiling.tiles:
        values = tile.select(g, groups)
        rows, n, width = values.shape[2:]
        columns = work[: total * kh * kw * rows * n * width]
        matrix = columns.reshape(groups, channels * kh * kw, -1)
        _multiply(xp, weights, values.reshape(groups, outputs // groups, -1), matrix)
        if tile.rows.start == 0:
            padded[...] = 0
        columns = columns.reshape(total, kh, kw, rows, n, width)
        first = tile.rows.start * windows.stride[0]
        col2im(xp, padded[:n], columns, first, windows.stride, windows.dilation)
        if tile.rows.stop == tiling.output_size[0]:
            result[tile.samples] = padded[(slice(n), slice(None), *windows.interior(size))]
    return result


def _multiply(xp: Any, x: Array, y: Array, out: Array) -> None:
    """Write the product of two matrices for each group."""
    if len(x) == 1:
        matrix_product(x[0], y[0], out=out[0])
    else:
        xp.matmul(x, y, out=out)


def _flipped(windows: Windows) -> Windows | None:
    """Return the windows whose convolution with flipped weights is the input gradient, if any."""
    (kh, kw), (dh, dw) = windows.kernel, windows.dilation
    top, bottom, left, right = windows.padding
    height, width = dh * (kh - 1), dw * (kw - 1)
    padding = height - top, height - bottom, width - left, width - right
    if windows.stride != (1, 1) or min(padding) < 0:
        return None
    return Windows(windows.kernel, (1, 1), padding, windows.dilation, windows.algorithm)


conv2d_backward_input.cpu("conv2d_input_gradient")


@conv2d_backward_input.cuda
def _(cp: Any, g: Array, w: Array, size: Pair, windows: Windows, groups: int) -> Array:
    max_columns = _CUDA_ELEMENTS // (w[0].size * groups)
    return conv2d_backward_input.reference(cp, g, w, size, windows, groups, max_columns)


@op(precision="low")
def conv2d_input_gradient(
    xp: Any, values: Any, w: Any, /, size: Pair, windows: Windows, groups: int = 1
) -> Any:
    """Return the gradient of `conv2d` with respect to its input, images of `size`.

    It is the transposed convolution of `values`, (batch, out_channels, out_height, out_width).
    """
    return conv2d_backward_input(xp, values, w, size, windows, groups)


@conv2d_input_gradient.gradient("values")
def _(g: Any, w: Any, windows: Windows, groups: int) -> Any:
    return conv2d(g, w, 0.0, windows, groups)


@conv2d_input_gradient.gradient("w")
def _(g: Any, values: Any, windows: Windows, groups: int) -> Any:
    return conv2d_weight_gradient(g, values, windows, groups)


@kernel
def conv2d_backward_weight(
    xp: Any, x: Array, g: Array, windows: Windows, groups: int, max_columns: int = _COLUMNS
) -> Array:
    """Return the sum over all windows of `x`, each times the values `g` there."""
    result_dtype = xp.result_type(x, g)
    dtype = accumulation_dtype(result_dtype) or result_dtype  # in which the samples are added up
    x, g = x.astype(dtype, copy=False), g.astype(dtype, copy=False)
    (kh, kw), outputs = windows.kernel, g.shape[1]
    tiling = _Tiling(x.shape, outputs, windows, groups, max_columns)
    products = kh if tiling.by_row else 1
    column = tiling.channels * kh * kw // products
    totals = xp.empty((products, groups, column, outputs // groups), dtype)
    work = xp.empty(totals.shape[1:], dtype) if len(tiling.tiles) > 1 else None
    if not tiling.tiles:
        totals[...] = 0
    transposed = xp.empty(tiling.columns * outputs, dtype)
    for tile, matrices in tiling.matrices(xp, x):
        values = tile.select(g, groups).transpose(0, 2, 3, 4, 1)
        # the product is a third faster when neither factor has to be transposed on the way
        rows = transposed[: values.size].reshape(values.shape)
        rows[...] = values
        rows = rows.reshape(groups, -1, outputs // groups)
        for total, matrix in zip(totals, matrices, strict=True):
            if tile is tiling.tiles[0]:
                _multiply(xp, matrix, rows, total)
            else:
                _multiply(xp, matrix, rows, work)
                total += work
    totals = totals.reshape(products, groups, tiling.channels, -1, kw, outputs // groups)
    totals = totals.transpose(1, 5, 2, 0, 3, 4)
    totals = xp.ascontiguousarray(totals, result_dtype)
    return totals.reshape(outputs, tiling.channels, kh, kw)


conv2d_backward_weight.cpu("conv2d_weight_gradient")


@conv2d_backward_weight.cuda
def _(cp: Any, x: Array, g: Array, windows: Windows, groups: int) -> Array:
    kh, kw = windows.kernel
    max_columns = _CUDA_ELEMENTS // (x.shape[1] * kh * kw)
    return conv2d_backward_weight.reference(cp, x, g, windows, groups, max_columns)


@op
def conv2d_weight_gradient(
    xp: Any, x: Any, values: Any, /, windows: Windows, groups: int = 1
) -> Any:
    """Return the gradient of `conv2d` with respect to its weights."""
    return conv2d_backward_weight(xp, x, values, windows, groups)


@conv2d_weight_gradient.gradient("x")
def _(g: Any, values: Any, x_shape: tuple[int, ...], windows: Windows, groups: int) -> Any:
    return conv2d_input_gradient(values, g, (x_shape[2], x_shape[3]), windows, groups)


@conv2d_weight_gradient.gradient("values")
def _(g: Any, x: Any, windows: Windows, groups: int) -> Any:
    return conv2d(x, g, 0.0, windows, groups)
