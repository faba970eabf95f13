"""The KV cache: the same results in parts, errors that leave it as it was."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from nn_tensor import Tensor, no_grad
from nn_transformer import LanguageModel, Transformer

SMALL: dict[str, Any] = {"d_model": 16, "num_heads": 4, "num_layers": 2, "d_ff": 32}


POSITIONS = ["sinusoidal", "learned", "rotary"]


def tokens(*shape: int, seed: int = 0, count: int = 20) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, count, shape)


def language_model(device: str, **settings: Any) -> LanguageModel:
    settings = {**SMALL, "max_seq_len": 12, "dtype": "float64", "rng": 0, **settings}
    return LanguageModel(20, **settings, device=device).eval()


def in_parts(call: Callable[[Any, Any], Tensor], cache: Any, ids: np.ndarray, *stops: int) -> Any:
    """Return the logits of all positions, computed part by part."""
    with no_grad():
        parts = [call(part, cache) for part in np.split(ids, stops, axis=1)]
    return np.concatenate([part.numpy() for part in parts], axis=1)


@pytest.mark.parametrize("stops", [(4,), (1, 2, 3, 4, 5, 6, 7, 8), (5, 6, 8)])
@pytest.mark.parametrize("num_kv_heads", [None, 2])
@pytest.mark.parametrize("positions", POSITIONS)
def test_cached_logits_equal_uncached(
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
def test_left_padding_does_not_change_logits(positions: str, stops: Any, device: str) -> None:
    model = language_model(device, positions=positions)
    lengths = [7, 4, 6]
    rows = [tokens(1, length, seed=length) for length in lengths]
    padded = np.stack([np.pad(row[0], (7 - row.shape[1], 0)) for row in rows])
    cache = model.new_cache(padding=[7 - length for length in lengths])
    logits = in_parts(lambda t, c: model(Tensor(t, device), cache=c), cache, padded, *stops)
    for row, own in zip(logits, rows, strict=True):
        alone = model(Tensor(own, device)).numpy()[0]
        np.testing.assert_allclose(row[-len(alone) :], alone, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("positions", POSITIONS)
def test_cached_decoder_equals_uncached(positions: str, device: str) -> None:
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


def test_select_reorders_and_repeats_rows(device: str) -> None:
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


def test_input_that_does_not_fit_leaves_the_cache_unchanged(device: str) -> None:
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


def test_failed_call_leaves_the_cache_unchanged(device: str) -> None:
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
        logits = translator.decode([[1]], memory, cache=cache).numpy()
    np.testing.assert_allclose(logits, translator.decode([[1]], memory).numpy(), rtol=1e-10)


def test_cache_checks_batch_model_and_grad_mode(device: str) -> None:
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


def test_memory_broadcasts_over_the_batch(device: str) -> None:
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
