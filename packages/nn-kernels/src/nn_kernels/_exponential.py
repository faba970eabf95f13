r"""The exponential function of float32 that becomes vector instructions within a loop.

:math:`e^x = 2^n e^r` with :math:`n` the integer nearest to :math:`x / \ln 2`: adding
:math:`1.5 \cdot 2^{23}` rounds to an integer and leaves it in the low bits, so that no float is
converted to an integer, and NaN stays NaN. :math:`\ln 2` is subtracted in two parts (Cody, Waite,
*Software Manual for the Elementary Functions*, 1980), the polynomial of degree 7 is that of Cephes'
`expf` (Moshier, 1989), and :math:`2^n` is multiplied in two halves, so that subnormal results are
right. The largest error is about 1 unit in the last place.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba.core import types

from nn_kernels._compile import intrinsic, jit

__all__ = ["exp", "maximum_of"]


@intrinsic
def bits_of(typing, x):  # type: ignore[no-untyped-def]
    """Return the bits of a float32 as an integer."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.bitcast(arguments[0], ir.IntType(32))

    return types.int32(types.float32), generate


@intrinsic
def float_of(typing, x):  # type: ignore[no-untyped-def]
    """Return the float32 that has the bits of an integer."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), generate


_LOG2_E = np.float32(1.44269504088896341)
_LN2_HIGH, _LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
_ROUND = np.float32(12582912.0)
_ROUND_BITS = np.int32(0x4B400000)
_LARGEST, _LEAST = np.float32(89.0), np.float32(-104.0)  # beyond: infinity and 0
_C2, _C3, _C4 = (
    np.float32(5.0000001201e-1),
    np.float32(1.6666665459e-1),
    np.float32(4.1665795894e-2),
)
_C5, _C6, _C7 = (
    np.float32(8.3334519073e-3),
    np.float32(1.3981999507e-3),
    np.float32(1.9875691500e-4),
)
_ONE = np.float32(1)
_BIAS, _MANTISSA, _HALF = np.int32(127), np.int32(23), np.int32(1)
_SIGN, _MAGNITUDE = np.int32(31), np.int32(0x7FFFFFFF)


@jit("contract")  # no other order of sums: the rounding would be optimized away
def exp(x):  # type: ignore[no-untyped-def]
    """Return e to the power of a float32."""
    y = _LARGEST if x > _LARGEST else x
    y = _LEAST if y < _LEAST else y
    t = y * _LOG2_E + _ROUND
    n = t - _ROUND
    r = (y - n * _LN2_HIGH) - n * _LN2_LOW
    p = ((((_C7 * r + _C6) * r + _C5) * r + _C4) * r + _C3) * r + _C2
    p = (p * (r * r) + r) + _ONE
    k = np.int32(bits_of(t) - _ROUND_BITS)
    half = np.int32(k >> _HALF)
    first = float_of(np.int32((half + _BIAS) << _MANTISSA))
    return p * first * float_of(np.int32((k - half + _BIAS) << _MANTISSA))


@jit()
def maximum_of(x, start, count):  # type: ignore[no-untyped-def]
    """Return the largest of `count` floats from `start` on, NaN if one of them is a positive NaN.

    They are compared as integers of the same order, because a maximum of floats that propagates NaN
    is not vectorized.
    """
    top = np.int32(-2147483648)
    for i in range(np.uintp(count)):
        k = bits_of(x[start + i])
        k = np.int32(k ^ ((k >> _SIGN) & _MAGNITUDE))
        top = k if k > top else top
    return float_of(np.int32(top ^ ((top >> _SIGN) & _MAGNITUDE)))
