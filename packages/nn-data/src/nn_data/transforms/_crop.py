"""Random crops, of padded images."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from nn_data._checks import check_choice, check_integer, check_size, check_value, keyword_only
from nn_data.transforms._layout import Axes, Layout, axes_of
from nn_data.transforms._transform import Params, Transform

__all__ = ["RandomCrop"]


class RandomCrop(Transform):
    """Crop each image at a random location, after padding it.

    Args:
        size: the size of the window: ``(height, width)``, or one number for both.
        padding: the number of pixels added on each side before cropping.
        padding_mode: ``'constant'`` fills them with `value`, ``'edge'`` with the nearest pixel,
            ``'reflect'`` mirrors the image.
        value: the value of the added pixels.
        layout: ``'nchw'``, ``'nhwc'`` or ``'nhw'``.

    Raises:
        ValueError: for a window that is larger than the padded image, when it is called.

    >>> crop = RandomCrop(2, padding=1, layout="nhw")
    >>> crop(np.array([[[1, 2], [3, 4]]]), params={"top": [0], "left": [1]})
    array([[[0, 0],
            [1, 2]]])
    """

    @keyword_only
    def __init__(
        self,
        size: int | tuple[int, int],
        *,
        padding: int = 0,
        padding_mode: Literal["constant", "edge", "reflect"] = "constant",
        value: float = 0,
        layout: Layout = "nchw",
    ) -> None:
        super().__init__(layout=layout)
        self.size: tuple[int, int] = check_size("size", size)
        self.padding: int = check_integer("padding", padding, 0)
        self.padding_mode: str = check_choice(
            "padding_mode", padding_mode, ("constant", "edge", "reflect")
        )
        self.value = value

    def _room(self, shape: tuple[int, ...], axes: Axes) -> tuple[int, int]:
        """Return the largest values of `top` and `left`."""
        padded = shape[axes.height] + 2 * self.padding, shape[axes.width] + 2 * self.padding
        if padded[0] < self.size[0] or padded[1] < self.size[1]:
            raise ValueError(
                f"RandomCrop: the window {self.size} is larger than the padded image {padded}"
            )
        return padded[0] - self.size[0], padded[1] - self.size[1]

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Params:
        """Return the first row and column of each window, in the padded image."""
        room = self._room(shape, axes_of(self.layout, shape, "RandomCrop"))
        top = rng.integers(0, room[0], shape[0], endpoint=True)
        return {"top": top, "left": rng.integers(0, room[1], shape[0], endpoint=True)}

    def apply(self, x: NDArray[Any], params: Params) -> NDArray[Any]:
        """Return the windows."""
        axes = axes_of(self.layout, x.shape, "RandomCrop")
        for key, room in zip(("top", "left"), self._room(x.shape, axes), strict=True):
            if x.size and not 0 <= params[key].min() <= params[key].max() <= room:
                raise ValueError(f"RandomCrop: params[{key!r}] is not within 0 and {room}")
        padded = self._padded(x, axes)
        # A view of all windows, (n, top, left, ...): one index takes one for each image.
        rows, columns = padded.strides[axes.height], padded.strides[axes.width]
        shape, strides = list(padded.shape), list(padded.strides)
        shape[axes.height], shape[axes.width] = self.size
        starts = [padded.shape[a] - shape[a] + 1 for a in (axes.height, axes.width)]
        windows = as_strided(
            padded,
            (shape[0], *starts, *shape[1:]),
            (strides[0], rows, columns, *strides[1:]),
            writeable=False,
        )
        return windows[np.arange(len(x)), params["top"], params["left"]]

    def _padded(self, x: NDArray[Any], axes: Axes) -> NDArray[Any]:
        if not self.padding:
            return x
        widths = [(0, 0)] * x.ndim
        widths[axes.height] = widths[axes.width] = (self.padding, self.padding)
        if self.padding_mode == "edge":
            return np.pad(x, widths, "edge")
        if self.padding_mode == "reflect":
            return np.pad(x, widths, "reflect")
        filling = check_value("RandomCrop: value", self.value, x.dtype)
        # numpy.pad takes three times as long.
        shape = [
            size + before + after for size, (before, after) in zip(x.shape, widths, strict=True)
        ]
        padded = np.full(shape, filling) if self.value else np.zeros(shape, x.dtype)
        inner = tuple(
            slice(before, before + size) for size, (before, _) in zip(x.shape, widths, strict=True)
        )
        padded[inner] = x
        return padded
