"""Arithmetic, element by element: the operations behind Python's operators."""

import math
from typing import Any

import numpy as np

from nn_tensor._large_sums import LARGE, add_large
from nn_tensor._op import op
from nn_tensor.ops.elementwise import log
from nn_tensor.ops.indexing import where

__all__ = [
    "abs",
    "add",
    "divide",
    "floor_divide",
    "multiply",
    "negative",
    "power",
    "reciprocal",
    "remainder",
    "sign",
    "square",
    "subtract",
]

_ndarray = np.ndarray


@op
def add(xp: Any, x: Any, y: Any, /) -> Any:
    """Return ``x + y``, element by element, broadcasting.

    >>> from nn_tensor import Tensor, add
    >>> add(Tensor([1.0, 2.0]), 10)
    Tensor([11., 12.])
    """
    if type(x) is _ndarray and x.size >= LARGE:  # a call of `is_large` would slow down small sums
        return add_large(xp, x, y, None)
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
    """Return the largest integer <= ``x / y``; piecewise constant, so it has no gradient.

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


@op(precision="full")
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
        return where(True, 0, g) if y == 0 else g * (y * x ** (y - 1))
    undefined = (x == 0) & (y == 0)  # 0 to the power -1
    return g * (y * x ** where(undefined, 1, y - 1))


@power.gradient("y")
def _(g: Any, x: Any, out: Any) -> Any:
    if isinstance(x, (int, float)):
        return g * out * (math.log(x) if x > 0 else 0.0)
    excluded = x <= 0  # NaN stays NaN
    return where(excluded, 0, g * out * log(where(excluded, 1, x)))


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


@op(precision="full")
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


@op(precision="full")
def square(xp: Any, x: Any, /) -> Any:
    """Return ``x * x``.

    >>> from nn_tensor import Tensor, square
    >>> square(Tensor([2.0, 3.0]))
    Tensor([4., 9.])
    """
    return xp.square(x)


@square.gradient("x")
def _(g: Any, x: Any) -> Any:
    return g * (2 * x)


@op
def abs(xp: Any, x: Any, /) -> Any:
    """Return the absolute value; its derivative at 0 is 0.

    >>> from nn_tensor import Tensor, abs
    >>> abs(Tensor([-2.0, 3.0]))
    Tensor([2., 3.])
    """
    return xp.abs(x)


@abs.gradient("x")
def _(g: Any, x: Any) -> Any:
    return g * sign(x)


@op
def sign(xp: Any, x: Any, /) -> Any:
    """Return -1, 0 or 1, as `x` is negative, zero or positive.

    >>> from nn_tensor import Tensor, sign
    >>> sign(Tensor([-2.0, 0.0, 3.0]))
    Tensor([-1.,  0.,  1.])
    """
    return xp.sign(x)
