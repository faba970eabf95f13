"""`MaxPool1D`, `AvgPool1D` and their global forms: windows of time reduced to one value each."""

from __future__ import annotations

from typing import Any

from nn_tensor import Tensor, mean
from nn_tensor.extend import check_integer, keyword_only

from nn_layers.layers.inputs import as_tensor, floating_input, sequence_length
from nn_layers.module.base_layer import Base_Layer
from nn_layers.ops.pooling import avg_pool2d, global_max, max_pool2d
from nn_layers.ops.windows import Windows

__all__ = ["AvgPool1D", "GlobalAvgPool1D", "GlobalMaxPool1D", "MaxPool1D"]


class _Pool1D(Base_Layer):
    """What both kinds of pooling are given."""

    @keyword_only
    def __init__(
        self,
        kernel_size: int = 2,
        stride: int | None = 2,
        padding: int = 0,
        *,
        name: str | None = None,
    ) -> None:
        super().__init__()
        self.kernel_size: int = check_integer("kernel_size", kernel_size, 1)
        self.stride: int = self.kernel_size
        if stride is not None:
            self.stride = check_integer("stride", stride, 1)
        self.padding: int = check_integer("padding", padding, 0)
        self.name = name
        if 2 * self.padding > self.kernel_size:
            raise ValueError(
                f"padding: expected at most half of kernel_size {kernel_size}, got {padding!r}"
            )
        sides = 0, 0, self.padding, self.padding
        self._windows = Windows((1, self.kernel_size), (1, self.stride), sides)

    def _as_images(self, x: Tensor) -> Tensor:
        """Return the sequences as images of one row in which a window fits."""
        self._windows.output_size((1, _nonempty_length(x.shape)))
        return x.reshape(x.shape[0], x.shape[1], 1, x.shape[2])

    def extra_repr(self) -> str:
        """Return the options."""
        text = f"{self.kernel_size}, stride={self.stride}"
        return text if self.padding == 0 else f"{text}, padding={self.padding}"


class MaxPool1D(_Pool1D):
    r"""The maximum of each window of a sequence, :math:`y_{ncp} = \max_i x_{nc,\; p s + i - q}`.

    It is `MaxPool2D` of images with one row: the gradient goes to the first maximum, padding is
    never the maximum, windows that do not fit are dropped.

    Shapes: ``(batch, channels, time)`` to ``(batch, channels, windows)``, with ``windows = (time +
    2 * padding - kernel_size) // stride + 1``. The dtype is kept.

    Args:
        kernel_size: the length of the windows.
        stride: the distance between windows, 2 by default; None for `kernel_size`, which is
            PyTorch's default.
        padding: the number of elements at each end, up to half of `kernel_size`.
        name: the name shown by ``repr`` and in errors.

    Raises:
        ValueError: if an option is out of range; when called, if the input does not have three
            dimensions, a sequence is empty or no window fits.
        TypeError: if an option is not an integer; when called, if the input is complex.

    >>> MaxPool1D()(Tensor([[[1.0, 5.0, 2.0, 3.0, 9.0]]]))
    Tensor([[[5., 3.]]])
    """

    def forward(self, x: Any) -> Tensor:
        """Return the maximum of each window."""
        x = as_tensor(x)
        if x.dtype.kind == "c":
            raise TypeError(f"input is {x.dtype}, and complex numbers have no maximum")
        y = max_pool2d(self._as_images(x), self._windows)
        return y.reshape(y.shape[0], y.shape[1], y.shape[3])


class AvgPool1D(_Pool1D):
    r"""The mean of each window of a sequence; padding counts as zeros.

    Shapes: ``(batch, channels, time)`` to ``(batch, channels, windows)``, with ``windows = (time +
    2 * padding - kernel_size) // stride + 1``. Floating; the dtype is kept.

    Args:
        kernel_size: the length of the windows.
        stride: the distance between windows, 2 by default; None for `kernel_size`, which is
            PyTorch's default.
        padding: the number of elements at each end, up to half of `kernel_size`.
        name: the name shown by ``repr`` and in errors.

    Raises:
        ValueError: if an option is out of range; when called, if the input does not have three
            dimensions, a sequence is empty or no window fits.
        TypeError: if an option is not an integer; when called, if the input is not floating.

    >>> AvgPool1D()(Tensor([[[1.0, 5.0, 2.0, 4.0, 9.0]]]))
    Tensor([[[3., 3.]]])
    """

    def forward(self, x: Any) -> Tensor:
        """Return the mean of each window."""
        y = avg_pool2d(self._as_images(floating_input(x)), self._windows)
        return y.reshape(y.shape[0], y.shape[1], y.shape[3])


class GlobalAvgPool1D(Base_Layer):
    r"""The mean of each channel over time, :math:`y_{nc} = \frac{1}{T} \sum_t x_{nct}`.

    Shapes: ``(batch, channels, time)`` to ``(batch, channels)``. Floating; the dtype is kept.

    Raises:
        ValueError: when called, if the input does not have three dimensions or a sequence is empty.
        TypeError: when called, if the input is not floating.

    >>> GlobalAvgPool1D()(Tensor([[[1.0, 5.0, 3.0]]]))
    Tensor([[3.]])
    """

    def forward(self, x: Any) -> Tensor:
        """Return the mean of each channel."""
        x = floating_input(x)
        _nonempty_length(x.shape)
        return mean(x, 2)


class GlobalMaxPool1D(Base_Layer):
    r"""The maximum of each channel over time, :math:`y_{nc} = \max_t x_{nct}`.

    The gradient goes to the first maximum.

    Shapes: ``(batch, channels, time)`` to ``(batch, channels)``. The dtype is kept.

    Raises:
        ValueError: when called, if the input does not have three dimensions or a sequence is empty.
        TypeError: when called, if the input is complex.

    >>> GlobalMaxPool1D()(Tensor([[[1.0, 5.0, 3.0]]]))
    Tensor([[5.]])
    """

    def forward(self, x: Any) -> Tensor:
        """Return the maximum of each channel."""
        x = as_tensor(x)
        _nonempty_length(x.shape)
        return global_max(x)


def _nonempty_length(shape: tuple[int, ...]) -> int:
    time = sequence_length(shape)
    if time == 0:
        raise ValueError("input has sequences of length 0, expected at least one step")
    return time
