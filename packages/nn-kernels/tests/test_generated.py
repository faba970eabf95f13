"""Generated text: compiled once, kept on disk by its content, never taken from a wrong file."""

import pathlib

import numpy as np
import pytest
from nn_kernels import _generated, compile_parts, compile_source

SOURCE = """
def run(x, y):
    for i in range(y.size):
        y[i] = x[i] * {}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    compile_source.cache_clear()
    yield tmp_path
    compile_source.cache_clear()


def run(source, factor):
    x, y = np.arange(3.0), np.empty(3)
    compile_source(source)(x, y)
    np.testing.assert_array_equal(y, x * factor)


def test_equal_texts_give_one_function(folder):
    assert compile_source(SOURCE.format(2)) is compile_source(SOURCE.format(2))
    run(SOURCE.format(2), 2)
    run(SOURCE.format(3), 3)
    assert len(list(folder.glob("*.py"))) == 2
    assert not list(folder.glob("*.part"))


@pytest.mark.parametrize("text", [b"raise SystemExit('no')", b"", b"\xff\xfe"])
def test_a_file_with_another_text_is_not_run_but_written_again(folder, text):
    run(SOURCE.format(5), 5)
    (path,) = folder.glob("*.py")
    path.write_bytes(text)
    compile_source.cache_clear()
    run(SOURCE.format(5), 5)
    assert path.read_bytes() == SOURCE.format(5).encode()
    assert not list(folder.glob("*.part"))


def test_a_file_that_cannot_be_written_leaves_nothing_behind(folder, monkeypatch):
    def fail(*_):
        raise PermissionError

    monkeypatch.setattr(pathlib.Path, "replace", fail)
    run(SOURCE.format(11), 11)
    assert not list(folder.iterdir())


def test_without_a_folder_it_is_compiled_all_the_same(monkeypatch, tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    monkeypatch.setattr(_generated, "folder_of_user", lambda: file / "inside")
    compile_source.cache_clear()
    run(SOURCE.format(7), 7)
    compile_source.cache_clear()


def test_a_text_may_take_arrays_from_addresses():
    text = """
def run(table):
    x, y = doubles(table[1]), floats(table[2])
    for i in range(table[0]):
        y[i] = x[i] + 1
"""
    x, y = np.arange(4.0), np.zeros(5, np.float32)
    table = [4, *(array.__array_interface__["data"][0] for array in (x, y))]
    compile_source(text)(np.array(table))
    np.testing.assert_array_equal(y, [1, 2, 3, 4, 0])


PARTS = """
def run(a, part, thread):
    x, y, factor, width = floats(a[2]), doubles(a[3]), a[4], integers(a[5])[0]
    for i in range(part * width, (part + 1) * width):
        y[i] = x[i] * factor
"""


@pytest.mark.parametrize("work", [0, 10_000_000])
def test_parts_of_a_job(folder, work):
    _generated.compile_job.cache_clear()
    x = np.arange(12, dtype=np.float32)
    for _ in range(2):  # the second time with what is on disk
        y = np.zeros(14)
        compile_parts(PARTS)((x, y, 3, np.array([4])))(3, work)
        np.testing.assert_array_equal(y, [*(x * 3), 0, 0])
        _generated.compile_job.cache_clear()
    assert len(list(folder.rglob("nn_kernels_generated_*.o"))) == 1
    assert not list(folder.glob("*.py"))
