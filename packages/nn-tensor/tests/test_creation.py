"""What new Tensors hold: data types, devices, and the functions that make them."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import nn_tensor
import numpy as np
import pytest
from nn_tensor import (
    Tensor,
    arange,
    eye,
    from_dlpack,
    full,
    full_like,
    linspace,
    ones,
    ones_like,
    parse_device,
    parse_dtype,
    rand,
    randint,
    randn,
    random_generator,
    randperm,
    tensor,
    zeros,
    zeros_like,
)
from nn_tensor.testing import assert_close


class TestDtype:
    @pytest.mark.parametrize(
        ("data", "dtype"),
        [
            (1.5, "float32"),
            ([1.0, 2.0], "float32"),
            ([1, 2.5], "float32"),
            ([], "float32"),
            (3, "int64"),
            ([[1, 2], [3, 4]], "int64"),
            (True, "bool"),
            ([True, False], "bool"),
            (np.float64(1), "float64"),
            (np.float16(1), "float16"),
            (np.ones(2), "float64"),
            (np.ones(2, "float16"), "float16"),
            (np.ones(2, "int8"), "int8"),
            ([np.ones(2), np.zeros(2)], "float64"),
            ([np.float64(1), 2.0], "float32"),
            (np.ones(2, ">f4"), "float32"),
            (range(3), "int64"),
            (Tensor([1.0]), "float32"),
            ([Tensor([1.0]), Tensor([2.0])], "float32"),
        ],
        ids=str,
    )
    def test_of_data(self, data: Any, dtype: str) -> None:
        assert Tensor(data).dtype == dtype
        assert Tensor(data).dtype.isnative

    @pytest.mark.parametrize("data", [1, [1, 2], True, np.arange(3), np.ones(2, bool)], ids=str)
    def test_integers_that_require_a_gradient(self, data: Any) -> None:
        assert Tensor(data, requires_grad=True).dtype == np.float32

    def test_explicit(self) -> None:
        assert Tensor([1, 2], dtype="float16").dtype == np.float16
        assert Tensor([1.7, 2.0], dtype=int).tolist() == [1, 2]
        assert Tensor([1.0], dtype=float).dtype == np.float32

    def test_float64_keeps_every_bit(self) -> None:
        assert Tensor(0.1, dtype="float64").item() == 0.1
        assert Tensor([0.1, 1e300], dtype=np.float64).tolist() == [0.1, 1e300]
        assert full((1,), 0.1, dtype="float64").item() == 0.1

    @pytest.mark.parametrize("scalar", [2, 2.5, True])
    @pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
    def test_python_scalars_do_not_promote(self, scalar: float, dtype: str) -> None:
        x = Tensor([1.0, 2.0], dtype=dtype)
        for y in (
            x + scalar, scalar + x, x - scalar, scalar - x, x * scalar, scalar * x, x / scalar,
            scalar / x, x**scalar, scalar**x, x // scalar, x % scalar,
            nn_tensor.maximum(x, scalar), nn_tensor.where(x > 1, x, scalar),
            nn_tensor.where(x > 1, scalar, x), x.clip(0, scalar),
        ):  # fmt: skip
            assert y.dtype == dtype

    def test_choice_between_python_floats(self) -> None:
        assert nn_tensor.where(Tensor([True]), 1.0, 0.0).dtype == np.float32

    def test_promotion_is_that_of_numpy(self) -> None:
        types = ["bool", "int8", "int32", "int64", "float16", "float32", "float64"]
        for a in types:
            for b in types:
                result = Tensor(np.ones(2, a)) + Tensor(np.ones(2, b))
                assert result.dtype == (np.ones(2, a) + np.ones(2, b)).dtype

    def test_every_spelling(self) -> None:
        for spelling in ("float64", "np.float64", "numpy.float64", "<class 'numpy.float64'>",
                         "<class 'cupy.float64'>", np.float64, np.dtype("float64"), "f8", ">f8",
                         "double"):  # fmt: skip
            assert parse_dtype(spelling) == np.float64
            assert parse_dtype(spelling).isnative
        assert parse_dtype(float) == np.float32
        assert parse_dtype(int) == np.int64
        assert parse_dtype(bool) == np.bool_

    @pytest.mark.parametrize("wrong", ["flaot32", None, "", object, "S3", "datetime64", 7, [], "O"])
    def test_what_is_not_a_dtype(self, wrong: Any) -> None:
        with pytest.raises(TypeError, match="dtype"):
            parse_dtype(wrong)


class TestDevice:
    @pytest.mark.parametrize(
        ("spelling", "text"),
        [("cpu", "cpu"), ("cuda", "cuda"), ("cuda:0", "cuda"), ("cuda:1", "cuda:1")],
    )
    def test_spelling(self, spelling: str, text: str) -> None:
        assert str(parse_device(spelling)) == text
        assert parse_device(parse_device(spelling)) == parse_device(spelling)
        assert hash(parse_device(spelling)) == hash(parse_device(text))

    @pytest.mark.parametrize("wrong", ["gpu", "cuda:", "cuda:x", "CPU", "cpu:0", "cuda:-1", ""])
    def test_wrong_spelling(self, wrong: str) -> None:
        with pytest.raises(ValueError, match="device: expected 'cpu', 'cuda' or 'cuda:N'"):
            parse_device(wrong)

    @pytest.mark.parametrize("wrong", [None, 0, b"cpu"])
    def test_wrong_type(self, wrong: Any) -> None:
        with pytest.raises(TypeError, match="device: expected"):
            parse_device(wrong)

    @pytest.mark.parametrize(
        "call",
        [
            lambda: Tensor([1.0], device="cuda"),
            lambda: Tensor([1.0]).to("cuda"),
            lambda: Tensor([1.0]).set_device("cuda"),
            lambda: zeros(2, device="cuda:1"),
            lambda: rand(2, device="cuda"),
            lambda: arange(2, device="cuda"),
            lambda: nn_tensor.to_device(Tensor([1.0]), "cuda"),
        ],
    )
    def test_cuda_without_cuda(self, call: Any) -> None:
        if nn_tensor.has_cupy:
            pytest.skip("there is a CUDA device")
        with pytest.raises(RuntimeError, match=r"'cuda.*(CuPy|driver|CUDA libraries)"):
            call()

    def test_missing_cupy_is_named(self) -> None:
        code = (
            "import sys; sys.modules['cupy'] = None\n"
            "import nn_tensor\n"
            "assert nn_tensor.has_cupy is False\n"
            "try: nn_tensor.zeros(2, device='cuda')\n"
            "except RuntimeError as error: print(error)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        assert "CuPy" in done.stdout
        assert "pip install" in done.stdout
        assert "nn-tensor[cuda" in done.stdout

    def test_has_cupy(self) -> None:
        from nn_tensor import has_cupy

        try:
            zeros(2, device="cuda")
        except RuntimeError:
            assert has_cupy is False
        else:
            assert has_cupy is True
        with pytest.raises(AttributeError, match="has_cpuy"):
            _ = nn_tensor.has_cpuy

    def test_moves(self, device: str) -> None:
        x = Tensor([1.0, 2.0], requires_grad=True)
        y = x.to(device)
        assert y.device == device
        (y * 2).sum().backward()
        assert x.grad.tolist() == [2, 2]
        assert x.grad.device == "cpu"
        assert x.to("cpu") is x
        assert y.cpu().device == "cpu"
        assert nn_tensor.to_device(x, device).tolist() == [1, 2]

    def test_set_device_and_dtype_keep_identity(self, device: str) -> None:
        x = Tensor([1.0, 2.0], requires_grad=True)
        (x * x).sum().backward()
        before = id(x)
        x.set_device(device)
        x.set_dtype("float64")
        assert id(x) == before
        assert (x.device, x.dtype) == (device, np.float64)
        assert (x.grad.device, x.grad.dtype) == (device, np.float64)
        assert x.grad.tolist() == [2, 4]

    def test_failed_move_changes_nothing(self) -> None:
        if nn_tensor.has_cupy:
            pytest.skip("there is a CUDA device")
        x = Tensor([1.0], requires_grad=True)
        data = x.data
        with pytest.raises(RuntimeError):
            x.set_device("cuda")
        assert x.data is data

    @pytest.mark.cuda
    def test_mixed_devices(self) -> None:
        with pytest.raises(ValueError, match=r"add.*cpu and cuda"):
            Tensor([1.0]) + Tensor([1.0], device="cuda")


class TestFilled:
    def test_default_dtype_and_shape(self, device: str) -> None:
        for make in (zeros, ones, rand, randn):
            for shape in ((2, 3), ((2, 3),), ([2, 3],)):
                x = make(*shape, device=device)
                assert (x.shape, x.dtype, x.device) == ((2, 3), np.float32, device)
                assert not x.requires_grad
            assert make(device=device).shape == ()
            assert make(0, 3, device=device).shape == (0, 3)
            x = make(2, dtype="float64", device=device, requires_grad=True)
            assert x.dtype == np.float64
            assert x.requires_grad
            assert x.is_leaf

    def test_dtype_none_is_the_default(self) -> None:
        for x in (zeros(2, dtype=None), ones(2, dtype=None), eye(2, dtype=None),
                  linspace(0, 1, 3, dtype=None)):  # fmt: skip
            assert x.dtype == np.float32

    def test_values(self) -> None:
        assert zeros(2).tolist() == [0, 0]
        assert ones(2, dtype=int).tolist() == [1, 1]
        assert full((2,), 7).dtype == np.int64
        assert full(2, 7.0).dtype == np.float32
        assert full((), True).dtype == bool
        assert_close(eye(2, 3), np.eye(2, 3, dtype=np.float32))
        assert_close(linspace(0, 1, 5), np.linspace(0, 1, 5, dtype=np.float32))
        assert linspace(0, 1, 0).shape == (0,)

    @pytest.mark.parametrize(
        "arguments", [(3,), (2, 7), (2, 7, 3), (7, 2, -2), (0.5,), (0, 1, 0.25), (3, 0)]
    )
    def test_arange(self, arguments: tuple[float, ...]) -> None:
        expected = np.arange(*arguments)
        if expected.dtype.kind == "f":
            expected = expected.astype(np.float32)
        assert_close(arange(*arguments), expected)

    @pytest.mark.parametrize("dtype", ["float16", "float64", "int32", "bool"])
    def test_like(self, dtype: str, device: str) -> None:
        x = Tensor(np.ones((2, 3), dtype), device=device)
        for y in (zeros_like(x), ones_like(x), full_like(x, 1)):
            assert (y.shape, y.dtype, y.device) == (x.shape, x.dtype, x.device)
        assert zeros_like(x, dtype="float32").dtype == np.float32
        assert ones_like(np.ones(2)).dtype == np.float64

    def test_gradient_only_for_floats(self) -> None:
        assert zeros(2, requires_grad=True).requires_grad
        assert arange(3, requires_grad=True).dtype == np.float32


class TestRandom:
    def test_same_seed_same_values(self, device: str) -> None:
        for make in (rand, randn):
            a, b = make(3, 4, rng=5, device=device), make(3, 4, rng=5)
            assert_close(a.numpy(), b.numpy(), rtol=0, atol=0)
            assert make(3, 4, rng=6).tolist() != b.tolist()
        assert randint(0, 9, (5,), rng=5).tolist() == randint(0, 9, (5,), rng=5).tolist()
        assert randperm(9, rng=5).tolist() == randperm(9, rng=5).tolist()
        assert rand(3).tolist() != rand(3).tolist()

    def test_generator_advances(self) -> None:
        rng = random_generator(0)
        assert rand(3, rng=rng).tolist() != rand(3, rng=rng).tolist()
        assert random_generator(rng) is rng

    @pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
    def test_range_of_rand(self, dtype: str) -> None:
        x = rand(50_000, rng=0, dtype=dtype).numpy()
        assert x.dtype == dtype
        assert x.min() >= 0
        assert x.max() < 1
        assert abs(x.astype(float).mean() - 0.5) < 0.01

    def test_moments_of_randn(self) -> None:
        x = randn(50_000, rng=0).numpy()
        assert abs(x.mean()) < 0.02
        assert abs(x.std() - 1) < 0.02

    def test_range_of_randint(self) -> None:
        assert set(randint(-1, 2, (200,), rng=0).tolist()) == {-1, 0, 1}
        assert randint(0, 5, 3, rng=0, dtype="uint8").dtype == np.uint8
        assert sorted(randperm(50, rng=0).tolist()) == list(range(50))

    def test_integers_that_do_not_fit(self) -> None:
        with pytest.raises(ValueError, match=r"uint8.*0 to 299"):
            randint(0, 300, (100,), rng=0, dtype="uint8")


class TestMemory:
    def test_tensor_shares_and_copies(self) -> None:
        a = np.zeros(2)
        shared, copied = Tensor(a), tensor(a)
        a[0] = 1
        assert shared.tolist() == [1, 0]
        assert copied.tolist() == [0, 0]
        assert shared.data is a
        assert Tensor(shared).data is a

    def test_dlpack_of_numpy(self) -> None:
        a = np.arange(4.0)
        x = from_dlpack(a)
        a[0] = 7
        assert x.tolist() == [7, 1, 2, 3]
        b = np.from_dlpack(x)
        a[1] = 8  # through its owner: before 2.2 NumPy marked what it imports as read-only
        assert b.tolist() == [7, 8, 2, 3]

    def test_dlpack_of_torch(self) -> None:
        torch = pytest.importorskip("torch")
        theirs = torch.arange(4.0)
        ours = from_dlpack(theirs)
        theirs[0] = 7
        assert ours.tolist() == [7, 1, 2, 3]
        back = torch.from_dlpack(ours)
        back[1] = 8
        assert ours.tolist() == [7, 8, 2, 3]

    def test_from_torch_directly(self) -> None:
        torch = pytest.importorskip("torch")
        assert Tensor(torch.arange(3.0)).tolist() == [0, 1, 2]
        assert Tensor(torch.arange(3.0)).dtype == np.float32
