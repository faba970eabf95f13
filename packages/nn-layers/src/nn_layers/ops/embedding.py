"""The operations of an embedding: rows looked up, and gradients added to rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from nn_tensor import where
from nn_tensor.extend import add_at, kernel, op

__all__ = ["embedding_lookup", "embedding_scatter", "scatter_add_rows", "take_rows"]

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
    result = xp.zeros((vocab_size, g.shape[-1]), dtype=g.dtype)
    shape = *tokens.shape, g.shape[-1]
    rows = (g if g.shape == shape else xp.broadcast_to(g, shape)).reshape(tokens.size, shape[-1])
    scatter_add_rows(xp, result, tokens.reshape(-1), xp.ascontiguousarray(rows))
    return result


@kernel
def scatter_add_rows(xp: Any, target: Any, tokens: Any, rows: Any) -> None:
    """Add each row to the row of `target` that its token indexes."""
    add_at(xp, target, tokens, rows)


scatter_add_rows.cpu("scatter_add_rows")


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
