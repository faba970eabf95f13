"""Variances, order statistics and weighted means; `mean` is a reduction."""

from __future__ import annotations

import builtins
import math
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from nn_tensor._checks import check_choice
from nn_tensor._convert import array_module, refuse_masked, shape_of
from nn_tensor._dtype import is_floating
from nn_tensor._graph import Variable, new_variable
from nn_tensor._numpy_options import explained, reduction_dtype, refuse
from nn_tensor._op_type import Data, function
from nn_tensor.ops.arithmetic import multiply, subtract
from nn_tensor.ops.elementwise import sqrt
from nn_tensor.ops.indexing import where as where_  # `where` is an option
from nn_tensor.ops.logic import isnan
from nn_tensor.ops.reductions import any, count_elements, sum, widen
from nn_tensor.ops.reductions import mean as mean_
from nn_tensor.ops.shape import broadcast_to, cast, expand_dims, moveaxis, reshape, transpose
from nn_tensor.ops.sorting import sort

if TYPE_CHECKING:
    from nn_tensor._tensor import Tensor

__all__ = ["average", "median", "quantile", "std", "var"]


@function
@explained
def var(
    x: Any,
    /,
    axis: Any = None,
    dtype: Any = None,
    out: None = None,
    ddof: int = 0,
    keepdims: bool = False,
    *,
    where: None = None,
    mean: Any = None,
    correction: int | None = None,
) -> Tensor:
    r"""Return the variance over `axis`, :math:`\frac{1}{n - d} \sum (x - \bar x)^2`.

    Args:
        dtype: the dtype of the computation and of the result.
        ddof: the :math:`d` of the formula; 0 as in NumPy (PyTorch's default is 1).
        mean: the mean with its dimensions kept, where it is known already.
        correction: the name of `ddof` in the array API.

    Raises:
        ValueError: if there are not more than `ddof` elements.

    >>> from nn_tensor import Tensor, var
    >>> var(Tensor([1.0, 2.0, 3.0, 4.0]))
    Tensor(1.25)
    """
    refuse("var", out=out, where=where)
    if correction is not None:
        if ddof:
            raise ValueError("var: ddof and correction are two names of one option")
        ddof = correction
    shape = shape_of(x)
    elements = count_elements(shape, axis)
    if elements <= ddof:
        raise ValueError(
            f"var: axis={axis} of shape {shape} has {elements} elements, "
            f"expected more than ddof={ddof}"
        )
    given = x if dtype is None else cast(x, reduction_dtype(dtype))
    wide = widen(given)
    centered = subtract(wide, mean_(wide, axis, keepdims=True) if mean is None else mean)
    variance = sum(centered * centered, axis, keepdims=keepdims) / (elements - ddof)
    return variance if wide is given else cast(variance, given.dtype)


@function
@explained
def std(
    x: Any,
    /,
    axis: Any = None,
    dtype: Any = None,
    out: None = None,
    ddof: int = 0,
    keepdims: bool = False,
    *,
    where: None = None,
    mean: Any = None,
    correction: int | None = None,
) -> Tensor:
    """Return the standard deviation over `axis`, the square root of `var`, of the same arguments.

    >>> from nn_tensor import Tensor, std
    >>> std(Tensor([1.0, 3.0]))
    Tensor(1.)
    """
    refuse("std", out=out, where=where)
    given = x if dtype is None else cast(x, reduction_dtype(dtype))
    wide = widen(given)
    variance = var(wide, axis, ddof=ddof, keepdims=keepdims, mean=mean, correction=correction)
    varied = variance != 0  # where all are equal every derivative is taken as 0
    deviation = where_(varied, sqrt(where_(varied, variance, 1)), 0)
    return deviation if wide is given else cast(deviation, given.dtype)


@function
def median(
    x: Any,
    /,
    axis: Any = None,
    out: None = None,
    overwrite_input: bool = False,
    keepdims: bool = False,
) -> Tensor:
    """Return the middle of the sorted elements over `axis`, or the mean of the middle two.

    NaN if any element is. (PyTorch returns the lower one of two.)

    Args:
        overwrite_input: must be False: `x` is never changed.

    >>> from nn_tensor import Tensor, median
    >>> median(Tensor([3.0, 1.0, 2.0, 10.0]))
    Tensor(2.5)
    """
    return quantile(x, 0.5, axis, out, overwrite_input, keepdims=keepdims)


_METHODS = ("linear", "lower", "higher", "nearest", "midpoint")


