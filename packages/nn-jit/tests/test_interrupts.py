"""Exceptions that come from outside, as by Ctrl-C, leave nothing switched on."""

import sys
import threading

import numpy as np
import pytest
from nn_jit import _watch, jit
from nn_tensor import Tensor, softmax
from nn_tensor.extend import current_modes, current_observer, external


class Interrupted(BaseException):
    """Comes where Python looks for signals: when a function begins."""


def interrupt(function, known):
    """Call a function with an exception at the first call of a code that is not yet known."""
    before = sys.gettrace()

    def trace(frame, event, _):
        if frame.f_code not in known:
            sys.settrace(before)
            known.add(frame.f_code)
            raise Interrupted

    try:
        sys.settrace(trace)
        function()
    except Interrupted:
        pass
    finally:
        sys.settrace(before)


def halves(x):
    scale = external(np.float32, 0.5)
    return softmax(x * scale, 1) + 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of generators
def test_an_interrupt_at_any_call_leaves_the_thread_as_it_was():
    x = Tensor(np.ones((64, 64), np.float32))
    expected, modes = halves(x).numpy(), current_modes()
    known, count = set(), -1
    while count < len(known):
        count, function = len(known), jit(halves)
        function(x)
        interrupt(lambda function=function: function(x), known)
        assert current_observer() is None
        assert sys.getprofile() is None
        assert sys.gettrace() is None
        assert current_modes() == modes
        for _ in range(3):
            np.testing.assert_array_equal(function(x).numpy(), expected)
    assert count > 100


@pytest.mark.skipif(sys.gettrace() is not None, reason="calls are watched beside a debugger")
def test_an_interrupt_while_calls_are_watched_leaves_no_lock_locked(monkeypatch):
    lock, watch = threading.Lock(), _watch.Watcher._called

    def interrupted(self, frame, event, argument):
        if getattr(argument, "__name__", "") == "__exit__":
            raise Interrupted
        return watch(self, frame, event, argument)

    @jit
    def double(x):
        with lock:
            return x * 2

    monkeypatch.setattr(_watch.Watcher, "_called", interrupted)
    assert [double(Tensor([1.0])).item() for _ in range(3)] == [2, 2, 2]
    assert not lock.locked()
