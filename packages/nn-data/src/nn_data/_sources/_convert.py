"""The source that fits what the user has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from nn_data._sources._arrays import ArraySource, ForeignArraySource, SortedArraySource
from nn_data._sources._containers import DictSource, SequenceSource, TupleSource
from nn_data._sources._frames import column_array, frame_columns, is_frame, is_series
from nn_data._sources._source import Source

__all__ = ["as_source"]

_NUMBERS = (bool, int, float, complex, np.number, np.bool_)


def as_source(data: Any, name: str = "data") -> Source:
    """Return data as a `Source`.

    Args:
        data: an array, a data frame or series, a sequence, a `Source`, or tuples and dicts of
            these.
        name: the name of the argument, for errors.

    Raises:
        TypeError: if it is none of these, and for object arrays.
        ValueError: for parts of unequal lengths, naming them.
    """
    if isinstance(data, Source):
        return data
    if isinstance(data, np.ndarray):
        return ArraySource(data, name)
    if is_frame(data):
        columns = frame_columns(data, name)
        if not columns:
            raise ValueError(f"{name} has no columns")
        return DictSource({c: ArraySource(a, f"{name}[{c!r}]") for c, a in columns.items()}, name)
    if is_series(data):
        return ArraySource(column_array(data, name), name)
    if isinstance(data, (tuple, Mapping)):
        return _container(data, name)
    if all(hasattr(data, attribute) for attribute in ("shape", "dtype", "__getitem__")):
        # In memory, and then free to be read in any order: what DLPack can pass on.
        in_memory = hasattr(data, "__dlpack__")
        return ForeignArraySource(data, name) if in_memory else SortedArraySource(data, name)
    if isinstance(data, (str, bytes)):
        raise TypeError(f"{name}: expected samples, got a single {type(data).__name__}")
    if not hasattr(data, "__getitem__") or not hasattr(data, "__len__"):
        raise TypeError(
            f"{name}: expected arrays, a data frame, a sequence with len() and [index], a Source, "
            f"or tuples and dicts of these; got {type(data).__name__}"
        )
    if isinstance(data, list) and data and all(isinstance(item, _NUMBERS) for item in data):
        return ArraySource(np.asarray(data), name)
    return SequenceSource(data)


def _container(data: Any, name: str) -> Source:
    if not data:
        raise ValueError(f"{name} is an empty {type(data).__name__}")
    if isinstance(data, Mapping):
        parts = {k: as_source(v, f"{name}[{k!r}]") for k, v in data.items()}
        return DictSource(parts, name)
    return TupleSource(data, [as_source(p, f"{name}[{i}]") for i, p in enumerate(data)], name)
