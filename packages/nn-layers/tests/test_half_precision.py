"""Half precision: sums are accumulated in float32, so that 8192 ones add up to 8192."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from nn_layers.ops.conv2d import conv2d, conv2d_input_gradient, conv2d_weight_gradient
from nn_layers.ops.linear import linear
from nn_layers.ops.normalization import scale_and_shift, standardize
from nn_layers.ops.pooling import avg_pool2d, max_pool2d
from nn_layers.ops.windows import Windows
from nn_tensor import Tensor, grad, ones, pad, use_kernels
from nn_tensor.testing import (
    Check,
    assert_close,
    half_precision_checks,
    kernels_of,
    missing_cases,
)

from .cases_half import HALF
from .test_cases import EXEMPT, NAMES

Ones = Callable[..., Tensor]

# What an operation calls is compared through the operation.
KERNELS = dict.fromkeys(kernels_of("nn_layers"), "a kernel: its operation has rows")


@pytest.mark.parametrize("check", half_precision_checks(HALF), ids=str)
def test_half_precision(check: Check, device: str) -> None:
    check(device)


@pytest.mark.parametrize(
    "check", [c for c in half_precision_checks(HALF) if c.case.name == "batch_norm"], ids=str
)
def test_batch_norm_by_its_reference(check: Check, device: str) -> None:
    """Its sums are those of NumPy, whose rounding errors grow with their number."""
    with use_kernels("reference"):
        check(device)


def test_everything_public_has_a_row() -> None:
    assert missing_cases(NAMES, HALF, {**EXEMPT, **KERNELS}) == []
    assert {case.name for case in HALF} <= NAMES


def _gradients(function: Any, *inputs: Tensor) -> list[Tensor]:
    for x in inputs:
        x.requires_grad = True
    return list(grad(function(*inputs).sum(), inputs))


def _max_unpool2d(one: Ones) -> Tensor:
    """The center is the maximum of all 64×128 windows."""
    windows = Windows((64, 128))
    x = pad(one(1, 1, 1, 1), ((0, 0), (0, 0), (63, 63), (127, 127)))
    x.requires_grad = True
    y = max_pool2d(x, windows)
    return grad(y, x, one(*y.shape)).max()


SUMS: dict[str, Callable[[Ones], Any]] = {
    "linear": lambda one: linear(one(1, 8192), one(8192, 1), one(1) * 0),
    "linear, weights and bias": lambda one: _gradients(linear, one(8192, 1), one(1, 1), one(1))[1:],
    "conv2d": lambda one: conv2d(one(1, 8192, 1, 1), one(1, 8192, 1, 1), 0.0, Windows((1, 1))),
    "conv2d, by rows": lambda one: conv2d(
        one(1, 64, 128, 8), one(1, 64, 128, 1), 0.0, Windows((128, 1))
    ),
    "conv2d_weight_gradient": lambda one: conv2d_weight_gradient(
        one(64, 1, 16, 8), one(64, 1, 16, 8), Windows((1, 1))
    ),
    "conv2d_input_gradient": lambda one: conv2d_input_gradient(
        one(1, 8192, 1, 1), one(8192, 1, 1, 1), (1, 1), Windows((1, 1))
    ),
    "conv2d_input_gradient, strided": lambda one: conv2d_input_gradient(
        one(1, 1, 64, 128), one(1, 1, 128, 128), (254, 255), Windows((128, 128), (2, 1))
    ).max(),
    "max_unpool2d": _max_unpool2d,
    "avg_pool2d": lambda one: avg_pool2d(one(1, 1, 64, 128), Windows((64, 128))) * 8192,
    "scale_and_shift, weights and bias": lambda one: _gradients(
        scale_and_shift, one(8192, 3), one(3), one(3)
    )[1:],
}


@pytest.mark.parametrize("name", SUMS)
def test_ones_add_up(name: str, device: str) -> None:
    def one(*shape: int) -> Tensor:
        return ones(shape, dtype="float16", device=device)

    results = SUMS[name](one)
    for result in results if isinstance(results, list) else [results]:
        assert_close(result, np.full(result.shape, 8192, "float16"), 0, 0)


def test_squares_of_large_values_do_not_overflow(device: str) -> None:
    x = Tensor(np.array([[300, -300, 300, -300]], "float16"), device=device)
    assert_close(standardize(x, (-1,), 0.0), np.array([[1, -1, 1, -1]], "float16"), 0, 0)
