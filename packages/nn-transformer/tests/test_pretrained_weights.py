"""Weights of PyTorch's modules and of Hugging Face's models: outputs, options and errors."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from nn_tensor import Tensor
from nn_transformer import (
    Decoder,
    DecoderLayer,
    Encoder,
    EncoderLayer,
    LanguageModel,
    MultiHeadAttention,
    Transformer,
    bert_settings,
    causal_mask,
    from_bert,
    from_gpt2,
    from_torch_attention,
    from_torch_transformer,
    gpt2_settings,
    torch_transformer_settings,
)

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
WIDTH, HEADS, INNER, VOCAB, MAX_LENGTH = 16, 4, 24, 30, 12
PRESENT = np.arange(7) < np.array([[7], [4]])  # of a batch of two; the rest is padding

Arrays = dict[str, np.ndarray]


def draw(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> Arrays:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(0, 0.3, shape).astype(np.float32) for name, shape in shapes.items()}


def vectors(*shape: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def token_ids(*shape: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, VOCAB, shape)


def with_bias(layers: dict[str, tuple[int, ...]], outputs: int = 0) -> dict[str, tuple[int, ...]]:
    """Name the arrays of layers; the bias has the length of axis `outputs` of the weight."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, shape in layers.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": (shape[outputs],)}
    return shapes


def bert_state(layers: int = 2, prefix: str = "") -> Arrays:
    d = WIDTH
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (VOCAB, d),
        "embeddings.position_embeddings.weight": (MAX_LENGTH, d),
        "embeddings.token_type_embeddings.weight": (2, d),
    }
    shapes |= with_bias({"embeddings.LayerNorm": (d,)})
    for n in range(layers):
        parts = {
            "attention.self.query": (d, d),
            "attention.self.key": (d, d),
            "attention.self.value": (d, d),
            "attention.output.dense": (d, d),
            "attention.output.LayerNorm": (d,),
            "intermediate.dense": (INNER, d),
            "output.dense": (d, INNER),
            "output.LayerNorm": (d,),
        }
        shapes |= with_bias({f"encoder.layer.{n}.{name}": part for name, part in parts.items()})
    return {prefix + name: array for name, array in draw(shapes).items()}


def gpt2_state(layers: int = 2, prefix: str = "") -> Arrays:
    d = WIDTH
    shapes: dict[str, tuple[int, ...]] = {"wte.weight": (VOCAB, d), "wpe.weight": (MAX_LENGTH, d)}
    for n in range(layers):
        parts = {
            "ln_1": (d,),
            "attn.c_attn": (d, 3 * d),
            "attn.c_proj": (d, d),
            "ln_2": (d,),
            "mlp.c_fc": (d, INNER),
            "mlp.c_proj": (INNER, d),
        }
        shapes |= with_bias({f"h.{n}.{name}": part for name, part in parts.items()}, outputs=-1)
    shapes |= with_bias({"ln_f": (d,)})
    return {prefix + name: array for name, array in draw(shapes).items()}


def attention_state(bias: bool = True) -> Arrays:
    shapes: dict[str, tuple[int, ...]] = {
        "in_proj_weight": (3 * WIDTH, WIDTH),
        "in_proj_bias": (3 * WIDTH,),
        "out_proj.weight": (WIDTH, WIDTH),
        "out_proj.bias": (WIDTH,),
    }
    return draw({name: shape for name, shape in shapes.items() if bias or "bias" not in name})


# PyTorch's own modules


def randomized(module: Any) -> Any:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0, 0.3)
    return module


