"""What is saved comes back: every format, dtype and layout, and what cannot be saved is named."""

import os
import pickle
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from nn_io import METADATA_KEY, load_state_dict_from_file, save_model_parameters
from numpy.typing import NDArray

DTYPES = "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64".split()
BASE = np.arange(24).reshape(2, 3, 4)
LAYOUTS: dict[str, NDArray[Any]] = {
    "C": BASE,
    "Fortran": np.asfortranarray(BASE),
    "transposed": BASE.transpose(1, 0, 2),
    "reversed": BASE[::-1, :, ::-1],
    "strided": BASE[:, ::2, ::3],
    "broadcast": np.broadcast_to(BASE[0, 0], (5, 4)),
    "size zero": BASE[:, :0],
    "empty vector": BASE[:0, 0, 0],
    "0-d": np.array(7),
    "one element": np.array([[7]]),
}


class Model:
    """An object with state_dict()."""

    def __init__(self, state: Mapping[str, Any]) -> None:
        self.state = state

    def state_dict(self) -> Mapping[str, Any]:
        return self.state


class OnDevice:
    """A stand-in for a Tensor on another device."""

    def __init__(self, array: NDArray[Any]) -> None:
        self.array = array

    def numpy(self) -> NDArray[Any]:
        return self.array


class CupyLike:
    """A stand-in for an array of CuPy."""

    __cuda_array_interface__ = None

    def get(self) -> NDArray[Any]:
        return np.arange(3.0)


def round_trip(state: Any, path: Path) -> dict[str, Any]:
    save_model_parameters(state, path)
    return load_state_dict_from_file(path)


def assert_same(loaded: Any, expected: Any) -> None:
    expected = np.asarray(expected)
    assert type(loaded) is np.ndarray
    assert loaded.dtype == expected.dtype.newbyteorder("=")
    assert loaded.dtype.isnative
    assert loaded.shape == expected.shape
    assert loaded.flags.writeable
    assert loaded.flags.c_contiguous
    assert loaded.flags.aligned
    np.testing.assert_array_equal(loaded, expected)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [*DTYPES, "complex64", "complex128", ">i4", ">f8"])
def test_arrays(dtype: str, layout: str, suffix: str, tmp_path: Path) -> None:
    array = np.empty_like(LAYOUTS[layout], dtype=dtype, subok=False)
    array[...] = LAYOUTS[layout]
    array.flags.writeable = False
    if (dtype, suffix) == ("complex128", ".safetensors"):
        with pytest.raises(TypeError, match=r"state_dict\['w'\]: has dtype complex128"):
            save_model_parameters({"w": array}, tmp_path / "m.safetensors")
        assert list(tmp_path.iterdir()) == []
        return
    loaded = round_trip({"a": np.uint8(3), "w": array}, tmp_path / f"m{suffix}")
    assert_same(loaded["w"], array)


def test_all_layouts_in_one_file(suffix: str, tmp_path: Path) -> None:
    loaded = round_trip(LAYOUTS, tmp_path / f"m{suffix}")
    for key, array in LAYOUTS.items():
        assert_same(loaded[key], array)


def test_values_survive_bit_by_bit(suffix: str, tmp_path: Path) -> None:
    bits = np.array([0x7FF8000000000001, 0xFFF0000000000000, 1, 1 << 63], np.uint64)
    loaded = round_trip({"w": bits.view(np.float64)}, tmp_path / f"m{suffix}")
    np.testing.assert_array_equal(loaded["w"].view(np.uint64), bits)


def test_keys_and_their_order(suffix: str, tmp_path: Path) -> None:
    keys = [
        "z.0",
        "a",
        METADATA_KEY,
        "",
        "é.ω",
        "a/b",
        "..",
        "a.npy",
        "1",
        "nn_io.sha256",
        '"',
        "m",
    ]
    state: dict[str, Any] = {
        key: {} if key == METADATA_KEY else np.float32(i) for i, key in enumerate(keys)
    }
    assert list(round_trip(state, tmp_path / f"m{suffix}")) == keys


