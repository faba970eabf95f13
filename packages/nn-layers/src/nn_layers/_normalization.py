"""Normalisation: values brought to mean 0 and variance 1, then scaled and shifted as learnt.

One operation, `standardize`, does it over any axes; the layers differ in those axes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from nn_tensor import Tensor, no_grad, ones, zeros
from nn_tensor.extend import Device

from nn_layers._inputs import as_tensor, cast_like, finite, floating_type, positive
from nn_layers._module import Base_Layer
from nn_layers._standardize import scale_and_shift, standardize

__all__ = ["BatchNorm1D", "BatchNorm2D", "GroupNorm", "LayerNorm", "RMSNorm"]


def _epsilon(value: Any) -> float:
    number = finite("epsilon", value)
    if number < 0:
        raise ValueError(f"epsilon: expected a number of at least 0, got {value!r}")
    return number


def _lengths(shape: Any) -> tuple[int, ...]:
    if not isinstance(shape, (tuple, list)):
        return (positive("normalized_shape", shape),)
    if not shape:
        raise ValueError("normalized_shape: expected one length at least, got ()")
    return tuple(positive(f"normalized_shape[{i}]", length) for i, length in enumerate(shape))


class _Normalization(Base_Layer):
    """What the layers share: the learnt scale and shift."""

    weights: Tensor | None
    bias: Tensor | None

    def _learn(
        self, shape: tuple[int, ...], scale: bool, shift: bool, device: str | Device, dtype: Any
    ) -> None:
        parsed = floating_type(dtype)
        self.weights = self.bias = None
        if scale:
            self.weights = ones(shape, dtype=parsed, device=device, requires_grad=True)
        if shift:
            self.bias = zeros(shape, dtype=parsed, device=device, requires_grad=True)

    @property
    def device(self) -> str | None:
        """Where the parameters live; None if there are none."""
        tensors = self.named_tensors()
        return tensors[0][1].device if tensors else None

    @property
    def dtype(self) -> np.dtype[Any] | None:
        """The dtype of the parameters; None if there are none."""
        tensors = self.named_tensors()
        return tensors[0][1].dtype if tensors else None

    def _cast(self, x: Tensor) -> Tensor:
        if self.weights is not None:
            return cast_like(x, self.weights)
        if x.dtype.kind != "f":
            raise TypeError(f"input is {x.dtype}, expected floats")
        return x

    def _scale(self, normal: Tensor, ndim: int = 0) -> Tensor:
        """Return `normal` scaled and shifted; `ndim` axes follow that of the parameters."""
        if self.weights is None:
            return normal
        weights = _followed(self.weights, ndim)
        bias = 0.0 if self.bias is None else _followed(self.bias, ndim)
        return scale_and_shift(normal, weights, bias)


def _followed(vector: Tensor, ndim: int) -> Tensor:
    return vector.reshape(*vector.shape, *[1] * ndim) if ndim else vector


def _wide(x: Tensor) -> Tensor:
    """Return `x` in a type in which sums neither overflow nor lose their small terms."""
    return x.astype(np.float32) if x.dtype.itemsize < 4 else x


def _shown(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))


class LayerNorm(_Normalization):
    r"""Brings the features of each sample to mean 0 and variance 1, then scales and shifts them.

    .. math:: y = \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} \, w + b

    with mean :math:`\mu` and (biased) variance :math:`\sigma^2` over the last axes, those of
    `normalized_shape` (Ba, Kiros and Hinton, "Layer Normalization", 2016, equation 3; the
    :math:`\epsilon` is everybody's). It does the same in training and in `eval` mode.

    Shapes: ``(..., *normalized_shape)`` to the same. Half precision is summed up in float32.

    Args:
        normalized_shape: the lengths of the axes to normalise over, or the length of the last one.
        epsilon: what is added to the variance.
        affine: whether there are weights.
        bias: whether there is a bias too.
        device: where the parameters live.
        dtype: their floating type; floating input of another type is converted to it.
        name: shown in the description and in errors.

    Attributes:
        weights: of `normalized_shape`, 1 at first; or None.
        bias: of `normalized_shape`, 0 at first; or None.

    Raises:
        ValueError: if a length is less than 1 or `epsilon` negative; when called, if the shape of
            the input does not end in `normalized_shape`, or it lies on another device.
        TypeError: if a length is not an integer or `dtype` not floating; when called, if the
            input is not floating.

    >>> from nn_tensor import Tensor
    >>> layer = LayerNorm(2)
    >>> layer(Tensor([[1.0, 3.0], [-1000.0, 1000.0]])).numpy().round(2)
    array([[-1.,  1.],
           [-1.,  1.]], dtype=float32)
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        epsilon: float = 1e-5,
        affine: bool = True,
        bias: bool = True,
        device: str | Device = "cpu",
        dtype: Any = np.float32,
        name: str | None = None,
    ) -> None:
        super().__init__()
        self.normalized_shape = _lengths(normalized_shape)
        self.epsilon = _epsilon(epsilon)
        self.name = name
        self._learn(self.normalized_shape, affine, affine and bias, device, dtype)

    def forward(self, x: Any) -> Tensor:
        """Return `x` normalised over its last axes."""
        x, axes = _last_axes(self, x, self.normalized_shape)
        return self._scale(standardize(_wide(x), axes, self.epsilon)).astype(x.dtype)

    def extra_repr(self) -> str:
        """Return the shape, and what is left out."""
        without = ", affine=False" if self.weights is None else ""
        if self.weights is not None and self.bias is None:
            without = ", bias=False"
        return f"{_shown(self.normalized_shape)}{without}"


