"""Observers of a thread: what they are told, and that they change nothing."""

import threading

import numpy as np
import pytest
from nn_tensor import Tensor, arange, exp, grad, no_grad, randn, where, zeros
from nn_tensor.extend import Observer, current_observer, external, mark_dirty, noted, observe


class Log(Observer):
    """Remembers what it was told, and replays nothing."""

    def __init__(self):
        self.calls, self.events = [], []

    def computed(self, function, arguments, options, result, label, writes):
        self.calls.append((function, arguments, options, result, label, writes))

    def external(self, function, arguments, result, snapshot):
        self.events.append(("external", function.__name__))

    def read(self, tensor, how):
        self.events.append(("read", how))

    def replaced(self, tensor):
        self.events.append(("replaced", tensor.shape))

    def written(self, array):
        self.events.append(("written", array.shape))

    def gradient_set(self, tensor):
        self.events.append(("gradient", tensor.has_grad))

    def made(self, tensor, data):
        if not isinstance(data, (Tensor, np.ndarray)):
            self.events.append(("made", data))

    def refused(self, what):
        self.events.append(("refused", what))

    @property
    def labels(self):
        return [call[4] for call in self.calls]


def program(x, w):
    y = (x @ w + 1.0) * x
    z = y[0] * y[1] + exp(y[1]) / (where(y[0] > 0, y[0], 2.0) ** 2 + 1)
    return z.sum()


def leaves(dtype=np.float32):
    rng = np.random.default_rng(0)
    return [Tensor(rng.random((3, 3)).astype(dtype), requires_grad=True) for _ in range(2)]


def test_an_observed_program_gives_the_same_numbers():
    x, w = leaves()
    loss = program(x, w)
    loss.backward()
    for _ in range(2):
        x2, w2 = leaves()
        with observe(Log()):
            other = program(x2, w2)
            other.backward()
        np.testing.assert_array_equal(loss.numpy(), other.numpy())
        np.testing.assert_array_equal(x.grad.numpy(), x2.grad.numpy())
        np.testing.assert_array_equal(w.grad.numpy(), w2.grad.numpy())


def test_every_call_told_gives_its_result_again():
    labels = []

    class Repeat(Observer):
        def computed(self, function, arguments, options, result, label, writes):
            labels.append(label)
            if isinstance(result, np.ndarray) and not writes:
                np.testing.assert_array_equal(function(*arguments, **options), result)

    x, w = leaves()
    with observe(Repeat()):
        program(x, w).backward()
    assert labels[:3] == ["matmul", "add", "multiply"]
    assert "gradient of matmul with respect to x" in labels


def test_arrays_of_a_backward_pass_follow_from_those_told_before():
    x, w = leaves()
    known = {id(x._data), id(w._data)}
    keep = []

    class Known(Observer):
        def computed(self, function, arguments, options, result, label, writes):
            keep.append((arguments, result))
            for value in arguments:
                if isinstance(value, np.ndarray):
                    assert id(value) in known, label
            for value in result if isinstance(result, tuple) else [result]:
                if isinstance(value, np.ndarray):
                    known.add(id(value))

    with observe(Known()):
        program(x, w).backward()
        # a gradient that is accumulated, and one that is asked for
        program(x, w).backward()
        (g,) = grad(program(x, w), [x])
    for gradient in (x.grad, w.grad, g):
        assert id(gradient._data) in known


def test_higher_derivatives_are_told_as_operations():
    x, w = leaves()
    log = Log()
    with observe(log):
        (first,) = grad(program(x, w), [x], create_graph=True)
        first.sum().backward()
    assert not [e for e in log.events if e[0] == "refused"]
    assert "multiply" in log.labels


