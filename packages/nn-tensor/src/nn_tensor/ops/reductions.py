"""Reductions: sums, products, extrema and cumulative sums over axes.

`axis` is None for all axes, an integer or a tuple of integers, as in NumPy.
"""

from __future__ import annotations

import builtins
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from nn_tensor._convert import array_module
from nn_tensor._dtype import DEFAULT_FLOAT, accumulation_dtype
from nn_tensor._numpy_options import explained, reduction_dtype, refuse
from nn_tensor._op import op
from nn_tensor._op_type import Op, function
from nn_tensor.ops.indexing import keep_where
from nn_tensor.ops.shape import cast, concatenate, expand_dims, flip, reshape, swapaxes, transpose

if TYPE_CHECKING:
    from nn_tensor._tensor import Tensor

__all__ = [
    "all",
    "any",
    "argmax",
    "argmin",
    "cumprod",
    "cumsum",
    "max",
    "mean",
    "min",
    "prod",
    "sum",
]


def restore_dimensions(reduced: Any, axis: Any, keepdims: bool) -> Any:
    """Give a reduced value its axes back, with length 1, so that it broadcasts to the input."""
    if keepdims or axis is None:
        return reduced
    return expand_dims(reduced, axis)


def axis_of(x: Any, axis: Any) -> Any:
    """Return `axis` as CuPy takes it: of 0-d arrays NumPy takes 0 and -1, CuPy only None."""
    return None if not x.ndim and axis in (0, -1) else axis


def _accumulated(function: Any, x: Any, dtype: Any, **options: Any) -> Any:
    """Call a reduction of NumPy or CuPy; what is to be half precision accumulates in float32."""
    result = x.dtype if dtype is None else reduction_dtype(dtype)
    wide = accumulation_dtype(result)
    if wide is not None:
        return function(x, dtype=wide, **options).astype(result)
    return function(x, **options) if dtype is None else function(x, dtype=result, **options)


def widen(x: Any) -> Any:
    """Return half precision as float32, in which sums and counts have room; others as they are."""
    is_half = hasattr(x, "dtype") and accumulation_dtype(x.dtype) is not None
    return cast(x, DEFAULT_FLOAT) if is_half else x


def _reduction(name: str) -> Op[...]:
    """Declare the operation that is NumPy's reduction of that name, and has no other options."""

    def forward(xp: Any, x: Any, /, axis: Any = None, keepdims: bool = False) -> Any:
        return getattr(xp, name)(x, axis=axis_of(x, axis), keepdims=keepdims)

    forward.__name__ = forward.__qualname__ = f"_{name}"
    return op(forward)


_max, _min, _any, _all = map(_reduction, ("max", "min", "any", "all"))
_argmax, _argmin = map(_reduction, ("argmax", "argmin"))


def count_elements(shape: tuple[int, ...], axis: Any) -> int:
    """Return how many elements go into one element of the result."""
    if axis is None or (not shape and axis in (0, -1)):  # NumPy takes axis 0 of 0-d arrays
        return math.prod(shape)
    return math.prod(shape[a] for a in normalize_axis_tuple(axis, len(shape), "axis"))


@function
@explained
def sum(
    x: Any,
    /,
    axis: Any = None,
    dtype: Any = None,
    out: None = None,
    keepdims: bool = False,
    initial: None = None,
    where: None = None,
) -> Tensor:
    """Return the sum over `axis`. Booleans and integers are counted in int64, as in NumPy.

    Args:
        dtype: the dtype of the sum and of the result.

    >>> from nn_tensor import Tensor, sum
    >>> sum(Tensor([[1.0, 2.0], [3.0, 4.0]]), axis=0)
    Tensor([4., 6.])
    """
    if not (out is initial is where is None):
        refuse("sum", out=out, initial=initial, where=where)  # type: ignore[unreachable]
    return _sum(x, axis, dtype, keepdims)