def _last_axes(
    layer: LayerNorm | RMSNorm, x: Any, shape: tuple[int, ...]
) -> tuple[Tensor, tuple[int, ...]]:
    """Return the input in the layer's dtype, and the axes that `shape` is about."""
    x = as_tensor(x)
    if x.shape[-len(shape) :] != shape:
        raise ValueError(f"input of shape {x.shape} does not end in {shape}")
    return layer._cast(x), tuple(range(-len(shape), 0))


class RMSNorm(_Normalization):
    r"""Divides the features of each sample by their root mean square, then scales them.

    .. math:: y = \frac{x}{\sqrt{\frac{1}{n} \sum_i x_i^2 + \epsilon}} \, w

    over the last axes, those of `normalized_shape` (Zhang and Sennrich, "Root Mean Square Layer
    Normalization", 2019, equation 4): `LayerNorm` without the mean.

    Shapes: ``(..., *normalized_shape)`` to the same. Half precision is summed up in float32.

    Args:
        normalized_shape: the lengths of the axes to normalise over, or the length of the last one.
        epsilon: what is added to the mean square; None for the distance from 1 to the next number
            of the dtype (float32 for half precision), as in PyTorch.
        affine: whether there are weights.
        device: where they live.
        dtype: their floating type; floating input of another type is converted to it.
        name: shown in the description and in errors.

    Attributes:
        weights: of `normalized_shape`, 1 at first; or None.

    Raises:
        ValueError: if a length is less than 1 or `epsilon` negative; when called, if the shape of
            the input does not end in `normalized_shape`, or it lies on another device.
        TypeError: if a length is not an integer or `dtype` not floating; when called, if the
            input is not floating.

    >>> from nn_tensor import Tensor
    >>> RMSNorm(2, epsilon=0)(Tensor([[3.0, 3.0], [1.0, 7.0]])).detach()
    Tensor([[1. , 1. ],
            [0.2, 1.4]])
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        epsilon: float | None = None,
        affine: bool = True,
        device: str | Device = "cpu",
        dtype: Any = np.float32,
        name: str | None = None,
    ) -> None:
        super().__init__()
        self.normalized_shape = _lengths(normalized_shape)
        self.epsilon = None if epsilon is None else _epsilon(epsilon)
        self.name = name
        self._learn(self.normalized_shape, affine, False, device, dtype)

    def forward(self, x: Any) -> Tensor:
        """Return `x` divided by its root mean square over the last axes."""
        x, axes = _last_axes(self, x, self.normalized_shape)
        wide = _wide(x)
        epsilon = float(np.finfo(wide.dtype).eps) if self.epsilon is None else self.epsilon
        return self._scale(standardize(wide, axes, epsilon, centre=False)).astype(x.dtype)

    def extra_repr(self) -> str:
        """Return the shape, and whether there are no weights."""
        without = ", affine=False" if self.weights is None else ""
        return f"{_shown(self.normalized_shape)}{without}"


class GroupNorm(_Normalization):
    r"""Brings groups of channels of each sample to mean 0 and variance 1, then scales and shifts.

    .. math:: y = \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} \, w + b

    with mean :math:`\mu` and (biased) variance :math:`\sigma^2` over a group of
    ``num_channels / num_groups`` channels and all places, and a weight and a bias for each channel
    (Wu and He, "Group Normalization", 2018, equations 1, 2 and 7). One group is `LayerNorm` of
    images, groups of one channel are instance normalisation.

    Shapes: ``(batch, num_channels, ...)`` to the same. Half precision is summed up in float32.

    Args:
        num_groups: into how many groups the channels fall, one after the other.
        num_channels: the number of channels.
        epsilon: what is added to the variance.
        affine: whether there are weights and a bias.
        device: where they live.
        dtype: their floating type; floating input of another type is converted to it.
        name: shown in the description and in errors.

    Attributes:
        weights: ``(num_channels,)``, 1 at first; or None.
        bias: ``(num_channels,)``, 0 at first; or None.

    Raises:
        ValueError: if a number is less than 1, `num_groups` does not divide `num_channels` or
            `epsilon` is negative; when called, if the input does not have `num_channels` channels
            or lies on another device.
        TypeError: if a number is not an integer or `dtype` not floating; when called, if the
            input is not floating.

    >>> from nn_tensor import ones
    >>> layer = GroupNorm(2, 6)
    >>> layer(ones(5, 6, 8, 8)).shape
    (5, 6, 8, 8)
    """

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        epsilon: float = 1e-5,
        affine: bool = True,
        device: str | Device = "cpu",
        dtype: Any = np.float32,
        name: str | None = None,
    ) -> None:
        super().__init__()
        self.num_groups = positive("num_groups", num_groups)
        self.num_channels = positive("num_channels", num_channels)
        if self.num_channels % self.num_groups:
            raise ValueError(
                f"num_groups: {num_groups} does not divide num_channels, which is {num_channels}"
            )
        self.epsilon = _epsilon(epsilon)
        self.name = name
        self._learn((self.num_channels,), affine, affine, device, dtype)

    def forward(self, x: Any) -> Tensor:
        """Return `x` normalised over each group of channels."""
        x = as_tensor(x)
        _check_channels(x.shape, self.num_channels, "2 axes or more", x.ndim >= 2)
        x = self._cast(x)
        members = self.num_channels // self.num_groups * math.prod(x.shape[2:])
        groups = _wide(x).reshape(x.shape[0], self.num_groups, members)
        normal = standardize(groups, (-1,), self.epsilon).reshape(x.shape)
        return self._scale(normal, x.ndim - 2).astype(x.dtype)

    def extra_repr(self) -> str:
        """Return the numbers."""
        without = ", affine=False" if self.weights is None else ""
        return f"{self.num_channels} in {self.num_groups} groups{without}"


def _check_channels(shape: tuple[int, ...], expected: int, axes: str, fits: bool) -> None:
    if not fits:
        raise ValueError(f"input of shape {shape} has {len(shape)} axes, expected {axes}")
    if shape[1] != expected:
        raise ValueError(
            f"input has {shape[1]} channels, expected {expected} (its shape is {shape})"
        )


class _BatchNorm(_Normalization):
    """Batch normalisation over all axes but the second."""

    _axes: ClassVar[tuple[int, ...]]  # how many axes the input may have

    def __init__(
        self,
        num_features: int,
        epsilon: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        device: str | Device = "cpu",
        dtype: Any = np.float32,
        name: str | None = None,
    ) -> None:
        super().__init__()
        shape = (positive("num_features", num_features),)
        self.epsilon = _epsilon(epsilon)
        self.momentum = None if momentum is None else finite("momentum", momentum)
        if self.momentum is not None and not 0 <= self.momentum <= 1:
            raise ValueError(f"momentum: expected a number between 0 and 1, got {momentum!r}")
        self.name = name
        self._learn(shape, affine, affine, device, dtype)
        self.running_mean = zeros(shape, dtype=dtype, device=device)
        self.running_var = ones(shape, dtype=dtype, device=device)
        self.num_batches_tracked = zeros((), dtype=np.int64, device=device)

    @property
    def num_features(self) -> int:
        """The number of channels."""
        return self.running_mean.shape[0]

    def forward(self, x: Any) -> Tensor:
        """Return `x` normalised over the batch, or in `eval` mode by the running statistics."""
        x = as_tensor(x)
        axes = " or ".join(map(str, self._axes))
        _check_channels(x.shape, self.num_features, f"{axes} axes", x.ndim in self._axes)
        x = cast_like(x, self.running_mean)
        normalize = self._by_batch if self.training else self._by_statistics
        return normalize(_wide(x)).astype(x.dtype)

    def _by_batch(self, x: Tensor) -> Tensor:
        count = x.size // self.num_features
        if count == 1:
            raise ValueError(
                f"input of shape {x.shape} has 1 value for each channel, whose variance says "
                "nothing; train on more, or call eval()"
            )
        moments: list[Any] = []
        normal = standardize(x, (0, *range(2, x.ndim)), self.epsilon, moments=moments)
        if count:
            average, variance = (Tensor(moment).reshape(-1) for moment in moments)
            self._track(average, variance * (count / (count - 1)))
        return self._scale(normal, x.ndim - 2)

    @no_grad()
    def _track(self, average: Tensor, variance: Tensor) -> None:
        batches = self.num_batches_tracked + 1
        momentum = 1 / batches.item() if self.momentum is None else self.momentum
        for running, new in ((self.running_mean, average), (self.running_var, variance)):
            # a new array: the old one may be saved in a graph that `backward` has yet to walk
            mixed = new * momentum + running.astype(new.dtype) * (1 - momentum)
            running.data = mixed.astype(running.dtype).data
        self.num_batches_tracked.data = batches.data

    def _by_statistics(self, x: Tensor) -> Tensor:
        variance, average = _wide(self.running_var), _wide(self.running_mean)
        scale = (variance + self.epsilon) ** -0.5
        if self.weights is not None:
            scale = scale * self.weights
        shift = -average * scale if self.bias is None else self.bias - average * scale
        return scale_and_shift(x, _followed(scale, x.ndim - 2), _followed(shift, x.ndim - 2))

    def extra_repr(self) -> str:
        """Return the number of channels, and whether there are no weights."""
        without = ", affine=False" if self.weights is None else ""
        return f"{self.num_features}{without}"


class BatchNorm1D(_BatchNorm):
    r"""Brings each feature to mean 0 and variance 1 over the batch, then scales and shifts it.

    .. math:: y = \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} \, w + b

    with mean :math:`\mu` and (biased) variance :math:`\sigma^2` of the feature over the batch, and
    over the places of a sequence (Ioffe and Szegedy, "Batch Normalization: Accelerating Deep
    Network Training by Reducing Internal Covariate Shift", 2015, algorithm 1). In `eval` mode the
    running mean and variance take their place, which training keeps as PyTorch does:

    .. math:: r \leftarrow (1 - m)\, r + m\, s

    with the momentum :math:`m`, where :math:`s` is the mean, or the unbiased variance, of a batch.

    Shapes: ``(batch, num_features)`` or ``(batch, num_features, length)`` to the same. Half
    precision is summed up in float32.

    Args:
        num_features: the number of features, or channels.
        epsilon: what is added to the variance.
        momentum: how much a batch moves the running statistics; None for their mean over all
            batches.
        affine: whether there are weights and a bias.
        device: where the parameters live.
        dtype: their floating type; floating input of another type is converted to it.
        name: shown in the description and in errors.

    Attributes:
        weights: ``(num_features,)``, 1 at first; or None.
        bias: ``(num_features,)``, 0 at first; or None.
        running_mean: ``(num_features,)``, 0 at first; not trained, but saved.
        running_var: ``(num_features,)``, 1 at first; not trained, but saved.
        num_batches_tracked: how many batches they have seen; saved.

    Raises:
        ValueError: if `num_features` is less than 1, `epsilon` negative or `momentum` outside
            [0, 1]; when called, if the input has other axes or channels or lies on another device,
            or in training a single value for each channel.
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

    _axes = (2, 3)


class BatchNorm2D(_BatchNorm):
    r"""Brings each channel of images to mean 0 and variance 1 over the batch, scales and shifts it.

    .. math:: y = \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} \, w + b

    with mean :math:`\mu` and (biased) variance :math:`\sigma^2` of the channel over the batch and
    all places (Ioffe and Szegedy, 2015, algorithm 1 and section 3.2).

    Shapes: ``(batch, num_features, height, width)`` to the same.

    `eval` mode, dtypes, arguments, attributes and errors: as for `BatchNorm1D`.

    >>> from nn_tensor import ones
    >>> layer = BatchNorm2D(3)
    >>> layer(ones(2, 3, 4, 4)).shape
    (2, 3, 4, 4)
    >>> list(layer.state_dict())[:3]
    ['weights', 'bias', 'running_mean']
    """

    _axes = (4,)
