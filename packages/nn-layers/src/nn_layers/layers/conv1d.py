"""`Conv1D`: the convolutional layer for sequences."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from nn_tensor import Tensor
from nn_tensor.extend import Device, check_integer, keyword_only

from nn_layers.initializers import Initialization
from nn_layers.layers.convolution import Convolution
from nn_layers.layers.inputs import as_tensor, floating_input, sequence_length
from nn_layers.ops.conv2d import conv2d
from nn_layers.ops.windows import Windows

__all__ = ["Conv1D"]


class Conv1D(Convolution):
    r"""The convolutional layer for sequences: weighted sums over windows of time steps.

    .. math:: y_{nop} = b_o + \sum_{c,\, i} w_{oci} \; x_{nc,\; p s + i d - q}

    with stride :math:`s`, padding :math:`q` of zeros and dilation :math:`d` (Waibel, Hanazawa,
    Hinton, Shikano and Lang, "Phoneme Recognition Using Time-Delay Neural Networks", 1989). It is
    `Conv2D` of images with one row.

    Shapes: ``(batch, in_channels, time)`` to ``(batch, out_channels, windows)``, with ``windows =
    (time + 2 * padding - dilation * (kernel_size - 1) - 1) // stride + 1``. Transpose inputs of
    shape ``(batch, time, features)`` first: ``x.swapaxes(1, 2)``.

    Args:
        in_channels: the number of channels of the input.
        out_channels: the number of channels of the output.
        kernel_size: the length of the windows.
        stride: the distance between windows.
        padding: the number of zeros at each end; ``'valid'`` for none; ``'same'`` for as many as
            give ``windows = ceil(time / stride)``, the length of the input for stride 1: that is
            ``max((windows - 1) * stride + dilation * (kernel_size - 1) + 1 - time, 0)``, as in
            TensorFlow and Keras, and if it is odd, the extra zero is at the end, as in PyTorch;
            ``'causal'`` for ``dilation * (kernel_size - 1)``, all at the beginning, so that no
            output depends on later input (van den Oord et al., "WaveNet", 2016).
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
        weights: ``(out_channels, in_channels / groups, kernel_size)``.
        bias: ``(out_channels,)``, or None.

    Raises:
        ValueError: if an option is out of range or `initialization` unknown; when called, if the
            input does not have three dimensions and `in_channels` channels, or no window fits.
        TypeError: if an option is of the wrong type or `dtype` not floating; when called, if the
            input is not floating.

    >>> from nn_tensor import ones
    >>> conv = Conv1D(in_channels=4, out_channels=8, kernel_size=3, padding="causal", rng=0)
    >>> conv
    Conv1D(4→8, 3, padding='causal')
    >>> conv(ones(2, 4, 10)).shape
    (2, 8, 10)
    """

    @keyword_only
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int | Literal["valid", "same", "causal"] = 0,
        *,
        dilation: int = 1,
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
        size = check_integer("kernel_size", kernel_size, 1)
        self.stride: int = check_integer("stride", stride, 1)
        self.dilation: int = check_integer("dilation", dilation, 1)
        self.padding: int | Literal["same", "causal"]
        self.padding, left, right = _padding(padding, (size - 1) * self.dilation)
        self._windows = Windows(
            (1, size), (1, self.stride), (0, 0, left, right), (1, self.dilation)
        )
        self.name = name
        self._new_parameters(
            channels,
            (size,),
            bias,
            initialization=initialization,
            rng=rng,
            device=device,
            dtype=dtype,
        )

    @property
    def kernel_size(self) -> int:
        """The length of the windows."""
        return self.weights.shape[2]

    def forward(self, x: Any) -> Tensor:
        """Return the convolution of `x` with the weights, plus the bias."""
        x = as_tensor(x)
        time = sequence_length(x.shape)
        self._check_channels(x)
        windows = self._windows
        if self.padding == "same":
            windows = windows.padded_same((1, time))
        windows.output_size((1, time))
        x = floating_input(x, self.dtype)
        bias = 0.0 if self.bias is None else self.bias
        images = x.reshape(x.shape[0], x.shape[1], 1, time)
        weights = self.weights.reshape(*self.weights.shape[:2], 1, self.kernel_size)
        y = conv2d(images, weights, bias, windows, self.groups)
        return y.reshape(y.shape[0], y.shape[1], y.shape[3])

    def extra_repr(self) -> str:
        """Return the sizes and options."""
        parts = [f"{self.in_channels}→{self.out_channels}, {self.kernel_size}"]
        defaults = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}
        values = {name: getattr(self, name) for name in defaults}
        parts += [f"{name}={v!r}" for name, v in values.items() if v != defaults[name]]
        if self.bias is None:
            parts.append("bias=False")
        return ", ".join(parts)


def _padding(padding: Any, causal: int) -> tuple[int | Literal["same", "causal"], int, int]:
    """Return the padding as the layer shows it, and the zeros at each end as far as known."""
    if padding == "same":
        return "same", 0, 0
    if padding == "causal":
        return "causal", causal, 0
    if isinstance(padding, str) and padding != "valid":
        raise ValueError(
            f"padding: expected a size >= 0, 'valid', 'same' or 'causal', got {padding!r}"
        )
    number = 0 if isinstance(padding, str) else check_integer("padding", padding, 0)
    return number, number, number
