"""The checks of half precision find sums, counts and state in float16."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from nn_tensor import Tensor, no_grad
from nn_tensor.extend import accumulation_dtype, op
from nn_tensor.testing import MANY, OpCase, OptimizerCase, half_precision_checks
from nn_tensor.testing.half_precision import assert_close_in_half


@op
def right_sum(xp: Any, x: Any, /) -> Any:
    return xp.sum(x, axis=0, dtype=accumulation_dtype(x.dtype)).astype(x.dtype)


@right_sum.gradient("x")
def _(g: Any) -> Any:
    return g


@op
def sum_in_half(xp: Any, x: Any, /) -> Any:
    return xp.add.reduce(x, axis=0)


@sum_in_half.gradient("x")
def _(g: Any) -> Any:
    return g


@op
def share_by_a_count_in_half(xp: Any, x: Any, /) -> Any:
    return (xp.sum(x, axis=0, dtype=float) / len(x)).astype(x.dtype)


@share_by_a_count_in_half.gradient("x")
def _(g: Any, x_shape: tuple[int, ...]) -> Any:
    with np.errstate(over="ignore"):
        return g / np.asarray(x_shape[0], g.dtype)


@op
def shift(xp: Any, x: Any, bias: Any, /) -> Any:
    return x + bias


@shift.gradient("x")
def _(g: Any) -> Any:
    return g


@shift.gradient("bias")
def _(g: Any) -> Any:
    return np.add.reduce(g, axis=0)


def in_double(x: Any) -> Any:
    return right_sum(x).astype("float64")


COLUMNS = [((0.0, 1.0), (MANY, 2))]


@pytest.mark.parametrize(
    ("function", "inputs", "message"),
    [
        (right_sum, COLUMNS, None),
        (sum_in_half, COLUMNS, "result 0: .*2048"),
        (share_by_a_count_in_half, COLUMNS, "gradient 0: .* 0, in float64"),
        (shift, [*COLUMNS, ((0.0, 1.0), (2,))], "gradient 1"),
        (in_double, COLUMNS, "result 0: float64, expected float16"),
    ],
    ids=["right", "sum", "count", "bias", "dtype"],
)
def test_ops(function: Callable[..., Any], inputs: Any, message: str | None) -> None:
    (check,) = half_precision_checks([OpCase(function, None, inputs)])
    if message is None:
        check()
    else:
        with pytest.raises(AssertionError, match=message):
            check()


class Adagrad:
    """An optimizer whose state has a chosen dtype."""

    state_dtype: str | None = "float32"

    def __init__(self, parameters: list[Tensor], lr: float = 0.1) -> None:
        self.parameters, self.lr = parameters, lr
        self.state = [
            np.zeros(x.shape, self.state_dtype or x.dtype)  # type: ignore[arg-type]
            for x in parameters
        ]

    @no_grad()
    def step(self) -> None:
        for x, total in zip(self.parameters, self.state, strict=True):
            g = x.grad.numpy().astype(total.dtype)
            total += g * g
            with np.errstate(divide="ignore", invalid="ignore"):
                x[...] = x.numpy() - (self.lr * g / (np.sqrt(total) + total.dtype.type(1e-8)))


class InHalf(Adagrad):
    state_dtype = None


def test_optimizers() -> None:
    right, wrong = half_precision_checks([OptimizerCase(k) for k in (Adagrad, InHalf)])
    right()
    with pytest.raises(AssertionError, match="parameter"):
        wrong()


def test_values_beyond_the_range_are_infinite() -> None:
    exact = np.array([1.0, 1e5, -1e5, np.nan])
    assert_close_in_half(np.array([1, np.inf, -np.inf, np.nan], "f2"), exact, 2e-3, "y")
    for wrong in ([1, 1, -np.inf, np.nan], [1, np.inf, np.inf, np.nan], [1, np.inf, -np.inf, 0]):
        with pytest.raises(AssertionError, match="y: 1 of 4"):
            assert_close_in_half(np.array(wrong, "f2"), exact, 2e-3, "y")
    with pytest.raises(AssertionError, match="y"):
        assert_close_in_half(np.array([1, 2]), np.array([1, 3]), 1.0, "y")


def test_rows_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="labels"):
        half_precision_checks([OpCase(right_sum, None, COLUMNS)] * 2)