@pytest.mark.parametrize("bias", [True, False])
def test_attention_of_torch(bias: bool, device: str) -> None:
    torch = pytest.importorskip("torch")
    reference = randomized(torch.nn.MultiheadAttention(WIDTH, HEADS, bias=bias, batch_first=True))
    model = MultiHeadAttention(WIDTH, HEADS, bias=bias, device=device)
    model.load_state_dict(from_torch_attention(reference.state_dict()))
    query, memory = vectors(2, 5, WIDTH, seed=1), vectors(2, 7, WIDTH, seed=2)
    expected, _ = reference(
        torch.tensor(query),
        torch.tensor(memory),
        torch.tensor(memory),
        key_padding_mask=torch.tensor(~PRESENT),
    )
    q, m = Tensor(query, device=device), Tensor(memory, device=device)
    result = model(q, m, m, Tensor(PRESENT[:, None, None], device=device))
    np.testing.assert_allclose(result.numpy(), expected.detach().numpy(), **CLOSE)


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("norm_first", [False, True])
def test_transformer_of_torch(norm_first: bool, activation: str, bias: bool, device: str) -> None:
    torch = pytest.importorskip("torch")
    reference = randomized(
        torch.nn.Transformer(
            WIDTH,
            HEADS,
            2,
            2,
            INNER,
            dropout=0.0,
            activation=activation,
            batch_first=True,
            norm_first=norm_first,
            bias=bias,
        )
    )
    state = reference.state_dict()
    settings = torch_transformer_settings(state, HEADS)
    assert settings == {
        "d_model": WIDTH,
        "num_heads": HEADS,
        "d_ff": INNER,
        "bias": bias,
        "num_layers": 2,
        "final_norm": True,
    }
    model = Transformer(
        VOCAB, VOCAB, activation=activation, norm_first=norm_first, device=device, **settings
    ).eval()
    model.load_state_dict({**model.state_dict(), **from_torch_transformer(state)})
    source, target = vectors(2, 7, WIDTH, seed=1), vectors(2, 5, WIDTH, seed=2)
    hidden = torch.tensor(~PRESENT)
    expected = reference(
        torch.tensor(source),
        torch.tensor(target),
        tgt_mask=torch.tensor(~np.tri(5, dtype=bool)),
        src_key_padding_mask=hidden,
        memory_key_padding_mask=hidden,
    )
    mask = Tensor(PRESENT[:, None, None], device=device)
    memory = model.encoder.run(Tensor(source, device=device), mask)
    result = model.decoder.run(
        Tensor(target, device=device), memory, causal_mask(5, device=device), mask
    )
    np.testing.assert_allclose(result.numpy(), expected.detach().numpy(), **CLOSE)


