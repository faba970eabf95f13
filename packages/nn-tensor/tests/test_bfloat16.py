"""bfloat16, which is for CUDA: what CuPy computes in it, and what is refused."""

import itertools
import subprocess
import sys

import nn_tensor
import numpy as np
import pytest
from nn_tensor import Tensor, autocast, clip, exp, grad, logsumexp, parse_dtype, softmax, where
from nn_tensor.extend import accumulation_dtype, half_product, is_floating

ml_dtypes = pytest.importorskip("ml_dtypes", reason="could not import 'ml_dtypes'")

CLOSE = 2.0**-7  # two units in the last place of a number near 1


def draw(*shape, seed=0):
    """Return numbers that bfloat16 represents."""
    values = np.random.default_rng(seed).normal(size=shape)
    return values.astype(ml_dtypes.bfloat16).astype(np.float32)


def test_spellings():
    dtype = parse_dtype("bfloat16")
    assert dtype == np.dtype(ml_dtypes.bfloat16)
    assert parse_dtype(ml_dtypes.bfloat16) == parse_dtype(dtype) == dtype
    assert is_floating(dtype)
    assert accumulation_dtype(dtype) == np.float32
    with pytest.raises(TypeError, match="expected numbers or booleans"):
        parse_dtype("V2")


def test_without_ml_dtypes():
    code = "import sys; sys.modules['ml_dtypes'] = None\nfrom nn_tensor import parse_dtype\n"
    code += "try: parse_dtype('bfloat16')\nexcept TypeError as error: print(error)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("not installed: pip install ml_dtypes")


@pytest.mark.parametrize(
    "make",
    [
        lambda: Tensor([1.0], dtype="bfloat16"),
        lambda: Tensor(np.ones(2, ml_dtypes.bfloat16)),
        lambda: Tensor([1.0]).astype("bfloat16"),
        lambda: nn_tensor.zeros(2, dtype="bfloat16"),
        lambda: Tensor([1.0]).set_dtype("bfloat16"),
    ],
)
def test_the_cpu_refuses_it(make):
    with pytest.raises(TypeError, match=r"bfloat16 is for CUDA; on the CPU use float32"):
        make()


def test_autocast_on_the_cpu_refuses_it():
    x = Tensor([[1.0]])
    with autocast("bfloat16"), pytest.raises(TypeError, match="bfloat16 is for CUDA"):
        x @ x


FUNCTIONS = {
    "add": lambda x, y: x + y,
    "float factor": lambda x, y: x * 1.5 + y / 3.0 - 0.25,
    "integer": lambda x, y: x * 2 + 1,
    "power": lambda x, y: x**2.0 + y**2,
    "exp": lambda x, y: exp(x) * nn_tensor.tanh(y),
    "where": lambda x, y: where(x.data > 0, x, 0.5) + where(y.data > 0, x, y),
    "clip": lambda x, y: clip(x, -0.5, 0.5) + clip(y, a_min=0.0),
    "sum": lambda x, y: x.sum(0) + y.mean(),
    "softmax": lambda x, y: softmax(x) * logsumexp(y, axis=0),
    "matmul": lambda x, y: x @ y,
    "matmul of stacks": lambda x, y: x.reshape(2, 2, 4) @ y.reshape(2, 4, 2),
    "matmul of a stack and a matrix": lambda x, y: y @ x.reshape(1, 4, 4),
    "einsum": lambda x, y: nn_tensor.einsum("ij,ij->i", x, y),
    "take": lambda x, y: x[np.array([0, 3, 0])] + nn_tensor.take(y, [1, 1, 1], axis=0),
    "gather": lambda x, y: nn_tensor.gather(x, [[0, 0], [3, 1]], axis=1) * y[:2, :2],
    "concatenate": lambda x, y: nn_tensor.concatenate([x, y]).T[1:],
    "maximum": lambda x, y: nn_tensor.maximum(x, y) * nn_tensor.relu(y),
}


