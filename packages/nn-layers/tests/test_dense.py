"""Dense: values, gradients, dtypes, checks, initialization."""

import math

import numpy as np
import pytest
from nn_layers import Dense, Sequential, initialize, parse_dtype
from nn_layers.ops.linear import linear
from nn_tensor import Tensor, ones
from nn_tensor.testing import assert_close, gradcheck

SHAPES = [(3,), (5, 3), (2, 5, 3), (2, 1, 4, 3), (0, 3), (2, 0, 3)]


def arrays(shape, rng):
    return [rng.standard_normal(s) for s in (shape, (3, 2), (2,))]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_values(shape, device, rng):
    x, w, b = arrays(shape, rng)
    expected = x @ w + b
    for a in (x, x.T.copy().T, np.repeat(x, 2, -1)[..., ::2]):
        out = linear(*(Tensor(v, device=device) for v in (a, w, b)))
        assert out.shape == expected.shape
        assert_close(out, expected, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gradients_of_first_and_second_order(shape, rng):
    gradcheck(linear, arrays(shape, rng), order=2)


def test_gradient_of_third_order(rng):
    gradcheck(lambda x, w, b: linear(x, w, b) ** 3, arrays((2, 2, 3), rng), order=3)


def test_inputs_are_not_changed(device, rng):
    values = [v.astype(np.float32) for v in arrays((4, 3), rng)]
    for v in values:
        v.flags.writeable = False
    tensors = [Tensor(v, device=device, requires_grad=True) for v in values]
    linear(*tensors).sum().backward()
    for v, t in zip(values, tensors, strict=True):
        np.testing.assert_array_equal(t.numpy(), v)
        assert t.grad.dtype == np.float32


def test_result_has_the_promoted_dtype():
    x, w = np.ones((2, 3), np.float32), np.ones((3, 2), np.float32)
    assert linear(x, w, np.ones(2)).dtype == np.float64
    assert linear(x, w, np.ones(2, np.float16)).dtype == np.float32


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(5, 4), (2, 3, 4)], ids=str)
def test_against_torch(shape, bias, device, rng):
    torch = pytest.importorskip("torch")
    layer = Dense(4, 3, bias=bias, device=device, dtype=np.float64)
    theirs = torch.nn.Linear(4, 3, bias=bias, dtype=torch.float64)
    with torch.no_grad():
        theirs.weight.copy_(torch.from_numpy(layer.weights.numpy().T.copy()))
        if bias:
            theirs.bias.zero_()
    data = rng.standard_normal(shape)
    x, x_torch = Tensor(data, device=device, requires_grad=True), torch.tensor(data)
    x_torch.requires_grad_()
    (layer(x) ** 2).sum().backward()
    (theirs(x_torch) ** 2).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), x_torch.grad.numpy(), rtol=1e-9)
    np.testing.assert_allclose(layer.weights.grad.numpy(), theirs.weight.grad.numpy().T, rtol=1e-9)
    if bias:
        np.testing.assert_allclose(layer.bias.grad.numpy(), theirs.bias.grad.numpy(), rtol=1e-9)


def test_the_specification(device):
    dense = Dense(128, 10, initialization="xavier", device=device, dtype=np.float32)
    x = ones(32, 128, device=device)
    assert dense(x).shape == (32, 10)
    np.testing.assert_array_equal(dense(x).numpy(), dense.forward(x).numpy())
    assert (dense.weights.shape, dense.bias.shape) == ((128, 10), (10,))
    assert dense.device == device
    assert dense.dtype == parse_dtype("<class 'numpy.float32'>") == np.float32
    assert [*dense.state_dict()] == ["weights", "bias", "__metadata__"]
    assert repr(dense) == "Dense(128→10)"
    assert repr(Dense(2, 3, bias=False)) == "Dense(2→3, bias=False)"


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("given", ["float16", "float32", "float64"])
def test_floats_are_converted_to_the_parameters(dtype, given, device):
    layer = Dense(3, 2, dtype=dtype, device=device)
    x = ones(4, 3, dtype=given, device=device, requires_grad=True)
    out = layer(x)
    assert out.dtype == dtype
    out.sum().backward()
    assert (x.grad.dtype, layer.weights.grad.dtype, layer.bias.grad.dtype) == (given, dtype, dtype)


@pytest.mark.parametrize("dtype", ["int64", "uint8", "bool", "complex64"])
def test_other_input_is_refused(dtype):
    with pytest.raises(TypeError, match=rf"input is {dtype}, expected floats; .*astype\('float32'"):
        Dense(3, 2)(ones(4, 3, dtype=dtype))


