"""`Convolution`: what the layers of convolutions have in common."""

from __future__ import annotations

import math
from typing import Any

from nn_tensor import Tensor
from nn_tensor.extend import check_integer

from nn_layers.initializers import initialize
from nn_layers.layers.weighted import WeightedLayer

__all__ = ["Convolution"]

# How the axes of input whose channels come last are moved, by the number of its dimensions.
_CHANNELS_SECOND = {3: ".swapaxes(1, 2)", 4: ".transpose(0, 3, 1, 2)"}


class Convolution(WeightedLayer):
    """A layer whose weights connect channels, in groups, over windows."""

    groups: int

    def _read_channels(self, in_channels: int, out_channels: int, groups: int) -> tuple[int, int]:
        """Check the numbers of channels, which `groups` divides, and return them."""
        numbers = (
            check_integer("in_channels", in_channels, 1),
            check_integer("out_channels", out_channels, 1),
        )
        self.groups = check_integer("groups", groups, 1)
        for name, channels in zip(("in_channels", "out_channels"), numbers, strict=True):
            if channels % self.groups:
                raise ValueError(f"groups: {groups} does not divide {name}, which is {channels}")
        return numbers

    def _new_parameters(
        self, channels: tuple[int, int], kernel: tuple[int, ...], bias: bool, **options: Any
    ) -> None:
        """Draw the weights of channels in and out, as `initialize` does with the options."""
        area = math.prod(kernel)
        fans = (number // self.groups * area for number in channels)
        self.weights: Tensor = initialize(
            options.pop("initialization"), self._weights_shape(*channels, *kernel), *fans, **options
        )
        self.bias: Tensor | None = self._new_bias(channels[1]) if bias else None

    def _weights_shape(self, in_channels: int, out_channels: int, *kernel: int) -> tuple[int, ...]:
        return out_channels, in_channels // self.groups, *kernel

    @property
    def in_channels(self) -> int:
        """The number of channels of the input."""
        return self.weights.shape[1] * self.groups

    @property
    def out_channels(self) -> int:
        """The number of channels of the output."""
        return self.weights.shape[0]

    def _check_channels(self, x: Tensor) -> None:
        """Raise a ValueError unless the input has the channels, second."""
        if x.shape[1] != self.in_channels:
            message = f"input has {x.shape[1]} channels, expected {self.in_channels}"
            if x.shape[-1] == self.in_channels:
                message += f"; channels come second: {_CHANNELS_SECOND[x.ndim]}"
            raise ValueError(f"{message} (its shape is {x.shape})")
