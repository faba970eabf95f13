"""Comparisons, and the logic of booleans and bits.

Their results are booleans or integers, through which no gradient flows.
"""

from typing import Any

from nn_tensor._op import op

__all__ = [
    "bitwise_and",
    "bitwise_or",
    "bitwise_xor",
    "equal",
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
    "not_equal",
]


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
    """Return whether ``x == 0``, element by element.

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
