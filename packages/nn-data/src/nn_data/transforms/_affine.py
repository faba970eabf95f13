"""Rotation, shift and scale."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nn_data._checks import check_probability, keyword_only
from nn_data.transforms._layout import axes_of
from nn_data.transforms._rounding import restore_dtype
from nn_data.transforms._transform import Params, Transform, check_range, per_sample

__all__ = ["RandomAffine"]


class RandomAffine(Transform):
    r"""Rotate, shift and scale each image about its center, with bilinear interpolation.

    The pixel at :math:`p` moves to :math:`c + s\,R(\alpha)(p - c) + t`, with the center :math:`c`;
    positive angles turn clockwise. A pixel that comes from outside of the image gets `value`;
    between the border and the centers of the pixels next to it, these are repeated, as in Pillow's
    ``Image.transform``. Bytes are rounded.

    Args:
        degrees: angles are drawn from ± this number, or from (low, high).
        translate: shifts are drawn from ± this fraction of the height and of the width; one number,
            or one for each.
        scale: factors are drawn from 1 ± this number, or from (low, high).
        value: of pixels from outside.
        layout: ``'nchw'``, ``'nhwc'`` or ``'nhw'``.

    Raises:
        ValueError: for a factor that is not positive, or a fraction beyond 1.

    >>> affine = RandomAffine(layout="nhw")
    >>> params = {"angle": [90.0], "shift_y": [0.0], "shift_x": [0.0], "scale": [1.0]}
    >>> affine(np.array([[[1, 2], [3, 4]]]), params=params)
    array([[[3, 1],
            [4, 2]]])
    """

    @keyword_only
    def __init__(
        self,
        *,
        degrees: float | tuple[float, float] = 0,
        translate: float | tuple[float, float] = 0,
        scale: float | tuple[float, float] = 0,
        value: float = 0,
        layout: str = "nchw",
    ) -> None:
        super().__init__(layout=layout)
        self.degrees = check_range("degrees", degrees, 0)
        down, right = translate if isinstance(translate, (tuple, list)) else (translate, translate)
        self.translate = check_probability("translate", down), check_probability("translate", right)
        self.scale = check_range("scale", scale, 1, 0)
        if self.scale[0] == 0:
            raise ValueError(f"scale: expected factors > 0, got {scale!r}")
        self.value = value

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Params:
        """Return the angle in degrees, the shift in pixels and the factor of each image."""
        axes = axes_of(self.layout, shape, "RandomAffine")
        down = self.translate[0] * shape[axes.height]
        right = self.translate[1] * shape[axes.width]
        return {
            "angle": rng.uniform(*self.degrees, shape[0]),
            "shift_y": rng.uniform(-down, down, shape[0]),
            "shift_x": rng.uniform(-right, right, shape[0]),
            "scale": rng.uniform(*self.scale, shape[0]),
        }

    def apply(self, x: NDArray[Any], params: Params) -> NDArray[Any]:
        """Return the moved images."""
        axes = axes_of(self.layout, x.shape, "RandomAffine")
        # Channels last, so that one index takes a pixel with all of its channels.
        last = x[..., None] if axes.channel is None else np.moveaxis(x, axes.channel, -1)
        height, width = last.shape[1:3]
        rows, columns = _origins(height, width, params)
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        moved = np.where(inside[..., None], _bilinear(last, rows, columns), self.value)
        moved = restore_dtype(moved, x.dtype)
        if axes.channel is None:
            return moved[..., 0]
        return np.ascontiguousarray(np.moveaxis(moved, -1, axes.channel))


def _origins(height: int, width: int, params: Params) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return where each pixel comes from, as (n, height, width) rows and columns.

    Positions are continuous: a pixel reaches from its index to the next, its center is between.
    """
    angle = np.deg2rad(per_sample(params["angle"], 3))
    sine, cosine = np.sin(angle), np.cos(angle)
    down = np.arange(height)[:, None] + 0.5 - height / 2 - per_sample(params["shift_y"], 3)
    right = np.arange(width) + 0.5 - width / 2 - per_sample(params["shift_x"], 3)
    scale = per_sample(params["scale"], 3)
    rows = (cosine * down - sine * right) / scale + height / 2
    return rows, (cosine * right + sine * down) / scale + width / 2


def _bilinear(images: NDArray[Any], rows: NDArray[Any], columns: NDArray[Any]) -> NDArray[Any]:
    """Return images (n, height, width, channels) at fractional positions."""
    n, height, width, channels = images.shape
    dtype = np.float64 if images.dtype == np.float64 else np.float32
    pixels = images.reshape(-1, channels)
    top, left = np.floor(rows - 0.5), np.floor(columns - 0.5)
    down = (rows - 0.5 - top).astype(dtype)[..., None]
    right = (columns - 0.5 - left).astype(dtype)[..., None]
    first = (np.arange(n) * (height * width))[:, None, None]

    def at(row: NDArray[Any], column: NDArray[Any]) -> NDArray[Any]:
        row = np.clip(row, 0, height - 1).astype(np.intp)
        column = np.clip(column, 0, width - 1).astype(np.intp)
        return pixels.take(first + row * width + column, 0).astype(dtype)

    upper = at(top, left) * (1 - right) + at(top, left + 1) * right
    lower = at(top + 1, left) * (1 - right) + at(top + 1, left + 1) * right
    return upper * (1 - down) + lower * down
