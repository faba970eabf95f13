"""`reuse_memory`: what is freed stays with the process."""

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource
import numpy as np
import nn_tensor

def faults(steps=20):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(steps):
        arrays = [np.ones(250_000) for _ in range(10)]  # 2 MB each
        del arrays
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / steps

faults()
usual = faults()
assert nn_tensor.reuse_memory()
faults()
print(usual, faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_large_arrays_find_pages_that_are_there() -> None:
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    usual, kept = map(float, done.stdout.split())
    assert usual > 1000  # twenty megabytes anew, in pages of four kilobytes
    assert kept < usual / 20
