"""The pool of threads: forks, several callers, settings, interrupts."""

import os
import signal
import subprocess
import sys
import threading
import time

import nn_kernels
import numpy as np
import pytest
from nn_kernels import _threads
from nn_kernels.activations import _BLOCK, relu
from nn_kernels.convolution import conv2d

WINDOWS = (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), "auto"


@pytest.fixture(autouse=True)
def two_threads():
    before = nn_kernels.get_num_threads()
    nn_kernels.set_num_threads(2)
    yield
    nn_kernels.set_num_threads(before)


def arrays(seed):
    rng = np.random.default_rng(seed)
    shapes = (16, 32, 16, 16), (32, 32, 3, 3)
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


@pytest.mark.parametrize("size", [1, 15, 16, 1000, 1 << 16])
def test_aligned_memory_begins_with_a_line_of_the_cache(size):
    kept = [_threads.aligned(size) for _ in range(8)]
    assert all(x.shape == (size,) and x.ctypes.data % 64 == 0 for x in kept)
    assert _threads._workspace(size).ctypes.data % 64 == 0


def run(script):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=300
    )


def test_callers_in_several_threads_get_their_own_results(assert_same_for_several_callers):
    calls = [(*arrays(seed), 0.0, WINDOWS, 1) for seed in range(4)]
    assert_same_for_several_callers(conv2d, calls, 30)


def test_short_jobs_are_done_by_their_caller(monkeypatch):
    monkeypatch.undo()
    x, w = arrays(0)
    jobs = _threads._get_pool().state[_threads._JOBS].item()
    conv2d(x[:1, :, :4, :4], w, 0.0, WINDOWS, 1)
    assert _threads._get_pool().state[_threads._JOBS] == jobs
    conv2d(x, w, 0.0, WINDOWS, 1)
    assert _threads._get_pool().state[_threads._JOBS] > jobs


@pytest.mark.parametrize("parts", [8, 9, 12, 20])
def test_few_parts_are_those_of_the_threads_that_are_woken_up(parts):
    nn_kernels.set_num_threads(12)
    relu(np.ones((parts, _BLOCK), np.float32))
    ends = _threads._get_pool().state[_threads._TICKETS + 1 :: _threads._LINE].tolist()
    assert len({0, *ends[:parts]}) == 1 + min(parts, 12)
    assert ends[-1] == parts


def test_another_number_of_threads_leaves_none_behind():
    x = np.ones((512, 512), np.float32)
    for _ in range(50):
        nn_kernels.set_num_threads(4)
        relu(x)
        nn_kernels.set_num_threads(1)
    stop = time.monotonic() + 30
    workers = [t for t in threading.enumerate() if t.name.startswith("nn-kernels-")]
    for thread in workers:
        thread.join(max(0, stop - time.monotonic()))
    assert not any(thread.is_alive() for thread in workers)


def finishes(function):
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    thread.join(60)
    return not thread.is_alive()


def test_a_signal_handler_runs_kernels_while_the_pool_starts(monkeypatch):
    x, handled = np.ones((512, 512), np.float32), []

    class Interrupted(_threads._Worker):
        def __init__(self, *arguments):
            if not handled:
                handled.append(None)
                relu(x)
            super().__init__(*arguments)

    nn_kernels.set_num_threads(2)
    monkeypatch.setattr(_threads, "_Worker", Interrupted)
    assert finishes(lambda: relu(x))
    assert handled


def test_a_signal_handler_sets_the_number_of_threads_while_a_kernel_runs(monkeypatch):
    run, results = _threads._Pool.run, []

    def interrupted(pool, *arguments):
        nn_kernels.set_num_threads(3)
        run(pool, *arguments)

    monkeypatch.setattr(_threads._Pool, "run", interrupted)
    x = np.linspace(-1, 1, 1 << 18, dtype=np.float32).reshape(512, 512)
    assert finishes(lambda: results.append(relu(x)))
    np.testing.assert_array_equal(results[0], np.maximum(x, 0))


