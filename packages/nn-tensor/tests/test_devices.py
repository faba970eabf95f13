"""Where CuPy does other things than NumPy, and what is said where CUDA does not work."""

from __future__ import annotations

import subprocess
import sys
import types
from typing import Any, ClassVar

import numpy as np
import pytest
from nn_tensor import Tensor, concatenate, erf, gather, ones, scatter_add, take, where, zeros
from nn_tensor.extend import op
from nn_tensor.testing import assert_close


@pytest.mark.parametrize("index", [[0, 3], [-4], (slice(None), [0, 2]), (..., [2], None), ([3], 0)])
def test_indices_out_of_bounds_are_refused(index: Any, device: str) -> None:
    x = zeros(3, 2, device=device)
    with pytest.raises(IndexError, match=r"get_item.*out of bounds for axis [01] with size [23]"):
        x[index]
    with pytest.raises(IndexError, match=r"item assignment.*out of bounds"):
        x[index] = 1
    assert not x.any()


def test_indices_within_bounds(device: str) -> None:
    values = np.arange(24.0).reshape(2, 3, 4)
    x = Tensor(values, device=device)
    mask = np.array([True, False])
    for index in (
        (..., [3, -4]),
        (mask, slice(None), [0, 3]),
        (None, [1], ..., [3]),
        np.array(1),
        (1, np.array([[0, 2]], np.uint8)),
    ):
        assert_close(x[index], values[index])


def test_lists_go_to_the_device_of_the_others(device: str) -> None:
    x = ones(2, 2, device=device, requires_grad=True)
    for y in (
        x * [1.0, 2.0],
        gather(x, [[1], [0]], axis=1),
        take(x, [1, 0]),
        concatenate([x, [[1.0, 2.0]]]),
    ):
        assert y.device == device
    (x * 2).backward([[1.0, 2.0], [3.0, 4.0]])
    np.testing.assert_array_equal(x.grad.numpy(), [[2, 4], [6, 8]])


@pytest.mark.parametrize("condition", [True, 0, 1.5, np.True_])
def test_where_takes_numbers_as_condition(condition: Any, device: str) -> None:
    x = Tensor([1.0, 2.0], device=device)
    assert_close(where(condition, x, 0), np.where(condition, x.numpy(), np.float32(0)))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "bool"])
def test_erf_has_the_dtype_of_other_functions(dtype: str, device: str) -> None:
    x = Tensor(np.array([0, 1], dtype), device=device)
    assert erf(x).dtype == (dtype if x.dtype.kind == "f" else "float64")


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "int64", "uint64"])
def test_integers_are_added_at_places(dtype: str, device: str) -> None:
    x = Tensor(np.array([100, 2, 3], dtype), device=device)
    values = Tensor(np.array([5, 6, 7], dtype), device=device)
    result = scatter_add(x, [1, 0, 1], values)
    assert_close(result, np.array([106, 14, 3], dtype))


def test_negative_integers_are_added_at_places(device: str) -> None:
    result = scatter_add(Tensor([5, 5], device=device), [0, 0], [-7, -1])
    assert result.tolist() == [-3, 5]


def test_what_is_broadcast_is_not_written(device: str) -> None:
    x = zeros(2, device=device).broadcast_to((3, 2))
    with pytest.raises(ValueError, match="read-only"):
        x += 1
    with pytest.raises(ValueError, match="read-only"):
        x[0] = 1


def test_numpy_compares_tensors(device: str) -> None:
    x = ones(2, device=device)
    assert np.allclose(x, x)
    assert not np.array_equal(x, x + 1)


@pytest.mark.cuda
def test_assignment_from_another_device_is_refused() -> None:
    x = zeros(2, 2, device="cuda")
    for index in (0, [0]):
        with pytest.raises(ValueError, match=r"item assignment: the value: is on cpu.*cuda"):
            x[index] = np.ones(2, np.float32)