def test_a_translator_around_the_transformer_of_torch(device: str) -> None:
    """Embeddings, positional encoding, layers and output projection, as in PyTorch's tutorial."""
    torch = pytest.importorskip("torch")
    layers = randomized(
        torch.nn.Transformer(WIDTH, HEADS, 1, 1, INNER, dropout=0.0, batch_first=True)
    )
    embeddings = [randomized(torch.nn.Embedding(count, WIDTH)) for count in (VOCAB, 20)]
    projection = randomized(torch.nn.Linear(WIDTH, 20))
    source, target = token_ids(2, 7, seed=1), token_ids(2, 5, seed=2) % 20
    rates = np.exp(-np.arange(0, WIDTH, 2) * math.log(10000) / WIDTH)
    encoding = np.empty((MAX_LENGTH, WIDTH), np.float32)
    encoding[:, 0::2] = np.sin(np.arange(MAX_LENGTH)[:, None] * rates)
    encoding[:, 1::2] = np.cos(np.arange(MAX_LENGTH)[:, None] * rates)

    def embed(embedding: Any, ids: np.ndarray) -> Any:
        scaled = embedding(torch.tensor(ids)) * math.sqrt(WIDTH)
        return scaled + torch.tensor(encoding[: ids.shape[1]])

    causal = torch.tensor(~np.tri(5, dtype=bool))
    x, y = embed(embeddings[0], source), embed(embeddings[1], target)
    expected = projection(layers(x, y, tgt_mask=causal)).detach().numpy()

    settings = torch_transformer_settings(layers.state_dict(), HEADS)
    model = Transformer(VOCAB, 20, device=device, **settings).eval()
    model.load_state_dict(
        {
            **from_torch_transformer(layers.state_dict()),
            "encoder.embedding.weights": embeddings[0].state_dict()["weight"].numpy(),
            "decoder.embedding.weights": embeddings[1].state_dict()["weight"].numpy(),
            "output.weights": projection.state_dict()["weight"].numpy().T,
            "output.bias": projection.state_dict()["bias"].numpy(),
        }
    )
    result = model(Tensor(source, device=device), Tensor(target, device=device))
    np.testing.assert_allclose(result.numpy(), expected, **CLOSE)


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
@pytest.mark.parametrize("last_norm", [False, True])
def test_stacks_of_torch(last_norm: bool, device: str) -> None:
    torch = pytest.importorskip("torch")
    nn = torch.nn
    options = {"dropout": 0.0, "batch_first": True, "norm_first": True}
    norm = nn.LayerNorm(WIDTH) if last_norm else None
    encoder = randomized(
        nn.TransformerEncoder(nn.TransformerEncoderLayer(WIDTH, HEADS, INNER, **options), 3, norm)
    )
    decoder = randomized(
        nn.TransformerDecoder(nn.TransformerDecoderLayer(WIDTH, HEADS, INNER, **options), 2, norm)
    )
    source, target = vectors(2, 7, WIDTH, seed=1), vectors(2, 5, WIDTH, seed=2)
    x, y = Tensor(source, device=device), Tensor(target, device=device)

    def loaded(kind: Callable[..., Any], state: Any) -> Any:
        settings = torch_transformer_settings(state, HEADS)
        assert settings["final_norm"] == last_norm
        model = kind(1, norm_first=True, device=device, **settings).eval()
        model.load_state_dict({**model.state_dict(), **from_torch_transformer(state)})
        return model

    memory = loaded(Encoder, encoder.state_dict()).run(x)
    expected = encoder(torch.tensor(source))
    np.testing.assert_allclose(memory.numpy(), expected.detach().numpy(), **CLOSE)
    result = loaded(Decoder, decoder.state_dict()).run(y, memory)
    expected = decoder(torch.tensor(target), expected)
    np.testing.assert_allclose(result.numpy(), expected.detach().numpy(), **CLOSE)


@pytest.mark.parametrize("bias", [True, False])
def test_layers_of_torch(bias: bool, device: str) -> None:
    torch = pytest.importorskip("torch")
    options = {"dropout": 0.0, "batch_first": True, "bias": bias}
    encoder = randomized(torch.nn.TransformerEncoderLayer(WIDTH, HEADS, INNER, **options))
    decoder = randomized(torch.nn.TransformerDecoderLayer(WIDTH, HEADS, INNER, **options))
    source, target = vectors(2, 7, WIDTH, seed=1), vectors(2, 5, WIDTH, seed=2)
    x, y = Tensor(source, device=device), Tensor(target, device=device)

    def loaded(kind: Callable[..., Any], state: Any) -> Any:
        layer = kind(**torch_transformer_settings(state, HEADS), dropout=0.0, device=device)
        layer.load_state_dict(from_torch_transformer(state))
        return layer

    result = loaded(EncoderLayer, encoder.state_dict())(x)
    expected = encoder(torch.tensor(source)).detach().numpy()
    np.testing.assert_allclose(result.numpy(), expected, **CLOSE)
    result = loaded(DecoderLayer, decoder.state_dict())(y, x)
    expected = decoder(torch.tensor(target), torch.tensor(source)).detach().numpy()
    np.testing.assert_allclose(result.numpy(), expected, **CLOSE)


# BERT and GPT-2, written in functions of PyTorch with Hugging Face's names; the models of
# Hugging Face themselves are compared in tests-integration


