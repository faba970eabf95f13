"""`Upsample`: images enlarged by repetition or interpolation."""

from __future__ import annotations

import functools
from typing import Any, Literal

import numpy as np
from nn_tensor import Tensor, broadcast_to, matmul
from nn_tensor.extend import check_bool, check_choice, keyword_only

from nn_layers.layers.inputs import check_pair, floating_input, image_size
from nn_layers.module.base_layer import Base_Layer
from nn_layers.ops.windows import Pair, format_sizes

__all__ = ["Upsample"]


class Upsample(Base_Layer):
    """Enlarges images by integer factors.

    ``'nearest'`` repeats each pixel, ``'bilinear'`` interpolates linearly along both axes; the
    values are those of PyTorch's layer of this name.

    Shapes: ``(batch, channels, height, width)`` to ``(batch, channels, height * scale, width *
    scale)``. Floating; the dtype is kept.

    Args:
        scale: the factor, an integer, or a pair for height and width.
        mode: ``'nearest'`` or ``'bilinear'``.
        align_corners: for ``'bilinear'``: whether the centers of the corner pixels of both images
            coincide, instead of the corners of the images.
        name: the name shown by ``repr`` and in errors.

    Raises:
        ValueError: if an option is out of range; when called, if the input does not have four
            dimensions or an image is empty.
        TypeError: if an option is of the wrong type; when called, if the input is not floating.

    >>> Upsample(2)(Tensor([[[[1.0, 2.0]]]]))
    Tensor([[[[1., 1., 2., 2.],
              [1., 1., 2., 2.]]]])
    """

    @keyword_only
    def __init__(
        self,
        scale: int | Pair = 2,
        *,
        mode: Literal["nearest", "bilinear"] = "nearest",
        align_corners: bool = False,
        name: str | None = None,
    ) -> None:
        super().__init__()
        self.scale: Pair = check_pair("scale", scale)
        self.mode: str = check_choice("mode", mode, ("nearest", "bilinear"))
        self.align_corners: bool = check_bool("align_corners", align_corners)
        if self.align_corners and self.mode == "nearest":
            raise ValueError("align_corners: has a meaning for mode='bilinear' only")
        self.name = name

    def forward(self, x: Any) -> Tensor:
        """Return the enlarged images."""
        x = floating_input(x)
        height, width = image_size(x.shape)
        if not height * width:
            raise ValueError(f"input has images of {height}×{width}, expected at least one pixel")
        (sh, sw), (n, c) = self.scale, x.shape[:2]
        if self.mode == "nearest":
            cells = x.reshape(n, c, height, 1, width, 1)
            grown = broadcast_to(cells, (n, c, height, sh, width, sw))
            return grown.reshape(n, c, height * sh, width * sw)
        wide = x.astype("float32") if x.dtype.itemsize < 4 else x
        rows, columns = (
            Tensor(
                _interpolation(size, scale, self.align_corners).astype(wide.dtype), device=x.device
            )
            for size, scale in ((height, sh), (width, sw))
        )
        result = matmul(rows, matmul(wide, columns.swapaxes(0, 1)))
        return result if result.dtype == x.dtype else result.astype(x.dtype)

    def extra_repr(self) -> str:
        """Return the factor and the options."""
        text = format_sizes(self.scale)
        if self.mode != "nearest":
            text += f", mode={self.mode!r}"
        return f"{text}, align_corners=True" if self.align_corners else text


@functools.lru_cache(maxsize=64)
def _interpolation(size: int, scale: int, align_corners: bool) -> Any:
    """Return the matrix that maps `size` values to those interpolated between them."""
    count = size * scale
    positions = np.arange(count, dtype=np.float64)
    if align_corners:
        positions *= (size - 1) / max(count - 1, 1)
    else:
        positions = np.maximum((positions + 0.5) / scale - 0.5, 0)
    low = np.minimum(positions.astype(np.int64), size - 1)
    high = np.minimum(low + 1, size - 1)
    matrix = np.zeros((count, size))
    rows = np.arange(count)
    np.add.at(matrix, (rows, low), 1 - (positions - low))
    np.add.at(matrix, (rows, high), positions - low)
    return matrix
