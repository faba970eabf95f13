"""Matrix products equal NumPy in float64 over random shapes, layouts, NaN and infinity."""

import os

import nn_kernels
import numpy as np
import pytest
from nn_kernels._threads import POOLED
from nn_kernels._vectors import FUSED
from nn_kernels.matmul import linear, matmul

pytestmark = pytest.mark.skipif(
    not POOLED or not FUSED, reason="products are left to NumPy on this system"
)

SHAPES = int(os.environ.get("NN_KERNELS_SHAPES", "50"))  # 2,000 on demand
LAYOUTS = ("rows", "columns", "wide rows", "wide columns")


def draw_matrix(rng, rows, columns, layout):
    """Return a matrix in which the elements of a row, or of a column, stand side by side."""
    shape = (rows, columns) if "rows" in layout else (columns, rows)
    wider = (shape[0] + 2, shape[1] + 3) if "wide" in layout else shape
    x = rng.standard_normal(wider).astype(np.float32)[: shape[0], : shape[1]]
    return x if "rows" in layout else x.T


def draw(seed):
    rng = np.random.default_rng(seed)
    while True:
        rows, columns = (int(n) for n in 2 ** rng.uniform(4, 9, 2))
        terms = int(2 ** rng.uniform(0, 10))
        if 1 << 18 < rows * columns * terms < 1 << 24:
            break
    layouts = rng.choice(LAYOUTS, 2)
    x = draw_matrix(rng, rows, terms, layouts[0])
    return rng, x, draw_matrix(rng, terms, columns, layouts[1])


def check(found, x, y, bias=0.0):
    """Check against the product in float64, each element relative to its sum of absolute values."""
    assert found is not NotImplemented
    wanted = x.astype(float) @ y.astype(float) + bias
    size = np.abs(x).astype(float) @ np.abs(y).astype(float) + np.abs(bias)
    assert found.dtype == np.float32
    assert np.max(np.abs(found - wanted) / size) < 1e-6


@pytest.mark.parametrize("seed", range(SHAPES))
def test_products(seed):
    rng, x, y = draw(seed)
    check(matmul(x, y), x, y)
    bias = rng.standard_normal(y.shape[1]).astype(np.float32)
    check(linear(x, y, bias), x, y, bias)


@pytest.mark.parametrize("layouts", [(a, b) for a in LAYOUTS for b in LAYOUTS])
@pytest.mark.parametrize(
    "shape",
    [
        (8, 4096, 16),
        (9, 3000, 17),
        (64, 385, 48),
        (65, 384, 47),
        (257, 20, 129),
        (700, 1, 500),
        (130, 769, 385),
    ],
)
def test_edges_of_blocks(shape, layouts):
    rng = np.random.default_rng(0)
    rows, terms, columns = shape
    x = draw_matrix(rng, rows, terms, layouts[0])
    y = draw_matrix(rng, terms, columns, layouts[1])
    check(matmul(x, y), x, y)
    bias = rng.standard_normal(2 * columns).astype(np.float32)[::2]
    check(linear(x, y, bias), x, y, bias)
    out = np.empty((rows, columns + 5), np.float32)[:, :columns]
    assert matmul(x, y, out) is out
    check(out, x, y)


@pytest.mark.parametrize("seed", range(SHAPES))
def test_stacks(seed):
    """Stacks as attention has them: (batch, heads, length, size) in any order in memory."""
    rng = np.random.default_rng(seed)
    batch, heads = (int(n) for n in rng.integers(1, 7, 2))
    rows, columns, terms = (int(n) for n in rng.integers((8, 16, 1), 90))
    terms += max(-(-(1 << 18) // (batch * heads * rows * columns)), (1 << 16) // (rows * columns))

    def draw_stack(first, second, transposed):
        if transposed:
            return draw_stack(second, first, False).swapaxes(-1, -2)
        if rng.integers(2):
            x = rng.standard_normal((batch, first, heads, second)).swapaxes(1, 2)
        else:
            x = rng.standard_normal((batch, heads, first, second))
        return x.astype(np.float32)

    x = draw_stack(rows, terms, rng.integers(2))
    y = draw_stack(terms, columns, rng.integers(2))
    check(matmul(x, y), x, y)
    out = draw_stack(rows, columns, False)
    assert matmul(x, y, out) is out
    check(out, x, y)
    assert matmul(x, y, draw_stack(rows, columns, True)) is NotImplemented


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_in_its_row_and_column(value):
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal(shape).astype(np.float32) for shape in ((70, 90), (90, 70)))
    x[3, 50] = value
    y[80, 69] = value
    found = matmul(x, y)
    expected = np.ones((70, 70), bool)
    expected[3] = expected[:, 69] = False
    np.testing.assert_array_equal(np.isfinite(found), expected)
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(np.isnan(found), np.isnan(x @ y))


@pytest.mark.parametrize("shape", [(300, 200, 100), (32, 784, 128)])
def test_results_do_not_depend_on_the_number_of_threads(shape):
    before, results = nn_kernels.get_num_threads(), []
    x, y = random(*shape[:2]), random(*shape[1:])
    try:
        for threads in (1, 2, 3, 5):
            nn_kernels.set_num_threads(threads)
            results.append(matmul(x, y))
    finally:
        nn_kernels.set_num_threads(before)
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])


def random(*shape, dtype=np.float32):
    return np.random.default_rng(0).standard_normal(shape).astype(dtype)


LEFT_TO_NUMPY = {
    "of a size that BLAS computes in one thread": (random(32, 64), random(64, 128)),
    "few rows": (random(3, 4096), random(4096, 64)),
    "one column": (random(512, 512), random(512, 1)),
    "float64": (random(64, 128, dtype=np.float64), random(128, 64, dtype=np.float64)),
    "two dtypes": (random(64, 128), random(128, 64, dtype=np.float64)),
    "one stack": (random(2, 64, 128), random(128, 64)),
    "a stack of small matrices": (random(64, 16, 32), random(64, 32, 16)),
    "three distances": (random(2, 3, 2, 64, 128).swapaxes(0, 1), random(3, 2, 2, 128, 64)),
    "a stack from its end": (random(2, 64, 128)[::-1], random(2, 128, 64)),
    "every second column": (random(64, 256)[:, ::2], random(128, 64)),
    "rows from the last": (random(64, 128)[::-1], random(128, 64)),
    "equal rows": (np.broadcast_to(random(128), (64, 128)), random(128, 64)),
}


@pytest.mark.parametrize("name", LEFT_TO_NUMPY)
def test_what_is_left_to_numpy(name):
    assert matmul(*LEFT_TO_NUMPY[name]) is NotImplemented


@pytest.mark.parametrize("shape", [(5,), (1, 128, 128), (128, 127), (128, 128, 1), ()])
def test_a_result_of_another_shape_is_left_to_numpy(shape):
    x = random(128, 128)
    assert matmul(x, x, np.empty(shape, np.float32)) is NotImplemented
