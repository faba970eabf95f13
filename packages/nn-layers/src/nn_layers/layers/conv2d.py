"""`Conv2D`: the convolutional layer."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from nn_tensor import Tensor
from nn_tensor.extend import Device, check_choice, keyword_only

from nn_layers.initializers import Initialization
from nn_layers.layers.convolution import Convolution
from nn_layers.layers.inputs import as_tensor, check_pair, floating_input, image_size
from nn_layers.ops.conv2d import conv2d
from nn_layers.ops.windows import Pair, Windows, format_sizes

__all__ = ["Conv2D"]


class Conv2D(Convolution):
    r"""The convolutional layer: each output is a weighted sum over a window of the image.

    .. math:: y_{nopq} = b_o + \sum_{c,\, i,\, j} w_{ocij} \;
        x_{nc,\; p s_h + i d_h - p_h,\; q s_w + j d_w - p_w}

    with stride :math:`s`, padding :math:`p` of zeros, and dilation :math:`d` (LeCun, Bottou,
    Bengio and Haffner, "Gradient-Based Learning Applied to Document Recognition", 1998, section
    II; for the dilation Yu and Koltun, "Multi-Scale Context Aggregation by Dilated Convolutions",
    2016). The kernel is not flipped, as in all frameworks: mathematics calls this
    cross-correlation. With `groups` :math:`G`, the channels are divided into :math:`G` equal
    groups, and the outputs of a group depend on its input channels only (Krizhevsky, Sutskever and
    Hinton, 2012).

    Shapes: ``(batch, in_channels, height, width)`` to
    ``(batch, out_channels, out_height, out_width)``, with
    ``out_height = (height + 2 * padding - dilation * (kernel_size - 1) - 1) // stride + 1``.
    Windows that do not fit are dropped, as in PyTorch.

    Args:
        in_channels: the number of channels of the input.
        out_channels: the number of channels of the output.
        kernel_size: the size of the windows: one number, or a pair ``(height, width)``.
        stride: the distance between windows.
        padding: the rows and columns of zeros on each side of the image: one number, or a pair;
            ``'valid'`` for none, or ``'same'`` for as many as give ``out_height = ceil(height /
            stride)``, the size of the input for stride 1. That is ``max((out_height - 1) * stride +
            dilation * (kernel_size - 1) + 1 - height, 0)``, as in TensorFlow and Keras; if it is
            odd, the extra row or column is at the bottom or right, as in PyTorch.
        dilation: the distance between the elements of a window: one number, or a pair.
        groups: the number of groups of channels; divides both numbers of channels.
        initialization: the distribution of the initial weights, see `initialize`, where an output
            sums over ``in_channels / groups * kernel height * kernel width`` inputs and an input
            goes into ``out_channels / groups * kernel height * kernel width`` outputs; the bias
            starts at 0.
        bias: whether the layer has a bias.
        algorithm: the algorithm that the ``fast`` extra of nn-tensor uses for float32 on the CPU:
            ``'winograd'`` has a quarter of the multiplications, for kernels 3×3 with stride 1
            (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2016); its error
            is about 2e-6 of the largest output, and an infinity in the input becomes NaN in a tile
            of 4×4 outputs. ``'direct'`` errs by 1e-6. ``'auto'`` takes Winograd's where it is
            faster.
        device: the device of the parameters, ``'cpu'``, ``'cuda'`` or ``'cuda:N'``.
        dtype: the floating dtype of the parameters, to which floating input is converted.
        rng: a NumPy generator, a seed, or None for unpredictable weights.
        name: the name shown by ``repr`` and in errors.

    Attributes:
        weights: ``(out_channels, in_channels / groups, kernel height, kernel width)``.
        bias: ``(out_channels,)``, or None.

    Raises:
        ValueError: if an option is out of range or `initialization` unknown; when called, if the
            input does not have four dimensions and `in_channels` channels, no window fits, or it is
            on another device.
        TypeError: if an option is of the wrong type or `dtype` not floating; when called, if the
            input is not floating.

    >>> from nn_tensor import ones
    >>> conv = Conv2D(in_channels=3, out_channels=16, kernel_size=3, stride=1, padding=1, rng=0)
    >>> conv
    Conv2D(3→16, 3×3, padding=1)
    >>> conv(ones(2, 3, 28, 28)).shape
    (2, 16, 28, 28)
    """

    @keyword_only
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair,
        stride: int | Pair = 1,
        padding: int | Pair | Literal["valid", "same"] = 0,
        *,
        dilation: int | Pair = 1,
        groups: int = 1,
        initialization: Initialization = "xavier",
        bias: bool = True,
        algorithm: Literal["auto", "direct", "winograd"] = "auto",
        device: str | Device = "cpu",
        dtype: Any = np.float32,
        rng: np.random.Generator | int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__()
        channels = self._read_channels(in_channels, out_channels, groups)
        kernel = check_pair("kernel_size", kernel_size)
        self.stride: Pair = check_pair("stride", stride)
        self.dilation: Pair = check_pair("dilation", dilation)
        self.padding: Pair | Literal["same"]
        self.padding, sides = _padding(padding)
        self.algorithm = check_choice("algorithm", algorithm, ("auto", "direct", "winograd"))
        self._windows = Windows(kernel, self.stride, sides, self.dilation, self.algorithm)
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

    @property
    def kernel_size(self) -> Pair:
        """Height and width of the windows."""
        return self.weights.shape[2], self.weights.shape[3]

    def forward(self, x: Any) -> Tensor:
        """Return the convolution of `x` with the weights, plus the bias."""
        return conv2d(*self.arguments(x))

    def arguments(self, x: Any) -> tuple[Tensor, Tensor, Tensor | float, Windows, int]:
        """Return what `nn_layers.ops.conv2d.conv2d` is called with, after the checks of `x`."""
        x = as_tensor(x)
        size = image_size(x.shape)
        self._check_channels(x)
        windows = self._windows.padded_same(size) if self.padding == "same" else self._windows
        windows.output_size(size)
        x = floating_input(x, self.dtype)
        bias = 0.0 if self.bias is None else self.bias
        return x, self.weights, bias, windows, self.groups

    def extra_repr(self) -> str:
        """Return the sizes and options."""
        kh, kw = self.kernel_size
        parts = [f"{self.in_channels}→{self.out_channels}, {kh}×{kw}"]
        if self.stride != (1, 1):
            parts.append(f"stride={format_sizes(self.stride)}")
        if self.padding == "same":
            parts.append("padding='same'")
        elif self.padding != (0, 0):
            parts.append(f"padding={format_sizes(self._windows.padding)}")
        if self.dilation != (1, 1):
            parts.append(f"dilation={format_sizes(self.dilation)}")
        if self.groups != 1:
            parts.append(f"groups={self.groups}")
        if self.bias is None:
            parts.append("bias=False")
        if self.algorithm != "auto":
            parts.append(f"algorithm={self.algorithm!r}")
        return ", ".join(parts)


def _padding(padding: Any) -> tuple[Pair | Literal["same"], tuple[int, int, int, int]]:
    """Return the padding as the layer shows it, and the rows and columns on each side, if known."""
    if padding == "same":
        return "same", (0, 0, 0, 0)
    if isinstance(padding, str) and padding != "valid":
        raise ValueError(
            "padding: expected a size >= 0, two for height and width, 'valid' or 'same', "
            f"got {padding!r}"
        )
    top, left = (0, 0) if isinstance(padding, str) else check_pair("padding", padding, 0)
    return (top, left), (top, top, left, left)
