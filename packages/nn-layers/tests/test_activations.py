"""Activations and Flatten."""

import math

import nn_layers
import numpy as np
import pytest
from nn_layers import (
    ELU,
    GELU,
    Activation,
    Flatten,
    Identity,
    LeakyReLU,
    LogSoftmax,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from nn_layers.ops.gelu import gelu, gelu_gradient
from nn_tensor import Tensor, no_grad, ones, use_kernels
from nn_tensor.testing import assert_close, gradcheck


def softmax(x, axis):
    weights = np.exp(x - x.max(axis, keepdims=True))
    return weights / weights.sum(axis, keepdims=True)


def normal_cdf(x):
    return np.vectorize(lambda v: math.erfc(-v / math.sqrt(2)) / 2)(x) if x.size else x


def tanh_cdf(x):
    return (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))) / 2


# layer, what it computes, and its namesake in torch
CASES = {
    "ReLU": (ReLU(), lambda x: np.maximum(x, 0), "ReLU"),
    "Tanh": (Tanh(), np.tanh, "Tanh"),
    "Sigmoid": (Sigmoid(), lambda x: 1 / (1 + np.exp(-x)), "Sigmoid"),
    "Softmax": (Softmax(), lambda x: softmax(x, -1), ("Softmax", {"dim": -1})),
    "Softmax 0": (Softmax(axis=0), lambda x: softmax(x, 0), ("Softmax", {"dim": 0})),
    "LeakyReLU": (LeakyReLU(), lambda x: np.where(x > 0, x, 0.01 * x), "LeakyReLU"),
    "LeakyReLU 2": (
        LeakyReLU(alpha=2),
        lambda x: np.where(x > 0, x, 2 * x),
        ("LeakyReLU", {"negative_slope": 2}),
    ),
    "ELU": (ELU(), lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))), "ELU"),
    "ELU 0.5": (
        ELU(alpha=0.5),
        lambda x: np.where(x > 0, x, 0.5 * np.expm1(np.minimum(x, 0))),
        ("ELU", {"alpha": 0.5}),
    ),
    "LogSoftmax": (
        LogSoftmax(),
        lambda x: np.log(softmax(x, -1)),
        ("LogSoftmax", {"dim": -1}),
    ),
    "GELU": (GELU(), lambda x: x * normal_cdf(x), "GELU"),
    "GELU tanh": (
        GELU(approximate="tanh"),
        lambda x: x * tanh_cdf(x),
        ("GELU", {"approximate": "tanh"}),
    ),
    "SiLU": (SiLU(), lambda x: x / (1 + np.exp(-x)), "SiLU"),
    "Softplus": (
        Softplus(),
        lambda x: np.log1p(np.exp(x)),
        ("Softplus", {"threshold": 1000}),  # beyond its threshold torch returns x
    ),
    "Identity": (Identity(), lambda x: x, "Identity"),
    "Flatten": (Flatten(), lambda x: x.reshape(len(x), -1), "Flatten"),
}
each_case = pytest.mark.parametrize("case", CASES)
each_dtype = pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])


def test_every_activation_has_a_case():
    names = {
        name
        for name in nn_layers.__all__
        if isinstance(getattr(nn_layers, name), type)
        and issubclass(getattr(nn_layers, name), Activation)
    }
    assert names - {"Activation"} <= {name.split()[0] for name in CASES}


@each_dtype
@each_case
def test_values_and_dtype(case, dtype, device, rng):
    layer, function, _ = CASES[case]
    x = rng.standard_normal((4, 3, 5)).astype(dtype)
    for array in (x, x.T.copy().T, x[::-1], np.broadcast_to(x[:1], x.shape)):
        t = Tensor(array, device=device, requires_grad=True)
        out = layer(t)
        assert (out.dtype, out.device) == (dtype, device)
        expected = function(np.array(array, np.float64))
        eps = np.finfo(dtype).eps
        np.testing.assert_allclose(out.numpy(), expected, rtol=8 * eps, atol=eps)
        out.sum().backward()
        assert (t.grad.dtype, t.grad.shape) == (dtype, t.shape)
        np.testing.assert_array_equal(t.numpy(), array)


@each_case
def test_gradients(case, rng):
    x = rng.uniform(0.1, 2, (3, 4)) * rng.choice([-1, 1], (3, 4))  # away from the kink
    gradcheck(CASES[case][0], [x], order=2)


@each_case
def test_against_torch(case, device, rng):
    torch = pytest.importorskip("torch")
    layer, _, name = CASES[case]
    name, options = name if isinstance(name, tuple) else (name, {})
    data = np.concatenate([rng.standard_normal((3, 4)) * 5, np.zeros((1, 4)), [[-40, 40, -9, 9]]])
    x, theirs = Tensor(data, device=device, requires_grad=True), torch.tensor(data)
    theirs.requires_grad_()
    weights = rng.standard_normal(data.shape)
    out, expected = layer(x), getattr(torch.nn, name)(**options)(theirs)
    np.testing.assert_allclose(out.numpy(), expected.detach().numpy(), rtol=1e-12, atol=1e-300)
    out.backward(Tensor(weights.reshape(out.shape), device=device))
    expected.backward(torch.tensor(weights).reshape(expected.shape))
    np.testing.assert_allclose(x.grad.numpy(), theirs.grad.numpy(), rtol=1e-9, atol=1e-15)


@each_case
def test_no_samples(case, device):
    layer = CASES[case][0]
    x = ones(0, 3, device=device, requires_grad=True)
    layer(x).sum().backward()
    assert x.grad.shape == (0, 3)


