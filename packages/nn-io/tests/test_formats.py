"""Each format against the program that defines it: it reads our files, and we read its files."""

import io
import json
import pickle
import pickletools
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from io_files import archive, npy, safetensors
from nn_io import METADATA_KEY, FileFormatError, load_state_dict_from_file, save_model_parameters

STATE: dict[str, Any] = {
    "odd": np.arange(3, dtype=np.uint8),
    "w": np.arange(6, dtype=np.float32).reshape(2, 3).T,
    "d": np.linspace(0, 1, 5),
    METADATA_KEY: {"class": "Dense", "shapes": [[3, 2]]},
    "h": np.array([1.5, -2], np.float16),
    "flag": np.array([True, False, True]),
    "n": np.array(5, np.int64),
    "e": np.zeros((0, 3), np.int32),
}
ARRAYS = {key: value for key, value in STATE.items() if key != METADATA_KEY}


def saved(path: Path, state: Any = STATE) -> Path:
    save_model_parameters(state, path)
    return path


def assert_equal(loaded: Any, expected: dict[str, Any]) -> None:
    assert list(loaded) == list(expected)
    for key, value in expected.items():
        if key != METADATA_KEY:
            native = np.asarray(value, value.dtype.newbyteorder("="))
            np.testing.assert_array_equal(loaded[key], native, strict=True)


# --- safetensors --------------------------------------------------------------------------------


def test_the_safetensors_package_reads_our_files(tmp_path: Path) -> None:
    oracle = pytest.importorskip("safetensors", reason="the safetensors package is the oracle")
    from safetensors.numpy import load_file

    path = saved(tmp_path / "m.safetensors")
    loaded = load_file(path)
    assert_equal({key: loaded[key] for key in ARRAYS}, ARRAYS)
    with oracle.safe_open(path, "np") as file:
        assert json.loads(file.metadata()["nn_io.metadata"]) == STATE[METADATA_KEY]


def test_we_read_files_of_the_safetensors_package(tmp_path: Path) -> None:
    pytest.importorskip("safetensors", reason="the safetensors package is the oracle")
    from safetensors.numpy import save_file

    # The package corrupts arrays that are not contiguous.
    arrays = {key: np.array(value, order="C") for key, value in ARRAYS.items()}
    save_file(arrays, tmp_path / "m.safetensors", metadata={"format": "pt", "anything": "{"})
    loaded = load_state_dict_from_file(tmp_path / "m.safetensors")
    assert loaded.pop(METADATA_KEY) == {"format": "pt", "anything": "{"}
    assert_equal({key: loaded[key] for key in arrays}, arrays)


def test_torch_and_bfloat16(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="torch writes the files of this test")
    pytest.importorskip("safetensors", reason="the safetensors package is the oracle")
    from safetensors.torch import load_file, save_file

    halves = torch.arange(0, 2**16, dtype=torch.int32).to(torch.int16).view(torch.bfloat16)
    tensors = {"b": halves, "w": torch.arange(6.0).reshape(2, 3), "s": torch.tensor(3)}
    save_file(tensors, tmp_path / "m.safetensors", metadata={"format": "pt"})
    loaded = load_state_dict_from_file(tmp_path / "m.safetensors")
    assert loaded["b"].dtype == np.float32
    np.testing.assert_array_equal(loaded["b"].view(np.uint32), halves.float().numpy().view("u4"))
    np.testing.assert_array_equal(loaded["w"], tensors["w"].numpy(), strict=True)
    ours = load_file(saved(tmp_path / "ours.safetensors", {"w": tensors["w"].T}))
    assert torch.equal(ours["w"], tensors["w"].T)


def test_bfloat16_of_every_rank(tmp_path: Path) -> None:
    for shape in ([], [1], [1, 1], [0]):
        size = 0 if 0 in shape else 2
        entry = {"dtype": "BF16", "shape": shape, "data_offsets": [0, size]}
        path = tmp_path / "m.safetensors"
        path.write_bytes(safetensors({"b": entry}, b"\xc0\x3f"[:size]))
        loaded = load_state_dict_from_file(path)["b"]
        np.testing.assert_array_equal(loaded, np.full(shape, 1.5, np.float32), strict=True)


