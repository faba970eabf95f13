"""Weights of GPT-2, as Hugging Face names them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from nn_transformer.pretrained.weight_map import (
    Match,
    Weight,
    WeightMap,
    embedding,
    linear,
    norm,
    prefixed,
)

__all__ = ["GPT2", "from_gpt2", "gpt2_settings"]

_LAYER = (
    *norm("ln_1.", "attention_norm."),
    *linear("attn.c_attn.", "attention.*.", "d_model", "d_model", transposed=False),
    *linear("attn.c_proj.", "attention.output.", "d_model", "d_model", transposed=False),
    *norm("ln_2.", "feed_forward_norm."),
    *linear("mlp.c_fc.", "feed_forward.hidden.", "d_model", "d_ff", transposed=False),
    *linear("mlp.c_proj.", "feed_forward.output.", "d_ff", "d_model", transposed=False),
)

GPT2 = WeightMap(
    (
        embedding("wte.", "embedding.", "vocab_size"),
        embedding("wpe.", "positions.", "max_seq_len"),
        *prefixed("h.{n}.", "layers.{n}.", _LAYER),
        *norm("ln_f.", "final_norm."),
        Weight(
            "lm_head.weight", "output.weights", ("d_model", "vocab_size"), True, frozenset({"head"})
        ),
    ),
    prefix="transformer.",
    buffers=r"h\.\d+\.attn\.(masked_)?bias",
)


def _has_tied_weights(match: Match) -> bool:
    arrays = {weight.source: array for weight, _, array in match.arrays}
    head = arrays.get("lm_head.weight")
    return head is None or np.array_equal(head, arrays["wte.weight"])


def from_gpt2(state: Mapping[str, Any], ignore: Iterable[str] = ()) -> dict[str, Any]:
    """Return the state dict of a `LanguageModel` from that of Hugging Face's GPT-2.

    (Radford et al., "Language Models are Unsupervised Multitask Learners", 2019.) Names may begin
    with ``transformer.``; the buffers ``attn.bias`` and ``attn.masked_bias`` of older files are
    left out. Hugging Face stores these matrices as ``(inputs, outputs)``, as a `Dense` does.
    ``lm_head.weight`` is left out if it equals ``wte.weight``, and otherwise becomes
    ``output.weights`` of a model without tied weights.

    Args:
        state: as for `from_torch_attention`.
        ignore: first components of names, after ``transformer.``, to leave out.

    Returns:
        New arrays of the same dtypes, for ``load_state_dict`` of a
        ``LanguageModel(**gpt2_settings(...))``.

    Raises:
        ValueError: if a name is unknown, one is missing or a shape does not fit; it lists all.
        TypeError: if `state` is not a mapping.

    >>> import numpy as np
    >>> from nn_transformer import LanguageModel, from_gpt2, gpt2_settings
    >>> shapes = {
    ...     "wte.weight": (30, 8), "wpe.weight": (16, 8),
    ...     "h.0.ln_1.weight": (8,), "h.0.ln_2.weight": (8,), "ln_f.weight": (8,),
    ...     "h.0.attn.c_attn.weight": (8, 24), "h.0.attn.c_proj.weight": (8, 8),
    ...     "h.0.mlp.c_fc.weight": (8, 32), "h.0.mlp.c_proj.weight": (32, 8),
    ... }
    >>> state = {name: np.ones(shape) for name, shape in shapes.items()}
    >>> model = LanguageModel(**gpt2_settings(state, num_heads=2))
    >>> model.load_state_dict(from_gpt2(state))
    >>> model.max_seq_len
    16
    """
    match = Match("from_gpt2", GPT2, state, ignore)
    result = match.state_dict()
    if _has_tied_weights(match):
        result.pop("output.weights", None)
    return result


def gpt2_settings(
    state: Mapping[str, Any], num_heads: int, ignore: Iterable[str] = ()
) -> dict[str, Any]:
    """Return the arguments of a `LanguageModel` that can load the GPT-2 weights in `state`.

    The sizes come from the shapes. ``activation`` (gelu_tanh), ``norm_epsilon`` (1e-5) and the rest
    are those of GPT-2: if the file's ``config.json`` differs, give its values instead.

    Args:
        state: as for `from_gpt2`.
        num_heads: the number of attention heads, which shapes do not determine; 12 in GPT-2 small.
        ignore: as for `from_gpt2`.

    Raises:
        ValueError: as `from_gpt2`.

    See `from_gpt2` for an example.
    """
    match = Match("gpt2_settings", GPT2, state, ignore)
    return {
        **match.options(num_heads),
        "norm_first": True,
        "norm_epsilon": 1e-5,
        "positions": "learned",
        "activation": "gelu_tanh",
        "tie_weights": _has_tied_weights(match),
    }
