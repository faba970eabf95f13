"""Operations that move elements and leave their values as they are.

Where NumPy gives a view, so do these: the result shares its input's memory.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from nn_tensor import _device
from nn_tensor._autocast import use_cast
from nn_tensor._checks import keyword_only
from nn_tensor._convert import refuse_masked, shape_of
from nn_tensor._dtype import check_on_host, parse_dtype
from nn_tensor._graph import Variable
from nn_tensor._numpy_options import refuse
from nn_tensor._op import op
from nn_tensor._op_type import Data, function
from nn_tensor.ops.indexing import get_item

if TYPE_CHECKING:
    from nn_tensor._tensor import Tensor

__all__ = [
    "array_split",
    "broadcast_to",
    "cast",
    "concatenate",
    "copy",
    "expand_dims",
    "flatten",
    "flip",
    "hstack",
    "moveaxis",
    "ravel",
    "repeat",
    "reshape",
    "roll",
    "rot90",
    "split",
    "squeeze",
    "stack",
    "swapaxes",
    "tile",
    "to_device",
    "transpose",
    "vstack",
]


@op
def reshape(xp: Any, x: Any, /, shape: int | Sequence[int]) -> Any:
    """Return the elements of `x`, in the same order, in another `shape`; one size may be -1.

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
def ravel(x: Any, /) -> Tensor:
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
def concatenate(
    arrays: Sequence[Data], /, axis: int | None = 0, out: None = None, *, dtype: Any = None
) -> Data: ...
@overload
def concatenate(
    arrays: Sequence[Any], /, axis: int | None = 0, out: None = None, *, dtype: Any = None
) -> Any: ...
@keyword_only
def concatenate(
    arrays: Sequence[Any], /, axis: int | None = 0, out: None = None, *, dtype: Any = None
) -> Any:
    """Return `arrays` joined along an existing axis; flattened first if `axis` is None.

    Args:
        dtype: the dtype of the result.

    >>> from nn_tensor import Tensor, concatenate
    >>> concatenate([Tensor([1.0]), Tensor([2.0, 3.0])])
    Tensor([1., 2., 3.])
    """
    refuse("concatenate", out=out)
    return _in_dtype(_concatenate(*_sequence("concatenate", arrays), axis=axis), dtype)


@overload
def stack(
    arrays: Sequence[Data], /, axis: int = 0, out: None = None, *, dtype: Any = None
) -> Data: ...
@overload
def stack(
    arrays: Sequence[Any], /, axis: int = 0, out: None = None, *, dtype: Any = None
) -> Any: ...
@keyword_only
def stack(arrays: Sequence[Any], /, axis: int = 0, out: None = None, *, dtype: Any = None) -> Any:
    """Return `arrays`, all of one shape, joined along a new axis.

    Args:
        dtype: the dtype of the result.

    >>> from nn_tensor import Tensor, stack
    >>> stack([Tensor([1.0, 2.0]), Tensor([3.0, 4.0])], axis=1)
    Tensor([[1., 3.],
            [2., 4.]])
    """
    refuse("stack", out=out)
    arrays = _sequence("stack", arrays)
    shapes = {shape_of(array) for array in arrays}
    if len(shapes) > 1:
        raise ValueError(f"stack: arrays must have one shape, got {sorted(shapes)}")
    joined = _concatenate(*(expand_dims(array, axis) for array in arrays), axis=axis)
    return _in_dtype(joined, dtype)


@overload
def vstack(arrays: Sequence[Data], /, *, dtype: Any = None) -> Data: ...
@overload
def vstack(arrays: Sequence[Any], /, *, dtype: Any = None) -> Any: ...
def vstack(arrays: Sequence[Any], /, *, dtype: Any = None) -> Any:
    """Return `arrays` joined along the first of two or more axes; vectors are rows.

    Args:
        dtype: the dtype of the result.

    >>> from nn_tensor import Tensor, vstack
    >>> vstack([Tensor([1.0, 2.0]), Tensor([3.0, 4.0])])
    Tensor([[1., 2.],
            [3., 4.]])
    """
    rows = [reshape(x, (1, -1)) if len(shape_of(x)) < 2 else x for x in _sequence("vstack", arrays)]
    return _in_dtype(_concatenate(*rows, axis=0), dtype)


