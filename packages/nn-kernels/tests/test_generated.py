"""Generated text: compiled once, kept on disk by its content, never taken from a wrong file."""

import numba
import numpy as np
import pytest
from nn_kernels import _generated, compile_source

SOURCE = """
def run(x, y):
    for i in range(y.size):
        y[i] = x[i] * {}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
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


def test_a_file_with_another_text_is_not_run(folder):
    run(SOURCE.format(5), 5)
    (path,) = folder.glob("*.py")
    path.write_text("raise SystemExit('no')")
    compile_source.cache_clear()
    run(SOURCE.format(5), 5)


def test_without_a_folder_it_is_compiled_all_the_same(monkeypatch, tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    monkeypatch.setattr(_generated, "_folder", lambda: file / "inside")
    compile_source.cache_clear()
    run(SOURCE.format(7), 7)
    compile_source.cache_clear()
