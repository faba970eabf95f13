"""What generation and beam search promise: compared with plain loops and full enumeration."""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from nn_tensor import Tensor, no_grad
from nn_transformer import Encoder, LanguageModel, Transformer, beam_search, generate
from nn_transformer.decoding.beam_search import top_log_probabilities
from nn_transformer.decoding.sampling import (
    next_token_probabilities,
    sample,
    top_k_mask,
    top_p_mask,
)

SMALL: dict[str, Any] = {"d_model": 16, "num_heads": 4, "num_layers": 2, "d_ff": 32}
PROMPTS = [[3, 1, 4], [1], [5, 9, 2, 6, 5], [3, 5]]
SOURCES = [[1, 2, 3], [4, 5], [6, 7, 8, 9, 1], [2]]


def sharpened(model: Any) -> Any:
    """Scale the weights of a new model until it has clear preferences."""
    for path, parameter in model.named_parameters():
        if parameter.ndim == 2:
            parameter.data *= 4 if "output" in path or "embedding" in path else 2
    return model


def language_model(device: str = "cpu", vocab_size: int = 11, **settings: Any) -> LanguageModel:
    settings = {**SMALL, "max_seq_len": 32, "dtype": np.float64, "rng": 0, **settings}
    return sharpened(LanguageModel(vocab_size, device=device, **settings))


def transformer(device: str = "cpu", **settings: Any) -> Transformer:
    settings = {**SMALL, "max_seq_len": 32, "dtype": np.float64, "rng": 1, **settings}
    return sharpened(Transformer(11, 12, padding_idx=0, device=device, **settings))


def logits_of(model: Any, tokens: list[int], source: list[int] | None = None) -> np.ndarray:
    """Return the logits of the next token, computed at once and without a cache."""
    model.eval()
    with no_grad():
        inputs = [Tensor([x], device=model.device) for x in (source, tokens) if x is not None]
        return model(*inputs).numpy()[0, -1]


