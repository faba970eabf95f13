"""A token computed by the kernels of `token_step` is what the modules compute."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from nn_layers import GELU, Base_Layer, Dense, Dropout, LayerNorm
from nn_tensor import Tensor, autocast, detect_anomaly, no_grad, use_kernels
from nn_transformer import EncoderLayer, LanguageModel, MultiHeadAttention, Transformer, generate
from nn_transformer.modules import token_layers, transformer_stack
from nn_transformer.modules.feed_forward import FeedForward

LANGUAGE = [
    {},
    {"positions": "rotary"},
    {"positions": "sinusoidal", "activation": "relu"},
    {"norm_first": False, "activation": "gelu_tanh"},
    {"num_kv_heads": 2, "positions": "rotary"},
    {"num_kv_heads": 1, "bias": False},
    {"dtype": np.float64, "tie_weights": False, "final_norm": False},
]
TRANSFORMERS: list[dict[str, Any]] = [
    {},
    {"padding_idx": 0},
    {"norm_first": True, "num_kv_heads": 2, "padding_idx": 0},
]


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Return what is filled with whether tokens were computed by the kernels."""
    found: list[bool] = []
    run = token_layers.run_token

    def counted(*args: Any) -> Any:
        result = run(*args)
        found.append(result is not None)
        return result

    monkeypatch.setattr(transformer_stack, "run_token", counted)
    return found


def make_language_model(**options: Any) -> LanguageModel:
    return LanguageModel(20, 24, 4, 2, max_seq_len=64, dropout=0.3, rng=0, **options).eval()


def make_transformer(**options: Any) -> Transformer:
    return Transformer(15, 20, 24, 4, 2, max_seq_len=64, dropout=0.3, rng=0, **options).eval()


def decode(model: Any, rows: int, padding: Any = None) -> list[np.ndarray]:
    """Return the logits of a prompt and of eight tokens after it."""
    rng = np.random.default_rng(1)
    cache, found = model.new_cache(padding), []
    source = rng.integers(1, 15, (rows, 5))
    source[:, 3:] *= rng.integers(0, 2, (rows, 2))  # padding tokens, where there are some
    with no_grad():
        if isinstance(model, Transformer):
            memory, mask = model.encode(source), model.source_mask(source)
        for length in (3, *[1] * 8):
            tokens = rng.integers(0, 20, (rows, length))
            if isinstance(model, Transformer):
                logits = model.decode(tokens, memory, None, mask, cache)
            else:
                logits = model(tokens, cache=cache)
            found.append(logits.numpy()[:, -1])
    assert cache.length == 11
    return found


