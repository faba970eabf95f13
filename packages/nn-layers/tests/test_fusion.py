"""Layers that `Sequential` computes as one operation give what they give one after the other."""

import numpy as np
import pytest
from nn_layers import Base_Layer, Conv2D, Dense, Flatten, MaxPool2D, ReLU, Sequential
from nn_tensor import Tensor, autocast, detect_anomaly, no_grad, use_kernels
from nn_tensor.extend import Observer, observe
from nn_tensor.testing import gradcheck

# by the name of the operation that the layers become: layers, and the shape of the input
ROWS = {
    "conv2d_relu": {
        "": ([Conv2D(3, 8, 3), ReLU()], (2, 3, 9, 8)),
        "no bias": ([Conv2D(3, 5, 3, padding=1, bias=False), ReLU()], (2, 3, 7, 7)),
        "stride, dilation": ([Conv2D(2, 6, (2, 3), 2, 1, dilation=(1, 2)), ReLU()], (3, 2, 8, 9)),
        "same": ([Conv2D(2, 3, 4, 3, "same"), ReLU()], (1, 2, 10, 11)),
        "groups": ([Conv2D(4, 6, 3, groups=2), ReLU()], (2, 4, 6, 6)),
        "depthwise": ([Conv2D(4, 4, 3, padding=1, groups=4), ReLU()], (2, 4, 5, 6)),
        "pointwise": ([Conv2D(3, 7, 1), ReLU()], (2, 3, 5, 5)),
        "Winograd": ([Conv2D(3, 9, 3, padding=1, algorithm="winograd"), ReLU()], (2, 3, 9, 11)),
        "large": ([Conv2D(16, 16, 3, padding=1), ReLU()], (8, 16, 33, 31)),
        "products": ([Conv2D(512, 512, 3, padding=1), ReLU()], (1, 512, 3, 3)),
        "stride 1 pooling": ([Conv2D(3, 4, 3), ReLU(), MaxPool2D(2, 1)], (2, 3, 6, 7)),
    },
    "conv2d_max_pool2d_relu": {
        "": ([Conv2D(3, 8, 3), ReLU(), MaxPool2D(2)], (2, 3, 10, 8)),
        "odd": ([Conv2D(3, 8, 3, padding=1), ReLU(), MaxPool2D(2)], (2, 3, 9, 7)),
        "wide": ([Conv2D(1, 3, 3, padding=1), ReLU(), MaxPool2D(2)], (2, 1, 4, 71)),
        "no bias": ([Conv2D(3, 5, 5, bias=False), ReLU(), MaxPool2D(2)], (1, 3, 12, 12)),
        "stride": ([Conv2D(2, 6, 3, 2, 1), ReLU(), MaxPool2D(2)], (3, 2, 14, 15)),
        "groups": ([Conv2D(4, 6, 3, groups=2), ReLU(), MaxPool2D(2)], (2, 4, 6, 6)),
        "pointwise": ([Conv2D(3, 7, 1), ReLU(), MaxPool2D(2)], (2, 3, 5, 6)),
        "few outputs": ([Conv2D(2, 1, 3), ReLU(), MaxPool2D(2)], (5, 2, 7, 7)),
        "Winograd": (
            [Conv2D(3, 9, 3, padding=1, algorithm="winograd"), ReLU(), MaxPool2D(2)],
            (2, 3, 9, 11),
        ),
        "large": ([Conv2D(16, 16, 3, padding=1), ReLU(), MaxPool2D(2)], (8, 16, 34, 31)),
        "many samples": ([Conv2D(1, 8, 3, padding=1), ReLU(), MaxPool2D(2)], (33, 1, 28, 28)),
        "overlapping": ([Conv2D(3, 8, 3), ReLU(), MaxPool2D(3, 2, 1)], (2, 3, 10, 9)),
        "columns": ([Conv2D(3, 8, 3), ReLU(), MaxPool2D((1, 2), (1, 2))], (2, 3, 10, 9)),
    },
}
CASES = [
    pytest.param(op, layers, shape, id=f"{op} {label}")
    for op, rows in ROWS.items()
    for label, (layers, shape) in rows.items()
]


class Names(Observer):
    """Remembers the names of the operations."""

    def __init__(self):
        self.names = []

    def computed(self, function, arguments, options, result, label, writes):
        self.names.append(label)


def operations(model, x):
    """Return the names of the operations that a model computes."""
    names = Names()
    with observe(names), no_grad():
        model(x)
    return names.names


