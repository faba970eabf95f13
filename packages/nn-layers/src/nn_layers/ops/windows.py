"""`Windows`: where the windows of a convolution or a pooling lie on an image."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Pair", "Windows", "format_sizes"]

Pair = tuple[int, int]


class Windows(NamedTuple):
    """Size and positions of the windows of a convolution or pooling, height before width.

    Args:
        kernel: height and width of a window, in elements.
        stride: the distance between neighboring windows.
        padding: the rows and columns added to the image: top, bottom, left, right.
        dilation: the distance between neighboring elements of a window.
        algorithm: the algorithm of nn-kernels on the CPU: ``"auto"``, ``"direct"`` or
            ``"winograd"``, see `nn_layers.Conv2D`.

    >>> Windows((3, 3), padding=(1, 1, 1, 1)).output_size((28, 28))
    (28, 28)
    """

    kernel: Pair
    stride: Pair = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: Pair = (1, 1)
    algorithm: str = "auto"

    @property
    def is_pointwise(self) -> bool:
        """Whether each element of the image is a window of its own."""
        return self.kernel == self.stride == (1, 1) and not any(self.padding)

    @property
    def is_disjoint(self) -> bool:
        """Whether no element is in two windows."""
        axes = zip(self.kernel, self.stride, self.dilation, strict=True)
        return all(s > d * (k - 1) for k, s, d in axes)

    def padded_same(self, size: Pair) -> Windows:
        """Return these windows with the padding that gives ``ceil(size / stride)`` of them.

        >>> Windows((3, 3), stride=(2, 2)).padded_same((28, 28)).padding
        (0, 1, 0, 1)
        """
        sides: list[int] = []
        for n, k, s, d in zip(size, self.kernel, self.stride, self.dilation, strict=True):
            total = max((-(-n // s) - 1) * s + d * (k - 1) + 1 - n, 0)
            sides += [total // 2, total - total // 2]
        return self._replace(padding=tuple(sides))  # type: ignore[arg-type]

    def padded_size(self, size: Pair) -> Pair:
        """Return the size of an image with its padding."""
        top, bottom, left, right = self.padding
        return top + size[0] + bottom, left + size[1] + right

    def output_size(self, size: Pair) -> Pair:
        """Return the number of windows along height and width of an image of `size`.

        Raises:
            ValueError: if not even one window fits.
        """
        height, width = self.padded_size(size)
        (kh, kw), (sh, sw), (dh, dw) = self.kernel, self.stride, self.dilation
        rows, columns = height - dh * (kh - 1) - 1, width - dw * (kw - 1) - 1
        if rows < 0 or columns < 0:
            dilation = format_sizes(self.dilation)
            dilated = "" if dilation == "1" else f" with dilation {dilation}"
            raise ValueError(
                f"kernel {kh}×{kw}{dilated} does not fit into {size[0]}×{size[1]} with padding "
                f"{format_sizes(self.padding)}"
            )
        return rows // sh + 1, columns // sw + 1

    def interior(self, size: Pair) -> tuple[slice, slice]:
        """Return the part of the padded image that is the image itself."""
        top, _, left, _ = self.padding
        return slice(top, top + size[0]), slice(left, left + size[1])

    def slices(self, output_size: Pair) -> list[tuple[slice, slice]]:
        """Return where in the padded image each element of the window lies, for all windows."""
        (kh, kw), (sh, sw), (dh, dw) = self.kernel, self.stride, self.dilation
        return [
            (
                slice(i * dh, i * dh + sh * (output_size[0] - 1) + 1, sh),
                slice(j * dw, j * dw + sw * (output_size[1] - 1) + 1, sw),
            )
            for i in range(kh)
            for j in range(kw)
        ]


def format_sizes(sizes: tuple[int, ...]) -> str:
    """Return how sizes are shown: as one number if all are equal.

    >>> format_sizes((2, 2)), format_sizes((1, 1, 0, 0))
    ('2', '(1, 0)')
    """
    if len(sizes) == 4 and sizes[0] == sizes[1] and sizes[2] == sizes[3]:
        sizes = sizes[::2]
    return str(sizes[0] if len({*sizes}) == 1 else sizes)
