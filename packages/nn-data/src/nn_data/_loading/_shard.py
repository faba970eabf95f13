"""Which of the batches of an epoch a rank has: every `size`-th, from its own number on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from nn_data._checks import check_choice, check_integer

__all__ = ["Shard", "with_weight"]


class Shard(NamedTuple):
    """One of several ranks that share the batches of an epoch.

    In each step the ranks have `size` consecutive batches of what a single rank would have, one
    each: so ranks change no batch.
    """

    rank: int = 0
    size: int = 1
    uneven: str = "drop"

    @classmethod
    def checked(cls, shard: Any, uneven: Any) -> Shard:
        """Return the shard that the arguments of a loader mean.

        Raises:
            TypeError: for a shard that is not a pair of integers.
            ValueError: for a rank beyond the size, or without a choice of `uneven`.
        """
        if shard is None:
            if uneven is not None:
                raise ValueError(f"uneven={uneven!r} needs shard=(rank, size)")
            return cls()
        if not isinstance(shard, (tuple, list)) or len(shard) != 2:
            raise TypeError(f"shard: expected (rank, size), got {shard!r}")
        size = check_integer("shard: size", shard[1], minimum=1)
        rank = check_integer("shard: rank", shard[0], 0, size - 1)
        if uneven is None:
            raise ValueError(
                "shard needs uneven=, for when the batches do not divide by the ranks: 'weight' "
                "(each rank has as many steps, each batch says how many of its samples count), "
                "'drop' (the last batches are left out) or 'repeat' (the first batches again)"
            )
        return cls(rank, size, check_choice("uneven", uneven, ("weight", "drop", "repeat")))

    def steps(self, batches: int) -> int:
        """Return how many batches each rank has of an epoch with so many."""
        return batches // self.size if self.uneven == "drop" else -(-batches // self.size)

    def number(self, step: int, batches: int) -> tuple[int, bool]:
        """Return which batch of the epoch this rank has in a step, and whether it is repeated."""
        number = step * self.size + self.rank
        return number % batches, number >= batches


def with_weight(batch: Any, weight: int) -> Any:
    """Add the number of samples that count to a batch, as its last part."""
    if isinstance(batch, tuple):
        return (*batch, weight)
    if isinstance(batch, Mapping):
        if "weight" in batch:
            raise ValueError("uneven='weight' adds 'weight' to the batch, which has one already")
        return {**batch, "weight": weight}
    return batch, weight