def one_by_one(layers, x):
    for layer in layers:
        x = layer(x)
    return x


def drawn(rng, shape, dtype):
    """Return small integers, with ties, NaN and infinities and both zeros among them."""
    values = rng.integers(-3, 4, shape).astype(dtype)
    values[values == 0] *= rng.choice([-1, 1], (values == 0).sum())
    for special in (np.nan, np.inf, -np.inf):
        values[rng.random(shape) < 0.005] = special
    return values


def bits(x):
    """Return what distinguishes zeros of both signs, and no kinds of NaN."""
    return np.isnan(x), np.nan_to_num(x, nan=0.0).view(f"u{x.itemsize}")


def assert_same_bits(found, expected):
    assert found.dtype == expected.dtype
    for x, y in zip(bits(found), bits(expected), strict=True):
        np.testing.assert_array_equal(x, y)


def set_up(layers, dtype, rng):
    model = Sequential(layers)
    model.set_dtype(dtype)
    for parameter in model.parameters:
        parameter.data = rng.standard_normal(parameter.shape).astype(dtype)
    return model


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # infinity minus infinity
class TestRows:
    @pytest.mark.parametrize("kernels", ["auto", "reference"])
    @pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
    @pytest.mark.parametrize(("op", "layers", "shape"), CASES)
    def test_results_and_gradients(self, op, layers, shape, dtype, kernels, rng):
        model, values = set_up(layers, dtype, rng), drawn(rng, shape, dtype)
        assert op in operations(model, Tensor(values))
        found = []
        with use_kernels(kernels):
            for forward in (model, lambda x: one_by_one(layers, x)):
                x = Tensor(values, requires_grad=True)
                model.zero_grad()
                out = forward(x)
                g = np.random.default_rng(1).standard_normal(out.shape).astype(dtype)
                out.backward(Tensor(g))
                with no_grad():
                    assert_same_bits(forward(x).numpy(), out.numpy())
                found.append(
                    [out.numpy(), x.grad.numpy(), *(p.grad.numpy() for p in model.parameters)]
                )
        for together, apart in zip(*found, strict=True):
            assert_same_bits(together, apart)

    @pytest.mark.parametrize(("op", "layers", "shape"), CASES)
    def test_on_devices(self, op, layers, shape, device, rng):
        model = set_up(layers, "float32", rng).to(device)
        try:
            x = Tensor(rng.standard_normal(shape).astype(np.float32), device=device)
            np.testing.assert_allclose(
                model(x).numpy(), one_by_one(layers, x).numpy(), rtol=1e-5, atol=1e-5
            )
        finally:
            model.to("cpu")

    @pytest.mark.parametrize(("op", "layers", "shape"), CASES)
    def test_mixed_precision(self, op, layers, shape, rng):
        model = set_up(layers, "float32", rng)
        x = Tensor(rng.standard_normal(shape).astype(np.float32))
        with autocast("float16"):
            assert_same_bits(model(x).numpy(), one_by_one(layers, x).numpy())


@pytest.mark.parametrize(
    ("layers", "shape"),
    [
        ([Conv2D(2, 3, 3, padding=1), ReLU()], (2, 2, 4, 3)),
        ([Conv2D(2, 3, 2), ReLU(), MaxPool2D(2)], (1, 2, 5, 6)),
        ([Conv2D(2, 2, 2, bias=False), ReLU(), MaxPool2D(3, 2, 1)], (1, 2, 5, 6)),
    ],
    ids=str,
)
def test_gradients_of_second_order(layers, shape, rng):
    model = set_up(layers, "float64", rng)
    inputs = [rng.standard_normal(shape), *(p.numpy() for p in model.parameters)]

    def function(x, *values):
        layer, given = layers[0], iter(values)
        layer.weights = next(given)
        layer.bias = next(given, None)
        return model(x) ** 3

    before = layers[0].weights, layers[0].bias
    try:
        gradcheck(function, inputs, order=2, step=1e-4)
    finally:
        layers[0].weights, layers[0].bias = before


FUSED = "conv2d_max_pool2d_relu"


