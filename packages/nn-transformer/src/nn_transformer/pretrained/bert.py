"""Weights of BERT, as Hugging Face names them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from nn_transformer.pretrained.weight_map import Match, WeightMap, embedding, linear, norm, prefixed

__all__ = ["BERT", "bert_settings", "from_bert"]

_LAYER = (
    *linear("attention.self.query.", "attention.query.", "d_model", "d_model"),
    *linear("attention.self.key.", "attention.key.", "d_model", "d_model"),
    *linear("attention.self.value.", "attention.value.", "d_model", "d_model"),
    *linear("attention.output.dense.", "attention.output.", "d_model", "d_model"),
    *norm("attention.output.LayerNorm.", "attention_norm."),
    *linear("intermediate.dense.", "feed_forward.hidden.", "d_model", "d_ff"),
    *linear("output.dense.", "feed_forward.output.", "d_ff", "d_model"),
    *norm("output.LayerNorm.", "feed_forward_norm."),
)

BERT = WeightMap(
    (
        embedding("embeddings.word_embeddings.", "embedding.", "vocab_size"),
        embedding("embeddings.position_embeddings.", "positions.", "max_seq_len"),
        embedding("embeddings.token_type_embeddings.", "segment_embedding.", "num_segments"),
        *norm("embeddings.LayerNorm.", "embedding_norm."),
        *prefixed("encoder.layer.{n}.", "layers.{n}.", _LAYER),
    ),
    prefix="bert.",
    aliases={"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"},
    buffers=r"embeddings\.(position|token_type)_ids",
)

_HEADS = ("pooler", "cls")


def from_bert(state: Mapping[str, Any], ignore: Iterable[str] = _HEADS) -> dict[str, Any]:
    """Return the state dict of an `Encoder` from that of Hugging Face's BERT.

    (Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers for Language
    Understanding", 2019.) Names may begin with ``bert.``; norms may have the older ``gamma`` and
    ``beta``; the buffer ``position_ids`` is left out. Matrices are transposed to ``(inputs,
    outputs)``.

    Args:
        state: as for `from_torch_attention`.
        ignore: first components of names, after ``bert.``, to leave out, since an `Encoder` has no
            counterpart: by default the pooler and the pre-training heads. With ``ignore=()`` such
            names raise.

    Returns:
        New arrays of the same dtypes, for ``load_state_dict`` of an
        ``Encoder(**bert_settings(...))``.

    Raises:
        ValueError: if a name is unknown, one is missing or a shape does not fit; it lists all.
        TypeError: if `state` is not a mapping.

    >>> import numpy as np
    >>> from nn_transformer import Encoder, bert_settings, from_bert
    >>> shapes = {
    ...     "embeddings.word_embeddings.weight": (30, 8),
    ...     "embeddings.position_embeddings.weight": (16, 8),
    ...     "embeddings.token_type_embeddings.weight": (2, 8),
    ...     "embeddings.LayerNorm.weight": (8,),
    ...     "encoder.layer.0.attention.self.query.weight": (8, 8),
    ...     "encoder.layer.0.attention.self.key.weight": (8, 8),
    ...     "encoder.layer.0.attention.self.value.weight": (8, 8),
    ...     "encoder.layer.0.attention.output.dense.weight": (8, 8),
    ...     "encoder.layer.0.attention.output.LayerNorm.weight": (8,),
    ...     "encoder.layer.0.intermediate.dense.weight": (32, 8),
    ...     "encoder.layer.0.output.dense.weight": (8, 32),
    ...     "encoder.layer.0.output.LayerNorm.weight": (8,),
    ... }
    >>> state = {name: np.ones(shape) for name, shape in shapes.items()}
    >>> encoder = Encoder(**bert_settings(state, num_heads=2))
    >>> encoder.load_state_dict(from_bert(state))
    >>> encoder.max_seq_len
    16
    """
    return Match("from_bert", BERT, state, ignore).state_dict()


def bert_settings(
    state: Mapping[str, Any], num_heads: int, ignore: Iterable[str] = _HEADS
) -> dict[str, Any]:
    """Return the arguments of an `Encoder` that can load the BERT weights in `state`.

    The sizes come from the shapes. ``activation`` (gelu), ``norm_epsilon`` (1e-12) and the rest are
    those of BERT: if the file's ``config.json`` differs, give its values instead.

    Args:
        state: as for `from_bert`.
        num_heads: the number of attention heads, which shapes do not determine; 12 in BERT base.
        ignore: as for `from_bert`.

    Raises:
        ValueError: as `from_bert`.

    See `from_bert` for an example.
    """
    return {
        **Match("bert_settings", BERT, state, ignore).options(num_heads),
        "embedding_norm": True,
        "norm_first": False,
        "norm_epsilon": 1e-12,
        "positions": "learned",
        "activation": "gelu",
    }
