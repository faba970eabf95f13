"""Sequential: building, reaching and changing its layers."""

import numpy as np
import pytest
from nn_layers import BaseModel, Dense, Flatten, MaxPool2D, ReLU, Sequential
from nn_tensor import Tensor, ones, relu, tanh
from nn_tensor.extend import Observer, observe
from nn_tensor.testing import gradcheck


def layers():
    return [Dense(4, 3), ReLU(), Dense(3, 2)]


def test_layers_come_as_arguments_or_in_an_iterable():
    given = layers()
    for model in (Sequential(*given), Sequential(given), Sequential(tuple(given))):
        assert list(model) == given
    assert list(Sequential(layer for layer in given)) == given
    assert len(Sequential(given)) == 3
    assert list(Sequential(Sequential(given))[0]) == given


def test_it_is_a_model_of_its_own():
    given = layers()
    model = Sequential(given)
    given.append(ReLU())
    assert len(model) == 3
    assert isinstance(model, BaseModel)


def test_forward(device):
    model = Sequential(Flatten(), Dense(4, 3), Sequential(ReLU(), Dense(3, 2)), device=device)
    x = ones(5, 2, 2, device=device)
    expected = np.maximum(x.numpy().reshape(5, 4) @ model[1].weights.numpy(), 0)
    np.testing.assert_allclose(
        model(x).numpy(), expected @ model[2][1].weights.numpy(), rtol=1e-5, atol=1e-6
    )
    assert {p.device for p in model.parameters} == {device}
    assert [path for path, _ in model.named_parameters()] == (
        ["1.weights", "1.bias", "2.1.weights", "2.1.bias"]
    )


def test_without_layers_it_returns_its_input():
    x = ones(2)
    assert Sequential()(x) is x
    assert Sequential([]).parameters == []


def test_indexing():
    given = layers()
    model = Sequential(given)
    assert model[0] is given[0]
    assert model[-1] is given[2]
    assert list(model[1:]) == given[1:]
    assert list(model[::-1]) == given[::-1]
    assert isinstance(model[:2], Sequential)
    assert model[:2][0] is given[0]
    for index in (3, -4):
        with pytest.raises(IndexError, match=f"index {index} is out of range, there are 3 layers"):
            model[index]
    with pytest.raises(TypeError, match="str"):
        model["0"]


def test_changing():
    model = Sequential(layers())
    head = Dense(3, 5)
    model[-1] = head
    assert model[2] is head
    assert model.append(ReLU()).extend([Dense(5, 1), ReLU()]) is model
    del model[-1]
    assert model(ones(1, 4)).shape == (1, 1)
    assert len(model.parameters) == 6
    model.layers.insert(0, Flatten())
    assert model(ones(1, 2, 2)).shape == (1, 1)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (ReLU, r"got <class .*ReLU'>; write ReLU\(\.\.\.\) to make one"),
        (tanh, "a function goes into the forward of a custom class"),
        (None, "expected a layer, got None$"),
        ([ReLU()], r"got \[ReLU\(\)\]"),
    ],
)
def test_anything_but_a_layer_is_refused(wrong, reason):
    with pytest.raises(TypeError, match=rf"layers\[1\]: .*{reason}"):
        Sequential(Flatten(), wrong)
    model = Sequential(layers())
    with pytest.raises(TypeError, match=rf"layers\[4\]: .*{reason}"):
        model.extend([ReLU(), wrong])
    with pytest.raises(TypeError, match=rf"layers\[2\]: .*{reason}"):
        model[-1] = wrong
    assert len(model) == 3


def test_a_single_argument_that_is_not_a_layer():
    with pytest.raises(TypeError, match=r"layers\[0\]: expected a layer"):
        Sequential(ReLU)
    with pytest.raises(TypeError, match=r"layers\[0\]: expected a layer, got 5"):
        Sequential(5)


def test_without_device_layers_stay_where_they_are(device):
    model = Sequential(Dense(2, 2, device=device), ReLU())
    assert model[0].device == device


@pytest.mark.parametrize("device_name", ["tpu", "cuda:99"])
def test_a_wrong_device(device_name):
    with pytest.raises((ValueError, RuntimeError), match=device_name):
        Sequential(layers(), device=device_name)


class TestReLUBeforeMaxPool:
    """ReLU is applied to the maxima, which nobody can see but by the time that it takes."""

    @staticmethod
    def one_by_one(model, x):
        for layer in model:
            x = layer(x)
        return x

    @pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
    @pytest.mark.parametrize("options", [(2,), (3, 2, 1), (3, 2), ((1, 2), (1, 3))], ids=str)
    def test_results_and_gradients(self, options, dtype, rng):
        model = Sequential(ReLU(), MaxPool2D(*options), ReLU(), MaxPool2D(2), ReLU())
        values = rng.integers(-4, 3, (3, 2, 13, 14)).astype(dtype)  # with ties
        values[rng.random(values.shape) < 0.05] = np.nan
        values[rng.random(values.shape) < 0.05] = np.inf
        values[rng.random(values.shape) < 0.05] = -np.inf
        found = []
        for forward in (model, lambda x: self.one_by_one(model, x)):
            x = Tensor(values, requires_grad=True)
            out = forward(x)
            g = np.random.default_rng(1).standard_normal(out.shape).astype(dtype)
            g[:, :, ::2] = np.inf
            out.backward(Tensor(g))
            found.append((out.numpy(), x.grad.numpy()))
        for swapped, ordered in zip(*found, strict=True):
            np.testing.assert_array_equal(swapped, ordered)

    def test_gradients_of_second_order(self, rng):
        model = Sequential(ReLU(), MaxPool2D(2))
        gradcheck(lambda x: model(x) ** 3, [rng.standard_normal((2, 2, 4, 5))], order=2)

    def test_the_order_is_kept_where_it_could_be_seen(self, rng):
        seen = []

        class Watched(ReLU):
            def forward(self, x):
                seen.append(x.shape)
                return super().forward(x)

        x = Tensor(rng.standard_normal((1, 2, 4, 6)))
        Sequential(Watched(), MaxPool2D(2))(x)
        layer = ReLU()
        layer.forward = lambda x: seen.append(x.shape) or relu(x)
        Sequential(layer, MaxPool2D(2))(x)
        assert seen == [(1, 2, 4, 6)] * 2
        text = str(Sequential(ReLU(), MaxPool2D(2)).summary((1, 2, 4, 6)))
        assert "1×2×4×6" in text or "(1, 2, 4, 6)" in text

    def test_the_relu_sees_the_maxima_only(self, rng):
        seen = []

        class Shapes(Observer):
            def computed(self, function, arguments, options, result, label, writes):
                if label == "relu":
                    seen.append(result.shape)

        x = Tensor(rng.standard_normal((1, 2, 4, 6)))
        with observe(Shapes()):
            Sequential(ReLU(), MaxPool2D(2), ReLU())(x)
            Sequential(ReLU(), MaxPool2D(3, 1))(x)
        assert seen == [(1, 2, 2, 3), (1, 2, 2, 3), (1, 2, 4, 6)]

    def test_errors_name_the_layer_that_raised_them(self):
        with pytest.raises(ValueError, match=r"Sequential\[1\] MaxPool2D"):
            Sequential(ReLU(), MaxPool2D(2))(Tensor(np.ones((2, 3))))