@overload
def hstack(arrays: Sequence[Data], /, *, dtype: Any = None) -> Data: ...
@overload
def hstack(arrays: Sequence[Any], /, *, dtype: Any = None) -> Any: ...
def hstack(arrays: Sequence[Any], /, *, dtype: Any = None) -> Any:
    """Return `arrays` joined along the second axis, or the first if they have only one.

    Args:
        dtype: the dtype of the result.

    >>> from nn_tensor import Tensor, hstack
    >>> hstack([Tensor([1.0, 2.0]), Tensor([3.0])])
    Tensor([1., 2., 3.])
    """
    arrays = _sequence("hstack", arrays)
    arrays = [x if shape_of(x) else reshape(x, (1,)) for x in arrays]
    joined = _concatenate(*arrays, axis=0 if len(shape_of(arrays[0])) == 1 else 1)
    return _in_dtype(joined, dtype)


def _in_dtype(x: Any, dtype: Any) -> Any:
    return x if dtype is None or x.dtype == parse_dtype(dtype) else cast(x, dtype)


def _sequence(name: str, arrays: Any) -> list[Any]:
    if not isinstance(arrays, (list, tuple)) or not arrays:
        raise ValueError(f"{name}: arrays: expected a list or tuple of Tensors, got {arrays!r}")
    return list(arrays)


@overload
def split(ary: Data, /, indices_or_sections: int | Sequence[int], axis: int = 0) -> list[Data]: ...
@overload
def split(ary: Any, /, indices_or_sections: int | Sequence[int], axis: int = 0) -> list[Any]: ...
@keyword_only
def split(ary: Any, /, indices_or_sections: int | Sequence[int], axis: int = 0) -> list[Any]:
    """Return `ary` split along `axis`: into so many equal parts, or before the given indices.

    Raises:
        ValueError: if the number of sections does not divide the size of the axis (see
            `array_split`).

    >>> from nn_tensor import Tensor, split
    >>> split(Tensor([1.0, 2.0, 3.0]), [1])
    [Tensor([1.]), Tensor([2., 3.])]
    """
    if isinstance(indices_or_sections, (int, np.integer)):
        length = ary.shape[_within("split", axis, ary)]
        if indices_or_sections < 1 or length % indices_or_sections:
            raise ValueError(
                f"split: indices_or_sections={indices_or_sections} does not divide the length "
                f"{length}; use array_split"
            )
    return _split("split", ary, indices_or_sections, axis)


@overload
def array_split(
    ary: Data, /, indices_or_sections: int | Sequence[int], axis: int = 0
) -> list[Data]: ...
@overload
def array_split(
    ary: Any, /, indices_or_sections: int | Sequence[int], axis: int = 0
) -> list[Any]: ...
def array_split(ary: Any, /, indices_or_sections: int | Sequence[int], axis: int = 0) -> list[Any]:
    """Return `ary` split along `axis`, as `split` does; the sizes of parts may differ by 1.

    Raises:
        ValueError: if there are fewer than 1 sections.

    >>> from nn_tensor import Tensor, array_split
    >>> array_split(Tensor([1.0, 2.0, 3.0]), 2)
    [Tensor([1., 2.]), Tensor([3.])]
    """
    return _split("array_split", ary, indices_or_sections, axis)


def _split(name: str, ary: Any, sections: int | Sequence[int], axis: int) -> list[Any]:
    refuse_masked(ary)
    length = ary.shape[_within(name, axis, ary)]
    if isinstance(sections, (int, np.integer)):
        if sections < 1:
            raise ValueError(f"{name}: indices_or_sections={sections} must be at least 1")
        size, longer = divmod(length, int(sections))
        sizes = [size + (i < longer) for i in range(int(sections))]
        bounds = [0, *itertools.accumulate(sizes)]
    else:
        bounds = [0, *(operator.index(i) for i in sections), length]
    index: list[Any] = [slice(None)] * len(ary.shape)
    parts = []
    for start, stop in itertools.pairwise(bounds):
        index[axis] = slice(start, stop)
        parts.append(ary[tuple(index)])
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
def roll(x: Any, /, shift: int | Sequence[int], axis: int | Sequence[int] | None = None) -> Tensor:
    """Return `x` with its elements rolled by `shift` along `axis`; the last become the first.

    Args:
        shift: the number of places; a tuple for several axes.
        axis: None to move the elements of the flattened `x`.

    >>> from nn_tensor import Tensor, roll
    >>> roll(Tensor([1.0, 2.0, 3.0]), 1)
    Tensor([3., 1., 2.])
    """
    return _roll(x, _integers("roll", "shift", shift), axis)


@op
def _roll(xp: Any, x: Any, /, shift: Any, axis: Any) -> Any:
    return xp.roll(x, shift, axis)


@_roll.gradient("x")
def _(g: Any, shift: Any, axis: Any) -> Any:
    return _roll(g, tuple(-n for n in shift) if isinstance(shift, tuple) else -shift, axis)


