"""Columns of data frames as arrays, for pandas and polars alike, without importing either."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "column_array",
    "frame_columns",
    "is_frame",
    "is_series",
    "table_array",
    "table_columns",
]


def is_frame(data: Any) -> bool:
    """Return whether something is a data frame of pandas or polars."""
    # In this order: a lazy frame of polars warns where its columns are asked for.
    return hasattr(data, "to_numpy") and hasattr(data, "columns")


def is_series(data: Any) -> bool:
    """Return whether something is a series, one column, of pandas or polars."""
    return hasattr(data, "to_frame") and hasattr(data, "to_numpy") and not is_frame(data)


def frame_columns(frame: Any, name: str) -> dict[Any, NDArray[Any]]:
    """Return the columns of a data frame as arrays.

    Raises:
        TypeError: for a column that holds neither numbers, strings nor times.
        ValueError: for two columns of one name.
    """
    names = list(frame.columns)
    twice = sorted({str(c) for c in names if names.count(c) > 1})
    if twice:
        raise ValueError(f"{name} has several columns called {', '.join(twice)}")
    return {c: column_array(frame[c], f"{name}[{c!r}]") for c in names}


def column_array(series: Any, name: str) -> NDArray[Any]:
    """Return a series as an array of numbers, strings or times.

    Missing values become NaN among numbers and ``''`` among strings.

    Raises:
        TypeError: if it holds something else.
    """
    array = np.asarray(series.to_numpy())
    if array.dtype.kind == "T":
        array = array.astype(object)
    if array.dtype != object:
        return array
    values = array.tolist()
    present = [value for value in values if not _is_missing(value)]
    if present and all(isinstance(value, str) for value in present):
        return np.array(["" if _is_missing(value) else value for value in values], dtype=np.str_)
    if all(isinstance(value, (bool, int, float, np.number, np.bool_)) for value in present):
        return np.array([np.nan if _is_missing(value) else value for value in values], np.float64)
    kinds = sorted({type(value).__name__ for value in present})
    raise TypeError(f"{name} holds objects ({', '.join(kinds)}), expected numbers or strings")


def _is_missing(value: Any) -> bool:
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float) and value != value


def table_columns(table: Any, name: str) -> dict[Any, NDArray[Any]]:
    """Return the columns of a data frame, or of a dict of arrays and sequences, as arrays.

    Raises:
        TypeError: if it is neither, and for columns of objects.
    """
    if is_frame(table):
        return frame_columns(table, name)
    if not isinstance(table, Mapping):
        raise TypeError(f"{name}: expected columns by name, got {type(table).__name__}")
    return {key: table_array(column, f"{name}[{key!r}]") for key, column in table.items()}


def table_array(data: Any, name: str) -> NDArray[Any]:
    """Return an array, a sequence, a series or a data frame as an array with a row for each sample.

    Raises:
        TypeError: for objects, and for a data frame with numbers and strings.
        ValueError: without a dimension for the samples.
    """
    if is_frame(data):
        columns = list(frame_columns(data, name).values())
        if len({column.dtype.kind == "U" for column in columns}) > 1:
            raise TypeError(
                f"{name}: the data frame has numbers and strings: give its columns apart"
            )
        return np.stack(columns, axis=1)
    array = column_array(data, name) if is_series(data) else np.asarray(data)
    if array.dtype == object:
        raise TypeError(f"{name}: expected numbers or strings, got an object array")
    if array.ndim == 0:
        raise ValueError(f"{name}: expected samples along a first axis, got a single value")
    return array
