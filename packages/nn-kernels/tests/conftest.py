"""Every job is divided among threads here, also those that their caller does alone otherwise.

Without numba, which compiles the kernels, every module of tests is skipped with that reason.
"""

import importlib.util

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


@pytest.fixture
def assert_same_with_any_threads():
    """Return a function that compares what another one computes with 1, 2 and 3 threads."""
    import nn_kernels
    import numpy as np

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
