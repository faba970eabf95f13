"""The kernels without AVX-512 or AVX, in unwritable folders, with a limited BLAS, in processes."""

import os
import platform
import shutil
import sys
from pathlib import Path

import nn_kernels
import numpy as np
import pytest

TESTS, SOURCES = Path(__file__).parent, Path(nn_kernels.__file__).parent

on_demand = pytest.mark.skipif(
    int(os.environ.get("NN_KERNELS_SHAPES", "0")) < 1000,
    reason="on demand: NN_KERNELS_SHAPES is below 1,000",
)
# With AVX2, and without AVX (compiling for it takes long, and few processors need it).
PROCESSORS = ["haswell", pytest.param("x86-64", marks=on_demand)]


@pytest.fixture
def cache_of(tmp_path_factory):
    """Return a function that gives the folder of the machine code for a processor.

    It is that of the other tests for the processor found here, and one of this run for another.
    """
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # which the workers share
    here = os.environ.get("NUMBA_CACHE_DIR", "")
    return lambda processor: base / f"nn_kernels_{processor}" if processor else here


_ON_PROCESSOR = """
import numpy as np
from nn_kernels._vectors import WIDE
from nn_kernels.convolution import conv2d, conv2d_input_gradient, conv2d_weight_gradient
from nn_kernels.softmax import softmax

rng = np.random.default_rng(0)
x = rng.standard_normal((2, 17, 9, 11)).astype("f")
w = rng.standard_normal((19, 17, 3, 3)).astype("f")
padded = np.pad(x.astype(float), ((0, 0), (0, 0), (1, 1), (1, 1)))
views = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3))
truth = np.einsum("nchwij,ocij->nohw", views, w)
weight_truth = np.einsum("nchwij,nohw->ocij", views, truth)
errors = []
for algorithm in ("direct", "winograd"):
    windows = (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), algorithm
    out = conv2d(x, w, 0.0, windows, 1)
    dw = conv2d_weight_gradient(x, out, windows, 1)
    dx = conv2d_input_gradient(out, w, (9, 11), windows, 1)
    dot = np.vdot(dx.astype(float), x), np.vdot(truth, truth)  # of adjoint functions
    errors += [abs(out - truth).max() / abs(truth).max()]
    errors += [abs(dw - weight_truth).max() / abs(weight_truth).max(), abs(dot[0] / dot[1] - 1)]
rows = rng.standard_normal((50, 101)).astype("f")
exps = np.exp(rows.astype(float))
errors += [abs(softmax(rows, -1) - exps / exps.sum(-1, keepdims=True)).max()]
assert max(errors) < 1e-5, errors
print(WIDE)
"""


@pytest.mark.parametrize("processor", PROCESSORS)
@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="processors of AMD, Intel"
)
def test_other_processors(run_python, processor, cache_of):
    done = run_python(["-c", _ON_PROCESSOR], cache_of(processor), NUMBA_CPU_NAME=processor)
    assert done.stdout == "False\n", done.stderr


@pytest.mark.parametrize("processor", ["haswell", "x86-64"])
@on_demand
def test_all_kernels_on_other_processors(run_python, processor, tmp_path):
    modules = [str(path) for path in TESTS.glob("test_*.py") if path.name != Path(__file__).name]
    arguments = ["-m", "pytest", "-q", "-p", "no:cacheprovider", *modules]
    done = run_python(arguments, tmp_path, NUMBA_CPU_NAME=processor, NN_KERNELS_SHAPES="12")
    assert done.returncode == 0, done.stdout[-3000:]


_AT_THE_END_OF_MEMORY = """
import ctypes, mmap
import numpy as np
from nn_kernels.convolution import conv2d, conv2d_input_gradient, conv2d_weight_gradient
from nn_kernels.matmul import matmul

protect, kept = ctypes.CDLL(None).mprotect, []

def at_the_end(array):
    size = array.nbytes + -array.nbytes % mmap.PAGESIZE
    memory = mmap.mmap(-1, size + mmap.PAGESIZE)
    kept.append(memory)
    copy = np.frombuffer(memory, array.dtype, array.size, size - array.nbytes)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    assert protect(ctypes.c_void_p(start + size), mmap.PAGESIZE, 0) == 0  # no access
    copy = copy.reshape(array.shape)
    copy[...] = array
    return copy

rng = np.random.default_rng(0)
for batch, channels, outputs, size in (2, 16, 16, 9), (1, 19, 35, 7), (5, 16, 32, 15):
    x = rng.random((batch, channels, size, size), "f")
    w = rng.random((outputs, channels, 3, 3), "f")
    for algorithm in ("direct", "winograd"):
        windows = (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), algorithm
        def results(x, w):
            out = conv2d(x, w, 0.0, windows, 1)
            g = at_the_end(out)
            dx = conv2d_input_gradient(g, w, (size, size), windows, 1)
            return out, dx, conv2d_weight_gradient(x, g, windows, 1)
        pairs = zip(results(at_the_end(x), at_the_end(w)), results(x, w))
        assert all(np.array_equal(one, other) for one, other in pairs)
x, y = rng.random((67, 131), "f"), rng.random((131, 83), "f")
for pair in (x, y), (x.T.copy().T, y), (x, y.T.copy().T):
    one, other = matmul(*pair), matmul(*map(at_the_end, pair))
    assert one is other is NotImplemented or np.array_equal(one, other)
print("right")
"""


