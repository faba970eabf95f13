"""Rows of a matrix taken and put: how batches of sequences are packed and unpacked."""

from __future__ import annotations

from typing import Any

from nn_tensor.extend import op

__all__ = ["put_rows", "take_rows"]


@op
def take_rows(xp: Any, x: Any, index: Any, /) -> Any:
    """Return the rows of a matrix at an index that names each row at most once."""
    return xp.take(x, index, axis=0)


@take_rows.gradient("x")
def _(g: Any, index: Any, x_shape: tuple[int, ...]) -> Any:
    return put_rows(g, index, x_shape[0])


@op
def put_rows(xp: Any, x: Any, index: Any, /, count: int) -> Any:
    """Return `count` rows: those of `x` at an index that names each row at most once, else 0."""
    allocate = xp.empty if len(index) == count else xp.zeros
    result = allocate((count, x.shape[1]), x.dtype)
    result[index] = x
    return result


@put_rows.gradient("x")
def _(g: Any, index: Any) -> Any:
    return take_rows(g, index)