def test_arrays_and_lists_are_taken():
    layer = Dense(2, 1)
    assert isinstance(layer(np.ones((3, 2))), Tensor)
    assert layer([[1.0, 2.0]]).shape == (1, 1)


def test_images_need_flatten():
    with pytest.raises(ValueError, match=r"input has 4 features, expected 16 .* put Flatten\(\)"):
        Dense(16, 2)(ones(3, 4, 4))


@pytest.mark.cuda
def test_mixed_devices_are_refused():
    model = Sequential(Dense(3, 2, device="cuda"))
    with pytest.raises(ValueError, match=r"Sequential\[0\] Dense.*cpu and cuda"):
        model(ones(1, 3))


@pytest.mark.parametrize(
    ("sizes", "options", "error", "reason"),
    [
        ((0, 2), {}, ValueError, "input_size: expected an integer >= 1, got 0"),
        ((2, -1), {}, ValueError, "output_size: expected an integer >= 1, got -1"),
        ((2.0, 2), {}, TypeError, "input_size: expected an integer >= 1, got 2.0"),
        ((2, True), {}, TypeError, "output_size: expected an integer >= 1, got True"),
        ((2, 2), {"initialization": "xaviar"}, ValueError, "one of 'xavier', .*, got 'xaviar'"),
        ((2, 2), {"initialization": None}, ValueError, "got None"),
        ((2, 2), {"device": "tpu"}, ValueError, "device: .* got 'tpu'"),
        ((2, 2), {"dtype": "int32"}, TypeError, "dtype: expected a floating dtype, got int32"),
        ((2, 2), {"rng": "seed"}, TypeError, "rng: .* got 'seed'"),
    ],
)
def test_wrong_arguments(sizes, options, error, reason):
    with pytest.raises(error, match=reason):
        Dense(*sizes, **options)


def test_numpy_integers_are_sizes():
    assert Dense(np.int64(2), np.uint8(3)).weights.shape == (2, 3)


# Initialization

# variance, and the largest value where the distribution has one
EXPECTED = {
    "xavier": (2 / 700, math.sqrt(6 / 700)),
    "xavier_normal": (2 / 700, None),
    "he": (2 / 400, math.sqrt(6 / 400)),
    "he_normal": (2 / 400, None),
    "lecun": (1 / 400, math.sqrt(3 / 400)),
    "lecun_normal": (1 / 400, None),
    "normal": (1e-4, None),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_distribution(name):
    variance, bound = EXPECTED[name]
    weights = Dense(400, 300, initialization=name, rng=0).weights.numpy()
    assert weights.var() == pytest.approx(variance, rel=0.02)
    assert abs(weights.mean()) < 5 * math.sqrt(variance / weights.size)
    if bound is None:
        assert abs(weights).max() > 4 * math.sqrt(variance)
    else:
        assert abs(weights).max() == pytest.approx(bound, rel=1e-3)


@pytest.mark.parametrize("shape", [(30, 20), (20, 30), (8, 3, 2, 2), (4, 4)], ids=str)
def test_orthogonal(shape):
    matrix = initialize("orthogonal", shape, 1, 1, rng=0, dtype=np.float64).numpy()
    matrix = matrix.reshape(shape[0], -1)
    product = matrix.T @ matrix if matrix.shape[0] >= matrix.shape[1] else matrix @ matrix.T
    np.testing.assert_allclose(product, np.eye(len(product)), atol=1e-13)


def test_orthogonal_matrices_are_uniform():
    drawn = {initialize("orthogonal", (1, 1), 1, 1, rng=seed).item() for seed in range(20)}
    assert drawn == {-1.0, 1.0}


def test_zeros_and_bias():
    layer = Dense(3, 2, initialization="zeros")
    assert not np.any(layer.weights.numpy())
    assert not np.any(Dense(3, 2).bias.numpy())
    assert all(p.requires_grad for p in layer.parameters)


@pytest.mark.parametrize("name", [*EXPECTED, "orthogonal"])
def test_the_seed_decides(name, device):
    def weights(rng, dtype="float32"):
        layer = Dense(5, 4, initialization=name, rng=rng, device=device, dtype=dtype)
        return layer.weights.numpy()

    host = Dense(5, 4, initialization=name, rng=3).weights.numpy()
    np.testing.assert_array_equal(weights(3), host)
    np.testing.assert_array_equal(weights(np.random.default_rng(3)), host)
    np.testing.assert_array_equal(weights(3, "float64").astype(np.float32), host)
    assert np.any(weights(4) != host)
    assert np.any(weights(None) != weights(None))
