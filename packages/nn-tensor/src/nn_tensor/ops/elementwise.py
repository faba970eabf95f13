"""Mathematical functions, element by element.

What is piecewise constant (`floor`, `round`, ...) has no rule: no gradient flows through it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from nn_tensor._bfloat16 import clip_array, refuse_bfloat16
from nn_tensor._convert import array_module, refuse_masked
from nn_tensor._graph import Variable
from nn_tensor._numpy_options import explained, refuse
from nn_tensor._op import op
from nn_tensor._op_type import function
from nn_tensor.ops import special
from nn_tensor.ops.activations import sigmoid
from nn_tensor.ops.indexing import keep_where, where
from nn_tensor.ops.logic import isfinite, isinf

if TYPE_CHECKING:
    from nn_tensor._tensor import Tensor

__all__ = [
    "arccos",
    "arccosh",
    "arcsin",
    "arcsinh",
    "arctan",
    "arctan2",
    "arctanh",
    "ceil",
    "clip",
    "cos",
    "cosh",
    "erf",
    "exp",
    "exp2",
    "expm1",
    "floor",
    "hypot",
    "log",
    "log10",
    "log1p",
    "log2",
    "logaddexp",
    "maximum",
    "minimum",
    "nan_to_num",
    "sin",
    "sinh",
    "sqrt",
    "tan",
    "tanh",
    "trunc",
]

LN2 = math.log(2.0)
LN10 = math.log(10.0)


# Exponents and logarithms


@op(precision="full")
def exp(xp: Any, x: Any, /) -> Any:
    """Return ``e**x``.

    >>> from nn_tensor import Tensor, exp
    >>> exp(Tensor([0.0, -1000.0]))
    Tensor([1., 0.])
    """
    return xp.exp(x)


@exp.gradient("x")
def _(g: Any, out: Any) -> Any:
    return g * out


@op(precision="full")
def exp2(xp: Any, x: Any, /) -> Any:
    """Return ``2**x``.

    >>> from nn_tensor import Tensor, exp2
    >>> exp2(Tensor([0.0, 3.0]))
    Tensor([1., 8.])
    """
    return xp.exp2(x)


@exp2.gradient("x")
def _(g: Any, out: Any) -> Any:
    return g * out * LN2


@op(precision="full")
def expm1(xp: Any, x: Any, /) -> Any:
    """Return ``e**x - 1``, accurate near 0.

    >>> from nn_tensor import Tensor, expm1
    >>> expm1(Tensor([0.0, -1000.0]))
    Tensor([ 0., -1.])
    """
    return xp.expm1(x)


@expm1.gradient("x")
def _(g: Any, out: Any) -> Any:
    return g * (out + 1)


@op(precision="full")
def log(xp: Any, x: Any, /) -> Any:
    """Return the natural logarithm.

    >>> from nn_tensor import Tensor, log
    >>> log(Tensor([1.0]))
    Tensor([0.])
    """
    return xp.log(x)


@log.gradient("x")
def _(g: Any, x: Any) -> Any:
    return g / x


@op(precision="full")
def log2(xp: Any, x: Any, /) -> Any:
    """Return the logarithm to base 2.

    >>> from nn_tensor import Tensor, log2
    >>> log2(Tensor([1.0, 8.0]))
    Tensor([0., 3.])
    """
    return xp.log2(x)


@log2.gradient("x")
def _(g: Any, x: Any) -> Any:
    return g / (x * LN2)


@op(precision="full")
def log10(xp: Any, x: Any, /) -> Any:
    """Return the logarithm to base 10.

    >>> from nn_tensor import Tensor, log10
    >>> log10(Tensor([1.0, 100.0]))
    Tensor([0.       , 2.0000002])
    """
    return xp.log10(x)


@log10.gradient("x")
def _(g: Any, x: Any) -> Any:
    return g / (x * LN10)


@op(precision="full")
def log1p(xp: Any, x: Any, /) -> Any:
    """Return ``log(1 + x)``, accurate near 0.

    >>> from nn_tensor import Tensor, log1p
    >>> log1p(Tensor([0.0]))
    Tensor([0.])
    """
    return xp.log1p(x)


@log1p.gradient("x")
def _(g: Any, x: Any) -> Any:
    return g / (1 + x)


@op(precision="full")
def logaddexp(xp: Any, x: Any, y: Any, /) -> Any:
    r"""Return :math:`\log(e^x + e^y)` without overflow.

    >>> from nn_tensor import Tensor, logaddexp
    >>> logaddexp(Tensor([1000.0]), Tensor([0.0]))
    Tensor([1000.])
    """
    return xp.logaddexp(x, y)


@logaddexp.gradient("x")
def _(g: Any, x: Any, y: Any) -> Any:
    return g * sigmoid(_difference(x, y))


@logaddexp.gradient("y")
def _(g: Any, x: Any, y: Any) -> Any:
    return g * sigmoid(_difference(y, x))


def _difference(x: Any, y: Any) -> Any:
    """Return ``x - y``, and 0 where both are the same infinity."""
    if not hasattr(x, "dtype"):  # a Python number gets the precision of the other
        x = array_module(y).asarray(x, y.dtype)
    if not hasattr(y, "dtype"):
        y = array_module(x).asarray(y, x.dtype)
    same = (x == y) & isinf(x)
    return where(same, 0, x) - where(same, 0, y)


@op
def sqrt(xp: Any, x: Any, /) -> Any:
    """Return the square root.

    >>> from nn_tensor import Tensor, sqrt
    >>> sqrt(Tensor([4.0, 9.0]))
    Tensor([2., 3.])
    """
    return xp.sqrt(x)


@sqrt.gradient("x")
def _(g: Any, out: Any) -> Any:
    return g / (2 * out)


# Trigonometric functions


@op
def sin(xp: Any, x: Any, /) -> Any:
    """Return the sine of `x` in radians.

    >>> from nn_tensor import Tensor, sin
    >>> sin(Tensor([0.0]))
    Tensor([0.])
    """
    return xp.sin(x)


@sin.gradient("x")
def _(g: Any, x: Any) -> Any:
    return g * cos(x)


@op
def cos(xp: Any, x: Any, /) -> Any:
    """Return the cosine of `x` in radians.

    >>> from nn_tensor import Tensor, cos
    >>> cos(Tensor([0.0]))
    Tensor([1.])
    """
    return xp.cos(x)


@cos.gradient("x")
def _(g: Any, x: Any) -> Any:
    return -g * sin(x)


@op(precision="full")
def tan(xp: Any, x: Any, /) -> Any:
    """Return the tangent of `x` in radians.

    >>> from nn_tensor import Tensor, tan
    >>> tan(Tensor([0.0]))
    Tensor([0.])
    """
    return xp.tan(x)


@tan.gradient("x")
def _(g: Any, out: Any) -> Any:
    return g * (1 + out * out)


@op(precision="full")
def arcsin(xp: Any, x: Any, /) -> Any:
    """Return the angle in [-pi/2, pi/2] whose sine is `x`.

    >>> from nn_tensor import Tensor, arcsin
    >>> arcsin(Tensor([0.0]))
    Tensor([0.])
    """
    return xp.arcsin(x)


@arcsin.gradient("x")
def _(g: Any, x: Any) -> Any:
    return g / sqrt((1 - x) * (1 + x))


@op(precision="full")
def arccos(xp: Any, x: Any, /) -> Any:
    """Return the angle in [0, pi] whose cosine is `x`.

    >>> from nn_tensor import Tensor, arccos
    >>> arccos(Tensor([1.0]))
    Tensor([0.])
    """
    return xp.arccos(x)


@arccos.gradient("x")
def _(g: Any, x: Any) -> Any:
    return -g / sqrt((1 - x) * (1 + x))


@op
def arctan(xp: Any, x: Any, /) -> Any:
    """Return the angle in [-pi/2, pi/2] whose tangent is `x`.

    >>> from nn_tensor import Tensor, arctan
    >>> arctan(Tensor([0.0]))
    Tensor([0.])
    """
    return xp.arctan(x)


@arctan.gradient("x")
def _(g: Any, x: Any) -> Any:
    return g / (1 + x * x)


@op
def arctan2(xp: Any, y: Any, x: Any, /) -> Any:
    """Return the angle, in [-pi, pi], of the point with coordinates `x` and `y`.

    Its gradient at (0, 0) is 0.

    >>> from nn_tensor import Tensor, arctan2
    >>> arctan2(Tensor([0.0]), Tensor([1.0]))
    Tensor([0.])
    """
    return xp.arctan2(y, x)


@arctan2.gradient("y")
def _(g: Any, y: Any, x: Any) -> Any:
    length = _distance(x, y)
    return g * (x / length) / length


@arctan2.gradient("x")
def _(g: Any, y: Any, x: Any) -> Any:
    length = _distance(x, y)
    return -g * (y / length) / length


def _distance(x: Any, y: Any) -> Any:
    """Return the distance to (0, 0), whose square may under- or overflow; 1 at (0, 0) itself."""
    length = hypot(x, y)
    return where(length == 0, 1, length)


@op(precision="full")
def hypot(xp: Any, x: Any, y: Any, /) -> Any:
    r"""Return :math:`\sqrt{x^2 + y^2}` without overflow; its gradient at (0, 0) is 0.

    >>> from nn_tensor import Tensor, hypot
    >>> hypot(Tensor([3.0]), Tensor([4.0]))
    Tensor([5.])
    """
    return xp.hypot(x, y)


@hypot.gradient("x")
def _(g: Any, x: Any, out: Any) -> Any:
    return g * (x / where(out == 0, 1, out))


@hypot.gradient("y")
def _(g: Any, y: Any, out: Any) -> Any:
    return g * (y / where(out == 0, 1, out))


# Hyperbolic functions


@op(precision="full")
def sinh(xp: Any, x: Any, /) -> Any:
    """Return the hyperbolic sine.

    >>> from nn_tensor import Tensor, sinh
    >>> sinh(Tensor([0.0]))
    Tensor([0.])
    """
    return xp.sinh(x)


@sinh.gradient("x")
def _(g: Any, x: Any) -> Any:
    return g * cosh(x)


@op(precision="full")
def cosh(xp: Any, x: Any, /) -> Any:
    """Return the hyperbolic cosine.

    >>> from nn_tensor import Tensor, cosh
    >>> cosh(Tensor([0.0]))
    Tensor([1.])
    """
    return xp.cosh(x)


@cosh.gradient("x")
def _(g: Any, x: Any) -> Any:
    return g * sinh(x)


@op
def tanh(xp: Any, x: Any, /) -> Any:
    """Return the hyperbolic tangent, in (-1, 1).

    >>> from nn_tensor import Tensor, tanh
    >>> tanh(Tensor([-1000.0, 0.0, 1000.0]))
    Tensor([-1.,  0.,  1.])
    """
    return xp.tanh(x)


@tanh.gradient("x")
def _(g: Any, out: Any) -> Any:
    return g * (1 - out * out)


@op
def arcsinh(xp: Any, x: Any, /) -> Any:
    """Return the inverse of `sinh`.

    >>> from nn_tensor import Tensor, arcsinh
    >>> arcsinh(Tensor([0.0]))
    Tensor([0.])
    """
    return xp.arcsinh(x)


@arcsinh.gradient("x")
def _(g: Any, x: Any) -> Any:
    return g / hypot(x, 1)


@op
def arccosh(xp: Any, x: Any, /) -> Any:
    """Return the inverse of `cosh`, for ``x >= 1``.

    >>> from nn_tensor import Tensor, arccosh
    >>> arccosh(Tensor([1.0]))
    Tensor([0.])
    """
    return xp.arccosh(x)


@arccosh.gradient("x")
def _(g: Any, x: Any) -> Any:
    return g / (sqrt(x - 1) * sqrt(x + 1))


@op
def arctanh(xp: Any, x: Any, /) -> Any:
    """Return the inverse of `tanh`, for ``-1 < x < 1``.

    >>> from nn_tensor import Tensor, arctanh
    >>> arctanh(Tensor([0.0]))
    Tensor([0.])
    """
    return xp.arctanh(x)


@arctanh.gradient("x")
def _(g: Any, x: Any) -> Any:
    return g / ((1 - x) * (1 + x))


# Rounding


@op
def floor(xp: Any, x: Any, /) -> Any:
    """Return the largest integer <= `x`.

    >>> from nn_tensor import Tensor, floor
    >>> floor(Tensor([1.5, -1.5]))
    Tensor([ 1., -2.])
    """
    return xp.floor(x)


@op
def ceil(xp: Any, x: Any, /) -> Any:
    """Return the smallest integer >= `x`.

    >>> from nn_tensor import Tensor, ceil
    >>> ceil(Tensor([1.5, -1.5]))
    Tensor([ 2., -1.])
    """
    return xp.ceil(x)


@op
def trunc(xp: Any, x: Any, /) -> Any:
    """Return `x` rounded toward 0.

    >>> from nn_tensor import Tensor, trunc
    >>> trunc(Tensor([1.5, -1.5]))
    Tensor([ 1., -1.])
    """
    return xp.trunc(x)


@op
def round(xp: Any, x: Any, /, decimals: int = 0) -> Any:
    """Return `x` rounded to `decimals` places, halves to the even neighbor.

    >>> from nn_tensor import Tensor, round
    >>> round(Tensor([0.5, 1.5, 1.26]), 1)
    Tensor([0.5, 1.5, 1.3])
    """
    return xp.round(x, decimals)


# Extrema


@op
def maximum(xp: Any, x: Any, y: Any, /) -> Any:
    """Return the larger of both; NaN propagates. Where they are equal each gets half the gradient.

    >>> from nn_tensor import Tensor, maximum
    >>> maximum(Tensor([1.0, 3.0]), 2)
    Tensor([2., 3.])
    """
    return xp.maximum(x, y)


@maximum.gradient("x")
def _(g: Any, x: Any, y: Any) -> Any:
    return keep_where(~(x < y), where(x == y, g * 0.5, g))


@maximum.gradient("y")
def _(g: Any, x: Any, y: Any) -> Any:
    return keep_where(~(x > y), where(x == y, g * 0.5, g))


@op
def minimum(xp: Any, x: Any, y: Any, /) -> Any:
    """Return the smaller of both; NaN propagates. Where they are equal each gets half the gradient.

    >>> from nn_tensor import Tensor, minimum
    >>> minimum(Tensor([1.0, 3.0]), 2)
    Tensor([1., 2.])
    """
    return xp.minimum(x, y)


@minimum.gradient("x")
def _(g: Any, x: Any, y: Any) -> Any:
    return keep_where(~(x > y), where(x == y, g * 0.5, g))


@minimum.gradient("y")
def _(g: Any, x: Any, y: Any) -> Any:
    return keep_where(~(x < y), where(x == y, g * 0.5, g))


@function
@explained
def clip(
    x: Any,
    /,
    a_min: Any = None,
    a_max: Any = None,
    out: None = None,
    *,
    min: Any = None,
    max: Any = None,
) -> Tensor:
    """Limit `x` to the range from `a_min` to `a_max`; None leaves a side open.

    The gradient is 1 inside the range and on its ends, and 0 outside.

    Args:
        a_min: a number or an array that broadcasts to `x`; not recorded (see `maximum`).
        a_max: as `a_min` (see `minimum`).
        min: the name of `a_min` in the array API.
        max: the name of `a_max` in the array API.

    Raises:
        ValueError: if both limits are None, or numbers in the wrong order.

    >>> from nn_tensor import Tensor, clip
    >>> clip(Tensor([-5.0, 0.5, 5.0]), -1, 1)
    Tensor([-1. ,  0.5,  1. ])
    """
    refuse("clip", out=out)
    if min is not None or max is not None:
        if a_min is not None or a_max is not None:
            raise ValueError("clip: give a_min and a_max, or min and max, not both")
        a_min, a_max = min, max
    return _clip(x, a_min, a_max)


@op
def _clip(xp: Any, x: Any, /, a_min: Any = None, a_max: Any = None) -> Any:
    if a_min is None and a_max is None:
        raise ValueError("a_min and a_max are both None")
    for name, limit in (("a_min", a_min), ("a_max", a_max)):
        if isinstance(limit, Variable):
            raise TypeError(f"{name}: expected a number or an array; use maximum and minimum")
        refuse_masked(limit)
    if isinstance(a_min, (int, float)) and isinstance(a_max, (int, float)) and a_min > a_max:
        raise ValueError(f"a_min={a_min} is above a_max={a_max}")
    return clip_array(xp, x, a_min, a_max)


@_clip.gradient("x")
def _(g: Any, x: Any, a_min: Any, a_max: Any) -> Any:
    if a_min is None:
        return keep_where(x <= a_max, g)
    if a_max is None:
        return keep_where(x >= a_min, g)
    return keep_where((x >= a_min) & (x <= a_max), g)


@op
def nan_to_num(
    xp: Any,
    x: Any,
    /,
    copy: bool = True,
    nan: float = 0.0,
    posinf: float | None = None,
    neginf: float | None = None,
) -> Any:
    """Return `x` with numbers in place of NaN and infinities; no gradient flows to these.

    Args:
        copy: must be True: `x` itself is not changed.
        nan: the value that replaces NaN.
        posinf: the value that replaces infinity; the largest number of the dtype if it is None.
        neginf: the value that replaces negative infinity; the lowest number of the dtype if it is
            None.

    >>> from nn_tensor import Tensor, nan_to_num
    >>> nan_to_num(Tensor([1.0, float("nan")]))
    Tensor([1., 0.])
    """
    if copy is not True:
        raise TypeError(f"copy: not supported, got {copy!r}; a result is a new Tensor")
    refuse_bfloat16(x.dtype)
    return xp.nan_to_num(x, nan=nan, posinf=posinf, neginf=neginf)


@nan_to_num.gradient("x")
def _(g: Any, x: Any) -> Any:
    return keep_where(isfinite(x), g)


# Special functions


@op
def erf(xp: Any, x: Any, /) -> Any:
    r"""Return the error function :math:`\frac{2}{\sqrt{\pi}} \int_0^x e^{-t^2} dt`.

    >>> from nn_tensor import Tensor, erf
    >>> erf(Tensor([-6.0, 0.0, 6.0]))
    Tensor([-1.,  0.,  1.])
    """
    return special.erf(xp, x)


@erf.gradient("x")
def _(g: Any, x: Any) -> Any:
    return g * (2 / math.sqrt(math.pi)) * exp(-x * x)