# Says what is missing of CUDA in an interpreter whose CuPy answers as the arguments say.
_WITH_FAKE_CUPY = """
import sys, types
import numpy as np

driver, runtime, error, libraries = sys.argv[1:]

def count():
    if error:
        raise RuntimeError(error)
    return 1

def ones(shape):
    if libraries == "missing":
        raise ImportError("libcublas.so.12: cannot open shared object file")
    return np.ones(shape)

cupy = sys.modules["cupy"] = types.ModuleType("cupy")
cupy.ones = ones
cupy.cuda = types.SimpleNamespace(
    runtime=types.SimpleNamespace(
        getDeviceCount=count,
        driverGetVersion=lambda: int(driver),
        runtimeGetVersion=lambda: int(runtime),
    )
)

from nn_tensor import parse_device
from nn_tensor.extend import xp_for

try:
    print(xp_for(parse_device("cuda")).__name__)
except RuntimeError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("driver", "runtime", "error", "libraries", "parts"),
    [
        (
            *(0, 12090, "cudaErrorInsufficientDriver", "complete"),
            ["no NVIDIA driver", "cudaErrorInsufficientDriver", "install the driver"],
        ),
        (
            *(12040, 13000, "cudaErrorInsufficientDriver", "complete"),
            ["driver is for CUDA 12", "CuPy for CUDA 13", "nn-tensor[cuda12]"],
        ),
        (13000, 12090, "cudaErrorNoDevice", "complete", ["driver shows no device"]),
        (
            *(13000, 12090, "", "missing"),
            ["CUDA libraries are incomplete", "libcublas", "cupy-cuda12x[ctk]"],
        ),
        (13000, 12090, "", "complete", ["cupy\n"]),
    ],
    ids=["no driver", "old driver", "hidden device", "no libraries", "complete"],
)
def test_what_is_missing_is_named(
    driver: int, runtime: int, error: str, libraries: str, parts: list[str]
) -> None:
    arguments = [str(driver), str(runtime), error, libraries]
    done = subprocess.run(
        [sys.executable, "-c", _WITH_FAKE_CUPY, *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    assert all(part in done.stdout for part in parts), done.stdout
    assert ("cannot be used" in done.stdout) == (parts != ["cupy\n"])


class _OnDevice:
    """As an array of CuPy: it can be added only where its device is the current one."""

    current: ClassVar[list[int]] = []
    base, shape, dtype = None, (), np.dtype("float32")

    class _Device:
        def __init__(self, number: int) -> None:
            self.id = number

        def __enter__(self) -> None:
            _OnDevice.current.append(self.id)

        def __exit__(self, *exception: object) -> None:
            _OnDevice.current.pop()

    def __init__(self, number: int, value: float) -> None:
        self.device, self.value = self._Device(number), value

    def __add__(self, other: _OnDevice) -> _OnDevice:
        assert self.current[-1:] == [self.device.id] == [other.device.id]
        return _OnDevice(self.device.id, self.value + other.value)

    __iadd__ = __add__

    def __mul__(self, other: float) -> _OnDevice:
        assert self.current[-1:] == [self.device.id]
        return _OnDevice(self.device.id, self.value * other)

    def copy(self) -> _OnDevice:
        return self * 1


def test_gradients_are_summed_on_their_own_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", types.SimpleNamespace(ndarray=_OnDevice))

    @op
    def moved(xp: Any, x: Any, /, number: int) -> Any:
        return _OnDevice(number, x.value)

    @moved.gradient("x")
    def _(g: Any) -> Any:
        return _OnDevice(0, g.value)

    @op
    def scaled(xp: Any, x: Any, /, factor: float) -> Any:
        return x * factor

    @scaled.gradient("x")
    def _(g: Any, factor: float) -> Any:
        return g * factor

    @op
    def fetched(xp: Any, x: Any, /) -> Any:
        return np.float32(x.value)

    @fetched.gradient("x")
    def _(g: Any, x: Any) -> Any:
        return _OnDevice(x.device.id, float(g))

    x = Tensor(_OnDevice(0, 1.0), requires_grad=True)
    y = scaled(x, 1.0)
    results = [y, moved(y, 1), scaled(y, 2.0), scaled(moved(y, 1), 3.0), y]
    sum(map(fetched, results)).backward()
    assert x.grad.data.value == 8