_START = """
import os, signal, threading, warnings
import numpy as np
import nn_kernels
from nn_kernels.convolution import conv2d
signal.signal(signal.SIGINT, signal.default_int_handler)  # perhaps ignored in the background
nn_kernels.set_num_threads(2)
rng = np.random.default_rng(0)
x = rng.standard_normal((16, 32, 16, 16)).astype(np.float32)
w = rng.standard_normal((32, 32, 3, 3)).astype(np.float32)
arguments = x, w, 0.0, ((3, 3), (1, 1), (1, 1, 1, 1), (1, 1), "auto"), 1
expected = conv2d(*arguments)
"""
_FORK = """
warnings.simplefilter("ignore")  # newer Pythons warn of a fork while there are threads
child = os.fork()
same = all(np.array_equal(conv2d(*arguments), expected) for _ in range(5))
if not child:
    os._exit(0 if same else 1)
print(same, os.waitpid(child, 0)[1])
"""
_FORK_WHILE_A_THREAD_COMPILES = """
import sys
from llvmlite.binding import ffi
from nn_kernels._compile import Job
from numba.core.compiler_lock import global_compiler_lock

def job(a, part, thread):
    a[0] = part

def hold(lock):
    with lock:
        held.set()
        forked.wait(1)  # in vain: the fork waits for this thread

warnings.simplefilter("ignore")
for lock in global_compiler_lock, ffi.lib._lock:
    held, forked = threading.Event(), threading.Event()
    other = threading.Thread(target=hold, args=(lock,))
    other.start()
    held.wait()
    child = os.fork()
    if not child:
        signal.alarm(60)
        os._exit(0 if Job(job).address else 1)
    forked.set()
    other.join()
    print(os.waitpid(child, 0)[1], Job(job).address > 0)
"""
_INTERRUPT = """
caught = 0
for _ in range(5):
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        while True:
            conv2d(*arguments)
    except KeyboardInterrupt:
        caught += 1
print(caught, np.array_equal(conv2d(*arguments), expected))
"""
_INTERRUPT_OFTEN = """
from nn_kernels import _threads
from nn_kernels.gelu import gelu

def interrupt(*_):
    raise KeyboardInterrupt

x = np.zeros(200_000, np.float32)
out = np.empty_like(x)
gelu(x, out, [])
signal.signal(signal.SIGALRM, interrupt)
for _ in range(2000):
    try:
        signal.setitimer(signal.ITIMER_REAL, 5e-4 + 2e-4 * rng.random())
        while True:
            gelu(x, out, [])
    except KeyboardInterrupt:
        pass
print(_threads._pool.lock.locked())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")
def test_fork():
    done = run(_START + _FORK)
    assert done.stdout == "True 0\n", done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")
def test_a_child_compiles_when_another_thread_was_compiling():
    done = run(_START + _FORK_WHILE_A_THREAD_COMPILES)
    assert done.stdout == "0 True\n0 True\n", done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="a process is interrupted otherwise")
def test_interrupt():
    done = run(_START + _INTERRUPT)
    assert done.stdout == "5 True\n", done.stderr


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="the system has no such timer")
def test_interrupts_leave_the_pool_unlocked():
    done = run(_START + _INTERRUPT_OFTEN)
    assert done.stdout == "False\n", done.stderr


def test_number_of_threads():
    nn_kernels.set_num_threads(3)
    assert nn_kernels.get_num_threads() == 3
    with pytest.raises(ValueError, match="number: expected at least 1, got 0"):
        nn_kernels.set_num_threads(0)
    with pytest.raises(TypeError, match="number: expected an integer, got 'two'"):
        nn_kernels.set_num_threads("two")
    assert nn_kernels.get_num_threads() == 3


@pytest.mark.parametrize("name", ["NN_KERNELS_NUM_THREADS", "OMP_NUM_THREADS"])
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="one thread elsewhere")
def test_number_of_threads_from_the_environment(name, monkeypatch):
    monkeypatch.delenv("NN_KERNELS_NUM_THREADS", raising=False)
    monkeypatch.setenv(name, "5")
    assert run("import nn_kernels; print(nn_kernels.get_num_threads())").stdout == "5\n"
