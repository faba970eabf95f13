"""CSV files: a dict of columns."""

from __future__ import annotations

import contextlib
import csv
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nn_data._checks import check_bool, keyword_only
from nn_data._readers._files import PathLike, decoded_text

__all__ = ["read_csv"]


@keyword_only
def read_csv(
    path: PathLike,
    *,
    delimiter: str = ",",
    header: bool = True,
    columns: Sequence[str] | None = None,
    missing: Sequence[str] = ("", "NA", "NaN", "nan", "null"),
    encoding: str = "utf-8",
) -> dict[str, NDArray[Any]]:
    """Return the columns of a CSV file, plain or compressed with gzip, as arrays.

    A column of integers is int64, one of numbers float64, any other one strings. Missing
    values are NaN among numbers, which makes the column float64, and ``''`` among strings.

    Args:
        path: the path of the file.
        delimiter: the character between two values.
        header: whether the first row names the columns; without, they are called ``'0'``, ``'1'``
            and so on.
        columns: the names of the columns to return, in this order; by default all.
        missing: the strings that stand for a missing value.
        encoding: the encoding of the text.

    Raises:
        OSError: if it cannot be read.
        ValueError: for rows of different lengths, names that occur twice or are not there, or an
            empty file; it names the file and the line.

    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "table.csv")
    ...     _ = path.write_text("age,city\\n31,Rome\\n,Oslo\\n")
    ...     read_csv(path)
    {'age': array([31., nan]), 'city': array(['Rome', 'Oslo'], dtype='<U4')}
    """
    # Not splitlines, which cuts at rarer characters too.
    lines = io.StringIO(decoded_text(path, encoding), newline="")
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    names: list[str] = []
    rows: list[list[str]] = []
    try:
        for row in reader:
            if not row:  # an empty line
                continue
            if not names:
                names = row if check_bool("header", header) else [str(i) for i in range(len(row))]
                if header:
                    continue
            if len(row) != len(names):
                raise ValueError(
                    f"{path}: line {reader.line_num} has {len(row)} values, expected {len(names)}"
                )
            rows.append(row)
    except csv.Error as error:
        raise ValueError(f"{path}: line {reader.line_num}: {error}") from error
    if not rows:
        raise ValueError(f"{path}: has no rows")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{path}: has several columns called {', '.join(map(repr, twice))}")
    table = dict(zip(names, zip(*rows, strict=True), strict=True))
    if isinstance(columns, str):
        raise TypeError(f"columns: expected a list of names, got the string {columns!r}")
    chosen = names if columns is None else list(columns)
    unknown = [name for name in chosen if name not in table]
    if unknown:
        listed = ", ".join(map(repr, names))
        raise ValueError(f"{path}: has no column {unknown[0]!r}, its columns are {listed}")
    return {name: _typed(table[name], frozenset(missing)) for name in chosen}


def _typed(values: Sequence[str], missing: frozenset[str]) -> NDArray[Any]:
    """Return a column as the narrowest of integers, floating numbers and strings."""
    gaps = [value.strip() in missing for value in values]
    # Python's own numbers may have underscores.
    if not any("_" in value for value, gap in zip(values, gaps, strict=True) if not gap):
        if not any(gaps):
            with contextlib.suppress(ValueError, OverflowError):
                return np.array([int(value) for value in values], dtype=np.int64)
        with contextlib.suppress(ValueError):
            numbers = [np.nan if gap else float(v) for v, gap in zip(values, gaps, strict=True)]
            return np.array(numbers, dtype=np.float64)
    return np.array(["" if gap else v for v, gap in zip(values, gaps, strict=True)], dtype=np.str_)
