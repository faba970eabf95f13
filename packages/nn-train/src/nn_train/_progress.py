"""One line for each epoch, and a bar of tqdm in a terminal."""

from __future__ import annotations

import importlib
import sys
import time
from typing import Any

from nn_train.callbacks._callback import Callback

__all__ = ["Progress"]


class Progress(Callback):
    """Prints a line for each epoch; in a terminal with tqdm, a bar within the epoch."""

    def __init__(self, bar: bool | None = None) -> None:
        self._wants_bar = sys.stdout.isatty() if bar is None else bar
        self._bar: Any = None
        self._start = 0.0

    def on_fit_begin(self, trainer: Any) -> None:
        """Find tqdm."""
        self._tqdm: Any = None
        if self._wants_bar:
            try:
                self._tqdm = importlib.import_module("tqdm").tqdm
            except ModuleNotFoundError:
                self._tqdm = None

    def on_epoch_begin(self, trainer: Any) -> None:
        """Begin a bar."""
        self._start = time.perf_counter()
        if self._tqdm is not None:
            total = len(trainer.data) if hasattr(trainer.data, "__len__") else None
            self._bar = self._tqdm(
                desc=f"epoch {trainer.epoch + 1}/{trainer.epochs}",
                initial=trainer.batches_done,
                total=total,
                unit="batch",
                leave=False,
                mininterval=0.2,
                file=sys.stdout,
            )

    def on_step_end(self, trainer: Any) -> None:
        """Advance the bar."""
        if self._bar is not None:
            loss = trainer.running.loss.result()
            self._bar.set_postfix_str(f"loss {loss:#.4g}", refresh=False)
            self._bar.update(trainer.batches_done - self._bar.n)

    def on_epoch_end(self, trainer: Any) -> None:
        """Print the line."""
        self._close()
        row = trainer.history[-1]
        width = len(str(trainer.epochs))
        # Padded, so that the columns of all epochs are aligned.
        numbers = "  ".join(f"{k} {f'{v:#.4g}':<7}" for k, v in row.items() if k != "epoch")
        seconds = time.perf_counter() - self._start
        print(
            f"epoch {row['epoch']:{width}}/{trainer.epochs}  {numbers}  {seconds:.1f} s", flush=True
        )

    def on_fit_end(self, trainer: Any, reason: str) -> None:
        """Remove the bar, and say why the run ended early."""
        self._close()
        if reason not in ("finished", "error"):
            print(f"stopped after epoch {trainer.epoch}: {reason}", flush=True)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
