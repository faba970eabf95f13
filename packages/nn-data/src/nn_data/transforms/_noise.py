"""Gaussian noise."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nn_data._checks import keyword_only
from nn_data.transforms._rounding import restore_dtype
from nn_data.transforms._transform import Params, Transform, check_range, per_sample

__all__ = ["GaussianNoise"]


class GaussianNoise(Transform):
    """Add normally distributed noise.

    Takes batches of any shape. uint8 images are rounded and clipped to 0 to 255.

    Args:
        sigma: the standard deviation, in units of the batch; ``(low, high)`` draws one for each
            sample.

    >>> noise = GaussianNoise(2.0)
    >>> noise(np.array([[10.0]]), params={"sigma": [2.0], "noise": [[-1.5]]})
    array([[7.]])
    """

    @keyword_only
    def __init__(self, sigma: float | tuple[float, float]) -> None:
        super().__init__()
        spread = (sigma, sigma) if not isinstance(sigma, (tuple, list)) else tuple(sigma)
        self.sigma: tuple[float, float] = check_range("sigma", spread, 0, 0)

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Params:
        """Return the standard deviation of each sample, and standard normal noise."""
        sigma = rng.uniform(*self.sigma, shape[0])
        return {"sigma": sigma, "noise": rng.standard_normal(shape, np.float32)}

    def apply(self, x: NDArray[Any], params: Params) -> NDArray[Any]:
        """Return the batch with noise."""
        dtype = x.dtype if x.dtype.kind == "f" else np.dtype(np.float32)
        out = params["noise"] * per_sample(params["sigma"].astype(dtype), x.ndim)
        return restore_dtype(out + x, x.dtype)