def log_probabilities(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max()
    return shifted - np.log(np.exp(shifted).sum())


# Greedy

KINDS: dict[str, Callable[[str], LanguageModel]] = {
    "learned": language_model,
    "rotary": lambda device: language_model(device, positions="rotary"),
    "sinusoidal": lambda device: language_model(device, positions="sinusoidal"),
    "norm last": lambda device: language_model(device, norm_first=False),
    "grouped heads": lambda device: language_model(device, num_kv_heads=2, positions="rotary"),
    "own output": lambda device: language_model(device, tie_weights=False),
}


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_decoding_equals_a_plain_loop(kind: str, device: str) -> None:
    model = KINDS[kind](device)
    expected = []
    for prompt in PROMPTS:
        tokens = list(prompt)
        for _ in range(8):
            tokens.append(int(logits_of(model, tokens).argmax()))
        expected.append(tokens[len(prompt) :])
    assert len({tuple(row) for row in expected}) > 1
    assert generate(model, PROMPTS, 8) == expected
    assert generate(model, PROMPTS, 8, use_cache=False) == expected
    assert [generate(model, prompt, 8)[0] for prompt in PROMPTS] == expected


@pytest.mark.parametrize("positions", ["sinusoidal", "learned", "rotary"])
def test_greedy_translation_equals_a_plain_loop(positions: str, device: str) -> None:
    model = transformer(device, positions=positions)
    expected = []
    for prompt, source in zip(PROMPTS, SOURCES, strict=True):
        tokens = list(prompt)
        for _ in range(8):
            tokens.append(int(logits_of(model, tokens, source).argmax()))
        expected.append(tokens[len(prompt) :])
    assert len({tuple(row) for row in expected}) > 1
    assert generate(model, PROMPTS, 8, source=SOURCES) == expected
    assert generate(model, PROMPTS, 8, source=SOURCES, use_cache=False) == expected


def test_ties_take_the_first_token(device: str) -> None:
    model = language_model(device)
    model.embedding.weights.data[...] = 0
    assert generate(model, [[3], [4]], 3) == [[0, 0, 0], [0, 0, 0]]
    assert beam_search(model, [3], 3, num_beams=2) == [[0, 0, 0]]


def test_prompts_may_be_lists_arrays_and_tensors(device: str) -> None:
    model = language_model(device)
    expected = generate(model, [[3, 1], [4, 5]], 4)
    array = np.array([[3, 1], [4, 5]], np.uint8)
    for prompt in (array, Tensor(array, device=device), list(array), ((3, 1), (4, 5))):
        assert generate(model, prompt, 4) == expected
    for row in ([3, 1], array[0], Tensor(array[0], device=device), array[:1]):
        assert generate(model, row, 4) == expected[:1]


def test_a_row_ends_at_its_stop_token(device: str) -> None:
    model = language_model(device)
    free = generate(model, PROMPTS, 10)
    stop = free[0][3]
    expected = [row[: row.index(stop)] if stop in row else row for row in free]
    assert len({len(row) for row in expected}) > 1
    for use_cache in (True, False):
        for stops in (stop, [stop], np.array([stop])):
            result = generate(model, PROMPTS, 10, stop_tokens=stops, use_cache=use_cache)
            assert result == expected
    translator = transformer(device)
    free = generate(translator, PROMPTS, 10, source=SOURCES)
    stop = free[2][2]
    expected = [row[: row.index(stop)] if stop in row else row for row in free]
    assert len({len(row) for row in expected}) > 1
    assert generate(translator, PROMPTS, 10, source=SOURCES, stop_tokens=stop) == expected


def test_on_token_is_called_for_each_token_immediately() -> None:
    model = language_model()
    received: list[list[int]] = [[] for _ in PROMPTS]
    fed = work_of(model)
    when = []

    def receive(row: int, token: int) -> None:
        received[row].append(token)
        when.append(len(fed))

    assert generate(model, PROMPTS, 5, on_token=receive) == received
    assert when == [step for step in range(1, 6) for _ in PROMPTS]


# Work


def work_of(module: Any) -> list[tuple[int, ...]]:
    """Note the shapes of the tokens that a module gets from now on."""
    fed: list[tuple[int, ...]] = []
    forward = module.forward

    def note(tokens: Any, *args: Any, **kwargs: Any) -> Any:
        fed.append(tokens.shape)
        return forward(tokens, *args, **kwargs)

    module.forward = note
    return fed


def test_with_a_cache_each_position_is_computed_once() -> None:
    model = language_model()
    fed = work_of(model)
    generate(model, PROMPTS, 4)
    assert fed == [(4, 5), (4, 1), (4, 1), (4, 1)]
    fed.clear()
    generate(model, PROMPTS, 3, use_cache=False)
    assert fed == [(4, 5), (4, 6), (4, 7)]
    fed.clear()
    beam_search(model, PROMPTS, 3, num_beams=3)
    assert fed == [(4, 5), (12, 1), (12, 1)]


def test_the_source_is_encoded_once() -> None:
    model = transformer()
    encoded, decoded = work_of(model.encoder), work_of(model.decoder)
    generate(model, PROMPTS, 3, source=SOURCES)
    beam_search(model, PROMPTS, 2, source=SOURCES, num_beams=2)
    assert encoded == [(4, 5), (4, 5)]
    assert decoded == [(4, 5), (4, 1), (4, 1), (4, 5), (8, 1)]


def test_ended_rows_are_not_computed() -> None:
    model = language_model()
    free = generate(model, PROMPTS, 10)
    stop = free[0][3]
    ends = [row.index(stop) if stop in row else 10 for row in free]
    fed = work_of(model)
    generate(model, PROMPTS, 10, stop_tokens=stop)
    running = [sum(end >= step for end in ends) for step in range(10)]
    assert [rows for rows, _ in fed] == [count for count in running if count]
    fed.clear()
    generate(model, PROMPTS, 10, stop_tokens=range(11))
    assert fed == [(4, 5)]


# Sampling


def plain_probabilities(
    logits: np.ndarray, temperature: float, top_k: int | None, top_p: float | None
) -> np.ndarray:
    """Filter one row of logits token by token."""
    probabilities = np.exp(log_probabilities(logits / temperature))
    order = sorted(range(len(logits)), key=lambda i: (-logits[i], i))
    if top_k is not None:
        order = order[:top_k]
    if top_p is not None:
        total = probabilities[order].sum()
        kept: list[int] = []
        while probabilities[kept].sum() < top_p * total and len(kept) < len(order):
            kept.append(order[len(kept)])
        order = kept
    result = np.zeros(len(logits))
    result[order] = probabilities[order] / probabilities[order].sum()
    return result


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("top_k", [None, 1, 3, 100])
@pytest.mark.parametrize("top_p", [None, 0.05, 0.6, 0.95, 1.0])
def test_top_k_and_top_p_filter_tokens(
    temperature: float, top_k: int | None, top_p: float | None
) -> None:
    logits = np.random.default_rng(0).normal(0, 2, (6, 9)).astype(np.float32)
    logits[0] = 1.0  # all equal
    logits[1, :5] = 2.0
    expected = [plain_probabilities(row.astype(float), temperature, top_k, top_p) for row in logits]
    result = next_token_probabilities(logits, temperature, top_k, top_p)
    np.testing.assert_allclose(result, expected, rtol=1e-12, atol=1e-15)


def test_top_k_mask_takes_the_first_of_ties() -> None:
    values = np.array([[1.0, 3, 2, 3, 3], [0, 0, 0, 0, 0]])
    assert top_k_mask(values, 2).tolist() == [[0, 1, 0, 1, 0], [1, 1, 0, 0, 0]]
    assert top_k_mask(values, np.array([4, 1])).tolist() == [[0, 1, 1, 1, 1], [1, 0, 0, 0, 0]]
    probabilities = np.array([[0.25, 0.5, 0.125, 0.125]])
    assert top_p_mask(probabilities, 0.75).tolist() == [[1, 1, 0, 0]]
    assert top_p_mask(probabilities, 0.76).tolist() == [[1, 1, 1, 0]]
    assert top_p_mask(probabilities, 1e-9).tolist() == [[0, 1, 0, 0]]


def test_sampling_never_returns_a_zero_probability_token() -> None:
    probabilities = np.array([[0.0, 0.25, 0.0, 0.75, 0.0]] * 5)
    almost = np.nextafter(1.0, 0.0)
    uniform = np.array([0.0, np.nextafter(0.25, 0), 0.25, 0.9, almost])
    assert sample(probabilities, uniform).tolist() == [1, 1, 3, 3, 3]
    thirds = np.full((1, 10), 0.1)  # their sum is not exactly 1
    assert sample(thirds, np.array([almost])).tolist() == [9]


@pytest.mark.parametrize(
    "settings", [{}, {"temperature": 0.5}, {"top_k": 3}, {"top_p": 0.7}, {"top_k": 5, "top_p": 0.8}]
)
def test_sampling_frequencies_match_probabilities(settings: Any, device: str) -> None:
    model = language_model(device)
    settings = {"temperature": 1.0, "top_k": None, "top_p": None, **settings}
    rows = generate(model, [[3, 1, 4]] * 4000, 1, rng=0, **settings)
    frequencies = np.bincount([row[0] for row in rows], minlength=11) / 4000
    expected = plain_probabilities(logits_of(model, [3, 1, 4]), **settings)
    assert (frequencies[expected == 0] == 0).all()
    # Five standard deviations of a count of 4,000 draws.
    assert (abs(frequencies - expected) <= 5 * np.sqrt(expected * (1 - expected) / 4000)).all()
    assert (expected > 0.01).sum() > 1


def test_same_seed_samples_the_same_tokens(device: str) -> None:
    settings: dict[str, Any] = {"temperature": 1.2, "top_k": 8, "top_p": 0.95}
    model, host = language_model(device), language_model("cpu")
    first = generate(model, PROMPTS, 12, rng=3, **settings)
    assert generate(model, PROMPTS, 12, rng=3, **settings) == first
    assert generate(host, PROMPTS, 12, rng=np.random.default_rng(3), **settings) == first
    assert generate(model, PROMPTS, 12, rng=3, use_cache=False, **settings) == first
    assert generate(model, PROMPTS, 12, rng=4, **settings) != first
    translator = transformer(device)
    first = generate(translator, PROMPTS, 12, source=SOURCES, rng=3, **settings)
    kept = generate(translator, PROMPTS, 12, source=SOURCES, rng=3, use_cache=False, **settings)
    assert kept == first


def test_samples_do_not_depend_on_ended_rows() -> None:
    model = language_model()
    free = generate(model, PROMPTS, 12, temperature=1.0, rng=5)
    stop = free[1][2]
    expected = [row[: row.index(stop)] if stop in row else row for row in free]
    assert len({len(row) for row in expected}) > 1
    assert generate(model, PROMPTS, 12, temperature=1.0, rng=5, stop_tokens=stop) == expected


def test_limits_of_sampling_equal_greedy_decoding() -> None:
    model = language_model()
    best = generate(model, PROMPTS, 6)
    for settings in ({"top_k": 1}, {"top_p": 1e-9}, {"temperature": 1e-310}):
        assert generate(model, PROMPTS, 6, rng=0, **{"temperature": 1.0, **settings}) == best


def test_nan_logits_are_refused() -> None:
    model = language_model()
    model.final_norm.bias.data[...] = np.nan
    for search in (beam_search, generate, lambda *args: generate(*args, temperature=1.0)):
        with pytest.raises(ValueError, match="logits"):
            search(model, PROMPTS, 2)


# Beam search


def hypothesis_score(total: float, length: int, alpha: float) -> float:
    return total / ((5 + length) / 6) ** alpha


def exhaustive_search(
    model: Any, prompt: list[int], source: list[int] | None, count: int, stop: int, alpha: float
) -> list[int]:
    """Return the best of all continuations."""
    found: list[tuple[float, list[int]]] = []

    def extend(tokens: list[int], total: float) -> None:
        if len(tokens) == count:
            found.append((hypothesis_score(total, count, alpha), tokens))
            return
        logs = log_probabilities(logits_of(model, prompt + tokens, source))
        for token, log in enumerate(logs):
            if token == stop:
                found.append((hypothesis_score(total + log, len(tokens) + 1, alpha), tokens))
            else:
                extend([*tokens, token], total + log)

    extend([], 0.0)
    return max(found)[1]


@pytest.mark.parametrize("alpha", [-1.0, 0.0, 0.6, 2.0])
def test_beam_search_with_enough_beams_is_exhaustive(alpha: float, device: str) -> None:
    prompts, count, stop = [[1, 2], [2], [3, 3, 1]], 4, 0
    model = language_model(device, vocab_size=4)
    expected = [exhaustive_search(model, p, None, count, stop, alpha) for p in prompts]
    options: dict[str, Any] = {"stop_tokens": stop, "num_beams": 4**4, "length_penalty": alpha}
    assert beam_search(model, prompts, count, **options) == expected
    assert beam_search(model, prompts, count, use_cache=False, **options) == expected
    translator = sharpened(
        Transformer(9, 4, **SMALL, padding_idx=3, dtype=np.float64, device=device, rng=2)
    )
    expected = [
        exhaustive_search(translator, p, s, count, stop, alpha)
        for p, s in zip([[1], [2]], [[1, 2, 8], [5]], strict=True)
    ]
    result = beam_search(translator, [[1], [2]], count, source=[[1, 2, 8], [5]], **options)
    assert result == expected


def plain_beam_search(
    model: Any,
    prompt: list[int],
    source: list[int] | None,
    count: int,
    beams: int,
    alpha: float,
    stops: tuple[int, ...],
) -> list[int]:
    """Search for one row, one continuation after the other, without stopping early."""
    live: list[tuple[float, list[int]]] = [(0.0, [])]
    ended: list[tuple[float, list[int]]] = []
    for length in range(1, count + 1):
        candidates = []
        for total, tokens in live:
            logs = log_probabilities(logits_of(model, prompt + tokens, source))
            candidates += [(total + log, [*tokens, i]) for i, log in enumerate(logs)]
        candidates.sort(key=lambda pair: -pair[0])
        for total, tokens in candidates[:beams]:
            if tokens[-1] in stops:
                ended.append((hypothesis_score(total, length, alpha), tokens[:-1]))
        live = [pair for pair in candidates if pair[1][-1] not in stops][:beams]
    ended += [(hypothesis_score(total, count, alpha), tokens) for total, tokens in live]
    return max(ended, key=lambda pair: pair[0])[1]


@pytest.mark.parametrize("beams", [1, 2, 3, 5])
@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.5])
@pytest.mark.parametrize("stops", [(), (7,), (2, 7, 8)])
def test_beam_search_equals_a_plain_implementation(
    beams: int, alpha: float, stops: tuple[int, ...], device: str
) -> None:
    options: dict[str, Any] = {"num_beams": beams, "length_penalty": alpha, "stop_tokens": stops}
    model = language_model(device, d_model=8, num_layers=1, num_kv_heads=2)
    expected = [plain_beam_search(model, p, None, 6, beams, alpha, stops) for p in PROMPTS]
    assert beam_search(model, PROMPTS, 6, **options) == expected
    assert beam_search(model, PROMPTS, 6, use_cache=False, **options) == expected
    translator = transformer(device, d_model=8, num_layers=1)
    expected = [
        plain_beam_search(translator, p, s, 6, beams, alpha, stops)
        for p, s in zip(PROMPTS, SOURCES, strict=True)
    ]
    assert beam_search(translator, PROMPTS, 6, source=SOURCES, **options) == expected
    kept = beam_search(translator, PROMPTS, 6, source=SOURCES, use_cache=False, **options)
    assert kept == expected


