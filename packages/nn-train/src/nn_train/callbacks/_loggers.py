"""`CSVLogger` and `JSONLinesLogger`: the history as a text file, a line for each epoch."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from nn_tensor.extend import describe

from nn_train.callbacks._callback import Callback

__all__ = ["CSVLogger", "JSONLinesLogger"]


class _LineLogger(Callback, ABC):
    """Keeps a text file equal to the history.

    The file is opened for each line, so that a process that is killed loses none, and the callback
    can be pickled.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        if not isinstance(path, str | os.PathLike):
            raise TypeError(f"path: expected str or os.PathLike, got {describe(path)}")
        self.path: Path = Path(path)
        self._names: list[str] = []

    def on_fit_begin(self, trainer: Any) -> None:
        """Write the epochs that were loaded, and nothing else: a cut line or later epochs go."""
        rows = list(trainer.history)
        # the columns of the run, and those that only loaded epochs have
        self._names = list(dict.fromkeys(["epoch", *trainer.names, *trainer.history.names]))
        text = self._head() + "".join(map(self._line, rows))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = self.path.with_name(f"{self.path.name}.{os.getpid()}.tmp")
        try:
            new.write_text(text, encoding="utf-8", newline="")
            new.replace(self.path)
        finally:
            new.unlink(missing_ok=True)

    def on_epoch_end(self, trainer: Any) -> None:
        """Append the epoch."""
        with open(self.path, "a", encoding="utf-8", newline="") as file:
            file.write(self._line(trainer.history[-1]))

    def _head(self) -> str:
        return ""

    @abstractmethod
    def _line(self, row: Mapping[str, float]) -> str:
        """Return the line of an epoch."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({os.fspath(self.path)!r})"


class CSVLogger(_LineLogger):
    """Writes a line for each epoch to a CSV file, under a line of names.

    The numbers are written exactly; one that an epoch lacks is an empty field. A run that begins
    anew replaces the file. One that is resumed keeps the epochs that it resumes from, also where
    the file has later ones, a truncated line, or is lost.

    Args:
        path: the file; its folder is created if it is missing.

    Raises:
        TypeError: if `path` is not a path.
        OSError: where writing fails; the run ends then.

    >>> CSVLogger("run/log.csv")
    CSVLogger('run/log.csv')
    """

    def _head(self) -> str:
        return _csv_line(self._names)

    def _line(self, row: Mapping[str, float]) -> str:
        if new := set(row) - set(self._names):
            raise ValueError(
                f"CSVLogger: the epoch has {', '.join(sorted(new))}, which the header of the file "
                "lacks; JSONLinesLogger takes numbers that appear later"
            )
        return _csv_line([row.get(name, "") for name in self._names])


class JSONLinesLogger(_LineLogger):
    """Writes a JSON object for each epoch to a file, one on each line.

    JSON has no NaN and no infinity: they become ``null``. A run that begins anew replaces the file.
    One that is resumed keeps the epochs that it resumes from, also where the file has later ones, a
    truncated line, or is lost. (https://jsonlines.org)

    Args:
        path: the file; its folder is created if it is missing.

    Raises:
        TypeError: if `path` is not a path.
        OSError: where writing fails; the run ends then.

    >>> JSONLinesLogger("run/log.jsonl")
    JSONLinesLogger('run/log.jsonl')
    """

    def _line(self, row: Mapping[str, float]) -> str:
        finite = {k: v if math.isfinite(v) else None for k, v in row.items()}
        return json.dumps(finite, ensure_ascii=False, allow_nan=False) + "\n"


def _csv_line(values: Iterable[Any]) -> str:
    line = io.StringIO(newline="")
    csv.writer(line, lineterminator="\n").writerow(values)
    return line.getvalue()
