"""Parts of matrices: triangles, diagonals and their sum."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nn_tensor._numpy_options import refuse
from nn_tensor._op import op
from nn_tensor._op_type import function
from nn_tensor.ops.reductions import sum

if TYPE_CHECKING:
    from nn_tensor._tensor import Tensor

__all__ = ["diagonal", "trace", "tril", "triu"]


@op
def tril(xp: Any, m: Any, /, k: int = 0) -> Any:
    """Return the lower triangle of matrices, the last two axes, with zeros above it.

    Args:
        k: the diagonal above which elements are zero: 0 the main one, negative ones below it.

    >>> from nn_tensor import ones, tril
    >>> tril(ones(2, 2))
    Tensor([[1., 0.],
            [1., 1.]])
    """
    return xp.tril(m, k).astype(m.dtype, copy=False)


@tril.gradient("m")
def _(g: Any, k: int) -> Any:
    return tril(g, k)


@op
def triu(xp: Any, m: Any, /, k: int = 0) -> Any:
    """Return the upper triangle of matrices, the last two axes, with zeros below it.

    Args:
        k: the diagonal below which elements are zero: 0 the main one, negative ones below it.

    >>> from nn_tensor import ones, triu
    >>> triu(ones(2, 2))
    Tensor([[1., 1.],
            [0., 1.]])
    """
    return xp.triu(m, k).astype(m.dtype, copy=False)


@triu.gradient("m")
def _(g: Any, k: int) -> Any:
    return triu(g, k)


@op
def diagonal(xp: Any, a: Any, /, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """Return the elements whose indices along two axes are equal, along a new last axis.

    Args:
        offset: the index along `axis2` less that along `axis1`.

    >>> from nn_tensor import Tensor, diagonal
    >>> diagonal(Tensor([[1.0, 2.0], [3.0, 4.0]]))
    Tensor([1., 4.])
    """
    return xp.diagonal(a, offset, axis1, axis2)


@diagonal.gradient("a")
def _(g: Any, a_shape: tuple[int, ...], offset: int, axis1: int, axis2: int) -> Any:
    return _set_diagonal(g, offset, axis1, axis2, a_shape)


@op
def _set_diagonal(
    xp: Any, g: Any, /, offset: int, axis1: int, axis2: int, shape: tuple[int, ...]
) -> Any:
    result = xp.zeros(shape, g.dtype)
    moved = xp.moveaxis(result, (axis1, axis2), (-2, -1))
    places = np.arange(g.shape[-1])
    moved[..., places + max(-offset, 0), places + max(offset, 0)] = g
    return result


@_set_diagonal.gradient("g")
def _(g: Any, offset: int, axis1: int, axis2: int) -> Any:
    return diagonal(g, offset, axis1, axis2)


@function
def trace(
    a: Any,
    /,
    offset: int = 0,
    axis1: int = 0,
    axis2: int = 1,
    dtype: Any = None,
    out: None = None,
) -> Tensor:
    """Return the sum of a `diagonal`.

    Args:
        offset: the index along `axis2` less that along `axis1`.
        dtype: the dtype of the sum and of the result.

    >>> from nn_tensor import Tensor, trace
    >>> trace(Tensor([[1.0, 2.0], [3.0, 4.0]]))
    Tensor(5.)
    """
    refuse("trace", out=out)
    return sum(diagonal(a, offset, axis1, axis2), -1, dtype)
