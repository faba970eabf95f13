"""`Sequential`: layers applied in sequence."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, Self, overload

from nn_tensor import Tensor
from nn_tensor.extend import Device, describe

from nn_layers.module.base_layer import Base_Layer
from nn_layers.module.base_model import BaseModel
from nn_layers.module.fusion import apply_in_sequence

__all__ = ["Sequential"]


class Sequential(BaseModel):
    r"""Applies layers in sequence: :math:`y = f_n(\dots f_2(f_1(x)))`.

    Args:
        layers: the layers, or one list or other iterable of them.
        device: the device that all layers are moved to; by default each stays on its own.

    Raises:
        TypeError: if an element is not a layer; the message names its position.

    Layers that follow each other are computed as one operation where that is faster and nothing
    can see it: `Conv2D`, `ReLU` and `MaxPool2D` for example. Results and gradients are the same. It
    takes exactly these classes, none of whose `forward` has been replaced, outside of
    `nn_tensor.detect_anomaly`; the table is in `nn_layers.layers.fused`.

    An index gives a layer, a slice a `Sequential` of the same layers; without layers it returns its
    input.

    >>> from nn_layers import Dense, ReLU
    >>> from nn_tensor import ones
    >>> model = Sequential([Dense(4, 8), ReLU(), Dense(8, 2)], device="cpu")
    >>> model(ones(3, 4)).shape
    (3, 2)
    >>> model[-1]
    Dense(8→2)
    """

    def __init__(
        self, *layers: Base_Layer | Iterable[Base_Layer], device: str | Device | None = None
    ) -> None:
        super().__init__()
        given: Any = layers
        if len(layers) == 1 and not isinstance(layers[0], Base_Layer):
            given = layers[0] if isinstance(layers[0], Iterable) else layers
        self.layers: list[Base_Layer] = []
        self.extend(given)
        if device is not None:
            self.set_device(device)

    def _children(self) -> Iterable[tuple[Any, Any]]:
        return chain(enumerate(self.layers), super()._children())

    def forward(self, x: Any) -> Tensor:
        """Return the output of the last layer."""
        return apply_in_sequence(self.layers, x)

    def append(self, layer: Base_Layer) -> Self:
        """Append `layer`; return the model itself.

        Raises:
            TypeError: if it is not a layer.
        """
        return self.extend([layer])

    def extend(self, layers: Iterable[Base_Layer]) -> Self:
        """Append all of `layers`; return the model itself.

        Raises:
            TypeError: if one is not a layer; then none is appended.
        """
        start = len(self.layers)
        self.layers += [_checked(layer, start + i) for i, layer in enumerate(layers)]
        return self

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Base_Layer]:
        return iter(self.layers)

    @overload
    def __getitem__(self, index: int) -> Base_Layer: ...
    @overload
    def __getitem__(self, index: slice) -> Sequential: ...
    def __getitem__(self, index: int | slice) -> Base_Layer | Sequential:
        if isinstance(index, slice):
            return Sequential(self.layers[index])
        return self.layers[self._position(index)]

    def __setitem__(self, index: int, layer: Base_Layer) -> None:
        position = self._position(index)
        self.layers[position] = _checked(layer, position)

    def __delitem__(self, index: int) -> None:
        del self.layers[self._position(index)]

    def _position(self, index: int) -> int:
        index, count = operator.index(index), len(self.layers)
        if not -count <= index < count:
            raise IndexError(f"index {index} is out of range, there are {count} layers")
        return index % count


def _checked(layer: Any, position: int) -> Base_Layer:
    if isinstance(layer, Base_Layer):
        return layer
    hint = ""
    if inspect.isclass(layer):
        hint = f"; write {layer.__name__}(...) to make one"
    elif callable(layer):
        hint = "; a function goes into the forward of a custom class"
    raise TypeError(f"layers[{position}]: expected a layer, got {describe(layer)}{hint}")