@each_case
def test_extremes(case, device):
    big = Tensor([[-np.inf, -1e4, 1e4]], dtype="float32", device=device, requires_grad=True)
    out = CASES[case][0](big)
    assert not np.isnan(out.numpy()).any()
    out.backward(Tensor(np.float32(1), device=device))
    assert not np.isnan(big.grad.numpy()).any()
    nan = CASES[case][0](Tensor([[np.nan, 1.0, 2.0], [np.nan, 1.0, 2.0]], device=device))
    assert np.isnan(nan.numpy().reshape(2, 3)[:, 0]).all()


def test_elu_is_precise_far_from_zero():
    x = Tensor([-60.0], dtype="float64", requires_grad=True)
    ELU()(x).backward()
    assert_close(x.grad, np.exp([-60.0]), rtol=1e-14, atol=0)


def test_device_is_a_setting_and_moves_nothing(device):
    layer = ReLU(device="cuda")
    layer.set_cpu()
    assert layer.device == "cpu"
    layer.set_gpu()
    assert layer.device == "cuda"
    assert layer(ones(2, device=device)).device == device
    with pytest.raises(ValueError, match=r"device: .* got 'gpu'"):
        ReLU(device="gpu")
    assert {Tanh(device="cpu").device, Softmax(-1, device="cuda:1").device} == {"cpu", "cuda:1"}


def test_activation_is_abstract():
    with pytest.raises(TypeError, match="abstract"):
        Activation()


def test_repr():
    layers = [ReLU(), Softmax(axis=1), LeakyReLU(), ELU(alpha=2), Flatten(), LogSoftmax(0)]
    assert list(map(repr, [*layers, GELU(), GELU("tanh")])) == [
        "ReLU()",
        "Softmax(axis=1)",
        "LeakyReLU(alpha=0.01)",
        "ELU(alpha=2)",
        "Flatten()",
        "LogSoftmax(axis=0)",
        "GELU()",
        "GELU(approximate='tanh')",
    ]


def test_arrays_become_tensors():
    assert isinstance(ReLU()(np.ones(2)), Tensor)
    assert isinstance(Flatten()(np.ones((2, 2))), Tensor)


def test_wrong_arguments():
    with pytest.raises(ValueError, match=r"Softmax\(axis=2\): input of shape \(3,\) has no axis 2"):
        Softmax(axis=2)(ones(3))
    for layer in (LeakyReLU, ELU):
        with pytest.raises(ValueError, match="alpha: expected a finite number, got nan"):
            layer(alpha=np.nan)
        with pytest.raises(TypeError, match="alpha: expected a finite number, got 'x'"):
            layer(alpha="x")
    with pytest.raises(ValueError, match=r"LogSoftmax\(axis=1\): input of shape \(3,\) has no"):
        LogSoftmax(axis=1)(ones(3))
    for wrong in ("sigmoid", True, None):
        with pytest.raises(ValueError, match=f"approximate: expected .* got {wrong!r}"):
            GELU(wrong)
    with pytest.raises(ValueError, match="Flatten: input has no dimensions"):
        Flatten()(Tensor(1.0))


@pytest.mark.parametrize("layer", [GELU(), GELU("tanh")])
def test_gelu_of_integers_is_that_of_floats(layer, device):
    whole = Tensor(np.array([-2, 0, 3]), device)
    np.testing.assert_array_equal(layer(whole).numpy(), layer(whole.astype("float64")).numpy())


@pytest.mark.parametrize("kernels", ["auto", "reference"])
def test_gelu_gradient_of_a_number_is_a_number(kernels):
    with use_kernels(kernels):
        result = gelu_gradient(np.ones(()), np.array(0.5))
    assert result.shape == ()
    density = math.exp(-0.125) / math.sqrt(2 * math.pi)
    assert_close(result, normal_cdf(np.array(0.5)) + 0.5 * density)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gelu_has_the_same_gradient_whether_its_slope_is_kept(dtype):
    values = np.random.default_rng(0).normal(0, 3, 70_000).astype(dtype)
    values[[0, 1, -3, -2, -1]] = -np.inf, np.nan, 50, -50, np.inf
    gradients = []
    with use_kernels("reference"):
        for keep in (True, False):
            x = Tensor(values, requires_grad=True)
            gelu(x, keep).sum().backward()
            gradients.append(x.grad.numpy())
    np.testing.assert_array_equal(*gradients)
    np.testing.assert_array_equal(gradients[0][[0, 1, -3, -2, -1]], [0, np.nan, 1, 0, 1])


def test_gelu_keeps_its_slope_only_for_a_gradient():
    asked = []

    class Observed(GELU):
        def forward(self, inputs):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(
                    "nn_layers.layers.activations.gelu",
                    lambda x, keep: asked.append(keep) or gelu(x, keep),
                )
                return super().forward(inputs)

    layer, x = Observed(), Tensor([1.0], requires_grad=True)
    results = [layer(x).item(), layer(x.detach()).item()]
    with no_grad():
        results.append(layer(x).item())
    assert asked == [True, False, False]
    assert len({*results}) == 1


def test_gelu_of_numbers_far_from_0_is_0_or_the_number():
    x = np.geomspace(6, 1e30, 100_000, dtype=np.float32)
    with use_kernels("reference"):
        np.testing.assert_array_equal(GELU()(Tensor(x)).numpy(), x)
        np.testing.assert_array_equal(GELU()(Tensor(-x)).numpy(), 0)
