"""Positions, the cache of a decoder, and the language model."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from nn_tensor import Tensor, no_grad
from nn_tensor.testing import gradcheck
from nn_transformer import (
    Decoder,
    Embedding,
    Encoder,
    LanguageModel,
    LearnedPositions,
    PositionalEncoding,
    RotaryPositions,
    Transformer,
)
from nn_transformer.modules.rotary_embedding import rotate_pairs

SMALL: dict[str, Any] = {"d_model": 16, "num_heads": 4, "num_layers": 2, "d_ff": 32}
POSITIONS = ["sinusoidal", "learned", "rotary"]


def tokens(*shape: int, seed: int = 0, count: int = 20) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, count, shape)


def language_model(device: str, **settings: Any) -> LanguageModel:
    settings = {**SMALL, "max_seq_len": 12, "dtype": "float64", "rng": 0, **settings}
    return LanguageModel(20, **settings, device=device).eval()


def in_parts(call: Callable[[Any, Any], Tensor], cache: Any, ids: np.ndarray, *stops: int) -> Any:
    """Return the scores of all positions, computed part by part."""
    with no_grad():
        parts = [call(part, cache) for part in np.split(ids, stops, axis=1)]
    return np.concatenate([part.numpy() for part in parts], axis=1)


@pytest.mark.parametrize("stops", [(4,), (1, 2, 3, 4, 5, 6, 7, 8), (5, 6, 8)])
@pytest.mark.parametrize("num_kv_heads", [None, 2])
@pytest.mark.parametrize("positions", POSITIONS)
def test_a_cache_changes_nothing(
    positions: str, num_kv_heads: int | None, stops: Any, device: str
) -> None:
    model = language_model(device, positions=positions, num_kv_heads=num_kv_heads)
    ids = tokens(3, 9)
    whole = model(Tensor(ids, device)).numpy()
    cache = model.new_cache()
    parts = in_parts(lambda t, c: model(Tensor(t, device), cache=c), cache, ids, *stops)
    np.testing.assert_allclose(parts, whole, rtol=1e-10, atol=1e-12)
    assert cache.length == 9


@pytest.mark.parametrize("stops", [(), (4,), (4, 5, 6)])
@pytest.mark.parametrize("positions", POSITIONS)
def test_padding_on_the_left_changes_nothing(positions: str, stops: Any, device: str) -> None:
    model = language_model(device, positions=positions)
    lengths = [7, 4, 6]
    rows = [tokens(1, length, seed=length) for length in lengths]
    padded = np.stack([np.pad(row[0], (7 - row.shape[1], 0)) for row in rows])
    cache = model.new_cache(padding=[7 - length for length in lengths])
    scores = in_parts(lambda t, c: model(Tensor(t, device), cache=c), cache, padded, *stops)
    for row, own in zip(scores, rows, strict=True):
        alone = model(Tensor(own, device)).numpy()[0]
        np.testing.assert_allclose(row[-len(alone) :], alone, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("positions", POSITIONS)
def test_a_decoder_with_a_cache(positions: str, device: str) -> None:
    model = Transformer(
        20, 20, **SMALL, positions=positions, padding_idx=0, dtype="float64", device=device, rng=0
    ).eval()
    source, target = tokens(3, 6), tokens(3, 8, seed=1)
    source[1, 4:] = 0
    source_, target_ = Tensor(source, device), Tensor(target, device)
    whole = model(source_, target_).numpy()
    mask = model.source_mask(source_)
    memory = model.encode(source_, mask)
    cache = model.new_cache()
    parts = in_parts(
        lambda t, c: model.decode(Tensor(t, device), memory, memory_mask=mask, cache=c),
        cache,
        target,
        *range(1, 8),
    )
    np.testing.assert_allclose(parts, whole, rtol=1e-10, atol=1e-12)


def test_rows_of_a_cache_are_chosen_and_repeated(device: str) -> None:
    model = Transformer(20, 20, **SMALL, dtype="float64", device=device, rng=0).eval()
    source, target = Tensor(tokens(3, 6), device), tokens(3, 5, seed=1)
    rows = [2, 0, 0]
    with no_grad():
        memory = model.encode(source)
        cache = model.new_cache(padding=[0, 1, 2])
        model.decode(Tensor(target, device), memory, cache=cache)
        cache.select(rows)
        chosen = memory[rows]
        a = model.decode([[3], [4], [5]], chosen, cache=cache).numpy()
        fresh = model.new_cache(padding=[2, 0, 0])
        model.decode(Tensor(target[rows], device), chosen, cache=fresh)
        b = model.decode([[3], [4], [5]], chosen, cache=fresh).numpy()
    np.testing.assert_allclose(a, b, rtol=1e-12)


def test_what_does_not_fit_into_a_cache_changes_nothing(device: str) -> None:
    model = language_model(device)
    cache = model.new_cache()
    with no_grad():
        model(Tensor(tokens(2, 10), device), cache=cache)
        with pytest.raises(ValueError, match="13 positions with those in the cache, max_seq_len"):
            model(Tensor(tokens(2, 3), device), cache=cache)
        assert cache.length == 10
        model(Tensor(tokens(2, 2), device), cache=cache)
    for padding in ([-1], [0.5], [[1]], "a"):
        with pytest.raises(ValueError, match="padding: expected a count"):
            model.new_cache(padding=padding)
    with no_grad(), pytest.raises(ValueError, match="have 3 rows, the cache has 2"):
        model(Tensor(tokens(3, 2), device), cache=model.new_cache(padding=[1, 0]))


def test_a_call_that_fails_in_a_layer_leaves_the_cache_as_it_was(device: str) -> None:
    model = language_model(device)
    ids = tokens(1, 6)
    whole = model(Tensor(ids, device)).numpy()
    cache = model.new_cache()
    with no_grad():
        model(Tensor(ids[:, :4], device), cache=cache)
        with pytest.raises(ValueError, match="mask"):
            model(Tensor(ids[:, :1], device), mask=np.ones((7, 7), bool), cache=cache)
        rest = model(Tensor(ids[:, 4:], device), cache=cache)
    np.testing.assert_allclose(rest.numpy(), whole[:, 4:], rtol=1e-10, atol=1e-12)
    translator = Transformer(20, 20, **SMALL, dtype="float64", device=device, rng=0).eval()
    memory, other = (translator.encode(Tensor(tokens(1, 5, seed=s), device)) for s in (1, 2))
    cache = translator.new_cache()
    with no_grad():
        with pytest.raises(ValueError, match="mask"):
            translator.decode([[1]], other, memory_mask=np.ones((9, 9), bool), cache=cache)
        scores = translator.decode([[1]], memory, cache=cache).numpy()
    np.testing.assert_allclose(scores, translator.decode([[1]], memory).numpy(), rtol=1e-10)


def test_a_cache_is_for_one_batch_one_model_and_no_gradients(device: str) -> None:
    model = language_model(device)
    cache = model.new_cache()
    with pytest.raises(RuntimeError, match="cache: records no gradients"):
        model(Tensor(tokens(2, 3), device), cache=cache)
    with no_grad():
        model(Tensor(tokens(2, 3), device), cache=cache)
        for rows in (1, 3):
            with pytest.raises(ValueError, match=f"have {rows} rows, the cache has 2"):
                model(Tensor(tokens(rows, 1), device), cache=cache)
        with pytest.raises(ValueError, match="2 layers, this one has 1"):
            language_model(device, num_layers=1)(Tensor(tokens(2, 1), device), cache=cache)
        with pytest.raises(TypeError, match="cache: expected a DecoderCache, got True"):
            model(Tensor(tokens(2, 1), device), cache=True)
    for rows, message in (([], "expected indices"), ([True, False], "expected indices")):
        with pytest.raises(IndexError, match=message):
            cache.select(rows)
    for rows in ([2], [-1, 0]):
        with pytest.raises(IndexError, match="are not all rows of the 2"):
            cache.select(rows)
    assert (cache.batch, cache.length) == (2, 3)


def test_one_memory_for_all_rows(device: str) -> None:
    model = Transformer(20, 20, **SMALL, dtype="float64", device=device, rng=0).eval()
    memory = model.encode(Tensor(tokens(1, 5), device))
    target = tokens(3, 4)
    whole = model.decode(Tensor(target, device), memory).numpy()
    with no_grad():
        cache = model.new_cache()
        model.decode(Tensor(target[:, :3], device), memory, cache=cache)
        cache.select([2, 0])
        last = model.decode(Tensor(target[[2, 0], 3:], device), memory, cache=cache).numpy()
    np.testing.assert_allclose(last[:, 0], whole[[2, 0], 3], rtol=1e-10)
    with pytest.raises(ValueError, match="memory: has 2 rows, tokens 3"):
        model.decode(Tensor(target, device), Tensor(memory.numpy().repeat(2, 0), device))


def test_lists_of_tokens_and_masks_go_where_the_model_is(device: str) -> None:
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


def test_rotation_is_by_the_angles_of_the_paper(device: str) -> None:
    x = np.random.default_rng(0).standard_normal((2, 7, 3, 6))
    layer = RotaryPositions(6, 10, dtype="float64", device=device)
    turned = layer(Tensor(x, device)).numpy()
    for t in range(7):
        for i in range(3):
            pair = (x[:, t, :, 2 * i] + 1j * x[:, t, :, 2 * i + 1]) * np.exp(
                1j * t / 10000 ** (2 * i / 6)
            )
            np.testing.assert_allclose(turned[:, t, :, 2 * i], pair.real, rtol=1e-12)
            np.testing.assert_allclose(turned[:, t, :, 2 * i + 1], pair.imag, rtol=1e-12)


def test_rotated_scores_depend_on_the_distance_only(device: str) -> None:
    rng = np.random.default_rng(0)
    layer = RotaryPositions(8, 30, dtype="float64", device=device)
    query, key = (Tensor(rng.standard_normal((1, 1, 1, 8)), device) for _ in range(2))

    def score(at: int, other: int) -> float:
        places = [Tensor(np.array([i]), device).data for i in (at, other)]
        turned = layer(query, places[0]) * layer(key, places[1])
        return float(turned.sum().item())

    assert score(3, 1) == pytest.approx(score(25, 23), rel=1e-12)
    assert score(3, 1) != pytest.approx(score(3, 2), rel=1e-3)


def test_gradients_of_rotation_and_learned_positions(device: str) -> None:
    rng = np.random.default_rng(0)
    cosines, sines = (Tensor(rng.standard_normal((5, 1, 2)), device) for _ in range(2))
    x = Tensor(rng.standard_normal((2, 5, 3, 4)), device)
    gradcheck(lambda x: rotate_pairs(x, cosines, sines) ** 2, [x], order=2)
    layer = LearnedPositions(4, 8, device=device, rng=0)
    layer(Tensor(np.zeros((3, 5, 4), np.float32), device)).sum().backward()
    wanted = np.repeat([3.0] * 5 + [0.0] * 3, 4).reshape(8, 4)
    np.testing.assert_array_equal(layer.weights.grad.numpy(), wanted)


@pytest.mark.parametrize("kind", [PositionalEncoding, LearnedPositions])
def test_positions_may_be_given(kind: Any, device: str) -> None:
    layer = kind(4, 8, device=device, rng=0)
    x = Tensor(np.zeros((2, 3, 4), np.float32), device)
    table = layer.table.numpy()
    places = np.array([[0, 0, 1], [5, 6, 7]])
    np.testing.assert_array_equal(layer(x, Tensor(places, device).data).numpy(), table[places])
    np.testing.assert_array_equal(layer(x).numpy()[1], table[:3])
    np.testing.assert_array_equal(layer(x, [7, 0, 2]).numpy()[1], table[[7, 0, 2]])
    for wrong in (8, -1):
        with pytest.raises(ValueError, match=f"positions: {wrong} is out of range for max_seq_len=8"):
            layer(x, [0, 1, wrong])
    with pytest.raises(TypeError, match="positions: expected integers"):
        layer(x, [0.0, 1.0, 2.0])


def test_the_language_model_is_causal_and_every_parameter_learns(device: str) -> None:
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


def test_padding_gets_no_attention_in_the_language_model(device: str) -> None:
    model = language_model(device, padding_idx=0)
    ids = tokens(1, 5)
    padded = np.pad(ids, ((0, 0), (0, 3)))
    a, b = (model(Tensor(t, device)).numpy() for t in (ids, padded))
    np.testing.assert_allclose(a, b[:, :5], rtol=1e-10, atol=1e-12)


def test_weights_start_in_proportion_to_the_width() -> None:
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


def test_segments_are_added(device: str) -> None:
    encoder = Encoder(20, **SMALL, num_segments=2, embedding_norm=True, device=device, rng=0).eval()
    ids = Tensor(tokens(2, 5), device)
    plain = encoder(ids).numpy()
    zeros = Tensor(np.zeros((2, 5), int), device)
    np.testing.assert_array_equal(encoder(ids, segment_ids=zeros).numpy(), plain)
    assert (encoder(ids, segment_ids=zeros + 1).numpy() != plain).any()
    with pytest.raises(IndexError, match="segment_ids: 2 is out of range"):
        encoder(ids, segment_ids=zeros + 2)
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


def test_the_row_of_padding_stays_zero(device: str) -> None:
    embedding = Embedding(5, 3, padding_idx=2, device=device, rng=0)
    assert (embedding.weights.numpy()[2] == 0).all()
    embedding([[2, 1, 2], [4, 1, 2]]).sum().backward()
    np.testing.assert_array_equal(embedding.weights.grad.numpy()[:, 0], [0, 2, 0, 0, 1])
    assert repr(embedding) == "Embedding(5→3, padding_idx=2)"
    ids = Tensor([[2, 1, 2]], device=device)
    weights = Tensor(np.random.default_rng(0).standard_normal((5, 3)), device)
    from nn_transformer.modules.embedding import embedding_lookup

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