@pytest.mark.parametrize("alpha", [-3.0, 0.7, 4.0])
def test_beam_search_of_flat_distributions_equals_a_plain_implementation(alpha: float) -> None:
    """Where stop tokens are as likely as others, it matters how lengths and ranks are counted."""
    prompts = [[3], [1, 2], [4, 0, 2]]
    for seed in range(12):
        model = language_model(vocab_size=6, d_model=8, num_layers=1, rng=seed)
        model.embedding.weights.data *= 2
        for beams, stops in ((1, (3,)), (2, (0, 3, 5)), (3, (1,)), (4, (1, 2, 4))):
            expected = [plain_beam_search(model, p, None, 5, beams, alpha, stops) for p in prompts]
            result = beam_search(
                model, prompts, 5, num_beams=beams, length_penalty=alpha, stop_tokens=stops
            )
            assert result == expected


def test_one_beam_equals_greedy_decoding(device: str) -> None:
    model = language_model(device)
    stop = generate(model, PROMPTS, 10)[0][3]
    expected = generate(model, PROMPTS, 10, stop_tokens=stop)
    result = beam_search(model, PROMPTS, 10, num_beams=1, length_penalty=0, stop_tokens=stop)
    assert result == expected


def test_beam_search_stops_early() -> None:
    model = language_model(vocab_size=4)
    likely = int(logits_of(model, [1, 2]).argmax())
    model.embedding.weights.data[...] *= 30  # so that the best token has almost probability 1
    fed = work_of(model)
    assert beam_search(model, [1, 2], 20, stop_tokens=likely) == [[]]
    assert len(fed) == 1
    assert beam_search(model, [1, 2], 3, stop_tokens=range(4)) == [[]]
    assert len(fed) == 2


