"""The kind of row that the tables of ops have: a row of an op, and its namesake in PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np
import pytest
from nn_tensor import Tensor
from nn_tensor.testing import OpCase, assert_close

__all__ = ["Row"]


@dataclass(frozen=True, eq=False)
class Row(OpCase):
    """A row with the name of the function in PyTorch, or a function of torch and the inputs."""

    _: KW_ONLY
    torch: str | Callable[..., Any] | None = None

    def checks(self) -> Iterator[tuple[str, ...]]:
        yield from super().checks()
        if self.torch and self.differentiable:
            yield ("pytorch",)

    def check_pytorch(self, device: str) -> None:
        """Values and gradients equal those of PyTorch."""
        torch = pytest.importorskip("torch")
        arrays, wrt = self.draw(), self.differentiable
        ours = self.tensors(arrays, device)
        theirs = [torch.tensor(x, requires_grad=i in wrt) for i, x in enumerate(arrays)]
        y = self(*ours)
        if isinstance(self.torch, str):
            function: Any = torch
            for name in self.torch.split("."):
                function = getattr(function, name)
            z = function(*theirs, **self.options)
        else:
            z = self.torch(torch, *theirs)
        assert_close(y, z.detach().numpy(), rtol=1e-12, atol=1e-12)
        weights = np.random.default_rng(2).normal(size=y.shape)
        y.backward(Tensor(weights, device=device))
        z.backward(torch.tensor(weights))
        for i in wrt:
            gradient = theirs[i].grad  # None of some functions of nothing
            expected = np.zeros(arrays[i].shape) if gradient is None else gradient.numpy()
            assert_close(ours[i].grad, expected, rtol=1e-9, atol=1e-12)
