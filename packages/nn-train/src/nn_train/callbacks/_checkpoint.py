"""`Checkpoint`: files of the complete state of a run, while it trains."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from nn_tensor.extend import METADATA_KEY, check_integer, keyword_only

from nn_train._files import checkpoint_files, save
from nn_train._optional import require
from nn_train.callbacks._callback import Callback, Comparison

__all__ = ["Checkpoint"]


class Checkpoint(Callback):
    """Writes the whole run to files, from which ``fit(resume=folder)`` continues bit for bit.

    Model, generators, optimizer, schedule, history, callbacks and the position in the data are one
    file, ``step-00001200.safetensors``, which is replaced as a whole or not at all. A run that ends
    by itself, by a `Stop` or by a first Ctrl-C writes a last one; after an error the last file is
    the one from before.

    Args:
        folder: the folder for the files; it is created if it is missing.
        every: the number of epochs between two files.
        every_steps: the number of optimizer steps between further files, or None.
        keep: the number of files to keep, the newest.
        best: the name of a value in the history; ``best.safetensors`` is the checkpoint of the
            epoch where it was best.
        mode: ``'min'`` or ``'max'``; ``'auto'`` infers it from the name.

    Raises:
        ValueError: for an option out of range; when the run begins, for a name `best` that it will
            not record, and for a folder that holds the files of another run.
        TypeError: for an option of the wrong type.
        ModuleNotFoundError: without nn-io, when the run begins.

    >>> Checkpoint("run", every=5, keep=2, best="val_accuracy")
    Checkpoint('run', every=5, keep=2, best='val_accuracy')
    """

    last: ClassVar[bool] = True

    @keyword_only
    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        every: int = 1,
        every_steps: int | None = None,
        keep: int = 2,
        best: str | None = None,
        mode: str = "auto",
    ) -> None:
        self.folder: Path = Path(folder)
        self.every: int = check_integer("every", every, minimum=1)
        self.every_steps: int | None = every_steps
        if every_steps is not None:
            self.every_steps = check_integer("every_steps", every_steps, minimum=1)
        self.keep: int = check_integer("keep", keep, minimum=1)
        self.best = best
        self._comparison = None if best is None else Comparison(best, mode)
        self._best_value: float | None = None
        self._saved_step: int | None = None

    def on_fit_check(self, trainer: Any) -> None:
        """Check the name and the folder."""
        require("nn_io", "files", "Checkpoint")
        if self._comparison is not None:
            self._comparison.check(trainer.names)
        if self.every_steps is not None and (unsaved := trainer.running.unsaved()):
            raise ValueError(
                f"every_steps: the metrics {', '.join(unsaved)} have no state_dict() and "
                "load_state_dict(), so they cannot be saved within an epoch"
            )
        if not trainer.resumed and (files := checkpoint_files(self.folder)):
            raise ValueError(
                f"folder: {os.fspath(self.folder)} holds {files[-1].name} of another run: "
                "continue it with fit(resume=folder), remove it, or name another folder"
            )

    def on_fit_begin(self, trainer: Any) -> None:
        """Start over, unless the run is resumed."""
        self._saved_step = trainer.steps if trainer.resumed else None
        if not trainer.resumed:
            self._best_value = None
        self.folder.mkdir(parents=True, exist_ok=True)

    def on_step_end(self, trainer: Any) -> None:
        """Write a file after so many steps."""
        if self.every_steps is not None and trainer.steps % self.every_steps == 0:
            self._write(trainer)

    def on_epoch_end(self, trainer: Any) -> None:
        """Write a file after so many epochs, and one of the best."""
        if self._comparison is not None and self.best is not None:
            value = trainer.history[-1][self.best]
            if self._comparison.better(value, self._best_value):
                self._best_value = value
                save(trainer, self.folder / "best.safetensors")
        if trainer.epoch % self.every == 0:
            self._write(trainer)

    def on_fit_end(self, trainer: Any, reason: str) -> None:
        """Write a last file, unless the run ended by an error."""
        within = trainer.batches_done > 0 and bool(trainer.running.unsaved())
        if reason != "error" and not within and self._saved_step != trainer.steps:
            self._write(trainer)

    def _write(self, trainer: Any) -> None:
        save(trainer, self.folder / f"step-{trainer.steps:08}.safetensors")
        self._saved_step = trainer.steps
        for path in checkpoint_files(self.folder)[: -self.keep]:
            path.unlink(missing_ok=True)

    def state_dict(self) -> dict[str, Any]:
        """Return the best number so far."""
        return {METADATA_KEY: {"best": self.best, "value": self._best_value}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load what `state_dict` returned."""
        metadata = state[METADATA_KEY]
        self._best_value = metadata["value"] if metadata["best"] == self.best else None

    def __repr__(self) -> str:
        options = [f"every={self.every}", f"keep={self.keep}"]
        options += [] if self.every_steps is None else [f"every_steps={self.every_steps}"]
        options += [] if self.best is None else [f"best={self.best!r}"]
        return f"{type(self).__name__}({os.fspath(self.folder)!r}, {', '.join(options)})"