@pytest.mark.parametrize("processor", [None, *PROCESSORS])
@pytest.mark.skipif(
    not sys.platform.startswith("linux") or platform.machine() != "x86_64",
    reason="memory is protected by mprotect, processors are those of AMD and Intel",
)
def test_nothing_is_read_beyond_the_end_of_memory(run_python, processor, cache_of):
    script, name = ["-c", _AT_THE_END_OF_MEMORY], processor or ""
    done = run_python(script, cache_of(processor), NUMBA_CPU_NAME=name)
    assert done.stdout == "right\n", done.stderr


_RELU = """
import numpy as np, nn_kernels
from nn_kernels.activations import relu
nn_kernels.set_num_threads(2)
x = np.linspace(-1, 1, 1 << 20, dtype="f")
assert np.array_equal(relu(x), np.maximum(x, 0))
print(nn_kernels.__file__)
"""


@pytest.mark.parametrize("home", ["a folder", "a file"])
def test_an_installation_that_cannot_be_written_to(run_python, home, tmp_path):
    """The machine code goes to the user's cache folder; where there is none, it is not kept."""
    package = tmp_path / "installed" / "nn_kernels"
    shutil.copytree(SOURCES, package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "__pycache__").write_text("a file in place of the folder, which nobody can create")
    user = tmp_path / "user"
    if home == "a folder":
        user.mkdir()
    else:
        user.write_text("")
    folders = {name: str(user) for name in ("HOME", "USERPROFILE", "LOCALAPPDATA", "APPDATA")}
    done = run_python(
        ["-c", _RELU], "", [package.parent], XDG_CACHE_HOME=str(user / "cache"), **folders
    )
    assert done.stdout == f"{package / '__init__.py'}\n", done.stderr
    kept = list(user.rglob("*.o")) if user.is_dir() else []
    assert bool(kept) == (home == "a folder")


def test_a_limit_of_blas_threads_stays_what_it_is():
    """Kernels neither change the number of threads of BLAS nor depend on it."""
    threadpoolctl = pytest.importorskip("threadpoolctl")
    from nn_kernels.convolution import conv2d

    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, 32, 16, 16)).astype(np.float32)
    w = rng.standard_normal((32, 32, 3, 3)).astype(np.float32)
    windows = (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), "auto"
    np.ones((300, 300)) @ np.ones((300, 300))  # so that BLAS is loaded
    expected = conv2d(x, w, 0.0, windows, 1)
    before = threadpoolctl.threadpool_info()
    with threadpoolctl.threadpool_limits(1):
        limited = threadpoolctl.threadpool_info()
        np.testing.assert_array_equal(conv2d(x, w, 0.0, windows, 1), expected)
        assert threadpoolctl.threadpool_info() == limited
    assert threadpoolctl.threadpool_info() == before


def test_processes_of_multiprocessing(run_python, cache_of):
    """Each process has a pool of its own, whether it was forked or started anew."""
    script = (
        "import multiprocessing, sys\n"
        "from test_environments import child\n"
        "if __name__ == '__main__':\n"
        "    import warnings; warnings.simplefilter('ignore')\n"
        "    child(0)\n"
        "    for method in multiprocessing.get_all_start_methods():\n"
        "        with multiprocessing.get_context(method).Pool(2) as pool:\n"
        "            assert pool.map(child, range(4)) == [True] * 4, method\n"
        "    print('done')\n"
    )
    done = run_python(["-c", script], cache_of(None), [TESTS])
    assert done.stdout == "done\n", done.stderr


def child(seed):
    """Return whether ReLU of a large array is right."""
    from nn_kernels.activations import relu

    nn_kernels.set_num_threads(2)
    x = np.random.default_rng(seed).standard_normal(1 << 18).astype(np.float32)
    return bool(np.array_equal(relu(x), np.maximum(x, 0)))