def test_the_layout_of_safetensors(tmp_path: Path) -> None:
    content = saved(tmp_path / "m.safetensors").read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    assert length % 8 == 0
    assert list(header) == list(STATE)
    end = 0
    for entry in sorted(
        (header[key] for key in ARRAYS), key=lambda entry: tuple(entry["data_offsets"])
    ):
        start, stop = entry["data_offsets"]
        assert start == end
        item = {"BOOL": 1, "U8": 1, "F16": 2, "F32": 4, "I32": 4, "F64": 8, "I64": 8}
        assert start % item[entry["dtype"]] == 0
        end = stop
    assert end == len(content) - 8 - length
    notes = header[METADATA_KEY]
    assert all(isinstance(note, str) for note in notes.values())


def test_metadata_of_other_programs_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(safetensors({METADATA_KEY: {"a": "1", "b": ""}}))
    assert load_state_dict_from_file(path) == {METADATA_KEY: {"a": "1", "b": ""}}
    path.write_bytes(safetensors("{}    "))
    assert load_state_dict_from_file(path) == {}


def test_metadata_copied_by_another_program_are_refused(tmp_path: Path) -> None:
    oracle = pytest.importorskip("safetensors", reason="the safetensors package is the oracle")
    from safetensors.numpy import save_file

    path = saved(tmp_path / "m.safetensors")
    with oracle.safe_open(path, "np") as file:
        notes = file.metadata()
    save_file({"w": np.zeros(3)}, path, metadata=notes)
    with pytest.raises(FileFormatError, match="kept the old checksum"):
        load_state_dict_from_file(path)


# --- pickle -------------------------------------------------------------------------------------


def _python_dumps(state: Any, protocol: int) -> bytes:
    file = io.BytesIO()
    pickle._Pickler(file, protocol).dump(state)
    return file.getvalue()


@pytest.mark.parametrize("load", [pickle.load, pickle._Unpickler], ids=["C", "Python"])
def test_pickle_reads_our_files(load: Any, tmp_path: Path) -> None:
    with open(saved(tmp_path / "m.pkl"), "rb") as file:
        loaded = load(file) if load is pickle.load else load(file).load()
        # What follows is the checksum.
        assert file.read().startswith(b"\nnn_io sha256 1\n")
    assert type(loaded) is dict
    assert_equal(loaded, STATE)
    assert loaded[METADATA_KEY] == STATE[METADATA_KEY]
    assert all(loaded[key].flags.writeable for key in ARRAYS)


def test_read_only_arrays_are_pickled_as_writable(tmp_path: Path) -> None:
    array = np.ones(3)
    array.flags.writeable = False
    with open(saved(tmp_path / "m.pkl", {"w": array}), "rb") as file:
        assert pickle.load(file)["w"].flags.writeable


def test_our_pickles_refer_to_no_class_of_nn_packages(tmp_path: Path) -> None:
    content = saved(tmp_path / "m.pkl").read_bytes()
    texts = {str(argument) for _, argument, _ in pickletools.genops(content)}
    assert not any(text.startswith("nn_") and ":" not in text for text in texts)


