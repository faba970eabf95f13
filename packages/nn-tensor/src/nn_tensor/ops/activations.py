"""Activation functions, element by element; `softmax` has a module of its own."""

import functools
from typing import Any

import numpy as np

from nn_tensor._convert import array_module
from nn_tensor._dtype import is_floating
from nn_tensor._graph import Variable
from nn_tensor._kernel import kernel
from nn_tensor._op import op
from nn_tensor.ops.indexing import keep_where, select

__all__ = [
    "relu",
    "sigmoid",
    "softplus",
]

_FEW = 1 << 17  # elements, for which a compiled kernel saves less than its call costs
_SHORT = 1 << 14  # elements, for which rows of zeros do so
_BLOCK = 1 << 16  # elements: in smaller blocks the calls take time
_ZEROS = np.zeros(1 << 15, np.float32)


@op
def relu(xp: Any, x: Any, /) -> Any:
    """Return ``max(x, 0)``, with derivative 0 at 0 (Nair and Hinton, 2010).

    >>> from nn_tensor import Tensor, relu
    >>> relu(Tensor([-1.0, 2.0]))
    Tensor([0., 2.])
    """
    if x.size < _SHORT:
        return xp.maximum(x, 0)
    return relu_forward.reference(xp, x) if x.size < _FEW else relu_forward(xp, x)


@kernel
def relu_forward(xp: Any, x: Any) -> Any:
    """Return ``max(x, 0)``."""
    if xp is not np or x.size < _SHORT or x.dtype != np.float32 or not x.flags.c_contiguous:
        return xp.maximum(x, 0)
    # for two arrays of float32 NumPy takes half the time that it takes for an array and a number
    out, shape = np.empty(x.shape, x.dtype), (-1, _ZEROS.size)
    values, result = x.reshape(-1), out.reshape(-1)
    rest = x.size // _ZEROS.size * _ZEROS.size  # where the last row begins, which is shorter
    np.maximum(values[:rest].reshape(shape), _ZEROS, out=result[:rest].reshape(shape))
    np.maximum(values[rest:], _ZEROS[: x.size - rest], out=result[rest:])
    return out


relu_forward.cpu("relu")


@relu.gradient("x")
def relu_gradient(g: Any, out: Any) -> Any:
    """Return the gradient of `relu`: `g` where the output is positive, and 0 elsewhere.

    For the rules of operations that end with `relu`.

    >>> from nn_tensor import Tensor
    >>> from nn_tensor.extend import relu_gradient
    >>> relu_gradient(Tensor([3.0, 4.0]), Tensor([0.0, 2.0]))
    Tensor([0., 4.])
    """
    if isinstance(g, Variable):
        return keep_where(out > 0, g)
    return mask_by_sign(array_module(g), g, out)


@kernel
def mask_by_sign(xp: Any, x: Any, y: Any) -> Any:
    """Return `x` where `y` is positive and 0 elsewhere, even where `x` is infinite or NaN."""
    in_order = x.size > _FEW and x.shape == y.shape and x.dtype.char in "fd"
    if xp is not np or not (in_order and x.flags.c_contiguous and y.flags.c_contiguous):
        return select.reference(xp, x, y > 0)
    # block by block, so that what is read again is in the cache
    out = np.empty(x.shape, x.dtype)
    values, signs, results = (a.reshape(-1) for a in (x, y, out))
    for start in range(0, x.size, _BLOCK):
        block = slice(start, start + _BLOCK)
        select.reference(np, values[block], signs[block] > 0, results[block])
    return out


mask_by_sign.cpu("select_positive")


@mask_by_sign.steps
def _(xp: Any, x: Any, y: Any) -> Any:
    if x.size >= _FEW:
        raise TypeError("a large array is left to the kernel, which computes in several threads")
    return xp.where(y > 0, x, x.dtype.type(0))


@mask_by_sign.cuda
def _(cp: Any, x: Any, y: Any) -> Any:
    return _mask_by_sign_on_cuda(cp)(x, y)


@functools.cache
def _mask_by_sign_on_cuda(cp: Any) -> Any:
    source = "out = y > (U)0 ? x : (T)0"
    return cp.ElementwiseKernel("T x, U y", "T out", source, "nn_tensor_mask_by_sign")


def _floating(xp: Any, x: Any) -> Any:
    """Return integers and booleans as floats: unsigned ones have no negative."""
    x = xp.asarray(x)
    return (
        x
        if x.dtype.kind == "c" or is_floating(x.dtype)
        else x.astype(xp.exp(x[:0] if x.ndim else x).dtype)
    )


@op
def sigmoid(xp: Any, x: Any, /) -> Any:
    r"""Return the logistic function :math:`1 / (1 + e^{-x})`, in (0, 1).

    >>> from nn_tensor import Tensor, sigmoid
    >>> sigmoid(Tensor([-1000.0, 0.0, 1000.0]))
    Tensor([0. , 0.5, 1. ])
    """
    # e^min(x, 0) / (1 + e^-|x|) never overflows and keeps the small values on the left exact; the
    # numerator is 1 on the right and e^-|x| on the left, the larger of this and of 1 or 0
    x = _floating(xp, x)
    small = xp.exp(-xp.abs(x))
    result = xp.maximum(small, (x >= 0).astype(small.dtype))
    small += 1
    result /= small
    return result


@sigmoid.gradient("x")
def _(g: Any, out: Any) -> Any:
    return g * (out * (1 - out))


@op(precision="full")
def softplus(xp: Any, x: Any, /) -> Any:
    r"""Return :math:`\log(1 + e^x)`, a smooth `relu`, without overflow.

    >>> from nn_tensor import Tensor, softplus
    >>> softplus(Tensor([-1000.0, 1000.0]))
    Tensor([   0., 1000.])
    """
    x = _floating(xp, x)
    result = xp.log1p(xp.exp(-xp.abs(x)))
    result += xp.maximum(x, 0)
    return result


@softplus.gradient("x")
def _(g: Any, x: Any) -> Any:
    return g * sigmoid(x)
