"""Rows of half precision: long sequences and large batches, whose sums float16 cannot hold."""

from __future__ import annotations

import dataclasses
from typing import Any

import nn_transformer as nt
import numpy as np
from nn_tensor.testing import MANY, LayerCase, OpCase, ops_of
from nn_transformer.modules.blockwise_attention import AttentionOptions

__all__ = ["HALF"]

Shape = tuple[int, ...]

_OPS = ops_of("nn_transformer")

# Sums of so many are beyond 2048, where adding ones in float16 stops.
SOME = 4099

# Scores are rounded before their exponentials are taken, and a layer is a chain of such steps.
_BOUND, _CHAIN = 1e-2, 3e-2


def _normal(*shapes: Shape) -> list[tuple[str, Shape]]:
    return [("normal", shape) for shape in shapes]


_ATTENTION: dict[str, tuple[Shape, Shape, Shape]] = {
    "keys": ((1, 2, 4), (1, SOME, 4), (1, SOME, 2)),
    "queries": ((1, SOME, 4), (1, 2, 4), (1, 2, 2)),
    "batch": ((SOME, 2, 2), (SOME, 2, 2), (SOME, 2, 2)),
    "features": ((1, 2, SOME), (1, 2, SOME), (1, 2, SOME)),
}

ATTENTION = [
    OpCase(
        nt.scaled_dot_product_attention,
        None,
        _normal(*shapes),
        label,
        arrays_give_arrays=False,
        half_bound=_BOUND,
    )
    for label, shapes in {
        **_ATTENTION,
        "keys of all": ((SOME, 2, 4), (2, 4), (2, 3)),  # whose gradients add up over the batch
    }.items()
]
ATTENTION += [
    OpCase(
        nt.scaled_dot_product_attention,
        None,
        [*_normal((2, 2, 4), (2, SOME, 4), (2, SOME, 2)), mask],
        label,
        arrays_give_arrays=False,
        half_bound=_BOUND,
    )
    for label, mask in {
        "boolean mask": np.arange(SOME) % 2 == 0,
        "floating mask": ("normal", (2, 2, SOME)),
        "floating mask of keys": ("normal", (SOME,)),
    }.items()
]

OPS = [
    *(
        OpCase(
            lambda q, k, v, causal=causal: _OPS["attention"](
                q, k, v, True, AttentionOptions(0.5, causal, 0.0, 0, True)
            ),
            None,
            _normal(*shapes),
            f"{label} {'causal' if causal else ''}".strip(),
            name="attention",
            half_bound=_BOUND,
        )
        for label, shapes in _ATTENTION.items()
        for causal in (False, True)
        if label != "features"  # whose scores would need another scale
    ),
    OpCase(
        _OPS["rotate_pairs"],
        None,
        _normal((2, SOME, 2, 4), (SOME, 1, 2), (SOME, 1, 2)),
        "many",
        wrt=[0],
    ),
]


def _layer(module: Any, label: str, inputs: list[Any], **options: Any) -> LayerCase:
    row = LayerCase(module, None, inputs, label, options, half_bound=_CHAIN)
    # softmax does not change when all scores do, so the gradient of a bias of keys is 0, and what
    # float16 leaves of it has no relation to its size
    names = [*("" for _ in inputs), *(name for name, _ in row.layer.named_parameters())]
    places = [i for i, name in enumerate(names) if not name.endswith("key.bias")]
    floating = [i for i, x in enumerate(row.draw()) if x.dtype.kind == "f"]
    return dataclasses.replace(row, wrt=[i for i in places if i in floating])


def _tokens(*shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).integers(0, 5, shape)


# so many features that none has a variance near 0, by which a layer norm divides
_SIZES: dict[str, Any] = {"d_model": 16, "num_heads": 2, "rng": 0}
_LAYER: dict[str, Any] = {**_SIZES, "d_ff": 8, "dropout": 0.0, "activation": "gelu"}
_STACK: dict[str, Any] = {**_LAYER, "num_layers": 1, "dtype": "float64"}

PARTS = [
    *(
        _layer(nt.Embedding, label, [tokens], vocab_size=5, d_model=2)
        for label, tokens in {"one token": np.zeros(MANY // 2, int), "": _tokens(2, SOME)}.items()
    ),
    _layer(nt.PositionalEncoding, "", _normal((2, SOME, 4)), d_model=4, max_seq_len=SOME),
    _layer(nt.LearnedPositions, "batch", _normal((SOME, 2, 4)), d_model=4, max_seq_len=2),
    _layer(nt.LearnedPositions, "time", _normal((2, SOME, 4)), d_model=4, max_seq_len=SOME),
    _layer(nt.RotaryPositions, "", _normal((2, SOME, 2, 4)), d_head=4, max_seq_len=SOME),
    _layer(nt.MultiHeadAttention, "time", _normal(*[(1, 1100, 16)] * 3), **_SIZES),
    _layer(nt.MultiHeadAttention, "batch", _normal(*[(SOME, 2, 16)] * 3), **_SIZES),
    _layer(
        nt.MultiHeadAttention,
        "grouped queries",
        _normal((SOME, 2, 16), (SOME, 3, 16), (SOME, 3, 16)),
        num_kv_heads=1,
        **_SIZES,
    ),
    _layer(nt.EncoderLayer, "batch", _normal((SOME, 2, 16)), **_LAYER),
    _layer(nt.EncoderLayer, "norm first", _normal((SOME, 2, 16)), norm_first=True, **_LAYER),
    _layer(nt.DecoderLayer, "batch", _normal((SOME, 2, 16), (SOME, 3, 16)), **_LAYER),
]

MODELS = [
    _layer(nt.Encoder, "batch", [_tokens(SOME, 2)], vocab_size=5, max_seq_len=2, **_STACK),
    _layer(
        nt.Decoder,
        "batch",
        [_tokens(SOME, 2), ("normal", (SOME, 2, 16))],
        vocab_size=5,
        max_seq_len=2,
        **_STACK,
    ),
    _layer(nt.LanguageModel, "batch", [_tokens(SOME, 2)], vocab_size=5, max_seq_len=2, **_STACK),
    _layer(
        nt.Transformer,
        "batch",
        [_tokens(SOME, 2), _tokens(SOME, 2)],
        src_vocab_size=5,
        tgt_vocab_size=6,
        max_seq_len=2,
        **_STACK,
    ),
]

HALF = [*ATTENTION, *OPS, *PARTS, *MODELS]
