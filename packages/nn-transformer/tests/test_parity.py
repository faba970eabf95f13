"""The same numbers as PyTorch, forward and backward."""

import numpy as np
import pytest
from nn_tensor import Tensor
from nn_transformer import (
    DecoderLayer,
    EncoderLayer,
    MultiHeadAttention,
    causal_mask,
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
    copy_linear(theirs.linear1, ours.feed_forward[0])
    copy_linear(theirs.linear2, ours.feed_forward[3])
    norms = [theirs.norm1, theirs.norm2, getattr(theirs, "norm3", None)]
    for norm, mine in zip(norms, ours.norms, strict=False):
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
    ours = DecoderLayer(WIDTH, HEADS, 24, 0.0, norm_first=norm_first, dtype="float64")
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
