"""The bits of dropout are those of NumPy's Philox, for any key, size and number of threads."""

import os

import nn_kernels
import numpy as np
import pytest
from nn_kernels.dropout import apply_dropout

SHAPES = int(os.environ.get("NN_KERNELS_SHAPES", "50"))  # 2,000 on demand


def expected_mask(shape, p, key):
    count = int(np.prod(shape))
    words = np.random.Philox(key=np.array(key, np.uint64)).random_raw(-(-count // 4))
    kept = words.astype("<u8").view("<u2")[:count] >= round(p * 65536)
    return np.where(kept, np.float32(1 / (1 - p) if p < 1 else 0), np.float32(0)).reshape(shape)


@pytest.mark.parametrize("seed", range(SHAPES))
def test_dropout(seed):
    rng = np.random.default_rng(seed)
    shape = tuple(map(int, rng.integers(1, 60, int(rng.integers(1, 4)))))
    key = tuple(map(int, rng.integers(0, 1 << 64, 2, np.uint64)))
    p = float(rng.choice([0, 1, 0.5, rng.random()]))
    x = rng.standard_normal(shape).astype(np.float32)
    if seed % 2:
        x = np.repeat(x, 2, axis=-1)[..., ::2]
    out, mask = apply_dropout(x, p, key)
    np.testing.assert_array_equal(mask, expected_mask(shape, p, key))
    np.testing.assert_array_equal(out, x * mask)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_large_arrays(threads):
    x, key, before = np.ones((301, 207), np.float32), (2**64 - 1, 12345), 1
    before = nn_kernels.get_num_threads()
    nn_kernels.set_num_threads(threads)
    try:
        out, mask = apply_dropout(x, 0.3, key)
    finally:
        nn_kernels.set_num_threads(before)
    np.testing.assert_array_equal(mask, expected_mask(x.shape, 0.3, key))
    np.testing.assert_array_equal(out, mask)


def test_what_is_not_finite():
    x = np.array([np.inf, np.nan, -np.inf] * 20, np.float32)
    out, mask = apply_dropout(x, 0.5, (1, 2))
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(out, x * mask)


def test_what_is_left_to_the_reference():
    assert apply_dropout(np.ones(5), 0.5, (0, 0)) is NotImplemented
    assert apply_dropout(np.ones(0, np.float32), 0.5, (0, 0)) is NotImplemented
