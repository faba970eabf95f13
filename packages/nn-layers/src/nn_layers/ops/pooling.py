"""The operations of pooling: the maximum or the mean of each window of an image.

The references handle one element of all windows at a time, and a few samples at a time.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from nn_tensor import argmax, gather
from nn_tensor.extend import accumulation_dtype, kernel, op

from nn_layers.ops.windows import Pair, Windows

__all__ = [
    "avg_pool2d",
    "avg_pool2d_backward",
    "avg_pool2d_forward",
    "avg_pool2d_gradient",
    "gather_by_window_index",
    "global_max",
    "max_pool2d",
    "max_pool2d_backward",
    "max_pool2d_forward",
    "max_unpool2d",
]

Array = Any

_BLOCK = 1 << 16  # windows that the references handle at a time, so that they stay in the cache


def _blocks(shape: tuple[int, ...]) -> Iterator[slice]:
    """Yield slices of the batch with about `_BLOCK` windows each."""
    step = max(_BLOCK // max(shape[1] * shape[2] * shape[3], 1), 1)
    return (slice(start, start + step) for start in range(0, shape[0], step))


def _output_shape(x: Array, windows: Windows) -> tuple[int, int, int, int]:
    batch, channels, height, width = x.shape
    return batch, channels, *windows.output_size((height, width))


def _pad(xp: Any, x: Array, windows: Windows, value: Any) -> Array:
    if not any(windows.padding):
        return x
    size = x.shape[2], x.shape[3]
    result = xp.full((*x.shape[:2], *windows.padded_size(size)), value, x.dtype)
    result[(..., *windows.interior(size))] = x
    return result


def _write_windows(
    xp: Any, out: Array, values: Iterable[Array], windows: Windows, output_size: Pair
) -> None:
    """Write the sums of `values`, one array for each element of the windows, to `out`."""
    filled = output_size[0] * windows.kernel[0], output_size[1] * windows.kernel[1]
    if windows != Windows(windows.kernel, windows.kernel) or filled != out.shape[2:]:
        out[...] = 0  # else the windows lie side by side, and have all elements
    padded = _pad(xp, out, windows, 0)
    for value, place in zip(values, windows.slices(output_size), strict=False):
        if windows.is_disjoint:
            padded[(..., *place)] = value
        else:
            padded[(..., *place)] += value
    if padded is not out:
        out[...] = padded[(..., *windows.interior(out.shape[2:]))]


# The CUDA kernels take the sizes of the images and of the output, and the windows.
_SIZES = ", ".join(
    f"int64 {name}" for name in "height width rows columns kh kw sh sw top left dh dw".split()
)


def _sizes(image: Array, output: Array, windows: Windows) -> tuple[int, ...]:
    kernel, stride, (top, _, left, _), dilation, _ = windows
    return *image.shape[2:], *output.shape[2:], *kernel, *stride, top, left, *dilation


@kernel
def max_pool2d_forward(xp: Any, x: Array, windows: Windows) -> tuple[Array, Array]:
    """Return the maximum of each window of `x`, and the index of its element in the window.

    The index counts along the rows of the window, from 0; it is a byte where that suffices. Of
    several equal elements the first counts; of NaN, the last.
    """
    shape = _output_shape(x, windows)
    out, index = xp.empty(shape, x.dtype), xp.empty(shape, _index_dtype(windows))
    slices = windows.slices(shape[2:])
    inside = _first_inside(xp, windows, index)
    for block in _blocks(shape):
        padded = _pad(xp, x[block], windows, _lowest(x.dtype))
        best, indices = out[block], index[block]
        best[...] = padded[(..., *slices[0])]
        indices[...] = 0
        for element, place in enumerate(slices[1:], 1):
            value = xp.ascontiguousarray(padded[(..., *place)])
            larger = value > best
            xp.maximum(best, value, out=best)
            # a later element has a larger index
            xp.maximum(indices, larger * index.dtype.type(element), out=indices)
        if x.dtype.kind == "f" and xp.isnan(best).any():
            for element, place in enumerate(slices):
                xp.copyto(indices, element, where=xp.isnan(padded[(..., *place)]))
        if inside is not None:  # where all is -inf, nothing was larger than the padding
            xp.maximum(indices, inside, out=indices)
    return out, index


def _index_dtype(windows: Windows) -> type[np.integer[Any]]:
    return np.uint8 if windows.kernel[0] * windows.kernel[1] <= 256 else np.int32


def _lowest(dtype: np.dtype[Any]) -> Any:
    """Return the least value of a dtype, which is the maximum of nothing."""
    if dtype.kind == "f":
        return dtype.type(-np.inf)
    return dtype.type(np.iinfo(dtype).min if dtype.kind in "iu" else False)


def _first_inside(xp: Any, windows: Windows, index: Array) -> Array | None:
    """Return the index of the first element of each window that is not padding, if there is any."""
    if not any(windows.padding):
        return None
    first = []
    for axis, before in enumerate((windows.padding[0], windows.padding[2])):
        starts = before - xp.arange(index.shape[2 + axis]) * windows.stride[axis]
        first.append(-(-xp.maximum(starts, 0) // windows.dilation[axis]))
    return (first[0][:, None] * windows.kernel[1] + first[1]).astype(index.dtype)


max_pool2d_forward.cpu("max_pool2d")


@max_pool2d_forward.cuda
def _(cp: Any, x: Array, windows: Windows) -> tuple[Array, Array]:
    shape = _output_shape(x, windows)
    out, index = cp.empty(shape, x.dtype), cp.empty(shape, _index_dtype(windows))
    _max_pool2d_forward_on_cuda(cp)(x, *_sizes(x, out, windows), out, index)
    return out, index


@functools.cache
def _max_pool2d_forward_on_cuda(cp: Any) -> Any:
    return cp.ElementwiseKernel(
        f"raw T x, {_SIZES}",
        "T best, I index",
        """
        const long long q = i % columns, p = i / columns % rows;
        const long long plane = i / (columns * rows) * height * width;
        bool found = false;
        for (long long a = 0; a < kh; ++a) {
            const long long y = p * sh - top + a * dh;
            if (y < 0 || y >= height) continue;
            for (long long b = 0; b < kw; ++b) {
                const long long z = q * sw - left + b * dw;
                if (z < 0 || z >= width) continue;
                const T value = x[plane + y * width + z];
                if (!found || value > best || value != value) {
                    found = true;
                    best = value;
                    index = a * kw + b;
                }
            }
        }
        """,
        "nn_layers_max_pool2d_forward",
    )


@op(keeps=("index",))
def max_pool2d(xp: Any, x: Any, /, windows: Windows) -> Any:
    """Return the maximum of each window of images, (batch, channels, height, width)."""
    return max_pool2d_forward(xp, xp.ascontiguousarray(x), windows)


@max_pool2d.gradient("x")
def _(g: Any, index: Any, x_shape: tuple[int, ...], windows: Windows) -> Any:
    return max_unpool2d(g, index, (x_shape[2], x_shape[3]), windows)


@kernel
def max_pool2d_backward(xp: Any, g: Array, index: Array, out: Array, windows: Windows) -> None:
    """Write images to `out`: zeros, to which each window adds its `g` at its element `index`."""
    elements = range(windows.kernel[0] * windows.kernel[1])
    for block in _blocks(g.shape):
        values, indices, target = g[block], index[block], out[block]
        parts = (_keep(xp, values, indices == element) for element in elements)
        _write_windows(xp, target, parts, windows, g.shape[2:])


def _keep(xp: Any, values: Array, mask: Array) -> Array:
    """Return `values` where `mask` is true, and 0 elsewhere, also in place of inf or NaN."""
    if values.dtype.itemsize > 8:
        return xp.where(mask, values, values.dtype.type(0))
    bits = values.view(f"i{values.dtype.itemsize}")  # times 1 or 0: four times as fast as `where`
    return (mask.astype(bits.dtype) * bits).view(values.dtype)


max_pool2d_backward.cpu("max_pool2d_gradient")


@max_pool2d_backward.cuda
def _(cp: Any, g: Array, index: Array, out: Array, windows: Windows) -> None:
    _max_pool2d_backward_on_cuda(cp)(g, index, *_sizes(out, g, windows), out)


@functools.cache
def _max_pool2d_backward_on_cuda(cp: Any) -> Any:
    # each element looks for the windows that chose it: sums in one order, without atomics
    return cp.ElementwiseKernel(
        f"raw T g, raw I index, {_SIZES}",
        "T result",
        """
        const long long x = i % width, y = i / width % height;
        const long long plane = i / (width * height) * rows * columns;
        T sum = 0;
        for (long long a = 0; a < kh; ++a) {
            const long long p = y + top - a * dh;
            if (p < 0 || p % sh != 0 || p / sh >= rows) continue;
            for (long long b = 0; b < kw; ++b) {
                const long long q = x + left - b * dw;
                if (q < 0 || q % sw != 0 || q / sw >= columns) continue;
                const long long window = plane + p / sh * columns + q / sw;
                if (index[window] == a * kw + b) sum += g[window];
            }
        }
        result = sum;
        """,
        "nn_layers_max_pool2d_backward",
    )


@op
def max_unpool2d(xp: Any, g: Any, index: Any, /, size: Pair, windows: Windows) -> Any:
    """Return the gradient of `max_pool2d` for images of `size`, from the index that it keeps."""
    dtype = accumulation_dtype(g.dtype) or g.dtype
    out = xp.empty((*g.shape[:2], *size), dtype)
    values, index = (xp.ascontiguousarray(a) for a in (g.astype(dtype, copy=False), index))
    max_pool2d_backward(xp, values, index, out, windows)
    return out.astype(g.dtype, copy=False)


@max_unpool2d.gradient("g")
def _(g: Any, index: Any, windows: Windows) -> Any:
    return gather_by_window_index(g, index, windows)


@op
def gather_by_window_index(xp: Any, x: Any, index: Any, /, windows: Windows) -> Any:
    """Return the element `index` of each window of images."""
    out = xp.empty(index.shape, x.dtype)
    padded = _pad(xp, x, windows, 0)
    for element, place in enumerate(windows.slices(out.shape[2:])):
        xp.copyto(out, padded[(..., *place)], where=index == element)
    return out


@gather_by_window_index.gradient("x")
def _(g: Any, index: Any, x_shape: tuple[int, ...], windows: Windows) -> Any:
    return max_unpool2d(g, index, (x_shape[2], x_shape[3]), windows)


@kernel
def avg_pool2d_forward(xp: Any, x: Array, windows: Windows) -> Array:
    """Return the mean of each window of `x`, in which padding counts as zeros."""
    out, wide = xp.empty(_output_shape(x, windows), x.dtype), accumulation_dtype(x.dtype)
    first, *slices = windows.slices(out.shape[2:])
    for block in _blocks(out.shape):
        padded = _pad(xp, x[block], windows, 0)
        total = out[block] if wide is None else xp.empty(out[block].shape, wide)
        total[...] = padded[(..., *first)]
        for place in slices:
            total += padded[(..., *place)]
        total /= len(slices) + 1
        if wide is not None:
            out[block] = total
    return out


avg_pool2d_forward.cpu("avg_pool2d")


@op
def avg_pool2d(xp: Any, x: Any, /, windows: Windows) -> Any:
    """Return the mean of each window of images, in which padding counts as zeros."""
    return avg_pool2d_forward(xp, x, windows)


@avg_pool2d.gradient("x")
def _(g: Any, x_shape: tuple[int, ...], windows: Windows) -> Any:
    return avg_pool2d_gradient(g, (x_shape[2], x_shape[3]), windows)


@kernel
def avg_pool2d_backward(xp: Any, g: Array, out: Array, windows: Windows) -> None:
    """Write images to `out`: zeros, to which each window adds its share of `g`."""
    for block in _blocks(g.shape):
        values, target = g[block].astype(out.dtype, copy=False), out[block]
        share = itertools.repeat(values / (windows.kernel[0] * windows.kernel[1]))
        _write_windows(xp, target, share, windows, g.shape[2:])


avg_pool2d_backward.cpu("avg_pool2d_gradient")


@op
def avg_pool2d_gradient(xp: Any, g: Any, /, size: Pair, windows: Windows) -> Any:
    """Return the gradient of `avg_pool2d` with respect to its input, images of `size`."""
    out = xp.empty((*g.shape[:2], *size), accumulation_dtype(g.dtype) or g.dtype)
    avg_pool2d_backward(xp, g, out, windows)
    return out.astype(g.dtype, copy=False)


@avg_pool2d_gradient.gradient("g")
def _(g: Any, windows: Windows) -> Any:
    return avg_pool2d(g, windows)


def global_max(x: Any) -> Any:
    """Return the maximum of each channel of (batch, channels, ...); the first one has the gradient.

    Raises:
        TypeError: if `x` is complex.
    """
    if x.dtype.kind == "c":
        raise TypeError(f"input is {x.dtype}, and complex numbers have no maximum")
    rows = x.reshape(x.shape[0], x.shape[1], math.prod(x.shape[2:]))
    best = argmax(rows, -1)
    return gather(rows, best.reshape(*best.shape, 1)).reshape(*best.shape)