@pytest.mark.cuda
class TestOnCuda:
    @pytest.mark.parametrize("name", FUNCTIONS)
    def test_is_near_float32(self, name):
        arrays = draw(4, 4), draw(4, 4, seed=1)
        results = []
        for dtype in ("float32", "bfloat16"):
            xs = [Tensor(a, device="cuda", dtype=dtype, requires_grad=True) for a in arrays]
            y = FUNCTIONS[name](*xs)
            y.backward(Tensor(draw(*y.shape, seed=2), device="cuda", dtype=dtype))
            assert {str(t.dtype) for t in (y, *(x.grad for x in xs))} == {dtype}
            results.append([t.numpy().astype(float) for t in (y, *(x.grad for x in xs))])
        for exact, rounded in zip(*results, strict=True):
            bound = 4 * CLOSE * max(1.0, abs(exact).max())
            np.testing.assert_allclose(rounded, exact, rtol=0, atol=bound)

    def test_sums_do_not_stop_at_256(self):
        x = nn_tensor.ones(1000, 3, dtype="bfloat16", device="cuda", requires_grad=True)
        assert x.sum().item() == 3008.0  # 3,000 rounded
        y = nn_tensor.ones(3, dtype="bfloat16", device="cuda", requires_grad=True)
        (x + y).sum().backward()
        assert y.grad.tolist() == [1000.0] * 3
        z = nn_tensor.zeros(2, 3, dtype="bfloat16", device="cuda", requires_grad=True)
        z[np.zeros(1000, int)].sum().backward()
        assert z.grad.tolist() == [[1000.0] * 3, [0.0] * 3]

    def test_second_derivative(self):
        x = Tensor(draw(3, 3), device="cuda", dtype="bfloat16", requires_grad=True)
        (first,) = grad((x @ x * x).sum(), [x], create_graph=True)
        (second,) = grad(first.sum(), [x])
        assert second.dtype == x.dtype

    def test_values_are_read(self):
        x = Tensor([[1.0, 2.5]], device="cuda", dtype="bfloat16")
        assert x.tolist() == [[1.0, 2.5]]
        assert x[0, 1].item() == 2.5
        assert "bfloat16" in repr(x)
        assert x.numpy().dtype == ml_dtypes.bfloat16
        assert x.astype("float32").cpu().dtype == np.float32
        with pytest.raises(TypeError, match=r"use float32, as in \.astype\('float32'\)\.cpu\(\)"):
            x.cpu()

    def test_what_cupy_lacks_is_refused(self):
        x = Tensor([1.0, 2.0], device="cuda", dtype="bfloat16")
        with pytest.raises(TypeError, match=r"nan_to_num.*another dtype than bfloat16"):
            nn_tensor.nan_to_num(x)

    def test_autocast(self):
        x, w = (Tensor(draw(4, 4, seed=n), device="cuda", requires_grad=True) for n in range(2))
        (nn_tensor.tanh(x @ w) ** 2).mean().backward()
        expected = w.grad.numpy().copy()
        w.zero_grad()
        with autocast("bfloat16"):
            y = x @ w
            assert y.dtype == parse_dtype("bfloat16")
            loss = (nn_tensor.tanh(y) ** 2).mean()
        assert loss.dtype == np.float32
        loss.backward()
        assert w.grad.dtype == np.float32
        bound = 4 * CLOSE * abs(expected).max()
        np.testing.assert_allclose(w.grad.numpy(), expected, rtol=0, atol=bound)


SHAPES = {
    "matrices": ((3, 5), (5, 2)),
    "stacks": ((2, 3, 4, 5), (2, 3, 5, 2)),
    "one matrix for all": ((2, 3, 4, 5), (5, 2)),
    "broadcast": ((2, 1, 4, 5), (3, 5, 2)),
    "of nothing": ((2, 4, 0), (2, 0, 3)),
    "none": ((0, 4, 5), (0, 5, 3)),
    "one column": ((2, 4, 5), (2, 5, 1)),
}
LAYOUTS = ("rows", "columns", "every second")


@pytest.mark.cuda
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("layouts", [*itertools.product(LAYOUTS, repeat=2)], ids=" ".join)
@pytest.mark.parametrize("shapes", SHAPES.values(), ids=list(SHAPES))
def test_product_of_half_precision(shapes, layouts, dtype):
    import cupy

    operands, exact = [], []
    for seed, (shape, layout) in enumerate(zip(shapes, layouts, strict=True)):
        array = cupy.asarray(draw(*shape, seed=seed)).astype(parse_dtype(dtype))
        if layout == "columns":
            array = cupy.ascontiguousarray(array.swapaxes(-1, -2)).swapaxes(-1, -2)
        elif layout == "every second":
            array = cupy.repeat(array.astype("float32"), 2, axis=-1).astype(array.dtype)[..., ::2]
        operands.append(array)
        exact.append(cupy.asnumpy(array.astype("float64")))
    result = half_product(cupy, *operands, 0.5)
    assert result.dtype == np.float32
    np.testing.assert_allclose(cupy.asnumpy(result), exact[0] @ exact[1] / 2, rtol=1e-5, atol=1e-6)


@pytest.mark.cuda
def test_product_of_other_dtypes_is_refused():
    import cupy

    with pytest.raises(TypeError, match="expected float16 or bfloat16, got float32 and float32"):
        half_product(cupy, cupy.ones((2, 2), "f"), cupy.ones((2, 2), "f"))
