"""Machine code on disk: found by what it was made from, and read without numba."""

import os
import shutil
from pathlib import Path

import nn_kernels
import numpy as np
import pytest
from nn_kernels import _objects, compile_parts
from nn_kernels._atomics import floats
from nn_kernels._compile import Job
from nn_kernels._generated import compile_job
from nn_kernels._threads import run

SOURCES = Path(nn_kernels.__file__).parent


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    return tmp_path


def _double(a, part, thread):
    x = floats(a[2])
    x[part] = 2 * x[part]


def doubled(job):
    x = np.arange(4, dtype=np.float32)
    run(job, [x], 4)
    return x.tolist()


def test_machine_code_is_found_again(folder, monkeypatch):
    assert doubled(Job(_double)) == [0, 2, 4, 6]
    (kept,) = folder.rglob("double_*.o")
    monkeypatch.delattr("nn_kernels._lowering.compile_object")
    assert doubled(Job(_double)) == [0, 2, 4, 6]
    assert kept.parent.parent == folder
    assert not list(folder.rglob("*.part"))


@pytest.mark.parametrize("damage", ["empty", "cut", "changed", "no code"])
def test_a_damaged_file_is_not_run_but_written_again(folder, damage):
    assert doubled(Job(_double)) == [0, 2, 4, 6]
    (kept,) = folder.rglob("double_*.o")
    right = kept.read_bytes()
    wrong = {
        "empty": b"",
        "cut": right[:-1],
        "changed": right[:-100] + b"\0" * 100,
        "no code": right[: _objects._DIGEST],
    }
    kept.write_bytes(wrong[damage])
    assert doubled(Job(_double)) == [0, 2, 4, 6]
    assert kept.read_bytes() == right


def test_other_sources_have_other_names(tmp_path):
    names = set()
    for text in ("x = 1\n", "x = 2\n", "\nx = 1\n"):
        path = tmp_path / "module.py"
        path.write_text(text + "def f(a, part, thread): pass\n")
        space = {"__name__": "module"}
        exec(compile(path.read_text(), path, "exec"), space)
        names.add(_objects.key_of(space["f"]))
    assert len(names) == 3


def test_what_is_in_no_file_or_depends_on_variables_is_not_kept(folder):
    space = {}
    exec("def f(a, part, thread): pass", space)
    assert _objects.key_of(space["f"]) is None

    def jobs():
        for factor in (2, 3):

            def job(a, part, thread):
                floats(a[2])[part] = factor  # noqa: B023

            yield job

    assert [_objects.key_of(job) for job in jobs()] == [None, None]


def test_the_folder_depends_on_versions_sources_and_processor(monkeypatch, tmp_path):
    name = _objects._name.__wrapped__
    names = {name()}
    with monkeypatch.context() as changed:
        changed.setattr(np, "__version__", "1.0")
        names.add(name())
    with monkeypatch.context() as changed:
        changed.setattr(_objects, "_version_of_numba", lambda: b"0.1")
        names.add(name())
    with monkeypatch.context() as changed:
        changed.setattr("nn_kernels._target.DESCRIPTION", "another")
        names.add(name())
    shutil.copytree(SOURCES, tmp_path / "nn_kernels")
    monkeypatch.setattr(_objects, "_HERE", tmp_path / "nn_kernels")
    assert name() in names
    (tmp_path / "nn_kernels" / "_vectors.py").write_text("LANES = 8\n")
    names.add(name())
    assert len(names) == 5


def test_nothing_is_kept_where_a_source_has_changed_since_the_process_began(folder, monkeypatch):
    assert _objects._name()
    monkeypatch.setattr(_objects, "_name_of_sources", lambda: "another")
    assert doubled(Job(_double)) == [0, 2, 4, 6]
    assert not list(folder.rglob("double_*.o"))


def test_nothing_is_kept_without_sources(folder, monkeypatch, tmp_path):
    (tmp_path / "archive").mkdir()
    monkeypatch.setattr(_objects, "_HERE", tmp_path / "archive")
    monkeypatch.setattr(_objects, "_name", _objects._name_of_sources)
    assert doubled(Job(_double)) == [0, 2, 4, 6]
    assert not list(folder.rglob("*.o"))
    assert not _objects.any_exists()


def test_a_folder_that_cannot_be_looked_into(run_python):
    for name in ("x" * 5000, "a\0b" if os.name == "nt" else "/proc/1/no"):
        assert run_python(["-c", _RELU], name).stdout == "True\n"


