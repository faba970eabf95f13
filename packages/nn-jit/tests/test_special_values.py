"""NaN, infinity, -0 and subnormal numbers: as in a plain run, though they were not recorded."""

import nn_tensor
import numpy as np
import pytest
from nn_jit import jit
from nn_tensor import Tensor

SPECIAL = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 1e-38, 3e38, -3e38, 1.0, -1.5]

FUNCTIONS = {
    "arithmetic": lambda x, y: (x + y) * (x - y) / (y + 1) - x,
    "negative": lambda x, y: nn_tensor.negative(-x) * -y,
    "numbers": lambda x, y: (x * 0.1 + 3) / 7 - 2 * y + (1 - x) * (2 / y),
    "square": lambda x, y: nn_tensor.square(x) - nn_tensor.square(y) * 0.5,
    "sqrt": lambda x, y: nn_tensor.sqrt(x) + nn_tensor.sqrt(y * y),
    "abs": lambda x, y: nn_tensor.abs(x) * nn_tensor.abs(y) + x,
    "comparisons": lambda x, y: (x > y, x >= y * 1, x < y * 1, x <= y, x == y, x != y),
    "where": lambda x, y: nn_tensor.where(x * 1 > y * 1, x * 2, y * 3) + 1,
    "maximum": lambda x, y: nn_tensor.maximum(x + 0.0, y) * 1.0 + nn_tensor.minimum(x, y),
    "relu": lambda x, y: nn_tensor.relu(x) + nn_tensor.relu(y * 2),
    "sign": lambda x, y: nn_tensor.sign(x) * nn_tensor.clip(y, -1, 1),
    "broadcasting": lambda x, y: (x[:, None] + y) * x[:, None] - y * 2,
    "functions": lambda x, y: nn_tensor.exp(x) + nn_tensor.tanh(y * 1.5) * nn_tensor.sigmoid(x),
}


@pytest.mark.parametrize("fuse", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize("name", list(FUNCTIONS))
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_special_values(name, dtype, fuse):
    plain = FUNCTIONS[name]
    fast = jit(plain, fuse=fuse)
    rng = np.random.default_rng(0)
    first, second = np.meshgrid(SPECIAL, SPECIAL)
    count = first.size
    for n in range(5):
        if n < 4:
            x, y = rng.standard_normal((2, count)) + 2
        else:
            x, y = first.reshape(-1), second.reshape(-1)
        x, y = Tensor(x.astype(dtype)), Tensor(y.astype(dtype))
        found, expected = fast(x, y), plain(x, y)
        if not isinstance(found, tuple):
            found, expected = (found,), (expected,)
        for a, b in zip(found, expected, strict=True):
            a, b = a.numpy(), b.numpy()
            np.testing.assert_array_equal(a, b)
            if a.dtype.kind == "f":
                real = ~np.isnan(a)
                np.testing.assert_array_equal(np.signbit(a)[real], np.signbit(b)[real])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_gradients_at_special_values():
    def f(x, w):
        w.zero_grad()
        y = nn_tensor.relu(x * w) + nn_tensor.abs(w) * nn_tensor.maximum(w, x)
        (y * y / (1 + y * y)).sum().backward()
        return w.grad

    fast = jit(f)
    for n in range(5):
        values = SPECIAL if n == 4 else [n + 1.0] * len(SPECIAL)
        x = Tensor(np.array(values, np.float32))
        w = [Tensor(np.array(values, np.float32), requires_grad=True) for _ in range(2)]
        np.testing.assert_array_equal(fast(x, w[0]).numpy(), f(x, w[1]).numpy())
