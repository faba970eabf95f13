"""`TensorBoardLogger`: the history as scalars of TensorBoard."""

from __future__ import annotations

import os
import platform
import re
import time
from pathlib import Path
from typing import Any

from nn_tensor.extend import describe

from nn_train._event_file import file_version, scalars, session_start
from nn_train.callbacks._callback import Callback

__all__ = ["TensorBoardLogger"]

_NAME = re.compile(r"events\.out\.tfevents\.(\d+)\..*")
_VALIDATION = "val_"


class TensorBoardLogger(Callback):
    """Writes the numbers of each epoch for TensorBoard, which is not needed for that.

    The folder gets two runs, ``train`` and ``validation``, so that ``loss`` and ``val_loss`` are
    two curves of one chart named ``loss``; the step is the epoch. TensorBoard shows it with
    ``tensorboard --logdir folder``. Each `fit` writes new files. A run that is resumed says in
    them from which epoch on they count, and TensorBoard drops the later ones of before; a run that
    begins anew takes the place of the former.

    Args:
        folder: the folder of the runs, which is created if it is missing.

    Raises:
        TypeError: if `folder` is not a path.
        OSError: where writing fails; the run ends then.

    >>> TensorBoardLogger("run/tensorboard")
    TensorBoardLogger('run/tensorboard')
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        if not isinstance(folder, str | os.PathLike):
            raise TypeError(f"folder: expected str or os.PathLike, got {describe(folder)}")
        self.folder: Path = Path(folder)
        self._files: dict[str, Path] = {}

    def on_fit_begin(self, trainer: Any) -> None:
        """Begin new files."""
        runs = ["train"]
        has_validation = any(name.startswith(_VALIDATION) for name in trainer.names)
        if has_validation or (self.folder / "validation").exists():  # whose curve ends, else stays
            runs.append("validation")
        self._files = {}
        for run in runs:
            folder = self.folder / run
            folder.mkdir(parents=True, exist_ok=True)
            self._files[run] = path = _new_file(folder)
            now = time.time()
            path.write_bytes(file_version(now) + session_start(now, trainer.epoch + 1))

    def on_epoch_end(self, trainer: Any) -> None:
        """Append the epoch."""
        row = trainer.history[-1]
        for run, path in self._files.items():
            values = {
                name.removeprefix(_VALIDATION): value
                for name, value in row.items()
                if name != "epoch" and name.startswith(_VALIDATION) == (run == "validation")
            }
            with open(path, "ab") as file:
                file.write(scalars(time.time(), row["epoch"], values))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({os.fspath(self.folder)!r})"


def _new_file(folder: Path) -> Path:
    """Return a path that sorts after those of the folder: in this order they are read."""
    times = [int(match[1]) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))]
    moment = max([int(time.time()), *(moment + 1 for moment in times)])
    return folder / f"events.out.tfevents.{moment:010}.{platform.node()}.{os.getpid()}"
