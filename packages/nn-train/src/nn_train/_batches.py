"""Batches: from arrays, from loaders, from any iterable, and from the middle of an epoch."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Iterator
from typing import Any

from nn_tensor import Tensor
from nn_tensor.extend import check_integer, describe

from nn_train._optional import require
from nn_train._protocols import HasState

__all__ = ["as_batches", "input_batches", "remaining"]


def as_batches(
    name: str, data: Any, batch_size: int, *, shuffle: bool, seed: int, device: Any
) -> Any:
    """Return what each epoch iterates over: `data`, or a loader of the arrays in it.

    Raises:
        TypeError: for what is neither, and for an iterator, which has one epoch only.
    """
    is_source = hasattr(data, "take") and hasattr(data, "signature")  # a Source of nn-data
    if isinstance(data, tuple | dict) or is_source:
        loader = require(
            "nn_data", "arrays", f"{name}: a {type(data).__name__} instead of batches"
        ).Loader
        convert = functools.partial(Tensor, device=device)
        data = {k: _host(v) for k, v in data.items()} if isinstance(data, dict) else data
        data = tuple(map(_host, data)) if isinstance(data, tuple) else data
        size = check_integer("batch_size", batch_size, minimum=1)
        return loader(data, size, shuffle=shuffle, seed=seed, convert=convert)
    if isinstance(data, Iterator):
        raise TypeError(
            f"{name}: an iterator has one epoch only; expected arrays, a loader, or a list"
        )
    if not isinstance(data, Iterable) or isinstance(data, Tensor) or hasattr(data, "shape"):
        raise TypeError(
            f"{name}: expected a tuple of arrays (inputs, targets), or an iterable of batches, "
            f"got {describe(data)}"
        )
    return data


def _host(value: Any) -> Any:
    return value.numpy() if isinstance(value, Tensor) else value


def remaining(batches: Any, done: int) -> Iterator[Any]:
    """Iterate over the rest of an epoch; a loader with a state knows where it is."""
    iterator = iter(batches)
    return iterator if isinstance(batches, HasState) else itertools.islice(iterator, done, None)


def input_batches(data: Any, batch_size: int, device: Any) -> Iterator[tuple[Any, ...]]:
    """Yield the inputs of the model, batch after batch, of an array or of an iterable."""
    if not hasattr(data, "shape"):
        for batch in data:
            yield batch if isinstance(batch, tuple) else (batch,)
        return
    size = check_integer("batch_size", batch_size, minimum=1)
    for start in range(0, len(data), size):
        part = data[start : start + size]
        yield (part if isinstance(part, Tensor) else Tensor(part, device=device),)
