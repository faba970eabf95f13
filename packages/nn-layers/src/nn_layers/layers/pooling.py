"""`MaxPool2D`, `AvgPool2D` and their global forms: windows of an image reduced to one value."""

from __future__ import annotations

from typing import Any

from nn_tensor import Tensor, mean
from nn_tensor.extend import keyword_only

from nn_layers.layers.inputs import as_tensor, check_pair, floating_input, image_size
from nn_layers.module.base_layer import Base_Layer
from nn_layers.ops.pooling import avg_pool2d, global_max, max_pool2d
from nn_layers.ops.windows import Pair, Windows, format_sizes

__all__ = ["AvgPool2D", "GlobalAvgPool2D", "GlobalMaxPool2D", "MaxPool2D"]


class _Pool2D(Base_Layer):
    """What both kinds of pooling are given."""

    @keyword_only
    def __init__(
        self,
        kernel_size: int | Pair = 2,
        stride: int | Pair | None = 2,
        padding: int | Pair = 0,
        *,
        name: str | None = None,
    ) -> None:
        super().__init__()
        self.kernel_size: Pair = check_pair("kernel_size", kernel_size)
        self.stride: Pair = self.kernel_size if stride is None else check_pair("stride", stride)
        self.padding: Pair = check_pair("padding", padding, 0)
        self.name = name
        if any(2 * p > k for p, k in zip(self.padding, self.kernel_size, strict=True)):
            raise ValueError(
                "padding: expected at most half of kernel_size "
                f"{format_sizes(self.kernel_size)}, got {padding!r}"
            )
        top, left = self.padding
        self._windows = Windows(self.kernel_size, self.stride, (top, top, left, left))

    def _check_fit(self, x: Tensor) -> None:
        self._windows.output_size(_nonempty_size(x.shape))

    def extra_repr(self) -> str:
        """Return the options."""
        height, width = self.kernel_size
        text = f"{height}×{width}, stride={format_sizes(self.stride)}"
        return text if self.padding == (0, 0) else f"{text}, padding={format_sizes(self.padding)}"


class MaxPool2D(_Pool2D):
    r"""Max pooling: the maximum of each window of an image.

    .. math:: y_{ncpq} = \max_{i < k_h,\, j < k_w} x_{nc,\; p s_h + i - p_h,\; q s_w + j - p_w}

    with kernel :math:`k`, stride :math:`s` and padding :math:`p`, which never is the maximum
    (Ranzato, Huang, Boureau and LeCun, "Unsupervised Learning of Invariant Feature Hierarchies",
    2007). The gradient goes to the maximum; of several equal elements, to the first. A window with
    NaN gives NaN. Windows that do not fit into the padded image are dropped, as in PyTorch.

    Shapes: ``(batch, channels, height, width)`` to
    ``(batch, channels, out_height, out_width)``, with
    ``out_height = (height + 2 * padding - kernel_size) // stride + 1``. The dtype is kept.

    Args:
        kernel_size: the size of the windows: one number, or a pair ``(height, width)``.
        stride: the distance between windows: one number or a pair, 2 by default; None for
            `kernel_size`, which is PyTorch's default.
        padding: the rows and columns on each side of the image, up to half of `kernel_size`: one
            number, or a pair.
        name: the name shown by ``repr`` and in errors.

    Raises:
        ValueError: if an option is out of range; when called, if the input does not have four
            dimensions, an image is empty or no window fits.
        TypeError: if an option is not an integer or a pair; when called, if the input is complex.

    >>> pool = MaxPool2D(kernel_size=2, stride=2)
    >>> pool(Tensor([[[[1.0, 5.0, 2.0], [3.0, 4.0, 9.0]]]]))
    Tensor([[[[5.]]]])
    """

    def forward(self, x: Any) -> Tensor:
        """Return the maximum of each window."""
        x = as_tensor(x)
        self._check_fit(x)
        if x.dtype.kind == "c":
            raise TypeError(f"input is {x.dtype}, and complex numbers have no maximum")
        return max_pool2d(x, self._windows)


class AvgPool2D(_Pool2D):
    r"""Average pooling: the mean of each window of an image.

    .. math:: y_{ncpq} = \frac{1}{k_h k_w} \sum_{i < k_h,\, j < k_w}
        x_{nc,\; p s_h + i - p_h,\; q s_w + j - p_w}

    with kernel :math:`k`, stride :math:`s` and padding :math:`p`, which counts as zeros (LeCun,
    Bottou, Bengio and Haffner, "Gradient-Based Learning Applied to Document Recognition", 1998,
    section II, without the trained factor). Windows that do not fit are dropped, as in PyTorch.

    Shapes: ``(batch, channels, height, width)`` to
    ``(batch, channels, out_height, out_width)``, with
    ``out_height = (height + 2 * padding - kernel_size) // stride + 1``. Floating; the dtype is
    kept.

    Args:
        kernel_size: the size of the windows: one number, or a pair ``(height, width)``.
        stride: the distance between windows: one number or a pair, 2 by default; None for
            `kernel_size`, which is PyTorch's default.
        padding: the rows and columns on each side of the image, up to half of `kernel_size`: one
            number, or a pair.
        name: the name shown by ``repr`` and in errors.

    Raises:
        ValueError: if an option is out of range; when called, if the input does not have four
            dimensions, an image is empty or no window fits.
        TypeError: if an option is not an integer or a pair; when called, if the input is not
            floating.

    >>> AvgPool2D()(Tensor([[[[1.0, 5.0, 2.0], [2.0, 4.0, 9.0]]]]))
    Tensor([[[[3.]]]])
    """

    def forward(self, x: Any) -> Tensor:
        """Return the mean of each window."""
        x = floating_input(x)
        self._check_fit(x)
        return avg_pool2d(x, self._windows)


class GlobalAvgPool2D(Base_Layer):
    r"""Global average pooling, :math:`y_{nc} = \frac{1}{HW} \sum_{pq} x_{ncpq}`.

    In place of `Flatten` before the last layer it takes images of any size (Lin, Chen and Yan,
    "Network In Network", 2014, section 3.2).

    Shapes: ``(batch, channels, height, width)`` to ``(batch, channels)``. Floating; the dtype is
    kept.

    Raises:
        ValueError: when called, if the input does not have four dimensions or an image is empty.
        TypeError: when called, if the input is not floating.

    >>> from nn_tensor import ones
    >>> GlobalAvgPool2D()(ones(2, 3, 7, 5)).shape
    (2, 3)
    """

    def forward(self, x: Any) -> Tensor:
        """Return the mean of each channel."""
        x = floating_input(x)
        _nonempty_size(x.shape)
        return mean(x, (2, 3))


class GlobalMaxPool2D(Base_Layer):
    r"""The maximum of each channel of an image, :math:`y_{nc} = \max_{pq} x_{ncpq}`.

    The gradient goes to the first maximum.

    Shapes: ``(batch, channels, height, width)`` to ``(batch, channels)``. The dtype is kept.

    Raises:
        ValueError: when called, if the input does not have four dimensions or an image is empty.
        TypeError: when called, if the input is complex.

    >>> GlobalMaxPool2D()(Tensor([[[[1.0, 5.0], [3.0, 2.0]]]]))
    Tensor([[5.]])
    """

    def forward(self, x: Any) -> Tensor:
        """Return the maximum of each channel."""
        x = as_tensor(x)
        _nonempty_size(x.shape)
        return global_max(x)


def _nonempty_size(shape: tuple[int, ...]) -> Pair:
    height, width = image_size(shape)
    if height * width == 0:
        raise ValueError(f"input has images of {height}×{width}, expected at least one pixel")
    return height, width
