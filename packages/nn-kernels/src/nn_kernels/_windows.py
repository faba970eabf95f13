"""Windows of convolution and pooling, as the layers pass them on.

They are kernel, stride, padding (top, bottom, left, right) and dilation, each for height and width,
and the algorithm of convolutions.
"""

from __future__ import annotations

from typing import Any

from nn_kernels._compile import Job, subroutine
from nn_kernels._threads import run

__all__ = [
    "PAIRS",
    "belong",
    "fill_last_with_zeros",
    "output_size",
    "run_on_planes",
    "window_numbers",
]

Pair = tuple[int, int]
_BLOCK = 1 << 14  # elements of a part
PAIRS = (2, 2, 2, 2, 0, 0, 1, 1)  # windows of 2×2 that do not overlap


def output_size(size: Pair, windows: Any) -> Pair:
    """Return the number of windows in an image, along its height and its width."""
    (kh, kw), (sh, sw), (top, bottom, left, right), (dh, dw), _ = windows
    rows = (size[0] + top + bottom - dh * (kh - 1) - 1) // sh + 1
    return rows, (size[1] + left + right - dw * (kw - 1) - 1) // sw + 1


def belong(g: Any, images: Any, windows: Any) -> bool:
    """Return whether `g` has an element for each window of the images."""
    if not g.ndim == images.ndim == 4 or g.shape[:2] != images.shape[:2]:
        return False
    return bool(g.shape[2:] == output_size(images.shape[2:], windows))


def window_numbers(windows: Any) -> tuple[int, ...]:
    """Return kernel, stride, the padding above and on the left, and dilation as integers."""
    kernel, stride, (top, _, left, _), dilation, _ = windows
    return (*kernel, *stride, top, left, *dilation)


def run_on_planes(
    job: Job, arrays: tuple[Any, ...], image: Any, output: Any, numbers: tuple[int, ...]
) -> None:
    """Run a job on the planes of images, some of them in a part.

    The job gets the arrays; the number of planes, and of those in a part; the sizes of `image` and
    of `output`; the numbers of the windows; and whether they are pairs.
    """
    planes, size = image[0] * image[1], max(1, image[2] * image[3])
    # with padding below or on the right, the last windows reach beyond the image
    pairs = numbers == PAIRS and 2 * output[2] <= image[2] and 2 * output[3] <= image[3]
    together = max(1, _BLOCK // size)
    sizes = planes, together, *image[2:], *output[2:]
    run(job, (*arrays, *sizes, *numbers, int(pairs)), -(-planes // together))


@subroutine()
def fill_last_with_zeros(out, plane, height, width, zero):  # type: ignore[no-untyped-def]
    """Write zeros to the last row and column of a plane, where its height and width are odd."""
    start, stop = plane * height * width, (plane + 1) * height * width
    if width % 2:
        for i in range(start + width - 1, stop, width):
            out[i] = zero
    if height % 2:
        for i in range(stop - width, stop):
            out[i] = zero
