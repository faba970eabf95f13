"""Batch normalization and its gradients, channel by channel.

Each plane stays in the cache while its sums are made, several lanes at a time. A few neighboring
channels are one part of the work, as their planes are next to each other in memory.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from nn_kernels._arrays import contiguous_float32
from nn_kernels._atomics import doubles, floats
from nn_kernels._compile import Job, jit
from nn_kernels._sums import sum_of, sum_of_products, sum_of_squares
from nn_kernels._threads import run

__all__ = [
    "scale_channels",
    "scale_channels_gradient",
    "standardize_channels",
    "standardize_channels_gradient",
]

_FEW = 1 << 13  # up to which NumPy is as fast
_GROUP = 8  # channels of a part: memory is read in long runs
_ZERO, _ONE = np.float32(0), np.float32(1)


@jit("contract")
def _shift_and_scale(x, out, start, count, shift, factor):  # type: ignore[no-untyped-def]
    for i in range(np.uintp(count)):
        out[start + i] = (x[start + i] - shift) * factor


@jit("contract")
def _scale_and_shift(x, out, start, count, factor, shift):  # type: ignore[no-untyped-def]
    for i in range(np.uintp(count)):
        out[start + i] = x[start + i] * factor + shift


@jit("contract")
def _subtract(g, y, out, start, count, mean, projection, factor):  # type: ignore[no-untyped-def]
    for i in range(np.uintp(count)):
        out[start + i] = (g[start + i] - mean - y[start + i] * projection) * factor


def _standardize_job(a, part, thread):  # type: ignore[no-untyped-def]
    x, out, inverse = floats(a[2]), floats(a[3]), floats(a[4])
    means, variances, epsilon = floats(a[5]), floats(a[6]), floats(a[7])[0]
    batch, channels, size = a[8], a[9], a[10]
    first, last = part * _GROUP, min((part + 1) * _GROUP, channels)
    sums = doubles(a[0] + 4 * thread * a[1])  # for each channel the mean, and squared deviations
    for i in range(2 * _GROUP):
        sums[i] = 0
    # Each plane is read once: its own mean and squared deviations are combined with those of the
    # planes before (Chan, Golub and LeVeque, 1979).
    for n in range(batch):
        for c in range(first, last):
            start, i = np.uintp((n * channels + c) * size), 2 * (c - first)
            mean = np.float32(sum_of(x, start, size) / np.float32(size))
            difference = mean - sums[i]
            sums[i] += difference / (n + 1)
            sums[i + 1] += sum_of_squares(x, start, size, mean)
            sums[i + 1] += difference * difference * size * n / (n + 1)
    for c in range(first, last):
        i = 2 * (c - first)
        means[c] = np.float32(sums[i])
        variances[c] = np.float32(sums[i + 1] / (batch * size))
        inverse[c] = _ONE / np.float32(math.sqrt(variances[c] + epsilon))
    for n in range(batch):
        for c in range(first, last):
            start = np.uintp((n * channels + c) * size)
            _shift_and_scale(x, out, start, size, means[c], inverse[c])


def _gradient_job(a, part, thread):  # type: ignore[no-untyped-def]
    g, y, inverse, out = floats(a[2]), floats(a[3]), floats(a[4]), floats(a[5])
    batch, channels, size = a[6], a[7], a[8]
    first, last = part * _GROUP, min((part + 1) * _GROUP, channels)
    sums = doubles(a[0] + 4 * thread * a[1])
    for i in range(2 * _GROUP):
        sums[i] = 0
    for n in range(batch):
        for c in range(first, last):
            start, i = np.uintp((n * channels + c) * size), 2 * (c - first)
            sums[i] += sum_of(g, start, size)
            sums[i + 1] += sum_of_products(g, y, start, size)
    share = 1.0 / (batch * size)
    for n in range(batch):
        for c in range(first, last):
            start, i = np.uintp((n * channels + c) * size), 2 * (c - first)
            mean, projection = np.float32(sums[i] * share), np.float32(sums[i + 1] * share)
            _subtract(g, y, out, start, size, mean, projection, inverse[c])


def _scale_job(a, part, thread):  # type: ignore[no-untyped-def]
    x, weights, bias, out = floats(a[2]), floats(a[3]), floats(a[4]), floats(a[5])
    batch, channels, size = a[6], a[7], a[8]
    for n in range(batch):
        for c in range(part * _GROUP, min((part + 1) * _GROUP, channels)):
            start = np.uintp((n * channels + c) * size)
            _scale_and_shift(x, out, start, size, weights[c], bias[c])


def _scale_gradient_job(a, part, thread):  # type: ignore[no-untyped-def]
    g, x, weights, out = floats(a[2]), floats(a[3]), floats(a[4]), floats(a[5])
    for_weights, for_bias = floats(a[6]), floats(a[7])
    batch, channels, size = a[8], a[9], a[10]
    first, last = part * _GROUP, min((part + 1) * _GROUP, channels)
    sums = doubles(a[0] + 4 * thread * a[1])
    for i in range(2 * _GROUP):
        sums[i] = 0
    for n in range(batch):
        for c in range(first, last):
            start, i = np.uintp((n * channels + c) * size), 2 * (c - first)
            sums[i] += sum_of(g, start, size)
            sums[i + 1] += sum_of_products(g, x, start, size)
            _scale_and_shift(g, out, start, size, weights[c], _ZERO)
    for c in range(first, last):
        i = 2 * (c - first)
        for_weights[c], for_bias[c] = np.float32(sums[i + 1]), np.float32(sums[i])


_STANDARDIZE, _GRADIENT = Job(_standardize_job), Job(_gradient_job)
_SCALE, _SCALE_GRADIENT = Job(_scale_job), Job(_scale_gradient_job)


def _prepare(x: Any, *arrays: Any) -> list[Any] | None:
    """Return contiguous arrays, or None where the reference computes: few elements, or others."""
    return contiguous_float32(x, *arrays) if x.size >= _FEW and x.ndim == 3 else None


def _run(job: Job, arrays: Any, shape: tuple[int, ...]) -> None:
    run(job, (*arrays, *shape), -(-shape[1] // _GROUP), memory=4 * _GROUP)


def _vectors(count: int, number: int) -> list[Any]:
    return [np.empty(count, np.float32) for _ in range(number)]


def standardize_channels(x: Any, epsilon: float) -> Any:
    """Return each channel minus its mean, divided by its standard deviation; and the statistics.

    Args:
        x: float32, ``(batch, channels, elements)``.
        epsilon: added to the variance.

    Returns:
        The result; and for each channel the inverse of the standard deviation, mean and variance.
    """
    if (arrays := _prepare(x)) is None:
        return NotImplemented
    (x,) = arrays
    out, options = np.empty_like(x), np.array([epsilon], np.float32)
    inverse, mean, variance = _vectors(x.shape[1], 3)
    _run(_STANDARDIZE, (x, out, inverse, mean, variance, options), x.shape)
    return out, inverse, mean, variance


def standardize_channels_gradient(g: Any, normal: Any, inverse: Any) -> Any:
    """Return the gradient for the input of `standardize_channels`, from its first two results."""
    fits = g.shape == normal.shape and inverse.shape == g.shape[1:2]
    if not fits or (arrays := _prepare(g, normal, inverse)) is None:
        return NotImplemented
    out = np.empty_like(arrays[0])
    _run(_GRADIENT, (*arrays, out), g.shape)
    return out


def scale_channels(x: Any, weights: Any, bias: Any) -> Any:
    """Return each channel times its weight, plus its bias; `x` is (batch, channels, elements)."""
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
