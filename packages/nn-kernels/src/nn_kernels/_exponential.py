r"""The exponential function and the logarithm of float32 in vectors, and what softmax needs beside.

:math:`e^x = 2^n e^r` with :math:`n` the integer nearest to :math:`x / \ln 2`: adding
:math:`1.5 \cdot 2^{23}` rounds to an integer and leaves it in the low bits, so that no float is
converted to an integer, and NaN stays NaN. :math:`\ln 2` is subtracted in two parts (Cody, Waite,
*Software Manual for the Elementary Functions*, 1980), the polynomial of degree 7 is that of Cephes'
`expf` (Moshier, 1989), and :math:`2^n` is multiplied in two halves, so that subnormal results are
right. The largest error is about 1 unit in the last place.

The logarithm of :math:`2^n (1 + f)`, with :math:`1 + f` between the roots of 1/2 and 2, is
:math:`n \ln 2` and a polynomial of :math:`f`, that of Cephes' `logf`.
"""

from __future__ import annotations

from collections.abc import Sequence

from nn_kernels._rows import Vector, row_loop

__all__ = ["exp", "exp_and_sum", "exp_of_negative", "log", "maximum_of", "polynomial"]

_LOG2_E, _LN2_HIGH, _LN2_LOW = 1.44269504088896341, 0.693359375, -2.12194440e-4
_ROUND, _ROUND_BITS = 12582912.0, 0x4B400000
_LARGEST, _LEAST = 89.0, -104.0  # beyond: infinity and 0
_SMALL = -86.0  # below it 2ⁿ may be subnormal
_BIAS, _MANTISSA, _ONE_BITS = 127, 23, 0x3F800000
_EXP = (
    1.9875691500e-4,
    1.3981999507e-3,
    8.3334519073e-3,
    4.1665795894e-2,
    1.6666665459e-1,
    5.0000001201e-1,
)
_ROOT_BITS = 0x3F3504F3  # of the root of 1/2
_LOG = (
    7.0376836292e-2,
    -1.1514610310e-1,
    1.1676998740e-1,
    -1.2420140846e-1,
    1.4249322787e-1,
    -1.6668057665e-1,
    2.0000714765e-1,
    -2.4999993993e-1,
    3.3333331174e-1,
)


def polynomial(x: Vector, coefficients: Sequence[float]) -> Vector:
    """Return a polynomial, whose highest coefficient comes first."""
    result = x * coefficients[0] + coefficients[1]
    for coefficient in coefficients[2:]:
        result = result * x + coefficient
    return result


def _reduced_exp(x: Vector) -> tuple[Vector, Vector]:
    """Return e to the power of what is left of x without n times ln 2; n is in the lowest bits."""
    t = x * _LOG2_E + _ROUND
    n = t - _ROUND
    r = (x - n * _LN2_HIGH) - n * _LN2_LOW
    return polynomial(r, _EXP) * (r * r) + r + 1.0, t.bits()


def exp(x: Vector) -> Vector:
    """Return e to the power of float32."""
    y = x.constant(_LARGEST).where(x > _LARGEST, x)
    y = y.constant(_LEAST).where(y < _LEAST, y)
    p, bits = _reduced_exp(y)
    k = bits - _ROUND_BITS
    half = k >> 1
    first = ((half + _BIAS) << _MANTISSA).floats()
    return p * first * ((k - half + _BIAS) << _MANTISSA).floats()


def exp_of_negative(x: Vector) -> Vector:
    """Return e to the power of float32 that are at most 0, or 0 below -86.

    No power is subnormal then, and it takes two thirds of the instructions of `exp`.
    """
    p, bits = _reduced_exp(x)
    power = ((bits << _MANTISSA) + _ONE_BITS).floats()
    return x.constant(0.0).where(x < _SMALL, p * power)


def log(x: Vector) -> Vector:
    """Return the natural logarithm of normal numbers of float32; infinity and NaN stay."""
    bits = x.bits()
    k = (bits - _ROOT_BITS) >> _MANTISSA
    f = (bits - (k << _MANTISSA)).floats() - 1.0
    n = (k + _ROUND_BITS).floats() - _ROUND
    square = f * f
    low = polynomial(f, _LOG) * (square * f) + n * _LN2_LOW - square * 0.5
    return (low + f + n * _LN2_HIGH).where(x < float("inf"), x)


@row_loop(written=1, sums=1, prefetch=1)
def exp_and_sum(x: Vector, shift: Vector) -> tuple[Vector, Vector]:
    """Write the exponentials of the elements minus their maximum, 0 below e^-86; return the sum."""
    e = exp_of_negative(x - shift)
    return e, e


@row_loop(largest=1)
def maximum_of(x: Vector) -> Vector:
    """Return the largest of the elements that are not NaN, or -infinity."""
    return x
