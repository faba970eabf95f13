"""Operations that move elements and leave their values as they are.

Where NumPy gives a view, so do these: the result shares its input's memory.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar, overload

import numpy as np

from nn_tensor import _device
from nn_tensor._checks import keyword_only
from nn_tensor._dtype import parse_dtype
from nn_tensor._op import op, shape_of
from nn_tensor._op_type import function

if TYPE_CHECKING:
    from nn_tensor._tensor import Tensor

__all__ = [
    "broadcast_to",
    "cast",
    "concatenate",
    "copy",
    "expand_dims",
    "flatten",
    "flip",
    "moveaxis",
    "pad",
    "pad2d",
    "ravel",
    "repeat",
    "reshape",
    "split",
    "squeeze",
    "stack",
    "swapaxes",
    "tile",
    "to_device",
    "transpose",
]

Data = TypeVar("Data", "Tensor", "np.ndarray[Any, Any]")


@op
def reshape(xp: Any, x: Any, /, shape: int | Sequence[int]) -> Any:
    """Return the elements of `x`, in the same order, in another `shape`; one length may be -1.

    >>> from nn_tensor import Tensor, reshape
    >>> reshape(Tensor([1.0, 2.0, 3.0, 4.0]), (2, -1))
    Tensor([[1., 2.],
            [3., 4.]])
    """
    return xp.reshape(x, shape)


@reshape.gradient("x")
def _(g: Any, x_shape: tuple[int, ...]) -> Any:
    return reshape(g, x_shape)


@function
def flatten(x: Any, start_axis: int = 0) -> Tensor:
    """Return `x` with the axes from `start_axis` on flattened into one.

    >>> from nn_tensor import flatten, zeros
    >>> flatten(zeros((2, 3, 4)), start_axis=1).shape
    (2, 12)
    """
    ndim = len(x.shape)
    if not -ndim <= start_axis <= max(ndim - 1, 0):
        raise ValueError(f"flatten: start_axis={start_axis} is out of bounds for shape {x.shape}")
    kept = x.shape[: start_axis % ndim] if ndim else ()
    return reshape(x, (*kept, int(np.prod(x.shape[len(kept) :], dtype=int))))


@function
def ravel(x: Any) -> Tensor:
    """Return all elements of `x` along one axis.

    >>> from nn_tensor import Tensor, ravel
    >>> ravel(Tensor([[1.0], [2.0]]))
    Tensor([1., 2.])
    """
    return reshape(x, -1)


@op
def transpose(xp: Any, x: Any, /, axes: Sequence[int] | None = None) -> Any:
    """Return `x` with its axes in the order `axes`, or reversed if it is None.

    >>> from nn_tensor import transpose, zeros
    >>> transpose(zeros((2, 3, 4)), (0, 2, 1)).shape
    (2, 4, 3)
    """
    return xp.transpose(x, axes)


@transpose.gradient("x")
def _(g: Any, axes: Sequence[int] | None) -> Any:
    if axes is None:
        return transpose(g)
    axes = [axis % len(axes) for axis in axes]
    return transpose(g, tuple(axes.index(axis) for axis in range(len(axes))))


@op
def swapaxes(xp: Any, x: Any, /, axis1: int, axis2: int) -> Any:
    """Return `x` with two axes exchanged.

    >>> from nn_tensor import swapaxes, zeros
    >>> swapaxes(zeros((2, 3, 4)), 0, -1).shape
    (4, 3, 2)
    """
    return xp.swapaxes(x, axis1, axis2)


@swapaxes.gradient("x")
def _(g: Any, axis1: int, axis2: int) -> Any:
    return swapaxes(g, axis1, axis2)


@op
def moveaxis(xp: Any, x: Any, /, source: Any, destination: Any) -> Any:
    """Return `x` with the axes `source` moved to the places `destination`, the rest in order.

    >>> from nn_tensor import moveaxis, zeros
    >>> moveaxis(zeros((2, 3, 4)), 0, -1).shape
    (3, 4, 2)
    """
    return xp.moveaxis(x, source, destination)


@moveaxis.gradient("x")
def _(g: Any, source: Any, destination: Any) -> Any:
    return moveaxis(g, destination, source)


@op
def squeeze(xp: Any, x: Any, /, axis: Any = None) -> Any:
    """Return `x` without the axes `axis`, which must have length 1; all such axes if it is None.

    >>> from nn_tensor import squeeze, zeros
    >>> squeeze(zeros((1, 3, 1)), 0).shape
    (3, 1)
    """
    return xp.squeeze(x, axis=axis)


@squeeze.gradient("x")
def _(g: Any, x_shape: tuple[int, ...]) -> Any:
    return reshape(g, x_shape)


@op
def expand_dims(xp: Any, x: Any, /, axis: Any) -> Any:
    """Return `x` with new axes of length 1, which stand at `axis` in the result.

    >>> from nn_tensor import expand_dims, zeros
    >>> expand_dims(zeros((2, 3)), (0, -1)).shape
    (1, 2, 3, 1)
    """
    return xp.expand_dims(x, axis)


@expand_dims.gradient("x")
def _(g: Any, x_shape: tuple[int, ...]) -> Any:
    return reshape(g, x_shape)


@op
def broadcast_to(xp: Any, x: Any, /, shape: Sequence[int]) -> Any:
    """Return `x` repeated, without copying, to `shape`; the memory is read-only.

    >>> from nn_tensor import Tensor, broadcast_to
    >>> broadcast_to(Tensor([1.0, 2.0]), (2, 2))
    Tensor([[1., 2.],
            [1., 2.]])
    """
    return xp.broadcast_to(x, shape)


@broadcast_to.gradient("x")
def _(g: Any) -> Any:
    return g  # the backward pass undoes broadcasting, for every operation


@op
def _concatenate(xp: Any, *xs: Any, axis: int | None) -> Any:
    return xp.concatenate(xs, axis=axis)


@_concatenate.gradient("xs")
def _(g: Any, xs_shape: tuple[tuple[int, ...], ...], axis: int | None) -> tuple[Any, ...]:
    lengths = [math.prod(shape) if axis is None else shape[axis] for shape in xs_shape]
    stops = list(itertools.accumulate(lengths))
    index: list[Any] = [slice(None)] * len(g.shape)
    gradients = []
    for shape, length, stop in zip(xs_shape, lengths, stops, strict=True):
        index[axis or 0] = slice(stop - length, stop)
        part = g[tuple(index)]
        gradients.append(reshape(part, shape) if axis is None else part)
    return tuple(gradients)


@overload
def concatenate(tensors: Sequence[Data], axis: int | None = 0) -> Data: ...
@overload
def concatenate(tensors: Sequence[Any], axis: int | None = 0) -> Any: ...
@keyword_only
def concatenate(tensors: Sequence[Any], axis: int | None = 0) -> Any:
    """Return `tensors` joined along an existing axis; flattened first if `axis` is None.

    >>> from nn_tensor import Tensor, concatenate
    >>> concatenate([Tensor([1.0]), Tensor([2.0, 3.0])])
    Tensor([1., 2., 3.])
    """
    tensors = _sequence("concatenate", tensors)
    return _concatenate(*tensors, axis=axis)


@overload
def stack(tensors: Sequence[Data], axis: int = 0) -> Data: ...
@overload
def stack(tensors: Sequence[Any], axis: int = 0) -> Any: ...
@keyword_only
def stack(tensors: Sequence[Any], axis: int = 0) -> Any:
    """Return `tensors`, all of one shape, joined along a new axis.

    >>> from nn_tensor import Tensor, stack
    >>> stack([Tensor([1.0, 2.0]), Tensor([3.0, 4.0])], axis=1)
    Tensor([[1., 3.],
            [2., 4.]])
    """
    tensors = _sequence("stack", tensors)
    shapes = {shape_of(tensor) for tensor in tensors}
    if len(shapes) > 1:
        raise ValueError(f"stack: tensors must have one shape, got {sorted(shapes)}")
    return _concatenate(*(expand_dims(tensor, axis) for tensor in tensors), axis=axis)


def _sequence(name: str, tensors: Any) -> list[Any]:
    if not isinstance(tensors, (list, tuple)) or not tensors:
        raise ValueError(f"{name}: tensors: expected a list or tuple of Tensors, got {tensors!r}")
    return list(tensors)


@overload
def split(x: Data, sections: int | Sequence[int], axis: int = 0) -> list[Data]: ...
@overload
def split(x: Any, sections: int | Sequence[int], axis: int = 0) -> list[Any]: ...
@keyword_only
def split(x: Any, sections: int | Sequence[int], axis: int = 0) -> list[Any]:
    """Return `x` cut along `axis`: into `sections` equal parts, or before the indices given.

    Raises:
        ValueError: if a number of sections does not divide the length.

    >>> from nn_tensor import Tensor, split
    >>> split(Tensor([1.0, 2.0, 3.0]), [1])
    [Tensor([1.]), Tensor([2., 3.])]
    """
    length = x.shape[_within("split", axis, x)]
    if isinstance(sections, (int, np.integer)):
        if sections < 1 or length % sections:
            raise ValueError(f"split: sections={sections} does not divide the length {length}")
        step = length // sections
        bounds = list(range(0, length + 1, step)) if step else [0] * (sections + 1)
    else:
        bounds = [0, *(operator.index(i) for i in sections), length]
    index: list[Any] = [slice(None)] * len(x.shape)
    parts = []
    for start, stop in itertools.pairwise(bounds):
        index[axis] = slice(start, stop)
        parts.append(x[tuple(index)])
    return parts


@op
def flip(xp: Any, x: Any, /, axis: Any = None) -> Any:
    """Return `x` in reverse order along `axis`, or along every axis if it is None.

    >>> from nn_tensor import Tensor, flip
    >>> flip(Tensor([1.0, 2.0]))
    Tensor([2., 1.])
    """
    return xp.flip(x, axis)


@flip.gradient("x")
def _(g: Any, axis: Any) -> Any:
    return flip(g, axis)


@function
def repeat(x: Any, repeats: int, axis: int | None = None) -> Tensor:
    """Repeat each element `repeats` times along `axis`, or of the flattened `x`.

    >>> from nn_tensor import Tensor, repeat
    >>> repeat(Tensor([1.0, 2.0]), 2)
    Tensor([1., 1., 2., 2.])
    """
    if isinstance(repeats, bool) or not isinstance(repeats, (int, np.integer)) or repeats < 0:
        raise ValueError(f"repeat: repeats: expected a count of at least 0, got {repeats!r}")
    if axis is None:
        x, axis = ravel(x), 0
    axis = _within("repeat", axis, x)
    wide = expand_dims(x, axis + 1)
    wide = broadcast_to(wide, (*x.shape[: axis + 1], int(repeats), *x.shape[axis + 1 :]))
    return reshape(wide, (*x.shape[:axis], x.shape[axis] * int(repeats), *x.shape[axis + 1 :]))


@function
def tile(x: Any, repetitions: int | Sequence[int]) -> Tensor:
    """Repeat `x` as a whole, so many times along each axis (the last axes if fewer).

    >>> from nn_tensor import Tensor, tile
    >>> tile(Tensor([1.0, 2.0]), 2)
    Tensor([1., 2., 1., 2.])
    """
    counts = [repetitions] if isinstance(repetitions, (int, np.integer)) else list(repetitions)
    counts = [operator.index(count) for count in counts]
    if any(count < 0 for count in counts):
        raise ValueError(f"tile: repetitions: expected counts of at least 0, got {repetitions!r}")
    ndim = max(len(counts), len(x.shape))
    counts = [1] * (ndim - len(counts)) + counts
    lengths = [1] * (ndim - len(x.shape)) + list(x.shape)
    pairs = list(zip(counts, lengths, strict=True))
    spread = reshape(x, tuple(n for length in lengths for n in (1, length)))
    spread = broadcast_to(spread, tuple(n for pair in pairs for n in pair))
    return reshape(spread, tuple(count * length for count, length in pairs))


def _within(name: str, axis: int, x: Any) -> int:
    ndim = len(x.shape)
    if not -ndim <= axis < ndim:
        raise ValueError(f"{name}: axis={axis} is out of bounds for shape {tuple(x.shape)}")
    return axis % ndim


@op
def pad(xp: Any, x: Any, /, widths: Any, value: float = 0.0) -> Any:
    """Return `x` with `value` added around it.

    Args:
        widths: as in `numpy.pad`: a number, a pair for every axis, or one pair per axis.

    >>> from nn_tensor import Tensor, pad
    >>> pad(Tensor([1.0, 2.0]), (1, 2))
    Tensor([0., 1., 2., 0., 0.])
    """
    return xp.pad(x, _pairs(widths, x.ndim), constant_values=value)


@pad.gradient("x")
def _(g: Any, x_shape: tuple[int, ...], widths: Any) -> Any:
    before = (first for first, _ in _pairs(widths, len(x_shape)))
    return g[tuple(slice(b, b + n) for b, n in zip(before, x_shape, strict=True))]


def _pairs(widths: Any, ndim: int) -> tuple[tuple[int, int], ...]:
    array = np.asarray(widths)
    if array.dtype.kind not in "iu" or (array < 0).any():
        raise ValueError(f"widths: expected counts of at least 0, got {widths!r}")
    return tuple((int(a), int(b)) for a, b in np.broadcast_to(array, (ndim, 2)))


@function
def pad2d(x: Any, padding: Any, value: float = 0.0) -> Tensor:
    """Return `x` with `value` around its last two axes.

    Args:
        padding: a number for all four sides, a pair ``(height, width)`` for both sides of each
            axis, or ``((top, bottom), (left, right))``.

    Raises:
        ValueError: for negative padding, another form of it, or fewer than two axes.

    >>> from nn_tensor import pad2d, ones
    >>> pad2d(ones((1, 1, 2, 2)), ((1, 0), (2, 2))).shape
    (1, 1, 3, 6)
    """
    sides = np.asarray(padding)
    if sides.dtype.kind not in "iu" or sides.shape not in ((), (2,), (2, 2)) or (sides < 0).any():
        raise ValueError(
            "pad2d: padding: expected a count, (height, width) or ((top, bottom), (left, right)), "
            f"got {padding!r}"
        )
    if len(x.shape) < 2:
        raise ValueError(f"pad2d: x must have at least two axes, got shape {tuple(x.shape)}")
    if sides.ndim == 1:
        sides = sides[:, None]
    pairs = [(int(a), int(b)) for a, b in np.broadcast_to(sides, (2, 2))]
    return pad(x, [(0, 0)] * (len(x.shape) - 2) + pairs, value)


@op
def copy(xp: Any, x: Any, /) -> Any:
    """Return a copy of `x`.

    >>> from nn_tensor import Tensor, copy
    >>> copy(Tensor([1.0]))
    Tensor([1.])
    """
    return xp.array(x, copy=True)


@copy.gradient("x")
def _(g: Any) -> Any:
    return g


@op
def cast(xp: Any, x: Any, /, dtype: Any) -> Any:
    """Return `x` in another data type; `Tensor.astype` is the way to call it."""
    return xp.asarray(x).astype(parse_dtype(dtype))


@cast.gradient("x")
def _(g: Any) -> Any:
    return g  # the backward pass casts every gradient to the dtype of its input


@op
def to_device(xp: Any, x: Any, /, device: Any) -> Any:
    """Return `x` on another device; `Tensor.to` is the way to call it."""
    return _device.put(x, _device.parse_device(device))


@to_device.gradient("x")
def _(g: Any, x_device: Any) -> Any:
    return to_device(g, x_device)