def test_metadata(suffix: str, tmp_path: Path) -> None:
    metadata = {
        "class": "Sequential",
        "shapes": {"0.weights": (2, 3)},
        "numpy": [np.int64(3), np.float32(0.5), np.bool_(True)],
        "extremes": [-(2**63), 2**64 - 1, 1e308, float("inf"), None, True, ""],
        "text": 'ω "\\ \n nn_io.sha256":"',
    }
    plain = metadata | {"shapes": {"0.weights": [2, 3]}, "numpy": [3, 0.5, True]}
    loaded = round_trip({"w": np.ones(1), METADATA_KEY: metadata}, tmp_path / f"m{suffix}")
    assert list(loaded) == ["w", METADATA_KEY]
    assert loaded[METADATA_KEY] == plain
    assert [type(v) for v in loaded[METADATA_KEY]["numpy"]] == [int, float, bool]


def test_no_metadata_and_nothing_at_all(suffix: str, tmp_path: Path) -> None:
    assert list(round_trip({"w": np.ones(1)}, tmp_path / f"m{suffix}")) == ["w"]
    assert round_trip({}, tmp_path / f"n{suffix}") == {}
    assert round_trip({METADATA_KEY: {}}, tmp_path / f"o{suffix}") == {METADATA_KEY: {}}


