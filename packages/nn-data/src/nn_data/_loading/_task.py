"""Making one batch: reading, transforming, and saying what went wrong where."""

from __future__ import annotations

from typing import Any

from nn_data._loading._order import Batches
from nn_data._loading._shard import Shard
from nn_data._loading._steps import Step, check_batch_size
from nn_data._random import TRANSFORM, generator
from nn_data._sources import Source

__all__ = ["Task"]

_SHOWN = 64


class Task:
    """The batches of one epoch, for one rank, made in any order and by any thread.

    It does not know the loader, so that workers keep no loader alive.
    """

    def __init__(
        self,
        source: Source,
        steps: list[tuple[str, Step]],
        random: bool,
        seed: int,
        epoch: int,
        batches: Batches,
        shard: Shard,
    ) -> None:
        self._source = source
        self._steps = steps
        self._random = random
        self._seed = seed
        self._epoch = epoch
        self._batches = batches
        self._count = len(batches)
        self._shard = shard

    def __call__(self, step: int) -> Any:
        """Return the batch of a step."""
        number, _ = self._shard.number(step, self._count)
        try:
            batch = self._batches.read(self._source, number)
            if not self._source._is_trusted:
                size = len(self._batches.indices(number))
                check_batch_size(f"{type(self._source).__name__}.take", batch, size)
            if self._steps:
                batch = self._transformed(batch, number)
        except Exception as error:
            error.add_note(self._note(number))
            raise
        return batch

    def weight(self, step: int) -> int:
        """Return how many samples of the batch of a step count: none if it is a repeated one."""
        number, repeated = self._shard.number(step, self._count)
        return 0 if repeated else len(self._batches.indices(number))

    def _transformed(self, batch: Any, number: int) -> Any:
        size = len(self._batches.indices(number))
        rng = generator(self._seed, TRANSFORM, self._epoch, number) if self._random else None
        for name, step in self._steps:
            batch = step(batch, rng)
            check_batch_size(name, batch, size)
        return batch

    def _note(self, number: int) -> str:
        indices = self._batches.indices(number).tolist()
        shown = ", ".join(map(str, indices[:_SHOWN]))
        more = f", ... {len(indices)} in all" if len(indices) > _SHOWN else ""
        return f"while loading batch {number} of epoch {self._epoch}: samples {shown}{more}"
