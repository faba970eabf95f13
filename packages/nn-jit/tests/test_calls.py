"""Checks, hooks, calls in calls, threads and exceptions."""

import os
import signal
import threading

import nn_tensor
import numpy as np
import pytest
from jit_parts import agree, assert_same, inputs, replays
from nn_jit import JitError, jit
from nn_tensor import Tensor, exp, no_grad, where
from nn_tensor.extend import Observer, external, observe

# Checks and shapes


def test_an_index_out_of_range_raises_in_a_replay():
    table = Tensor(np.arange(12, dtype=np.float32).reshape(4, 3))
    f = jit(lambda i: table[i] + nn_tensor.take(table, i, axis=0))
    for n in range(4):
        f(Tensor([n]))
    with pytest.raises(IndexError):
        f(Tensor([9]))
    np.testing.assert_array_equal(f(Tensor([1])).numpy(), 2 * table.numpy()[1:2])


def test_a_shape_that_depends_on_values_is_refused():
    f = jit(lambda x: x[x > 0].mean() * x.size)
    up, down = Tensor([1.0, 2.0, -1.0]), Tensor([1.0, -2.0, -1.0])
    f(up)
    f(up)
    f(up)
    f(up)
    with pytest.raises(JitError, match="the shape depends on values"):
        f(down)


def test_an_external_is_called_anew():
    def largest(array):
        return array.max()

    agree(lambda x: x / external(lambda a: np.asarray(largest(a)), x), inputs())


def test_a_number_of_an_external_is_returned_and_not_frozen():
    def norm(array):
        return float(np.abs(array).sum())

    fast = agree(lambda x: (x * 2, external(norm, x)), inputs())
    assert replays(fast) == 3
    f = jit(lambda x: x * (2 if external(norm, x) > 1 else 3))
    f(inputs()[0])
    with pytest.raises(JitError, match="read"):
        f(inputs()[0])


def test_hooks_are_refused():
    w = Tensor([1.0], requires_grad=True)
    w.register_hook(lambda g: g * 2)

    @jit
    def f(x):
        (x * w).sum().backward()

    f(inputs()[0])
    with pytest.raises(JitError, match="hook"):
        f(inputs()[0])


def test_a_hook_that_comes_later_is_refused():
    w = Tensor([1.0], requires_grad=True)

    @jit
    def step(x):
        w.zero_grad()
        (x * w).sum().backward()
        return w.grad

    x = inputs(shape=(1,))[0]
    for _ in range(4):
        step(x)
    remove = w.register_hook(lambda g: g * 2)
    with pytest.raises(JitError, match="hook"):
        step(x)
    remove()
    assert step(x).item() == x.item()


def test_anomalies_are_detected():
    f = jit(lambda x: nn_tensor.log(x))
    for _ in range(4):
        f(Tensor([1.0]))
    with np.errstate(invalid="ignore"), nn_tensor.detect_anomaly():
        with pytest.raises(FloatingPointError, match="produced NaN"):
            f(Tensor([-1.0]))
        f(Tensor([1.0]))


# Calls in calls, threads, errors


def test_nested_programs_are_refused():
    inner = jit(lambda x: x * 2)
    outer = jit(lambda x: inner(x) + 1)
    outer(inputs()[0])
    with pytest.raises(JitError, match=r"programs do not nest.*__wrapped__"):
        outer(inputs()[0])


def test_a_function_that_calls_itself_is_refused_from_the_first_call_on():
    @jit
    def f(x, n):
        return x if n == 0 else f(x * 2, n - 1)

    for when in ("by itself", "while another function was recorded"):
        message = rf"f was called at .*test_calls.py:\d+ in f {when}; .*__wrapped__"
        with pytest.raises(JitError, match=message):
            f(inputs()[0], 3)
    for x in inputs():
        np.testing.assert_array_equal(f(x, 0).numpy(), x.numpy())


def test_a_function_that_calls_what_it_wraps_is_recorded():
    @jit
    def f(x, n):
        return x if n == 0 else f.__wrapped__(x * 2, n - 1)

    for x in inputs():
        np.testing.assert_array_equal(f(x, 3).numpy(), x.numpy() * 8)
    assert replays(f) == 3


def test_observing_and_recording_exclude_each_other():
    f = jit(lambda x: x * 2)
    with observe(Observer()), pytest.raises(JitError, match="do not nest"):
        f(inputs()[0])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of a fork while there are threads
def test_a_child_calls_a_function_that_another_thread_was_running():
    runs, ends = threading.Event(), threading.Event()

    @jit
    def double(x):
        runs.set()
        ends.wait()
        return x * 2

    x = Tensor([1.0])
    other = threading.Thread(target=double, args=(x,))
    other.start()
    runs.wait()
    child = os.fork()
    ends.set()
    if not child:
        signal.alarm(60)
        try:
            assert double(x).item() == 2
            os._exit(0)
        finally:
            os._exit(1)
    other.join()
    assert os.waitpid(child, 0)[1] == 0


def test_two_threads_with_one_function():
    w = Tensor(np.arange(3, dtype=np.float32))
    f = jit(lambda x: exp(x * w) + (x * w).sum())
    wrong = []

    def run(seed):
        rng = np.random.default_rng(seed)
        for _ in range(200):
            x = Tensor(rng.random(3, dtype=np.float32))
            expected = np.exp(x.numpy() * w.numpy()) + (x.numpy() * w.numpy()).sum()
            if not np.array_equal(f(x).numpy(), expected):
                wrong.append(seed)

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_an_exception_while_recording_leaves_nothing():
    fail = [False]

    def f(x):
        y = x * 2
        if fail[0]:
            raise KeyError("no")
        return y

    fast = jit(f)
    fast(inputs()[0])
    fail[0] = True
    with pytest.raises(KeyError):
        fast(inputs()[0])
    fail[0] = False
    for x in inputs():
        assert_same(fast(x), f(x))


def test_an_exception_in_a_replay_leaves_parameters():
    w = Tensor([1.0, 2.0, 3.0], requires_grad=True)

    def check(array):
        if array[0] > 100:
            raise ValueError("too large")

    @jit
    def step(x):
        w.zero_grad()
        loss = (x * w).sum()
        loss.backward()
        external(check, x)
        with no_grad():
            w.__isub__(w.grad * 0.1)
        return loss

    for x in inputs():
        step(x)
    before = w.numpy().copy()
    with pytest.raises(ValueError, match="too large"):
        step(Tensor([1000.0, 0.0, 0.0]))
    np.testing.assert_array_equal(w.numpy(), before)
    x = inputs()[0]
    step(x)
    np.testing.assert_array_equal(w.numpy(), before - x.numpy() * np.float32(0.1))


def test_an_interrupt_in_a_replay_leaves_no_wrong_number():
    class Interrupt(BaseException):
        pass

    stop = [False]

    def interrupt(array):
        if stop[0]:
            raise Interrupt

    @jit
    def f(x):
        y = exp(x)
        external(interrupt, y)
        return where(y > 1, y, 1.0)

    for x in inputs():
        f(x)
    stop[0] = True
    with pytest.raises(Interrupt):
        f(inputs()[0])
    stop[0] = False
    for x in inputs():
        np.testing.assert_array_equal(f(x).numpy(), np.maximum(np.exp(x.numpy()), 1))


def test_something_else_than_a_function_is_refused():
    with pytest.raises(TypeError, match="expected a function"):
        jit(3)
