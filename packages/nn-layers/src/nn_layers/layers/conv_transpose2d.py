"""`ConvTranspose2D`: the transposed convolution, which enlarges images."""

from __future__ import annotations

from typing import Any

import numpy as np
from nn_tensor import Tensor, pad
from nn_tensor.extend import Device, keyword_only

from nn_layers.initializers import Initialization
from nn_layers.layers.convolution import Convolution
from nn_layers.layers.inputs import as_tensor, check_pair, floating_input, image_size
from nn_layers.ops.conv2d import conv2d_input_gradient
from nn_layers.ops.windows import Pair, Windows, format_sizes

__all__ = ["ConvTranspose2D"]


class ConvTranspose2D(Convolution):
    r"""The transposed convolution: each input adds its multiple of the kernel to a window.

    .. math:: y_{no,\; p s_h + i d_h - q_h,\; r s_w + j d_w - q_w} \mathrel{+}=
        \sum_c x_{ncpr} \, w_{coij}

    with stride :math:`s`, padding :math:`q` and dilation :math:`d`, plus the bias (Zeiler,
    Krishnan, Taylor and Fergus, "Deconvolutional Networks", 2010). It is the gradient of
    `Conv2D` with the same options for its images.

    Shapes: ``(batch, in_channels, height, width)`` to
    ``(batch, out_channels, out_height, out_width)``, with
    ``out_height = (height - 1) * stride - 2 * padding + dilation * (kernel_size - 1) +
    output_padding + 1``.

    Args:
        in_channels: the number of channels of the input.
        out_channels: the number of channels of the output.
        kernel_size: the size of the windows: one number, or a pair ``(height, width)``.
        stride: the distance between windows in the output: one number, or a pair.
        padding: the rows and columns removed on each side of the output: one number, or a pair.
        output_padding: the rows and columns added at the bottom and right, less than stride or
            dilation: it selects one of the input sizes that `Conv2D` maps to the same output size.
        dilation: the distance between the elements of a window.
        groups: the number of groups of channels; divides both numbers of channels.
        initialization: the distribution of the initial weights, see `initialize`; the bias starts
            at 0.
        bias: whether the layer has a bias.
        device: the device of the parameters, ``'cpu'``, ``'cuda'`` or ``'cuda:N'``.
        dtype: the floating dtype of the parameters, to which floating input is converted.
        rng: a NumPy generator, a seed, or None for unpredictable weights.
        name: the name shown by ``repr`` and in errors.

    Attributes:
        weights: ``(in_channels, out_channels / groups, kernel height, kernel width)``.
        bias: ``(out_channels,)``, or None.

    Raises:
        ValueError: if an option is out of range or `initialization` unknown; when called, if the
            input does not have four dimensions and `in_channels` channels, or the output would be
            empty.
        TypeError: if an option is of the wrong type or `dtype` not floating; when called, if the
            input is not floating.

    >>> from nn_tensor import ones
    >>> conv = ConvTranspose2D(16, 8, kernel_size=4, stride=2, padding=1, rng=0)
    >>> conv
    ConvTranspose2D(16→8, 4×4, stride=2, padding=1)
    >>> conv(ones(2, 16, 7, 7)).shape
    (2, 8, 14, 14)
    """

    @keyword_only
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair,
        stride: int | Pair = 1,
        padding: int | Pair = 0,
        *,
        output_padding: int | Pair = 0,
        dilation: int | Pair = 1,
        groups: int = 1,
        initialization: Initialization = "xavier",
        bias: bool = True,
        device: str | Device = "cpu",
        dtype: Any = np.float32,
        rng: np.random.Generator | int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__()
        channels = self._read_channels(in_channels, out_channels, groups)
        kernel = check_pair("kernel_size", kernel_size)
        self.stride: Pair = check_pair("stride", stride)
        self.padding: Pair = check_pair("padding", padding, 0)
        self.dilation: Pair = check_pair("dilation", dilation)
        self.output_padding: Pair = check_pair("output_padding", output_padding, 0)
        limits = [max(pair) for pair in zip(self.stride, self.dilation, strict=True)]
        if any(p >= n for p, n in zip(self.output_padding, limits, strict=True)):
            raise ValueError(
                f"output_padding: expected less than stride or dilation, got {output_padding!r}"
            )
        top, left = self.padding
        self._windows = Windows(kernel, self.stride, (top, top, left, left), self.dilation)
        self.name = name
        self._new_parameters(
            channels,
            kernel,
            bias,
            initialization=initialization,
            rng=rng,
            device=device,
            dtype=dtype,
        )

    def _weights_shape(self, in_channels: int, out_channels: int, *kernel: int) -> tuple[int, ...]:
        return in_channels, out_channels // self.groups, *kernel

    @property
    def in_channels(self) -> int:
        """The number of channels of the input."""
        return self.weights.shape[0]

    @property
    def out_channels(self) -> int:
        """The number of channels of the output."""
        return self.weights.shape[1] * self.groups

    @property
    def kernel_size(self) -> Pair:
        """Height and width of the windows."""
        return self.weights.shape[2], self.weights.shape[3]

    def _output_size(self, size: Pair) -> Pair:
        options = zip(
            size,
            self.stride,
            self.padding,
            self.dilation,
            self.kernel_size,
            self.output_padding,
            strict=True,
        )
        rows, columns = ((n - 1) * s - 2 * p + d * (k - 1) + o + 1 for n, s, p, d, k, o in options)
        if rows < 1 or columns < 1 or 0 in size:
            raise ValueError(
                f"input has images of {size[0]}×{size[1]}, of which padding "
                f"{format_sizes(self.padding)} leaves no output"
            )
        return rows, columns

    def forward(self, x: Any) -> Tensor:
        """Return the transposed convolution of `x` with the weights, plus the bias."""
        x = as_tensor(x)
        size = image_size(x.shape)
        self._check_channels(x)
        output_size = self._output_size(size)
        x = floating_input(x, self.dtype)
        y = self._transposed(x, size, output_size)
        return y if self.bias is None else y + self.bias.reshape(self.out_channels, 1, 1)

    def _transposed(self, x: Tensor, size: Pair, output_size: Pair) -> Tensor:
        pairs = zip(self.output_padding, self.stride, strict=True)
        if all(extra < stride for extra, stride in pairs):
            return conv2d_input_gradient(x, self.weights, output_size, self._windows, self.groups)
        # A convolution of that output would have more windows than there are inputs: all of the
        # output is computed without padding, and a part of it taken.
        windows = self._windows._replace(padding=(0, 0, 0, 0))
        options = zip(size, self.stride, self.dilation, self.kernel_size, strict=True)
        rows, columns = ((n - 1) * s + d * (k - 1) + 1 for n, s, d, k in options)
        y = conv2d_input_gradient(x, self.weights, (rows, columns), windows, self.groups)
        bottom, right = self.output_padding
        (top, left), (height, width) = self.padding, output_size
        y = pad(y, ((0, 0), (0, 0), (0, bottom), (0, right)))
        return y[:, :, top : top + height, left : left + width]

    def extra_repr(self) -> str:
        """Return the sizes and options."""
        kh, kw = self.kernel_size
        parts = [f"{self.in_channels}→{self.out_channels}, {kh}×{kw}"]
        defaults: dict[str, Pair] = {
            "stride": (1, 1),
            "padding": (0, 0),
            "output_padding": (0, 0),
            "dilation": (1, 1),
        }
        for name, default in defaults.items():
            if getattr(self, name) != default:
                parts.append(f"{name}={format_sizes(getattr(self, name))}")
        if self.groups != 1:
            parts.append(f"groups={self.groups}")
        if self.bias is None:
            parts.append("bias=False")
        return ", ".join(parts)
