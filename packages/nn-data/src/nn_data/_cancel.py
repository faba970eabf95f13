"""Cancellation of worker threads, checked between two samples."""

from __future__ import annotations

import threading

__all__ = ["Cancelled", "raise_if_cancelled", "set_cancel_event"]

_local = threading.local()


class Cancelled(BaseException):
    """The batch is no longer wanted; never seen outside of a worker."""


def set_cancel_event(event: threading.Event) -> None:
    """Let this thread stop reading samples when `event` is set."""
    _local.event = event


def raise_if_cancelled() -> None:
    """Raise `Cancelled` if this thread is a worker whose batches are no longer wanted."""
    event = getattr(_local, "event", None)
    if event is not None and event.is_set():
        raise Cancelled
