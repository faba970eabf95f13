"""The history of a run: one row of numbers for each epoch."""

from __future__ import annotations

import csv
import difflib
import html
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, overload

import numpy as np
from nn_tensor.extend import METADATA_KEY

from nn_train._optional import require

__all__ = ["History"]

Row = dict[str, float]


class History(Sequence[Row]):
    """One dict of numbers for each epoch, to be read by epoch, by name, or by both.

    ``history["loss"]`` is the list of all epochs, ``history[-1]`` the last epoch, ``history[5:]``
    the later ones, ``history[5:, "loss"]`` a part of a column and ``history[:, ("loss", "lr")]``
    tuples of two. An epoch without a value in a column has NaN there.

    Args:
        rows: the rows to begin with.

    >>> history = History([{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25}])
    >>> history["loss"], history[-1], len(history)
    ([0.5, 0.25], {'epoch': 2, 'loss': 0.25}, 2)
    >>> history[1:, ("epoch", "loss")]
    [(2, 0.25)]
    """

    def __init__(self, rows: Iterable[Mapping[str, float]] = ()) -> None:
        self._rows: list[Row] = [dict(row) for row in rows]

    def append(self, row: Mapping[str, float]) -> None:
        """Add an epoch."""
        self._rows.append(dict(row))

    @property
    def names(self) -> list[str]:
        """The names of all columns, in the order in which they were added."""
        return list(dict.fromkeys(name for row in self._rows for name in row))

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, History) and self._rows == other._rows

    @overload
    def __getitem__(self, key: int) -> Row: ...
    @overload
    def __getitem__(self, key: slice) -> History: ...
    @overload
    def __getitem__(self, key: str) -> list[float]: ...
    @overload
    def __getitem__(self, key: tuple[Any, Any]) -> Any: ...
    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, tuple) and len(key) == 2:
            rows, names = key
            if not isinstance(rows, slice):
                row = self._rows[rows]
                return row[names] if isinstance(names, str) else tuple(row[name] for name in names)
            chosen = [names] if isinstance(names, str) else list(names)
            columns = [self.column(name)[rows] for name in chosen]
            return columns[0] if isinstance(names, str) else list(zip(*columns, strict=True))
        if isinstance(key, str):
            return self.column(key)
        return History(self._rows[key]) if isinstance(key, slice) else self._rows[key]

    def column(self, name: str) -> list[float]:
        """Return the values of a column.

        Raises:
            KeyError: if no epoch has it, with the nearest name.
        """
        known = self.names
        if name not in known and self._rows:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise KeyError(f"{name!r} is not in the history, which has {', '.join(known)}{hint}")
        return [row.get(name, float("nan")) for row in self._rows]

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write a line for each epoch, under a line of names; a missing value is an empty field.

        >>> import pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "history.csv")
        ...     History([{"epoch": 1, "loss": 0.5}]).to_csv(path)
        ...     print(path.read_text())
        epoch,loss
        1,0.5
        <BLANKLINE>
        """
        with open(path, "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, self.names, restval="", lineterminator="\n")
            writer.writeheader()
            writer.writerows(self._rows)

    def plot(self, names: str | Iterable[str] | None = None, *, ax: Any = None) -> Any:
        """Draw the columns against the epoch, with matplotlib, and return its axes.

        Args:
            names: the columns to draw; by default all but ``epoch`` and ``lr``.
            ax: the axes to draw into; by default new ones.

        Raises:
            ModuleNotFoundError: without matplotlib, with the line that installs it.
        """
        if names is None:
            names = [name for name in self.names if name not in ("epoch", "lr")]
        chosen = [names] if isinstance(names, str) else list(names)
        columns = {name: self.column(name) for name in chosen}
        if ax is None:
            # With pyplot a notebook shows the figure, and so does ``pyplot.show()`` in a script.
            _, ax = require("matplotlib.pyplot", "plot", "History.plot").subplots()
        epochs = [row.get("epoch", n + 1) for n, row in enumerate(self._rows)]
        for name, values in columns.items():
            ax.plot(epochs, values, label=name, marker="." if len(epochs) < 20 else None)
        ax.set_xlabel("epoch")
        ax.legend()
        return ax

    def __repr__(self) -> str:
        return f"History({len(self)} epochs of {', '.join(self.names) or 'nothing'})"

    def _repr_html_(self) -> str:
        names = self.names
        head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
        lines = [
            "".join(f"<td>{_text(row.get(name))}</td>" for name in names) for row in self._rows
        ]
        body = "".join(f"<tr>{line}</tr>" for line in lines)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def state_dict(self) -> dict[str, Any]:
        """Return the columns as arrays, and their names."""
        names = self.names
        state: dict[str, Any] = {METADATA_KEY: {"names": names, "rows": len(self)}}
        for number, name in enumerate(names):
            present = np.array([name in row for row in self._rows], bool)
            values = [row.get(name, 0) for row in self._rows]
            whole = all(isinstance(value, int) for value in values)
            state[f"{number}"] = np.array(values, np.int64 if whole else np.float64)
            if not present.all():
                state[f"{number}.present"] = present
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load what `state_dict` returned."""
        metadata = state[METADATA_KEY]
        rows: list[Row] = [{} for _ in range(metadata["rows"])]
        for number, name in enumerate(metadata["names"]):
            present = state.get(f"{number}.present", np.ones(len(rows), bool))
            values = np.asarray(state[f"{number}"]).tolist()
            for row, value, is_there in zip(rows, values, present, strict=True):
                if is_there:
                    row[name] = value
        self._rows = rows


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
