"""Generation under nn-jit: the same tokens, from the same logits, as plain generation."""

import copy
import pickle
import threading

import numpy as np
import pytest
from nn_jit import JitError, jit
from nn_tensor import Tensor, autocast, no_grad, use_kernels
from nn_transformer import LanguageModel, Transformer, beam_search, generate
from nn_transformer.decoding.prompts import read_prompts
from nn_transformer.decoding.recorded_session import new_session
from nn_transformer.decoding.session import inference_mode
from nn_transformer.modules.static_kv_cache import StaticDecoderCache, count_position, new_state

PROMPTS = [
    [[1, 2, 3]],
    [[4], [5, 6, 7], [8, 9]],
    [[n + 1, n + 2] for n in range(9)],
]
LANGUAGE = {
    "learned": {},
    "rotary": {"positions": "rotary"},
    "sinusoidal": {"positions": "sinusoidal", "norm_first": False, "activation": "relu"},
    "groups": {"num_kv_heads": 2, "positions": "rotary", "bias": False},
    "float64": {"dtype": np.float64, "tie_weights": False},
    "float16": {"dtype": np.float16},
}
TRANSFORMERS = {"": {}, "padding": {"padding_idx": 0}, "rotary": {"positions": "rotary"}}


def language_model(**options):
    options = {"max_seq_len": 128, "dropout": 0.2, "rng": 0, **options}
    return spread(LanguageModel(20, 24, 4, 2, **options))


def transformer(**options):
    options = {"max_seq_len": 128, "dropout": 0.2, "rng": 0, **options}
    return spread(Transformer(15, 20, 24, 4, 2, **options))


def spread(model):
    """Return a model with larger weights, so that the tokens vary."""
    with no_grad():
        for parameter in model.parameters:
            if parameter.ndim == 2:
                parameter *= 3
    return model


def steps_of(model):
    return list(vars(model)["_recorded_steps"].steps.values())


def logits_of(model, prompt, source, jit):
    """Return the logits of random tokens, of which rows end and change places."""
    rng, found = np.random.default_rng(0), []
    prompts = read_prompts(model, prompt, 60, source, ())
    rows = len(prompts.tokens)
    with inference_mode(model):
        session = new_session(model, prompts, True, jit)
        tokens = prompts.tokens
        for step in range(14):
            found.append(session.step(tokens).numpy())
            if step == 7:
                session.select(rng.integers(0, rows, rows))
            tokens = rng.integers(0, 20, (rows, 1))
    return found


