"""Brightness and contrast."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nn_data._checks import keyword_only
from nn_data.transforms._layout import Axes, Layout, axes_of
from nn_data.transforms._rounding import restore_dtype
from nn_data.transforms._transform import Params, Transform, check_range, per_sample

__all__ = ["ColorJitter"]

# Of red, green and blue, in ITU-R BT.601: what Pillow's mode "L" is.
_LUMA = (0.299, 0.587, 0.114)


class ColorJitter(Transform):
    r"""Change brightness and contrast of each image by random factors.

    With the factors :math:`b` and :math:`c` and the mean :math:`m` of the image's gray values, a
    pixel :math:`x` becomes :math:`c\,b\,x + (1 - c)\,b\,m`: brightness, then contrast. Three
    channels are red, green and blue. uint8 images are rounded and clipped to 0 to 255, floating
    values are not clipped.

    Args:
        brightness: factors are drawn from 1 ± this number, or from ``(low, high)``.
        contrast: factors, given as for `brightness`.
        layout: ``'nchw'``, ``'nhwc'`` or ``'nhw'``.

    >>> jitter = ColorJitter(brightness=0.5, layout="nhw")
    >>> x = np.array([[[10, 200]]], np.uint8)
    >>> jitter(x, params={"brightness": [1.5], "contrast": [1.0]})
    array([[[ 15, 255]]], dtype=uint8)
    """

    @keyword_only
    def __init__(
        self,
        *,
        brightness: float | tuple[float, float] = 0,
        contrast: float | tuple[float, float] = 0,
        layout: Layout = "nchw",
    ) -> None:
        super().__init__(layout=layout)
        self.brightness: tuple[float, float] = check_range("brightness", brightness, 1, 0)
        self.contrast: tuple[float, float] = check_range("contrast", contrast, 1, 0)

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Params:
        """Return the factors of each image."""
        brightness = rng.uniform(*self.brightness, shape[0])
        return {"brightness": brightness, "contrast": rng.uniform(*self.contrast, shape[0])}

    def apply(self, x: NDArray[Any], params: Params) -> NDArray[Any]:
        """Return the batch with other brightness and contrast."""
        axes = axes_of(self.layout, x.shape, "ColorJitter")
        brightness, contrast = params["brightness"], params["contrast"]
        scale, shift = brightness * contrast, np.zeros(len(x))
        if np.any(contrast != 1):
            shift = (1 - contrast) * brightness * _mean_gray(x, axes)
        dtype = x.dtype if x.dtype.kind == "f" else np.dtype(np.float32)
        out = x * per_sample(scale.astype(dtype), x.ndim)
        out += per_sample(shift.astype(dtype), x.ndim)
        return restore_dtype(out, x.dtype)


def _mean_gray(x: NDArray[Any], axes: Axes) -> NDArray[np.float64]:
    if axes.channel == x.ndim - 1:
        # Rows first: NumPy's loops over three channels each take ten times as long.
        means = x.mean(axis=axes.height, dtype=np.float64).mean(axis=axes.width - 1)
    else:
        means = x.mean(axis=(axes.height, axes.width), dtype=np.float64)
    if axes.channel is None:
        return means
    return means @ _LUMA if means.shape[1] == 3 else means.mean(axis=1)
