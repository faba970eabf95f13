"""Every implementation of every kernel computes what its reference computes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nn_tensor import Tensor, erf, use_kernels
from nn_tensor.extend import kernel
from nn_tensor.testing import Check, KernelCase, each_check, kernels_of, missing_cases


def _with_infinities(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    """Return random values with one row of -inf, one with a NaN, and some -inf."""
    x = rng.normal(0, 5, shape)
    if x.size > 1000:
        x[rng.random(shape) < 0.1] = -np.inf
        x[0], x[1][..., 3] = -np.inf, np.nan
    return x


KERNELS = kernels_of("nn_tensor")
CASES = [
    KernelCase(KERNELS["erf"], inputs=[((-9, 9), (3, 4))]),
    *(
        KernelCase(
            KERNELS["dropout_mask"],
            None,
            lambda rng, shape=shape, p=p: [shape, str(rng.choice(["f2", "f4", "f8"])), p, (5, 7)],
            f"{shape} {p}",
        )
        for shape in ((), (0, 3), (5,), (3, 7, 11), (4096,))
        for p in (0.0, 0.1, 0.5, 1.0)
    ),
    *(
        KernelCase(
            KERNELS["apply_dropout"],
            None,
            lambda rng, shape=shape, p=p: [rng.normal(size=shape), p, (2**64 - 1, 7)],
            f"{shape} {p}",
            dtypes=("float16", "float32", "float64"),
        )
        for shape in ((), (0, 3), (3, 7, 11))
        for p in (0.1, 1.0)
    ),
    KernelCase(
        KERNELS["mask_by_sign"],
        inputs=[("normal", (3, 4)), ("normal", (3, 4))],
        dtypes=("float16", "float32", "float64"),
    ),
    *(
        KernelCase(
            KERNELS["select"],
            None,
            lambda rng, shape=shape, mask=mask: [
                rng.choice([np.nan, np.inf, -2.0], shape),
                rng.random(mask) < 0.5,
            ],
            label,
            dtypes=("float16", "float32", "float64"),
        )
        for label, shape, mask in (
            ("", (3, 4), (3, 4)),
            ("0-d", (), ()),
            ("empty", (0, 3), (0, 3)),
            ("x broadcasts", (3, 1), (3, 4)),
            ("mask broadcasts", (3, 4), (4,)),
        )
    ),
    *(
        KernelCase(
            KERNELS[name],
            None,
            lambda rng, shape=shape, count=count: [
                np.where(rng.random(shape) < 0.1, np.inf, rng.normal(size=shape))
                for _ in range(count)
            ],
            str(shape),
        )
        for name, count in (("relu_forward", 1), ("mask_by_sign", 2))
        for shape in ((), (0, 3), (3, 5), (3, 50_001))
    ),
    *(
        KernelCase(
            KERNELS[name],
            None,
            lambda rng, shape=shape, count=count, axis=axis: [
                *([_with_infinities(rng, shape)] if count == 1 else rng.normal(size=(2, *shape))),
                axis,
            ],
            f"{shape} {axis}",
            tolerances={"float32": 1e-5, "float64": 1e-12},
        )
        for name, count in (("softmax_forward", 1), ("softmax_backward", 2))
        for shape, axis in (
            ((0, 3), 1),
            ((3, 5), 0),
            ((3, 5), -1),
            ((70, 101), 1),
            ((4, 30, 70), 1),
            ((3, 2, 5001), 2),
        )
    ),
    KernelCase(
        KERNELS["add_at"],
        inputs=[np.zeros((5, 3)), np.array([0, 4, 0, -1]), ("normal", (4, 3))],
    ),
]


def test_every_kernel_has_a_row() -> None:
    assert missing_cases(KERNELS, CASES) == []


@pytest.mark.parametrize("check", each_check(CASES), ids=str)
def test_case(check: Check, device: str) -> None:
    check(device)


_CHOICE = """
import sys
import numpy as np
from nn_tensor import use_kernels
from nn_tensor.extend import kernel

@kernel
def double(xp, x):
    return "reference"

@double.cpu
def _(x):
    return "cpu"

if sys.argv[1] == "without":
    sys.modules["numba"] = None
print(double(np, 1))
with use_kernels("reference"):
    print(double(np, 1))
    with use_kernels("auto"):
        print(double(np, 1))
"""


@pytest.mark.parametrize("numba", ["with", "without"])
def test_choice(numba: str, tmp_path: Path) -> None:
    if numba == "with":
        pytest.importorskip("numba", reason="numba compiles the implementation")
    script = tmp_path / "choice.py"  # a file, as numba keeps what it compiles beside it
    script.write_text(_CHOICE)
    done = subprocess.run(
        [sys.executable, str(script), numba], capture_output=True, text=True, check=True
    )
    auto = "cpu" if numba == "with" else "reference"
    assert done.stdout.split() == [auto, "reference", auto]


def test_compiled_implementation() -> None:
    pytest.importorskip("numba")

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


def test_reassociated_sums_keep_nan_and_infinity() -> None:
    pytest.importorskip("numba")

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
