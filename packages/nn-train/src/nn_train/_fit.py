"""The loop over epochs and batches."""

from __future__ import annotations

import os
from typing import Any

from nn_train._batches import remaining
from nn_train._files import resume
from nn_train._history import History
from nn_train._interrupt import Interrupt
from nn_train._progress import Progress
from nn_train.callbacks._callback import Hooks

__all__ = ["run"]


def run(
    trainer: Any, validation: Any, place: str | os.PathLike[str] | None, progress: bool | None
) -> History:
    """Train until `trainer.epochs` are done, a callback stops, or Ctrl-C asks for it."""
    shown = [] if progress is False else [Progress(progress)]
    hooks = Hooks([*trainer.callbacks, *shown])
    trainer.resumed = place is not None and resume(trainer, place)
    hooks.call("on_fit_check", trainer)
    reason: str | None = "error"
    try:
        reason = hooks.call("on_fit_begin", trainer)
        with Interrupt() as interrupt:
            while reason is None and trainer.epoch < trainer.epochs:
                reason = _epoch(trainer, validation, hooks, interrupt)
        reason = reason or "finished"
    except BaseException:
        reason = "error"
        raise
    finally:
        trainer.stop_reason = reason
        hooks.end(trainer, reason or "error")
    return trainer.history


def _epoch(trainer: Any, validation: Any, hooks: Hooks, interrupt: Interrupt) -> str | None:
    """Train for the rest of an epoch, validate and record; return the reason to stop, or None."""
    reason = hooks.call("on_epoch_begin", trainer)
    running = trainer.running
    batches = () if trainer.epoch_over else remaining(trainer.data, trainer.batches_done)
    if reason is not None:
        return reason
    for batch in batches:
        result, forward = trainer._step(batch)
        running.loss.add(result.loss, result.weight)
        if trainer.metrics:
            running.update(forward.prediction, forward.target)
        trainer.batches_done += 1
        # Within a group of accumulated batches the run cannot be saved, so it does not end there.
        if result.stepped:
            reason = hooks.call("on_step_end", trainer)
            if interrupt.requested:
                reason = "interrupted"
            if reason is not None:
                return reason
    if trainer.batches_done == 0:
        raise ValueError("data: has no batches")
    # A loader is now at its next epoch: a run that is saved here has no more batches of this one.
    trainer.epoch_over = True
    if trainer.finish_group():
        reason = hooks.call("on_step_end", trainer)
    return _end_of_epoch(trainer, validation, hooks) or reason or _asked(interrupt)


def _end_of_epoch(trainer: Any, validation: Any, hooks: Hooks) -> str | None:
    values = trainer.running.result()
    reason = None
    if validation is not None:
        values |= {f"val_{k}": v for k, v in trainer.evaluate(validation).items()}
        trainer.values = values
        reason = hooks.call("on_validation_end", trainer)
    if (lr := trainer._learning_rate()) is not None:
        values["lr"] = lr
    trainer.values = values
    trainer.epoch += 1
    trainer.batches_done, trainer.epoch_over = 0, False
    trainer.running.reset()
    trainer.history.append({"epoch": trainer.epoch, **values})
    if trainer.schedule is not None and trainer.schedule_every == "epoch":
        monitor = trainer.schedule_monitor
        trainer.schedule.step(*([] if monitor is None else [values[monitor]]))
    return hooks.call("on_epoch_end", trainer) or reason


def _asked(interrupt: Interrupt) -> str | None:
    return "interrupted" if interrupt.requested else None
