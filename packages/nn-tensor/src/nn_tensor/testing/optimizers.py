"""Rows of optimizers: trajectories, exact resume, state."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

import numpy as np

from nn_tensor._kernel import use_kernels
from nn_tensor._tensor import Tensor
from nn_tensor.testing.assertions import assert_close, check_state_dict, require
from nn_tensor.testing.cases import Array, Case
from nn_tensor.testing.half_precision import MANY, assert_close_in_half

__all__ = ["OptimizerCase"]

_SHAPES = [(3, 4), (), (0, 3), (5,)]
_STEPS = 5


@dataclass(frozen=True, eq=False)
class OptimizerCase(Case):
    """A row of an optimizer: ``function(parameters, **options)``.

    The reference, ``f(x, gradients, **options)``, takes one parameter and a list with the gradient
    of each step, in float64, and returns the parameter after the last.

    It also takes the arguments of `Case`.

    Args:
        dtypes: the dtypes of the parameters.
        tolerances: the relative and absolute error allowed after five steps, by dtype.
        new_options: the options that state dicts of earlier versions lack.
    """

    _: KW_ONLY
    invalid: Mapping[str, Sequence[Any]] = field(
        default_factory=lambda: {"lr": (-0.1, np.nan, np.inf, "fast")}
    )
    dtypes: Sequence[str] = ("float16", "float32", "float64")
    tolerances: Mapping[str, float] = field(
        default_factory=lambda: {"float16": 5e-3, "float32": 1e-5, "float64": 1e-12}
    )
    new_options: Sequence[str] = ()

    def build(self, parameters: Sequence[Tensor] | None = None, **options: Any) -> Any:
        """Make an optimizer."""
        parameters = parameters or [Tensor(np.ones(2), requires_grad=True)]
        return self.function(parameters, **{**self.options, **options})

    def draw(self, dtype: Any = np.float64) -> list[Array]:
        """Return the values of some parameters, of several shapes."""
        rng = np.random.default_rng(0)
        return [np.asarray(rng.normal(size=shape)).astype(dtype) for shape in _SHAPES]

    def gradients(self, dtype: Any) -> list[list[Array]]:
        """Return the gradients of each step."""
        rng = np.random.default_rng(1)
        return [[np.asarray(rng.normal(size=s), dtype) for s in _SHAPES] for _ in range(_STEPS)]

    def run(
        self, arrays: Sequence[Any], steps: slice, dtype: str, device: str, state: Any = None
    ) -> tuple[list[Array], dict[str, Any]]:
        """Do some of the steps, from a state; return parameters and state after them."""
        parameters: list[Any] = [
            Tensor(x.copy(), device=device, requires_grad=True) for x in arrays
        ]
        optimizer = self.build(parameters)
        if state is not None:
            optimizer.load_state_dict(state)
        for gradients in self.gradients(dtype)[steps]:
            for x, g in zip(parameters, gradients, strict=True):
                x.grad = Tensor(g.copy(), device=device)
            optimizer.step()
            for x, g in zip(parameters, gradients, strict=True):
                np.testing.assert_array_equal(x.grad.numpy(), g, "a step changed a gradient")
        return [x.numpy() for x in parameters], optimizer.state_dict()

    def checks(self) -> Iterator[tuple[str, ...]]:
        """Return the checks."""
        for dtype in self.dtypes:
            if self.reference is not None:
                yield "trajectory", dtype
            yield "exact_resume", dtype
        yield from (("state_dict",), ("missing_gradient",))
        yield from super().checks()

    def check_trajectory(self, dtype: str, device: str) -> None:
        """Several steps do what the reference does, with each implementation of the kernels."""
        tolerance = self.tolerances[dtype]
        for choice in ("auto", "reference"):
            with use_kernels(choice):
                after, _ = self.run(self.draw(dtype), slice(None), dtype, device)
            for x, before, *steps in zip(
                after, self.draw(dtype), *self.gradients(dtype), strict=True
            ):
                gradients = [g.astype(float) for g in steps]
                expected = self.reference(before.astype(float), gradients, **self.options)
                assert_close(x, np.asarray(expected, dtype), tolerance, tolerance)

    def check_exact_resume(self, dtype: str, device: str) -> None:
        """Training that continues from a pickled state is the same bit for bit."""
        expected, _ = self.run(self.draw(dtype), slice(None), dtype, device)
        halfway, state = self.run(self.draw(dtype), slice(2), dtype, device)
        state = pickle.loads(pickle.dumps(state))
        after, _ = self.run(halfway, slice(2, None), dtype, device, state)
        for x, y in zip(after, expected, strict=True):
            np.testing.assert_array_equal(x, y)

    def check_state_dict(self, device: str) -> None:
        """A state with a key too few or too many is refused, and changes nothing."""
        arrays, state = self.run(self.draw(), slice(2), "float64", device)
        parameters = [Tensor(x, device=device, requires_grad=True) for x in arrays]
        new = tuple(f".{name}" for name in self.new_options)
        check_state_dict(self.build(parameters), state, lambda key: key.endswith(new))

    def check_half_precision(self, device: str) -> None:
        """Parameters in float16 take the steps of float32 ones, whatever the size of gradients.

        A step of float16 rounds each parameter once, to half a unit in its last place, a relative
        error of 2 ** -11. State in float16 would lose gradients below 2e-4, whose squares are 0
        there, and an epsilon of 1e-8.
        """
        rng = np.random.default_rng(2)
        shape = (MANY,)
        start = rng.uniform(0.5, 1, shape).astype(np.float16)
        sizes = 10.0 ** rng.uniform(-6, 1, shape)
        steps = [(sizes * rng.uniform(0.5, 1, shape)).astype(np.float16) for _ in range(_STEPS)]
        found = []
        for dtype in (np.float16, np.float32):
            x = Tensor(start.astype(dtype), device=device, requires_grad=True)
            optimizer = self.build([x])
            for g in steps:
                x.grad = Tensor(g.astype(dtype), device=device)
                optimizer.step()
            found.append(x.numpy())
        half, exact = found
        require(half.dtype == np.float16, f"the parameter became {half.dtype}")
        assert_close_in_half(half, exact, _STEPS * 2.0**-11, "parameter")

    def check_missing_gradient(self, device: str) -> None:
        """A parameter without a gradient stays as it is."""
        x, y = (Tensor(np.ones(3), device=device, requires_grad=True) for _ in range(2))
        x.grad = Tensor(np.ones(3), device=device)
        self.build([x, y]).step()
        np.testing.assert_array_equal(y.numpy(), np.ones(3))
