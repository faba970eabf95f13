"""Rows of losses and metrics: functions of prediction and target that are made from options."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

import numpy as np

from nn_tensor._tensor import Tensor
from nn_tensor.testing.assertions import assert_close, refusal
from nn_tensor.testing.cases import Array
from nn_tensor.testing.gradcheck import gradcheck
from nn_tensor.testing.ops import BuiltCase

__all__ = ["LossCase", "MetricCase"]


class _OfTarget(BuiltCase):
    """A row of a function of prediction and target."""

    def checks(self) -> Iterator[tuple[str, ...]]:
        """Return the checks."""
        yield from super().checks()
        yield ("shapes",)

    def check_shapes(self, device: str) -> None:
        """Prediction and target are never broadcast: the error shows both shapes."""
        prediction, target = (Tensor(x, device=device) for x in self.draw())
        with refusal(ValueError, "a smaller target", str(prediction.shape), str(target[:1].shape)):
            self.build()(prediction, target[:1])


@dataclass(frozen=True, eq=False)
class LossCase(_OfTarget):
    """A row of a loss: ``function(**options, reduction=...)(prediction, target)``.

    The reference takes prediction and target, in float64, and returns the losses unreduced.

    It also takes the arguments of `Case` and `OpCase`.

    Args:
        weights: a function of prediction and target: by what the sum is divided for the mean;
            by default the number of losses.
    """

    _: KW_ONLY
    weights: Callable[..., Any] | None = None

    def build(self, **options: Any) -> Any:
        """Make a loss, unreduced if `options` say nothing else."""
        return super().build(**{"reduction": "none", **options})

    def __call__(self, *inputs: Any) -> Any:
        """Compute on prediction and target."""
        return self.build()(*(x if isinstance(x, Tensor) else Tensor(x) for x in inputs))

    def checks(self) -> Iterator[tuple[str, ...]]:
        """Return the checks: those of a function, then those of a loss."""
        yield from super().checks()
        yield from (("reduction", "mean"), ("reduction", "sum"))

    def check_reduction(self, reduction: str, device: str) -> None:
        """Sum and mean are those of the unreduced losses, and so are their gradients."""
        inputs = [Tensor(x, device=device) for x in self.draw()]
        reduced, losses = self.build(reduction=reduction), self(*inputs)
        total = losses.sum()
        if reduction == "mean":
            total = total / (self.weights(*self.draw()) if self.weights else losses.size)
        assert_close(reduced(*inputs), total)
        gradcheck(reduced, inputs, self.order, wrt=self.differentiable, step=self.step)


@dataclass(frozen=True, eq=False)
class MetricCase(_OfTarget):
    """A row of a metric: ``function(**options)(prediction, target)``, a number or an array of them.

    The reference takes prediction and target, in float64.

    It also takes the arguments of `Case` and `OpCase`.
    """

    _: KW_ONLY
    wrt: Sequence[int] | None = ()
    half_dtype: ClassVar[str] = "float64"

    def __call__(self, *inputs: Any) -> Any:
        """Return the metric of prediction and target, as a Tensor."""
        return Tensor(np.asarray(self.build()(*inputs), float), Tensor(inputs[0]).device)

    def tensors(self, arrays: Sequence[Any], device: str) -> list[Tensor]:
        """Return the inputs as Tensors, floating ones as leaves that require a gradient."""
        return [Tensor(x, device, requires_grad=x.dtype.kind == "f") for x in arrays]

    def expect(self, *arrays: Array) -> list[Array]:
        """Return what the reference computes, in float64."""
        return super().expect(*(x.astype(float) if x.dtype.kind == "f" else x for x in arrays))
