"""Half precision accumulates in float32: sums of ones beyond 2048, counts beyond 65,504."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import nn_tensor as nn
import numpy as np
import pytest
from nn_tensor import Tensor, grad
from nn_tensor.testing import Check, half_precision_checks, missing_cases

from .cases_half import HALF
from .test_cases import EXEMPT, LINALG_NAMES, NAMES

MANY = 70_000  # more than the largest number of float16
H = "float16"


@pytest.mark.parametrize("check", half_precision_checks(HALF), ids=str)
def test_half_precision(check: Check, device: str) -> None:
    check(device)


def test_every_operation_has_a_row() -> None:
    assert missing_cases(NAMES | LINALG_NAMES, HALF, EXEMPT) == []
    assert {case.name for case in HALF} <= NAMES | LINALG_NAMES


def ones(*shape: int, device: str, requires_grad: bool = False) -> Tensor:
    return nn.ones(shape, dtype=H, device=device, requires_grad=requires_grad)


@pytest.mark.parametrize("axis", [0, 1, 2, (0, 2), None])
def test_sum_counts_ones_along_every_axis(axis: Any, device: str) -> None:
    shape = [3, 2, 3]
    shape[axis if isinstance(axis, int) else 0] = 8192
    x = ones(*shape, device=device)
    total = x.sum(axis=axis)
    expected = np.ones(shape).sum(axis=axis).astype(H)
    assert total.dtype == H
    np.testing.assert_array_equal(total.numpy(), expected)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("function", [nn.mean, nn.var, nn.std], ids=["mean", "var", "std"])
def test_moments_of_many(function: Callable[..., Tensor], axis: int, device: str) -> None:
    values = np.random.default_rng(0).normal(2, 1, (MANY, 2) if axis == 0 else (2, MANY)).astype(H)
    x = Tensor(values, device=device, requires_grad=True)
    wide = Tensor(values.astype(np.float64), device=device, requires_grad=True)
    y, expected = function(x, axis=axis), function(wide, axis=axis)
    assert y.dtype == H
    np.testing.assert_allclose(y.numpy(), expected.numpy(), rtol=1e-3)
    g = grad(y.sum(), x).numpy().astype(float)
    # gradients this small are subnormal in float16, with steps of 6e-8
    np.testing.assert_allclose(g, grad(expected.sum(), wide).numpy(), rtol=2e-2, atol=1e-7)
    assert np.abs(g).max() > 1e-5


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_softmax_sums_to_one_along_every_axis(axis: int, device: str) -> None:
    shape = [2, 2, 2]
    shape[axis] = 4096
    x = nn.zeros(shape, dtype=H, device=device)
    for y in (nn.softmax(x, axis), nn.exp(nn.log_softmax(x, axis))):
        assert y.dtype == H
        np.testing.assert_allclose(y.numpy().astype(float).sum(axis), 1, rtol=4e-3)
    total = nn.logsumexp(x, axis)
    assert total.dtype == H
    np.testing.assert_allclose(total.numpy(), np.log(4096), rtol=1e-3)


def test_cumsum_goes_beyond_2048(device: str) -> None:
    total = nn.cumsum(ones(8192, 2, device=device), axis=0)
    assert total.dtype == H
    assert total[-1].tolist() == [8192, 8192]


@pytest.mark.parametrize("shape", [(3,), (1, 3), ()])
def test_gradient_that_undoes_broadcasting(shape: tuple[int, ...], device: str) -> None:
    x = ones(*shape, device=device, requires_grad=True)
    (x + nn.zeros((8192, 3), dtype=H, device=device)).sum().backward()
    assert x.grad.dtype == H
    assert x.grad.numpy().max() == (8192 if shape else 24576)
    assert nn.unbroadcast_grad(np.ones((8192, 3), H), (3,)).tolist() == [8192] * 3


def test_gradients_of_repeated_indices(device: str) -> None:
    x = ones(3, 2, device=device, requires_grad=True)
    rows = nn.zeros(8192, dtype=int, device=device)
    for read in (lambda: x[rows], lambda: nn.take(x, rows, 0)):
        assert grad(read().sum(), x).tolist() == [[8192, 8192], [0, 0], [0, 0]]
    assert grad(x[rows, rows].sum(), x).tolist() == [[8192, 0], [0, 0], [0, 0]]
    columns = nn.zeros((3, 8192), dtype=int, device=device)
    wide = ones(3, 8192, device=device, requires_grad=True)
    assert grad(nn.gather(wide, columns, 1).sum(), wide)[:, 0].tolist() == [8192] * 3
    total = nn.scatter_add(nn.zeros((1, 8192), dtype=H, device=device), columns[:1], 1.0)
    assert total[0, 0].item() == 8192


def test_products_accumulate_wide(device: str) -> None:
    x = ones(1, 8192, device=device)
    assert (x @ x.T).tolist() == [[8192]]
    assert nn.einsum("ij,ij->", x, x).tolist() == 8192
    assert nn.einsum("ji,ji->", x.T, x.T).tolist() == 8192
