"""Attention, stacks and the whole model, on every device."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from nn_tensor import Tensor
from nn_tensor.testing import gradcheck
from nn_transformer import (
    Decoder,
    Encoder,
    EncoderLayer,
    MultiHeadAttention,
    PositionalEncoding,
    Transformer,
    causal_mask,
    padding_mask,
    scaled_dot_product_attention,
)

SMALL: dict[str, Any] = {"d_model": 16, "num_heads": 4, "num_layers": 2, "d_ff": 32}


def tensor(*shape: int, device: str, dtype: Any = np.float64, seed: int = 0) -> Tensor:
    array = np.random.default_rng(seed).standard_normal(shape).astype(dtype)
    return Tensor(array, device=device, requires_grad=True)


def tokens(count: int, *shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, count, shape)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("kind", ["none", "boolean", "floating"])
def test_attention_derivatives(kind: str, order: int, device: str) -> None:
    inputs = [tensor(2, n, 3, device=device, seed=n) for n in (4, 5, 5)]
    inputs[2] = tensor(2, 5, 2, device=device, seed=9)
    if kind == "floating":
        inputs.append(tensor(4, 5, device=device, seed=7))
        gradcheck(scaled_dot_product_attention, inputs, order=order)
        return
    mask = None if kind == "none" else Tensor(np.tri(4, 5, dtype=bool), device=device)
    gradcheck(lambda q, k, v: scaled_dot_product_attention(q, k, v, mask), inputs, order=order)


def test_a_row_that_may_attend_to_nothing_gives_zeros(device: str) -> None:
    q, k, v = (tensor(3, 4, device=device, seed=i) for i in range(3))
    mask = Tensor([[True, True, False], [False, False, False], [True, False, True]], device=device)
    result = scaled_dot_product_attention(q, k, v, mask)
    assert (result.numpy()[1] == 0).all()
    result.sum().backward()
    assert all(np.isfinite(x.grad.numpy()).all() for x in (q, k, v))


def test_extreme_scores_stay_finite(device: str) -> None:
    q, k, v = (tensor(1, 4, 8, device=device, dtype=np.float32, seed=i) for i in range(3))
    result = scaled_dot_product_attention(q * 1e4, k * 1e4, v)
    result.sum().backward()
    assert np.isfinite(result.numpy()).all()
    assert np.isfinite(q.grad.numpy()).all()


def test_sinusoidal_encoding_equals_the_paper(device: str) -> None:
    layer = PositionalEncoding(d_model=5, max_seq_len=9, device=device)
    encoded = layer(Tensor(np.zeros((2, 7, 5), np.float32), device=device)).numpy()
    for t in range(7):
        for i in range(5):
            angle = t / 10000 ** ((i - i % 2) / 5)
            expected = np.cos(angle) if i % 2 else np.sin(angle)
            np.testing.assert_allclose(encoded[1, t, i], expected, atol=1e-6)
    assert list(layer.state_dict()) == ["__metadata__"]


def test_decoder_is_causal(device: str) -> None:
    decoder = Decoder(50, **SMALL, device=device, rng=0).eval()
    memory = tensor(1, 4, 16, device=device, dtype=np.float32)
    first, second = tokens(50, 1, 6), tokens(50, 1, 6)
    second[0, 3:] = tokens(50, 3, seed=1)
    a, b = (decoder(Tensor(t, device=device), memory).numpy() for t in (first, second))
    np.testing.assert_array_equal(a[:, :3], b[:, :3])
    assert (a[:, 3:] != b[:, 3:]).any()


@pytest.mark.parametrize("norm_first", [False, True])
def test_padding_changes_nothing(norm_first: bool, device: str) -> None:
    model = Transformer(50, 60, **SMALL, padding_idx=0, norm_first=norm_first, device=device, rng=0)
    model.eval()
    source, target = tokens(50, 1, 5), tokens(60, 1, 4)
    padded = np.pad(source, ((0, 0), (0, 3)))
    a = model(Tensor(source, device=device), Tensor(target, device=device)).numpy()
    b = model(Tensor(padded, device=device), Tensor(target, device=device)).numpy()
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int32, np.int64])
@pytest.mark.parametrize("tie_weights", [False, True])
def test_every_parameter_gets_a_gradient(dtype: Any, tie_weights: bool, device: str) -> None:
    model = Transformer(50, 60, **SMALL, tie_weights=tie_weights, device=device, rng=0)
    source = Tensor(tokens(50, 2, 5).astype(dtype), device=device)
    target = Tensor(tokens(60, 2, 4).astype(dtype), device=device)
    logits = model(source, target)
    assert logits.shape == (2, 4, 60)
    assert logits.dtype == np.float32
    logits.sum().backward()
    assert [path for path, p in model.named_parameters() if not p.has_grad] == []


def test_same_seed_same_model(device: str) -> None:
    states = [Transformer(9, 9, **SMALL, rng=3, device=device).state_dict() for _ in range(2)]
    for key in states[0]:
        if key != "__metadata__":
            np.testing.assert_array_equal(states[0][key], states[1][key])


def test_it_learns_to_copy(device: str) -> None:
    """A few steps on one batch: the loss falls to almost nothing."""
    from nn_tensor import gather

    model = Transformer(12, 12, 32, 4, num_layers=1, d_ff=64, dropout=0.0, device=device, rng=0)
    source = Tensor(tokens(12, 8, 5), device=device)
    target = Tensor(np.pad(source.numpy(), ((0, 0), (1, 0)))[:, :-1], device=device)
    labels = source.expand_dims(-1)
    losses = []
    for _ in range(60):
        loss = -gather(model(source, target).log_softmax(), labels).mean()
        model.zero_grad()
        loss.backward()
        for parameter in model.parameters:
            parameter.data -= 0.3 * parameter.grad.data
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]


X = Tensor(np.ones((2, 3, 16), np.float32))
ATTENTION = MultiHeadAttention(16, 4, rng=0)
ENCODER = Encoder(50, **SMALL, max_seq_len=8, rng=0)

WRONG: list[tuple[Callable[[], Any], type[Exception], list[str]]] = [
    (lambda: MultiHeadAttention(10, 4), ValueError, ["num_heads", "4", "10"]),
    (lambda: MultiHeadAttention(16, 0), ValueError, ["num_heads", "0"]),
    (lambda: ATTENTION(X[0], X, X), ValueError, ["query", "(3, 16)"]),
    (lambda: ATTENTION(X, X, X, np.ones((3, 3), np.int64)), TypeError, ["mask", "int64"]),
    (lambda: ATTENTION(X, X, X, np.ones((3, 4), bool)), ValueError, ["mask", "(3, 4)"]),
    (lambda: ATTENTION(X, X, X[:, :2]), ValueError, ["key", "value", "length"]),
    (lambda: scaled_dot_product_attention(X, X[:, :, :8], X), ValueError, ["query", "(2, 3, 8)"]),
    (lambda: PositionalEncoding(16, 2)(X), ValueError, ["3 positions", "max_seq_len is 2"]),
    (lambda: PositionalEncoding(8)(X), ValueError, ["(2, 3, 16)", "8"]),
    (lambda: PositionalEncoding(0), ValueError, ["d_model", "0"]),
    (lambda: ENCODER(np.ones((1, 9), int)), ValueError, ["9 positions", "max_seq_len is 8"]),
    (lambda: ENCODER([[1, 50]]), IndexError, ["50"]),
    (lambda: ENCODER([[1, -1]]), IndexError, ["-1"]),
    (lambda: ENCODER([1, 2]), ValueError, ["(2,)"]),
    (lambda: ENCODER([[1.0]]), TypeError, ["float32"]),
    (lambda: Encoder(50, **SMALL, padding_idx=50), ValueError, ["padding_idx", "50"]),
    (lambda: EncoderLayer(16, 4, activation="elu"), ValueError, ["activation", "elu", "gelu"]),
    (lambda: EncoderLayer(16, 4, d_ff=-1), ValueError, ["d_ff", "-1"]),
    (lambda: EncoderLayer(16, 4, dropout=1.5), ValueError, ["dropout", "1.5"]),
    (lambda: padding_mask([1, 2], 0), ValueError, ["tokens", "(2,)"]),
]


@pytest.mark.parametrize(("call", "kind", "fragments"), WRONG)
def test_wrong_call(call: Callable[[], Any], kind: type[Exception], fragments: list[str]) -> None:
    with pytest.raises(kind) as caught:
        call()
    assert [f for f in fragments if f not in str(caught.value)] == [], str(caught.value)


def test_masks() -> None:
    assert causal_mask(2).tolist() == [[True, False], [True, True]]
    assert padding_mask([[1, 0], [2, 3]], 0).shape == (2, 1, 1, 2)
