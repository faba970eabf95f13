"""Pooling: windows of an image become one number each."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
from nn_tensor import Tensor, mean
from nn_tensor.extend import kernel, op

from nn_layers._inputs import as_tensor
from nn_layers._module import Base_Layer
from nn_layers._windows import Pair, Windows, image, pair, shown

__all__ = ["AvgPool2D", "GlobalAvgPool2D", "MaxPool2D"]

Array = Any
Sides = tuple[int, int, int, int]

# How many windows the references handle at a time, so that what they need stays in the cache.
_WINDOWS = 1 << 16


def _blocks(shape: tuple[int, ...]) -> Iterator[slice]:
    """Yield slices of the batch with a good number of windows each."""
    step = max(_WINDOWS // max(shape[1] * shape[2] * shape[3], 1), 1)
    return (slice(start, start + step) for start in range(0, shape[0], step))


def _padded(xp: Any, x: Array, windows: Windows, value: Any) -> Array:
    if not any(windows.padding):
        return x
    size = x.shape[2], x.shape[3]
    result = xp.full((*x.shape[:2], *windows.padded(size)), value, x.dtype)
    result[(..., *windows.inside(size))] = x
    return result


def _lowest(dtype: np.dtype[Any]) -> Any:
    """Return the value that is a maximum of nothing."""
    if dtype.kind == "f":
        return dtype.type(-np.inf)
    return dtype.type(np.iinfo(dtype).min if dtype.kind in "iu" else False)


# The largest element of each window, and its place in the window: 0 is top left, then along the
# rows. The place is what the gradient needs; it is a byte, for a window of up to 256 elements.


@kernel
def maxima(
    xp: Any,
    x: Array,
    out: Array,
    index: Array,
    lowest: Any,
    kernel: Pair,
    stride: Pair,
    padding: Sides,
    dilation: Pair,
) -> None:
    """Write the maximum of each window of `x` to `out`, and its place to `index`.

    The first of several equal ones counts; of NaN, the last. `lowest` is no larger than any.
    """
    windows = Windows(kernel, stride, padding, dilation)
    offsets = windows.offsets((out.shape[2], out.shape[3]))
    inside = _first_inside(xp, windows, index)
    for part in _blocks(out.shape):
        padded = _padded(xp, x[part], windows, lowest)
        best, places = out[part], index[part]
        best[...] = padded[(..., *offsets[0])]
        places[...] = 0
        for place, offset in enumerate(offsets[1:], 1):
            value = xp.ascontiguousarray(padded[(..., *offset)])
            larger = value > best
            if x.dtype.kind == "f":
                larger |= value != value
            xp.maximum(best, value, out=best)
            # a later place has a larger number
            xp.maximum(places, larger * index.dtype.type(place), out=places)
        if inside is not None:  # where all is -inf, nothing was larger than the padding
            xp.maximum(places, inside, out=places)


def _first_inside(xp: Any, windows: Windows, index: Array) -> Array | None:
    """Return the first place of each window that is not padding, or None without padding."""
    if not any(windows.padding):
        return None
    first = []
    for axis, before in enumerate((windows.padding[0], windows.padding[2])):
        starts = before - xp.arange(index.shape[2 + axis]) * windows.stride[axis]
        first.append(-(-xp.maximum(starts, 0) // windows.dilation[axis]))
    return (first[0][:, None] * windows.kernel[1] + first[1]).astype(index.dtype)


@maxima.cuda
def _(
    cp: Any,
    x: Array,
    out: Array,
    index: Array,
    lowest: Any,
    kernel: Pair,
    stride: Pair,
    padding: Sides,
    dilation: Pair,
) -> None:
    settings = *x.shape[2:], *out.shape[2:], *kernel, *stride, padding[0], padding[2], *dilation
    _maxima_on_cuda(cp)(x, *settings, out, index)


_SETTINGS = ", ".join(
    f"int64 {name}" for name in "height width rows line kh kw sh sw top left dh dw".split()
)


@functools.cache
def _maxima_on_cuda(cp: Any) -> Any:
    return cp.ElementwiseKernel(
        f"raw T x, {_SETTINGS}",
        "T best, I place",
        """
        const long long q = i % line, p = i / line % rows;
        const long long plane = i / (line * rows) * height * width;
        bool found = false;
        for (long long a = 0; a < kh; ++a) {
            const long long row = p * sh - top + a * dh;
            if (row < 0 || row >= height) continue;
            for (long long b = 0; b < kw; ++b) {
                const long long column = q * sw - left + b * dw;
                if (column < 0 || column >= width) continue;
                const T value = x[plane + row * width + column];
                if (!found || value > best || value != value) {
                    found = true;
                    best = value;
                    place = a * kw + b;
                }
            }
        }
        """,
        "nn_layers_maxima",
    )


@kernel
def scatter(
    xp: Any,
    result: Array,
    values: Array,
    index: Array,
    kernel: Pair,
    stride: Pair,
    padding: Sides,
    dilation: Pair,
) -> None:
    """Fill `result` with zeros to which each window adds its value, at the place `index`."""
    windows = Windows(kernel, stride, padding, dilation)
    offsets = windows.offsets((values.shape[2], values.shape[3]))
    size = result.shape[2], result.shape[3]
    for part in _blocks(values.shape):
        target = result[part]
        target[...] = 0
        padded = _padded(xp, target, windows, 0)
        places, chunk = index[part], values[part]
        for place, offset in enumerate(offsets):
            chosen = _only(xp, chunk, places == place)
            if windows.disjoint:
                padded[(..., *offset)] = chosen
            else:
                padded[(..., *offset)] += chosen
        if padded is not target:
            target[...] = padded[(..., *windows.inside(size))]


def _only(xp: Any, values: Array, mask: Array) -> Array:
    """Return `values` where `mask` is true, and 0 elsewhere, also in place of inf or NaN."""
    if values.dtype.itemsize > 8:
        return xp.where(mask, values, values.dtype.type(0))
    bits = values.view(f"i{values.dtype.itemsize}")  # three times as fast as `where`
    return (bits & -mask.view("i1")).view(values.dtype)


@scatter.cpu
def _(result, values, index, kernel, stride, padding, dilation):  # type: ignore[no-untyped-def]
    height, width = result.shape[2:]
    rows, line = values.shape[2:]
    target, source, places = result.reshape(-1), values.reshape(-1), index.reshape(-1)
    steps = np.empty(kernel[0] * kernel[1], np.intp)
    for place in range(steps.size):
        down, right = place // kernel[1] * dilation[0], place % kernel[1] * dilation[1]
        steps[place] = (down - padding[0]) * width + right - padding[2]
    target[:] = 0
    for plane in range(values.shape[0] * values.shape[1]):
        for p in range(rows):
            start = np.uintp((plane * rows + p) * line)
            corner = (plane * height + p * stride[0]) * width
            for q in range(np.uintp(line)):
                # unsigned, since others may count from the end, which takes time
                element = corner + np.intp(q) * stride[1] + steps[places[start + q]]
                target[np.uintp(element)] += source[start + q]


@scatter.cuda
def _(
    cp: Any,
    result: Array,
    values: Array,
    index: Array,
    kernel: Pair,
    stride: Pair,
    padding: Sides,
    dilation: Pair,
) -> None:
    settings = (
        *result.shape[2:], *values.shape[2:], *kernel, *stride, padding[0], padding[2], *dilation
    )  # fmt: skip
    _scatter_on_cuda(cp)(values, index, *settings, result)


@functools.cache
def _scatter_on_cuda(cp: Any) -> Any:
    # each element looks for the windows that chose it: sums in one order, without atomics
    return cp.ElementwiseKernel(
        f"raw T values, raw I index, {_SETTINGS}",
        "T result",
        """
        const long long x = i % width, y = i / width % height;
        const long long plane = i / (width * height) * rows * line;
        T sum = 0;
        for (long long a = 0; a < kh; ++a) {
            const long long row = y + top - a * dh;
            if (row < 0 || row % sh != 0 || row / sh >= rows) continue;
            for (long long b = 0; b < kw; ++b) {
                const long long column = x + left - b * dw;
                if (column < 0 || column % sw != 0 || column / sw >= line) continue;
                const long long window = plane + row / sh * line + column / sw;
                if (index[window] == a * kw + b) sum += values[window];
            }
        }
        result = sum;
        """,
        "nn_layers_scatter",
    )


@kernel
def choose(
    xp: Any,
    out: Array,
    x: Array,
    index: Array,
    kernel: Pair,
    stride: Pair,
    padding: Sides,
    dilation: Pair,
) -> None:
    """Write the element of each window of `x` at the place `index` to `out`."""
    windows = Windows(kernel, stride, padding, dilation)
    padded = _padded(xp, x, windows, 0)
    for place, offset in enumerate(windows.offsets((out.shape[2], out.shape[3]))):
        xp.copyto(out, padded[(..., *offset)], where=index == place)


@op(keeps=("index",))
def max_pool(xp: Any, x: Any, /, windows: Windows) -> Any:
    """Return the maximum of each window, and keep its place."""
    shape = *x.shape[:2], *windows.fit((x.shape[2], x.shape[3]))
    out = xp.empty(shape, x.dtype)
    kh, kw = windows.kernel
    index = xp.empty(shape, np.uint8 if kh * kw <= 256 else np.int32)
    maxima(xp, xp.ascontiguousarray(x), out, index, _lowest(x.dtype), *windows)
    return out, index


@max_pool.gradient("x")
def _(g: Any, index: Any, x_shape: tuple[int, ...], windows: Windows) -> Any:
    return place_back(g, index, (x_shape[2], x_shape[3]), windows)


@op
def place_back(xp: Any, g: Any, index: Any, /, size: Pair, windows: Windows) -> Any:
    """Return images of `size`: each value of `g` where `index` says, and zeros."""
    result = xp.empty((*g.shape[:2], *size), g.dtype)
    scatter(xp, result, xp.ascontiguousarray(g), index, *windows)
    return result


@place_back.gradient("g")
def _(g: Any, index: Any, windows: Windows) -> Any:
    return place_of(g, index, windows)


@op
def place_of(xp: Any, x: Any, index: Any, /, windows: Windows) -> Any:
    """Return the element of each window that `index` says."""
    out = xp.empty(index.shape, x.dtype)
    choose(xp, out, x, index, *windows)
    return out


@place_of.gradient("x")
def _(g: Any, index: Any, x_shape: tuple[int, ...], windows: Windows) -> Any:
    return place_back(g, index, (x_shape[2], x_shape[3]), windows)


# Sums over windows, and each window's value added to all of it, are each other's gradient.


@op
def average(xp: Any, x: Any, /, windows: Windows) -> Any:
    """Return the mean of each window, in which padding counts as zeros."""
    out = xp.empty((*x.shape[:2], *windows.fit((x.shape[2], x.shape[3]))), x.dtype)
    first, *offsets = windows.offsets((out.shape[2], out.shape[3]))
    for part in _blocks(out.shape):
        padded = _padded(xp, x[part], windows, 0)
        total = out[part]
        total[...] = padded[(..., *first)]
        for offset in offsets:
            total += padded[(..., *offset)]
        total /= len(offsets) + 1
    return out


@average.gradient("x")
def _(g: Any, x_shape: tuple[int, ...], windows: Windows) -> Any:
    return average_back(g, (x_shape[2], x_shape[3]), windows)


@op
def average_back(xp: Any, g: Any, /, size: Pair, windows: Windows) -> Any:
    """Return images of `size`, to which each window adds its equal share of `g`."""
    result = xp.zeros((*g.shape[:2], *size), g.dtype)
    offsets = windows.offsets((g.shape[2], g.shape[3]))
    for part in _blocks(g.shape):
        target = result[part]
        padded = _padded(xp, target, windows, 0)
        share = g[part] / len(offsets)
        for offset in offsets:
            if windows.disjoint:
                padded[(..., *offset)] = share
            else:
                padded[(..., *offset)] += share
        if padded is not target:
            target[...] = padded[(..., *windows.inside(size))]
    return result


@average_back.gradient("g")
def _(g: Any, windows: Windows) -> Any:
    return average(g, windows)


class _Pool(Base_Layer):
    """What both kinds of pooling are given."""

    def __init__(
        self,
        kernel_size: int | Pair = 2,
        stride: int | Pair | None = 2,
        padding: int | Pair = 0,
        name: str | None = None,
    ) -> None:
        super().__init__()
        self.kernel_size = pair("kernel_size", kernel_size)
        self.stride = self.kernel_size if stride is None else pair("stride", stride)
        self.padding = pair("padding", padding, least=0)
        self.name = name
        if any(2 * p > k for p, k in zip(self.padding, self.kernel_size, strict=True)):
            raise ValueError(
                f"padding: expected at most half of kernel_size {shown(self.kernel_size)}, got "
                f"{padding!r}"
            )
        (top, left), (kh, kw) = self.padding, self.kernel_size
        self._windows = Windows((kh, kw), self.stride, (top, top, left, left))

    def _check(self, x: Tensor) -> None:
        self._windows.fit(_pixels(x.shape))

    def extra_repr(self) -> str:
        """Return the settings."""
        text = f"{self.kernel_size[0]}×{self.kernel_size[1]}, stride={shown(self.stride)}"
        return text if self.padding == (0, 0) else f"{text}, padding={shown(self.padding)}"


class MaxPool2D(_Pool):
    r"""The maximum of each window of an image.

    .. math:: y_{ncpq} = \max_{i < k_h,\, j < k_w} x_{nc,\; p s_h + i - p_h,\; q s_w + j - p_w}

    with kernel :math:`k`, stride :math:`s` and padding :math:`p`, which never is the maximum
    (Ranzato, Huang, Boureau and LeCun, "Unsupervised Learning of Invariant Feature Hierarchies",
    2007). The gradient goes to the maximum; of several equal elements, to the first. A window with
    NaN gives NaN. Windows that do not fit into the padded image are dropped, as in PyTorch.

    Shapes: ``(batch, channels, height, width)`` to ``(batch, channels, rows, columns)``, with
    ``rows = (height + 2 * padding - kernel_size) // stride + 1``. The dtype stays.

    Args:
        kernel_size: the size of the windows: one number, or height and width.
        stride: how far they are apart: one number, a pair, or None for `kernel_size`.
        padding: how many rows or columns lie around the image, up to half of `kernel_size`.
        name: shown in the description and in errors.

    Raises:
        ValueError: if a setting is out of range; when called, if the input does not have four
            axes, an image is empty or no window fits.
        TypeError: if a setting is not an integer or a pair; when called, if the input is complex.

    >>> pool = MaxPool2D(kernel_size=2, stride=2)
    >>> pool(Tensor([[[[1.0, 5.0, 2.0], [3.0, 4.0, 9.0]]]]))
    Tensor([[[[5.]]]])
    """

    def forward(self, x: Any) -> Tensor:
        """Return the maximum of each window."""
        x = as_tensor(x)
        self._check(x)
        if x.dtype.kind == "c":
            raise TypeError(f"input is {x.dtype}, and complex numbers have no maximum")
        result: Tensor = max_pool(x, self._windows)
        return result


class AvgPool2D(_Pool):
    r"""The mean of each window of an image.

    .. math:: y_{ncpq} = \frac{1}{k_h k_w} \sum_{i < k_h,\, j < k_w}
        x_{nc,\; p s_h + i - p_h,\; q s_w + j - p_w}

    with kernel :math:`k`, stride :math:`s` and padding :math:`p`, which counts as zeros (LeCun,
    Bottou, Bengio and Haffner, "Gradient-Based Learning Applied to Document Recognition", 1998,
    section II, without the trained factor). Windows that do not fit are dropped, as in PyTorch.

    Shapes: ``(batch, channels, height, width)`` to ``(batch, channels, rows, columns)``, with
    ``rows = (height + 2 * padding - kernel_size) // stride + 1``. Floating; the dtype stays.

    Args:
        kernel_size: the size of the windows: one number, or height and width.
        stride: how far they are apart: one number, a pair, or None for `kernel_size`.
        padding: how many rows or columns lie around the image, up to half of `kernel_size`.
        name: shown in the description and in errors.

    Raises:
        ValueError: if a setting is out of range; when called, if the input does not have four
            axes, an image is empty or no window fits.
        TypeError: if a setting is not an integer or a pair; when called, if the input is not
            floating.

    >>> AvgPool2D()(Tensor([[[[1.0, 5.0, 2.0], [2.0, 4.0, 9.0]]]]))
    Tensor([[[[3.]]]])
    """

    def forward(self, x: Any) -> Tensor:
        """Return the mean of each window."""
        x = as_tensor(x)
        self._check(x)
        _check_floats(x)
        result: Tensor = average(x, self._windows)
        return result


class GlobalAvgPool2D(Base_Layer):
    r"""The mean of each channel of an image, :math:`y_{nc} = \frac{1}{HW} \sum_{pq} x_{ncpq}`.

    In place of `Flatten` in front of the last layer it takes images of any size (Lin, Chen and
    Yan, "Network In Network", 2014, section 3.2).

    Shapes: ``(batch, channels, height, width)`` to ``(batch, channels)``. Floating; the dtype
    stays.

    Raises:
        ValueError: when called, if the input does not have four axes or an image is empty.
        TypeError: when called, if the input is not floating.

    >>> from nn_tensor import ones
    >>> GlobalAvgPool2D()(ones(2, 3, 7, 5)).shape
    (2, 3)
    """

    def forward(self, x: Any) -> Tensor:
        """Return the mean of each channel."""
        x = as_tensor(x)
        _pixels(x.shape)
        _check_floats(x)
        return mean(x, (2, 3))


def _pixels(shape: tuple[int, ...]) -> Pair:
    height, width = image(shape)
    if height * width == 0:
        raise ValueError(f"input has images of {height}×{width}, expected at least one pixel")
    return height, width


def _check_floats(x: Tensor) -> None:
    if x.dtype.kind != "f":
        raise TypeError(f"input is {x.dtype}, expected floats; convert it with .astype('float32')")