class TestWhatIsSeen:
    """Layers are called one after the other where something looks at what passes between them."""

    @pytest.fixture
    def model(self):
        return Sequential(Conv2D(1, 2, 3), ReLU(), MaxPool2D(2), Flatten(), Dense(8, 3))

    x = Tensor(np.random.default_rng(0).standard_normal((2, 1, 6, 6)).astype(np.float32))

    def test_it_is_fused(self, model):
        assert operations(model, self.x) == [FUSED, "reshape", "linear"]

    @pytest.mark.parametrize("position", [0, 1, 2])
    def test_a_forward_of_an_instance(self, model, position):
        seen, layer = [], model[position]
        forward = layer.forward
        expected = model(self.x).numpy()
        layer.forward = lambda x: seen.append(x.shape) or forward(x)
        np.testing.assert_array_equal(model(self.x).numpy(), expected)
        assert seen == [[(2, 1, 6, 6), (2, 2, 4, 4), (2, 2, 4, 4)][position]]
        assert FUSED not in operations(model, self.x)
        del layer.forward
        assert FUSED in operations(model, self.x)

    @pytest.mark.parametrize("kind", [Conv2D, ReLU, MaxPool2D])
    def test_a_forward_of_a_class(self, model, kind, monkeypatch):
        seen, forward = [], kind.forward
        monkeypatch.setattr(
            kind, "forward", lambda self, x: seen.append(x.shape) or forward(self, x)
        )
        model(self.x)
        assert seen
        assert FUSED not in operations(model, self.x)

    def test_calls(self, model, monkeypatch):
        called, call = [], Base_Layer.__call__

        def traced(self, *args):
            called.append(type(self).__name__)
            return call(self, *args)

        monkeypatch.setattr(Base_Layer, "__call__", traced)
        model(self.x)
        assert called[1:] == ["Conv2D", "ReLU", "MaxPool2D", "Flatten", "Dense"]

    @pytest.mark.parametrize("position", [0, 1, 2])
    def test_subclasses(self, model, position):
        layer = model[position]
        layer.__class__ = type("Mine", (type(layer),), {})
        assert FUSED not in operations(model, self.x)

    @pytest.mark.filterwarnings("ignore::RuntimeWarning")  # infinity times 0
    def test_detect_anomaly(self, model):
        model[0].weights.data = np.full((2, 1, 3, 3), np.inf, np.float32)
        with detect_anomaly(), pytest.raises(FloatingPointError, match=r"conv2d\("):
            model(self.x)
        with detect_anomaly():
            assert FUSED not in operations(Sequential(Conv2D(1, 2, 3), ReLU(), MaxPool2D()), self.x)

    def test_summary(self, model):
        text = str(model.summary((2, 1, 6, 6)))
        assert "(2, 2, 4, 4)" in text
        assert "(2, 2, 2, 2)" in text
        assert FUSED in operations(model, self.x)

    def test_layers_that_are_exchanged(self, model):
        assert FUSED in operations(model, self.x)
        model[1] = Sequential()
        assert operations(model, self.x)[:2] == ["conv2d", "max_pool2d"]
        model[1] = ReLU()
        assert FUSED in operations(model, self.x)

    def test_a_bias_that_is_removed(self, model):
        model[0].bias = None
        assert FUSED in operations(model, self.x)
        np.testing.assert_array_equal(model(self.x).numpy(), one_by_one(model, self.x).numpy())


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (
            np.ones((1, 2, 9, 9)),
            ValueError,
            r"Sequential\[0\] Conv2D\(1→2, 3×3\): input has 2 chan",
        ),
        (np.ones((1, 1, 2, 9)), ValueError, r"Sequential\[0\] Conv2D\(1→2, 3×3\): kernel 3×3 does"),
        (np.ones((1, 1, 3, 9)), ValueError, r"Sequential\[2\] MaxPool2D\(2×2, stride=2\): kernel"),
        (np.ones((1, 9, 9)), ValueError, r"Sequential\[0\] Conv2D\(1→2, 3×3\): input has 3 dim"),
        (
            np.ones((1, 1, 9, 9), int),
            TypeError,
            r"Sequential\[0\] Conv2D\(1→2, 3×3\): input is int",
        ),
    ],
    ids=str,
)
def test_errors_name_their_layer(x, error, message):
    model = Sequential(Conv2D(1, 2, 3), ReLU(), MaxPool2D(2))
    with pytest.raises(error, match=message):
        model(x)


def test_frozen_layers_have_no_gradient(rng):
    model = Sequential(Conv2D(1, 2, 3, rng=0), ReLU(), MaxPool2D(2))
    model[0].freeze()
    assert not model(Tensor(np.ones((1, 1, 6, 6)))).requires_grad
    model[0].unfreeze()
    model[0].weights.requires_grad = False
    model(Tensor(np.ones((1, 1, 6, 6), np.float32))).sum().backward()
    assert model[0].bias.has_grad
    assert not model[0].weights.has_grad
