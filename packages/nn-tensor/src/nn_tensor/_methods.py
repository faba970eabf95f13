"""The operations that read well as methods: ``x.sum()`` is ``nn_tensor.sum(x)``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nn_tensor import ops
from nn_tensor._base import TensorBase

if TYPE_CHECKING:
    from nn_tensor._tensor import Tensor

ArrayLike = Any
Axis = int | tuple[int, ...] | None


class Methods(TensorBase):
    """The named operations of `Tensor`."""

    __slots__ = ()

    # Elementwise

    def exp(self) -> Tensor:
        """See `nn_tensor.exp`."""
        return ops.exp(self)

    def log(self) -> Tensor:
        """See `nn_tensor.log`."""
        return ops.log(self)

    def sqrt(self) -> Tensor:
        """See `nn_tensor.sqrt`."""
        return ops.sqrt(self)

    def square(self) -> Tensor:
        """See `nn_tensor.square`."""
        return ops.square(self)

    def abs(self) -> Tensor:
        """See `nn_tensor.abs`."""
        return ops.abs(self)

    def sign(self) -> Tensor:
        """See `nn_tensor.sign`."""
        return ops.sign(self)

    def sin(self) -> Tensor:
        """See `nn_tensor.sin`."""
        return ops.sin(self)

    def cos(self) -> Tensor:
        """See `nn_tensor.cos`."""
        return ops.cos(self)

    def tanh(self) -> Tensor:
        """See `nn_tensor.tanh`."""
        return ops.tanh(self)

    def sigmoid(self) -> Tensor:
        """See `nn_tensor.sigmoid`."""
        return ops.sigmoid(self)

    def relu(self) -> Tensor:
        """See `nn_tensor.relu`."""
        return ops.relu(self)

    def erf(self) -> Tensor:
        """See `nn_tensor.erf`."""
        return ops.erf(self)

    def softplus(self) -> Tensor:
        """See `nn_tensor.softplus`."""
        return ops.softplus(self)

    def clip(self, low: ArrayLike = None, high: ArrayLike = None) -> Tensor:
        """See `nn_tensor.clip`."""
        return ops.clip(self, low, high)

    def maximum(self, other: ArrayLike) -> Tensor:
        """See `nn_tensor.maximum`."""
        return ops.maximum(self, other)

    def minimum(self, other: ArrayLike) -> Tensor:
        """See `nn_tensor.minimum`."""
        return ops.minimum(self, other)

    def where(self, condition: ArrayLike, other: ArrayLike) -> Tensor:
        """Return this Tensor where `condition` holds and `other` elsewhere."""
        return ops.where(condition, self, other)

    # Reductions

    def sum(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """See `nn_tensor.sum`."""
        return ops.sum(self, axis, keepdims)

    def mean(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """See `nn_tensor.mean`."""
        return ops.mean(self, axis, keepdims)

    def var(self, axis: Axis = None, keepdims: bool = False, ddof: int = 0) -> Tensor:
        """See `nn_tensor.var`."""
        return ops.var(self, axis, keepdims, ddof)

    def std(self, axis: Axis = None, keepdims: bool = False, ddof: int = 0) -> Tensor:
        """See `nn_tensor.std`."""
        return ops.std(self, axis, keepdims, ddof)

    def max(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """See `nn_tensor.max`."""
        return ops.max(self, axis, keepdims)

    def min(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """See `nn_tensor.min`."""
        return ops.min(self, axis, keepdims)

    def prod(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """See `nn_tensor.prod`."""
        return ops.prod(self, axis, keepdims)

    def argmax(self, axis: int | None = None, keepdims: bool = False) -> Tensor:
        """See `nn_tensor.argmax`."""
        return ops.argmax(self, axis, keepdims)

    def argmin(self, axis: int | None = None, keepdims: bool = False) -> Tensor:
        """See `nn_tensor.argmin`."""
        return ops.argmin(self, axis, keepdims)

    def any(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """See `nn_tensor.any`."""
        return ops.any(self, axis, keepdims)

    def all(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """See `nn_tensor.all`."""
        return ops.all(self, axis, keepdims)

    def logsumexp(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """See `nn_tensor.logsumexp`."""
        return ops.logsumexp(self, axis, keepdims)

    def cumsum(self, axis: int | None = None) -> Tensor:
        """See `nn_tensor.cumsum`."""
        return ops.cumsum(self, axis)

    def softmax(self, axis: int = -1) -> Tensor:
        """See `nn_tensor.softmax`."""
        return ops.softmax(self, axis)

    def log_softmax(self, axis: int = -1) -> Tensor:
        """See `nn_tensor.log_softmax`."""
        return ops.log_softmax(self, axis)

    # Shape

    def reshape(self, *shape: int | Sequence[int]) -> Tensor:
        """See `nn_tensor.reshape`; the lengths may be given one by one or as a tuple."""
        return ops.reshape(self, _one_or_many(shape))

    def transpose(self, *axes: int | Sequence[int] | None) -> Tensor:
        """See `nn_tensor.transpose`; the axes may be given one by one or as a tuple."""
        return ops.transpose(self, _one_or_many(axes) if axes else None)

    def swapaxes(self, axis1: int, axis2: int) -> Tensor:
        """See `nn_tensor.swapaxes`."""
        return ops.swapaxes(self, axis1, axis2)

    def squeeze(self, axis: Axis = None) -> Tensor:
        """See `nn_tensor.squeeze`."""
        return ops.squeeze(self, axis)

    def expand_dims(self, axis: int | tuple[int, ...]) -> Tensor:
        """See `nn_tensor.expand_dims`."""
        return ops.expand_dims(self, axis)

    def broadcast_to(self, shape: Sequence[int]) -> Tensor:
        """See `nn_tensor.broadcast_to`."""
        return ops.broadcast_to(self, shape)

    def flatten(self, start_axis: int = 0) -> Tensor:
        """See `nn_tensor.flatten`."""
        return ops.flatten(self, start_axis)

    def repeat(self, repeats: int, axis: int | None = None) -> Tensor:
        """See `nn_tensor.repeat`."""
        return ops.repeat(self, repeats, axis)

    def flip(self, axis: Axis = None) -> Tensor:
        """See `nn_tensor.flip`."""
        return ops.flip(self, axis)

    def split(self, sections: int | Sequence[int], axis: int = 0) -> list[Tensor]:
        """See `nn_tensor.split`."""
        return ops.split(self, sections, axis)

    def pad2d(self, padding: Any) -> Tensor:
        """See `nn_tensor.pad2d`."""
        return ops.pad2d(self, padding)

    # Indexing

    def gather(self, indices: ArrayLike, axis: int = -1) -> Tensor:
        """See `nn_tensor.gather`."""
        return ops.gather(self, indices, axis)

    def scatter_add(self, indices: ArrayLike, values: ArrayLike, axis: int = -1) -> Tensor:
        """See `nn_tensor.scatter_add`."""
        return ops.scatter_add(self, indices, values, axis)

    def take(self, indices: ArrayLike, axis: int | None = None) -> Tensor:
        """See `nn_tensor.take`."""
        return ops.take(self, indices, axis)


def _one_or_many(values: tuple[Any, ...]) -> Any:
    """Let ``f(2, 3)`` mean ``f((2, 3))``."""
    return values[0] if len(values) == 1 and not isinstance(values[0], int) else values
