"""The same numbers as PyTorch, forward and backward."""

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


def copy_linear(theirs, ours) -> None:
    theirs.weight.copy_(torch.tensor(ours.weights.data.T))
    theirs.bias.copy_(torch.tensor(ours.bias.data))


def copy_attention(theirs, ours) -> None:
    projections = (ours.query, ours.key, ours.value)
    stacked = np.concatenate([p.weights.data.T for p in projections])
    theirs.in_proj_weight.copy_(torch.tensor(stacked))
    theirs.in_proj_bias.copy_(torch.tensor(np.concatenate([p.bias.data for p in projections])))
    copy_linear(theirs.out_proj, ours.output)


def copy_layer(theirs, ours) -> None:
    copy_attention(theirs.self_attn, ours.attention)
    if isinstance(ours, DecoderLayer):
        copy_attention(theirs.multihead_attn, ours.cross_attention)
    copy_linear(theirs.linear1, ours.feed_forward.hidden)
    copy_linear(theirs.linear2, ours.feed_forward.output)
    norms = [theirs.norm1, theirs.norm2, getattr(theirs, "norm3", None)]
    names = ["attention_norm", "feed_forward_norm"]
    if isinstance(ours, DecoderLayer):
        names.insert(1, "cross_attention_norm")
    for norm, mine in zip(norms, [getattr(ours, name) for name in names], strict=False):
        for theirs_parameter, parameter in zip(norm.parameters(), mine.parameters, strict=True):
            theirs_parameter.copy_(torch.tensor(parameter.data))


def compare(ours, theirs, *pairs) -> None:
    np.testing.assert_allclose(ours.data, theirs.detach().numpy(), **CLOSE)
    gradient = values(*ours.shape, seed=9)
    ours.backward(gradient)
    theirs.backward(torch.tensor(gradient))
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
    ours = scaled_dot_product_attention(*(p[0] for p in pairs), mask=mask)
    theirs = torch.nn.functional.scaled_dot_product_attention(
        *(p[1] for p in pairs), attn_mask=None if mask is None else torch.tensor(mask)
    )
    compare(ours, theirs, *pairs)


@pytest.mark.parametrize("kind", list(MASKS))
def test_multi_head_attention(kind: str) -> None:
    ours = MultiHeadAttention(WIDTH, HEADS, dtype=np.float64)
    theirs = torch.nn.MultiheadAttention(WIDTH, HEADS, batch_first=True, dtype=torch.float64)
    randomize(ours)
    with torch.no_grad():
        copy_attention(theirs, ours)
    query, memory = both(BATCH, TARGETS, WIDTH, seed=1), both(BATCH, SOURCES, WIDTH, seed=2)
    mask, options = MASKS[kind], {}
    if kind == "boolean":
        options = {"key_padding_mask": torch.tensor(~mask[:, 0])}
    elif kind == "floating":
        options = {"attn_mask": torch.tensor(mask)}
    result = ours(query[0], memory[0], memory[0], mask)
    expected, _ = theirs(query[1], memory[1], memory[1], need_weights=False, **options)
    compare(result, expected, query, memory)
    weights = theirs.in_proj_weight.grad.numpy()[WIDTH : 2 * WIDTH].T
    np.testing.assert_allclose(ours.key.weights.grad.data, weights, **CLOSE)


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_encoder_layer(norm_first: bool, activation: str) -> None:
    ours = EncoderLayer(
        WIDTH, HEADS, 24, dropout=0.0, activation=activation, norm_first=norm_first, dtype="float64"
    )
    theirs = torch.nn.TransformerEncoderLayer(
        WIDTH, HEADS, 24, 0.0, activation, batch_first=True, norm_first=norm_first
    ).double()
    randomize(ours)
    with torch.no_grad():
        copy_layer(theirs, ours)
    pair = both(BATCH, SOURCES, WIDTH, seed=4)
    mask = MASKS["boolean"]
    expected = theirs(pair[1], src_key_padding_mask=torch.tensor(~mask[:, 0]))
    compare(ours(pair[0], mask), expected, pair)


