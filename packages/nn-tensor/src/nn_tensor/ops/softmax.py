"""Softmax and its logarithm, without overflow."""

import string
from typing import Any

import numpy as np

from nn_tensor._convert import array_module
from nn_tensor._dtype import accumulation_dtype, is_floating
from nn_tensor._graph import Variable
from nn_tensor._kernel import kernel
from nn_tensor._op import op
from nn_tensor.ops.elementwise import exp
from nn_tensor.ops.indexing import where
from nn_tensor.ops.logic import isinf
from nn_tensor.ops.reductions import axis_of, restore_dimensions, sum, widen

__all__ = [
    "log_softmax",
    "logsumexp",
    "softmax",
]

_SHORT = 4096  # numbers that are added up in sequence


@op(precision="full")
def softmax(xp: Any, x: Any, /, axis: int = -1) -> Any:
    r"""Return :math:`e^{x_i} / \sum_j e^{x_j}` along `axis`, without overflow.

    Where every element is -inf the result is zeros, not NaN.

    >>> from nn_tensor import Tensor, softmax
    >>> softmax(Tensor([1000.0, 1000.0]))
    Tensor([0.5, 0.5])
    """
    return softmax_forward(xp, x, axis)


@kernel
def softmax_forward(xp: Any, x: Any, axis: int) -> Any:
    """Return the softmax along `axis`; see `softmax`."""
    result = xp.asarray(xp.subtract(x, _shift(xp, x, axis), dtype=_floating(x)))
    xp.exp(result, out=result)
    total = _sum(xp, result, axis)
    result /= xp.where(total == 0, 1, total)
    return result


softmax_forward.cpu("softmax")


@softmax.gradient("x")
def _(g: Any, axis: int, out: Any) -> Any:
    if isinstance(g, Variable):
        return _softmax_gradient(g, out, axis)
    return softmax_backward(array_module(g), g, out, axis)


@kernel
def softmax_backward(xp: Any, g: Any, out: Any, axis: int) -> Any:
    """Return the gradient of the input of `softmax`, from its output."""
    if not _adds_by_einsum(out, axis) or g.shape != out.shape:
        return _softmax_gradient(g, out, axis)
    result = g - _sum_of_product(xp, axis, g, out)
    result *= out
    return result


softmax_backward.cpu("softmax_gradient")


def _softmax_gradient(g: Any, out: Any, axis: int) -> Any:
    weighted = g * out
    return weighted - out * sum(weighted, axis, keepdims=True)


@op(precision="full")
def log_softmax(xp: Any, x: Any, /, axis: int = -1) -> Any:
    r"""Return :math:`x_i - \log \sum_j e^{x_j}` along `axis`, accurate for any size of `x`.

    >>> from nn_tensor import Tensor, log_softmax
    >>> log_softmax(Tensor([1000.0, 0.0]))
    Tensor([    0., -1000.])
    """
    result = xp.asarray(xp.subtract(x, _shift(xp, x, axis), dtype=_floating(x)))
    total = _sum(xp, xp.exp(result), axis)
    result -= xp.log(xp.where(total == 0, 1, total))
    return result


@log_softmax.gradient("x")
def _(g: Any, axis: int, out: Any) -> Any:
    return g - exp(out) * sum(g, axis, keepdims=True)


@op(precision="full")
def logsumexp(xp: Any, x: Any, /, axis: Any = None, keepdims: bool = False) -> Any:
    r"""Return :math:`\log \sum e^x` over `axis`, without overflow; -inf over nothing or -inf only.

    >>> from nn_tensor import Tensor, logsumexp
    >>> logsumexp(Tensor([1000.0, -1000.0]))
    Tensor(1000.)
    """
    shift = _shift(xp, x, axis)
    total = _sum(xp, xp.exp(x - shift), axis)
    with np.errstate(divide="ignore"):
        result = (xp.log(total) + shift).astype(shift.dtype, copy=False)
    return result if keepdims else xp.squeeze(result, axis=axis)


@logsumexp.gradient("x")
def _(g: Any, x: Any, axis: Any, keepdims: bool, out: Any) -> Any:
    total = restore_dimensions(out, axis, keepdims)
    infinite = isinf(total)  # NaN stays NaN
    if accumulation_dtype(x.dtype) is not None:  # whose rounded output is no shift of exponents
        weights = softmax(widen(x), axis)
    else:
        weights = exp(x - where(infinite, 0, total))
    return restore_dimensions(g, axis, keepdims) * where(infinite, 0, weights)


def _adds_by_einsum(x: Any, axis: Any) -> bool:
    """Return whether `einsum`, which adds up in sequence, is exact enough along `axis`."""
    if not isinstance(axis, int) or not -x.ndim <= axis < x.ndim:
        return False
    return x.shape[axis] <= _SHORT and accumulation_dtype(x.dtype) is None and is_floating(x.dtype)


def _sum_of_product(xp: Any, axis: int, *factors: Any) -> Any:
    """Return the sum of the product with its dimensions kept, in half the time of `sum`."""
    names = string.ascii_letters[: factors[0].ndim]
    kept = names.replace(names[axis], "")
    total = xp.einsum(f"{','.join([names] * len(factors))}->{kept}", *factors)
    return xp.expand_dims(total, axis)


def _sum(xp: Any, x: Any, axis: Any) -> Any:
    """Return the sum with its dimensions kept, of half precision in float32."""
    if _adds_by_einsum(x, axis):
        return _sum_of_product(xp, axis, x)
    wide = accumulation_dtype(x.dtype)
    return xp.asarray(xp.sum(x, axis=axis_of(x, axis), keepdims=True, dtype=wide))


def _floating(x: Any) -> Any:
    """Return the dtype of the results: that of `x` if it is floating, as NumPy's functions."""
    return x.dtype if is_floating(x.dtype) else np.dtype(np.float64)


def _shift(xp: Any, x: Any, axis: Any) -> Any:
    """Return what to subtract so that no exponential overflows: the largest element, or 0.

    The 0 stands for a largest element that is infinite, or of no elements at all.
    """
    if x.size == 0:
        return xp.sum(x, axis=axis, keepdims=True, dtype=_floating(x))
    largest = xp.max(x, axis=axis_of(x, axis), keepdims=True).astype(_floating(x), copy=False)
    return xp.where(xp.isinf(largest), 0, largest).astype(largest.dtype, copy=False)
