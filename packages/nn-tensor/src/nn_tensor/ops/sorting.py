"""Sorting: whole axes, the order of their elements, and the largest of them.

The gradient of a sorted value goes to the element that it came from. NaN counts as the largest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar, overload

from nn_tensor._checks import check_integer
from nn_tensor._convert import shape_of
from nn_tensor._numpy_options import refuse
from nn_tensor._op import op
from nn_tensor._op_type import Data, function
from nn_tensor.ops.indexing import take_along_axis
from nn_tensor.ops.shape import flip

if TYPE_CHECKING:
    from nn_tensor._tensor import Tensor

__all__ = ["argsort", "sort", "topk"]

Part = TypeVar("Part")


@function
def sort(
    x: Any,
    /,
    axis: int | None = -1,
    kind: str | None = None,
    order: None = None,
    *,
    stable: bool | None = None,
) -> Tensor:
    """Return `x` sorted along `axis` in ascending order, or flattened and sorted if it is None.

    Equal elements keep their order: the gradients are the same on every device.

    Args:
        kind: the algorithm that NumPy would use; sorts here are always stable.
        stable: accepted for compatibility with NumPy, as `kind`.

    >>> from nn_tensor import Tensor, sort
    >>> sort(Tensor([[3.0, 1.0, 2.0]]))
    Tensor([[1., 2., 3.]])
    """
    return take_along_axis(x, argsort(x, axis, kind, order, stable=stable), axis)


@function
def argsort(
    x: Any,
    /,
    axis: int | None = -1,
    kind: str | None = None,
    order: None = None,
    *,
    stable: bool | None = None,
) -> Tensor:
    """Return the indices that sort `x` along `axis`, for `take_along_axis`.

    Args:
        axis: None for the flattened `x`.
        kind: the algorithm that NumPy would use; sorts here are always stable.
        stable: accepted for compatibility with NumPy, as `kind`.

    >>> from nn_tensor import Tensor, argsort
    >>> argsort(Tensor([3.0, 1.0, 2.0]))
    Tensor([1, 2, 0])
    """
    refuse("argsort", order=order)
    if kind not in (None, "quicksort", "mergesort", "heapsort", "stable"):
        raise ValueError(f"argsort: kind: expected the name of an algorithm, got {kind!r}")
    return _argsort(x, axis)


@op
def _argsort(xp: Any, x: Any, /, axis: int | None) -> Any:
    return xp.argsort(x, axis=axis, kind="stable")


class TopK(NamedTuple, Generic[Part]):
    """The largest or smallest elements, and their indices."""

    values: Part
    indices: Part


@overload
def topk(x: Data, /, k: int, axis: int = -1, *, largest: bool = True) -> TopK[Data]: ...
@overload
def topk(x: Any, /, k: int, axis: int = -1, *, largest: bool = True) -> TopK[Any]: ...
def topk(x: Any, /, k: int, axis: int = -1, *, largest: bool = True) -> TopK[Any]:
    """Return the `k` largest elements along `axis` in descending order, and their indices.

    Of equal elements those with lower indices come first.

    Args:
        largest: False for the smallest elements, in ascending order.

    Raises:
        ValueError: if there are fewer than `k` elements.

    >>> from nn_tensor import Tensor, topk
    >>> values, indices = topk(Tensor([1.0, 3.0, 2.0]), 2)
    >>> values, indices
    (Tensor([3., 2.]), Tensor([1, 2]))
    """
    shape = shape_of(x)
    if not -len(shape) <= axis < len(shape):
        raise ValueError(f"topk: axis={axis} is out of bounds for shape {tuple(shape)}")
    k = check_integer("topk: k", k, minimum=0)
    length = shape[axis]
    if k > length:
        raise ValueError(f"topk: k={k} is more than the {length} elements along axis {axis}")
    if largest:  # sorted backward, so that of equal elements the first stays before the others
        order = length - 1 - flip(argsort(flip(x, axis), axis), axis)
    else:
        order = argsort(x, axis)
    chosen: list[Any] = [slice(None)] * len(shape)
    chosen[axis] = slice(k)
    indices = order[tuple(chosen)]
    return TopK(take_along_axis(x, indices, axis), indices)
