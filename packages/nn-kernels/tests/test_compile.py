"""What compiled functions call, and the addresses of jobs when several threads compile."""

import threading

import numpy as np
import pytest
from nn_kernels import _lowering
from nn_kernels._atomics import floats, integers
from nn_kernels._compile import Job, compile_function, subroutine
from numba.core import types
from numba.core.compiler_lock import global_compiler_lock
from numba.core.errors import TypingError


@subroutine()
def add(x, start, count, value):
    for i in range(start, start + count):
        x[i] += value


@subroutine()
def add_twice(x, count, value):
    add(x, 0, count, value)
    add(x, 0, count // 2, value)


@subroutine("contract", returns="float64")
def product_and_sum(x, y, z):
    return x * y + z


@subroutine(returns="UniTuple(int64, 2)")
def halves(n):
    return n // 2, n - n // 2


def run(x, y, count):
    """Call subroutines with several types, directly and within another."""
    add_twice(x, count, 1)
    add(y, 1, 2, 1)
    low, high = halves(count)
    return product_and_sum(x[0], 2.0, low) + high


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_subroutines(dtype):
    x, y = np.zeros(6, dtype), np.zeros(4, np.int64)
    assert compile_function(run)(x, y, 5) == 2 * 2 + 2 + 3
    np.testing.assert_array_equal(x, [2, 2, 1, 1, 1, 0])
    np.testing.assert_array_equal(y, [0, 1, 1, 0])


def test_a_subroutine_is_lowered_once_for_each_types_of_arguments(monkeypatch):
    lower, lowered = _lowering._lower, []

    def count(library, function, kinds, returns, flags):
        lowered.append(kinds[0].dtype)
        return lower(library, function, kinds, returns, flags)

    monkeypatch.setattr(_lowering, "_lower", count)
    text = "def run(x, y):\n    add(x, 0, 1, 2.0)\n    add(y, 0, 1, 2)\n    add(x, 1, 1, 2.0)\n"
    names = {"add": add}
    exec(text, names)  # what no file has is not loaded from the cache
    compile_function(names["run"])(np.zeros(2), np.zeros(2, np.int64))
    assert lowered == [types.float64, types.int64]


def test_a_subroutine_is_called_from_python_as_well():
    x = np.zeros(3)
    add_twice(x, 2, 1.5)
    np.testing.assert_array_equal(x, [3, 1.5, 0])
    assert halves(5) == (2, 3)


def test_an_intrinsic_is_called_by_compiled_functions_alone():
    with pytest.raises(NotImplementedError, match="place is called by compiled functions alone"):
        floats(0)


def test_a_subroutine_of_other_types_raises_the_error_of_numba():
    with pytest.raises(TypingError):
        compile_function(run)(1.0, np.zeros(4, np.int64), 5)


def first(a, part, thread):
    add_twice(integers(a[0]), 2, part)


def second(a, part, thread):
    add_twice(integers(a[0]), 1, part)


def test_a_thread_that_compiles_may_ask_for_an_address_that_others_wait_for():
    jobs = Job(first), Job(second)
    asks, found = threading.Event(), []

    def ask():
        asks.set()
        found.append(jobs[0].address)

    def ask_while_compiling():
        with global_compiler_lock:
            other.start()
            asks.wait()
            other.join(0.2)  # it waits for this thread now
            found.append(jobs[1].address)

    other = threading.Thread(target=ask, daemon=True)
    compiling = threading.Thread(target=ask_while_compiling, daemon=True)
    compiling.start()
    compiling.join(60)
    assert not compiling.is_alive(), "the threads wait for each other"
    other.join(60)
    assert found == [jobs[1].address, jobs[0].address]


def test_threads_that_ask_at_once_compile_a_job_once():
    job, found = Job(first), []
    threads = [threading.Thread(target=lambda: found.append(job.address)) for _ in range(4)]
    with global_compiler_lock:
        for thread in threads:
            thread.start()
    for thread in threads:
        thread.join()
    assert set(found) == {job.address}
