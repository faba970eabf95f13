"""Rows of metrics: functions of prediction and target whose results are plain numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np

from nn_tensor._tensor import Tensor
from nn_tensor.testing.assertions import assert_close, refusal
from nn_tensor.testing.cases import Case
from nn_tensor.testing.ops import LAYOUTS, change_layout

__all__ = ["MetricCase"]


@dataclass(frozen=True, eq=False)
class MetricCase(Case):
    """A row of a metric: ``function(**options)(prediction, target)``, a number or an array of them.

    The reference takes prediction and target, in float64.

    Args:
        dtypes: of the floating inputs.
    """

    _: KW_ONLY
    dtypes: Sequence[str] = ("float16", "float32", "float64")

    def tensors(self, dtype: Any, device: str) -> list[Tensor]:
        """Return the inputs as Tensors, floating ones as leaves that require a gradient."""
        arrays = self.draw(dtype)
        return [Tensor(x, device=device, requires_grad=x.dtype.kind == "f") for x in arrays]

    def check(self, *inputs: Any) -> None:
        """Raise unless the metric of the inputs is that of the reference."""
        arrays = [Tensor(x).numpy() for x in inputs]
        exact = [x.astype(float) if x.dtype.kind == "f" else x for x in arrays]
        assert_close(self.build()(*inputs), self.reference(*exact), 1e-12, 1e-12)

    def checks(self) -> Iterator[tuple[str, ...]]:
        """Return the checks."""
        yield from (("forward", dtype) for dtype in self.dtypes)
        yield from (("inputs_unchanged",), ("shapes",))
        yield from (("memory_layout", layout) for layout in LAYOUTS)
        yield from super().checks()

    def check_forward(self, dtype: str, device: str) -> None:
        """Tensors and arrays give what the reference gives."""
        tensors = self.tensors(dtype, device)
        self.check(*tensors)
        self.check(*(x.data for x in tensors))

    def check_inputs_unchanged(self, device: str) -> None:
        """Inputs stay as they are: read-only arrays will do."""
        arrays = [x.data for x in self.tensors(float, device)]
        for x in arrays:
            if isinstance(x, np.ndarray):
                x.flags.writeable = False
        self.check(*arrays)
        for x, expected in zip(arrays, self.draw(), strict=True):
            np.testing.assert_array_equal(Tensor(x).numpy(), expected)

    def check_memory_layout(self, layout: str, device: str) -> None:
        """Inputs that are not contiguous give the same."""
        arrays = [x.data for x in self.tensors(float, device)]
        self.check(*(change_layout(layout, x) for x in arrays))

    def check_shapes(self, device: str) -> None:
        """Prediction and target are never broadcast: the error shows both shapes."""
        prediction, target = self.tensors(float, device)
        with refusal(ValueError, "a smaller target", str(prediction.shape), str(target[:1].shape)):
            self.build()(prediction, target[:1])
