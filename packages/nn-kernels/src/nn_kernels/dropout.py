"""Dropout: the mask and the product with it, 16 random bits an element.

The bits are those of NumPy's ``Philox(key=key).random_raw``, by Philox4x64-10 (Salmon, Moraes, Dror
and Shaw, "Parallel random numbers: as easy as 1, 2, 3", 2011): ten rounds of two products of 64
bits turn a counter into four words. As every counter is independent of the others, parts of the
array are computed by several threads.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from llvmlite import ir

from nn_kernels._atomics import floats, integers, unsigned_shorts
from nn_kernels._compile import Job, intrinsic, subroutine, types
from nn_kernels._threads import run

__all__ = ["apply_dropout"]

_BLOCK = 1 << 13  # elements of a part
_WORDS = 4  # of a counter; a word has the bits of four elements
_MULTIPLIER_A, _MULTIPLIER_C = np.uint64(0xD2E7470EE14C6C93), np.uint64(0xCA5A826395121157)
_STEP_A, _STEP_B = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBB67AE8584CAA73B)
_ZERO = np.float32(0)


@intrinsic
def _multiply_high(typing, x, y):  # type: ignore[no-untyped-def]
    """Return the upper 64 bits of a product."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        wide = ir.IntType(128)
        product = builder.mul(*(builder.zext(argument, wide) for argument in arguments))
        return builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), ir.IntType(64))

    return types.uint64(types.uint64, types.uint64), generate


@subroutine()
def _fill_words(words, first, count, key_a, key_b):  # type: ignore[no-untyped-def]
    """Write the words of `count` counters from `first` on."""
    zero = np.uint64(0)
    for i in range(count):
        a, b, c, d = np.uint64(first + i), zero, zero, zero
        p, q = np.uint64(key_a), np.uint64(key_b)
        for _ in range(10):
            high_a, low_a = _multiply_high(_MULTIPLIER_A, a), _MULTIPLIER_A * a
            high_c, low_c = _multiply_high(_MULTIPLIER_C, c), _MULTIPLIER_C * c
            a, b, c, d = high_c ^ b ^ p, low_c, high_a ^ d ^ q, low_a
            p, q = p + _STEP_A, q + _STEP_B
        words[4 * i] = np.int64(a)
        words[4 * i + 1] = np.int64(b)
        words[4 * i + 2] = np.int64(c)
        words[4 * i + 3] = np.int64(d)


@subroutine()
def _apply(x, bits, out, mask, start, count, threshold, factor):  # type: ignore[no-untyped-def]
    start = np.uintp(start)
    for i in range(np.uintp(count)):
        v = factor if np.int32(bits[i]) >= threshold else _ZERO
        mask[start + i] = v
        out[start + i] = x[start + i] * v


def _job(a, part, thread):  # type: ignore[no-untyped-def]
    start = part * _BLOCK
    count = min(_BLOCK, a[6] - start)
    memory = a[0] + 4 * thread * a[1]
    counters = (count + 4 * _WORDS - 1) // (4 * _WORDS)
    _fill_words(integers(memory), start // (4 * _WORDS) + 1, counters, a[7], a[8])
    factor, threshold = floats(a[5])[0], np.int32(a[9])
    bits = unsigned_shorts(memory)
    _apply(floats(a[2]), bits, floats(a[3]), floats(a[4]), start, count, threshold, factor)


_JOB = Job(_job)


def apply_dropout(x: Any, p: float, key: tuple[int, int]) -> Any:
    """Return float32 `x` times its mask, and the mask: 0, or ``1 / (1 - p)`` where it is kept.

    Args:
        x: an array.
        p: the probability of 0, rounded to a multiple of 1/65,536.
        key: two integers of 64 bits.
    """
    if x.dtype != np.float32 or not x.size or sys.byteorder != "little":
        return NotImplemented
    x = np.ascontiguousarray(x).reshape(x.shape)
    out, mask = np.empty(x.shape, np.float32), np.empty(x.shape, np.float32)
    factor = np.array([1 / (1 - p) if p < 1 else 0.0], np.float32)
    words = np.array(key, np.uint64).view(np.int64).tolist()
    arguments = x, out, mask, factor, x.size, *words, round(p * 65536)
    run(_JOB, arguments, -(-x.size // _BLOCK), memory=_BLOCK // 2)
    return out, mask