class Reference:
    """A state of Hugging Face, and the functions of PyTorch that it goes into."""

    def __init__(self, state: Arrays) -> None:
        self.torch = pytest.importorskip("torch")
        self.functions = self.torch.nn.functional
        self.arrays = {name: self.torch.tensor(array) for name, array in state.items()}

    def linear(self, name: str, x: Any) -> Any:
        weight, bias = self.arrays[f"{name}.weight"], self.arrays[f"{name}.bias"]
        return self.functions.linear(x, weight, bias)

    def conv1d(self, name: str, x: Any) -> Any:
        return x @ self.arrays[f"{name}.weight"] + self.arrays[f"{name}.bias"]

    def norm(self, name: str, x: Any, epsilon: float) -> Any:
        weight, bias = self.arrays[f"{name}.weight"], self.arrays[f"{name}.bias"]
        return self.functions.layer_norm(x, (WIDTH,), weight, bias, epsilon)

    def attention(self, q: Any, k: Any, v: Any, **options: Any) -> Any:
        q, k, v = (x.unflatten(-1, (HEADS, -1)).transpose(1, 2) for x in (q, k, v))
        mixed = self.functions.scaled_dot_product_attention(q, k, v, **options)
        return mixed.transpose(1, 2).flatten(2)

    def bert(self, tokens: np.ndarray, segment_ids: np.ndarray, allowed: np.ndarray) -> np.ndarray:
        """Hugging Face's ``BertModel``: the last hidden state."""
        embeddings = "embeddings.{}_embeddings.weight".format
        x = self.arrays[embeddings("word")][self.torch.tensor(tokens)]
        x = x + self.arrays[embeddings("position")][: tokens.shape[1]]
        x = x + self.arrays[embeddings("token_type")][self.torch.tensor(segment_ids)]
        x = self.norm("embeddings.LayerNorm", x, 1e-12)
        mask = self.torch.tensor(allowed[:, None, None])
        for n in range(2):
            at = f"encoder.layer.{n}".__add__
            qkv = (self.linear(at(f".attention.self.{part}"), x) for part in QKV)
            mixed = self.linear(at(".attention.output.dense"), self.attention(*qkv, attn_mask=mask))
            x = self.norm(at(".attention.output.LayerNorm"), x + mixed, 1e-12)
            inner = self.functions.gelu(self.linear(at(".intermediate.dense"), x))
            x = self.norm(
                at(".output.LayerNorm"), x + self.linear(at(".output.dense"), inner), 1e-12
            )
        result: np.ndarray = x.numpy()
        return result

    def gpt2(self, tokens: np.ndarray, head: Any = None) -> np.ndarray:
        """Hugging Face's ``GPT2LMHeadModel``: the logits."""
        x = self.arrays["wte.weight"][self.torch.tensor(tokens)]
        x = x + self.arrays["wpe.weight"][: tokens.shape[1]]
        for n in range(2):
            at = f"h.{n}".__add__
            qkv = self.conv1d(at(".attn.c_attn"), self.norm(at(".ln_1"), x, 1e-5)).split(WIDTH, -1)
            x = x + self.conv1d(at(".attn.c_proj"), self.attention(*qkv, is_causal=True))
            inner = self.conv1d(at(".mlp.c_fc"), self.norm(at(".ln_2"), x, 1e-5))
            inner = self.functions.gelu(inner, approximate="tanh")
            x = x + self.conv1d(at(".mlp.c_proj"), inner)
        weights = self.arrays["wte.weight" if head is None else head]
        result: np.ndarray = (self.norm("ln_f", x, 1e-5) @ weights.T).numpy()
        return result


QKV = ("query", "key", "value")


