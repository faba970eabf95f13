"""What Python's syntax means on Tensors: operators, indexing, iteration."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from nn_tensor import ops
from nn_tensor._autograd import writes
from nn_tensor._base import TensorBase
from nn_tensor._device import device_scope
from nn_tensor._indices import write_item
from nn_tensor._modes import modes, no_grad

if TYPE_CHECKING:
    from nn_tensor._tensor import Tensor

ArrayLike = Any


class Operators(TensorBase):
    """The operators of `Tensor`; each is an operation of `nn_tensor.ops`."""

    __slots__ = ()
    __hash__ = object.__hash__

    # Arithmetic

    def __add__(self, other: ArrayLike) -> Tensor:
        return ops.add(self, other)

    def __radd__(self, other: ArrayLike) -> Tensor:
        return ops.add(other, self)

    def __sub__(self, other: ArrayLike) -> Tensor:
        return ops.subtract(self, other)

    def __rsub__(self, other: ArrayLike) -> Tensor:
        return ops.subtract(other, self)

    def __mul__(self, other: ArrayLike) -> Tensor:
        return ops.multiply(self, other)

    def __rmul__(self, other: ArrayLike) -> Tensor:
        return ops.multiply(other, self)

    def __truediv__(self, other: ArrayLike) -> Tensor:
        return ops.divide(self, other)

    def __rtruediv__(self, other: ArrayLike) -> Tensor:
        return ops.divide(other, self)

    def __floordiv__(self, other: ArrayLike) -> Tensor:
        return ops.floor_divide(self, other)

    def __rfloordiv__(self, other: ArrayLike) -> Tensor:
        return ops.floor_divide(other, self)

    def __mod__(self, other: ArrayLike) -> Tensor:
        return ops.remainder(self, other)

    def __rmod__(self, other: ArrayLike) -> Tensor:
        return ops.remainder(other, self)

    def __pow__(self, other: ArrayLike) -> Tensor:
        return ops.power(self, other)

    def __rpow__(self, other: ArrayLike) -> Tensor:
        return ops.power(other, self)

    def __matmul__(self, other: ArrayLike) -> Tensor:
        return ops.matmul(self, other)

    def __rmatmul__(self, other: ArrayLike) -> Tensor:
        return ops.matmul(other, self)

    def __neg__(self) -> Tensor:
        return ops.negative(self)

    def __pos__(self: Self) -> Self:
        return self

    def __abs__(self) -> Tensor:
        return ops.abs(self)

    # In-place forms: see `_change`

    def __iadd__(self, other: ArrayLike) -> Tensor:
        return _change(self, "+=", ops.add, other)

    def __isub__(self, other: ArrayLike) -> Tensor:
        return _change(self, "-=", ops.subtract, other)

    def __imul__(self, other: ArrayLike) -> Tensor:
        return _change(self, "*=", ops.multiply, other)

    def __itruediv__(self, other: ArrayLike) -> Tensor:
        return _change(self, "/=", ops.divide, other)

    def __ifloordiv__(self, other: ArrayLike) -> Tensor:
        return _change(self, "//=", ops.floor_divide, other)

    def __imod__(self, other: ArrayLike) -> Tensor:
        return _change(self, "%=", ops.remainder, other)

    def __ipow__(self, other: ArrayLike) -> Tensor:
        return _change(self, "**=", ops.power, other)

    def __imatmul__(self, other: ArrayLike) -> Tensor:
        return _change(self, "@=", ops.matmul, other)

    # Comparisons and logic

    def __eq__(self, other: ArrayLike) -> Tensor:  # type: ignore[override]
        if other is None or isinstance(other, str):
            return NotImplemented  # so that Python says they differ, as it does of other objects
        return ops.equal(self, other)

    def __ne__(self, other: ArrayLike) -> Tensor:  # type: ignore[override]
        if other is None or isinstance(other, str):
            return NotImplemented
        return ops.not_equal(self, other)

    def __lt__(self, other: ArrayLike) -> Tensor:
        return ops.less(self, other)

    def __le__(self, other: ArrayLike) -> Tensor:
        return ops.less_equal(self, other)

    def __gt__(self, other: ArrayLike) -> Tensor:
        return ops.greater(self, other)

    def __ge__(self, other: ArrayLike) -> Tensor:
        return ops.greater_equal(self, other)

    def __and__(self, other: ArrayLike) -> Tensor:
        return ops.bitwise_and(self, other)

    def __rand__(self, other: ArrayLike) -> Tensor:
        return ops.bitwise_and(other, self)

    def __or__(self, other: ArrayLike) -> Tensor:
        return ops.bitwise_or(self, other)

    def __ror__(self, other: ArrayLike) -> Tensor:
        return ops.bitwise_or(other, self)

    def __xor__(self, other: ArrayLike) -> Tensor:
        return ops.bitwise_xor(self, other)

    def __rxor__(self, other: ArrayLike) -> Tensor:
        return ops.bitwise_xor(other, self)

    def __invert__(self) -> Tensor:
        return ops.invert(self)

    # Indexing and iteration

    def __getitem__(self, index: Any) -> Tensor:
        return ops.get_item(self, index)

    def __setitem__(self, index: Any, value: ArrayLike) -> None:
        _assign(self, index, value)

    def __iter__(self) -> Iterator[Tensor]:
        if self.ndim == 0:
            raise TypeError("iteration: a Tensor without axes has no elements to go through")
        return (self[i] for i in range(self.shape[0]))


def _refuse_leaf(tensor: Any, sign: str, value: Any) -> bool:
    """Tell whether a change is part of a graph; raise if it is one of a leaf."""
    recorded = modes.grad and (
        tensor._requires_grad or (isinstance(value, TensorBase) and value._requires_grad)
    )
    if recorded and tensor._requires_grad and tensor._node is None:
        raise RuntimeError(
            f"{sign}: a leaf that requires a gradient cannot be changed in place while gradients "
            "are recorded; use a new name for the result (or where, concatenate), or change it "
            "inside no_grad()"
        )
    return bool(recorded)


def _change(tensor: Any, sign: str, operation: Any, value: ArrayLike) -> Any:
    """Change this very Tensor.

    Where nothing is recorded its memory is written, as in NumPy, and everyone who shares it sees
    the change. Where the change is part of a graph the Tensor gets new memory and a new place in
    the graph, so that what earlier operations saved stays as it was.
    """
    if _refuse_leaf(tensor, sign, value):
        return _replace(tensor, sign, operation(tensor, value))
    with no_grad():
        result = operation(tensor, value)
    _check_fit(tensor, sign, result)
    with device_scope(tensor._data):
        _writable(tensor, sign)[...] = result._data
    writes.mark(tensor._data)
    return tensor


def _assign(tensor: Any, index: Any, value: ArrayLike) -> None:
    if _refuse_leaf(tensor, "item assignment", value):
        _replace(tensor, "item assignment", ops.set_item(tensor, value, index))
        return
    array = value._data if isinstance(value, TensorBase) else value
    with device_scope(tensor._data):
        write_item(tensor.xp, _writable(tensor, "item assignment"), index, array)
    writes.mark(tensor._data)


def _replace(tensor: Any, sign: str, result: Any) -> Any:
    if tensor._data.base is not None:
        raise RuntimeError(
            f"{sign}: this Tensor is a view, and whoever shares its memory would not see a change "
            "that is part of a graph; use a new name for the result, or take .copy() first"
        )
    _check_fit(tensor, sign, result)
    tensor._become(result.astype(tensor.dtype))
    return tensor


def _check_fit(tensor: Any, sign: str, result: Any) -> None:
    if result.shape != tensor.shape:
        raise ValueError(f"{sign}: the result has shape {result.shape}, not {tensor.shape}")
    if not np.can_cast(result.dtype, tensor.dtype, "same_kind"):
        raise TypeError(f"{sign}: a {result.dtype} result does not fit into {tensor.dtype}")


def _writable(tensor: Any, sign: str) -> Any:
    array = tensor._data
    # what is broadcast has elements that share memory; CuPy does not mark it as read-only
    steps = zip(array.strides, array.shape, strict=True)
    shared = any(step == 0 and length > 1 for step, length in steps)
    if shared or not getattr(array.flags, "writeable", True):
        raise ValueError(f"{sign}: the memory of this Tensor is read-only; take .copy()")
    return array
