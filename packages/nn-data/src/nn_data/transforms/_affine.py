"""Rotation, shift and scale."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nn_data._checks import check_probability, keyword_only
from nn_data.transforms._layout import Layout, axes_of
from nn_data.transforms._rounding import restore_dtype
from nn_data.transforms._transform import Params, Transform, check_range, per_sample

__all__ = ["RandomAffine"]

_PIXELS = 1 << 13


class RandomAffine(Transform):
    r"""Rotate, translate and scale each image about its center, with bilinear interpolation.

    The pixel at :math:`p` moves to :math:`c + s\,R(\alpha)(p - c) + t`, with the center :math:`c`;
    positive angles turn clockwise. A pixel that comes from outside of the image gets `value`;
    between the border and the centers of the pixels next to it, these are repeated, as in Pillow's
    ``Image.transform``. uint8 images are rounded.

    Args:
        degrees: angles are drawn from ± this number, or from ``(low, high)``.
        translate: shifts are drawn from ± this fraction of the height and of the width; one number,
            or one for each.
        scale: factors are drawn from 1 ± this number, or from ``(low, high)``.
        value: the value of pixels from outside of the image.
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
        layout: Layout = "nchw",
    ) -> None:
        super().__init__(layout=layout)
        self.degrees: tuple[float, float] = check_range("degrees", degrees, 0)
        shifts = translate if isinstance(translate, (tuple, list)) else (translate, translate)
        if len(shifts) != 2:
            raise ValueError(f"translate: expected one fraction or two, got {translate!r}")
        self.translate: tuple[float, float] = (
            check_probability("translate", shifts[0]),
            check_probability("translate", shifts[1]),
        )
        self.scale: tuple[float, float] = check_range("scale", scale, 1, 0)
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
        """Return the transformed images."""
        axes = axes_of(self.layout, x.shape, "RandomAffine")
        # Channels first: indices and weights are the same for all of them.
        planes = x[None] if axes.channel is None else np.moveaxis(x, axes.channel, 0)
        out = np.empty(x.shape, x.dtype)
        out_planes = out[None] if axes.channel is None else np.moveaxis(out, axes.channel, 0)
        # Some images at a time: fresh memory for all of them takes longer than the arithmetic.
        count = max(_PIXELS // max(x.shape[axes.height] * x.shape[axes.width], 1), 1)
        for start in range(0, len(x), count):
            block = slice(start, start + count)
            own = {name: values[block] for name, values in params.items()}
            out_planes[:, block] = self._moved(planes[:, block], own)
        return out

    def _moved(self, planes: NDArray[Any], params: Params) -> NDArray[Any]:
        """Return images (channels, n, height, width) moved."""
        height, width = planes.shape[2:]
        rows, columns = _origins(height, width, params)
        moved = _bilinear(planes, rows, columns)
        outside = (rows < 0) | (rows >= height) | (columns < 0) | (columns >= width)
        np.copyto(moved, self.value, where=outside)
        return restore_dtype(moved, planes.dtype)


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
    """Return images (channels, n, height, width) at fractional positions."""
    channels, n, height, width = images.shape
    dtype = np.float64 if images.dtype == np.float64 else np.float32
    pixels = images.reshape(channels, -1)
    top, left = np.floor(rows - 0.5), np.floor(columns - 0.5)
    down = (rows - 0.5 - top).astype(dtype)
    right = (columns - 0.5 - left).astype(dtype)
    first = (np.arange(n) * (height * width))[:, None, None]
    # Beyond the outermost centers, the pixels of the border are repeated.
    rows_at = [first + width * _index(top + i, height) for i in (0, 1)]
    columns_at = [_index(left + i, width) for i in (0, 1)]

    upper, lower = (
        _blend(*[pixels.take(row + column, 1).astype(dtype) for column in columns_at], share=right)
        for row in rows_at
    )
    return _blend(upper, lower, share=down)


def _blend(near: NDArray[Any], far: Any, *, share: NDArray[Any]) -> NDArray[Any]:
    """Return ``near + share * (far - near)``, in the memory of `far`."""
    far -= near
    far *= share
    far += near
    blended: NDArray[Any] = far
    return blended


def _index(positions: NDArray[Any], size: int) -> NDArray[np.intp]:
    return np.clip(positions, 0, size - 1).astype(np.intp)
