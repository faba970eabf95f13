"""What a backward rule returned, as a gradient of its input: class, shape and dtype."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from nn_tensor._device import is_array, namespace_of
from nn_tensor._dtype import accumulation_dtype
from nn_tensor._errors import describe
from nn_tensor._graph import Node, Parent, Variable

__all__ = ["IndexedGradient", "as_gradient", "fit", "unbroadcast_grad"]


class IndexedGradient(NamedTuple):
    """A gradient that is 0 except at a basic index, so that many slices add up in one buffer."""

    value: Any
    index: Any
    shape: tuple[int, ...]
    put: Callable[..., Any]

    def dense(self) -> Any:
        """Return it with its zeros."""
        return self.put(self.value, self.index, self.shape)


def as_gradient(value: Any, parent: Parent, node: Node, rule: Any, create_graph: bool) -> Any:
    """Return what a rule returned with the class, shape and dtype of a gradient, or raise."""
    what = f"{node.op.name}: the rule for {rule.label!r}"
    if isinstance(value, Variable):
        gradient: Any = value if create_graph else value._data
    elif not is_array(value):
        raise TypeError(f"{what} must return a gradient, got {describe(value)}")
    elif create_graph:
        raise TypeError(
            f"{what} was given Tensors and returned an array; "
            "a higher derivative needs a rule written in operators and operations on Tensors"
        )
    else:
        gradient = value
    try:
        return fit(gradient, parent.shape, parent.dtype)
    except ValueError:
        raise ValueError(
            f"{what} returned a gradient of shape {value.shape}, which does not fit the "
            f"input's {parent.shape}"
        ) from None


def fit(grad: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
    """Return a gradient summed and broadcast to `shape`, in `dtype`."""
    if grad.shape != shape:
        grad = _fit_shape(grad, shape)
    return grad if grad.dtype == dtype else grad.astype(dtype)


def _fit_shape(grad: Any, shape: tuple[int, ...]) -> Any:
    """Sum and broadcast `grad` to `shape`: on any axis a rule may leave either undone."""
    if not grad.shape:  # of a sum over everything
        return _broadcast(grad, shape)
    extra = max(grad.ndim - len(shape), 0)
    if grad.shape[extra:] == shape:  # of a bias
        return unbroadcast_grad(grad, shape)
    aligned = (1,) * (len(shape) - grad.ndim) + grad.shape[extra:]
    summed = tuple(1 if n == 1 else m for n, m in zip(shape, aligned, strict=True))
    grad = unbroadcast_grad(grad, summed[len(summed) - grad.ndim + extra :])
    return grad if grad.shape == shape else _broadcast(grad, shape)


def _broadcast(grad: Any, shape: tuple[int, ...]) -> Any:
    if isinstance(grad, Variable):
        return grad.broadcast_to(shape)  # type: ignore[attr-defined]
    if grad.shape or not isinstance(grad, (np.ndarray, np.generic)):
        return namespace_of(grad).broadcast_to(grad, shape)
    result = np.ndarray(shape, grad.dtype, grad, strides=(0,) * len(shape))
    result.flags.writeable = False  # as np.broadcast_to, in a fifth of its time
    return result


def unbroadcast_grad(grad: Any, shape: tuple[int, ...]) -> Any:
    r"""Sum `grad` down to `shape`: the reverse of broadcasting from `shape`.

    Args:
        grad: an array or Tensor whose shape `shape` broadcasts to.
        shape: the shape of the input that was broadcast.

    Raises:
        ValueError: if `shape` does not broadcast to the shape of `grad`.

    >>> import numpy as np
    >>> unbroadcast_grad(np.ones((2, 3)), (3,))
    array([2., 2., 2.])
    """
    if grad.shape == shape:
        return grad
    extra = grad.ndim - len(shape)
    aligned = grad.shape[extra:]
    axes = tuple(range(extra))
    if aligned != shape:
        if extra < 0 or any(n not in (1, m) for n, m in zip(shape, aligned, strict=True)):
            raise ValueError(f"shape: {shape} does not broadcast to the gradient's {grad.shape}")
        axes += tuple(extra + i for i, n in enumerate(shape) if n == 1 and aligned[i] != 1)
    wide = accumulation_dtype(grad.dtype)
    if wide is None and type(grad) is np.ndarray:
        total = np.add.reduce(grad, axis=axes)  # without the Python around it in `sum`
    elif wide is None or isinstance(grad, Variable):  # sums of Tensors accumulate by themselves
        total = grad.sum(axis=axes)
    elif isinstance(grad, (np.ndarray, np.generic)):
        total = grad.sum(axis=axes, dtype=wide).astype(grad.dtype)
    else:
        total = _sum_of_half(namespace_of(grad))(grad, axis=axes)
    return total if total.shape == shape else total.reshape(shape)


@functools.cache
def _sum_of_half(cp: Any) -> Any:
    """Return CuPy's sum of half precision in float32, with one launch.

    `cupy.sum` leaves contiguous arrays to CUB, which adds up float16 in float16.
    """
    return cp.ReductionKernel(
        "T x",
        "T y",
        "float(x)",
        "a + b",
        "y = T(a)",
        "0",
        "nn_tensor_sum_of_half",
        reduce_type="float",
    )