@pytest.mark.parametrize(
    "read",
    [
        lambda x: x.data,
        lambda x: x.numpy(),
        lambda x: x.tolist(),
        lambda x: x[0, 0].item(),
        lambda x: float(x[0, 0]),
        lambda x: bool(x[0, 0] > 0),
        lambda x: 0.5 in x,
        lambda x: np.asarray(x),
        lambda x: np.allclose(x, x),
        lambda x: repr(x),
        lambda x: f"{x[0, 0]:.2f}",
        lambda x: Tensor([x[0, 0], 1.0]),
        lambda x: exp([x[0, 0].detach(), 1.0]),
        lambda x: x.__dlpack__(),
    ],
)
def test_a_read_of_values_is_told(read):
    x = leaves()[0].detach()
    log = Log()
    with observe(log):
        read(x)
    assert "read" in [event for event, _ in log.events]


def test_changes_in_place_are_told():
    x = zeros(3)
    log = Log()
    with observe(log):
        x += 1.0
        x[0] = 5.0
        x[arange(2)] = Tensor([7.0, 8.0])
        x.data = np.ones(3, np.float32)
        mark_dirty(x._data)
    assert [label for *_, label, writes in log.calls if writes] == [
        "write (+=)",
        "item assignment",
        "item assignment",
    ]
    assert ("replaced", (3,)) in log.events
    assert ("written", (3,)) in log.events


def test_gradients_set_and_cleared_are_told():
    x = Tensor([1.0], requires_grad=True)
    log = Log()
    with observe(log):
        (x * 2).backward()
        x.zero_grad()
        x.grad = Tensor([3.0])
    assert [value for kind, value in log.events if kind == "gradient"] == [True, False, True]


def test_hooks_are_told_as_what_cannot_be_followed():
    x = Tensor([1.0], requires_grad=True)
    x.register_hook(lambda g: g * 2)
    y = x * 3
    y.retain_grad()
    log = Log()
    with observe(log):
        (y * 2).backward()
    assert [kind for kind, _ in log.events].count("refused") == 2


def test_externals_are_told_and_not_what_is_inside_them():
    log = Log()
    x = Tensor([1.0, 3.0])

    def largest(array):
        assert type(array) is np.ndarray
        (x * 2).data.max()
        return float(array.max())

    assert external(largest, x) == 3.0
    with observe(log):
        result = external(largest, x)
    assert isinstance(result, Tensor)
    assert result.item() == 3.0
    assert log.events == [("external", "largest")]
    assert not log.calls


def test_functions_of_arrays_are_told_as_operations_and_not_what_is_inside_them():
    log = Log()
    x = Tensor([1.0, 3.0])

    def doubled(array, factor):
        assert type(array) is np.ndarray
        (x * 2).data.max()
        return array * factor

    assert noted(doubled, x, 2).tolist() == [2, 6]
    with observe(log):
        assert noted(doubled, x, 2).tolist() == [2, 6]
        noted(doubled, x, 2, label="twice")
    assert log.labels == ["doubled", "twice"]
    assert not log.events


def test_drawing_and_creating_are_told():
    log = Log()
    rng = np.random.default_rng(0)
    with observe(log):
        drawn = randn(2, rng=rng)
        zeros(3)
        Tensor([1.0])
    np.testing.assert_array_equal(drawn.numpy(), randn(2, rng=0).numpy())
    assert log.labels == ["zeros"]
    assert log.events == [("external", "floats"), ("made", [1.0])]


def test_an_observer_is_of_one_thread_and_does_not_nest():
    log = Log()
    x = Tensor([1.0])
    with observe(log):
        with pytest.raises(RuntimeError, match="do not nest"), observe(Log()):
            pass
        assert current_observer() is log
        other = threading.Thread(target=lambda: (x * 2).data)
        other.start()
        other.join()
        with no_grad():
            y = x * 3
    assert current_observer() is None
    assert log.labels == ["multiply"]
    y.data  # noqa: B018 - nobody is told
    assert not log.events


def test_an_observer_ends_with_an_exception():
    with pytest.raises(KeyError), observe(Log()):
        raise KeyError("x")
    assert current_observer() is None