class Table(LanguageModel):
    """Scores that depend on the last token alone, as they stand in a table."""

    table: Any = None

    def forward(self, tokens: Any, mask: Any = None, cache: Any = None) -> Tensor:
        return Tensor(np.log(self.table)[tokens.numpy()])


@pytest.mark.parametrize(("alpha", "best"), [(-3.0, [1]), (0.0, [1]), (6.0, [2] * 13)])
def test_beam_search_continues_while_another_hypothesis_can_win(alpha: float, best: Any) -> None:
    model = Table(3, **SMALL)
    model.table = np.array([[0.35, 0.60, 0.05], [0.998, 0.001, 0.001], [0.5, 0.1, 0.4]])
    assert beam_search(model, [0], 14, stop_tokens=0, length_penalty=alpha) == [best]
    assert plain_beam_search(model, [0], None, 14, 4, alpha, (0,)) == best


@pytest.mark.parametrize("n", [1, 2, 7, 64, 1000])
@pytest.mark.parametrize("count", [1, 5, 40])
def test_top_log_probabilities(n: int, count: int, device: str) -> None:
    logits = np.random.default_rng(n).integers(0, 50, (6, n)).astype(np.float32)
    logits[0] = 3.0
    tokens, logs = top_log_probabilities(Tensor(logits, device=device), count)
    for row, (chosen, log) in enumerate(zip(tokens, logs, strict=True)):
        order = np.argsort(-logits[row], kind="stable")[:count]
        assert chosen.tolist() == order.tolist()
        expected = log_probabilities(logits[row].astype(float))[order]
        np.testing.assert_allclose(log, expected, rtol=1e-5, atol=1e-6)


