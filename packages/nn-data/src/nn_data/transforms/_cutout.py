"""Cutout."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nn_data._checks import check_size, check_value, keyword_only
from nn_data.transforms._layout import Layout, axes_of
from nn_data.transforms._transform import Params, Transform

__all__ = ["Cutout", "boxes"]


class Cutout(Transform):
    """Mask a random square of each image (Cutout).

    Its center is anywhere in the image, so that part of the square may lie outside (DeVries and
    Taylor, "Improved regularization of convolutional neural networks with Cutout", 2017).

    Args:
        size: the size of the square: ``(height, width)``, or one number for both.
        value: the value that the square is filled with.
        layout: ``'nchw'``, ``'nhwc'`` or ``'nhw'``.

    >>> Cutout(2, layout="nhw")(np.ones((1, 3, 3), int), params={"top": [-1], "left": [1]})
    array([[[1, 0, 0],
            [1, 1, 1],
            [1, 1, 1]]])
    """

    @keyword_only
    def __init__(
        self, size: int | tuple[int, int], *, value: float = 0, layout: Layout = "nchw"
    ) -> None:
        super().__init__(layout=layout)
        self.size: tuple[int, int] = check_size("size", size)
        self.value = value

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Params:
        """Return the first row and column of each square, which may be negative."""
        axes = axes_of(self.layout, shape, "Cutout")
        top = rng.integers(0, shape[axes.height], shape[0]) - self.size[0] // 2
        return {
            "top": top,
            "left": rng.integers(0, shape[axes.width], shape[0]) - self.size[1] // 2,
        }

    def apply(self, x: NDArray[Any], params: Params) -> NDArray[Any]:
        """Return the batch with the squares overwritten."""
        value = check_value("Cutout: value", self.value, x.dtype)
        top, left = params["top"], params["left"]
        out = x.copy()
        for box in boxes(x.shape, self.layout, top, left, top + self.size[0], left + self.size[1]):
            out[box] = value
        return out


def boxes(
    shape: tuple[int, ...],
    layout: str,
    top: NDArray[Any],
    left: NDArray[Any],
    bottom: NDArray[Any],
    right: NDArray[Any],
) -> Iterator[tuple[int | slice, ...]]:
    """Yield the index of a box of each image, what lies outside of the image cut off."""
    axes = axes_of(layout, shape, "box")
    height, width = shape[axes.height], shape[axes.width]
    edges = [
        np.clip(edge, 0, size).tolist()
        for edge, size in ((top, height), (bottom, height), (left, width), (right, width))
    ]
    index: list[int | slice] = [slice(None)] * len(shape)
    for image, (first_row, end_row, first_column, end_column) in enumerate(
        zip(*edges, strict=True)
    ):
        index[0] = image
        index[axes.height] = slice(first_row, end_row)
        index[axes.width] = slice(first_column, end_column)
        yield tuple(index)
