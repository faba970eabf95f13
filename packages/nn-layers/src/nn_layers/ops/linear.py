"""The operation of a fully connected layer."""

from __future__ import annotations

import math
from typing import Any

from nn_tensor.extend import matrix_product, op

__all__ = ["linear"]


@op(precision="low")
def linear(xp: Any, x: Any, weights: Any, bias: Any, /) -> Any:
    """Return ``x @ weights + bias`` for `x` of any number of dimensions."""
    is_matrix = x.ndim == 2 or (x.ndim > 2 and x.size == x.shape[-1] * x.shape[-2])
    out = matrix_product(x if is_matrix else _as_matrix(x), weights, bias)
    return out if is_matrix else out.reshape(*x.shape[:-1], weights.shape[1])


@linear.gradient("x")
def _(g: Any, weights: Any) -> Any:
    gradient = matrix_product(_as_matrix(g), weights.T)
    return gradient if g.ndim == 2 else gradient.reshape(*g.shape[:-1], weights.shape[0])


@linear.gradient("weights")
def _(g: Any, x: Any) -> Any:
    return matrix_product(_as_matrix(x).T, _as_matrix(g))


@linear.gradient("bias")
def _(g: Any) -> Any:
    return g


def _as_matrix(x: Any) -> Any:
    """Return an array or Tensor as one matrix: a product with it is then a single GEMM."""
    return x if x.ndim == 2 else x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