@pytest.mark.parametrize("kind", [dict, OrderedDict])
@pytest.mark.parametrize("dump", [pickle.dumps, _python_dumps], ids=["C", "Python"])
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_pickles_of_every_protocol(
    protocol: int, dump: Any, kind: Any, tmp_path: Path
) -> None:
    tied = np.arange(4.0)
    read_only = np.arange(3.0)
    read_only.flags.writeable = False
    state = kind(STATE) | {
        "a": tied,
        "b": tied,
        "Fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "memory order": np.arange(24.0).reshape(2, 3, 4).transpose(1, 0, 2),
        "big": np.arange(3, dtype=">i4"),
        "every byte": np.arange(256, dtype=np.uint8),
        "one byte": np.zeros(1, np.uint8),
        "the same byte": np.zeros(1, np.uint8),
        "complex": np.array([1 + 2j]),
        "read-only": read_only,
        "scalar": np.float32(2.5),
        "long": np.arange(20_000, dtype=np.int64),
    }
    state[METADATA_KEY] = {
        "numbers": [0, 255, 256, 70_000, -1, 2**40, -(2**40), 1.5, np.float64(2), np.int32(4)],
        "others": (None, True, False, "ω\n\\", "x" * 300, {}, [], (), {"a": {"b": [1]}}),
    }
    path = tmp_path / "m.pkl"
    path.write_bytes(dump(state, protocol=protocol))
    loaded = load_state_dict_from_file(path)
    assert_equal(loaded, state)
    assert loaded[METADATA_KEY] == {
        "numbers": [0, 255, 256, 70_000, -1, 2**40, -(2**40), 1.5, 2.0, 4],
        "others": [None, True, False, "ω\n\\", "x" * 300, {}, [], [], {"a": {"b": [1]}}],
    }
    for key in state.keys() - {METADATA_KEY}:
        assert loaded[key].flags.c_contiguous, key
        assert loaded[key].flags.writeable, key
        assert loaded[key].dtype.isnative, key
    assert not np.shares_memory(loaded["one byte"], loaded["the same byte"])


def test_python_numbers(tmp_path: Path) -> None:
    path = tmp_path / "m.pkl"
    path.write_bytes(pickle.dumps({"epoch": 3, "loss": 0.5, "done": True}))
    loaded = load_state_dict_from_file(path)
    assert_equal(loaded, {"epoch": np.array(3), "loss": np.array(0.5), "done": np.array(True)})


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_of_numpy_1(protocol: int, tmp_path: Path) -> None:
    content = pickle.dumps({"w": np.arange(3.0), "s": np.float32(1)}, protocol=min(protocol, 3))
    path = tmp_path / "m.pkl"
    path.write_bytes(content.replace(b"numpy._core.", b"numpy.core."))
    assert_equal(
        load_state_dict_from_file(path), {"w": np.arange(3.0), "s": np.array(1, np.float32)}
    )


# --- npz ----------------------------------------------------------------------------------------


def test_numpy_reads_our_files(tmp_path: Path) -> None:
    with np.load(saved(tmp_path / "m.npz")) as loaded:
        assert_equal({key: loaded[key] for key in ARRAYS}, ARRAYS)
        assert json.loads(loaded[METADATA_KEY + ".json"]) == STATE[METADATA_KEY]


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_we_read_files_of_numpy(save: Any, tmp_path: Path) -> None:
    arrays = ARRAYS | {"zeros": np.zeros(100_000), "big": np.arange(3, dtype=">f4")}
    save(tmp_path / "m.npz", **arrays)
    assert_equal(load_state_dict_from_file(tmp_path / "m.npz"), arrays)


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_every_version_of_npy(version: tuple[int, int], tmp_path: Path) -> None:
    for shape in ((), (3,), (2, 3), (0, 4), (1, 1, 1, 1)):
        member = io.BytesIO()
        array = np.asfortranarray(np.arange(np.prod(shape, dtype=int)).reshape(shape))
        np.lib.format.write_array(member, array, version=version)
        (tmp_path / "m.npz").write_bytes(archive({"w.npy": member.getvalue()}))
        assert_equal(load_state_dict_from_file(tmp_path / "m.npz"), {"w": array})


def test_names_in_an_archive_are_keys_and_not_paths(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "m.npz"
    path.parent.mkdir()
    path.write_bytes(archive({"../../evil.npy": npy(), "/etc/evil.npy": npy()}))
    assert list(load_state_dict_from_file(path)) == ["../../evil", "/etc/evil"]
    assert list(tmp_path.rglob("*")) == [path.parent, path]


def test_many_members(tmp_path: Path) -> None:
    state = {f"layers.{i}.weights": np.full(2, i, np.float32) for i in range(2_000)}
    for suffix in (".npz", ".pkl", ".safetensors"):
        assert_equal(load_state_dict_from_file(saved(tmp_path / f"m{suffix}", state)), state)
