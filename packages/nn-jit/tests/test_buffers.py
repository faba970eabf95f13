"""The memory of a replay: buffers stay from call to call, and no result shares memory with them."""

import subprocess
import sys
import textwrap
import tracemalloc

import numpy as np
import pytest
from jit_parts import replays
from nn_jit import jit
from nn_tensor import Tensor, concatenate, exp, maximum, no_grad, relu, softmax, tanh, use_kernels
from nn_tensor.extend import external

RNG = np.random.default_rng(0)
WEIGHTS = Tensor(RNG.standard_normal((4, 4)).astype(np.float32))
BIAS = Tensor(RNG.standard_normal(4).astype(np.float32))


def batches(*shape, count=7):
    rng = np.random.default_rng(1)
    return [Tensor(rng.standard_normal(shape).astype(np.float32)) for _ in range(count)]


class Dense:
    def __init__(self, inputs, outputs, seed):
        values = np.random.default_rng(seed).standard_normal((inputs, outputs))
        self.weights = Tensor(values.astype(np.float32), requires_grad=True)
        self.bias = Tensor(values[0].astype(np.float32), requires_grad=True)

    def __call__(self, x):
        return x @ self.weights + self.bias


THREE_DIMENSIONS = Dense(4, 3, 0)


def layers(x):
    return relu(x @ WEIGHTS + BIAS) @ WEIGHTS


FUNCTIONS = {
    "product": lambda x: tanh(x @ WEIGHTS) @ WEIGHTS,
    "layers": lambda x: layers(x) + BIAS,
    "view of a product": lambda x: layers(x).T,
    "views of one product": lambda x: [layers(x)[:2], layers(x).reshape(-1)],
    "copy in place of a view": lambda x: layers(x).T.reshape(-1) * 2,
    "reshape of views": lambda x: (layers(x).T.reshape(2, 8) @ layers(x).reshape(8, 2)).T,
    "sums": lambda x: (layers(x).sum(0) + layers(x).max(1)) * layers(x).min(1),
    "parts": lambda x: concatenate([layers(x), layers(x).T]),
    "twice": lambda x: (y := layers(x), y, y * 2),
    "three dimensions": lambda x: THREE_DIMENSIONS(x.reshape(2, 2, 4)),
}


@pytest.mark.parametrize("kernels", ["auto", "reference"])
@pytest.mark.parametrize("fuse", [True, False])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_later_calls_do_not_write_into_results(name, fuse, kernels):
    def arrays(x):
        results = FUNCTIONS[name](x)
        return [y.detach() for y in (results if isinstance(results, (list, tuple)) else [results])]

    with use_kernels(kernels):
        fast, inputs = jit(arrays, fuse=fuse), batches(4, 4)
        kept = [fast(x) for x in inputs]
        for x, found in zip(inputs, kept, strict=True):
            for a, b in zip(found, arrays(x), strict=True):
                np.testing.assert_array_equal(a.numpy(), b.numpy())
    assert replays(fast) == 4


def make_step():
    first, second = Dense(4, 8, 0), Dense(8, 2, 1)
    parameters = [first.weights, first.bias, second.weights, second.bias]

    def step(x):
        for parameter in parameters:
            parameter.zero_grad()
        difference = second(relu(first(x))) - x[:, :2]
        loss = (difference * difference).mean()
        loss.backward()
        return loss

    return parameters, step


@pytest.mark.parametrize("kernels", ["auto", "reference"])
def test_large_products_are_those_of_the_function(kernels):
    """They are computed by threads of nn-kernels, where it is installed, in another order."""
    rng = np.random.default_rng(0)
    weights = Tensor(rng.standard_normal((300, 64)).astype(np.float32))
    stack = Tensor(rng.standard_normal((8, 64, 300)).astype(np.float32))

    def function(x):
        return relu(relu(x @ weights) @ stack).sum((0, 1)) + relu(x @ weights).sum()

    given = batches(96, 300)
    with use_kernels(kernels), no_grad():
        recorded = jit(function)
        results = [recorded(x) for x in given]
        for found, x in zip(results, given, strict=True):
            np.testing.assert_array_equal(found.numpy(), function(x).numpy())


def test_later_calls_do_not_write_into_gradients():
    (parameters, step), (others, plain) = make_step(), make_step()
    fast, kept, expected = jit(step), [], []
    for x in batches(16, 4):
        fast(x)
        plain(x)
        kept.append([parameter.grad for parameter in parameters])
        expected.append([parameter.grad.numpy().copy() for parameter in others])
    for found, wanted in zip(kept, expected, strict=True):
        for a, b in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(a.numpy(), b)


def test_an_external_may_keep_what_it_gets():
    kept = []
    fast = jit(lambda x: external(lambda a: kept.append(a), layers(x)) or layers(x) * 2)
    inputs = batches(4, 4)
    for x in inputs:
        fast(x)
    calls = len(inputs) + 1  # the third is replayed and run as written
    assert len(kept) == calls
    for x, array in zip([*inputs[:3], *inputs[2:]], kept, strict=True):
        np.testing.assert_array_equal(array, layers(x).numpy())