@pytest.mark.parametrize("prefix", ["", "bert."])
def test_bert(prefix: str, device: str) -> None:
    tokens, segment_ids = token_ids(2, 7, seed=1), np.array([[0, 0, 0, 1, 1, 1, 1]] * 2)
    expected = Reference(bert_state()).bert(tokens, segment_ids, PRESENT)
    state = bert_state(prefix=prefix)
    model = Encoder(**bert_settings(state, HEADS), device=device).eval()
    model.load_state_dict(from_bert(state))
    mask = Tensor(PRESENT[:, None, None], device=device)
    result = model(Tensor(tokens, device=device), mask, Tensor(segment_ids, device=device))
    np.testing.assert_allclose(result.numpy(), expected, **CLOSE)


@pytest.mark.parametrize("prefix", ["", "transformer."])
def test_gpt2(prefix: str, device: str) -> None:
    tokens = token_ids(2, 7, seed=1)
    expected = Reference(gpt2_state()).gpt2(tokens)
    state = gpt2_state(prefix=prefix)
    state["lm_head.weight"] = state[f"{prefix}wte.weight"]
    model = LanguageModel(**gpt2_settings(state, HEADS), device=device).eval()
    model.load_state_dict(from_gpt2(state))
    result = model(Tensor(tokens, device=device))
    np.testing.assert_allclose(result.numpy(), expected, **CLOSE)


def test_gpt2_with_a_head_of_its_own(device: str) -> None:
    tokens, state = token_ids(2, 7, seed=1), gpt2_state()
    state["lm_head.weight"] = vectors(VOCAB, WIDTH, seed=3)
    expected = Reference(state).gpt2(tokens, head="lm_head.weight")
    settings = gpt2_settings(state, HEADS)
    assert settings["tie_weights"] is False
    model = LanguageModel(**settings, device=device).eval()
    model.load_state_dict(from_gpt2(state))
    result = model(Tensor(tokens, device=device))
    np.testing.assert_allclose(result.numpy(), expected, **CLOSE)


# What holds without PyTorch


def test_every_array_is_converted() -> None:
    for source, convert, model in (
        (bert_state(), from_bert, Encoder(**bert_settings(bert_state(), HEADS))),
        (gpt2_state(), from_gpt2, LanguageModel(**gpt2_settings(gpt2_state(), HEADS))),
        (attention_state(), from_torch_attention, MultiHeadAttention(WIDTH, HEADS)),
        (
            attention_state(False),
            from_torch_attention,
            MultiHeadAttention(WIDTH, HEADS, bias=False),
        ),
    ):
        state = convert(source)
        model.load_state_dict(state)
        assert sum(a.size for a in source.values()) == sum(a.size for a in state.values())


def test_settings() -> None:
    sizes = {
        "vocab_size": VOCAB,
        "d_model": WIDTH,
        "num_heads": HEADS,
        "num_layers": 2,
        "d_ff": INNER,
        "max_seq_len": MAX_LENGTH,
        "bias": True,
        "positions": "learned",
    }
    assert bert_settings(bert_state(), HEADS) == sizes | {
        "num_segments": 2,
        "embedding_norm": True,
        "norm_first": False,
        "norm_epsilon": 1e-12,
        "activation": "gelu",
    }
    assert gpt2_settings(gpt2_state(), HEADS) == sizes | {
        "norm_first": True,
        "norm_epsilon": 1e-5,
        "activation": "gelu_tanh",
        "tie_weights": True,
    }


def test_key_biases_are_converted() -> None:
    """Outputs do not depend on them: they shift all scores of a query alike."""
    source = bert_state()["encoder.layer.1.attention.self.key.bias"]
    np.testing.assert_array_equal(from_bert(bert_state())["layers.1.attention.key.bias"], source)
    source = gpt2_state()["h.1.attn.c_attn.bias"][WIDTH : 2 * WIDTH]
    np.testing.assert_array_equal(from_gpt2(gpt2_state())["layers.1.attention.key.bias"], source)
    state = from_torch_attention(attention_state())
    source = attention_state()["in_proj_bias"][WIDTH : 2 * WIDTH]
    np.testing.assert_array_equal(state["key.bias"], source)


