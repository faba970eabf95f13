"""Dropout and Reshape."""

import copy

import numpy as np
import pytest
from nn_layers import Dropout, Reshape, Sequential
from nn_layers.ops.dropout import dropout
from nn_tensor import Tensor, ones
from nn_tensor.testing import gradcheck


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_the_expectation_stays(p, device):
    out = Dropout(p, rng=0)(ones(200, 200, device=device)).numpy()
    assert out.mean() == pytest.approx(1, abs=5 * np.sqrt(p / (1 - p)) / 200)
    assert set(np.unique(out)) == {np.float32(0), np.float32(1 / (1 - p))}
    assert (out == 0).mean() == pytest.approx(p, abs=0.02)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_the_gradient_has_the_same_mask(dtype, device, rng):
    x = Tensor(rng.uniform(1, 2, (30, 4)), dtype=dtype, device=device, requires_grad=True)
    out = Dropout(0.3, rng=1)(x)
    out.sum().backward()
    assert out.dtype == x.grad.dtype == np.dtype(dtype)
    eps = float(np.finfo(dtype).eps)
    np.testing.assert_allclose(x.grad.numpy() * x.numpy(), out.numpy(), rtol=2 * eps)


def test_gradients(rng):
    x = rng.standard_normal((3, 4))
    gradcheck(lambda t: dropout(t, 0.4, np.random.default_rng(3)), [x], order=2)


def test_only_in_training(rng):
    x = Tensor(rng.standard_normal((3, 4)))
    layer = Dropout(0.5, rng=0)
    assert layer.eval()(x) is x
    assert layer.train()(x) is not x
    assert Dropout(0)(x) is x


def test_a_probability_of_one_gives_zeros(device):
    x = Tensor([1.0, -2.0, 1e30], device=device, requires_grad=True)
    out = Dropout(1.0)(x)
    out.sum().backward()
    np.testing.assert_array_equal(out.numpy(), [0, 0, 0])
    np.testing.assert_array_equal(x.grad.numpy(), [0, 0, 0])


def test_the_seed_decides(device):
    def draw(rng, dtype="float32"):
        return Dropout(0.5, rng=rng)(ones(64, dtype=dtype, device=device)).numpy()

    host = Dropout(0.5, rng=3)(ones(64)).numpy()
    np.testing.assert_array_equal(draw(3), host)
    np.testing.assert_array_equal(draw(np.random.default_rng(3)), host)
    np.testing.assert_array_equal(draw(3, "float16").astype(np.float32), host)
    assert np.any(draw(4) != host)
    assert np.any(draw(None) != draw(None))
    layer = Dropout(0.5, rng=3)
    assert np.any(layer(ones(64)).numpy() != layer(ones(64)).numpy())
    again = copy.deepcopy(layer)
    np.testing.assert_array_equal(again(ones(64)).numpy(), layer(ones(64)).numpy())


@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3)])
def test_empty_and_0d_inputs(shape):
    x = ones(shape, requires_grad=True)
    out = Dropout(0.5, rng=0)(x)
    out.sum().backward()
    assert out.shape == x.grad.shape == shape


def test_inputs_are_not_written_to(rng):
    x = rng.standard_normal((4, 4))
    x.flags.writeable = False
    Dropout(0.5)(Tensor(x, requires_grad=True)).sum().backward()


def test_dropout_has_no_state():
    model = Sequential(Dropout(0.25), Dropout(name="last"))
    assert list(model.state_dict()) == ["__metadata__"]
    assert list(map(repr, model)) == ["Dropout(0.25)", "Dropout(0.5, name='last')"]


@pytest.mark.parametrize(
    ("options", "error", "reason"),
    [
        ({"p": 1.5}, ValueError, "p: expected a finite number >= 0 and <= 1, got 1.5"),
        ({"p": -0.1}, ValueError, "p: .* got -0.1"),
        ({"p": np.nan}, ValueError, "p: .* got nan"),
        ({"p": "half"}, TypeError, "p: expected a finite number >= 0 and <= 1, got 'half'"),
        ({"rng": "seed"}, TypeError, "rng: .* got 'seed'"),
        ({"rng": -1}, ValueError, "rng: .* got -1"),
    ],
)
def test_wrong_options(options, error, reason):
    with pytest.raises(error, match=reason):
        Dropout(**options)


def test_integers_are_refused():
    for layer in (Dropout(0.5), Dropout(0.5).eval()):
        with pytest.raises(TypeError, match=r"Dropout\(0.5\): input is int64, expected floats"):
            layer([1, 2])


# Reshape


@pytest.mark.parametrize(
    ("shape", "given", "expected"),
    [
        (6, (2, 3, 2), (2, 6)),
        ((3, 2), (2, 6), (2, 3, 2)),
        ((3, -1), (2, 6), (2, 3, 2)),
        ([-1], (2, 3, 4), (2, 12)),
        ((1, 1), (5,), (5, 1, 1)),
        ((2, -1), (0, 4), (0, 2, 2)),
        ((-1, 3), (2, 0, 3), (2, 0, 3)),
    ],
    ids=str,
)
def test_reshape(shape, given, expected, device, rng):
    data = rng.standard_normal(given).astype(np.float32)
    x = Tensor(data, device=device, requires_grad=True)
    out = Reshape(shape)(x)
    np.testing.assert_array_equal(out.numpy(), data.reshape(expected), strict=True)
    out.sum().backward()
    assert x.grad.shape == given


def test_gradients_of_reshape(rng):
    gradcheck(lambda x: Reshape((2, -1))(x) ** 2, [rng.standard_normal((3, 6))], order=2)


def test_reshape_keeps_integers():
    assert Reshape((2, 2))(np.ones((3, 4), int)).dtype == np.int64
    assert repr(Reshape((2, -1))) == "Reshape(2×-1)"


@pytest.mark.parametrize(
    ("shape", "given", "reason"),
    [
        ((3, 4), (2, 10), "Reshape(3×4): input of shape (2, 10) has 10 elements in each sample"),
        ((3, -1), (2, 10), "do not fit into (3, -1)"),
        (4, (2, 0), "has 0 elements in each sample, which do not fit into (4,)"),
        (4, (), "input has no dimensions"),
    ],
)
def test_reshape_that_does_not_fit(shape, given, reason):
    with pytest.raises(ValueError, match="input") as info:
        Reshape(shape)(ones(given))
    assert reason in str(info.value)


@pytest.mark.parametrize(
    ("shape", "error"),
    [((0,), ValueError), ((-2, 3), ValueError), ((-1, -1), ValueError), ((2.0,), TypeError),
     ("ab", TypeError)],
)  # fmt: skip
def test_wrong_sizes(shape, error):
    with pytest.raises(error, match="shape: expected"):
        Reshape(shape)
