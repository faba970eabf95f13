"""Every job is divided among threads here, also those that their caller does alone otherwise.

Without numba, which compiles the kernels, every module of tests is skipped with that reason.
"""

import importlib.util
import os
import subprocess
import sys
import threading

import numpy as np
import pytest


class _SkippedModule(pytest.Module):
    def collect(self):
        pytest.skip("could not import 'numba', which compiles the kernels")


def pytest_pycollect_makemodule(module_path, parent):
    """Skip a module before it is imported, which needs numba."""
    if importlib.util.find_spec("numba") is None:
        return _SkippedModule.from_parent(parent, path=module_path)
    return None


@pytest.fixture(autouse=True)
def share_short_jobs(monkeypatch):
    from nn_kernels import _threads

    monkeypatch.setattr(_threads, "WAKES", 0)


def _run_python(arguments, folder, path=(), **variables):
    """Run Python with machine code kept in a folder, if one is named."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA_")}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [*map(str, path), *sys.path]))
    environment |= {"NUMBA_CACHE_DIR": str(folder)} | variables
    environment = {name: value for name, value in environment.items() if value}
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)


@pytest.fixture
def run_python():
    """Return a function that runs Python with its machine code in a folder."""
    return _run_python


@pytest.fixture
def assert_same_with_any_threads():
    """Return a function that compares what another one computes with 1, 2 and 3 threads."""
    import nn_kernels

    before = nn_kernels.get_num_threads()

    def check(compute):
        results = []
        for threads in (1, 2, 3):
            nn_kernels.set_num_threads(threads)
            results.append(compute())
        for other in results[1:]:
            for one, two in zip(results[0], other, strict=True):
                np.testing.assert_array_equal(one, two)

    yield check
    nn_kernels.set_num_threads(before)


@pytest.fixture
def assert_same_for_several_callers():
    """Return a function that compares results of threads that call a kernel at the same time."""

    def check(function, calls, times):
        expected, wrong = [function(*given) for given in calls], []

        def work(number):
            for _ in range(times):
                if not np.array_equal(function(*calls[number]), expected[number]):
                    wrong.append(number)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(len(calls))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=120)
        assert not any(thread.is_alive() for thread in threads)
        assert not wrong

    return check