@op
def rot90(xp: Any, m: Any, /, k: int = 1, axes: Sequence[int] = (0, 1)) -> Any:
    """Return `m` rotated `k` times by 90 degrees, from the first of the `axes` to the second.

    >>> from nn_tensor import Tensor, rot90
    >>> rot90(Tensor([[1.0, 2.0], [3.0, 4.0]]))
    Tensor([[2., 4.],
            [1., 3.]])
    """
    return xp.rot90(m, k, axes)


@rot90.gradient("m")
def _(g: Any, k: int, axes: Sequence[int]) -> Any:
    return rot90(g, -k, axes)


@function
def repeat(x: Any, /, repeats: int | Sequence[int], axis: int | None = None) -> Tensor:
    """Repeat each element `repeats` times along `axis` or of the flattened `x`.

    Args:
        repeats: a count, or an array with one for each element along the axis.

    >>> from nn_tensor import Tensor, repeat
    >>> repeat(Tensor([1.0, 2.0]), [1, 3])
    Tensor([1., 2., 2., 2.])
    """
    if axis is None:
        x, axis = ravel(x), 0
    axis = _within("repeat", axis, x)
    length = x.shape[axis]
    refuse_masked(repeats)
    counts = repeats._data if isinstance(repeats, Variable) else repeats
    counts = np.asarray(_device.put(counts, _device.CPU))
    if (counts.size and counts.dtype.kind not in "iu") or (counts < 0).any():
        raise ValueError(f"repeat: repeats: expected counts of at least 0, got {repeats!r}")
    if counts.ndim > 1 or counts.size not in (1, length):
        raise ValueError(
            f"repeat: repeats: expected one count or {length}, one for each element along axis "
            f"{axis} of shape {tuple(x.shape)}, got {repeats!r}"
        )
    if counts.size != 1:
        index = np.repeat(np.arange(length), counts.astype(np.intp))
        return get_item(x, (*[slice(None)] * axis, index))
    count = int(counts.reshape(()))
    wide = expand_dims(x, axis + 1)
    wide = broadcast_to(wide, (*x.shape[: axis + 1], count, *x.shape[axis + 1 :]))
    return reshape(wide, (*x.shape[:axis], length * count, *x.shape[axis + 1 :]))


@function
def tile(A: Any, /, reps: int | Sequence[int]) -> Tensor:
    """Repeat `A` as a whole, so many times along each axis (the last axes if fewer).

    >>> from nn_tensor import Tensor, tile
    >>> tile(Tensor([1.0, 2.0]), 2)
    Tensor([1., 2., 1., 2.])
    """
    given = _integers("tile", "reps", reps)
    counts = list(given) if isinstance(given, tuple) else [given]
    if any(count < 0 for count in counts):
        raise ValueError(f"tile: reps: expected counts of at least 0, got {reps!r}")
    shape = shape_of(A)
    ndim = max(len(counts), len(shape))
    counts = [1] * (ndim - len(counts)) + counts
    lengths = [1] * (ndim - len(shape)) + list(shape)
    pairs = list(zip(counts, lengths, strict=True))
    spread = reshape(A, tuple(n for length in lengths for n in (1, length)))
    spread = broadcast_to(spread, tuple(n for pair in pairs for n in pair))
    return reshape(spread, tuple(count * length for count, length in pairs))


def _integers(function: str, name: str, value: Any) -> int | tuple[int, ...]:
    """Return an integer, or several as a tuple, as such; or raise."""
    try:
        if np.ndim(value):
            return tuple(operator.index(n) for n in value)
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{function}: {name}: expected integers, got {value!r}") from None


def _within(name: str, axis: int, x: Any) -> int:
    ndim = len(x.shape)
    if not -ndim <= axis < ndim:
        raise ValueError(f"{name}: axis={axis} is out of bounds for shape {tuple(x.shape)}")
    return axis % ndim


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


@use_cast
@op
def cast(xp: Any, x: Any, /, dtype: Any, kept: Any = None) -> Any:
    """Return `x` in another data type; `Tensor.astype` is the way to call it.

    Args:
        kept: the result of an earlier call, if it is known.
    """
    parsed = parse_dtype(dtype)
    if xp is np:
        check_on_host(parsed)
    return xp.asarray(x).astype(parsed) if kept is None else kept


@cast.gradient("x")
def _(g: Any) -> Any:
    return g  # the backward pass casts every gradient to the dtype of its input


@op
def to_device(xp: Any, x: Any, /, device: Any) -> Any:
    """Return `x` on another device; `Tensor.to` is the way to call it."""
    target = _device.parse_device(device)
    if target == _device.CPU:
        check_on_host(x.dtype)
    return _device.put(x, target)


@to_device.gradient("x")
def _(g: Any, x_device: Any) -> Any:
    return to_device(g, x_device)