@pytest.mark.parametrize("rows", [1, 3, 8])
@pytest.mark.parametrize("kernels", ["auto", "reference"])
@pytest.mark.parametrize(
    ("make", "options"),
    [(make_language_model, options) for options in LANGUAGE]
    + [(make_transformer, options) for options in TRANSFORMERS],
)
def test_equals_the_modules(
    make: Any,
    options: dict[str, Any],
    rows: int,
    kernels: Any,
    taken: list[bool],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = make(**options)
    padding = [0, 2, 1, 0, 0, 1, 1, 2][:rows]
    with use_kernels(kernels):
        found = decode(model, rows, padding)
        assert taken == [True] * 8
        monkeypatch.setattr(token_layers, "_ROWS", 0)
        expected = decode(model, rows, padding)
    assert taken == [True] * 8 + [False] * 8
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_a_row_has_the_same_logits_in_a_batch_as_alone() -> None:
    model = make_language_model()
    rng = np.random.default_rng(3)
    tokens = rng.integers(0, 20, (4, 6))
    caches = [model.new_cache() for _ in range(5)]
    with no_grad():
        prompts = [model(tokens[:, :2], cache=caches[4])]
        prompts += [model(tokens[n : n + 1, :2], cache=caches[n]) for n in range(4)]
        for n in range(4):  # of prompts the products are those of BLAS
            for kv, together in zip(caches[n].layers, caches[4].layers, strict=True):
                kv._buffer[..., :2, :] = together._buffer[:, n : n + 1, :, :2]
        for t in range(2, 6):
            together_ = model(tokens[:, t : t + 1], cache=caches[4]).numpy()
            for n in range(4):
                alone = model(tokens[n : n + 1, t : t + 1], cache=caches[n]).numpy()
                np.testing.assert_allclose(alone[0], together_[n], rtol=1e-6, atol=1e-6)


def test_masks_that_are_not_padding_are_left_to_the_modules(taken: list[bool]) -> None:
    model = make_language_model()
    results = []
    for mask in (
        None, np.ones((1, 4), bool), np.zeros((1, 1, 1, 4), np.float32),
        Tensor(np.ones((1, 4, 1, 4), bool)), Tensor(np.ones((1, 1, 1, 4), bool)),
    ):  # fmt: skip
        cache = model.new_cache()
        with no_grad():
            model([[1, 2, 3]], cache=cache)
            results.append(model([[4]], mask, cache=cache).numpy())
    assert taken == [True, False, False, False, True]
    for result in results[1:]:
        np.testing.assert_allclose(result, results[0], rtol=1e-5, atol=1e-6)


def _token(model: Any, cache: Any) -> np.ndarray:
    with no_grad():
        logits: np.ndarray = model([[4]], cache=cache).numpy()
    return logits


def test_other_modules_and_modes_are_left_to_the_modules(taken: list[bool]) -> None:
    class Scaled(Dense):
        def forward(self, x: Any) -> Tensor:
            return super().forward(x) * 2

    model = make_language_model()
    cache = model.new_cache()
    with no_grad():
        model([[1, 2, 3]], cache=cache)
    before = _token(model, cache)
    feed_forward = model.layers[1].feed_forward
    plain, feed_forward.output = feed_forward.output, Scaled(96, 24)
    assert not np.allclose(_token(model, cache), before)
    feed_forward.output = plain
    model.train()
    _token(model, cache)  # with dropout
    model.eval()
    with autocast("float16"):
        _token(model, cache)
    with detect_anomaly():
        _token(model, cache)
    _token(model, cache)
    assert taken == [True, False, False, False, False, True]


@pytest.mark.parametrize(
    "name",
    [
        "", "attention", "attention.query", "attention.output", "attention_norm", "feed_forward",
        "feed_forward.hidden", "feed_forward.activation", "feed_forward.dropout", "dropout",
    ],
)  # fmt: skip
def test_a_forward_of_an_instance_is_called(name: str, taken: list[bool]) -> None:
    model = make_language_model()
    module, seen = model.layers[1], []
    for part in filter(None, name.split(".")):
        module = getattr(module, part)
    forward = module.forward
    cache = model.new_cache()
    with no_grad():
        model([[1, 2, 3]], cache=cache)

    def watched(x: Any, *args: Any, **options: Any) -> Any:
        seen.append(x.shape)
        return forward(x, *args, **options)

    module.forward = watched
    _token(model, cache)
    del module.forward
    assert seen
    _token(model, cache)
    assert taken == [False, True]


@pytest.mark.parametrize(
    "kind", [Dense, GELU, LayerNorm, Dropout, MultiHeadAttention, FeedForward, EncoderLayer]
)
def test_a_forward_of_a_class_is_called(
    kind: Any, taken: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, forward = make_language_model(), kind.forward
    seen: list[Any] = []

    def watched(self: Any, x: Any, *args: Any, **options: Any) -> Any:
        seen.append(x.shape)
        return forward(self, x, *args, **options)

    cache = model.new_cache()
    with no_grad():
        model([[1, 2, 3]], cache=cache)
    with monkeypatch.context() as patched:
        patched.setattr(kind, "forward", watched)
        _token(model, cache)
    assert seen
    called: list[str] = []
    call = Base_Layer.__call__
    with monkeypatch.context() as patched:
        patched.setattr(
            Base_Layer, "__call__", lambda self, *a, **k: called.append("") or call(self, *a, **k)
        )
        _token(model, cache)
    assert len(called) > 10
    _token(model, cache)
    assert taken == [False, False, True]


def test_half_precision_is_left_to_the_modules(taken: list[bool]) -> None:
    generate(make_language_model(dtype=np.float16), [[1, 2]], 3)
    assert taken == [False, False]


def test_a_prompt_of_one_token(taken: list[bool]) -> None:
    model = make_language_model()
    assert generate(model, [[1]], 6) == generate(model, [[1]], 6, use_cache=False)
    assert taken[:6] == [False, *[True] * 5]


def test_a_call_that_fails_leaves_the_cache_as_it_was() -> None:
    model = make_language_model()
    cache = model.new_cache()
    with no_grad():
        model([[1, 2, 3]], cache=cache)
        expected = model([[5]], cache=cache).numpy()
        cache.length = 3
        norm = model.final_norm
        model.final_norm = None
        plain, model.layers[1].feed_forward = model.layers[1].feed_forward, None
        with pytest.raises((TypeError, AttributeError)):
            model([[4]], cache=cache)
        model.final_norm, model.layers[1].feed_forward = norm, plain
        assert cache.length == 3
        np.testing.assert_array_equal(model([[5]], cache=cache).numpy(), expected)
