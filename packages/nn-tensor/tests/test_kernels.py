"""Every implementation of every kernel computes what its reference computes."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nn_tensor import Tensor, erf, use_kernels
from nn_tensor.extend import (
    Device,
    add_at,
    is_large_product,
    kernel,
    matrix_product,
    refuse_compiled_kernels,
    xp_for,
)
from nn_tensor.ops.activations import mask_by_sign, relu_forward
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
    *(
        KernelCase(
            KERNELS[name],
            None,
            lambda rng, shape=shape, name=name: [
                rng.normal(size=shape[:2]),
                rng.normal(size=(shape[2], shape[1])).T,
                *([rng.normal(size=shape[2])] if name == "_large_linear" else []),
            ],
            str(shape),
            tolerances={"float32": 2e-5, "float64": 1e-12},
        )
        for name in ("_large_product", "_large_linear")
        for shape in ((3, 4, 5), (33, 500, 65), (300, 20, 70))
    ),
    *(
        KernelCase(
            KERNELS["add_large"],
            None,
            lambda rng, shape=shape: [*rng.normal(size=(2, *shape)), None],
            str(shape),
            dtypes=("float16", "float32", "float64"),
            tolerances=dict.fromkeys(("float16", "float32", "float64"), 0),
        )
        for shape in ((), (0, 3), (3, 5), (3, 50_001))
    ),
    KernelCase(
        KERNELS["add_at"],
        inputs=[np.zeros((5, 3)), np.array([0, 4, 0, -1]), ("normal", (4, 3))],
        dtypes=("float16", "float32", "float64"),
    ),
    *(
        KernelCase(
            KERNELS["add_at"],
            None,
            lambda rng, length=length, row=row, shape=shape: [
                rng.normal(size=(length, *row)),
                rng.integers(-length, length, shape),
                rng.normal(size=(*shape, *row)),
            ],
            f"{length} {row} {shape}",
            tolerances={"float32": 1e-4, "float64": 1e-12},
        )
        for length, row, shape in (
            (5, (), (70,)),
            (7, (2, 70), (3, 11)),
            (3, (131,), (100,)),
            (2, (1,), (9000,)),
            (2, (2,), (9000,)),
            (5, (300,), (3, 70)),
            (200, (33,), (600,)),
            (4, (3,), (0,)),
            (4, (0,), (3,)),
        )
    ),
]


def test_every_kernel_has_a_row() -> None:
    assert missing_cases(KERNELS, CASES) == []


@pytest.mark.parametrize("check", each_check(CASES), ids=str)
def test_case(check: Check, device: str) -> None:
    check(device)


@pytest.mark.parametrize("size", [1, 16383, 16384, 32768, 40_000, 131_072])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_relu_of_many_elements(size: int, dtype: str) -> None:
    x = np.random.default_rng(size).normal(size=size).astype(dtype)
    x[::5], x[-1], x[size // 2] = np.nan, -np.inf, np.inf
    for given in (x, x[::-1], x.reshape(-1, 1)):
        out = relu_forward.reference(np, given)
        np.testing.assert_array_equal(out, np.maximum(given, 0), strict=True)
        assert out.base is None


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "longdouble"])
def test_gradient_of_relu_of_many_elements(dtype: str) -> None:
    rng = np.random.default_rng(0)
    g, y = rng.normal(size=(2, 150_000)).astype(dtype)
    y[::3], y[::5], y[::7], y[::11], g[::13], g[::17] = 0, -0.0, np.nan, np.inf, np.inf, np.nan
    wanted = np.where(y > 0, g, 0)
    for x, out in ((g, y), (g.reshape(300, 500), y.reshape(300, 500)), (g[::-1], y[::-1])):
        found = mask_by_sign.reference(np, x, out)
        like = wanted[::-1] if x.strides[0] < 0 else wanted.reshape(x.shape)
        np.testing.assert_array_equal(found, like, strict=True)
        assert found.base is None


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_sums_of_many_elements(dtype: str, device: str) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(3, 400, 500)).astype(dtype)
    x, y, z = (Tensor(a, requires_grad=True, device=device) for a in values)
    for given in ((x, y), (x, y.T.reshape(400, 500)), (x, z[0]), (x[:, :1], y), (x, 2)):
        wanted = np.add(*(a.numpy() if isinstance(a, Tensor) else a for a in given))
        np.testing.assert_array_equal(sum(given[1:], given[0]).numpy(), wanted, strict=True)
    with pytest.raises(ValueError, match="add"):
        x + y.reshape(500, 400)
    first, second, third = rng.normal(size=(3, 400, 500)).astype(dtype)
    (x * first + x * second + x * third + (x + x)).sum().backward()
    wanted = np.add(np.add(first, second, dtype=dtype), third, dtype=dtype) + np.asarray(2, dtype)
    tolerance = {"float16": 1e-2, "float32": 1e-6, "float64": 1e-14}[dtype]
    np.testing.assert_allclose(x.grad.numpy(), wanted, rtol=0, atol=10 * tolerance)
    for given, array in zip((x, y, z), values, strict=True):
        np.testing.assert_array_equal(given.numpy(), array)


class TestAddAt:
    """On CUDA rows are added in their order, so that every run gives the same bits."""

    pytestmark = pytest.mark.cuda

    @staticmethod
    def add_at(target: Any, index: Any, values: Any) -> Any:
        """Return what the kernel makes of the target on CUDA."""
        xp = xp_for(Device("cuda"))
        result = xp.asarray(target)
        add_at(xp, result, xp.asarray(index), xp.asarray(values))
        return xp.asnumpy(result)

    @staticmethod
    def loop(target: Any, index: Any, values: Any) -> Any:
        """Return what a loop makes of the target."""
        result = target.copy()
        for place, value in zip(index, values, strict=True):
            result[place] += value
        return result

    @pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
    @pytest.mark.parametrize(("positions", "count"), [(1, 1), (33, 5), (300, 140), (8200, 2)])
    def test_sums_are_those_of_a_loop(self, dtype: str, positions: int, count: int) -> None:
        rng = np.random.default_rng(positions)
        values = (rng.normal(size=(positions, count)) * 10.0 ** rng.integers(-3, 4)).astype(dtype)
        if np.dtype(dtype).kind == "c":
            values += np.asarray(1j, dtype) * rng.permutation(values)
        index = rng.integers(-7, 7, positions)
        index[::3] = 2
        target = rng.normal(size=(7, count)).astype(dtype)
        result = self.add_at(target, index, values)
        np.testing.assert_array_equal(result, self.loop(target, index, values), strict=True)

    def test_half_precision_is_rounded_once(self) -> None:
        rng = np.random.default_rng(0)
        values = rng.normal(size=(5000, 3)).astype(np.float16)
        index = rng.integers(0, 2, 5000)
        expected = self.loop(np.zeros((2, 3), np.float32), index, values.astype(np.float32))
        result = self.add_at(np.zeros((2, 3), np.float16), index, values)
        np.testing.assert_array_equal(result, expected.astype(np.float16), strict=True)

    @pytest.mark.parametrize(
        ("index", "dtype"),
        [
            *itertools.product([[[-1, 0], [-1, -1]], [127, -128]], ["int8", "int32", "int64"]),
            *itertools.product([[255, 0, 255]], ["uint8", "int16", "uint64"]),
        ],
        ids=str,
    )
    def test_types_of_indices(self, index: Any, dtype: str) -> None:
        places = np.array(index, dtype)
        target, values = np.zeros((256, 2), np.float32), np.ones((*places.shape, 2), np.float32)
        expected = target.copy()
        np.add.at(expected, places, values)
        np.testing.assert_array_equal(self.add_at(target, places, values), expected)

    @pytest.mark.parametrize("index", [7, -8, 2**40, -(2**40), 2**63 - 1, -(2**63)])
    def test_nothing_is_written_outside_of_the_target(self, index: int) -> None:
        """As in CuPy, an index out of bounds counts modulo the length."""
        xp = xp_for(Device("cuda"))
        memory = xp.zeros((21, 5), np.float32)
        add_at(xp, memory[7:14], xp.asarray([index, 2]), xp.ones((2, 5), np.float32))
        expected = np.zeros((21, 5), np.float32)
        for place in (index % 7, 2):
            expected[7 + place] += 1
        np.testing.assert_array_equal(xp.asnumpy(memory), expected)

    def test_target_of_another_layout(self) -> None:
        xp = xp_for(Device("cuda"))
        target = xp.zeros((3, 8), np.float32).T[::2]
        add_at(xp, target, xp.asarray([1, 1, 3]), xp.asarray(np.float32(2.0)))
        expected = [[0, 0, 0], [4, 4, 4], [0, 0, 0], [2, 2, 2]]
        np.testing.assert_array_equal(xp.asnumpy(target), expected)


_CHOICE = """
import sys
import numpy as np
from nn_tensor import use_kernels
from nn_tensor.extend import Device, add_at, kernel, xp_for

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


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_steps_of_a_kernel_have_its_bits(dtype: type) -> None:
    pytest.importorskip("numba", reason="without it the reference runs")
    special = np.array([0.0, -0.0, np.nan, np.inf, -np.inf, 1e-45, -1.0, 2.0], dtype)
    x, y = np.meshgrid(special, special)
    with refuse_compiled_kernels():
        found = mask_by_sign(np, x, y)
        large = np.ones(1 << 17, dtype)
        with pytest.raises(TypeError, match="several threads"):
            mask_by_sign(np, large, large)
    assert found.tobytes() == mask_by_sign(np, x, y).tobytes()
    assert found.tobytes() == mask_by_sign.reference(np, x, y).tobytes()