@pytest.mark.parametrize("norm_first", [False, True])
def test_decoder_layer(norm_first: bool) -> None:
    ours = DecoderLayer(WIDTH, HEADS, 24, dropout=0.0, norm_first=norm_first, dtype="float64")
    theirs = torch.nn.TransformerDecoderLayer(
        WIDTH, HEADS, 24, 0.0, batch_first=True, norm_first=norm_first
    ).double()
    randomize(ours)
    with torch.no_grad():
        copy_layer(theirs, ours)
    target, memory = both(BATCH, TARGETS, WIDTH, seed=5), both(BATCH, SOURCES, WIDTH, seed=6)
    memory_mask = MASKS["boolean"]
    expected = theirs(
        target[1],
        memory[1],
        tgt_mask=torch.tensor(~causal_mask(TARGETS).numpy()),
        memory_key_padding_mask=torch.tensor(~memory_mask[:, 0]),
    )
    result = ours(target[0], memory[0], causal_mask(TARGETS), memory_mask)
    compare(result, expected, target, memory)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("groups", [1, 2])
def test_causal_and_grouped_attention(causal: bool, groups: int) -> None:
    shapes = [(BATCH, HEADS, SOURCES, 4)] + [(BATCH, HEADS // groups, SOURCES, 4)] * 2
    pairs = [both(*shape, seed=i) for i, shape in enumerate(shapes)]
    query, key, value = (p[0] for p in pairs)
    query = query.reshape(BATCH, HEADS // groups, groups, SOURCES, 4)
    ours = scaled_dot_product_attention(
        query, key.expand_dims(2), value.expand_dims(2), causal=causal
    )
    theirs = torch.nn.functional.scaled_dot_product_attention(
        *(p[1] for p in pairs), is_causal=causal, enable_gqa=groups > 1
    )
    compare(ours.reshape(BATCH, HEADS, SOURCES, 4), theirs, *pairs)


@pytest.mark.parametrize("shape", [(4,), (2, 3)])
@pytest.mark.parametrize("padding_idx", [None, 1])
def test_embedding(shape: tuple[int, ...], padding_idx: int | None) -> None:
    ours = Embedding(7, 5, dtype="float64", padding_idx=padding_idx, rng=0)
    theirs = torch.nn.Embedding(7, 5, padding_idx=padding_idx, dtype=torch.float64)
    with torch.no_grad():
        theirs.weight.copy_(torch.tensor(ours.weights.data))
    tokens = np.random.default_rng(0).integers(0, 3, shape)
    expected = theirs(torch.tensor(tokens))
    compare(ours(Tensor(tokens)), expected, (ours.weights, theirs.weight))


PADDING = np.arange(SOURCES) < np.array([[4], [7]])


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("norm_first", [False, True])
def test_a_whole_transformer(norm_first: bool, activation: str, masked: bool) -> None:
    """Encoder and decoder with all their layers; gradients of inputs and of every parameter."""
    theirs = torch.nn.Transformer(
        WIDTH, HEADS, 2, 2, 24, 0.0, activation, batch_first=True, norm_first=norm_first
    ).double()
    ours = Transformer(
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
    foreign = {name: value.numpy() for name, value in theirs.state_dict().items()}
    ours.load_state_dict({**ours.state_dict(), **from_torch_transformer(foreign)})
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
    memory = ours.encoder.run(source[0], mask)
    result = ours.decoder.run(target[0], memory, memory_mask=mask, causal=masked)
    compare(result, theirs(source[1], target[1], **options), source, target)
    gradients = {name: parameter.grad.numpy() for name, parameter in theirs.named_parameters()}
    checked = 0
    for name, gradient in from_torch_transformer(gradients).items():
        if name != "__metadata__":
            parameter = dict(ours.named_parameters())[name]
            np.testing.assert_allclose(parameter.grad.data, gradient, err_msg=name, **CLOSE)
            checked += 1
    assert checked == sum(p.has_grad for p in ours.parameters)


@pytest.mark.parametrize("tie_weights", [False, True])
def test_from_tokens_to_scores(tie_weights: bool) -> None:
    """Embeddings times the root of the width, plus waves, and the scores at the end."""
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
    waves = np.stack([np.sin(angles), np.cos(angles)], -1).reshape(9, WIDTH)

    def embed(side: str, tokens: np.ndarray):
        rows = torch.nn.functional.embedding(torch.tensor(tokens), tables[side])
        return rows * WIDTH**0.5 + torch.tensor(waves[: tokens.shape[1]])

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