_GAMMA = """
import math
def run(a, part, thread):
    floats(a[2])[part] = math.gamma(part + 1.0)
"""


def test_functions_that_only_numba_has_are_found_in_each_process(folder):
    for _ in range(2):
        compile_job.cache_clear()
        x = np.empty(5, np.float32)
        compile_parts(_GAMMA)((x,))(5, 100)
        assert x.tolist() == [1, 1, 2, 6, 24]


@pytest.mark.parametrize("statement", ["raise ValueError", "raise ValueError('no')", "assert part"])
def test_a_job_that_raises_is_refused(statement):
    with pytest.raises(TypeError, match="run: a job cannot raise"):
        compile_parts(f"def run(a, part, thread):\n    {statement}\n")(())(1, 100)


def test_folders_of_many_versions_are_not_kept(folder):
    others = [folder / f"nn_kernels_{number:024}" for number in range(20)]
    for age, path in enumerate(others):
        path.mkdir()
        (path / "job.o").write_bytes(b"")
        os.utime(path, (1e9 - age, 1e9 - age))
    (folder / "nn_kernels_notes").mkdir()
    (folder / f"nn_kernels_{'0' * 23}x").write_text("a file")
    doubled(Job(_double))
    assert [path.exists() for path in others] == [True] * 15 + [False] * 5
    assert len(list(folder.iterdir())) == 15 + 3


_RELU = """
import sys
import numpy as np
from nn_kernels.activations import relu
x = np.linspace(-1, 1, 1 << 20, dtype="f")
assert np.array_equal(relu(x), np.maximum(x, 0))
print("numba" in sys.modules)
"""


def test_numba_is_imported_where_it_compiles_alone(run_python, tmp_path):
    assert [run_python(["-c", _RELU], tmp_path).stdout for _ in range(2)] == ["True\n", "False\n"]


def test_without_numba_the_package_cannot_be_imported(run_python, tmp_path):
    """Also where its machine code is on disk: the next kernel would have to be compiled."""
    assert run_python(["-c", _RELU], tmp_path).returncode == 0
    hidden = (
        "import importlib.util as u, sys\n"
        "find = u.find_spec\n"
        "u.find_spec = lambda name, *more: None if name == 'numba' else find(name, *more)\n"
        "import nn_kernels\n"
    )
    done = run_python(["-c", hidden], tmp_path)
    assert "ModuleNotFoundError: No module named 'numba'" in done.stderr


_AT_THE_END = """
import numpy as np, nn_kernels
from nn_kernels.activations import relu
nn_kernels.set_num_threads(4)
x = np.ones(1 << 20, "f")
for _ in range(20):
    relu(x)
"""  # the other threads are still looking for work


def test_a_process_ends_while_its_threads_run_machine_code(run_python, tmp_path):
    for _ in range(5):
        done = run_python(["-c", _AT_THE_END], tmp_path)
        assert (done.returncode, done.stderr) == (0, "")


_MANY = """
import sys, threading
from nn_kernels.activations import _RELU
found = []
threads = [threading.Thread(target=lambda: found.append(_RELU.address)) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(len(set(found)), "numba" in sys.modules)
"""


def test_threads_that_load_at_once_find_one_address(run_python, tmp_path):
    assert [run_python(["-c", _MANY], tmp_path).stdout for _ in range(2)] == [
        "1 True\n",
        "1 False\n",
    ]


_FORKS = """
import os, sys, threading, time, warnings
import numpy as np
from nn_kernels import compile_parts
warnings.simplefilter("ignore")  # newer Pythons warn of a fork while there are threads

def compute(k):
    x = np.zeros(2)
    compile_parts(f"def run(a, p, t):\\n    doubles(a[2])[p] = {k}\\n")((x,))(2, 100)
    assert x[1] == k

pause = float(sys.argv[1])
threads = [threading.Thread(target=compute, args=(k,)) for k in range(3)]
for thread in threads: thread.start()
children = []
for k in range(3):
    time.sleep(pause)
    child = os.fork()
    if not child:
        compute(k + 10)
        os._exit(0)
    children.append(child)
print([os.waitpid(child, 0)[1] for child in children])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")
@pytest.mark.parametrize("pause", ["0", "0.1", "0.4"])
def test_forks_while_numba_is_imported_and_compiles(run_python, tmp_path, pause):
    assert run_python(["-c", _RELU], tmp_path).returncode == 0  # numba is not imported at once
    done = run_python(["-c", _FORKS, pause], tmp_path)
    assert done.stdout == "[0, 0, 0]\n", done.stderr