# Both


@pytest.mark.parametrize("search", [generate, beam_search])
def test_training_modes_are_restored(search: Callable[..., Any]) -> None:
    model = language_model(dropout=0.5)
    model.train()
    model.layers[1].eval()
    before = [module.training for module in model.modules]
    first = search(model, PROMPTS, 4)
    assert search(model, PROMPTS, 4) == first  # no dropout
    assert [module.training for module in model.modules] == before
    model.final_norm.bias.data = np.zeros(3)
    with pytest.raises(ValueError):  # noqa: PT011 - any message
        search(model, PROMPTS, 4)
    assert [module.training for module in model.modules] == before


def test_an_error_in_on_token_restores_the_modes() -> None:
    def refuse(row: int, token: int) -> None:
        raise KeyboardInterrupt

    model = language_model()
    with pytest.raises(KeyboardInterrupt):
        generate(model, [1], 4, on_token=refuse)
    assert all(module.training for module in model.modules)


@pytest.mark.parametrize("search", [generate, beam_search])
def test_no_gradients_are_recorded(search: Callable[..., Any]) -> None:
    model = language_model()
    forward, recorded = model.forward, []

    def note(*args: Any, **kwargs: Any) -> Any:
        logits = forward(*args, **kwargs)
        recorded.append(logits.requires_grad)
        return logits

    model.forward = note
    search(model, PROMPTS, 2)
    assert recorded == [False, False]


