r"""Batch normalization and its gradients, and weights and bias for channels alone.

Neighboring channels are one part of the work, as their planes are next to each other in memory:
as many as stay in the cache from the sums over them to the result. Only the mean and the inverse
:math:`s` of the standard deviation of each channel are kept, and the backward pass reads `x` again.

With the incoming gradient :math:`d`, the weight :math:`w` and :math:`z = (x - \mu) s`, the gradient
is :math:`s w \, (d - \overline{d} - z \, \overline{d z})`, where a line means the mean over the
channel.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from nn_kernels._arrays import contiguous_float32
from nn_kernels._atomics import doubles, floats
from nn_kernels._compile import Job
from nn_kernels._rows import at, row_loop
from nn_kernels._sums import sum_of
from nn_kernels._threads import run

__all__ = ["batch_norm", "batch_norm_gradient", "scale_channels", "scale_channels_gradient"]

_FEW = 1 << 13  # up to which NumPy is as fast
_CACHED = 1 << 17  # elements of an array that stay in the cache until they are read again
_PARTS = 8  # at least, where there are as many channels: threads share them evenly


@row_loop(written=1)
def _normalize(x: Any, mean: Any, factor: Any, shift: Any) -> Any:
    return (x - mean) * factor + shift


@row_loop(written=1)
def _scale_and_shift(x: Any, factor: Any, shift: Any) -> Any:
    return x * factor + shift


@row_loop(written=1)
def _project(g: Any, x: Any, mean: Any, shift: Any, slope: Any, factor: Any) -> Any:
    return (g - shift - (x - mean) * slope) * factor


@row_loop(sums=2)
def _deviations(x: Any, center: Any) -> Any:
    """Return the sums of the differences from `center` and of their squares."""
    difference = x - center
    return difference, difference * difference


@row_loop(sums=2)
def _sums(g: Any, x: Any, mean: Any) -> Any:
    """Return the sums of ``g`` and ``g * (x - mean)``."""
    return g, g * (x - mean)


@row_loop(written=1, sums=2)
def _scale_and_return_sums(g: Any, x: Any, factor: Any) -> Any:
    """Write ``g * factor``; return the sums of ``g`` and ``g * x``."""
    return g * factor, g, g * x


def _forward_job(a, part, thread):  # type: ignore[no-untyped-def]
    x, weights, bias, out = floats(a[2]), floats(a[3]), floats(a[4]), floats(a[5])
    means, variances, inverse = floats(a[6]), floats(a[7]), floats(a[8])
    epsilon, batch, channels, size, group = floats(a[9])[0], a[10], a[11], a[12], a[13]
    first, last = part * group, min((part + 1) * group, channels)
    sums = doubles(a[0] + 4 * thread * a[1])  # for each channel the mean, and squared deviations
    for i in range(2 * group):
        sums[i] = 0
    # Each plane is read once: its own mean and squared deviations are combined with those of the
    # planes before (Chan, Golub and LeVeque, 1979). They are computed from the differences from the
    # mean of those planes, so what is lost where that is far away is little beside the distance.
    share = 1.0 / size
    for c in range(first, last):
        sums[2 * (c - first)] = sum_of(size, at(x, c * size)) * share
    for n in range(batch):
        new = 1.0 / (n + 1)
        old = size * n * new
        for c in range(first, last):
            start, i = (n * channels + c) * size, 2 * (c - first)
            center = np.float32(sums[i])
            total, squares = _deviations(size, at(x, start), center)
            move = np.float64(total) * share
            difference = center - sums[i] + move
            sums[i] += difference * new
            sums[i + 1] += squares - move * total + difference * difference * old
    for c in range(first, last):
        i = 2 * (c - first)
        means[c] = np.float32(sums[i])
        variances[c] = np.float32(sums[i + 1] / (batch * size))
        if variances[c] < 0:  # rounding, where all elements are equal; NaN stays
            variances[c] = 0
        inverse[c] = np.float32(1) / np.float32(math.sqrt(variances[c] + epsilon))
        sums[i] -= means[c]  # what float32 cannot hold
    for n in range(batch):
        for c in range(first, last):
            start, i = (n * channels + c) * size, 2 * (c - first)
            factor = inverse[c] * weights[c]
            shift = np.float32(bias[c] - sums[i] * factor)
            _normalize(size, at(out, start), at(x, start), means[c], factor, shift)


def _backward_job(a, part, thread):  # type: ignore[no-untyped-def]
    g, x, means, inverse = floats(a[2]), floats(a[3]), floats(a[4]), floats(a[5])
    weights, out, for_weights, for_bias = floats(a[6]), floats(a[7]), floats(a[8]), floats(a[9])
    batch, channels, size, group = a[10], a[11], a[12], a[13]
    first, last = part * group, min((part + 1) * group, channels)
    sums = doubles(a[0] + 4 * thread * a[1])
    for i in range(2 * group):
        sums[i] = 0
    for n in range(batch):
        for c in range(first, last):
            start, i = (n * channels + c) * size, 2 * (c - first)
            total, product = _sums(size, at(g, start), at(x, start), means[c])
            sums[i] += total
            sums[i + 1] += product
    share = 1.0 / (batch * size)
    for c in range(first, last):
        i = 2 * (c - first)
        scale = np.float64(inverse[c])
        for_bias[c], for_weights[c] = np.float32(sums[i]), np.float32(sums[i + 1] * scale)
        sums[i], sums[i + 1] = sums[i] * share, sums[i + 1] * share * scale * scale
    for n in range(batch):
        for c in range(first, last):
            start, i = (n * channels + c) * size, 2 * (c - first)
            shift, slope = np.float32(sums[i]), np.float32(sums[i + 1])
            factor = inverse[c] * weights[c]
            arrays = at(g, start), at(x, start)
            _project(size, at(out, start), *arrays, means[c], shift, slope, factor)


def _scale_job(a, part, thread):  # type: ignore[no-untyped-def]
    x, weights, bias, out = floats(a[2]), floats(a[3]), floats(a[4]), floats(a[5])
    batch, channels, size, group = a[6], a[7], a[8], a[9]
    for n in range(batch):
        for c in range(part * group, min((part + 1) * group, channels)):
            start = (n * channels + c) * size
            _scale_and_shift(size, at(out, start), at(x, start), weights[c], bias[c])


def _scale_gradient_job(a, part, thread):  # type: ignore[no-untyped-def]
    g, x, weights, out = floats(a[2]), floats(a[3]), floats(a[4]), floats(a[5])
    for_weights, for_bias = floats(a[6]), floats(a[7])
    batch, channels, size, group = a[8], a[9], a[10], a[11]
    first, last = part * group, min((part + 1) * group, channels)
    sums = doubles(a[0] + 4 * thread * a[1])
    for i in range(2 * group):
        sums[i] = 0
    for n in range(batch):
        for c in range(first, last):
            start, i = (n * channels + c) * size, 2 * (c - first)
            arrays = at(g, start), at(x, start)
            total, product = _scale_and_return_sums(size, at(out, start), *arrays, weights[c])
            sums[i] += total
            sums[i + 1] += product
    for c in range(first, last):
        i = 2 * (c - first)
        for_weights[c], for_bias[c] = np.float32(sums[i + 1]), np.float32(sums[i])


_FORWARD, _BACKWARD = Job(_forward_job), Job(_backward_job)
_SCALE, _SCALE_GRADIENT = Job(_scale_job), Job(_scale_gradient_job)


def _prepare(x: Any, *arrays: Any) -> list[Any] | None:
    """Return contiguous arrays, or None where the reference computes: few elements, or others."""
    if x.size < _FEW or x.ndim < 3 or x.size == x.shape[0] * x.shape[1]:
        return None
    return contiguous_float32(x, *arrays)


def _run(job: Job, arrays: Any, shape: tuple[int, ...]) -> None:
    (batch, channels), size = shape[:2], math.prod(shape[2:])
    group = max(1, min(channels // _PARTS, _CACHED // (batch * size)))
    parts = -(-channels // group)
    run(job, (*arrays, batch, channels, size, group), parts, memory=4 * group)


def _vectors(count: int, number: int) -> list[Any]:
    return [np.empty(count, np.float32) for _ in range(number)]


def batch_norm(x: Any, weights: Any, bias: Any, epsilon: float) -> Any:
    """Return each channel standardized, times its weight, plus its bias; and the statistics.

    Args:
        x: float32, ``(batch, channels, ...)``.
        weights: for each channel.
        bias: for each channel.
        epsilon: added to the variance.

    Returns:
        The result; and for each channel mean, variance and the inverse of the standard deviation.
    """
    fits = weights.shape == bias.shape == x.shape[1:2]
    if not fits or (arrays := _prepare(x, weights, bias)) is None:
        return NotImplemented
    out, options = np.empty_like(arrays[0]), np.array([epsilon], np.float32)
    mean, variance, inverse = _vectors(x.shape[1], 3)
    _run(_FORWARD, (*arrays, out, mean, variance, inverse, options), x.shape)
    return out, mean, variance, inverse


def batch_norm_gradient(g: Any, x: Any, mean: Any, inverse: Any, weights: Any) -> Any:
    """Return the gradients of `batch_norm` for its input, weights and bias, from its statistics."""
    fits = g.shape == x.shape and mean.shape == inverse.shape == weights.shape == x.shape[1:2]
    if not fits or (arrays := _prepare(g, x, mean, inverse, weights)) is None:
        return NotImplemented
    out = np.empty_like(arrays[0])
    for_weights, for_bias = _vectors(g.shape[1], 2)
    _run(_BACKWARD, (*arrays, out, for_weights, for_bias), g.shape)
    return out, for_weights, for_bias


def scale_channels(x: Any, weights: Any, bias: Any) -> Any:
    """Return each channel times its weight, plus its bias; `x` is (batch, channels, ...)."""
    fits = weights.shape == bias.shape == x.shape[1:2]
    if not fits or (arrays := _prepare(x, weights, bias)) is None:
        return NotImplemented
    out = np.empty_like(arrays[0])
    _run(_SCALE, (*arrays, out), x.shape)
    return out


def scale_channels_gradient(g: Any, x: Any, weights: Any) -> Any:
    """Return the gradients of `scale_channels` for its input, weights and bias."""
    fits = g.shape == x.shape and weights.shape == x.shape[1:2]
    if not fits or (arrays := _prepare(g, x, weights)) is None:
        return NotImplemented
    out = np.empty_like(arrays[0])
    for_weights, for_bias = _vectors(g.shape[1], 2)
    _run(_SCALE_GRADIENT, (*arrays, out, for_weights, for_bias), g.shape)
    return out, for_weights, for_bias