def test_a_kernel_without_steps_refuses() -> None:
    pytest.importorskip("numba", reason="without it the reference runs")
    x = np.ones(3, np.float32)
    with refuse_compiled_kernels(), pytest.raises(TypeError, match="no elementwise steps"):
        relu_forward(np, x)


@pytest.mark.parametrize(
    ("rows", "terms", "columns", "transposed", "is_large"),
    [
        (64, 64, 64, (), False),
        (100, 100, 100, (), False),  # a kernel for small matrices, of one thread
        (101, 100, 100, (), True),
        (128, 128, 64, (), True),
        (64, 1024, 10, ("x",), False),
        (1024, 10, 64, ("y",), True),  # for a transposed matrix only where the result is small
        (1024, 64, 10, ("y",), True),
        (1024, 64, 3, ("y",), False),
        (16, 900, 64, ("y",), False),
        (64, 31, 256, ("y",), True),
        (100, 100, 100, ("x", "y"), False),
    ],
)
def test_products_that_blas_would_divide_among_threads(rows, terms, columns, transposed, is_large):
    pytest.importorskip("nn_kernels", reason="could not import 'nn_kernels', which compiles")
    x, y = np.ones((rows, terms), np.float32), np.ones((terms, columns), np.float32)
    x = np.asfortranarray(x) if "x" in transposed else x
    y = np.asfortranarray(y) if "y" in transposed else y
    assert is_large_product(x, y) == is_large
    np.testing.assert_array_equal(matrix_product(x, y), np.full((rows, columns), terms))