@pytest.mark.parametrize("search", [generate, beam_search])
def test_max_seq_len(search: Callable[..., Any]) -> None:
    assert len(search(language_model(), [1] * 30, 2)[0]) == 2
    with pytest.raises(ValueError, match="max_seq_len=32"):
        search(language_model(), [1] * 30, 3)


LM, TRANSLATOR = language_model(), transformer()
NO_PADDING = Transformer(11, 12, **SMALL, rng=0)

WRONG: list[tuple[Any, Any, dict[str, Any], type[Exception], list[str]]] = [
    (LM, [], {}, ValueError, ["prompt", "no row"]),
    (LM, [[1], []], {}, ValueError, ["prompt", "row 1", "empty"]),
    (LM, [[1], [2, 11]], {}, IndexError, ["prompt", "11", "row 1", "0 to 10"]),
    (LM, [-1], {}, IndexError, ["prompt", "-1"]),
    (LM, [1.0], {}, TypeError, ["prompt", "float64"]),
    (LM, np.ones((1, 2), bool), {}, TypeError, ["prompt", "bool"]),
    (LM, np.ones((1, 2, 3), int), {}, ValueError, ["prompt", "(1, 2, 3)"]),
    (LM, [[[1, 2]]], {}, ValueError, ["prompt", "(1, 2)"]),
    (LM, 5, {}, TypeError, ["prompt", "5"]),
    (LM, "ab", {}, TypeError, ["prompt", "'ab'"]),
    (LM, [1, 2], {"max_new_tokens": 31}, ValueError, ["31", "2 tokens", "max_seq_len=32"]),
    (LM, [1], {"max_new_tokens": 0}, ValueError, ["max_new_tokens", "0"]),
    (LM, [1], {"max_new_tokens": 2.0}, TypeError, ["max_new_tokens", "2.0"]),
    (LM, [1], {"stop_tokens": 11}, IndexError, ["stop_tokens", "11"]),
    (LM, [1], {"stop_tokens": [3, -1]}, IndexError, ["stop_tokens", "-1"]),
    (LM, [1], {"stop_tokens": [3.5]}, TypeError, ["stop_tokens", "3.5"]),
    (LM, [1], {"source": [1]}, ValueError, ["source", "LanguageModel"]),
    (TRANSLATOR, [1], {}, ValueError, ["source", "None"]),
    (TRANSLATOR, [1], {"source": [[1], [2]]}, ValueError, ["source", "2 rows", "1"]),
    (TRANSLATOR, [1], {"source": [11]}, IndexError, ["source", "11"]),
    (TRANSLATOR, [12], {"source": [1]}, IndexError, ["prompt", "12"]),
    (TRANSLATOR, [1], {"source": [[]]}, ValueError, ["source", "row 0", "empty"]),
    (TRANSLATOR, [1], {"source": [1] * 33}, ValueError, ["33", "max_seq_len"]),
    (NO_PADDING, [[1], [1]], {"source": [[1], [1, 2]]}, ValueError, ["source", "padding_idx"]),
    (Encoder(9, **SMALL), [1], {}, TypeError, ["model", "Encoder"]),
]
WRONG_SAMPLING: list[tuple[dict[str, Any], type[Exception], list[str]]] = [
    ({"temperature": -0.1}, ValueError, ["temperature", "-0.1"]),
    ({"temperature": float("nan")}, ValueError, ["temperature", "nan"]),
    ({"temperature": float("inf")}, ValueError, ["temperature", "inf"]),
    ({"top_k": 0}, ValueError, ["top_k", "0"]),
    ({"top_k": 1.5}, TypeError, ["top_k", "1.5"]),
    ({"top_p": 0.0}, ValueError, ["top_p", "0"]),
    ({"top_p": 1.1}, ValueError, ["top_p", "1.1"]),
    ({"top_p": float("nan")}, ValueError, ["top_p", "nan"]),
    ({"rng": "seed"}, TypeError, ["rng", "seed"]),
]
WRONG_BEAMS: list[tuple[dict[str, Any], type[Exception], list[str]]] = [
    ({"num_beams": 0}, ValueError, ["num_beams", "0"]),
    ({"num_beams": True}, TypeError, ["num_beams", "True"]),
    ({"length_penalty": float("nan")}, ValueError, ["length_penalty", "nan"]),
]


