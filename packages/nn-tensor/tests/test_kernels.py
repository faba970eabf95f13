"""Every implementation of every kernel computes what its reference computes."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from typing import Any

import nn_tensor
import numpy as np
import pytest
from nn_tensor import Tensor, erf, use_kernels
from nn_tensor._kernel import _has_numba
from nn_tensor.extend import Kernel, kernel, put
from nn_tensor.testing import assert_close


def find_kernels() -> dict[str, Kernel]:
    found = {}
    for module in pkgutil.walk_packages(nn_tensor.__path__, "nn_tensor."):
        if module.name != "nn_tensor._pytest":
            for name, value in vars(importlib.import_module(module.name)).items():
                if isinstance(value, Kernel):
                    found[name] = value
    return found


KERNELS = find_kernels()

# Arguments for each kernel; what it returns, or else its first argument, is compared.
ARGUMENTS: dict[str, Callable[[np.random.Generator], tuple[Any, ...]]] = {
    "erf": lambda rng: (rng.normal(size=(3, 4)) * 3,),
    "add_at": lambda rng: (
        np.zeros((5, 3)), np.array([0, 4, 0, -1]), rng.normal(size=(4, 3)),
    ),
}  # fmt: skip


def test_every_kernel_has_a_row() -> None:
    assert set(KERNELS) == set(ARGUMENTS)


def run(
    implementation: Callable[..., Any], leading: tuple[Any, ...], name: str, device: str
) -> Any:
    arguments = ARGUMENTS[name](np.random.default_rng(0))
    placed = [
        put(x, nn_tensor.parse_device(device)) if isinstance(x, np.ndarray) else x
        for x in arguments
    ]
    result = implementation(*leading, *placed)
    return Tensor(placed[0] if result is None else result).numpy()


@pytest.mark.parametrize("name", KERNELS)
def test_columns_equal_the_reference(name: str, device: str) -> None:
    chosen = KERNELS[name]
    expected = run(chosen.reference, (np,), name, "cpu")
    if device == "cpu":
        if chosen.cpu_implementation is None:
            assert_close(run(chosen, (np,), name, "cpu"), expected)
            return
        pytest.importorskip("numba", reason="numba compiles this implementation")
        assert_close(run(chosen, (np,), name, "cpu"), expected)
    else:
        import cupy

        assert_close(run(chosen.reference, (cupy,), name, device), expected)
        if chosen.cuda_implementation is not None:
            assert_close(run(chosen.cuda_implementation, (cupy,), name, device), expected)


def test_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    @kernel
    def double(xp: Any, x: Any) -> Any:
        return "reference"

    @double.cpu
    def _(x: Any) -> Any:
        return "cpu"

    monkeypatch.setattr("nn_tensor._kernel._has_numba", lambda: True)
    monkeypatch.setattr("nn_tensor._kernel._compile", lambda function, reassociate: function)
    assert double(np, 1) == "cpu"
    with use_kernels("reference"):
        assert double(np, 1) == "reference"
        with use_kernels("auto"):
            assert double(np, 1) == "cpu"
    monkeypatch.setattr("nn_tensor._kernel._has_numba", lambda: False)
    assert double(np, 1) == "reference"


@pytest.mark.skipif(not _has_numba(), reason="numba is not installed")
def test_compiled_column() -> None:
    @kernel
    def total(xp: Any, x: Any) -> Any:
        return x.sum()

    @total.cpu
    def _(x: Any) -> Any:
        result = 0.0
        for value in x:
            result += value
        return result

    assert total(np, np.arange(4.0)) == 6


def test_operation_under_the_reference() -> None:
    with use_kernels("reference"):
        assert erf(Tensor([0.0])).item() == 0


@pytest.mark.skipif(not _has_numba(), reason="numba is not installed")
def test_reassociated_sums_keep_nan_and_infinity() -> None:
    @kernel
    def total(xp: Any, x: Any) -> Any:
        return x.sum()

    @total.cpu(reassociate=True)
    def _(x: Any) -> Any:
        result = 0.0
        for i in range(x.size):
            result += x[i]
        return result

    x = np.random.default_rng(0).standard_normal(1000)
    np.testing.assert_allclose(total(np, x), x.sum(), rtol=1e-12)
    x[7] = np.inf
    assert total(np, x) == np.inf
    x[500] = np.nan
    assert np.isnan(total(np, x))
