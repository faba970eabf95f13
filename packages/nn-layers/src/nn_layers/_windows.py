"""Where the windows of a convolution or pooling lie on an image."""

from __future__ import annotations

import operator
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Windows", "image", "pair", "shown"]

Pair = tuple[int, int]


class Windows(NamedTuple):
    """Size, distance, spread of the windows, and zeros (or, for a maximum, nothing) around."""

    kernel: Pair
    stride: Pair = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)  # top, bottom, left, right
    dilation: Pair = (1, 1)

    @property
    def plain(self) -> bool:
        """Whether each element is a window of its own."""
        return self.kernel == self.stride == (1, 1) and not any(self.padding)

    @property
    def disjoint(self) -> bool:
        """Whether no element is in two windows."""
        kernels = zip(self.kernel, self.stride, self.dilation, strict=True)
        return all(s > d * (k - 1) for k, s, d in kernels)

    def padded(self, size: Pair) -> Pair:
        """Return the size of an image with its padding."""
        top, bottom, left, right = self.padding
        return top + size[0] + bottom, left + size[1] + right

    def fit(self, size: Pair) -> Pair:
        """Return the numbers of windows that fit into an image of `size`.

        Raises:
            ValueError: if not even one does.
        """
        height, width = self.padded(size)
        (kh, kw), (sh, sw), (dh, dw) = self.kernel, self.stride, self.dilation
        rows, columns = height - dh * (kh - 1) - 1, width - dw * (kw - 1) - 1
        if rows < 0 or columns < 0:
            spread = "" if self.dilation == (1, 1) else f" with dilation {shown(self.dilation)}"
            raise ValueError(
                f"kernel {kh}×{kw}{spread} does not fit into {size[0]}×{size[1]} with padding "
                f"{shown(self.padding)}"
            )
        return rows // sh + 1, columns // sw + 1

    def inside(self, size: Pair) -> tuple[slice, slice]:
        """Return where in the padded image the image itself is."""
        top, _, left, _ = self.padding
        return slice(top, top + size[0]), slice(left, left + size[1])

    def offsets(self, count: Pair) -> list[tuple[slice, slice]]:
        """Return, for each place in the kernel, the padded elements that lie there in a window."""
        (kh, kw), (sh, sw), (dh, dw) = self.kernel, self.stride, self.dilation
        return [
            (
                slice(i * dh, i * dh + sh * (count[0] - 1) + 1, sh),
                slice(j * dw, j * dw + sw * (count[1] - 1) + 1, sw),
            )
            for i in range(kh)
            for j in range(kw)
        ]


def shown(values: tuple[int, ...]) -> str:
    """Return one number if all are equal: how settings are written."""
    if len(values) == 4 and values[0] == values[1] and values[2] == values[3]:
        values = values[::2]
    return str(values[0] if len({*values}) == 1 else values)


def pair(name: str, value: Any, least: int = 1) -> Pair:
    """Return an integer twice, or a pair of integers, for height and width.

    Raises:
        TypeError: if it is neither.
        ValueError: if one is less than `least`.
    """
    both = value if isinstance(value, (tuple, list)) else (value, value)
    kind = "a positive integer" if least else "an integer of at least 0"
    try:
        numbers = tuple(map(operator.index, both))
    except TypeError:
        numbers = ()
    if len(numbers) != 2 or any(isinstance(n, (bool, np.bool_)) for n in both):
        raise TypeError(f"{name}: expected {kind} or a pair of them, got {value!r}")
    if min(numbers) < least:
        raise ValueError(f"{name}: expected {kind} or a pair of them, got {value!r}")
    return numbers[0], numbers[1]


def image(shape: tuple[int, ...]) -> Pair:
    """Return height and width of a batch of images.

    Raises:
        ValueError: if it does not have four axes.
    """
    if len(shape) != 4:
        raise ValueError(
            f"input has {len(shape)} axes, expected 4: (batch, channels, height, width) "
            f"(its shape is {shape})"
        )
    return shape[2], shape[3]
