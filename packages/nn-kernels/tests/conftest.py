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

    monkeypatch.setattr(_threads, "_SHORT", 0)
