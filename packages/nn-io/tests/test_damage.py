"""Any flipped bit and any cut in a file that nn_io wrote is an error that names the file."""

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nn_io import FileFormatError, load_state_dict_from_file, save_model_parameters

STATES: dict[str, dict[str, Any]] = {
    "with metadata": {
        "0.weights": np.arange(3, dtype=np.float32),
        "__metadata__": {"class": "Sequential", "shapes": [[3]]},
        "0.bias": np.array([True, False]),
    },
    "without metadata": {"w": np.arange(2, dtype=np.int16)},
    "empty": {},
}


@pytest.fixture(params=STATES)
def path(request: pytest.FixtureRequest, suffix: str, tmp_path: Path) -> Path:
    path = tmp_path / f"model{suffix}"
    save_model_parameters(STATES[request.param], path)
    return path


def _assert_refused(path: Path, how: str) -> None:
    with pytest.raises(FileFormatError, match="^" + re.escape(f"{path}: ")):
        pytest.fail(f"{how} loaded as {load_state_dict_from_file(path)}")


def test_every_flipped_bit_is_detected(path: Path) -> None:
    content = path.read_bytes()
    with open(path, "r+b", buffering=0) as file:
        for place, byte in enumerate(content):
            for bit in range(8):
                os.pwrite(file.fileno(), bytes([byte ^ 1 << bit]), place)
                _assert_refused(path, f"bit {bit} of byte {place} flipped")
            os.pwrite(file.fileno(), bytes([byte]), place)
    load_state_dict_from_file(path)


def test_every_cut_is_detected(path: Path) -> None:
    for size in reversed(range(path.stat().st_size)):
        os.truncate(path, size)
        _assert_refused(path, f"cut to {size} bytes")


def test_appended_bytes_are_detected(path: Path) -> None:
    content = path.read_bytes()
    for more in (b"\0", b"\n", b" ", b".", b"0" * 64, content):
        path.write_bytes(content + more)
        _assert_refused(path, f"with {len(more)} bytes more")


def test_halves_of_two_files_are_detected(suffix: str, tmp_path: Path) -> None:
    one, two = tmp_path / f"one{suffix}", tmp_path / f"two{suffix}"
    save_model_parameters({"w": np.zeros(100)}, one)
    save_model_parameters({"w": np.ones(100)}, two)
    first, second = one.read_bytes(), two.read_bytes()
    assert len(first) == len(second)
    middle = len(first) // 2
    one.write_bytes(first[:middle] + second[middle:])
    _assert_refused(one, "two halves")


def test_a_file_that_changes_while_it_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.npz"
    np.savez(path, w=np.zeros(4))
    real, calls = os.fstat, 0

    def fstat_and_touch(descriptor: int) -> os.stat_result:
        nonlocal calls
        calls += 1
        status = real(descriptor)
        os.utime(path, ns=(calls, calls))
        return status

    with monkeypatch.context() as patch:
        patch.setattr(os, "fstat", fstat_and_touch)
        with pytest.raises(FileFormatError, match="changed while"):
            load_state_dict_from_file(path)
    assert list(load_state_dict_from_file(path)) == ["w"]