@pytest.mark.parametrize(
    ("make", "convert", "settings"),
    [(bert_state, from_bert, bert_settings), (gpt2_state, from_gpt2, gpt2_settings)],
)
def test_models_without_biases(make: Any, convert: Any, settings: Any) -> None:
    state = {name: array for name, array in make().items() if not name.endswith("bias")}
    model = (Encoder if make is bert_state else LanguageModel)(**settings(state, HEADS))
    model.load_state_dict(convert(state))
    assert not any("bias" in path for path in convert(state))


def test_arrays_are_new_contiguous_and_of_the_same_dtype() -> None:
    source = {name: array.astype(np.float16) for name, array in attention_state().items()}
    before = {name: array.copy() for name, array in source.items()}
    for array in source.values():
        array.flags.writeable = False
    state = from_torch_attention(source)
    for array in state.values():
        assert array.dtype == np.float16
        assert array.flags.c_contiguous
        assert not any(np.shares_memory(array, other) for other in source.values())
    for name, array in source.items():
        np.testing.assert_array_equal(array, before[name])
    np.testing.assert_array_equal(state["key.weights"], source["in_proj_weight"][16:32].T)
    np.testing.assert_array_equal(state["value.bias"], source["in_proj_bias"][32:])


def test_lists_tensors_and_metadata_are_accepted() -> None:
    state = attention_state()
    expected = from_torch_attention(state)
    given: dict[str, Any] = {name: Tensor(array) for name, array in state.items()}
    given["in_proj_bias"] = state["in_proj_bias"].tolist()
    given["__metadata__"] = {"format": "pt"}
    for path, array in from_torch_attention(given).items():
        np.testing.assert_allclose(array, expected[path])


def test_files_of_older_versions() -> None:
    state = bert_state(prefix="bert.")
    expected = from_bert(state)
    older = {
        name.replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta"): array
        for name, array in state.items()
    }
    older["bert.embeddings.position_ids"] = np.arange(MAX_LENGTH)[None]
    assert list(from_bert(older)) == list(expected)
    gpt2 = gpt2_state()
    expected = from_gpt2(gpt2)
    for n in range(2):
        gpt2[f"h.{n}.attn.bias"] = np.tri(MAX_LENGTH, dtype=np.uint8)[None, None]
        gpt2[f"h.{n}.attn.masked_bias"] = np.array(-1e4)
    assert list(from_gpt2(gpt2)) == list(expected)


def test_heads_are_ignored_only_on_request() -> None:
    state = bert_state(prefix="bert.")
    state |= draw(
        with_bias({"bert.pooler.dense": (WIDTH, WIDTH), "cls.seq_relationship": (2, WIDTH)})
    )
    assert list(from_bert(state)) == list(from_bert(bert_state()))
    with pytest.raises(ValueError, match=r"unknown: bert\.pooler\.dense\.weight, .*\(16, 16\)"):
        from_bert(state, ignore=())
    state |= draw(with_bias({"classifier": (3, WIDTH)}))
    advice = r"ignore=\['pooler', 'cls', 'classifier'\]"
    with pytest.raises(ValueError, match=rf"unknown: classifier\.bias[^$]*{advice}"):
        from_bert(state)
    assert list(from_bert(state, ["pooler", "cls", "classifier"])) == list(from_bert(bert_state()))
    with pytest.raises(ValueError, match=r"unknown: score\.weight[^$]*ignore=\['score'\]"):
        from_gpt2(gpt2_state() | {"score.weight": np.ones((2, WIDTH))})


