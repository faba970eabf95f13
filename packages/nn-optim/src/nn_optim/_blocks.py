"""How the reference rules walk through memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

__all__ = ["LENGTH", "blocks", "flat"]

Array = Any

# A rule makes some ten passes over its arrays. Piece by piece, all but the first find their data
# in the cache: five arrays of so many float32 take 640 KiB.
LENGTH = 32768


def flat(*arrays: Array) -> list[Array]:
    """Return each array as one row: a view, if it is C-contiguous."""
    return [array.reshape(-1) for array in arrays]


def blocks(xp: Any, *arrays: Array) -> Iterator[tuple[Array, ...]]:
    """Yield rows of equal length piece by piece, with two workspaces after the pieces."""
    size = arrays[0].size
    first, second = xp.empty((2, min(size, LENGTH)), arrays[0].dtype)
    for start in range(0, size, LENGTH):
        stop = min(start + LENGTH, size)
        pieces = [array[start:stop] for array in arrays]
        yield *pieces, first[: stop - start], second[: stop - start]
