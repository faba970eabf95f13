"""The names of other libraries' arrays; docs/weights.md shows the same tables."""

from __future__ import annotations

from collections.abc import Iterable

from nn_transformer._foreign import Row, Table

__all__ = ["BERT", "GPT2", "TORCH_ATTENTION", "torch_table"]

_D, _FF = "d_model", "d_ff"


def _linear(source: str, target: str, *shape: str, turned: bool = True) -> tuple[Row, ...]:
    """Return the rows of ``torch.nn.Linear``; not `turned`, of Hugging Face's ``Conv1D``."""
    return (
        Row(f"{source}.weight", f"{target}.weights", shape, turned),
        Row(f"{source}.bias", f"{target}.bias", shape[1:]),
    )


def _norm(source: str, target: str) -> tuple[Row, ...]:
    return (
        Row(f"{source}.weight", f"{target}.weights", (_D,)),
        Row(f"{source}.bias", f"{target}.bias", (_D,)),
    )


def _below(
    rows: Iterable[Row], source: str, target: str, needs: tuple[str, ...] = ()
) -> tuple[Row, ...]:
    return tuple(row.below(source, target, needs) for row in rows)


_ATTENTION = (
    Row("in_proj_weight", "*.weights", (_D, _D), turned=True),
    Row("in_proj_bias", "*.bias", (_D,)),
    *_linear("out_proj", "output", _D, _D),
)
_FEED_FORWARD = (
    *_linear("linear1", "feed_forward.0", _D, _FF),
    *_linear("linear2", "feed_forward.3", _FF, _D),
)
_ENCODER_LAYER = (
    *_below(_ATTENTION, "self_attn.", "attention."),
    *_FEED_FORWARD,
    *_norm("norm1", "norms.0"),
    *_norm("norm2", "norms.1"),
)
_DECODER_LAYER = (
    *_below(_ATTENTION, "self_attn.", "attention."),
    *_below(_ATTENTION, "multihead_attn.", "cross_attention."),
    *_FEED_FORWARD,
    *_norm("norm1", "norms.0"),
    *_norm("norm2", "norms.1"),
    *_norm("norm3", "norms.2"),
)

_OTHER_WIDTHS = "MultiHeadAttention has no kdim and vdim other than d_model"
_REFUSED = {
    "q_proj_weight": _OTHER_WIDTHS,
    "k_proj_weight": _OTHER_WIDTHS,
    "v_proj_weight": _OTHER_WIDTHS,
    "bias_k": "MultiHeadAttention has no add_bias_kv",
    "bias_v": "MultiHeadAttention has no add_bias_kv",
}

TORCH_ATTENTION = Table(_ATTENTION, refused=_REFUSED)


def torch_table(names: Iterable[str]) -> Table:
    """Return the table of the one of PyTorch's transformer modules that has these names."""
    names = [name for name in names if isinstance(name, str)]
    parts = [part for part in ("encoder.", "decoder.") if any(n.startswith(part) for n in names)]
    rows: tuple[Row, ...] = ()
    for part in parts or [""]:
        own = [name.removeprefix(part) for name in names if name.startswith(part)]
        decoder = part == "decoder." or any(".multihead_attn." in f".{name}" for name in own)
        layer = _DECODER_LAYER if decoder and part != "encoder." else _ENCODER_LAYER
        if part or any(name.startswith("layers.") for name in own):
            stack = _below(layer, "layers.{n}.", "layers.{n}.")
            stack += _below(_norm("norm", "norm"), "", "", (f"{part}norm",))
            rows += _below(stack, part, part)
        else:
            rows += layer
    return Table(rows, refused=_REFUSED)


BERT = Table(
    (
        Row("embeddings.word_embeddings.weight", "embedding.weights", ("vocab_size", _D)),
        Row("embeddings.position_embeddings.weight", "positions.weights", ("max_seq_len", _D)),
        Row("embeddings.token_type_embeddings.weight", "segments.weights", ("num_segments", _D)),
        *_norm("embeddings.LayerNorm", "embedding_norm"),
        *_below(
            (
                *_linear("attention.self.query", "attention.query", _D, _D),
                *_linear("attention.self.key", "attention.key", _D, _D),
                *_linear("attention.self.value", "attention.value", _D, _D),
                *_linear("attention.output.dense", "attention.output", _D, _D),
                *_norm("attention.output.LayerNorm", "norms.0"),
                *_linear("intermediate.dense", "feed_forward.0", _D, _FF),
                *_linear("output.dense", "feed_forward.3", _FF, _D),
                *_norm("output.LayerNorm", "norms.1"),
            ),
            "encoder.layer.{n}.",
            "layers.{n}.",
        ),
    ),
    prefix="bert.",
    spellings={"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"},
    dropped=frozenset({"embeddings.position_ids", "embeddings.token_type_ids"}),
)

GPT2 = Table(
    (
        Row("wte.weight", "embedding.weights", ("vocab_size", _D)),
        Row("wpe.weight", "positions.weights", ("max_seq_len", _D)),
        *_below(
            (
                *_norm("ln_1", "norms.0"),
                *_linear("attn.c_attn", "attention.*", _D, _D, turned=False),
                *_linear("attn.c_proj", "attention.output", _D, _D, turned=False),
                *_norm("ln_2", "norms.1"),
                *_linear("mlp.c_fc", "feed_forward.0", _D, _FF, turned=False),
                *_linear("mlp.c_proj", "feed_forward.3", _FF, _D, turned=False),
            ),
            "h.{n}.",
            "layers.{n}.",
        ),
        *_norm("ln_f", "norm"),
        Row("lm_head.weight", "output.weights", (_D, "vocab_size"), True, ("lm_head",)),
    ),
    prefix="transformer.",
    dropped=frozenset({"h.{n}.attn.bias", "h.{n}.attn.masked_bias"}),
)
