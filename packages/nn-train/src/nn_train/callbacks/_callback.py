"""`Callback`, the hooks of a run, and `Stop`, which ends it."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, NamedTuple

from nn_tensor.extend import check_choice

__all__ = ["HOOKS", "Callback", "Comparison", "Hooks", "Stop", "check_monitor"]

HOOKS = (
    "on_fit_check",
    "on_fit_begin",
    "on_epoch_begin",
    "on_step_end",
    "on_validation_end",
    "on_epoch_end",
    "on_fit_end",
)


class Stop(NamedTuple):
    """The return value of a hook that ends the run.

    Attributes:
        why: the reason, as text.

    >>> Stop("the loss is low enough").why
    'the loss is low enough'
    """

    why: str


class Callback:
    """The hooks of a run. Any object with some of these methods can be a callback.

    Each hook gets the trainer, and may return a `Stop`. One with ``state_dict()`` and
    ``load_state_dict(state)`` is saved in checkpoints.

    >>> class Goal(Callback):
    ...     def on_epoch_end(self, trainer):
    ...         if trainer.history[-1]["loss"] < 0.1:
    ...             return Stop("the loss is low enough")
    """

    last: ClassVar[bool] = False  # called after all others, and first of all when the run ends

    def on_fit_check(self, trainer: Any) -> None:
        """Called before all other hooks, after a state was loaded.

        An error here ends a run that has begun nothing: `on_fit_end` is not called.
        """

    def on_fit_begin(self, trainer: Any) -> Stop | None:
        """Called before the first step, after a state was loaded."""

    def on_epoch_begin(self, trainer: Any) -> Stop | None:
        """Called before the first batch of an epoch."""

    def on_step_end(self, trainer: Any) -> Stop | None:
        """Called after each step of the optimizer."""

    def on_validation_end(self, trainer: Any) -> Stop | None:
        """Called after the validation of an epoch, whose values are in ``trainer.values``."""

    def on_epoch_end(self, trainer: Any) -> Stop | None:
        """Called after an epoch, whose row is in ``trainer.history``."""

    def on_fit_end(self, trainer: Any, reason: str) -> None:
        """Called when the run ends, for whatever reason.

        Args:
            trainer: the trainer.
            reason: ``'finished'``, ``'interrupted'`` (by Ctrl-C), ``'error'``, or what a `Stop`
                said.
        """


class Hooks:
    """The hooks of all callbacks, in the order in which they are called."""

    def __init__(self, callbacks: Iterable[Any]) -> None:
        given = list(callbacks)
        for number, callback in enumerate(given):
            if not any(hasattr(callback, hook) for hook in HOOKS):
                raise TypeError(
                    f"callbacks[{number}]: {type(callback).__name__} has none of the hooks "
                    f"{', '.join(HOOKS)}"
                )
        self.callbacks: Sequence[Any] = sorted(given, key=lambda c: getattr(c, "last", False))
        self._methods = {
            hook: [getattr(c, hook) for c in self.callbacks if _defines(c, hook)] for hook in HOOKS
        }

    def call(self, hook: str, trainer: Any) -> str | None:
        """Call a hook of all callbacks; return the first reason to stop."""
        reason = None
        for method in self._methods[hook]:
            answer = method(trainer)
            if isinstance(answer, Stop):
                reason = reason or answer.why
            elif answer is not None:
                raise TypeError(f"{hook}: expected None or Stop('why'), got {answer!r}")
        return reason

    def end(self, trainer: Any, reason: str) -> None:
        """Call the last hook of all callbacks, whatever one of them raises; then raise the first.

        In the opposite order: files are written before best weights are restored.
        """
        first: BaseException | None = None
        for method in reversed(self._methods["on_fit_end"]):
            try:
                method(trainer, reason)
            except BaseException as error:
                if first is None:
                    first = error
        if first is not None:
            raise first


def _defines(callback: Any, hook: str) -> bool:
    own = getattr(type(callback), hook, None)
    return callable(getattr(callback, hook, None)) and own is not getattr(Callback, hook)


def check_monitor(monitor: str, names: Sequence[str]) -> None:
    """Raise unless the run will record what is monitored.

    Raises:
        ValueError: naming the nearest name.

    >>> check_monitor("los", ["loss", "lr"])
    Traceback (most recent call last):
        ...
    ValueError: monitor: 'los' is not recorded; did you mean 'loss'? There are loss, lr
    """
    if monitor in names:
        return
    near = difflib.get_close_matches(monitor, names, 1, 0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ";"
    cure = ""
    if monitor.startswith("val_") and not any(name.startswith("val_") for name in names):
        cure = " (without validation= nothing has a name with val_)"
    raise ValueError(
        f"monitor: {monitor!r} is not recorded{hint} There are {', '.join(names)}{cure}"
    )


_LOW = ("loss", "error", "mae", "mse", "rmse", "perplexity")
_HIGH = ("acc", "auc", "f1", "precision", "recall", "r2", "score")


class Comparison:
    """Which of two numbers is better: NaN is never, and neither is one that is equal."""

    def __init__(self, monitor: str, mode: str, min_delta: float = 0.0) -> None:
        self._monitor, self._min_delta = monitor, min_delta
        self.mode = check_choice("mode", mode, ("auto", "min", "max"))
        if self.mode == "auto":
            low, high = (any(part in monitor for part in parts) for parts in (_LOW, _HIGH))
            if low != high:
                self.mode = "min" if low else "max"

    def check(self, names: Sequence[str]) -> None:
        """Raise unless the monitored value will be recorded, and its mode is known."""
        check_monitor(self._monitor, names)
        if self.mode == "auto":
            raise ValueError(
                f"mode: {self._monitor!r} does not tell whether less is better; give mode='min' "
                "or mode='max'"
            )

    def better(self, value: float, best: float | None) -> bool:
        """Return whether a number is better than the best so far by more than the least change."""
        if math.isnan(value):
            return False
        if best is None:
            return True
        if self.mode == "min":
            return value < best - self._min_delta
        return value > best + self._min_delta
