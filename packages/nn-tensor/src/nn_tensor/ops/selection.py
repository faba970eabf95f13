"""Choosing between values, element by element."""

from __future__ import annotations

from typing import Any

import numpy as np

from nn_tensor._dtype import DEFAULT_FLOAT
from nn_tensor._op import op

__all__ = ["clip", "maximum", "minimum", "relu", "where"]


@op
def where(xp: Any, condition: Any, x: Any, y: Any, /) -> Any:
    """Return `x` where `condition` holds (is true or non-zero) and `y` elsewhere, broadcasting.

    >>> from nn_tensor import Tensor, where
    >>> where(Tensor([True, False]), Tensor([1.0, 2.0]), 0)
    Tensor([1., 0.])
    """
    if isinstance(x, (int, float)) and hasattr(y, "dtype"):
        x = np.result_type(y.dtype, x).type(x)
    elif isinstance(y, (int, float)) and hasattr(x, "dtype"):
        y = np.result_type(x.dtype, y).type(y)
    elif type(x) is float or type(y) is float:  # both are Python's
        x, y = DEFAULT_FLOAT.type(x), DEFAULT_FLOAT.type(y)
    return xp.where(xp.asarray(condition), x, y)


@where.gradient("x")
def _(g: Any, condition: Any) -> Any:
    return where(condition, g, 0)


@where.gradient("y")
def _(g: Any, condition: Any) -> Any:
    return where(condition, 0, g)


@op
def maximum(xp: Any, x: Any, y: Any, /) -> Any:
    """Return the larger of both; NaN wins. Where they are equal each gets half the gradient.

    >>> from nn_tensor import Tensor, maximum
    >>> maximum(Tensor([1.0, 3.0]), 2)
    Tensor([2., 3.])
    """
    return xp.maximum(x, y)


@maximum.gradient("x")
def _(g: Any, x: Any, y: Any) -> Any:
    return where(x == y, g * 0.5, g * (x > y))


@maximum.gradient("y")
def _(g: Any, x: Any, y: Any) -> Any:
    return where(x == y, g * 0.5, g * (x < y))


@op
def minimum(xp: Any, x: Any, y: Any, /) -> Any:
    """Return the smaller of both; NaN wins. Where they are equal each gets half the gradient.

    >>> from nn_tensor import Tensor, minimum
    >>> minimum(Tensor([1.0, 3.0]), 2)
    Tensor([1., 2.])
    """
    return xp.minimum(x, y)


@minimum.gradient("x")
def _(g: Any, x: Any, y: Any) -> Any:
    return where(x == y, g * 0.5, g * (x < y))


@minimum.gradient("y")
def _(g: Any, x: Any, y: Any) -> Any:
    return where(x == y, g * 0.5, g * (x > y))


@op
def clip(xp: Any, x: Any, /, low: Any = None, high: Any = None) -> Any:
    """Limit `x` to the range from `low` to `high`; None leaves a side open.

    The gradient is 1 inside the range and on its ends, and 0 outside.

    Args:
        low: a number or an array that broadcasts to `x`; not recorded (see `maximum`).
        high: as `low` (see `minimum`).

    Raises:
        ValueError: if both limits are None, or numbers in the wrong order.

    >>> from nn_tensor import Tensor, clip
    >>> clip(Tensor([-5.0, 0.5, 5.0]), -1, 1)
    Tensor([-1. ,  0.5,  1. ])
    """
    if low is None and high is None:
        raise ValueError("low and high are both None")
    for name, limit in (("low", low), ("high", high)):
        if hasattr(limit, "requires_grad"):
            raise TypeError(f"{name}: expected a number or an array; use maximum and minimum")
    if isinstance(low, (int, float)) and isinstance(high, (int, float)) and low > high:
        raise ValueError(f"low={low} is above high={high}")
    return xp.clip(x, low, high)


@clip.gradient("x")
def _(g: Any, x: Any, low: Any, high: Any) -> Any:
    if low is None:
        return g * (x <= high)
    if high is None:
        return g * (x >= low)
    return g * ((x >= low) & (x <= high))


@op
def relu(xp: Any, x: Any, /) -> Any:
    """Return ``max(x, 0)``, with derivative 0 at 0 (Nair and Hinton, 2010).

    >>> from nn_tensor import Tensor, relu
    >>> relu(Tensor([-1.0, 2.0]))
    Tensor([0., 2.])
    """
    return xp.maximum(x, 0)


@relu.gradient("x")
def _(g: Any, out: Any) -> Any:
    return g * (out > 0)
