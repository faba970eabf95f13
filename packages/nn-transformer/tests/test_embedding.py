"""`Embedding`."""

import numpy as np
import pytest
from nn_tensor import Tensor
from nn_tensor.testing import gradcheck
from nn_transformer import Embedding
from nn_transformer.modules.embedding import embedding_lookup

SHAPES = [(), (4,), (2, 3), (2, 3, 2), (0,)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64", "uint64"])
def test_looks_up_rows(shape, dtype, device):
    embedding = Embedding(7, 5, device=device, rng=0)
    tokens = np.random.default_rng(0).integers(0, 7, shape).astype(dtype)
    found = embedding(Tensor(tokens, device=device))
    assert found.shape == (*shape, 5)
    np.testing.assert_array_equal(found.numpy(), embedding.weights.numpy()[tokens.astype(int)])


@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_of_first_and_second_order(shape, device):
    tokens = Tensor(np.random.default_rng(0).integers(0, 4, shape), device=device)
    weights = Tensor(np.random.default_rng(1).standard_normal((4, 3)), device=device)
    gradcheck(lambda w: embedding_lookup(w, tokens) ** 3, [weights], order=2)


def test_gradients_of_repeated_tokens_accumulate(device):
    embedding = Embedding(5, 2, device=device, rng=0)
    embedding([[1, 1, 3], [1, 3, 0]]).sum().backward()
    np.testing.assert_array_equal(
        embedding.weights.grad.numpy(), [[1, 1], [3, 3], [0, 0], [2, 2], [0, 0]]
    )


def test_equals_torch():
    torch = pytest.importorskip("torch")
    tokens = np.random.default_rng(0).integers(0, 50, (4, 30))
    embedding = Embedding(50, 8, rng=0)
    other = torch.nn.Embedding(50, 8)
    with torch.no_grad():
        other.weight.copy_(torch.tensor(embedding.weights.data))
    (embedding(tokens) ** 2).sum().backward()
    (other(torch.tensor(tokens)) ** 2).sum().backward()
    # float32: some ten rows are summed for each token, in another order
    np.testing.assert_allclose(
        embedding.weights.grad.data, other.weight.grad.numpy(), rtol=1e-5, atol=1e-6
    )


def test_tokens_may_be_lists_arrays_and_tensors(device):
    embedding = Embedding(5, 2, device=device, rng=0)
    wanted = embedding([0, 4]).numpy()
    on_device = Tensor([0, 4], device=device)
    for tokens in (on_device, on_device.data, (0, 4)):
        np.testing.assert_array_equal(embedding(tokens).numpy(), wanted)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_dtype(dtype, device):
    embedding = Embedding(5, 2, device=device, dtype=dtype, rng=0)
    result = embedding([0, 1])
    result.sum().backward()
    kinds = {embedding.dtype, embedding.weights.dtype, result.dtype, embedding.weights.grad.dtype}
    assert kinds == {np.dtype(dtype)}


def test_same_seed_same_weights(device):
    first, second = Embedding(9, 4, rng=3, device=device), Embedding(9, 4, rng=3, device=device)
    np.testing.assert_array_equal(first.weights.numpy(), second.weights.numpy())
    double = Embedding(9, 4, rng=3, dtype="float64", device=device)
    np.testing.assert_array_equal(first.weights.numpy(), double.weights.numpy().astype("float32"))
    other = Embedding(9, 4, rng=4, device=device)
    assert (first.weights.numpy() != other.weights.numpy()).all()


def test_weights_are_standard_normal():
    weights = Embedding(1000, 100, rng=0).weights.numpy()
    assert abs(weights.mean()) < 0.01  # three standard errors of the mean
    assert abs(weights.std() - 1) < 0.01


def test_is_a_layer(device):
    embedding = Embedding(5, 2, device=device, rng=0)
    assert embedding.parameters == [embedding.weights]
    assert [key for key in embedding.state_dict() if key[0] != "_"] == ["weights"]
    other = Embedding(5, 2, device=device, rng=1)
    other.load_state_dict(embedding.state_dict())
    np.testing.assert_array_equal(other.weights.numpy(), embedding.weights.numpy())
    embedding.set_dtype("float64")
    assert embedding.dtype == np.float64
    assert repr(embedding) == "Embedding(5→2)"


@pytest.mark.parametrize(
    ("tokens", "error", "message"),
    [
        ([0, 5], IndexError, "tokens: 5 is out of range for vocab_size=5, expected 0 to 4"),
        ([[0], [-1]], IndexError, "tokens: -1 is out of range for vocab_size=5"),
        (7, IndexError, "tokens: 7 is out of range"),
        ([0.0, 1.0], TypeError, r"tokens: expected integers, got float32 \(2,\)"),
        (np.zeros((2, 2), bool), TypeError, "tokens: expected integers, got bool"),
        (None, TypeError, "None"),
    ],
)
def test_wrong_tokens(tokens, error, message):
    with pytest.raises(error, match=message):
        Embedding(5, 2)(tokens)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"vocab_size": 0}, ValueError, "vocab_size: expected an integer >= 1, got 0"),
        ({"d_model": -3}, ValueError, "d_model: expected an integer >= 1, got -3"),
        ({"d_model": 2.5}, TypeError, r"d_model: expected an integer >= 1, got 2\.5"),
        ({"vocab_size": True}, TypeError, "vocab_size: expected an integer >= 1, got True"),
        ({"dtype": "int32"}, TypeError, "dtype: expected a floating dtype, got int32"),
        ({"device": "gpu"}, ValueError, "device: .* got 'gpu'"),
        ({"rng": "seed"}, TypeError, "rng: .* got 'seed'"),
    ],
)
def test_wrong_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        Embedding(**{"vocab_size": 5, "d_model": 2, **arguments})


@pytest.mark.cuda
def test_tokens_on_another_device_are_refused():
    with pytest.raises(ValueError, match="different devices"):
        Embedding(5, 2, device="cuda")(np.array([1]))