def refused(call: Callable[[], Any], kind: type[Exception], fragments: list[str]) -> None:
    with pytest.raises(kind) as caught:
        call()
    assert [f for f in fragments if f not in str(caught.value)] == [], str(caught.value)


@pytest.mark.parametrize("search", [generate, beam_search])
@pytest.mark.parametrize(("model", "prompt", "settings", "kind", "fragments"), WRONG)
def test_wrong_call(
    search: Callable[..., Any],
    model: Any,
    prompt: Any,
    settings: dict[str, Any],
    kind: type[Exception],
    fragments: list[str],
) -> None:
    settings = {"max_new_tokens": 3, **settings}
    refused(lambda: search(model, prompt, **settings), kind, fragments)


@pytest.mark.parametrize(("settings", "kind", "fragments"), WRONG_SAMPLING)
def test_wrong_sampling(settings: Any, kind: type[Exception], fragments: list[str]) -> None:
    refused(lambda: generate(LM, [1], 3, **settings), kind, fragments)


@pytest.mark.parametrize(("settings", "kind", "fragments"), WRONG_BEAMS)
def test_wrong_beams(settings: Any, kind: type[Exception], fragments: list[str]) -> None:
    refused(lambda: beam_search(LM, [1], 3, **settings), kind, fragments)


def test_jit_without_nn_jit_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nn_jit", None)
    model = language_model()
    for function in (generate, beam_search):
        with pytest.raises(ModuleNotFoundError, match=r"pip install 'nn-transformer\[jit\]'"):
            function(model, [[1, 2]], 3, jit=True)
    assert generate(model, [[1, 2]], 3) == generate(model, [[1, 2]], 3, jit=False)


def test_jit_needs_a_cache() -> None:
    model = language_model()
    with pytest.raises(ValueError, match="use_cache"):
        generate(model, [[1, 2]], 3, jit=True, use_cache=False)
    with pytest.raises(TypeError, match="jit"):
        beam_search(model, [[1, 2]], 3, jit=1)  # type: ignore[arg-type]