@pytest.mark.parametrize("kernels", ["auto", "reference"])
@pytest.mark.parametrize("prompt", PROMPTS, ids=["one row", "padding", "nine rows"])
@pytest.mark.parametrize("name", LANGUAGE)
def test_logits_of_a_language_model_are_equal_bit_for_bit(name, prompt, kernels):
    model = language_model(**LANGUAGE[name])
    with use_kernels(kernels):
        plain, fast = (logits_of(model, prompt, None, jit) for jit in (False, True))
    for a, b in zip(plain, fast, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
    (step,) = steps_of(model)
    assert step.explain().programs[0].replays >= 8


@pytest.mark.parametrize("kernels", ["auto", "reference"])
@pytest.mark.parametrize("prompt", PROMPTS, ids=["one row", "padding", "nine rows"])
@pytest.mark.parametrize("name", TRANSFORMERS)
def test_logits_of_a_transformer_are_equal_bit_for_bit(name, prompt, kernels):
    model = transformer(**TRANSFORMERS[name])
    padded = model.padding_idx is not None
    source = [[1, 2, 3, 4, 5][: 5 - n % 3 if padded else 5] for n in range(len(prompt))]
    with use_kernels(kernels):
        plain, fast = (logits_of(model, prompt, source, jit) for jit in (False, True))
    for a, b in zip(plain, fast, strict=True):
        np.testing.assert_array_equal(a, b)
    assert steps_of(model)[0].explain().programs[0].replays >= 8


def test_programs_serve_other_prompts_and_lengths():
    model = language_model()
    for length, count in ((3, 50), (20, 30), (5, 59), (1, 40)):
        prompt = np.random.default_rng(length).integers(0, 20, (1, length))
        options = {"temperature": 1.5, "rng": 0}
        tokens = generate(model, prompt, count, jit=True, **options)
        assert tokens == generate(model, prompt, count, **options)
        assert len(set(tokens[0])) > 3
    (step,) = steps_of(model)
    (program,) = step.explain().programs
    assert program.replays > 150


def test_sources_of_other_lengths():
    model = transformer(padding_idx=0)
    for length in (2, 9, 30):
        source = np.random.default_rng(length).integers(1, 15, (2, length))
        source[1, length // 2 :] = 0
        assert generate(model, [[1], [2]], 20, source=source, jit=True) == generate(
            model, [[1], [2]], 20, source=source
        )
    assert len(steps_of(model)) == 1


@pytest.mark.parametrize("rows", [2, 7])
def test_rows_that_end(rows):
    model = language_model()
    prompt = np.random.default_rng(1).integers(0, 20, (rows, 4))
    plain = generate(model, prompt, 60)
    stops = [row[5 + 6 * n] for n, row in enumerate(plain)][:3]
    expected = generate(model, prompt, 60, stop_tokens=stops)
    assert min(map(len, expected)) < max(map(len, expected))
    calls = []
    found = generate(
        model, prompt, 60, stop_tokens=stops, jit=True, on_token=lambda *call: calls.append(call)
    )
    assert found == expected
    assert sorted(calls) == sorted((n, token) for n, row in enumerate(found) for token in row)


@pytest.mark.parametrize("options", [{}, {"top_k": 5}, {"top_p": 0.9}])
def test_sampling(options, device):
    model = language_model(positions="rotary")
    model.set_device(device)
    options = {"temperature": 1.3, "stop_tokens": [3], "rng": 5, **options}
    prompt = PROMPTS[1]
    assert generate(model, prompt, 50, jit=True, **options) == generate(
        model, prompt, 50, **options
    )


@pytest.mark.parametrize("prompt", PROMPTS[:2], ids=["one row", "padding"])
def test_beam_search(prompt, device):
    for model, source in (
        (language_model(), None),
        (transformer(padding_idx=0), [[1, 2, 3, 4], [5], [6, 7]][: len(prompt)]),
    ):
        model.set_device(device)
        options = {"source": source, "num_beams": 3, "stop_tokens": [2, 3]}
        plain = beam_search(model, prompt, 40, **options)
        assert beam_search(model, prompt, 40, jit=True, **options) == plain


def test_parameters_that_change_are_seen():
    model, prompt = language_model(), [[1, 2, 3]]
    first = generate(model, prompt, 30, jit=True)
    with no_grad():
        model.layers[0].attention.query.weights *= -1.0
    assert generate(model, prompt, 30, jit=True) == generate(model, prompt, 30) != first
    model.load_state_dict(language_model(rng=7).state_dict())
    assert generate(model, prompt, 30, jit=True) == generate(model, prompt, 30)
    weights = model.layers[1].feed_forward.output.weights
    weights.data = weights.data[::-1].copy()  # another array
    assert generate(model, prompt, 30, jit=True) == generate(model, prompt, 30)
    model.layers.append(copy.deepcopy(model.layers[0]))
    assert generate(model, prompt, 30, jit=True) == generate(model, prompt, 30)
    model.set_dtype(np.float64)
    assert generate(model, prompt, 30, jit=True) == generate(model, prompt, 30)


def test_modes_are_restored_and_copies_have_no_programs():
    model, prompt = language_model().train(), [[1, 2, 3]]
    expected = generate(model, prompt, 30, jit=True)
    assert all(module.training for module in model.modules)
    paths = [path for path, _ in model.named_tensors()]
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert [path for path, _ in other.named_tensors()] == paths
        assert not vars(other)["_recorded_steps"].steps
        assert generate(other, prompt, 30, jit=True) == expected
        assert steps_of(other)[0] is not steps_of(model)[0]
    assert set(model.state_dict()) == set(language_model().state_dict())


def test_a_shallow_copy_has_programs_of_its_own():
    model, prompt = language_model(), [[1, 2, 3]]
    generate(model, prompt, 12, jit=True)
    other = copy.copy(model)
    other.layers = language_model(rng=5).layers
    assert generate(other, prompt, 12, jit=True) == generate(other, prompt, 12)
    assert generate(model, prompt, 12, jit=True) == generate(model, prompt, 12)


def test_inside_autocast_nothing_is_recorded():
    model, prompt = language_model(), [[1, 2, 3]]
    with autocast("float16"):
        assert generate(model, prompt, 12, jit=True) == generate(model, prompt, 12)
    assert "_recorded_steps" not in vars(model)


def test_two_threads_with_one_model():
    model = language_model()
    prompts = [[[1, 2, 3]], [[7, 8]]]
    expected = [generate(model, prompt, 50) for prompt in prompts]
    model.eval()  # as both calls put it into this mode and back
    found = [None, None]

    def run(n):
        for _ in range(4):
            found[n] = generate(model, prompts[n], 50, jit=True)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == expected


def test_sublayers_are_replayed_as_jobs():
    pytest.importorskip("numba")
    model = language_model()
    for prompt in ([[1, 2, 3]], [[1], [2, 3]]):  # the second with padding
        assert generate(model, prompt, 20, jit=True) == generate(model, prompt, 20)
    for step in steps_of(model):
        (program,) = step.explain().programs
        labels = [label for label, _, _ in program.calls]
        assert labels.count("attend_token") == labels.count("feed_forward_token") == 2
        assert not {"attend_token", "feed_forward_token"} & {*program.externals}
        assert "_token" not in program.source
        assert "empty" not in program.source  # results that nobody uses stand in buffers too


@pytest.mark.parametrize("kernels", ["auto", "reference"])
def test_a_full_cache_is_refused(kernels):
    with use_kernels(kernels), no_grad():
        model = language_model().eval()
        buffer, tokens = Tensor(np.zeros((2, 2, 1, 4, 5, 6), np.float32)), Tensor([[1]])
        state = Tensor(new_state(0, 0, None))
        step = jit(lambda: model(tokens, cache=StaticDecoderCache(state, buffer)))
        for _ in range(5):
            step()
            count_position(state.data)
        with pytest.raises(ValueError, match="room for 5 positions, this is number 6"):
            step()


def test_few_programs_are_kept():
    model = language_model(d_ff=24)
    for rows in range(1, 20):
        prompt = np.ones((rows, 2), np.int64)
        assert generate(model, prompt, 4, jit=True) == generate(model, prompt, 4)
    assert len(steps_of(model)) == 8


def test_a_model_that_cannot_be_recorded_says_where():
    class Printing(LanguageModel):
        def forward(self, tokens, mask=None, cache=None):
            logits = super().forward(tokens, mask, cache)
            float(logits.sum())
            return logits

    model = Printing(20, 24, 4, 2, max_seq_len=64, rng=0)
    with pytest.raises(RuntimeError, match=r"read .*test_generation_jit"):
        generate(model, [[1]], 10, jit=True)


def test_a_cache_that_grows_is_refused_by_jit():
    model = language_model().eval()
    cache = model.new_cache()
    step = jit(no_grad()(lambda tokens: model(tokens, cache=cache)))
    with no_grad():
        model([[1, 2]], cache=cache)
    step(Tensor([[3]]))
    with pytest.raises(JitError):
        step(Tensor([[4]]))


def test_without_a_cache_it_is_refused():
    with pytest.raises(ValueError, match="use_cache"):
        generate(language_model(), [[1]], 3, jit=True, use_cache=False)
    with pytest.raises(TypeError, match="jit"):
        generate(language_model(), [[1]], 3, jit="yes")
