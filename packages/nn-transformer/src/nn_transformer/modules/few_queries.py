"""The attention of few queries without gradients, as when a token is generated with a KV cache."""

from __future__ import annotations

from typing import Any

from nn_tensor.extend import kernel

from nn_transformer.modules.blockwise_attention import AttentionOptions, forward

__all__ = ["attend_few_queries", "has_few_queries"]

Array = Any

_FEW = 8  # for which a compiled kernel is faster than matrix products


def has_few_queries(query: Array, mask: Any, options: AttentionOptions) -> bool:
    """Return whether `attend_few_queries` computes the attention; one query is never causal."""
    targets = query.shape[-2]
    if targets != 1 and (targets > _FEW or options.causal):
        return False
    added = mask is not True and mask.dtype.kind == "f"
    return not (options.needs_backward or options.dropout or added)


@kernel
def attend_few_queries(
    xp: Any, query: Array, key: Array, value: Array, mask: Any, scale: float
) -> Array:
    """Return the attention of each query to all keys; `mask` is an array, or True."""
    options = AttentionOptions(scale, False, 0.0, 0, False)
    return forward.reference(xp, query, key, value, mask, options)[0]


attend_few_queries.cpu("attend_few_queries")
