"""`LanguageModel`, and what options change in all models."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from nn_tensor import Tensor
from nn_transformer import (
    Decoder,
    Embedding,
    Encoder,
    LanguageModel,
    LearnedPositions,
    RotaryPositions,
    Transformer,
)
from nn_transformer.modules.embedding import embedding_lookup

SMALL: dict[str, Any] = {"d_model": 16, "num_heads": 4, "num_layers": 2, "d_ff": 32}


def tokens(*shape: int, seed: int = 0, count: int = 20) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, count, shape)


def language_model(device: str, **settings: Any) -> LanguageModel:
    settings = {**SMALL, "max_seq_len": 12, "dtype": "float64", "rng": 0, **settings}
    return LanguageModel(20, **settings, device=device).eval()


def test_lists_are_placed_on_the_device_of_the_model(device: str) -> None:
    settings = {**SMALL, "padding_idx": 0, "device": device, "rng": 0}
    model = Transformer(20, 20, **settings).eval()
    source, target = tokens(2, 5), tokens(2, 4)
    wanted = model(Tensor(source, device), Tensor(target, device)).numpy()
    np.testing.assert_array_equal(model(source.tolist(), target.tolist()).numpy(), wanted)
    writer = LanguageModel(20, **settings, max_seq_len=9).eval()
    np.testing.assert_array_equal(
        writer(target.tolist()).numpy(), writer(Tensor(target, device)).numpy()
    )
    mask = np.tri(4, dtype=bool)
    np.testing.assert_array_equal(
        writer(target.tolist(), mask.tolist()).numpy(), writer(target.tolist()).numpy()
    )


def test_language_model_is_causal_and_trains_every_parameter(device: str) -> None:
    for settings in ({}, {"tie_weights": False, "bias": False, "positions": "rotary"}):
        model = language_model(device, **settings)
        first, second = tokens(1, 6), tokens(1, 6)
        second[0, 3:] = tokens(3, seed=5)
        a, b = (model(Tensor(t, device)).numpy() for t in (first, second))
        np.testing.assert_array_equal(a[:, :3], b[:, :3])
        assert (a[:, 3:] != b[:, 3:]).any()
        model(Tensor(tokens(2, 12), device)).sum().backward()
        assert [path for path, p in model.named_parameters() if not p.has_grad] == []
    names = [path for path, _ in model.named_parameters()]
    assert "output.weights" in names
    assert not [name for name in names if "bias" in name]


def test_language_model_ignores_padding(device: str) -> None:
    model = language_model(device, padding_idx=0)
    ids = tokens(1, 5)
    padded = np.pad(ids, ((0, 0), (0, 3)))
    a, b = (model(Tensor(t, device)).numpy() for t in (ids, padded))
    np.testing.assert_allclose(a, b[:, :5], rtol=1e-10, atol=1e-12)


def test_initial_weights_scale_with_the_input_dimension() -> None:
    model = LanguageModel(1000, d_model=256, num_heads=4, num_layers=8, rng=0)
    layer = model.layers[3]
    for weights, wanted in (
        (layer.attention.query.weights, 1 / 16),
        (layer.feed_forward.hidden.weights, 1 / 16),
        (layer.feed_forward.output.weights, 1 / 32 / 4),
        (layer.attention.output.weights, 1 / 16 / 4),
        (model.embedding.weights, 1 / 16),
        (model.positions.weights, 0.02),
    ):
        assert weights.numpy().std() == pytest.approx(wanted, rel=0.02)


def test_segment_embeddings_are_added(device: str) -> None:
    encoder = Encoder(20, **SMALL, num_segments=2, embedding_norm=True, device=device, rng=0).eval()
    ids = Tensor(tokens(2, 5), device)
    plain = encoder(ids).numpy()
    zeros = Tensor(np.zeros((2, 5), int), device)
    np.testing.assert_array_equal(encoder(ids, segment_ids=zeros).numpy(), plain)
    assert (encoder(ids, segment_ids=zeros + 1).numpy() != plain).any()
    with pytest.raises(IndexError, match="segment_ids: 2 is out of range"):
        encoder(ids, segment_ids=zeros + 2).numpy()
    with pytest.raises(ValueError, match=r"segment_ids: have shape \(2, 4\), tokens \(2, 5\)"):
        encoder(ids, segment_ids=zeros[:, :4])
    small = {"d_model": 64, "num_heads": 4, "num_layers": 1}
    large = Encoder(500, **small, num_segments=40, device=device, rng=0)
    assert large.segment_embedding is not None
    deviations = [e.weights.numpy().std() for e in (large.segment_embedding, large.embedding)]
    assert deviations == pytest.approx([1 / 8, 1 / 8], rel=0.05)
    with pytest.raises(ValueError, match="segment_ids: this encoder has no segments"):
        Encoder(20, **SMALL, device=device)(ids, segment_ids=zeros)


@pytest.mark.parametrize("tie_weights", [False, True, "all"])
def test_tied_weights_are_one_tensor(tie_weights: Any, device: str) -> None:
    model = Transformer(20, 20, **SMALL, tie_weights=tie_weights, device=device, rng=0)
    model(Tensor(tokens(2, 4), device), Tensor(tokens(2, 3), device)).sum().backward()
    assert all(parameter.has_grad for parameter in model.parameters)
    assert (model.encoder.embedding is model.decoder.embedding) == (tie_weights == "all")
    assert (model.output is None) == bool(tie_weights)
    saved = model.state_dict()
    other = Transformer(20, 20, **SMALL, tie_weights=tie_weights, device=device, rng=1)
    other.load_state_dict(saved)
    pair = Tensor(tokens(2, 4), device), Tensor(tokens(2, 3), device)
    np.testing.assert_array_equal(model.eval()(*pair).numpy(), other.eval()(*pair).numpy())


def test_padding_row_stays_zero(device: str) -> None:
    embedding = Embedding(5, 3, padding_idx=2, device=device, rng=0)
    assert (embedding.weights.numpy()[2] == 0).all()
    embedding([[2, 1, 2], [4, 1, 2]]).sum().backward()
    np.testing.assert_array_equal(embedding.weights.grad.numpy()[:, 0], [0, 2, 0, 0, 1])
    assert repr(embedding) == "Embedding(5→3, padding_idx=2)"
    ids = Tensor([[2, 1, 2]], device=device)
    weights = Tensor(np.random.default_rng(0).standard_normal((5, 3)), device)
    plain = embedding_lookup(weights, ids)
    np.testing.assert_array_equal(embedding_lookup(weights, ids, 2).numpy(), plain.numpy())


ROTARY = RotaryPositions(4, 10)


FLOATS = Tensor(np.ones((1, 2, 3, 6), np.float32))


WRONG: list[tuple[Callable[[], Any], type[Exception], list[str]]] = [
    (lambda: ROTARY(FLOATS), ValueError, ["(1, 2, 3, 6)", "d_head=4"]),
    (lambda: ROTARY(FLOATS.astype(int)), TypeError, ["int64"]),
    (lambda: Embedding(5, 2, padding_idx=1.5), TypeError, ["padding_idx", "1.5"]),
    (lambda: Encoder(9, 16, 4, dropout=2), ValueError, ["dropout", "2"]),
    (lambda: Encoder(9, 16, 4, dropout="a"), TypeError, ["dropout", "'a'"]),
    (lambda: Encoder(9, 16, 4, num_segments=-1), ValueError, ["num_segments", "-1"]),
    (lambda: Encoder(10, 7, 2, positions="rotary"), ValueError, ["num_heads", "2", "7"]),
    (lambda: RotaryPositions(5), ValueError, ["d_head", "5"]),
    (lambda: LearnedPositions(4, 0), ValueError, ["max_seq_len", "0"]),
    (lambda: Embedding(5, 2, padding_idx=5), ValueError, ["padding_idx", "5"]),
    (lambda: Embedding(5, 2, padding_idx=-1), ValueError, ["padding_idx", "-1"]),
    (lambda: LanguageModel(9, positions="relative"), ValueError, ["positions", "relative"]),
    (lambda: LanguageModel(9, 12, 4, positions="rotary"), ValueError, ["d_head", "3"]),
    (lambda: LanguageModel(9, 16, 4, num_kv_heads=3), ValueError, ["num_kv_heads", "3", "4"]),
    (lambda: LanguageModel(9, 16, 5), ValueError, ["num_heads", "5", "16"]),
    (lambda: LanguageModel(0), ValueError, ["vocab_size", "0"]),
    (lambda: LanguageModel(9, 16, 4, num_layers=0), ValueError, ["num_layers", "0"]),
    (lambda: LanguageModel(9, activation="silu"), ValueError, ["activation", "silu"]),
    (lambda: Transformer(9, 8, tie_weights="all"), ValueError, ["tie_weights", "9", "8"]),
    (lambda: Transformer(9, 9, tie_weights="both"), ValueError, ["tie_weights", "both"]),
    (lambda: Decoder(9, 16, 4, padding_idx=9), ValueError, ["padding_idx", "9"]),
    (
        lambda: language_model("cpu")(tokens(1, 13)),
        ValueError,
        ["13 positions", "max_seq_len is 12"],
    ),
    (lambda: language_model("cpu")([[1, 20]]), IndexError, ["20"]),
    (lambda: language_model("cpu")([1, 2]), ValueError, ["(batch, length)", "(2,)"]),
]


@pytest.mark.parametrize(("call", "kind", "fragments"), WRONG)
def test_wrong_calls(call: Callable[[], Any], kind: type[Exception], fragments: list[str]) -> None:
    with pytest.raises(kind) as caught:
        call()
    assert [f for f in fragments if f not in str(caught.value)] == [], str(caught.value)