def test_models_mappings_tensors_and_numbers(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"m{suffix}"
    state = OrderedDict(w=OnDevice(np.ones(2, np.float32)), g=CupyLike(), n=3, x=0.5, t=True)
    for model in (Model(state), state, MappingProxyType(state)):
        loaded = round_trip(model, path)
        assert_same(loaded["w"], np.ones(2, np.float32))
        assert_same(loaded["g"], np.arange(3.0))
        assert_same(loaded["n"], np.array(3))
        assert_same(loaded["x"], np.array(0.5))
        assert_same(loaded["t"], np.array(True))


def test_what_is_loaded_can_be_saved_everywhere(suffix: str, tmp_path: Path) -> None:
    state = {"b": np.ones((2, 3), np.float32), METADATA_KEY: {"a": [1]}, "a": np.zeros(0)}
    loaded = round_trip(state, tmp_path / f"m{suffix}")
    for other in (".safetensors", ".npz", ".pkl"):
        again = round_trip(loaded, tmp_path / f"again{other}")
        assert list(again) == list(state)
        assert again[METADATA_KEY] == {"a": [1]}
        assert_same(again["b"], state["b"])


def test_equal_states_make_equal_files(suffix: str, tmp_path: Path) -> None:
    state = {"w": np.ones(3), METADATA_KEY: {"a": 1}}
    one, two = tmp_path / f"one{suffix}", tmp_path / f"two{suffix}"
    save_model_parameters(state, one)
    save_model_parameters(state, two)
    assert one.read_bytes() == two.read_bytes()


def test_saving_changes_nothing(suffix: str, tmp_path: Path) -> None:
    array = np.asfortranarray(np.ones((2, 3), ">f4"))
    metadata = {"shape": (2, 3)}
    state = {"w": array, METADATA_KEY: metadata}
    save_model_parameters(state, tmp_path / f"m{suffix}")
    assert state == {"w": array, METADATA_KEY: metadata}
    assert metadata == {"shape": (2, 3)}
    assert array.flags.f_contiguous


@pytest.mark.parametrize(
    "array",
    [
        np.array([{}, None], dtype=object),
        np.array(["text"]),
        np.array([b"bytes"]),
        np.zeros(2, "M8[s]"),
        np.zeros(2, [("a", "f4")]),
        np.zeros(2, np.longdouble),
        np.ma.masked_array([1.0, 2.0], [True, False]),
        2**70,
        "text",
        [1.0, 2.0],
        None,
        {"nested": np.ones(1)},
    ],
    ids=lambda value: type(value).__name__,
)
def test_unsupported_values_are_named(array: Any, suffix: str, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"state_dict\['0\.weights'\]"):
        save_model_parameters({"0.weights": array}, tmp_path / f"m{suffix}")
    assert list(tmp_path.iterdir()) == []


def test_failing_tensors_are_named(suffix: str, tmp_path: Path) -> None:
    class Broken:
        def numpy(self) -> None:
            raise RuntimeError("no device")

    with pytest.raises(TypeError, match=r"state_dict\['w'\].*no device"):
        save_model_parameters({"w": Broken()}, tmp_path / f"m{suffix}")


@pytest.mark.parametrize(
    ("state", "error", "message"),
    [
        ({1: np.ones(1)}, TypeError, "state_dict key 1: expected str, got int"),
        ({"a\0b": np.ones(1)}, ValueError, "NUL"),
        ({"\ud800": np.ones(1)}, ValueError, "UTF-8"),
        ({METADATA_KEY: np.ones(1)}, TypeError, "__metadata__: expected a mapping, got ndarray"),
        ({METADATA_KEY: {"a": [{"b": object()}]}}, TypeError, r"\['a'\]\[0\]\['b'\].*got object"),
        ({METADATA_KEY: {1: 2}}, TypeError, "a key of __metadata__: expected str, got int"),
        ({METADATA_KEY: {"a": np.ones(2)}}, TypeError, "got ndarray"),
        ({METADATA_KEY: {"a": 1j}}, TypeError, "got complex"),
        ({METADATA_KEY: {"a": 2**64}}, ValueError, "64 bits"),
        ({METADATA_KEY: {"a": "\ud800"}}, ValueError, "UTF-8"),
        ([np.ones(1)], TypeError, "model: expected state_dict.*got list"),
        (Model([1]), TypeError, "model.state_dict.*: expected a mapping, got list"),  # type: ignore[arg-type]
        (None, TypeError, "got NoneType"),
    ],
)
def test_wrong_states_are_named(
    state: Any, error: type[Exception], message: str, suffix: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        save_model_parameters(state, tmp_path / f"m{suffix}")
    assert list(tmp_path.iterdir()) == []


def test_cyclic_metadata_is_refused(suffix: str, tmp_path: Path) -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    with pytest.raises(ValueError, match="deep"):
        save_model_parameters({METADATA_KEY: {"a": cycle}}, tmp_path / f"m{suffix}")


@pytest.mark.parametrize("name", ["m", "m.h5", "m.pickle", ".pkl", "m.npz.gz", "m.safetensors "])
def test_unknown_suffixes_list_the_known(name: str, tmp_path: Path) -> None:
    message = r"\.safetensors, \.npz, \.pkl"
    with pytest.raises(ValueError, match=message):
        save_model_parameters({}, tmp_path / name)
    with pytest.raises(ValueError, match=message):
        load_state_dict_from_file(tmp_path / name)


@pytest.mark.parametrize("path", [None, 3, 1.5, b"m.pkl", ["m.pkl"]])
def test_wrong_paths_are_named(path: Any) -> None:
    with pytest.raises(TypeError, match=r"path: expected str or os\.PathLike, got"):
        save_model_parameters({}, path)
    with pytest.raises(TypeError, match=r"path: expected str or os\.PathLike, got"):
        load_state_dict_from_file(path)


def test_path_with_nul() -> None:
    with pytest.raises(ValueError, match="NUL"):
        load_state_dict_from_file("a\0.pkl")


def test_paths_of_all_kinds(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for path in (
        f"m{suffix}",
        Path(f"n{suffix}"),
        f"ω{suffix.upper()}",
        os.fspath(tmp_path) + f"/o{suffix}",
    ):
        assert_same(round_trip({"w": np.ones(2)}, path)["w"], np.ones(2))  # type: ignore[arg-type]


def test_the_specification_in_both_directions(tmp_path: Path) -> None:
    state = {"0.weights": np.ones((2, 3), np.float32), METADATA_KEY: {"class": "SimpleCNN"}}
    ours, plain = tmp_path / "ours.pkl", tmp_path / "plain.pkl"
    save_model_parameters(Model(state), ours)
    with open(ours, "rb") as file:
        read = pickle.load(file)
    assert list(read) == list(state)
    assert_same(read["0.weights"], state["0.weights"])
    with open(plain, "wb") as file:
        pickle.dump(state, file)
    assert_same(load_state_dict_from_file(plain)["0.weights"], state["0.weights"])
