"""Reading ahead with threads, in order.

The threads know the shared state only, never what iterates: so when that is forgotten, they end.
"""

from __future__ import annotations

import atexit
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, Final

from nn_data._cancel import Cancelled, set_cancel_event

__all__ = ["Prefetch"]

# Waiting is cut in pieces: where a wait cannot be interrupted, Ctrl-C is seen after one.
_POLL_S: Final = 0.05
_EXIT_S: Final = 0.1


class _Failure:
    """What a worker raised."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


class _Shared:
    """What the workers and the consumer share. Everything but `load` is guarded by `lock`."""

    def __init__(self, load: Callable[[int], Any], start: int, stop: int, ahead: int) -> None:
        self.load = load
        self.stop = stop
        self.ahead = ahead
        self.next = start  # the next step that a worker takes
        self.consumed = start  # the next step that is handed out
        self.results: dict[int, Any] = {}
        self.cancelled = threading.Event()
        self.lock = threading.Lock()
        self.ready = threading.Condition(self.lock)
        self.space = threading.Condition(self.lock)

    def claim(self) -> int | None:
        """Return the step to load next, waiting while enough is ready; None where all is done."""
        with self.lock:
            while not self.cancelled.is_set() and self.next < self.stop:
                if self.next - self.consumed < self.ahead:
                    self.next += 1
                    return self.next - 1
                self.space.wait()
            return None


def _work(shared: _Shared) -> None:
    set_cancel_event(shared.cancelled)
    while (step := shared.claim()) is not None:
        result: Any
        try:
            result = shared.load(step)
        except Cancelled:
            return
        except BaseException as error:
            result = _Failure(error)
        with shared.lock:
            if not shared.cancelled.is_set():
                shared.results[step] = result
            shared.ready.notify_all()
        del result


class Prefetch:
    """The results of ``load(step)`` for `start` ≤ step < `stop`, in order, computed by threads.

    An error is raised where its result would have been, after all that came before. The threads
    begin with `start`, so that what may have to close this knows it before there are any.

    Args:
        load: the function, called by several threads at once.
        start: the first step.
        stop: the step to stop before.
        workers: the number of threads.
        ahead: the number of steps that may be loaded or loading before they are needed.
    """

    def __init__(
        self, load: Callable[[int], Any], start: int, stop: int, workers: int, ahead: int
    ) -> None:
        self._shared = _Shared(load, start, stop, ahead)
        self._threads: list[threading.Thread] = []
        self._workers = min(workers, stop - start)
        _running.add(self)

    def start(self) -> None:
        """Start the threads."""
        try:
            for i in range(self._workers):
                name = f"nn_data-worker-{i}"
                # A daemon: the program may end while a worker waits.
                thread = threading.Thread(
                    target=_work, args=(self._shared,), name=name, daemon=True
                )
                thread.start()
                self._threads.append(thread)
        except BaseException:
            self.close()
            raise

    def get(self) -> Any:
        """Return the next result, waiting for it.

        Raises:
            RuntimeError: if it was closed.
        """
        shared = self._shared
        with shared.lock:
            step = shared.consumed
            while step not in shared.results and not shared.cancelled.is_set():
                shared.ready.wait(_POLL_S)
            if shared.cancelled.is_set():
                raise RuntimeError("the loader was closed while it was iterated over")
            result = shared.results.pop(step)
            shared.consumed += 1
            shared.space.notify()
        if isinstance(result, _Failure):
            self.cancel()
            try:
                raise result.error
            finally:
                # The error's traceback refers to this frame.
                del result
        return result

    def cancel(self) -> None:
        """Tell the workers to stop after the sample that they are reading."""
        shared = self._shared
        with shared.lock:
            shared.cancelled.set()
            shared.results.clear()
            shared.space.notify_all()
            shared.ready.notify_all()

    def close(self, timeout: float | None = None) -> None:
        """Stop the workers, and wait until they have ended, or for `timeout` seconds in all."""
        self.cancel()
        end = None if timeout is None else time.monotonic() + timeout
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(None if end is None else max(end - time.monotonic(), 0))
        _running.discard(self)


_running: weakref.WeakSet[Prefetch] = weakref.WeakSet()


def _close_all() -> None:
    running = list(_running)
    for prefetch in running:
        prefetch.cancel()
    end = time.monotonic() + _EXIT_S
    for prefetch in running:
        prefetch.close(max(end - time.monotonic(), 0))


atexit.register(_close_all)
