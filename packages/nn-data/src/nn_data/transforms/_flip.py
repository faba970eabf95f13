"""Random flips."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nn_data._checks import check_choice, check_probability, keyword_only
from nn_data.transforms._layout import Layout, axes_of
from nn_data.transforms._transform import Params, Transform

__all__ = ["RandomFlip"]


class RandomFlip(Transform):
    """Flip each image with a probability.

    Args:
        p: the probability.
        direction: ``'horizontal'`` exchanges left and right, ``'vertical'`` top and bottom.
        layout: ``'nchw'``, ``'nhwc'`` or ``'nhw'``.

    >>> RandomFlip(layout="nhw")(np.array([[[1, 2]], [[1, 2]]]), params={"flip": [True, False]})
    array([[[2, 1]],
    <BLANKLINE>
           [[1, 2]]])
    """

    @keyword_only
    def __init__(
        self,
        p: float = 0.5,
        *,
        direction: Literal["horizontal", "vertical"] = "horizontal",
        layout: Layout = "nchw",
    ) -> None:
        super().__init__(layout=layout)
        self.p: float = check_probability("p", p)
        self.direction: str = check_choice("direction", direction, ("horizontal", "vertical"))

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Params:
        """Return which images are flipped."""
        return {"flip": rng.random(shape[0]) < self.p}

    def apply(self, x: NDArray[Any], params: Params) -> NDArray[Any]:
        """Return the batch with some images flipped."""
        axes = axes_of(self.layout, x.shape, "RandomFlip")
        axis = axes.width if self.direction == "horizontal" else axes.height
        out = x.copy()
        chosen = np.flatnonzero(params["flip"])
        out[chosen] = _reversed(x.take(chosen, 0), axis)
        return out


def _reversed(x: NDArray[Any], axis: int) -> NDArray[Any]:
    """Return a contiguous array with one axis reversed."""
    if axis == x.ndim - 1 and x.itemsize == 1 and x.shape[axis] % 8 == 0 and x.size:
        # Rows of bytes, eight at a time: one by one takes three times as long.
        return x.view(np.uint64)[..., ::-1].byteswap().view(x.dtype)
    return np.flip(x, axis)
