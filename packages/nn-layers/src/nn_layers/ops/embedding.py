"""The operations of an embedding: rows looked up, and gradients added to rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from nn_tensor import where
from nn_tensor.extend import add_at, kernel, op

__all__ = ["embedding_lookup", "embedding_scatter", "segment_sum", "take_rows"]

_FEW = 1 << 14  # elements, for which a compiled kernel saves less than its call costs

# The lookup of rows and the scatter-add into rows of zeros are each other's gradient.


@op
def embedding_lookup(xp: Any, weights: Any, tokens: Any, /, padding_idx: int | None = None) -> Any:
    """Return the row of `weights` for each token; the row `padding_idx` gets no gradient."""
    if tokens.size * weights.shape[-1] <= _FEW:
        return take_rows.reference(xp, weights, tokens)
    return take_rows(xp, weights, tokens)


@embedding_lookup.gradient("weights")
def _(g: Any, tokens: Any, weights_shape: tuple[int, ...], padding_idx: int | None) -> Any:
    if padding_idx is not None:
        g = where((tokens != padding_idx)[..., None], g, 0)
    return embedding_scatter(g, tokens, weights_shape[0])


@op
def embedding_scatter(xp: Any, g: Any, tokens: Any, /, vocab_size: int) -> Any:
    """Return `vocab_size` rows: for each token the sum of the rows of `g` at its places."""
    shape = *tokens.shape, g.shape[-1]
    rows = (g if g.shape == shape else xp.broadcast_to(g, shape)).reshape(tokens.size, shape[-1])
    return segment_sum(xp, xp.ascontiguousarray(rows), tokens.reshape(-1), vocab_size)


@kernel
def segment_sum(xp: Any, rows: Any, tokens: Any, count: int) -> Any:
    """Return `count` rows: for each token the sum of the rows at its places."""
    result = xp.zeros((count, rows.shape[-1]), dtype=rows.dtype)
    add_at(xp, result, tokens, rows)
    return result


segment_sum.cpu("segment_sum")


@kernel
def take_rows(xp: Any, weights: Any, tokens: Any) -> Any:
    """Return the row of a matrix for each token."""
    if xp is np and not weights.flags.c_contiguous and tokens.dtype.kind in "iu":
        return weights[tokens]  # `take` would copy all of the matrix
    return xp.take(weights, tokens, axis=0)


take_rows.cpu("take_rows")


@embedding_scatter.gradient("g")
def _(g: Any, tokens: Any) -> Any:
    return embedding_lookup(g, tokens)
