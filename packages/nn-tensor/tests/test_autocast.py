"""Mixed precision: which dtype operations compute in, and what a block leaves behind."""

import threading

import numpy as np
import pytest
from nn_tensor import Tensor, autocast, concatenate, exp, no_grad, tanh
from nn_tensor.extend import is_autocast_dtype, op


def matrix(dtype="float32", device="cpu", requires_grad=True):
    values = np.random.default_rng(0).normal(size=(4, 4))
    return Tensor(values, dtype=dtype, device=device, requires_grad=requires_grad)


OPERATIONS = {  # by the dtype of the result for float32 inputs
    "matmul": (lambda x: x @ x, "float16"),
    "exp": (exp, "float32"),
    "sum": (lambda x: x.sum(), "float32"),
    "mean": (lambda x: x.mean(0), "float32"),
    "power": (lambda x: x**2, "float32"),
    "add": (lambda x: x + x, "float32"),
    "tanh": (tanh, "float32"),
    "reshape": (lambda x: x.reshape(16), "float32"),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_dtype_of_results(name, device):
    function, expected = OPERATIONS[name]
    with autocast():
        assert function(matrix(device=device)).dtype == expected
    assert function(matrix(device=device)).dtype == "float32"


@pytest.mark.parametrize("name", ["exp", "sum", "mean", "power"])
def test_full_precision_of_half_inputs(name):
    function, _ = OPERATIONS[name]
    with autocast():
        assert function(matrix("float16")).dtype == "float32"


@pytest.mark.parametrize("name", OPERATIONS)
def test_float64_is_left_alone(name):
    function, _ = OPERATIONS[name]
    x = matrix("float64")
    with autocast():
        result = function(x)
    assert result.dtype == "float64"
    np.testing.assert_array_equal(result.numpy(), function(x).numpy())


def test_plain_arrays_are_left_alone():
    x = matrix().numpy()
    with autocast():
        assert exp(x.astype("float16")).dtype == "float16"


def test_equals_casts_by_hand(device):
    x, w = matrix(device=device), matrix(device=device)
    with autocast():
        loss = exp(tanh(x @ w)).sum()
    loss.backward()
    by_hand_x, by_hand_w = matrix(device=device), matrix(device=device)
    product = by_hand_x.astype("float16") @ by_hand_w.astype("float16")
    expected = exp(tanh(product).astype("float32")).sum()
    expected.backward()
    assert loss.item() == expected.item()
    for ours, theirs in ((x, by_hand_x), (w, by_hand_w)):
        assert ours.grad.dtype == "float32"
        np.testing.assert_array_equal(ours.grad.numpy(), theirs.grad.numpy())


def test_gradients_are_near_those_of_float32(device):
    x, w = matrix(device=device), matrix(device=device)
    (tanh(x @ w) ** 2).mean().backward()
    expected = w.grad.numpy().copy()
    w.zero_grad()
    with autocast():
        (tanh(x @ w) ** 2).mean().backward()
    np.testing.assert_allclose(w.grad.numpy(), expected, atol=4e-3 * abs(expected).max())


def test_several_losses_share_the_cast_of_a_parameter():
    w = matrix()
    with autocast():
        first, second = (w @ w).sum(), (w @ w * 2).sum()
    first.backward()
    once = w.grad.numpy().copy()
    second.backward()
    np.testing.assert_allclose(w.grad.numpy(), 3 * once, rtol=1e-3)


def test_a_changed_parameter_is_cast_again():
    w, x = matrix(), matrix(requires_grad=False)
    with autocast():
        before = (x @ w).numpy()
        with no_grad():
            w *= 2
        after = (x @ w).numpy()
        w.data = w.data / 2
        restored = (x @ w).numpy()
    np.testing.assert_allclose(after, 2 * before, rtol=2e-3)
    np.testing.assert_array_equal(restored, before)


def test_blocks_nest_and_end():
    x = matrix()
    with autocast():
        with autocast(enabled=False):
            assert (x @ x).dtype == "float32"
            assert not is_autocast_dtype(np.dtype("float16"))
            with autocast():
                assert (x @ x).dtype == "float16"
        assert (x @ x).dtype == "float16"
    with pytest.raises(KeyError), autocast():
        raise KeyError
    assert (x @ x).dtype == "float32"


def test_decorator():
    @autocast("float16")
    def forward(x):
        return x @ x

    assert forward(matrix()).dtype == "float16"
    assert forward(matrix()).dtype == "float16"
    with pytest.raises(TypeError, match="cannot decorate"):

        @autocast()
        def generate():
            yield 1


def test_another_thread_computes_in_float32():
    seen = []
    with autocast():
        thread = threading.Thread(target=lambda: seen.append((matrix() @ matrix()).dtype))
        thread.start()
        thread.join()
    assert seen == ["float32"]


def test_without_recording():
    with autocast(), no_grad():
        y = matrix() @ matrix()
    assert (y.dtype, y.requires_grad) == ("float16", False)


def test_second_derivative():
    x = matrix()
    with autocast():
        y = (x @ x).sum()
        y.backward(create_graph=True)
        (x.grad**2).sum().backward()
    assert np.isfinite(x.grad.numpy()).all()


def test_operations_of_two_dtypes_promote():
    x = matrix()
    with autocast():
        assert concatenate([x @ x, x]).dtype == "float32"
        assert (x @ x + x).dtype == "float32"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("float32",), ValueError, "dtype: expected a half-precision dtype, .* got 'float32'"),
        (("int8",), ValueError, "dtype: expected a half-precision dtype"),
        (("halves",), TypeError, "dtype: expected a data type"),
    ],
)
def test_refused_dtype(arguments, error, message):
    with pytest.raises(error, match=message):
        autocast(*arguments)


def test_refused_options():
    with pytest.raises(TypeError, match="enabled: expected True or False, got 1"):
        autocast(enabled=1)
    with pytest.raises(ValueError, match=r"op double: precision: expected one of .*'low'"):

        @op(precision="lower")
        def double(xp, x, /):
            return xp.add(x, x)