def test_error_lists_all_problems() -> None:
    state: dict[str, Any] = bert_state()
    del state["encoder.layer.1.output.dense.weight"]
    state["encoder.layer.0.intermediate.dense.weight"] = np.ones((WIDTH + 1, WIDTH + 1))
    state["encoder.layer.0.attention.self.key.bias"] = np.ones((WIDTH, 1))
    state["encoder.layer.0.attention.self.distance_embedding.weight"] = np.ones((23, 4))
    state["embeddings.LayerNorm.bias"] = np.ones(WIDTH, complex)
    state["embeddings.LayerNorm.weight"] = object()
    with pytest.raises(ValueError, match="from_bert: the state does not fit") as caught:
        from_bert(state)
    lines = str(caught.value).splitlines()[1:]
    assert [line.split()[0] for line in lines] == [
        "unknown:",
        "embeddings.LayerNorm.weight:",
        "embeddings.LayerNorm.bias:",
        "encoder.layer.0.attention.self.key.bias:",
        "encoder.layer.0.intermediate.dense.weight:",
        "missing:",
    ]
    assert "distance_embedding" in lines[0]
    assert lines[3].endswith("expected shape (16,), got (16, 1)")
    assert lines[4].endswith("expected shape (d_ff, 16), got (17, 17)")
    assert lines[5].endswith("missing: encoder.layer.1.output.dense.weight, shape (16, 24)")


def test_missing_bias_is_reported_if_others_are_present() -> None:
    state = gpt2_state()
    del state["h.1.mlp.c_fc.bias"]
    with pytest.raises(ValueError, match=r"missing: h\.1\.mlp\.c_fc\.bias, shape \(24,\)"):
        from_gpt2(state)


def test_layers_are_numbered_without_gaps() -> None:
    state = {name.replace("h.1.", "h.70000."): array for name, array in gpt2_state().items()}
    with pytest.raises(ValueError, match=r"h\.\*: layers are numbered 0, 70000, expected 0, 1"):
        from_gpt2(state)


def test_duplicate_names_are_refused() -> None:
    state = gpt2_state()
    with pytest.raises(ValueError, match=r"wte\.weight and transformer\.wte\.weight are the same"):
        from_gpt2(state | {"transformer.wte.weight": state["wte.weight"]})


def test_transposed_weights_are_refused() -> None:
    state = gpt2_state()
    turned = {
        name: array.T if array.ndim == 2 and "c_" in name else array
        for name, array in state.items()
    }
    with pytest.raises(
        ValueError, match=r"c_attn\.weight: expected shape \(16, 48\), got \(48, 16\)"
    ):
        from_gpt2(turned)


@pytest.mark.parametrize(
    ("further", "reason"),
    [
        ({"q_proj_weight": (16, 16), "k_proj_weight": (16, 8)}, "k_proj_weight: .* no kdim"),
        ({"bias_k": (1, 1, 16)}, "bias_k: .* no add_bias_kv"),
    ],
)
def test_attention_of_another_kind_is_refused(further: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        from_torch_attention(attention_state() | draw(further))
    with pytest.raises(ValueError, match=reason):
        from_torch_transformer({f"layers.0.self_attn.{k}": v for k, v in draw(further).items()})


def test_encoder_and_decoder_of_different_depth_have_no_common_settings() -> None:
    torch = pytest.importorskip("torch")
    state = torch.nn.Transformer(WIDTH, HEADS, 1, 2, INNER, batch_first=True).state_dict()
    assert len(from_torch_transformer(state)) == 16 + 2 * 26 + 4
    with pytest.raises(ValueError, match=r"encoder and decoder differ: .*'decoder\.layers\.': 2"):
        torch_transformer_settings(state, HEADS)


@pytest.mark.parametrize(
    "function", [from_torch_attention, from_torch_transformer, from_bert, from_gpt2]
)
def test_arguments_of_another_type(function: Any) -> None:
    with pytest.raises(TypeError, match=f"{function.__name__}: state: expected a dict of arrays"):
        function([1.0])
    with pytest.raises(ValueError, match="missing: "):
        function({})


def test_ignore_is_a_list() -> None:
    with pytest.raises(TypeError, match="ignore: expected a list of names, got 'cls'"):
        from_bert(bert_state(), ignore="cls")
