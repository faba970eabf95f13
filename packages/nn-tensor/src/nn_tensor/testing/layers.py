"""Rows of layers: functions of inputs and parameters that are made from options."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np

from nn_tensor._tensor import Tensor
from nn_tensor.testing.assertions import check_state_dict, flatten, require
from nn_tensor.testing.cases import Array
from nn_tensor.testing.ops import BuiltCase

__all__ = ["LayerCase"]


@dataclass(frozen=True, eq=False)
class LayerCase(BuiltCase):
    """A row of a layer: ``function(**options)(*inputs)``.

    A layer is anything that computes when it is called, has `parameters`, `training`, `train`,
    `to`, `state_dict` and `load_state_dict` as `nn_layers.Base_Layer` has, and can be copied with
    `copy.deepcopy`.

    To the checks it is a function of the inputs and of its parameters, which are moved away from
    the zeros and ones at which they start; so the reference takes the inputs and then the
    parameters, in their order and in float64. Each call computes with a new copy of one layer,
    running statistics and random generators included.

    It also takes the arguments of `Case` and `OpCase`.

    Args:
        training: whether the layer is in training mode.
    """

    _: KW_ONLY
    training: bool = True

    @functools.cached_property
    def layer(self) -> Any:
        """The layer that the calls copy."""
        return self.build().train(self.training)

    def draw(self, dtype: Any = np.float64) -> list[Array]:
        """Return the inputs, and after them the parameters."""
        rng = np.random.default_rng(0)
        moved = [x.numpy() + rng.uniform(0.1, 0.3, x.shape) for x in self.layer.parameters]
        return [*super().draw(dtype), *(x.astype(dtype) for x in moved)]

    def bind(self, inputs: Sequence[Any]) -> tuple[Any, list[Tensor]]:
        """Return a copy of the layer that computes with the given parameters, and its inputs."""
        tensors = [x if isinstance(x, Tensor) else Tensor(x) for x in inputs]
        layer = copy.deepcopy(self.layer)
        layer.to(tensors[0].device, next(x.dtype for x in tensors if x.dtype.kind == "f"))
        count = len(tensors) - len(layer.parameters)
        pairs = zip(layer.parameters, tensors[count:], strict=True)
        return copy.deepcopy(layer, {id(old): new for old, new in pairs}), tensors[:count]

    def __call__(self, *inputs: Any) -> Any:
        """Compute on inputs and parameters."""
        layer, given = self.bind(inputs)
        return layer(*given)

    def checks(self) -> Iterator[tuple[str, ...]]:
        """Return the checks: those of a function, then those of a module."""
        yield from super().checks()
        yield from (("modes",), ("empty_batch",), ("conversion",), ("state_dict",))

    def check_modes(self, device: str) -> None:
        """`train` switches; in evaluation, the same input gives the same output and state."""
        layer, inputs = self.bind(self.tensors(self.draw(), device))
        for mode in (True, False):
            layer.train(mode)
            require(layer.training == mode, f"train({mode}) left training={layer.training}")
        before = layer.state_dict()
        _same(layer(*inputs), layer(*inputs))
        for key, value in layer.state_dict().items():
            np.testing.assert_equal(value, before[key], key)

    def check_empty_batch(self, device: str) -> None:
        """A batch of no samples gives an output of no samples."""
        layer, inputs = self.bind(self.tensors(self.draw(), device))
        outputs, empty = flatten(layer(*inputs)), flatten(layer(*(x[:0] for x in inputs)))
        shapes, expected = [y.shape for y in empty], [(0, *y.shape[1:]) for y in outputs]
        require(shapes == expected, f"shapes {shapes} of an empty batch, expected {expected}")

    def check_conversion(self, device: str) -> None:
        """`to` converts the parameters, which stay the same objects."""
        layer = copy.deepcopy(self.layer)
        before = list(layer.parameters)
        layer.to(device, "float64")
        for x, y in zip(layer.parameters, before, strict=True):
            require(x is y and x.dtype == "float64", f"{x.dtype}, the same Tensor: {x is y}")

    def check_state_dict(self, device: str) -> None:
        """The state gives another layer the same output; one that does not fit is refused."""
        layer, inputs = self.bind(self.tensors(self.draw(), device))
        layer(*inputs)  # in training, to move the running statistics
        other = copy.deepcopy(self.layer).to(device, "float64")
        check_state_dict(other, layer.state_dict())
        _same(other.train(False)(*inputs), layer.train(False)(*inputs))


def _same(result: Any, expected: Any) -> None:
    for x, y in zip(flatten(result), flatten(expected), strict=True):
        np.testing.assert_array_equal(x.numpy(), y.numpy())
