"""Products of matrices, by the threads of nn-kernels where they are large."""

from __future__ import annotations

from typing import Any

import numpy as np

from nn_tensor._convert import array_module
from nn_tensor._kernel import compiled_kernels_run, kernel

__all__ = ["is_large_product", "matrix_product"]

# Multiplications up to which OpenBLAS takes one thread: for any product, and for those that its
# kernels for small matrices compute, where the processor has AVX-512.
_SINGLE, _SMALL = 1 << 18, 100**3


@kernel
def _large_product(xp: Any, x: Any, y: Any, out: Any = None) -> Any:
    return xp.matmul(x, y, out=out)


@kernel
def _large_linear(xp: Any, x: Any, weights: Any, bias: Any) -> Any:
    return _add(xp.matmul(x, weights), bias)


_large_product.cpu("matmul")
_large_linear.cpu("linear")


def _add(out: Any, bias: Any) -> Any:
    if bias.dtype != out.dtype:
        return out + bias
    out += bias
    return out


def is_large_product(x: Any, y: Any) -> bool:
    """Return whether `matrix_product` computes ``x @ y`` on the threads of the compiled kernels.

    >>> import numpy as np
    >>> from nn_tensor.extend import is_large_product
    >>> is_large_product(np.eye(2), np.eye(2))
    False
    """
    count = x.size * y.shape[-1] if x.ndim == y.ndim > 1 else 0
    if count <= _SINGLE or (x.ndim == 2 and count <= _SMALL and _is_small_for_blas(x, y)):
        return False
    return compiled_kernels_run()


def _is_small_for_blas(x: Any, y: Any) -> bool:
    """Return whether OpenBLAS has a kernel for small matrices in this order in memory.

    For a transposed `y` it has one only for small results that are sums of many terms.
    """
    is_transposed = y.strides[0] < y.strides[1] and x.strides[0] > x.strides[1]
    return not is_transposed or (len(x) * y.shape[1] <= 1200 and len(y) >= 32)


def matrix_product(x: Any, y: Any, bias: Any = None, out: Any = None) -> Any:
    """Return ``x @ y``, plus a bias; for forwards and gradient rules.

    The threads of a BLAS library wait busily after each product, in the way of those of the
    compiled kernels. So large products of matrices, or of stacks of them, in float32 are computed
    by these kernels.

    Args:
        x: an array or Tensor.
        y: an array or Tensor.
        bias: an array that is added to each row.
        out: an array for the result, apart from the memory of `x` and `y`; without a bias, and only
            where `x` and `y` are arrays.

    >>> import numpy as np
    >>> from nn_tensor.extend import matrix_product
    >>> matrix_product(np.eye(2), np.ones((2, 3)), np.arange(3.0))
    array([[1., 2., 3.],
           [1., 2., 3.]])
    """
    if type(x) is type(y) is np.ndarray and is_large_product(x, y):
        return _large_product(np, x, y, out) if bias is None else _large_linear(np, x, y, bias)
    if out is not None:
        return array_module(x).matmul(x, y, out=out)
    return x @ y if bias is None else _add(x @ y, bias)
