"""A pytest plugin, ``-p cuda_on_cpu.pytest_plugin``: tests of CUDA run on the stand-in."""

import os

import pytest

from cuda_on_cpu import installation, recorder

__all__ = ["pytest_configure", "pytest_report_header", "pytest_terminal_summary"]

_SETTINGS = ("CUDA_ON_CPU_ORDER", "CUDA_ON_CPU_SEED", "CUDA_ON_CPU_MEMCHECK", "CUDA_ON_CPU_DEVICES")


def pytest_configure():
    """Install the stand-in; with memory checking, each array gets memory of its own."""
    try:
        installation.install()
    except RuntimeError as error:
        raise pytest.UsageError(str(error)) from None
    if os.environ.get("CUDA_ON_CPU_MEMCHECK") == "1":
        import cupy

        cupy.cuda.set_allocator(cupy.cuda.memory._malloc)


def pytest_report_header():
    """Say that this is not a GPU."""
    settings = [f"{name}={os.environ[name]}" for name in _SETTINGS if os.environ.get(name)]
    return " ".join(["CUDA: stand-in on the CPU, not a GPU", *settings])


def pytest_terminal_summary(terminalreporter):
    """Say what reached the device, unless the tests ran in processes of pytest-xdist."""
    total = recorder.total()
    if any(total.values()):
        counts = ", ".join(f"{kind} {count}" for kind, count in total.items())
        terminalreporter.write_line(f"CUDA stand-in: {counts}")
