"""`EarlyStopping`: the end of a run that does not improve, and its best weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from nn_tensor.extend import METADATA_KEY, check_bool, check_integer, check_number, keyword_only

from nn_train.callbacks._callback import Callback, Comparison, Stop

__all__ = ["EarlyStopping"]

_WEIGHTS = "weights."


class EarlyStopping(Callback):
    """Stops when a monitored value no longer improves, and restores the best weights.

    A value that is equal to the best, or NaN, is not an improvement. (Prechelt, "Early Stopping -
    But When?", 1998.)

    Args:
        monitor: the name of a value in the history.
        patience: the number of epochs without improvement after which the run stops.
        min_delta: the minimum improvement: a value must be better by more than this.
        mode: ``'min'`` or ``'max'``; ``'auto'`` infers it from the name.
        restore: whether the model gets its best weights back when the run ends, for whatever
            reason: by itself, by another callback, by an error or by Ctrl-C.

    Attributes:
        best: the best value so far, or None.
        best_epoch: its epoch, counted from 1, or None.
        wait: the number of epochs since the best.

    Raises:
        ValueError: for an option out of range; when the run begins, for a monitor that it will not
            record.
        TypeError: for an option of the wrong type.

    >>> EarlyStopping("val_loss", patience=3)
    EarlyStopping('val_loss', patience=3, mode='min')
    """

    @keyword_only
    def __init__(
        self,
        monitor: str = "val_loss",
        *,
        patience: int = 5,
        min_delta: float = 0.0,
        mode: str = "auto",
        restore: bool = True,
    ) -> None:
        self.monitor = monitor
        self.patience: int = check_integer("patience", patience, minimum=0)
        self.min_delta: float = check_number("min_delta", min_delta, minimum=0)
        self.restore: bool = check_bool("restore", restore)
        self._comparison = Comparison(monitor, mode, self.min_delta)
        self._reset()

    def _reset(self) -> None:
        self.best: float | None = None
        self.best_epoch: int | None = None
        self.wait: int = 0
        self._weights: dict[str, Any] | None = None

    def on_fit_check(self, trainer: Any) -> None:
        """Check the name."""
        self._comparison.check(trainer.names)

    def on_fit_begin(self, trainer: Any) -> Stop | None:
        """Start over, unless the run is resumed."""
        if not trainer.resumed:
            self._reset()
        return self._stop()

    def on_epoch_end(self, trainer: Any) -> Stop | None:
        """Compare the epoch with the best."""
        row = trainer.history[-1]
        value = row[self.monitor]
        if self._comparison.better(value, self.best):
            self.best, self.best_epoch, self.wait = value, row["epoch"], 0
            if self.restore:
                state = trainer.model.state_dict()
                self._weights = {k: np.array(v) for k, v in state.items() if k != METADATA_KEY}
            return None
        self.wait += 1
        return self._stop()

    def _stop(self) -> Stop | None:
        # With a patience of 0 the first epoch that is not better ends the run.
        if self.wait < max(self.patience, 1):
            return None
        best = "" if self.best is None else f"; {self.best:.6g} in epoch {self.best_epoch}"
        return Stop(f"{self.monitor} has not improved for {self.wait} epochs{best}")

    def on_fit_end(self, trainer: Any, reason: str) -> None:
        """Restore the best weights."""
        if self._weights is not None:
            trainer.model.load_state_dict(self._weights)

    def state_dict(self) -> dict[str, Any]:
        """Return the best number, its epoch, the epochs since and the best weights."""
        numbers = {"best": self.best, "best_epoch": self.best_epoch, "wait": self.wait}
        state = {f"{_WEIGHTS}{key}": value for key, value in (self._weights or {}).items()}
        return {**state, METADATA_KEY: {"monitor": self.monitor, **numbers}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load what `state_dict` returned.

        Raises:
            ValueError: if it monitored another number.
        """
        metadata = state[METADATA_KEY]
        if metadata["monitor"] != self.monitor:
            raise ValueError(
                f"EarlyStopping: the saved one monitors {metadata['monitor']!r}, this one "
                f"{self.monitor!r}"
            )
        self.best, self.best_epoch = metadata["best"], metadata["best_epoch"]
        self.wait = metadata["wait"]
        weights = {
            k.removeprefix(_WEIGHTS): np.array(v)
            for k, v in state.items()
            if k.startswith(_WEIGHTS)
        }
        self._weights = weights or None

    def __repr__(self) -> str:
        options = f"patience={self.patience}, mode={self._comparison.mode!r}"
        return f"{type(self).__name__}({self.monitor!r}, {options})"
