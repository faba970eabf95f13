"""Arithmetic, comparisons and logic: the operations behind Python's operators."""

from __future__ import annotations

import math
from typing import Any

from nn_tensor._op import op
from nn_tensor.ops.elementwise import log
from nn_tensor.ops.selection import where

__all__ = [
    "add",
    "bitwise_and",
    "bitwise_or",
    "bitwise_xor",
    "divide",
    "equal",
    "floor_divide",
    "greater",
    "greater_equal",
    "invert",
    "isfinite",
    "isinf",
    "isnan",
    "less",
    "less_equal",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "multiply",
    "negative",
    "not_equal",
    "power",
    "reciprocal",
    "remainder",
    "subtract",
]


@op
def add(xp: Any, x: Any, y: Any, /) -> Any:
    """Return ``x + y``, element by element, broadcasting.

    >>> from nn_tensor import Tensor, add
    >>> add(Tensor([1.0, 2.0]), 10)
    Tensor([11., 12.])
    """
    return xp.add(x, y)


@add.gradient("x")
@add.gradient("y")
def _(g: Any) -> Any:
    return g


@op
def subtract(xp: Any, x: Any, y: Any, /) -> Any:
    """Return ``x - y``, element by element, broadcasting.

    >>> from nn_tensor import Tensor, subtract
    >>> subtract(Tensor([1.0, 2.0]), 10)
    Tensor([-9., -8.])
    """
    return xp.subtract(x, y)


@subtract.gradient("x")
def _(g: Any) -> Any:
    return g


@subtract.gradient("y")
def _(g: Any) -> Any:
    return -g


@op
def multiply(xp: Any, x: Any, y: Any, /) -> Any:
    """Return ``x * y``, element by element, broadcasting.

    >>> from nn_tensor import Tensor, multiply
    >>> multiply(Tensor([1.0, 2.0]), 10)
    Tensor([10., 20.])
    """
    return xp.multiply(x, y)


@multiply.gradient("x")
def _(g: Any, y: Any) -> Any:
    return g * y


@multiply.gradient("y")
def _(g: Any, x: Any) -> Any:
    return g * x


@op
def divide(xp: Any, x: Any, y: Any, /) -> Any:
    """Return ``x / y``, element by element, broadcasting.

    >>> from nn_tensor import Tensor, divide
    >>> divide(Tensor([1.0, 2.0]), 10)
    Tensor([0.1, 0.2])
    """
    return xp.true_divide(x, y)


@divide.gradient("x")
def _(g: Any, y: Any) -> Any:
    return g / y


@divide.gradient("y")
def _(g: Any, y: Any, out: Any) -> Any:
    return -g * out / y


@op
def floor_divide(xp: Any, x: Any, y: Any, /) -> Any:
    """Return the largest whole number at most ``x / y``; constant between jumps, so no gradient.

    >>> from nn_tensor import Tensor, floor_divide
    >>> floor_divide(Tensor([7.0, -7.0]), 2)
    Tensor([ 3., -4.])
    """
    return xp.floor_divide(x, y)


@op
def remainder(xp: Any, x: Any, y: Any, /) -> Any:
    """Return ``x - floor(x / y) * y``, which has the sign of `y`, as Python's ``%``.

    >>> from nn_tensor import Tensor, remainder
    >>> remainder(Tensor([7.0, -7.0]), 3)
    Tensor([1., 2.])
    """
    return xp.remainder(x, y)


@remainder.gradient("x")
def _(g: Any) -> Any:
    return g


@remainder.gradient("y")
def _(g: Any, x: Any, y: Any) -> Any:
    return -g * floor_divide(x, y)


@op
def power(xp: Any, x: Any, y: Any, /) -> Any:
    """Return ``x`` to the power ``y``.

    The derivative with respect to `y` is taken as 0 where ``x <= 0``, and that with respect to
    `x` as 0 where ``y == 0``.

    >>> from nn_tensor import Tensor, power
    >>> power(Tensor([1.0, 2.0, 3.0]), 2)
    Tensor([1., 4., 9.])
    """
    return x**y


@power.gradient("x")
def _(g: Any, x: Any, y: Any) -> Any:
    if isinstance(y, (int, float)):
        return g * 0 if y == 0 else g * (y * x ** (y - 1))
    undefined = (x == 0) & (y == 0)  # 0 to the power -1
    return g * (y * x ** where(undefined, 1, y - 1))


@power.gradient("y")
def _(g: Any, x: Any, out: Any) -> Any:
    if isinstance(x, (int, float)):
        return g * out * (math.log(x) if x > 0 else 0.0)
    positive = x > 0
    return where(positive, g * out * log(where(positive, x, 1)), 0)


@op
def negative(xp: Any, x: Any, /) -> Any:
    """Return ``-x``.

    >>> from nn_tensor import Tensor, negative
    >>> negative(Tensor([1.0, -2.0]))
    Tensor([-1.,  2.])
    """
    return xp.negative(x)


@negative.gradient("x")
def _(g: Any) -> Any:
    return -g


@op
def reciprocal(xp: Any, x: Any, /) -> Any:
    """Return ``1 / x``.

    >>> from nn_tensor import Tensor, reciprocal
    >>> reciprocal(Tensor([1.0, 4.0]))
    Tensor([1.  , 0.25])
    """
    return xp.true_divide(1, x)


@reciprocal.gradient("x")
def _(g: Any, out: Any) -> Any:
    return -g * out * out


# Comparisons and logic give booleans, through which no gradient flows.


