"""Options are given by name, known to every constructor, and passed on by name."""

import dataclasses
import inspect
from typing import Any, get_type_hints

import numpy as np
import pytest
from nn_transformer import (
    Decoder,
    DecoderLayer,
    Embedding,
    Encoder,
    EncoderLayer,
    LanguageModel,
    LayerOptions,
    LearnedPositions,
    MultiHeadAttention,
    PositionalEncoding,
    RotaryPositions,
    StackOptions,
    Transformer,
)
from nn_transformer.modules.transformer_layer import LayerConfig
from nn_transformer.modules.transformer_stack import TransformerStack

# Every option with a value that is not its default.
OPTIONS: StackOptions = {
    "dropout": 0.25,
    "activation": "gelu_tanh",
    "norm_first": True,
    "num_kv_heads": 2,
    "bias": False,
    "norm_epsilon": 1e-3,
    "device": "cpu",
    "dtype": "float64",
    "rng": 3,
    "max_seq_len": 11,
    "padding_idx": 1,
    "positions": "rotary",
    "final_norm": False,
    "embedding_norm": True,
}
LAYER_OPTIONS: Any = {key: OPTIONS[key] for key in get_type_hints(LayerOptions)}  # type: ignore[literal-required]
STACKS: dict[str, Any] = {
    "Encoder": lambda *args, **options: Encoder(9, *args, **options),
    "Decoder": lambda *args, **options: Decoder(9, *args, **options),
    "LanguageModel": lambda *args, **options: LanguageModel(9, *args, **options),
    "Transformer": lambda *args, **options: Transformer(9, 9, *args, **options),
}


def test_options_are_those_of_the_layers() -> None:
    defaults = {f.name for f in dataclasses.fields(LayerConfig)} - {"d_model", "num_heads", "d_ff"}
    assert set(get_type_hints(LayerOptions)) == defaults
    own = inspect.signature(TransformerStack).parameters.values()
    named = {p.name for p in own if p.kind is p.KEYWORD_ONLY}
    assert set(get_type_hints(StackOptions)) == named | defaults == set(OPTIONS)


def check_layer(layer: Any) -> None:
    assert layer.norm_first
    assert layer.attention.num_kv_heads == 2
    assert layer.attention.query.bias is None
    assert layer.attention.query.dtype == np.float64
    assert layer.attention_norm.epsilon == layer.feed_forward_norm.epsilon == 1e-3
    assert layer.feed_forward.activation.approximate == "tanh"
    assert layer.feed_forward.hidden.output_size == 24
    drops = (layer.dropout, layer.attention.dropout, layer.feed_forward.dropout)
    assert {drop.p for drop in drops} == {0.25}
    assert len({id(drop.rng) for drop in drops}) == 1


@pytest.mark.parametrize("kind", [EncoderLayer, DecoderLayer])
def test_layers_use_every_option(kind: Any) -> None:
    check_layer(kind(16, 4, 24, **LAYER_OPTIONS))


@pytest.mark.parametrize("name", STACKS)
def test_models_pass_every_option_on(name: str) -> None:
    model = STACKS[name](16, 4, 3, 24, **OPTIONS)
    for stack in (model.encoder, model.decoder) if name == "Transformer" else (model,):
        assert (stack.d_model, stack.max_seq_len, stack.padding_idx) == (16, 11, 1)
        assert isinstance(stack.positions, RotaryPositions)
        assert stack.final_norm is None
        assert stack.embedding_norm.epsilon == 1e-3
        assert stack.dropout.p == 0.25
        assert {tensor.dtype for tensor in stack.parameters} == {np.dtype("float64")}
        assert len(stack.layers) == 3
        for layer in stack.layers:
            check_layer(layer)
            assert layer.dropout.rng is stack.dropout.rng


@pytest.mark.parametrize("name", STACKS)
def test_options_by_position_are_refused(name: str) -> None:
    with pytest.raises(TypeError, match=rf"{name} takes \d positional .*: give dropout=0.1 by"):
        STACKS[name](16, 4, 2, 32, 0.1)
    with pytest.raises(TypeError, match=f"{name} has no option 'drop_out', did you mean 'dropout'"):
        STACKS[name](16, 4, drop_out=0.1)
    with pytest.raises(TypeError, match=f"{name} has no option 'number_of_bees'"):
        STACKS[name](16, 4, number_of_bees=2)


@pytest.mark.parametrize(
    ("call", "option"),
    [
        (lambda: EncoderLayer(16, 4, 32, 0.1), "dropout=0.1"),
        (lambda: DecoderLayer(16, 4, 32, 0.1, "gelu"), "dropout=0.1, activation='gelu'"),
        (lambda: MultiHeadAttention(16, 4, 0.1), "dropout=0.1"),
        (lambda: Embedding(9, 4, "cpu"), "device='cpu'"),
        (lambda: PositionalEncoding(4, 9, 0.1), "dropout=0.1"),
        (lambda: LearnedPositions(4, 9, 0.1), "dropout=0.1"),
        (lambda: RotaryPositions(4, 9, 500.0), "base=500.0"),
    ],
)
def test_modules_name_the_option_that_was_meant(call: Any, option: str) -> None:
    with pytest.raises(TypeError, match=f"give {option} by name"):
        call()
