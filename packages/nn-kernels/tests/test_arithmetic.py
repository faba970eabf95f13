"""The sum of two arrays has the bits of NumPy's, and arrays of another kind are left to NumPy."""

import os

import numpy as np
import pytest
from nn_kernels.arithmetic import add

SHAPES = int(os.environ.get("NN_KERNELS_SHAPES", "50"))  # 2,000 on demand


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # inf - inf
@pytest.mark.parametrize("seed", range(SHAPES))
def test_add(seed):
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 70, rng.integers(1, 4)))
    x, y = rng.standard_normal((2, *shape)).astype(np.float32)
    special = [np.nan, np.inf, -np.inf, -0.0, 1e-40][: x.size]
    x.reshape(-1)[: len(special)], y.reshape(-1)[-len(special) :] = special, special[::-1]
    expected = x + y
    np.testing.assert_array_equal(add(x, y, None), expected)
    for place in (0, 1):
        given = [x.copy(), y.copy()]
        assert add(*given, given[place]) is given[place]
        np.testing.assert_array_equal(given[place], expected)
        np.testing.assert_array_equal(given[1 - place], (x, y)[1 - place])


def test_parts_that_threads_share():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 3, 100_003)).astype(np.float32)
    np.testing.assert_array_equal(add(x, y, None), x + y)
    total = x.copy()
    add(total, y, total)
    np.testing.assert_array_equal(total, x + y)


def test_what_is_left_to_numpy():
    x = np.zeros((4, 5), np.float32)
    fixed = x.copy()
    fixed.setflags(write=False)
    np.testing.assert_array_equal(add(fixed, x, None), x)
    others = [x[0], x.T, x[:, ::2], x.astype(np.float64), x.astype(np.float16), 1.0]
    for other in others:
        assert add(x, other, None) is NotImplemented
        assert add(other, x, None) is NotImplemented
        assert add(x, x, other) is NotImplemented
    assert add(x, x, fixed) is NotImplemented
