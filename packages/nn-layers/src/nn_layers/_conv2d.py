"""`Conv2D`: the convolutional layer."""

from __future__ import annotations

from typing import Any

import numpy as np
from nn_tensor import Tensor, zeros
from nn_tensor.extend import Device

from nn_layers._convolve import convolve, convolve_biased
from nn_layers._initializers import initialize
from nn_layers._inputs import as_tensor, cast_like, positive
from nn_layers._module import Base_Layer
from nn_layers._windows import Pair, Windows, image, pair, shown

__all__ = ["Conv2D"]


class Conv2D(Base_Layer):
    r"""The convolutional layer: each output is a weighted sum over a window of the image.

    .. math:: y_{nopq} = b_o + \sum_{c,\, i,\, j} w_{ocij} \;
        x_{nc,\; p s_h + i d_h - p_h,\; q s_w + j d_w - p_w}

    with stride :math:`s`, padding :math:`p` of zeros, and dilation :math:`d` (LeCun, Bottou,
    Bengio and Haffner, "Gradient-Based Learning Applied to Document Recognition", 1998, section
    II; for the dilation Yu and Koltun, "Multi-Scale Context Aggregation by Dilated Convolutions",
    2016). The kernel is not turned round, as in all frameworks: mathematics calls this
    cross-correlation. With `groups` :math:`G`, the outputs fall into :math:`G` equal parts, each
    of which sees its part of the input channels only (Krizhevsky, Sutskever and Hinton, 2012).

    Shapes: ``(batch, in_channels, height, width)`` to ``(batch, out_channels, rows, columns)``,
    with ``rows = (height + 2 * padding - dilation * (kernel_size - 1) - 1) // stride + 1``.
    Windows that do not fit are dropped, as in PyTorch.

    Args:
        in_channels: the number of channels of the input.
        out_channels: the number of channels of the output.
        kernel_size: the size of the windows: one number, or height and width; so the next three.
        stride: how far the windows are apart.
        padding: how many rows or columns of zeros lie around the image, or ``'same'``: as many as
            give the output the size of the input, for stride 1. If their number is odd, the last
            row or column is at the bottom or right, as in PyTorch.
        device: where the parameters live.
        dtype: their floating type; floating input of another type is converted to it.
        dilation: how far the elements of a window are apart.
        groups: into how many parts the channels fall; divides both numbers of channels.
        bias: whether there is a bias.
        initialization: how the weights are drawn, see `initialize`, where an output sums over
            ``in_channels / groups * kernel height * kernel width`` inputs and an input goes into
            ``out_channels / groups * kernel height * kernel width`` outputs; the bias starts at 0.
        rng: a NumPy generator, a seed, or None for unpredictable weights.
        name: shown in the description and in errors.

    Attributes:
        weights: ``(out_channels, in_channels / groups, kernel height, kernel width)``.
        bias: ``(out_channels,)``, or None.

    Raises:
        ValueError: if a setting is out of range or `initialization` unknown; when called, if the
            input does not have four axes and `in_channels` channels, no window fits, or it lies on
            another device.
        TypeError: if a setting is of the wrong type or `dtype` not floating; when called, if the
            input is not floating.

    >>> from nn_tensor import ones
    >>> conv = Conv2D(in_channels=3, out_channels=16, kernel_size=3, stride=1, padding=1, rng=0)
    >>> conv
    Conv2D(3→16, 3×3, padding=1)
    >>> conv(ones(2, 3, 28, 28)).shape
    (2, 16, 28, 28)
    """

    weights: Tensor
    bias: Tensor | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair,
        stride: int | Pair = 1,
        padding: int | Pair | str = 0,
        device: str | Device = "cpu",
        dtype: Any = np.float32,
        dilation: int | Pair = 1,
        groups: int = 1,
        bias: bool = True,
        initialization: str = "xavier",
        rng: np.random.Generator | int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__()
        in_channels = positive("in_channels", in_channels)
        out_channels = positive("out_channels", out_channels)
        self.groups = positive("groups", groups)
        for label, channels in (("in_channels", in_channels), ("out_channels", out_channels)):
            if channels % self.groups:
                raise ValueError(f"groups: {groups} does not divide {label}, which is {channels}")
        kernel = pair("kernel_size", kernel_size)
        self.stride = pair("stride", stride)
        self.dilation = pair("dilation", dilation)
        self.padding, sides = _padding(padding, kernel, self.stride, self.dilation)
        self._windows = Windows(kernel, self.stride, sides, self.dilation)
        self.name = name
        shape = out_channels, in_channels // self.groups, *kernel
        area = kernel[0] * kernel[1]
        fan_in, fan_out = shape[1] * area, out_channels // self.groups * area
        self.weights = initialize(initialization, shape, fan_in, fan_out, rng, device, dtype)
        self.bias = None
        if bias:
            self.bias = zeros(
                out_channels, dtype=self.dtype, device=self.device, requires_grad=True
            )

    @property
    def in_channels(self) -> int:
        """The number of channels of the input."""
        return self.weights.shape[1] * self.groups

    @property
    def out_channels(self) -> int:
        """The number of channels of the output."""
        return self.weights.shape[0]

    @property
    def kernel_size(self) -> Pair:
        """Height and width of the windows."""
        return self.weights.shape[2], self.weights.shape[3]

    @property
    def device(self) -> str:
        """Where the parameters live."""
        return self.weights.device

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the parameters."""
        return self.weights.dtype

    def forward(self, x: Any) -> Tensor:
        """Return the convolution of `x` with the weights, plus the bias."""
        x = as_tensor(x)
        size = image(x.shape)
        if x.shape[1] != self.in_channels:
            message = f"input has {x.shape[1]} channels, expected {self.in_channels}"
            if x.shape[3] == self.in_channels:
                message += "; channels come second: .transpose(0, 3, 1, 2)"
            raise ValueError(f"{message} (its shape is {x.shape})")
        self._windows.fit(size)
        x = cast_like(x, self.weights)
        result: Tensor
        if self.bias is None:
            result = convolve(x, self.weights, self._windows, self.groups)
        else:
            result = convolve_biased(x, self.weights, self.bias, self._windows, self.groups)
        return result

    def extra_repr(self) -> str:
        """Return the sizes and settings."""
        kh, kw = self.kernel_size
        parts = [f"{self.in_channels}→{self.out_channels}, {kh}×{kw}"]
        if self.stride != (1, 1):
            parts.append(f"stride={shown(self.stride)}")
        if self.padding == "same":
            parts.append("padding='same'")
        elif self.padding != (0, 0):
            parts.append(f"padding={shown(self._windows.padding)}")
        if self.dilation != (1, 1):
            parts.append(f"dilation={shown(self.dilation)}")
        if self.groups != 1:
            parts.append(f"groups={self.groups}")
        if self.bias is None:
            parts.append("bias=False")
        return ", ".join(parts)


def _padding(
    padding: Any, kernel: Pair, stride: Pair, dilation: Pair
) -> tuple[Pair | str, tuple[int, int, int, int]]:
    """Return the padding as the layer shows it, and as the rows and columns on each side."""
    if not isinstance(padding, str):
        top, left = pair("padding", padding, least=0)
        return (top, left), (top, top, left, left)
    if padding != "same":
        raise ValueError(
            f"padding: expected an integer of at least 0, a pair of them or 'same', got {padding!r}"
        )
    if stride != (1, 1):
        raise ValueError(f"padding: 'same' needs stride 1, got stride {shown(stride)}")
    height, width = ((k - 1) * d for k, d in zip(kernel, dilation, strict=True))
    return "same", (height // 2, height - height // 2, width // 2, width - width // 2)