@op(precision="full")
def _sum(xp: Any, x: Any, /, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> Any:
    if dtype is None and x.dtype.char != "e":
        return xp.sum(x, axis=axis if x.ndim else axis_of(x, axis), keepdims=keepdims)
    return _accumulated(xp.sum, x, dtype, axis=axis_of(x, axis), keepdims=keepdims)


@_sum.gradient("x")
def _(g: Any, axis: Any, keepdims: bool) -> Any:
    return restore_dimensions(g, axis, keepdims)


@function
@explained
def mean(
    x: Any,
    /,
    axis: Any = None,
    dtype: Any = None,
    out: None = None,
    keepdims: bool = False,
    *,
    where: None = None,
) -> Tensor:
    """Return the arithmetic mean over `axis`; NaN, with NumPy's warning, over nothing.

    Args:
        dtype: the dtype of the sum and of the result.

    >>> from nn_tensor import Tensor, mean
    >>> mean(Tensor([[1.0, 2.0], [3.0, 4.0]]), axis=0)
    Tensor([2., 3.])
    """
    if not (out is where is None):
        refuse("mean", out=out, where=where)  # type: ignore[unreachable]
    return _mean(x, axis, dtype, keepdims)


@op(precision="full")
def _mean(xp: Any, x: Any, /, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> Any:
    if dtype is not None:
        return _accumulated(xp.mean, x, dtype, axis=axis_of(x, axis), keepdims=keepdims)
    if x.dtype.kind != "f" or x.dtype.itemsize < 4:  # NumPy accumulates half precision wider
        return xp.mean(x, axis=axis_of(x, axis), keepdims=keepdims)
    total = xp.add.reduce(x, axis=axis_of(x, axis), keepdims=keepdims)
    return xp.true_divide(total, count_elements(x.shape, axis), dtype=x.dtype)


@_mean.gradient("x")
def _(g: Any, x_shape: tuple[int, ...], axis: Any, keepdims: bool) -> Any:
    # in half precision the count may be beyond the largest number
    return widen(restore_dimensions(g, axis, keepdims)) / builtins.max(
        count_elements(x_shape, axis), 1
    )


@function
@explained
def max(
    x: Any,
    /,
    axis: Any = None,
    out: None = None,
    keepdims: bool = False,
    initial: None = None,
    where: None = None,
) -> Tensor:
    """Return the largest element over `axis`; equal ones share the gradient.

    >>> from nn_tensor import Tensor, max
    >>> max(Tensor([[1.0, 5.0], [3.0, 4.0]]), axis=1)
    Tensor([5., 4.])
    """
    if not (out is initial is where is None):
        refuse("max", out=out, initial=initial, where=where)  # type: ignore[unreachable]
    return _max(x, axis, keepdims)


@function
@explained
def min(
    x: Any,
    /,
    axis: Any = None,
    out: None = None,
    keepdims: bool = False,
    initial: None = None,
    where: None = None,
) -> Tensor:
    """Return the smallest element over `axis`; equal ones share the gradient.

    >>> from nn_tensor import Tensor, min
    >>> min(Tensor([[1.0, 5.0], [3.0, 4.0]]), axis=1)
    Tensor([1., 3.])
    """
    if not (out is initial is where is None):
        refuse("min", out=out, initial=initial, where=where)  # type: ignore[unreachable]
    return _min(x, axis, keepdims)


@_max.gradient("x")
@_min.gradient("x")
def _(g: Any, x: Any, axis: Any, keepdims: bool, out: Any) -> Any:
    # where there is NaN, that is the extremum
    chosen = (x == restore_dimensions(out, axis, keepdims)) | (x != x)
    share = restore_dimensions(g, axis, keepdims) / sum(chosen, axis, keepdims=True)
    return keep_where(chosen, cast(share, g.dtype))


@function
@explained
def prod(
    x: Any,
    /,
    axis: Any = None,
    dtype: Any = None,
    out: None = None,
    keepdims: bool = False,
    initial: None = None,
    where: None = None,
) -> Tensor:
    """Return the product over `axis`; its gradient is right where elements are zero, too.

    Args:
        dtype: the dtype of the product and of the result.

    >>> from nn_tensor import Tensor, prod
    >>> prod(Tensor([[1.0, 2.0], [3.0, 4.0]]), axis=0)
    Tensor([3., 8.])
    """
    if not (out is initial is where is None):
        refuse("prod", out=out, initial=initial, where=where)  # type: ignore[unreachable]
    return _prod(x, axis, dtype, keepdims)


@op(precision="full")
def _prod(xp: Any, x: Any, /, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> Any:
    return _accumulated(xp.prod, x, dtype, axis=axis_of(x, axis), keepdims=keepdims)


@_prod.gradient("x")
def _(g: Any, x: Any, axis: Any, keepdims: bool) -> Any:
    others = product_of_others(_in_dtype_of(g, x), axis)
    return restore_dimensions(g, axis, keepdims) * others


def _in_dtype_of(g: Any, x: Any) -> Any:
    """Return `x` in the dtype in which the forward computed."""
    return x if x.dtype == g.dtype else cast(x, g.dtype)


def product_of_others(x: Any, axis: Any) -> Any:
    """Return for each element the product of the other elements over `axis`.

    Not ``prod(x) / x``, which is lost where an element is zero or the product under- or overflows.
    """
    if not x.shape:
        return array_module(x).ones((), dtype=x.dtype)
    chosen = range(x.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    reduced = [a % x.ndim for a in chosen]
    kept = [a for a in range(x.ndim) if a not in reduced]
    order = (*kept, *reduced)
    rows = transpose(x, order)
    flat = reshape(rows, (*rows.shape[: len(kept)], math.prod(rows.shape[len(kept) :])))
    others = _exclusive_cumprod(flat) * flip(_exclusive_cumprod(flip(flat, -1)), -1)
    inverse = tuple(order.index(a) for a in range(x.ndim))
    return transpose(reshape(others, rows.shape), inverse)


def _exclusive_cumprod(rows: Any) -> Any:
    """Return for each element the product of those before it, along the last axis."""
    first = array_module(rows).ones(rows[..., :1].shape, dtype=rows.dtype)
    return cumprod(concatenate([first, rows[..., :-1]], -1), -1)


@function
@explained
def argmax(
    x: Any, /, axis: int | None = None, out: None = None, *, keepdims: bool = False
) -> Tensor:
    """Return the index of the first largest element over `axis`, or of all elements in order.

    >>> from nn_tensor import Tensor, argmax
    >>> argmax(Tensor([[1.0, 5.0], [3.0, 2.0]]), axis=1)
    Tensor([1, 0])
    """
    refuse("argmax", out=out)
    return _argmax(x, axis, keepdims)


@function
@explained
def argmin(
    x: Any, /, axis: int | None = None, out: None = None, *, keepdims: bool = False
) -> Tensor:
    """Return the index of the first smallest element over `axis`, or of all elements in order.

    >>> from nn_tensor import Tensor, argmin
    >>> argmin(Tensor([[1.0, 5.0], [3.0, 2.0]]), axis=1)
    Tensor([0, 1])
    """
    refuse("argmin", out=out)
    return _argmin(x, axis, keepdims)


@function
@explained
def any(
    x: Any, /, axis: Any = None, out: None = None, keepdims: bool = False, *, where: None = None
) -> Tensor:
    """Return whether any element over `axis` is true (non-zero).

    >>> from nn_tensor import Tensor, any
    >>> any(Tensor([[True, False], [False, False]]), axis=1)
    Tensor([ True, False])
    """
    refuse("any", out=out, where=where)
    return _any(x, axis, keepdims)


@function
@explained
def all(
    x: Any, /, axis: Any = None, out: None = None, keepdims: bool = False, *, where: None = None
) -> Tensor:
    """Return whether every element over `axis` is true (non-zero).

    >>> from nn_tensor import Tensor, all
    >>> all(Tensor([[True, True], [True, False]]), axis=1)
    Tensor([ True, False])
    """
    refuse("all", out=out, where=where)
    return _all(x, axis, keepdims)


@function
@explained
def cumsum(x: Any, /, axis: int | None = None, dtype: Any = None, out: None = None) -> Tensor:
    """Return the cumulative sum along `axis`, or of all elements in order if it is None.

    Args:
        dtype: the dtype of the sum and of the result.

    >>> from nn_tensor import Tensor, cumsum
    >>> cumsum(Tensor([1.0, 2.0, 3.0]))
    Tensor([1., 3., 6.])
    """
    refuse("cumsum", out=out)
    return _cumsum(x, axis, dtype)


@op(precision="full")
def _cumsum(xp: Any, x: Any, /, axis: int | None = None, dtype: Any = None) -> Any:
    return _accumulated(xp.cumsum, x, dtype, axis=axis)


@_cumsum.gradient("x")
def _(g: Any, x_shape: tuple[int, ...], axis: int | None) -> Any:
    along = 0 if axis is None else axis
    return reshape(flip(cumsum(flip(g, along), along), along), x_shape)


@function
@explained
def cumprod(x: Any, /, axis: int | None = None, dtype: Any = None, out: None = None) -> Tensor:
    """Return the cumulative product along `axis`, or of all elements in order if it is None.

    Args:
        dtype: the dtype of the product and of the result.

    >>> from nn_tensor import Tensor, cumprod
    >>> cumprod(Tensor([1.0, 2.0, 3.0]))
    Tensor([1., 2., 6.])
    """
    refuse("cumprod", out=out)
    return _cumprod(x, axis, dtype)


@op(precision="full")
def _cumprod(xp: Any, x: Any, /, axis: int | None = None, dtype: Any = None) -> Any:
    return _accumulated(xp.cumprod, x, dtype, axis=axis)


@_cumprod.gradient("x")
def _(g: Any, x: Any, axis: int | None, out: Any) -> Any:
    # x[j] gets, for every k >= j, g[k] times the product of the others up to k
    along = 0 if axis is None else axis
    x = _in_dtype_of(g, x)
    rows = reshape(x, (-1,)) if axis is None else x
    if not (out == 0).any():
        return reshape(flip(cumsum(flip(g * out, along), along), along) / rows, x.shape)
    last = swapaxes(rows, along, -1)
    total = _exclusive_cumprod(last) * _recurrence(swapaxes(g, along, -1), last)
    return reshape(swapaxes(total, along, -1), x.shape)


@op
def _recurrence(xp: Any, g: Any, x: Any, /) -> Any:
    """Return ``r[n] = g[n]``, ``r[j] = g[j] + x[j + 1] * r[j + 1]`` along the last axis."""
    result = xp.array(g, dtype=np.result_type(g, x), copy=True)
    for j in range(x.shape[-1] - 2, -1, -1):
        result[..., j] += x[..., j + 1] * result[..., j + 1]
    return result


@_recurrence.joint_gradient("g", "x")
def _(h: Any, x: Any, out: Any) -> tuple[Any, Any]:
    # the adjoint runs the other way: s[0] = h[0], s[j] = h[j] + x[j] * s[j - 1]
    backward = flip(x, -1)
    backward = concatenate([backward[..., :1], backward[..., :-1]], -1)
    s = flip(_recurrence(flip(h, -1), backward), -1)
    first = array_module(x).zeros(x[..., :1].shape, dtype=x.dtype)
    return s, concatenate([first, s[..., :-1] * out[..., 1:]], -1)