@function
def quantile(
    x: Any,
    /,
    q: Any,
    axis: Any = None,
    out: None = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: bool = False,
    *,
    weights: None = None,
) -> Tensor:
    r"""Return the value below which the fraction `q` of the elements over `axis` lies.

    Among the :math:`n` sorted elements it is at :math:`q (n - 1)`. NaN if any element is.

    Args:
        q: a number from 0 to 1, or several, which stand along a new first axis of the result.
        overwrite_input: must be False: `x` is never changed.
        method: between two elements: "linear" interpolation, the "lower" or "higher" or "nearest"
            one, or their "midpoint".

    Raises:
        ValueError: if a `q` is outside [0, 1], or there are no elements.

    >>> from nn_tensor import Tensor, quantile
    >>> quantile(Tensor([1.0, 2.0, 3.0]), 0.25)
    Tensor(1.5)
    """
    refuse("quantile", out=out)
    if overwrite_input is not False:
        raise TypeError(f"overwrite_input: not supported, got {overwrite_input!r}")
    if weights is not None:
        raise TypeError("weights: not supported")
    check_choice("quantile: method", method, _METHODS)
    refuse_masked(q)
    shares = np.asarray(q, dtype=float)
    if not ((shares >= 0) & (shares <= 1)).all():
        raise ValueError(f"quantile: q: expected numbers from 0 to 1, got {q!r}")
    x = x if hasattr(x, "dtype") else np.asarray(x)
    xp, shape = array_module(x), shape_of(x)
    axes = tuple(range(len(shape))) if axis is None else axis
    reduced = normalize_axis_tuple(axes, len(shape), "axis") if shape else ()
    kept = [a for a in range(len(shape)) if a not in reduced]
    rows = transpose(x, (*kept, *reduced)) if reduced else x
    length = math.prod(shape[a] for a in reduced)
    if not length:
        raise ValueError(f"quantile: axis={axis} of shape {tuple(shape)} has no elements")
    ordered = sort(reshape(rows, (*(shape[a] for a in kept), length)), -1)
    if not is_floating(ordered.dtype):
        ordered = cast(ordered, np.float64)
    below, share = _position(shares * (length - 1), method)
    low = ordered[..., xp.asarray(below)]
    if share.any():
        high = ordered[..., xp.asarray(np.minimum(below + 1, length - 1))]
        wide_low, wide_high = widen(low), widen(high)
        part = xp.asarray(share.astype(wide_low.dtype))
        # equal elements, and those exactly at a place, are left as they are, infinities among them
        with np.errstate(invalid="ignore"):
            distance = where_((wide_low == wide_high) | (part == 0), 0, wide_high - wide_low)
        result = cast(wide_low + distance * part, low.dtype)
    else:
        result = low
    missing = any(isnan(ordered), -1)
    missing = reshape(missing, (*missing.shape, *[1] * shares.ndim))
    one = result.dtype.type(1)
    result = result * where_(missing, one * np.nan, one)  # the gradient is NaN as well
    if shares.ndim:
        places = range(len(kept), len(kept) + shares.ndim)
        result = moveaxis(result, tuple(places), tuple(range(shares.ndim)))
    if keepdims:
        result = expand_dims(result, tuple(shares.ndim + a for a in reduced))
    return result


def _position(places: Any, method: str) -> tuple[Any, Any]:
    """Return the index of the lower element, and how far to go from it to the higher."""
    if method == "higher":
        places = np.ceil(places)
    elif method == "nearest":
        places = np.round(places)
    below = np.floor(places).astype(np.intp)
    share = places - below
    if method == "lower":
        share = np.zeros_like(share)
    elif method == "midpoint":
        share = np.where(share > 0, 0.5, 0.0)
    return below, share


@overload
def average(
    x: Data,
    /,
    axis: Any = None,
    weights: Any = None,
    returned: Literal[False] = False,
    *,
    keepdims: bool = False,
) -> Data: ...
@overload
def average(
    x: Data,
    /,
    axis: Any = None,
    weights: Any = None,
    *,
    returned: Literal[True],
    keepdims: bool = False,
) -> tuple[Data, Data]: ...
@overload
def average(
    x: Any,
    /,
    axis: Any = None,
    weights: Any = None,
    returned: bool = False,
    *,
    keepdims: bool = False,
) -> Any: ...
def average(
    x: Any,
    /,
    axis: Any = None,
    weights: Any = None,
    returned: bool = False,
    *,
    keepdims: bool = False,
) -> Any:
    r"""Return the weighted mean over `axis`, :math:`\sum w_i x_i / \sum w_i`.

    Args:
        weights: the weights, of the shape of `x` or of its size along `axis`; without them the
            result is the `mean`.
        returned: also return the sum of the weights.

    Raises:
        ValueError: if the shape of `weights` does not fit.
        ZeroDivisionError: if the weights add up to 0.

    >>> from nn_tensor import Tensor, average
    >>> average(Tensor([1.0, 3.0]), weights=[3, 1])
    Tensor(1.5)
    """
    shape = shape_of(x)
    if weights is None:
        result = mean_(x, axis, keepdims=keepdims)
        if not returned:
            return result
        count = math.prod(shape) // builtins.max(math.prod(result.shape), 1)
        return result, broadcast_to(
            cast(array_module(x).asarray(count), result.dtype), result.shape
        )
    given = shape_of(weights)
    if not hasattr(weights, "dtype"):  # Python's numbers have no precision of their own
        dtype = x.dtype if hasattr(x, "dtype") and is_floating(x.dtype) else None
        weights = array_module(x).asarray(weights, dtype)
    if given != shape:
        axes = None if axis is None else normalize_axis_tuple(axis, len(shape), "axis")
        if axes is None or given != tuple(shape[a] for a in axes):
            raise ValueError(
                f"average: weights: shape {tuple(given)} is neither that of x, {tuple(shape)}, nor "
                f"its sizes along axis={axis}"
            )
        weights = transpose(weights, tuple(int(i) for i in np.argsort(axes)))
        weights = expand_dims(weights, tuple(a for a in range(len(shape)) if a not in axes))
    if hasattr(x, "dtype") and not is_floating(x.dtype):
        x = cast(x, np.float64)  # products of small integers would wrap around
    wide, heavy = widen(x), widen(weights)
    products = multiply(wide, heavy)
    heavy = broadcast_to(cast(heavy, products.dtype), products.shape)
    total = sum(heavy, axis, keepdims=keepdims)
    if (total == 0).any():
        raise ZeroDivisionError("average: weights add up to 0")
    result = sum(products, axis, keepdims=keepdims) / total
    result = result if wide is x else cast(result, x.dtype)
    if not returned:
        return result
    if isinstance(result, Variable) and not isinstance(total, Variable):  # weights as an array
        total = new_variable(array_module(result).asarray(total))
    return result, total if wide is x else cast(total, x.dtype)
