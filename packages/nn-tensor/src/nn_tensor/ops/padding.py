"""Padding: elements around an array."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nn_tensor._convert import shape_of
from nn_tensor._op import op
from nn_tensor._op_type import function
from nn_tensor.ops.indexing import get_item

if TYPE_CHECKING:
    from nn_tensor._tensor import Tensor

__all__ = ["pad", "pad2d"]


@function
def pad(x: Any, /, pad_width: Any, mode: str = "constant", *, constant_values: Any = 0) -> Tensor:
    """Return `x` with elements added around it.

    Args:
        pad_width: as in `numpy.pad`: a number, a pair for every axis, one pair per axis, or pairs
            by axis.
        mode: the elements that are added: "constant", or values of `x`: "edge", "reflect",
            "symmetric" or "wrap".
        constant_values: the values for "constant": a number, a pair for every axis, or one pair per
            axis.

    >>> from nn_tensor import Tensor, pad
    >>> pad(Tensor([1.0, 2.0]), (1, 2))
    Tensor([0., 1., 2., 0., 0.])
    >>> pad(Tensor([1.0, 2.0, 3.0]), 1, "edge")
    Tensor([1., 1., 2., 3., 3.])
    """
    shape = shape_of(x)
    widths = _pairs(pad_width, len(shape))
    if mode == "constant":
        return _pad(x, widths, constant_values)
    if mode not in _PAD_MODES:
        modes = ", ".join(map(repr, ("constant", *_PAD_MODES)))
        raise ValueError(f"pad: mode: expected one of {modes}, got {mode!r}")
    if not isinstance(constant_values, int) or constant_values != 0:
        raise ValueError(f"pad: constant_values is for mode='constant', mode is {mode!r}")
    for axis, pair in enumerate(widths):
        if any(pair):  # of integers NumPy knows which element each place has
            if not shape[axis]:
                raise ValueError(f"pad: mode {mode!r} has nothing to repeat along axis {axis}")
            index = np.pad(np.arange(shape[axis]), pair, mode)  # type: ignore[call-overload]
            x = get_item(x, (*[slice(None)] * axis, index))
    return x


_PAD_MODES = ("edge", "reflect", "symmetric", "wrap")


@op
def _pad(xp: Any, x: Any, /, widths: tuple[tuple[int, int], ...], value: Any) -> Any:
    return xp.pad(x, widths, constant_values=value) if widths else xp.array(x, copy=True)


@_pad.gradient("x")
def _(g: Any, x_shape: tuple[int, ...], widths: tuple[tuple[int, int], ...]) -> Any:
    before = (first for first, _ in widths)
    return g[tuple(slice(b, b + n) for b, n in zip(before, x_shape, strict=True))]


def _pairs(widths: Any, ndim: int) -> tuple[tuple[int, int], ...]:
    if isinstance(widths, dict):
        pairs: list[Any] = [(0, 0)] * ndim
        for axis, width in widths.items():
            pairs[axis] = np.broadcast_to(np.asarray(width), (2,))
        widths = np.asarray(pairs)
    array = np.asarray(widths)
    if array.dtype.kind not in "iu" or (array < 0).any():
        raise ValueError(f"pad: pad_width: expected counts of at least 0, got {widths!r}")
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
    return _pad(x, ((0, 0),) * (len(x.shape) - 2) + tuple(pairs), value)
