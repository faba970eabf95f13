"""Normalization of images."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nn_data._checks import check_number, keyword_only
from nn_data.transforms._layout import Layout, axes_of, check_layout

__all__ = ["Normalize"]


class Normalize:
    r"""Subtract a mean and divide by a standard deviation, channel by channel.

    A pixel :math:`x` becomes :math:`(s\,x - \mu)/\sigma` with the scale :math:`s`, computed as one
    multiplication and one addition. Integers and float32 become float32; float64 stays.

    Args:
        mean: the mean of each channel, or one number for all.
        std: the standard deviation of each channel, or one number for all.
        scale: the factor of the pixels, applied first: 1/255 if mean and standard deviation are
            those of pixels from 0 to 1.
        layout: ``'nchw'``, ``'nhwc'`` or ``'nhw'``.

    Raises:
        ValueError: for a standard deviation that is not positive; for a batch with another number
            of channels, when it is called.

    >>> Normalize(0.5, 0.25, scale=1 / 255, layout="nhw")(np.array([[[0, 255]]], np.uint8))
    array([[[-2.,  2.]]], dtype=float32)
    """

    @keyword_only
    def __init__(self, mean: Any, std: Any, *, scale: float = 1.0, layout: Layout = "nchw") -> None:
        self.mean: np.ndarray[Any, Any] = np.asarray(mean, dtype=np.float64)
        self.std: np.ndarray[Any, Any] = np.asarray(std, dtype=np.float64)
        self.scale: float = check_number("scale", scale)
        self.layout: Layout = check_layout(layout)
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values.ndim > 1 or not np.isfinite(values).all():
                raise ValueError(f"{name}: expected a finite number, or one for each channel")
        if not (self.std > 0).all():
            raise ValueError(f"std: expected positive numbers, got {std!r}")

    def __call__(self, x: Any) -> NDArray[Any]:
        """Return the normalized batch."""
        x = np.asarray(x)
        dtype = np.dtype(np.float64 if x.dtype == np.float64 else np.float32)
        factor = self._along_channels(self.scale / self.std, x.shape, dtype)
        offset = self._along_channels(-self.mean / self.std, x.shape, dtype)
        # Converting first is faster than to multiply bytes with floating numbers.
        out = x.astype(dtype)
        out *= factor
        out += offset
        return out

    def _along_channels(
        self, values: NDArray[Any], shape: tuple[int, ...], dtype: np.dtype[Any]
    ) -> NDArray[Any]:
        values = values.astype(dtype)
        channel = axes_of(self.layout, shape, "Normalize").channel
        if values.ndim == 0:
            return values
        if channel is None or shape[channel] != len(values):
            there = "none" if channel is None else shape[channel]
            raise ValueError(
                f"Normalize: mean and std have {len(values)} channels, the batch has {there}"
            )
        if channel == len(shape) - 1:
            # All of a sample: NumPy's loops over three channels each take five times as long.
            return np.ascontiguousarray(np.broadcast_to(values, shape[1:]))
        return values.reshape([-1 if axis == channel else 1 for axis in range(len(shape))])

    def __repr__(self) -> str:
        values = f"{self.mean.tolist()}, {self.std.tolist()}, scale={self.scale:g}"
        return f"Normalize({values}, layout={self.layout!r})"
