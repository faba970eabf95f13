"""Loops over rows equal NumPy for rows of all short lengths, and touch nothing beside them."""

import ctypes
import math
import mmap
import sys

import numpy as np
import pytest
from nn_kernels._compile import compile_function
from nn_kernels._rows import at, row_loop

DTYPES = np.float32, np.float64
LENGTHS = [*range(150), 1000, 1003]


@row_loop(written=2, sums=2)
def loop(x, y, factor):
    difference = (x - y) * factor
    return difference, x + y, difference, difference * difference


@row_loop(largest=1)
def largest(x):
    return x


@row_loop(written=1)
def double(x):
    return x + x


def run(x, y, a, b, start, count, factor):
    return loop(count, at(a, start), at(b, start), at(x, start), at(y, start), factor)


def run_largest(x, start, count):
    return largest(count, at(x, start))


def run_double(x, out, start, count):
    double(count, at(out, start), at(x, start))


run, run_largest, run_double = map(compile_function, (run, run_largest, run_double))


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_length_equals_numpy_and_writes_to_its_row_alone(dtype):
    rng = np.random.default_rng(0)
    for count in LENGTHS:
        start = count % 7 + 1
        row = slice(start, start + count)
        x, y = np.full((2, count + 9), np.nan, dtype)
        a, b = np.full((2, count + 9), 7, dtype)
        x[row], y[row] = rng.standard_normal((2, count))
        totals = run(x, y, a, b, start, count, dtype(3))
        difference = (x[row].astype(float) - y[row]) * 3
        close = {"rtol": 1e-6 if dtype == np.float32 else 1e-14, "atol": 1e-6}
        np.testing.assert_allclose(a[row], difference, **close)
        np.testing.assert_array_equal(b[row], x[row] + y[row])
        sums = math.fsum(difference), math.fsum(difference**2)
        scale = max(1.0, np.abs(difference).sum(), sums[1])
        np.testing.assert_allclose(totals, sums, rtol=0, atol=close["rtol"] * 5 * scale)
        for out in (a, b):
            out[row] = 7
            assert (out == 7).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_largest_passes_over_nan(dtype):
    rng = np.random.default_rng(0)
    for count in LENGTHS:
        x = np.full(count + 2, np.inf, dtype)
        x[1:-1] = -np.abs(rng.standard_normal(count))  # below the zeros in masked lanes
        assert run_largest(x, 1, count) == x[1:-1].max(initial=-np.inf)
        x[1 : count + 1 : 2] = np.nan
        expected = x[2 : count + 1 : 2].max(initial=-np.inf)
        assert run_largest(x, 1, count) == expected


def test_results_may_replace_their_input():
    for count in LENGTHS:
        x = np.arange(count, dtype=np.float32)
        run_double(x, x, 0, count)
        np.testing.assert_array_equal(x, 2 * np.arange(count))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="protects a page by mprotect")
def test_nothing_is_read_or_written_beyond_a_row():
    """The row ends where a page begins that cannot be read, or begins where one ends."""
    page = mmap.PAGESIZE
    memory = mmap.mmap(-1, 3 * page)
    everything = np.frombuffer(memory, np.float32)
    address = everything.ctypes.data
    protect = ctypes.CDLL(None, use_errno=True).mprotect
    protect.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    everything[:] = 1
    inner = everything[page // 4 : page // 2]
    for outside in (address, address + 2 * page):
        assert protect(outside, page, 0) == 0
    try:
        for count in range(1, 70):
            for start in (0, inner.size - count):
                inner[:] = 1
                assert run_largest(inner, start, count) == 1
                run_double(inner, inner, start, count)
                assert inner.sum() == inner.size + count
    finally:
        for outside in (address, address + 2 * page):
            protect(outside, page, mmap.PROT_READ | mmap.PROT_WRITE)