@op
def equal(xp: Any, x: Any, y: Any, /) -> Any:
    """Return whether ``x == y``, element by element.

    >>> from nn_tensor import Tensor, equal
    >>> equal(Tensor([1.0, 2.0]), 2)
    Tensor([False,  True])
    """
    return xp.equal(x, y)


@op
def not_equal(xp: Any, x: Any, y: Any, /) -> Any:
    """Return whether ``x != y``, element by element.

    >>> from nn_tensor import Tensor, not_equal
    >>> not_equal(Tensor([1.0, 2.0]), 2)
    Tensor([ True, False])
    """
    return xp.not_equal(x, y)


@op
def less(xp: Any, x: Any, y: Any, /) -> Any:
    """Return whether ``x < y``, element by element.

    >>> from nn_tensor import Tensor, less
    >>> less(Tensor([1.0, 2.0]), 2)
    Tensor([ True, False])
    """
    return xp.less(x, y)


@op
def less_equal(xp: Any, x: Any, y: Any, /) -> Any:
    """Return whether ``x <= y``, element by element.

    >>> from nn_tensor import Tensor, less_equal
    >>> less_equal(Tensor([1.0, 2.0]), 1)
    Tensor([ True, False])
    """
    return xp.less_equal(x, y)


@op
def greater(xp: Any, x: Any, y: Any, /) -> Any:
    """Return whether ``x > y``, element by element.

    >>> from nn_tensor import Tensor, greater
    >>> greater(Tensor([1.0, 2.0]), 1)
    Tensor([False,  True])
    """
    return xp.greater(x, y)


@op
def greater_equal(xp: Any, x: Any, y: Any, /) -> Any:
    """Return whether ``x >= y``, element by element.

    >>> from nn_tensor import Tensor, greater_equal
    >>> greater_equal(Tensor([1.0, 2.0]), 2)
    Tensor([False,  True])
    """
    return xp.greater_equal(x, y)


@op
def logical_and(xp: Any, x: Any, y: Any, /) -> Any:
    """Return whether both are true (non-zero), element by element.

    >>> from nn_tensor import Tensor, logical_and
    >>> logical_and(Tensor([True, True]), Tensor([True, False]))
    Tensor([ True, False])
    """
    return xp.logical_and(x, y)


@op
def logical_or(xp: Any, x: Any, y: Any, /) -> Any:
    """Return whether at least one is true (non-zero), element by element.

    >>> from nn_tensor import Tensor, logical_or
    >>> logical_or(Tensor([True, False]), Tensor([False, False]))
    Tensor([ True, False])
    """
    return xp.logical_or(x, y)


@op
def logical_xor(xp: Any, x: Any, y: Any, /) -> Any:
    """Return whether exactly one is true (non-zero), element by element.

    >>> from nn_tensor import Tensor, logical_xor
    >>> logical_xor(Tensor([True, False]), Tensor([True, True]))
    Tensor([False,  True])
    """
    return xp.logical_xor(x, y)


@op
def logical_not(xp: Any, x: Any, /) -> Any:
    """Return whether it is false (zero), element by element.

    >>> from nn_tensor import Tensor, logical_not
    >>> logical_not(Tensor([True, False]))
    Tensor([False,  True])
    """
    return xp.logical_not(x)


@op
def bitwise_and(xp: Any, x: Any, y: Any, /) -> Any:
    """Return ``x & y``: of the bits of integers, or of booleans.

    >>> from nn_tensor import Tensor, bitwise_and
    >>> bitwise_and(Tensor([6, 5]), 3)
    Tensor([2, 1])
    """
    return xp.bitwise_and(x, y)


@op
def bitwise_or(xp: Any, x: Any, y: Any, /) -> Any:
    """Return ``x | y``: of the bits of integers, or of booleans.

    >>> from nn_tensor import Tensor, bitwise_or
    >>> bitwise_or(Tensor([6, 5]), 3)
    Tensor([7, 7])
    """
    return xp.bitwise_or(x, y)


@op
def bitwise_xor(xp: Any, x: Any, y: Any, /) -> Any:
    """Return ``x ^ y``: of the bits of integers, or of booleans.

    >>> from nn_tensor import Tensor, bitwise_xor
    >>> bitwise_xor(Tensor([6, 5]), 3)
    Tensor([5, 6])
    """
    return xp.bitwise_xor(x, y)


@op
def invert(xp: Any, x: Any, /) -> Any:
    """Return ``~x``: of the bits of integers, or of booleans.

    >>> from nn_tensor import Tensor, invert
    >>> invert(Tensor([True, False]))
    Tensor([False,  True])
    """
    return xp.invert(x)


@op
def isnan(xp: Any, x: Any, /) -> Any:
    """Return where `x` is NaN.

    >>> from nn_tensor import Tensor, isnan
    >>> isnan(Tensor([1.0, float("nan")]))
    Tensor([False,  True])
    """
    return xp.isnan(x)


@op
def isinf(xp: Any, x: Any, /) -> Any:
    """Return where `x` is infinite.

    >>> from nn_tensor import Tensor, isinf
    >>> isinf(Tensor([1.0, float("-inf")]))
    Tensor([False,  True])
    """
    return xp.isinf(x)


@op
def isfinite(xp: Any, x: Any, /) -> Any:
    """Return where `x` is neither NaN nor infinite.

    >>> from nn_tensor import Tensor, isfinite
    >>> isfinite(Tensor([1.0, float("inf")]))
    Tensor([ True, False])
    """
    return xp.isfinite(x)