def test_a_write_into_an_intermediate_result():
    def function(x):
        y = layers(x)
        with no_grad():
            y[0] = 1.0
            y += x
        return y * 2, y

    fast = jit(function)
    for x in batches(4, 4):
        for a, b in zip(fast(x), function(x), strict=True):
            np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_an_error_in_the_middle_leaves_later_calls_right():
    def check(a):
        if np.isnan(a).any():
            raise ValueError("NaN")

    def function(x):
        y = layers(x)
        external(check, y)
        return y * 2

    fast, inputs = jit(function), batches(4, 4)
    for x in inputs[:4]:
        fast(x)
    for x in inputs[4:]:
        with pytest.raises(ValueError, match="NaN"):
            fast(Tensor(np.full((4, 4), np.nan, np.float32)))
        np.testing.assert_array_equal(fast(x).numpy(), function(x).numpy())


def test_results_that_are_not_needed_together_share_memory():
    def function(x):
        for _ in range(10):
            x = tanh(x @ WEIGHTS)
        return x.sum()

    fast = jit(function, fuse=False)
    for x in batches(64, 4):
        fast(x)
    (program,) = fast.explain().programs
    assert 0 < program.buffers <= 2 * 64 * 4 * 4


def test_a_replay_needs_no_more_memory_than_the_function():
    _, step = make_step()
    fast = jit(step)
    x = batches(512, 4)[0]
    for _ in range(4):
        fast(x)
        step(x)

    def peak(function):
        function(x)
        tracemalloc.start()
        try:
            function(x)
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            function(x)
            return tracemalloc.get_traced_memory()[1] - before
        finally:
            tracemalloc.stop()

    assert peak(fast) <= peak(step)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [1, 3, 8, 17, 64])
@pytest.mark.parametrize("zero", [0, 0.0, -0.0])
def test_the_positive_part_in_a_loop_has_the_bits_of_numpy(zero, size, dtype):
    special = np.array([-0.0, 0.0, np.nan, -np.inf, np.inf, 1e-45, -1.0, 2.0])
    values = np.resize(special, (4, size)).astype(dtype)

    def function(x):
        return maximum(x * 1.0, zero) * 1.0

    fast, x = jit(function), Tensor(values)
    for _ in range(4):
        found, wanted = fast(x).numpy(), function(x).numpy()
        np.testing.assert_array_equal(found, wanted)
        np.testing.assert_array_equal(np.signbit(found), np.signbit(wanted))


def test_functions_of_numpy_are_part_of_fused_calls_of_small_arrays():
    pytest.importorskip("numba")

    def step(x):
        return tanh(exp(-x * x) * 2) * x

    counts = []
    for size in (100, 1 << 15):
        fast, x = jit(step), Tensor(np.linspace(-3, 3, size, dtype=np.float32))
        for _ in range(4):
            assert fast(x).numpy().tobytes() == step(x).numpy().tobytes()
        counts.append(len(fast.explain().programs[0].calls))
    assert counts[0] == 1 < counts[1]


def test_elementwise_operations_of_large_arrays_are_jobs_of_several_threads():
    pytest.importorskip("numba")
    bias = Tensor(np.linspace(-1, 1, 600, dtype=np.float32), requires_grad=True)

    def step(x):
        bias.zero_grad()
        y = (x + bias) * 0.5
        (y * y + tanh(y)).sum().backward()
        return y, bias.grad

    fast = jit(step)
    for x in batches(300, 600):
        wanted = step(x)
        assert all(
            a.numpy().tobytes() == b.numpy().tobytes() for a, b in zip(fast(x), wanted, strict=True)
        )
    (program,) = fast.explain().programs
    assert program.loops > 1
    tiny = jit(lambda x: x + 1)
    for x in [*batches(3, 4), *batches(300, 600)]:
        tiny(x)
    of_few, of_many = (program.source for program in tiny.explain().programs)
    assert "add_" in of_few
    assert "add_" not in of_many


def test_kernels_that_are_one_job_are_replayed_as_that():
    pytest.importorskip("numba")
    weights = Tensor(np.linspace(-1, 1, 64 * 64, dtype=np.float32).reshape(64, 64))

    def step(x):
        return softmax(softmax(x + 1) @ weights) * x

    fast = jit(step)
    for x in batches(512, 64):
        assert fast(x).numpy().tobytes() == step(x).numpy().tobytes()
    (program,) = fast.explain().programs
    assert "softmax" not in program.source
    assert program.buffers >= 512 * 64 * 4


def test_long_runs_of_elementwise_operations_are_several_functions():
    pytest.importorskip("numba")

    def step(x):
        for _ in range(150):
            x = x * 0.5 + 1.0
        return x

    fast, x = jit(step), Tensor(np.linspace(-3, 3, 50, dtype=np.float32))
    for _ in range(4):
        assert fast(x).numpy().tobytes() == step(x).numpy().tobytes()
    assert 1 < len(fast.explain().programs[0].calls) < 10


def test_kernels_that_nothing_has_needed_before_the_recording():
    """They are imported then, and not while it is watched what the function reads."""
    program = """
    from nn_jit import jit
    from nn_tensor import Tensor

    x = Tensor([1.0, 2.0], requires_grad=True)

    @jit
    def step():
        x.zero_grad()
        loss = (x * 2).sum()
        loss.backward()
        return loss

    assert [step().item() for _ in range(4)] == [6.0] * 4
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
