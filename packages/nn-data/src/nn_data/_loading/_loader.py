"""The loader."""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nn_data._checks import check_bool, check_integer, keyword_only
from nn_data._collate import Collate
from nn_data._loading._order import (
    Batches,
    Order,
    batch_sampler_order,
    sampler_order,
    sequential,
    shuffled,
)
from nn_data._loading._prefetch import Prefetch
from nn_data._loading._shard import Shard, with_weight
from nn_data._loading._steps import conversion, transform_steps, uses_rng
from nn_data._loading._task import Task
from nn_data._random import check_seed
from nn_data._samplers import BatchSampler, Sampler
from nn_data._sources import as_source

__all__ = ["Loader"]

_DEFAULT_BATCH_SIZE = 32
_INTERRUPT_S = 0.02
_END_S = 1.0


class _Position(NamedTuple):
    """The number of batches of an epoch that were returned, by all ranks together."""

    epoch: int
    batch: int


class Loader:
    """Batches of data, in an order and with randomness that depend on seed and epoch alone.

    Each ``for`` loop over the loader is the next epoch. Whole batches are indexed at once: they are
    fresh arrays, or read-only views of the data where nothing is shuffled.

    A batch depends only on the seed, the epoch and the batch index, and not on threads, ranks or
    interruptions; `state_dict` is three integers and a description of the data.

    Args:
        data: an array (in memory or mapped from a file), a data frame or series of pandas or
            polars, a sequence of samples, a `Source`, or a tuple or dict of these, of one length.
            Batches have the same structure; a data frame gives a dict of its columns.
        batch_size: the number of samples in a batch; 32 by default.
        shuffle: whether the samples come in random order, a different one in each epoch.
        drop_last: whether to drop the last batch if it has fewer samples.
        sampler: a `Sampler`, or a sequence of indices, in place of `shuffle`.
        batch_sampler: a `BatchSampler`, or a sequence of sequences of indices, in place of
            `batch_size`, `shuffle`, `drop_last` and `sampler`.
        collate: the function that makes a batch of a list of samples, for data that is read sample
            by sample; `Pad`, for example.
        transform: a function of the batch; a tuple or dict with one for each part, or None; or a
            list of these, applied in turn. One with a parameter called ``rng`` gets a
            `numpy.random.Generator` for its batch.
        convert: a function of an array, such as ``Tensor``, that is applied to every array of the
            batch at the end; or a tuple or dict with one for each part.
        seed: the seed of the order and of the transforms.
        workers: the number of threads that read and transform; with 0 it is done in the thread of
            the loop.
        prefetch: the number of batches that are prepared ahead; by default 2 for each worker.
        shard: ``(rank, size)``, where several processes share each epoch: of every `size` batches
            each rank has one.
        uneven: what to do if the number of batches is not divisible by the number of ranks.
            ``'weight'``: all ranks have the same number of batches, and each batch has one more
            part, its weight: the number of its samples, or 0 for a repeated batch that only keeps
            the ranks synchronized. ``'drop'``: the last batches are left out. ``'repeat'``: the
            first batches are repeated.

    Raises:
        TypeError: for data that cannot be batched, and arguments of the wrong type.
        ValueError: for an empty loader, parts of unequal lengths, and options that exclude each
            other.
        IndexError: for a sampler with an index out of range.

    >>> import numpy as np
    >>> loader = Loader((np.arange(5.0), np.arange(5)), batch_size=2, shuffle=True, seed=0)
    >>> len(loader)
    3
    >>> for x, y in loader:
    ...     print(x, y)
    [0. 2.] [0 2]
    [4. 1.] [4 1]
    [3.] [3]
    >>> loader.epoch
    1
    """

    @keyword_only
    def __init__(
        self,
        data: Any,
        batch_size: int | None = None,
        *,
        shuffle: bool = False,
        drop_last: bool = False,
        sampler: Any = None,
        batch_sampler: Any = None,
        collate: Collate | None = None,
        transform: Any = None,
        convert: Any = None,
        seed: int = 0,
        workers: int = 0,
        prefetch: int | None = None,
        shard: tuple[int, int] | None = None,
        uneven: Literal["weight", "drop", "repeat"] | None = None,
    ) -> None:
        if collate is not None and not callable(collate):
            raise TypeError(f"collate: expected a callable, got {collate!r}")
        self._source = as_source(data)
        if collate is not None:
            whole, self._source = self._source, self._source.with_collate(collate)
            if whole is self._source:
                raise ValueError("collate is for sequences of samples: nothing in data is one")
        if not len(self._source):
            raise ValueError("data has no samples")
        self._seed = check_seed(seed)
        self._steps = transform_steps(transform)
        self._random = uses_rng(transform)
        self._convert = None if convert is None else conversion(convert)
        self._workers = check_integer("workers", workers, minimum=0)
        self._ahead = _check_prefetch(prefetch, self._workers)
        self._shard = Shard.checked(shard, uneven)
        if self._shard.uneven == "weight" and "weight" in getattr(self._source, "names", ()):
            raise ValueError("uneven='weight' adds 'weight' to the batch, which data has already")
        self._order, self._order_name = self._make_order(
            batch_size, shuffle, drop_last, sampler, batch_sampler
        )
        self._sampled = sampler is not None or batch_sampler is not None
        self._position = _Position(0, 0)
        # The next iteration starts at the position, not with the next epoch.
        self._fresh = True
        self._iteration: object = None
        self._running: weakref.WeakSet[Prefetch] = weakref.WeakSet()
        self._batches = self._start(0)
        self._data_fingerprint: str | None = None

    def _make_order(
        self, batch_size: Any, shuffle: Any, drop_last: Any, sampler: Any, batch_sampler: Any
    ) -> tuple[Order, str]:
        samples, seed = len(self._source), self._seed
        shuffle, drop_last = check_bool("shuffle", shuffle), check_bool("drop_last", drop_last)
        if batch_sampler is not None:
            given = {
                "batch_size": batch_size is not None,
                "shuffle": shuffle,
                "drop_last": drop_last,
                "sampler": sampler is not None,
            }
            if any(given.values()):
                names = ", ".join(name for name, is_given in given.items() if is_given)
                raise ValueError(f"batch_sampler decides what a batch is: leave out {names}")
            _check_sampler("batch_sampler", batch_sampler, BatchSampler, samples)
            return batch_sampler_order(batch_sampler, samples, seed), type(batch_sampler).__name__
        size = _DEFAULT_BATCH_SIZE
        if batch_size is not None:
            size = check_integer("batch_size", batch_size, minimum=1)
        options = f"batch_size={size} drop_last={drop_last}"
        if sampler is not None:
            if shuffle:
                raise ValueError("sampler decides the order: leave out shuffle")
            _check_sampler("sampler", sampler, Sampler, samples)
            order = sampler_order(sampler, samples, size, drop_last, seed)
            return order, f"{type(sampler).__name__} {options}"
        if shuffle:
            return shuffled(samples, size, drop_last, seed), f"shuffled {options}"
        return sequential(samples, size, drop_last), f"sequential {options}"

    def _start(self, epoch: int) -> tuple[int, Batches]:
        """Return the batches of an epoch, with its number."""
        batches = self._order(epoch)
        if not len(batches):
            raise ValueError(
                f"drop_last leaves no batch of {len(self._source)} samples: batch_size is larger"
            )
        if not self._shard.steps(len(batches)):
            raise ValueError(
                f"uneven='drop' leaves nothing: {len(batches)} batches for {self._shard.size} ranks"
            )
        return epoch, batches

    def _batches_of(self, epoch: int) -> Batches:
        """Return the batches of an epoch; those of the last one asked for are kept."""
        if self._batches[0] != epoch:
            self._batches = self._start(epoch)
        return self._batches[1]

    @property
    def epoch(self) -> int:
        """The epoch that the current ``for`` loop is in or, after it, that of the next loop."""
        return self._position.epoch

    def __len__(self) -> int:
        """Return the number of batches of the current epoch, for this rank."""
        return self._shard.steps(len(self._batches_of(self.epoch)))

    def __iter__(self) -> Iterator[Any]:
        """Yield the batches of the next epoch, or the rest of one that was resumed."""
        token = self._iteration = object()
        if not self._fresh:
            self._position = _Position(self._position.epoch + 1, 0)
        self._fresh = False
        epoch, batch = self._position
        return self._iterate(token, epoch, batch)

    def _iterate(self, token: object, epoch: int, done: int) -> Iterator[Any]:
        batches = self._batches_of(epoch)
        task = self._task(epoch, batches)
        count, size = len(batches), self._shard.size
        steps = self._shard.steps(count)
        start = steps if done >= count else done // size
        convert, weighted = self._convert, self._shard.uneven == "weight"
        prefetch = None
        if self._workers and start < steps:
            prefetch = Prefetch(task, start, steps, self._workers, self._ahead)
            self._running.add(prefetch)
        wait = _END_S
        try:
            if prefetch is not None:
                prefetch.start()
            for step in range(start, steps):
                batch = task(step) if prefetch is None else prefetch.get()
                if convert is not None:
                    batch = convert(batch)
                if weighted:
                    batch = with_weight(batch, task.weight(step))
                if self._iteration is token:
                    self._position = _Position(epoch, min((step + 1) * size, count))
                yield batch
        except KeyboardInterrupt:
            wait = _INTERRUPT_S
            raise
        finally:
            if prefetch is not None:
                prefetch.close(wait)
        if self._iteration is token:
            self._position = _Position(epoch + 1, 0)
            self._fresh = True

    def _task(self, epoch: int, batches: Batches) -> Task:
        return Task(
            self._source, self._steps, self._random, self._seed, epoch, batches, self._shard
        )

    def peek(self) -> Any:
        """Return the first batch of the current epoch without its weight, and keep the position."""
        epoch = self.epoch
        batch = self._task(epoch, self._batches_of(epoch))(0)
        return batch if self._convert is None else self._convert(batch)

    def last_indices(self) -> NDArray[np.intp]:
        """Return the indices of the samples of the last batch of the current loop.

        Raises:
            ValueError: outside of a loop.
        """
        epoch, batch = self._position
        if not batch:
            raise ValueError("the loader has given no batch of the current epoch")
        batches = self._batches_of(epoch)
        number, _ = self._shard.number(-(-batch // self._shard.size) - 1, len(batches))
        return batches.indices(number)

    def state_dict(self) -> dict[str, Any]:
        """Return the position of the loader: three integers, and a description of the data.

        Within a loop it counts the batches that the loop was given. The number of ranks is not
        part of it: all ranks have the same state.

        Returns:
            ``seed``, ``epoch``, ``batch`` (returned in this epoch, by all ranks together) and
            ``fingerprint``.
        """
        return {
            "seed": self._seed,
            "epoch": self._position.epoch,
            "batch": self._position.batch,
            "fingerprint": self._fingerprint(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load the position of another loader: the next ``for`` loop gets the rest of its epoch.

        Raises:
            TypeError: for a state that is not one of a loader.
            ValueError: for one of another seed, other data or another order, naming both; nothing
                is changed then.
        """
        keys = {"seed", "epoch", "batch", "fingerprint"}
        if not isinstance(state, Mapping) or state.keys() != keys:
            listed = sorted(map(str, state)) if isinstance(state, Mapping) else state
            raise TypeError(f"state: expected {sorted(keys)}, got {listed!r}")
        seed = check_seed(state["seed"])
        epoch = check_integer("state['epoch']", state["epoch"], minimum=0)
        batch = check_integer("state['batch']", state["batch"], minimum=0)
        if seed != self._seed:
            raise ValueError(f"state: its seed is {seed}, the loader's is {self._seed}")
        own = self._fingerprint()
        if state["fingerprint"] != own:
            raise ValueError(
                f"state: it is of other data or another order: {state['fingerprint']} there, "
                f"{own} here"
            )
        count = len(self._order(epoch))
        if batch > count:
            raise ValueError(f"state: batch {batch} of an epoch of {count} batches")
        if batch < count and batch % self._shard.size:
            raise ValueError(
                f"state: batch {batch} is not the start of a step of {self._shard.size} ranks"
            )
        self._position = _Position(epoch, batch)
        self._fresh = True
        self._iteration = None

    def _fingerprint(self) -> str:
        if self._data_fingerprint is None:
            self._data_fingerprint = self._describe()
        return self._data_fingerprint

    def _describe(self) -> str:
        parts = [f"samples={len(self._source)}", f"order={self._order_name}"]
        if self._sampled:
            # Seed and epoch decide the order, so the first epoch tells two samplers apart.
            batches = self._order(0)
            digest = hashlib.blake2b(digest_size=4)
            for number in range(len(batches)):
                digest.update(batches.indices(number).astype("<i8").tobytes() + b"|")
            parts.append(f"indices={digest.hexdigest()}")
        return " ".join([*parts, f"data={self._source.signature()}"])

    def close(self) -> None:
        """Stop all workers, and wait until they have ended.

        A loop that is still running raises a RuntimeError at its next batch. The loader can be used
        again.
        """
        for prefetch in list(self._running):
            prefetch.close()

    def __enter__(self) -> Loader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        rank = "" if self._shard.size == 1 else f" rank={self._shard.rank}/{self._shard.size}"
        text = f"samples={len(self._source)} order={self._order_name} seed={self._seed}{rank}"
        return f"Loader({text})"


def _check_sampler(
    name: str, sampler: Any, kind: type[Sampler] | type[BatchSampler], samples: int
) -> None:
    sequence = hasattr(sampler, "__len__") and hasattr(sampler, "__getitem__")
    if not isinstance(sampler, kind) and not sequence:
        raise TypeError(
            f"{name}: expected a {kind.__name__}, or a sequence, got {type(sampler).__name__}"
        )
    expected = getattr(sampler, "population", None)
    if expected not in (None, samples):
        raise ValueError(f"{name}: {sampler!r} is for {expected} samples, data has {samples}")


def _check_prefetch(prefetch: Any, workers: int) -> int:
    if prefetch is None:
        return 2 * workers
    if not workers:
        raise ValueError("prefetch needs workers: with workers=0 nothing is read ahead")
    return check_integer("prefetch", prefetch, minimum=1)
