"""Parity with PyTorch, forward and backward."""

import numpy as np
import pytest
from nn_tensor import Tensor
from nn_transformer import (
    DecoderLayer,
    Embedding,
    EncoderLayer,
    MultiHeadAttention,
    Transformer,
    causal_mask,
    from_torch_transformer,
    scaled_dot_product_attention,
)

torch = pytest.importorskip("torch")
CLOSE = {"rtol": 1e-9, "atol": 1e-12}
BATCH, TARGETS, SOURCES, WIDTH, HEADS = 2, 5, 7, 16, 4


def values(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def both(*shape: int, seed: int):
    array = values(*shape, seed=seed)
    return Tensor(array, requires_grad=True), torch.tensor(array, requires_grad=True)


def randomize(module) -> None:
    for seed, parameter in enumerate(module.parameters):
        parameter.data[...] = values(*parameter.shape, seed=100 + seed) / 2


def copy_linear(reference, model) -> None:
    reference.weight.copy_(torch.tensor(model.weights.data.T))
    reference.bias.copy_(torch.tensor(model.bias.data))


def copy_attention(reference, model) -> None:
    projections = (model.query, model.key, model.value)
    stacked = np.concatenate([p.weights.data.T for p in projections])
    reference.in_proj_weight.copy_(torch.tensor(stacked))
    reference.in_proj_bias.copy_(torch.tensor(np.concatenate([p.bias.data for p in projections])))
    copy_linear(reference.out_proj, model.output)


def copy_layer(reference, model) -> None:
    copy_attention(reference.self_attn, model.attention)
    if isinstance(model, DecoderLayer):
        copy_attention(reference.multihead_attn, model.cross_attention)
    copy_linear(reference.linear1, model.feed_forward.hidden)
    copy_linear(reference.linear2, model.feed_forward.output)
    norms = [reference.norm1, reference.norm2, getattr(reference, "norm3", None)]
    names = ["attention_norm", "feed_forward_norm"]
    if isinstance(model, DecoderLayer):
        names.insert(1, "cross_attention_norm")
    for norm, mine in zip(norms, [getattr(model, name) for name in names], strict=False):
        for reference_parameter, parameter in zip(norm.parameters(), mine.parameters, strict=True):
            reference_parameter.copy_(torch.tensor(parameter.data))


def compare(result, expected, *pairs) -> None:
    np.testing.assert_allclose(result.data, expected.detach().numpy(), **CLOSE)
    gradient = values(*result.shape, seed=9)
    result.backward(gradient)
    expected.backward(torch.tensor(gradient))
    for mine, other in pairs:
        np.testing.assert_allclose(mine.grad.data, other.grad.numpy(), **CLOSE)


MASKS = {
    "none": None,
    "boolean": np.arange(SOURCES) < np.array([[[4]], [[7]]]),
    "floating": values(TARGETS, SOURCES, seed=3),
}


@pytest.mark.parametrize("kind", list(MASKS))
def test_attention(kind: str) -> None:
    shapes = [(BATCH, HEADS, n, 4) for n in (TARGETS, SOURCES, SOURCES)]
    pairs = [both(*shape, seed=i) for i, shape in enumerate(shapes)]
    mask = MASKS[kind]
    if mask is not None and mask.ndim == 3:
        mask = mask[:, None]
    result = scaled_dot_product_attention(*(p[0] for p in pairs), mask=mask)
    expected = torch.nn.functional.scaled_dot_product_attention(
        *(p[1] for p in pairs), attn_mask=None if mask is None else torch.tensor(mask)
    )
    compare(result, expected, *pairs)


@pytest.mark.parametrize("kind", list(MASKS))
def test_multi_head_attention(kind: str) -> None:
    model = MultiHeadAttention(WIDTH, HEADS, dtype=np.float64)
    reference = torch.nn.MultiheadAttention(WIDTH, HEADS, batch_first=True, dtype=torch.float64)
    randomize(model)
    with torch.no_grad():
        copy_attention(reference, model)
    query, memory = both(BATCH, TARGETS, WIDTH, seed=1), both(BATCH, SOURCES, WIDTH, seed=2)
    mask, options = MASKS[kind], {}
    if kind == "boolean":
        options = {"key_padding_mask": torch.tensor(~mask[:, 0])}
    elif kind == "floating":
        options = {"attn_mask": torch.tensor(mask)}
    result = model(query[0], memory[0], memory[0], mask)
    expected, _ = reference(query[1], memory[1], memory[1], need_weights=False, **options)
    compare(result, expected, query, memory)
    weights = reference.in_proj_weight.grad.numpy()[WIDTH : 2 * WIDTH].T
    np.testing.assert_allclose(model.key.weights.grad.data, weights, **CLOSE)


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_encoder_layer(norm_first: bool, activation: str) -> None:
    model = EncoderLayer(
        WIDTH, HEADS, 24, dropout=0.0, activation=activation, norm_first=norm_first, dtype="float64"
    )
    reference = torch.nn.TransformerEncoderLayer(
        WIDTH, HEADS, 24, 0.0, activation, batch_first=True, norm_first=norm_first
    ).double()
    randomize(model)
    with torch.no_grad():
        copy_layer(reference, model)
    pair = both(BATCH, SOURCES, WIDTH, seed=4)
    mask = MASKS["boolean"]
    expected = reference(pair[1], src_key_padding_mask=torch.tensor(~mask[:, 0]))
    compare(model(pair[0], mask), expected, pair)


@pytest.mark.parametrize("norm_first", [False, True])
def test_decoder_layer(norm_first: bool) -> None:
    model = DecoderLayer(WIDTH, HEADS, 24, dropout=0.0, norm_first=norm_first, dtype="float64")
    reference = torch.nn.TransformerDecoderLayer(
        WIDTH, HEADS, 24, 0.0, batch_first=True, norm_first=norm_first
    ).double()
    randomize(model)
    with torch.no_grad():
        copy_layer(reference, model)
    target, memory = both(BATCH, TARGETS, WIDTH, seed=5), both(BATCH, SOURCES, WIDTH, seed=6)
    memory_mask = MASKS["boolean"]
    expected = reference(
        target[1],
        memory[1],
        tgt_mask=torch.tensor(~causal_mask(TARGETS).numpy()),
        memory_key_padding_mask=torch.tensor(~memory_mask[:, 0]),
    )
    result = model(target[0], memory[0], causal_mask(TARGETS), memory_mask)
    compare(result, expected, target, memory)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("groups", [1, 2])
def test_causal_and_grouped_attention(causal: bool, groups: int) -> None:
    shapes = [(BATCH, HEADS, SOURCES, 4)] + [(BATCH, HEADS // groups, SOURCES, 4)] * 2
    pairs = [both(*shape, seed=i) for i, shape in enumerate(shapes)]
    query, key, value = (p[0] for p in pairs)
    query = query.reshape(BATCH, HEADS // groups, groups, SOURCES, 4)
    result = scaled_dot_product_attention(
        query, key.expand_dims(2), value.expand_dims(2), causal=causal
    )
    expected = torch.nn.functional.scaled_dot_product_attention(
        *(p[1] for p in pairs), is_causal=causal, enable_gqa=groups > 1
    )
    compare(result.reshape(BATCH, HEADS, SOURCES, 4), expected, *pairs)


@pytest.mark.parametrize("shape", [(4,), (2, 3)])
@pytest.mark.parametrize("padding_idx", [None, 1])
def test_embedding(shape: tuple[int, ...], padding_idx: int | None) -> None:
    model = Embedding(7, 5, dtype="float64", padding_idx=padding_idx, rng=0)
    reference = torch.nn.Embedding(7, 5, padding_idx=padding_idx, dtype=torch.float64)
    with torch.no_grad():
        reference.weight.copy_(torch.tensor(model.weights.data))
    tokens = np.random.default_rng(0).integers(0, 3, shape)
    expected = reference(torch.tensor(tokens))
    compare(model(Tensor(tokens)), expected, (model.weights, reference.weight))


PADDING = np.arange(SOURCES) < np.array([[4], [7]])


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("norm_first", [False, True])
def test_transformer(norm_first: bool, activation: str, masked: bool) -> None:
    """Encoder and decoder with all their layers; gradients of inputs and of every parameter."""
    reference = torch.nn.Transformer(
        WIDTH, HEADS, 2, 2, 24, 0.0, activation, batch_first=True, norm_first=norm_first
    ).double()
    model = Transformer(
        9,
        9,
        WIDTH,
        HEADS,
        2,
        24,
        dropout=0.0,
        activation=activation,
        norm_first=norm_first,
        final_norm=True,
        dtype="float64",
    )
    source_state = {name: value.numpy() for name, value in reference.state_dict().items()}
    model.load_state_dict({**model.state_dict(), **from_torch_transformer(source_state)})
    source, target = both(BATCH, SOURCES, WIDTH, seed=1), both(BATCH, TARGETS, WIDTH, seed=2)
    mask, options = None, {}
    if masked:
        mask = Tensor(PADDING[:, None])
        padding = torch.tensor(~PADDING)
        options = {
            "src_key_padding_mask": padding,
            "memory_key_padding_mask": padding,
            "tgt_mask": torch.tensor(~causal_mask(TARGETS).numpy()),
        }
    memory = model.encoder.run(source[0], mask)
    result = model.decoder.run(target[0], memory, memory_mask=mask, causal=masked)
    compare(result, reference(source[1], target[1], **options), source, target)
    gradients = {name: parameter.grad.numpy() for name, parameter in reference.named_parameters()}
    checked = 0
    for name, gradient in from_torch_transformer(gradients).items():
        if name != "__metadata__":
            parameter = dict(model.named_parameters())[name]
            np.testing.assert_allclose(parameter.grad.data, gradient, err_msg=name, **CLOSE)
            checked += 1
    assert checked == sum(p.has_grad for p in model.parameters)


@pytest.mark.parametrize("tie_weights", [False, True])
def test_logits(tie_weights: bool) -> None:
    """Scaled embeddings plus the sinusoidal encoding, and the output projection."""
    model = Transformer(
        11, 12, WIDTH, HEADS, 1, 24, dropout=0.0, tie_weights=tie_weights, dtype="float64", rng=0
    )
    source = np.random.default_rng(0).integers(0, 11, (BATCH, SOURCES))
    target = np.random.default_rng(1).integers(0, 12, (BATCH, TARGETS))
    tables = {
        side: torch.tensor(getattr(model, side).embedding.weights.data, requires_grad=True)
        for side in ("encoder", "decoder")
    }
    layers = {
        "encoder": torch.nn.TransformerEncoderLayer(WIDTH, HEADS, 24, 0.0, batch_first=True),
        "decoder": torch.nn.TransformerDecoderLayer(WIDTH, HEADS, 24, 0.0, batch_first=True),
    }
    for side, layer in layers.items():
        layer.double()
        with torch.no_grad():
            copy_layer(layer, getattr(model, side).layers[0])
    angles = np.arange(9)[:, None] / 10000 ** (np.arange(0, WIDTH, 2) / WIDTH)
    encoding = np.stack([np.sin(angles), np.cos(angles)], -1).reshape(9, WIDTH)

    def embed(side: str, tokens: np.ndarray):
        rows = torch.nn.functional.embedding(torch.tensor(tokens), tables[side])
        return rows * WIDTH**0.5 + torch.tensor(encoding[: tokens.shape[1]])

    memory = layers["encoder"](embed("encoder", source))
    causal = torch.tensor(~causal_mask(TARGETS).numpy())
    hidden = layers["decoder"](embed("decoder", target), memory, tgt_mask=causal)
    if tie_weights:
        expected = hidden @ tables["decoder"].T
    else:
        weights, bias = model.output.weights.data, model.output.bias.data
        expected = hidden @ torch.tensor(weights) + torch.tensor(bias)
    pairs = [(getattr(model, side).embedding.weights, table) for side, table in tables.items()]
    compare(model(Tensor(source), Tensor(target)), expected, *pairs)
