"""Rows of kernels: every implementation computes what the reference computes."""

from __future__ import annotations

import importlib.util
import unittest
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

import numpy as np

from nn_tensor._device import parse_device
from nn_tensor._tensor import Tensor
from nn_tensor.extend import leaves_of, put, xp_for
from nn_tensor.testing.assertions import assert_close
from nn_tensor.testing.cases import Array, Case

__all__ = ["KernelCase"]


@dataclass(frozen=True, eq=False)
class KernelCase(Case):
    """A row of a kernel: ``function(xp, *inputs)``, compared with its own reference.

    What is compared is what the kernel returns, and the arrays it was given, as it may write
    into them. On the CPU the compiled implementation is compared, on CUDA the implementation for
    CUDA and the reference on CuPy.

    It also takes the arguments of `Case`.

    Args:
        dtypes: the dtypes of the floating arguments.
        tolerances: the relative and absolute error allowed, by dtype.
    """

    _: KW_ONLY
    dtypes: Sequence[str] = ("float32", "float64")
    tolerances: Mapping[str, float] = field(default_factory=dict)

    def compute(self, function: Callable[..., Any], dtype: str, device: str) -> list[Array]:
        """Return what a function with the signature of the kernel returns and writes."""
        target = parse_device(device)
        placed = [put(x, target) if isinstance(x, np.ndarray) else x for x in self.draw(dtype)]
        results = [x for x in leaves_of(function(xp_for(target), *placed)) if x is not None]
        written = [x for x in placed if hasattr(x, "dtype")]
        # a compiled implementation returns a scalar as a number of Python
        arrays = [x if hasattr(x, "dtype") else np.asarray(x) for x in (*results, *written)]
        return [Tensor(x).numpy() for x in arrays]

    def checks(self) -> Iterator[tuple[str, ...]]:
        """Return the checks."""
        yield from (("implementations", dtype) for dtype in self.dtypes)

    def check_implementations(self, dtype: str, device: str) -> None:
        """Each implementation for a device computes what the reference does on the CPU."""
        kernel: Any = self.function
        expected = self.compute(kernel.reference, dtype, "cpu")
        if device == "cpu" and kernel.cpu_implementation and not importlib.util.find_spec("numba"):
            raise unittest.SkipTest("could not import 'numba', which compiles the implementation")
        tolerance = self.tolerances.get(dtype)
        for function in (kernel, kernel.reference):
            results = self.compute(function, dtype, device)
            for i, (x, y) in enumerate(zip(results, expected, strict=True)):
                assert_close(x, y, tolerance, tolerance, name=f"result {i}")
