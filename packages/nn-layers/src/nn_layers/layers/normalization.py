"""`LayerNorm`, `RMSNorm`, `GroupNorm`, `BatchNorm1D` and `BatchNorm2D`.

All of them standardize, over different axes, and then scale and shift. `LayerNorm` and `RMSNorm`
do so in one operation, `standardize_and_scale`, and batch normalization in `batch_norm`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from nn_tensor import Tensor, no_grad, ones, zeros
from nn_tensor.extend import (
    Device,
    check_floating_dtype,
    check_integer,
    check_number,
    check_probability,
    check_shape,
    keyword_only,
)

from nn_layers.layers.inputs import floating_input
from nn_layers.module.base_layer import Base_Layer
from nn_layers.ops.batch_norm import batch_norm
from nn_layers.ops.layer_norm import standardize_and_scale
from nn_layers.ops.normalization import moving_average, scale_and_shift, standardize

__all__ = ["BatchNorm1D", "BatchNorm2D", "GroupNorm", "LayerNorm", "RMSNorm"]


class _Normalization(Base_Layer, ABC):
    """What the layers share: the trained scale and shift, and sums that half precision can hold."""

    weights: Tensor | None
    bias: Tensor | None

    def _create_parameters(
        self, shape: tuple[int, ...], scale: bool, shift: bool, device: str | Device, dtype: Any
    ) -> None:
        parsed = check_floating_dtype("dtype", dtype)
        self.weights = self.bias = None
        if scale:
            self.weights = ones(shape, dtype=parsed, device=device, requires_grad=True)
        if shift:
            self.bias = zeros(shape, dtype=parsed, device=device, requires_grad=True)

    @property
    def _state_tensor(self) -> Tensor | None:
        """A Tensor of the layer, which has its dtype and device, if there is any."""
        return self.weights

    @property
    def device(self) -> str | None:
        """The device of the parameters; None without parameters."""
        return None if self._state_tensor is None else self._state_tensor.device

    @property
    def dtype(self) -> np.dtype[Any] | None:
        """The dtype of the parameters; None without parameters."""
        return None if self._state_tensor is None else self._state_tensor.dtype

    def forward(self, x: Any) -> Tensor:
        """Return `x` standardized, scaled and shifted."""
        x = floating_input(x, self.dtype)
        self._check_shape(x.shape)
        # in half precision, sums would overflow or lose their small terms
        wide = x.astype(np.float32) if x.dtype.itemsize < 4 else x
        out = self._normalize(wide)
        return out if out.dtype == x.dtype else out.astype(x.dtype)

    @abstractmethod
    def _check_shape(self, shape: tuple[int, ...]) -> None: ...

    @abstractmethod
    def _normalize(self, x: Tensor) -> Tensor: ...

    @abstractmethod
    def _describe_sizes(self) -> str: ...

    def _scale_and_shift(self, normal: Tensor, ndim: int = 0) -> Tensor:
        """Return `normal` scaled and shifted; `ndim` dimensions follow that of the parameters."""
        if self.weights is None:
            return normal
        weights = _append_dimensions(self.weights, ndim)
        bias = 0.0 if self.bias is None else _append_dimensions(self.bias, ndim)
        return scale_and_shift(normal, weights, bias)

    def extra_repr(self) -> str:
        """Return the sizes, and whether there are no weights."""
        return self._describe_sizes() + (", affine=False" if self.weights is None else "")


def _append_dimensions(vector: Tensor, ndim: int) -> Tensor:
    return vector.reshape(*vector.shape, *[1] * ndim) if ndim else vector


class _NormOverLastAxes(_Normalization):
    """Normalization over the last axes."""

    def __init__(self, normalized_shape: int | Sequence[int], name: str | None) -> None:
        super().__init__()
        self.normalized_shape: tuple[int, ...] = check_shape(
            "normalized_shape", normalized_shape, 1
        )
        if not self.normalized_shape:
            raise ValueError("normalized_shape: expected at least one size, got ()")
        self.name = name

    @property
    def _axes(self) -> tuple[int, ...]:
        return tuple(range(-len(self.normalized_shape), 0))

    def _standardize_and_scale(self, x: Tensor, epsilon: float, center: bool = True) -> Tensor:
        if self.weights is None:
            return standardize(x, self._axes, epsilon, center)
        bias = 0.0 if self.bias is None else self.bias
        return standardize_and_scale(x, self.weights, bias, epsilon, center)

    def _check_shape(self, shape: tuple[int, ...]) -> None:
        if shape[-len(self.normalized_shape) :] != self.normalized_shape:
            raise ValueError(f"input of shape {shape} does not end in {self.normalized_shape}")

    def _describe_sizes(self) -> str:
        return "×".join(map(str, self.normalized_shape))


class LayerNorm(_NormOverLastAxes):
    r"""Normalizes the features of each sample, then scales and shifts them.

    .. math:: y = \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} \, w + b

    with mean :math:`\mu` and (biased) variance :math:`\sigma^2` over the last axes, those of
    `normalized_shape` (Ba, Kiros and Hinton, "Layer Normalization", 2016, equation 3, with the
    usual :math:`\epsilon`). It does the same in training and in `eval` mode.

    Shapes: ``(..., *normalized_shape)`` to the same. Half precision is summed in float32.

    Args:
        normalized_shape: the sizes of the dimensions to normalize over, or the size of the last.
        epsilon: added to the variance.
        affine: whether the layer has weights.
        bias: whether it has a bias as well.
        device: the device of the parameters, ``'cpu'``, ``'cuda'`` or ``'cuda:N'``.
        dtype: the floating dtype of the parameters, to which floating input is converted.
        name: the name shown by ``repr`` and in errors.

    Attributes:
        weights: shape `normalized_shape`, initially 1; or None.
        bias: shape `normalized_shape`, initially 0; or None.

    Raises:
        ValueError: if a size is less than 1 or `epsilon` negative; when called, if the shape of
            the input does not end in `normalized_shape`, or it is on another device.
        TypeError: if a size is not an integer or `dtype` not floating; when called, if the input
            is not floating.

    >>> from nn_tensor import Tensor
    >>> layer = LayerNorm(2)
    >>> layer(Tensor([[1.0, 3.0], [-1000.0, 1000.0]])).numpy().round(2)
    array([[-1.,  1.],
           [-1.,  1.]], dtype=float32)
    """

    @keyword_only
    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        *,
        epsilon: float = 1e-5,
        affine: bool = True,
        bias: bool = True,
        device: str | Device = "cpu",
        dtype: Any = np.float32,
        name: str | None = None,
    ) -> None:
        super().__init__(normalized_shape, name)
        self.epsilon: float = check_number("epsilon", epsilon, 0)
        self._create_parameters(self.normalized_shape, affine, affine and bias, device, dtype)

    def _normalize(self, x: Tensor) -> Tensor:
        return self._standardize_and_scale(x, self.epsilon)

    def extra_repr(self) -> str:
        """Return the shape, and which parameters there are not."""
        without_bias = self.bias is None and self.weights is not None
        return super().extra_repr() + (", bias=False" if without_bias else "")


class RMSNorm(_NormOverLastAxes):
    r"""Divides the features of each sample by their root mean square, then scales them.

    .. math:: y = \frac{x}{\sqrt{\frac{1}{n} \sum_i x_i^2 + \epsilon}} \, w

    over the last axes, those of `normalized_shape` (Zhang and Sennrich, "Root Mean Square Layer
    Normalization", 2019, equation 4): `LayerNorm` without the mean.

    Shapes: ``(..., *normalized_shape)`` to the same. Half precision is summed in float32.

    Args:
        normalized_shape: the sizes of the dimensions to normalize over, or the size of the last.
        epsilon: added to the mean square; None for the distance from 1 to the next number of the
            dtype (float32 for half precision), as in PyTorch.
        affine: whether the layer has weights.
        device: the device of the parameters, ``'cpu'``, ``'cuda'`` or ``'cuda:N'``.
        dtype: the floating dtype of the parameters, to which floating input is converted.
        name: the name shown by ``repr`` and in errors.

    Attributes:
        weights: shape `normalized_shape`, initially 1; or None.

    Raises:
        ValueError: if a size is less than 1 or `epsilon` negative; when called, if the shape of
            the input does not end in `normalized_shape`, or it is on another device.
        TypeError: if a size is not an integer or `dtype` not floating; when called, if the input
            is not floating.

    >>> from nn_tensor import Tensor
    >>> RMSNorm(2, epsilon=0)(Tensor([[3.0, 3.0], [1.0, 7.0]])).detach()
    Tensor([[1. , 1. ],
            [0.2, 1.4]])
    """

    @keyword_only
    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        *,
        epsilon: float | None = None,
        affine: bool = True,
        device: str | Device = "cpu",
        dtype: Any = np.float32,
        name: str | None = None,
    ) -> None:
        super().__init__(normalized_shape, name)
        self.epsilon: float | None = (
            None if epsilon is None else check_number("epsilon", epsilon, 0)
        )
        self._create_parameters(self.normalized_shape, affine, False, device, dtype)

    def _normalize(self, x: Tensor) -> Tensor:
        epsilon = float(np.finfo(x.dtype).eps) if self.epsilon is None else self.epsilon
        return self._standardize_and_scale(x, epsilon, center=False)


class GroupNorm(_Normalization):
    r"""Normalizes each group of channels of each sample, then scales and shifts the channels.

    .. math:: y = \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} \, w + b

    with mean :math:`\mu` and (biased) variance :math:`\sigma^2` over a group of
    ``num_channels / num_groups`` channels and all positions, and a weight and a bias for each
    channel (Wu and He, "Group Normalization", 2018, equations 1, 2 and 7). One group is `LayerNorm`
    of images, groups of one channel are instance normalization.

    Shapes: ``(batch, num_channels, ...)`` to the same. Half precision is summed in float32.

    Args:
        num_groups: the number of groups of consecutive channels.
        num_channels: the number of channels.
        epsilon: added to the variance.
        affine: whether the layer has weights and a bias.
        device: the device of the parameters, ``'cpu'``, ``'cuda'`` or ``'cuda:N'``.
        dtype: the floating dtype of the parameters, to which floating input is converted.
        name: the name shown by ``repr`` and in errors.

    Attributes:
        weights: ``(num_channels,)``, initially 1; or None.
        bias: ``(num_channels,)``, initially 0; or None.

    Raises:
        ValueError: if a number is less than 1, `num_groups` does not divide `num_channels` or
            `epsilon` is negative; when called, if the input does not have `num_channels` channels
            or is on another device.
        TypeError: if a number is not an integer or `dtype` not floating; when called, if the
            input is not floating.

    >>> from nn_tensor import ones
    >>> layer = GroupNorm(2, 6)
    >>> layer(ones(5, 6, 8, 8)).shape
    (5, 6, 8, 8)
    """

    @keyword_only
    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        *,
        epsilon: float = 1e-5,
        affine: bool = True,
        device: str | Device = "cpu",
        dtype: Any = np.float32,
        name: str | None = None,
    ) -> None:
        super().__init__()
        self.num_groups: int = check_integer("num_groups", num_groups, 1)
        self.num_channels: int = check_integer("num_channels", num_channels, 1)
        if self.num_channels % self.num_groups:
            raise ValueError(
                f"num_groups: {num_groups} does not divide num_channels, which is {num_channels}"
            )
        self.epsilon: float = check_number("epsilon", epsilon, 0)
        self.name = name
        self._create_parameters((self.num_channels,), affine, affine, device, dtype)

    def _check_shape(self, shape: tuple[int, ...]) -> None:
        if len(shape) < 2:
            raise ValueError(
                f"input of shape {shape} has {len(shape)} dimensions, expected at least 2"
            )
        _check_channels(shape, self.num_channels)

    def _normalize(self, x: Tensor) -> Tensor:
        elements = self.num_channels // self.num_groups * math.prod(x.shape[2:])
        groups = x.reshape(x.shape[0], self.num_groups, elements)
        normal = standardize(groups, (-1,), self.epsilon).reshape(x.shape)
        return self._scale_and_shift(normal, x.ndim - 2)

    def _describe_sizes(self) -> str:
        return f"{self.num_channels} in {self.num_groups} groups"


class _BatchNorm(_Normalization):
    """Batch normalization over all axes but the second."""

    buffers: ClassVar[tuple[str, ...]] = ("running_mean", "running_var", "num_batches_tracked")
    _ndims: ClassVar[tuple[int, ...]]  # the numbers of dimensions that the input may have

    @keyword_only
    def __init__(
        self,
        num_features: int,
        *,
        epsilon: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        device: str | Device = "cpu",
        dtype: Any = np.float32,
        name: str | None = None,
    ) -> None:
        super().__init__()
        shape = (check_integer("num_features", num_features, 1),)
        self.epsilon: float = check_number("epsilon", epsilon, 0)
        self.momentum: float | None = (
            None if momentum is None else check_probability("momentum", momentum)
        )
        self.name = name
        self._create_parameters(shape, affine, affine, device, dtype)
        self.running_mean: Tensor = zeros(shape, dtype=dtype, device=device)
        self.running_var: Tensor = ones(shape, dtype=dtype, device=device)
        self.num_batches_tracked: Tensor = zeros((), dtype=np.int64, device=device)

    @property
    def _state_tensor(self) -> Tensor:
        return self.running_mean

    @property
    def num_features(self) -> int:
        """The number of channels."""
        return self.running_mean.shape[0]

    def _check_shape(self, shape: tuple[int, ...]) -> None:
        if len(shape) not in self._ndims:
            expected = " or ".join(map(str, self._ndims))
            raise ValueError(
                f"input of shape {shape} has {len(shape)} dimensions, expected {expected}"
            )
        _check_channels(shape, self.num_features)

    def _normalize(self, x: Tensor) -> Tensor:
        return self._by_batch(x) if self.training else self._by_running_statistics(x)

    def _by_batch(self, x: Tensor) -> Tensor:
        count = x.size // self.num_features
        if count == 1:
            raise ValueError(
                f"input of shape {x.shape} has 1 value for each channel, whose variance is "
                "undefined; train on more, or call eval()"
            )
        moments: list[Any] = []
        if self.weights is None or self.bias is None:
            out = standardize(x, (0, *range(2, x.ndim)), self.epsilon, moments=moments)
        else:
            out = batch_norm(x, self.weights, self.bias, self.epsilon, moments=moments)
        if count:
            mean, variance = (Tensor(moment).reshape(-1) for moment in moments)
            self._update_running_statistics(mean, variance * (count / (count - 1)))
        return out

    @no_grad()
    def _update_running_statistics(self, mean: Tensor, variance: Tensor) -> None:
        batches = self.num_batches_tracked + 1
        momentum = 1 / batches.item() if self.momentum is None else self.momentum
        for running, new in ((self.running_mean, mean), (self.running_var, variance)):
            # a new array: the old one may be saved in a graph that `backward` has yet to walk
            running.data = moving_average(new, running, momentum)
        self.num_batches_tracked.data = batches

    def _by_running_statistics(self, x: Tensor) -> Tensor:
        mean, variance = self.running_mean, self.running_var
        if mean.dtype.itemsize < 4:
            mean, variance = mean.astype(np.float32), variance.astype(np.float32)
        scale = (variance + self.epsilon) ** -0.5
        if self.weights is not None:
            scale = scale * self.weights
        shift = -mean * scale if self.bias is None else self.bias - mean * scale
        ndim = x.ndim - 2
        return scale_and_shift(x, _append_dimensions(scale, ndim), _append_dimensions(shift, ndim))

    def _describe_sizes(self) -> str:
        return str(self.num_features)


class BatchNorm1D(_BatchNorm):
    r"""Normalizes each feature over the batch, then scales and shifts it.

    .. math:: y = \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} \, w + b

    with mean :math:`\mu` and (biased) variance :math:`\sigma^2` of the feature over the batch, and
    over the positions of a sequence (Ioffe and Szegedy, "Batch Normalization: Accelerating Deep
    Network Training by Reducing Internal Covariate Shift", 2015, algorithm 1). In `eval` mode the
    running mean and variance take their place, which training updates as PyTorch does:

    .. math:: r \leftarrow (1 - m)\, r + m\, s

    with the momentum :math:`m`, where :math:`s` is the mean, or the unbiased variance, of a batch.

    Shapes: ``(batch, num_features)`` or ``(batch, num_features, length)`` to the same. Half
    precision is summed in float32.

    Args:
        num_features: the number of features, or channels.
        epsilon: added to the variance.
        momentum: the weight of the new batch in the running averages; None for the cumulative mean
            over all batches.
        affine: whether the layer has weights and a bias.
        device: the device of the parameters, ``'cpu'``, ``'cuda'`` or ``'cuda:N'``.
        dtype: the floating dtype of the parameters, to which floating input is converted.
        name: the name shown by ``repr`` and in errors.

    Attributes:
        weights: ``(num_features,)``, initially 1; or None.
        bias: ``(num_features,)``, initially 0; or None.
        running_mean: ``(num_features,)``, initially 0; not trained, but saved.
        running_var: ``(num_features,)``, initially 1; not trained, but saved.
        num_batches_tracked: the number of batches seen in training; saved.

    Raises:
        ValueError: if `num_features` is less than 1, `epsilon` negative or `momentum` outside
            [0, 1]; when called, if the input has another number of dimensions or channels or is on
            another device, or in training a single value for each channel.
        TypeError: if `num_features` is not an integer or `dtype` not floating; when called, if
            the input is not floating.

    >>> from nn_tensor import Tensor
    >>> layer = BatchNorm1D(2)
    >>> layer(Tensor([[1.0, 0.0], [3.0, 8.0]])).numpy().round(2)
    array([[-1., -1.],
           [ 1.,  1.]], dtype=float32)
    >>> layer.running_mean, layer.running_var
    (Tensor([0.2, 0.4]), Tensor([1.1, 4.1]))
    """

    _ndims = (2, 3)


class BatchNorm2D(_BatchNorm):
    r"""Normalizes each channel of images over the batch, then scales and shifts it.

    .. math:: y = \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} \, w + b

    with mean :math:`\mu` and (biased) variance :math:`\sigma^2` of the channel over the batch and
    all positions (Ioffe and Szegedy, 2015, algorithm 1 and section 3.2). The running averages of
    `eval` mode are those of `BatchNorm1D`.

    Shapes: ``(batch, num_features, height, width)`` to the same. Half precision is
    summed in float32.

    Args:
        num_features: the number of channels.
        epsilon: added to the variance.
        momentum: the weight of the new batch in the running averages; None for the cumulative mean
            over all batches.
        affine: whether the layer has weights and a bias.
        device: the device of the parameters, ``'cpu'``, ``'cuda'`` or ``'cuda:N'``.
        dtype: the floating dtype of the parameters, to which floating input is converted.
        name: the name shown by ``repr`` and in errors.

    Attributes:
        weights: ``(num_features,)``, initially 1; or None.
        bias: ``(num_features,)``, initially 0; or None.
        running_mean: ``(num_features,)``, initially 0; not trained, but saved.
        running_var: ``(num_features,)``, initially 1; not trained, but saved.
        num_batches_tracked: the number of batches seen in training; saved.

    Raises:
        ValueError: if `num_features` is less than 1, `epsilon` negative or `momentum` outside
            [0, 1]; when called, if the input has another number of dimensions or channels or is on
            another device, or in training a single value for each channel.
        TypeError: if `num_features` is not an integer or `dtype` not floating; when called, if
            the input is not floating.

    >>> from nn_tensor import ones
    >>> layer = BatchNorm2D(3)
    >>> layer(ones(2, 3, 4, 4)).shape
    (2, 3, 4, 4)
    >>> list(layer.state_dict())[:3]
    ['weights', 'bias', 'running_mean']
    """

    _ndims = (4,)


def _check_channels(shape: tuple[int, ...], expected: int) -> None:
    if shape[1] != expected:
        raise ValueError(
            f"input has {shape[1]} channels, expected {expected} (its shape is {shape})"
        )
