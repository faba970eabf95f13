"""Convolution of images and its two gradients: the choice between Winograd and the direct form.

Winograd's algorithm has a quarter of the multiplications, and transforms that cost about a third of
its time; so it pays with some channels, and with some tiles for which a weight is transformed. One
order of its work is for many tiles, one for few. The thresholds were measured (two cores with
AVX-512).

The direct form errs by 1e-6 of the largest output, Winograd's by 2e-6 with 64 channels and 4e-6
with 512; an infinity in the input makes NaN of a whole tile of 4×4 outputs, where the direct form
has an infinity or NaN in the 3×3 outputs that see it. ``algorithm="direct"`` avoids both.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from nn_kernels import _direct, _direct_weights, _winograd, _winograd_by_outputs
from nn_kernels._arrays import contiguous_float32
from nn_kernels._atomics import floats
from nn_kernels._compile import Job
from nn_kernels._epilogue import Epilogue
from nn_kernels._rows import at
from nn_kernels._sums import sum_of
from nn_kernels._threads import run
from nn_kernels._windows import PAIRS, output_size, window_numbers
from nn_kernels.matmul import matmul

__all__ = [
    "conv2d",
    "conv2d_bias_gradient",
    "conv2d_input_gradient",
    "conv2d_max_pool2d_relu",
    "conv2d_relu",
    "conv2d_weight_gradient",
]

Pair = tuple[int, int]
_GROUPS = 16  # of channels at most, whose sums are a part each
_SUMMED = 4096  # numbers that are added up in float32
_LEAST = 3, 16, 8  # rows or columns, channels or outputs, and tiles for Winograd's algorithm
_MANY_TILES = 64
# From so many channels and outputs of a group on, products of matrices take less time than the
# direct form: those of the reference for a convolution and its input gradient, and one product for
# the weight gradient of a kernel 1×1.
_MANY, _MANY_OF_POINTWISE = 512, 256


def _winograd_of(
    windows: Any, groups: int, channels: int, outputs: int, batch: int, size: Pair
) -> Any:
    """Return the module with Winograd's algorithm for a convolution with outputs of a size.

    It is None where the algorithm does not fit, or is slower.
    """
    kernel, stride, padding, dilation, algorithm = windows
    fits = (
        kernel == (3, 3)
        and stride == dilation == (1, 1)
        and groups == 1
        and max(padding) <= 2  # so that the input gradient has no negative padding
    )
    if algorithm == "direct" or not fits:
        return None
    low, high = min(channels, outputs), max(channels, outputs)
    tiles = batch * -(-size[0] // 4) * -(-size[1] // 4)
    least = min(size), low, tiles
    if algorithm == "auto" and any(n < m for n, m in zip(least, _LEAST, strict=True)):
        return None
    return _winograd if tiles >= max(_MANY_TILES, high) else _winograd_by_outputs


def _is_product(windows: Any, groups: int, channels: int, outputs: int, many: int) -> bool:
    """Return whether products of matrices compute a convolution faster than the direct form."""
    return windows[4] == "auto" and min(channels, outputs) >= many * groups


def _as_rows(windows: Any, *images: Any) -> list[Any]:
    """Return images with all their elements in one row, if each is a window of its own.

    A few long rows are copied faster than many short ones.
    """
    kernel, stride, padding, _, _ = windows
    if kernel == stride == (1, 1) and not any(padding):
        return [x.reshape(*x.shape[:2], 1, x.shape[2] * x.shape[3]) for x in images]
    return list(images)


def _channels_first(x: Any) -> Any:
    """Return a matrix with a row for each channel of images."""
    return np.ascontiguousarray(x.swapaxes(0, 1)).reshape(x.shape[1], -1)


def _fits(w: tuple[int, ...], windows: Any, groups: int) -> bool:
    """Return whether weights have the size of the windows, and the groups as many outputs each."""
    return 0 not in w and len(w) == 4 and w[2:] == windows[0] and not w[0] % groups


def conv2d(x: Any, w: Any, bias: Any, windows: Any, groups: int) -> Any:
    """Return the convolution of float32 images with weights, plus a bias.

    Args:
        x: images, ``(batch, channels, height, width)``.
        w: weights, ``(outputs, channels / groups, kernel height, kernel width)``.
        bias: ``(outputs,)``, or a number.
        windows: kernel, stride, padding ``(top, bottom, left, right)`` and dilation, each for
            height and width, and the algorithm: ``"winograd"`` for kernels 3×3 with stride 1 (else
            the direct form), ``"direct"`` or ``"auto"``.
        groups: the number of groups of channels.
    """
    return _convolve(x, w, bias, windows, groups, False, False)


def conv2d_relu(x: Any, w: Any, bias: Any, windows: Any, groups: int) -> Any:
    """Return ReLU of `conv2d`, which has the same arguments."""
    return _convolve(x, w, bias, windows, groups, True, False)


def conv2d_max_pool2d_relu(
    x: Any, w: Any, bias: Any, windows: Any, groups: int, pooled: Any
) -> Any:
    """Return ReLU of the maxima of `conv2d` in windows of 2×2, and their indices in the windows.

    Args:
        x: images.
        w: weights.
        bias: ``(outputs,)``, or a number.
        windows: as for `conv2d`.
        groups: the number of groups of channels.
        pooled: the windows of the maxima, as for `max_pool2d`.
    """
    if window_numbers(pooled) != PAIRS or any(pooled[2]):
        return NotImplemented
    return _convolve(x, w, bias, windows, groups, True, True)


def _convolve(
    x: Any, w: Any, bias: Any, windows: Any, groups: int, relu: bool, pooled: bool
) -> Any:
    arrays = contiguous_float32(x, w)
    if arrays is None:
        return NotImplemented
    plan = _plan(x.shape, w.shape, windows, groups)
    if plan is None or np.shape(bias) not in ((), w.shape[:1]):
        return NotImplemented
    winograd, size = plan
    rows, columns = (size[0] // 2, size[1] // 2) if pooled else size
    if not rows or not columns:
        return NotImplemented  # the reference raises
    x, w = arrays
    shape = x.shape[0], w.shape[0], rows, columns
    if isinstance(bias, np.ndarray) and bias.ndim:
        bias = np.ascontiguousarray(bias, np.float32)
    else:
        bias = np.full(shape[1], bias, np.float32)
    out = np.empty(shape, np.float32)
    epilogue = Epilogue(relu, np.empty(shape, np.uint8) if pooled else None)
    _, stride, padding, dilation, _ = windows
    if winograd is not None:
        winograd.convolve(x, w, bias, out, size, (padding[0], padding[2]), False, epilogue)
    else:
        result = out
        if not pooled:
            x, result = _as_rows(windows, x, out)
            size = result.shape[2:]
        _direct.convolve(x, w, bias, result, stride, padding, dilation, groups, size, epilogue)
    return (out, epilogue.index) if pooled else out


@lru_cache(256)
def _plan(
    x: tuple[int, ...], w: tuple[int, ...], windows: Any, groups: int
) -> tuple[Any, Pair] | None:
    """Return the module with Winograd's algorithm, or None, and the size of the result.

    None alone leaves the convolution to the reference.
    """
    if 0 in x or len(x) != 4 or not _fits(w, windows, groups) or x[1] != w[1] * groups:
        return None
    size, outputs = output_size(x[2:], windows), w[0]
    if min(size) < 1:
        return None  # the reference raises
    winograd = _winograd_of(windows, groups, x[1], outputs, x[0], size)
    if winograd is None and _is_product(windows, groups, x[1], outputs, _MANY):
        return None
    return winograd, size


def conv2d_input_gradient(g: Any, w: Any, size: Pair, windows: Any, groups: int) -> Any:
    """Return the gradient for images of `size`, from that of the outputs.

    Args:
        g: the gradient of the outputs, ``(batch, outputs, rows, columns)``.
        w: the weights of the convolution.
        size: height and width of the images.
        windows: as for `conv2d`.
        groups: the number of groups of channels.
    """
    arrays = contiguous_float32(g, w)
    if arrays is None or 0 in g.shape or not _fits(w.shape, windows, groups):
        return NotImplemented
    if g.ndim != 4 or g.shape[1:] != (w.shape[0], *output_size(size, windows)):
        return NotImplemented
    channels, outputs = w.shape[1] * groups, w.shape[0]
    winograd = _winograd_of(windows, groups, channels, outputs, g.shape[0], size)
    if winograd is None and _is_product(windows, groups, channels, outputs, _MANY):
        return NotImplemented
    g, w = arrays
    dx = np.empty((g.shape[0], channels, *size), np.float32)
    _, stride, padding, dilation, _ = windows
    if winograd is not None:
        bias = np.zeros(channels, np.float32)
        winograd.convolve(g, w, bias, dx, size, (2 - padding[0], 2 - padding[2]), flip=True)
    else:
        rows = _as_rows(windows, g, dx)
        _direct.convolve_input_gradient(rows[0], w, rows[1], stride, padding, dilation, groups)
    return dx


def conv2d_weight_gradient(x: Any, g: Any, windows: Any, groups: int) -> Any:
    """Return the gradient for the weights, from the images and the gradient of the outputs.

    Args:
        x: images.
        g: the gradient of the outputs.
        windows: as for `conv2d`.
        groups: the number of groups of channels.
    """
    arrays = contiguous_float32(x, g)
    if arrays is None or 0 in x.shape or 0 in g.shape or not x.ndim == g.ndim == 4:
        return NotImplemented
    (batch, channels), outputs = x.shape[:2], g.shape[1]
    if g.shape[0] != batch or g.shape[2:] != output_size(x.shape[2:], windows):
        return NotImplemented
    if channels % groups or outputs % groups:
        return NotImplemented
    x, g = arrays
    kernel, stride, padding, dilation, _ = windows
    is_pointwise = kernel == (1, 1)
    if is_pointwise and _is_product(windows, groups, channels, outputs, _MANY_OF_POINTWISE):
        if groups > 1 or stride != (1, 1) or any(padding):
            return NotImplemented
        dw = matmul(_channels_first(g), _channels_first(x).T)
        return dw if dw is NotImplemented else dw.reshape(outputs, channels, 1, 1)
    dw = np.empty((outputs, channels // groups, *kernel), np.float32)
    winograd = _winograd_of(windows, groups, channels, outputs, batch, g.shape[2:])
    if winograd is not None:
        winograd.convolve_weight_gradient(x, g, dw, (padding[0], padding[2]))
    else:
        x, g = _as_rows(windows, x, g)
        _direct_weights.convolve_weight_gradient(x, g, dw, stride, padding, dilation, groups)
    return dw


def _sums_job(a, part, thread):  # type: ignore[no-untyped-def]
    g, out = floats(a[2]), floats(a[3])
    batch, channels, size, group = a[4], a[5], a[6], a[7]
    for c in range(part * group, min((part + 1) * group, channels)):
        total = 0.0
        for n in range(batch):
            start = (n * channels + c) * size
            for i in range(0, size, _SUMMED):  # rounding errors grow with the numbers of a sum
                total += sum_of(min(_SUMMED, size - i), at(g, start + i))
        out[c] = np.float32(total)


_SUMS = Job(_sums_job)


def conv2d_bias_gradient(g: Any) -> Any:
    """Return the sums over each channel of float32 images, the gradient of the outputs."""
    arrays = contiguous_float32(g)
    if arrays is None or g.ndim != 4 or not g.size:
        return NotImplemented
    batch, channels, height, width = g.shape
    out = np.empty(channels, np.float32)
    group = -(-channels // _GROUPS)
    run(_SUMS, (*arrays, out, batch, channels, height * width, group), -(-channels // group))
    return out
