"""Arguments that overlap or are written, and the state that a program reads and changes."""

import logging
import sys

import nn_tensor
import numpy as np
import pytest
from jit_parts import agree, assert_same, inputs, replays
from nn_jit import JitError, jit
from nn_tensor import Tensor, exp, grad, no_grad, zeros
from nn_tensor.extend import mark_dirty

# Arguments


def test_the_same_array_twice_is_another_signature():
    def f(x, y):
        with no_grad():
            x += y
        return x * y

    def calls():
        tensors = inputs(12)
        return [*zip(tensors[:6], tensors[6:], strict=True), *((t, t) for t in inputs(6))]

    fast = jit(f)
    for (a, b), (c, d) in zip(calls(), calls(), strict=True):
        assert_same(fast(a, b), f(c, d))
        assert_same(a, c)
    assert fast.explain().signatures == 2


def test_overlapping_views_as_arguments():
    def f(x, y):
        with no_grad():
            x += y
        return x + y

    for function in (f, jit(f)):
        base = np.arange(6, dtype=np.float32)
        for _ in range(6):
            function(Tensor(base[:4]), Tensor(base[2:]))
        if function is f:
            expected = base.copy()
    np.testing.assert_array_equal(base, expected)


def test_an_argument_is_written_in_place():
    def f(x):
        with no_grad():
            x[0] = x.sum()
            x *= 2

    fast = jit(f)
    for a, b in zip(inputs(), inputs(), strict=True):
        f(a)
        fast(b)
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_an_argument_that_is_a_parameter():
    w = Tensor([1.0, 2.0, 3.0], requires_grad=True)

    def f(x, p):
        p.zero_grad()
        (x * p).sum().backward()
        return p.grad

    agree(f, [(x, w) for x in inputs()])


@pytest.mark.parametrize("calls", ["backward", "grad"])
def test_the_gradient_of_a_result_that_is_reached_from_elsewhere(calls):
    w = Tensor([1.0, 2.0, 3.0], requires_grad=True)
    gradient = Tensor([1.0, 2.0, 4.0])

    def f(x):
        w.zero_grad()
        if calls == "grad":
            return grad(x * w, w, gradient)
        (x * w).backward(gradient)
        return w.grad

    fast = jit(f)
    for x in inputs():
        gradient.data = 2 * gradient.data
        assert_same(fast(x), f(x))
    assert replays(fast) > 1


def test_a_parameter_that_is_an_argument_and_reached_from_elsewhere():
    w, v = (Tensor(np.full(3, n, np.float32), requires_grad=True) for n in (2, 3))

    def f(x, p):
        return (x * p + w).detach()

    agree(f, [(x, p) for p in (w, v, w) for x in inputs()])
    a, b = (Tensor(np.full(3, n, np.float32)) for n in (2, 3))
    c = a.detach()
    agree(lambda x, p: x * p + c, [(x, p) for p in (a, b, a) for x in inputs()])


@pytest.mark.parametrize("holder", ["variable", "list", "object", "method", "inside", "function"])
def test_a_parameter_that_the_function_holds_is_told_from_others(holder):
    """Which is updated, though both are arguments in turn."""

    class Updates:
        def __init__(self, *parameters):
            self.parameters = {"all": [list(parameters)]}

        def step(self):
            for p in vars(self)["parameters"]["all"][0]:
                update(p)

        def use(self, x, p):
            p.zero_grad()
            (x * p * p).sum().backward()
            self.step()
            return p.grad

    def update(p):
        with no_grad():
            p -= p.grad * 0.1

    def make():
        w, v = (Tensor(np.full(3, n, np.float32), requires_grad=True) for n in (2, 3))
        updates, parameters = Updates(w), [w]

        def update_first():
            update(parameters[0])

        def use(x, p, change):
            p.zero_grad()
            (x * p * p).sum().backward()
            change()
            return p.grad

        functions = {
            "variable": lambda x, p: use(x, p, lambda: update(w)),
            "list": lambda x, p: use(x, p, lambda: update(parameters[0])),
            "method": updates.use,
            "object": lambda x, p: use(x, p, updates.step),
            "inside": lambda x, p: use(x, p, lambda: [update(q) for q in parameters]),
            "function": lambda x, p: use(x, p, update_first),
        }
        return functions[holder], w, v

    (plain, w, v), (fast, other_w, other_v) = make(), make()
    fast = jit(fast)
    for a, b in [(w, other_w), (v, other_v), (w, other_w)]:
        for x in inputs():
            assert_same(fast(x, b), plain(x, a))
            assert_same([other_w, other_v], [w, v])
    assert len(fast.explain().programs) == 2


def test_a_parameter_in_a_list_that_the_function_does_not_read_is_any_parameter():
    parameters = [Tensor(np.full(3, n, np.float32), requires_grad=True) for n in range(6)]

    def f(x, p):
        p.zero_grad()
        (x * p * p).sum().backward()
        return p.grad

    fast = agree(f, [(x, parameters[n % 6]) for n, x in enumerate(inputs(18))])
    assert len(fast.explain().programs) == 1
    assert replays(fast) == 15


def test_gradients_of_an_argument():
    def f(x):
        (x * x).sum().backward()
        return x.grad

    fast = jit(f)
    for x in inputs():
        leaf = Tensor(x.numpy(), requires_grad=True)
        np.testing.assert_array_equal(fast(leaf).numpy(), 2 * x.numpy())
        np.testing.assert_array_equal(leaf.grad.numpy(), 2 * x.numpy())
    assert replays(fast) == 3


def test_an_argument_with_a_graph_is_refused():
    w = Tensor([1.0], requires_grad=True)
    with pytest.raises(JitError, match=r"result of a recorded operation.*detach"):
        jit(lambda x: x * 2)(w * 2)


def test_numpy_arrays_as_arguments_and_results():
    agree(lambda x: exp(Tensor(x)), [np.full(3, n, np.float32) for n in range(6)])


def test_dtype_and_layout_are_part_of_the_signature():
    base = np.arange(16.0).reshape(4, 4)
    arrays = [base, base.T, base.astype(np.float32)] * 5
    fast = agree(lambda x: x.reshape(-1) * 2, [Tensor(x) for x in arrays])
    assert fast.explain().signatures == 3
    assert replays(fast) == 6  # of five calls each the last two


def test_zero_sizes():
    agree(lambda x: (x * 2, x.sum()), [Tensor(np.zeros((0, 3), np.float32)) for _ in range(5)])


# State


def test_gradients_accumulate_over_calls():
    def make():
        w = Tensor([1.0, 2.0, 3.0], requires_grad=True)

        def step(x):
            (x * w * w).sum().backward()
            return w.grad

        return step

    agree(None, inputs(12), make)


@pytest.mark.parametrize("clears", [False, True])
def test_gradients_that_are_sums_of_constants_and_others(clears):
    """What is the same in each replay is kept as it was before more was added to it."""

    def make():
        w = Tensor(np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3), requires_grad=True)

        def step(x):
            if clears:
                w.zero_grad()
            ((w * x).mean() + (w + w).mean() + (w[:3].sum() + w[1:].sum() + w.sum())).backward()
            w.sum().backward()
            return w.grad

        return step

    assert replays(agree(None, inputs(6, (4, 3)), make)) > 1


def test_a_gradient_kept_outside_is_not_overwritten():
    w = Tensor([1.0, 2.0, 3.0], requires_grad=True)

    @jit
    def step(x):
        w.zero_grad()
        (x * w).sum().backward()

    kept = []
    for x in inputs():
        step(x)
        kept.append(w.grad)
    for x, g in zip(inputs(), kept, strict=True):
        np.testing.assert_array_equal(g.numpy(), x.numpy())


@pytest.mark.parametrize("needs_grad", [True, False])
def test_new_data_of_a_parameter_is_seen(needs_grad):
    w = Tensor([1.0, 2.0, 3.0], requires_grad=needs_grad)
    f = jit(no_grad()(lambda x: x * w))
    for n, x in enumerate(inputs(12)):
        if n == 5:
            w.data = np.full(3, 7, np.float32)
        if n == 8:
            w.data[...] = 9
        np.testing.assert_array_equal(f(x).numpy(), x.numpy() * w.numpy())
    assert ("replaced" in str(f.explain())) == needs_grad


def test_tensors_that_share_an_array_are_told_apart():
    v = Tensor(np.ones(3, np.float32))
    w = v.detach()
    f = jit(lambda x: (x * v, x + w))
    for n, x in enumerate(inputs(15)):
        if n == 5:
            v.data = np.full(3, 7, np.float32)
        if n == 10:
            w.data = np.full(3, 8, np.float32)
        a, b = f(x)
        np.testing.assert_array_equal(a.numpy(), x.numpy() * v.numpy())
        np.testing.assert_array_equal(b.numpy(), x.numpy() + w.numpy())


def test_freezing_a_parameter_is_seen():
    w = Tensor([1.0, 2.0, 3.0], requires_grad=True)
    v = Tensor([1.0, 2.0, 3.0], requires_grad=True)

    @jit
    def step(x):
        w.zero_grad()
        v.zero_grad()
        (x * w * v).sum().backward()
        return v.grad

    for n, x in enumerate(inputs(10)):
        w.requires_grad = n < 5
        step(x)
        assert w.has_grad == (n < 5)


def test_a_tensor_whose_data_the_function_replaces():
    def make():
        mean = zeros(3)

        def f(x):
            with no_grad():
                mean.data = mean * 0.9 + x * 0.1
            return x - mean

        return f

    agree(None, inputs(12), make)


def test_an_unregistered_write_is_refused():
    w = np.ones(3, np.float32)

    @jit
    def f(x):
        w[0] = 5
        mark_dirty(w)
        return x * 2

    f(inputs()[0])
    with pytest.raises(JitError, match="written into by code that is not recorded"):
        f(inputs()[0])


def test_modes_are_part_of_the_signature():
    w = Tensor([2.0], requires_grad=True)

    def f(x):
        return (x * w).detach(), nn_tensor.is_grad_enabled()

    fast = jit(f)
    for x in inputs(shape=(1,)):
        assert_same(fast(x), f(x))
        with no_grad():
            assert_same(fast(x), f(x))
        with nn_tensor.use_kernels("reference"):
            assert_same(fast(x), f(x))
    assert fast.explain().signatures == 3


def test_the_training_mode_of_a_module_is_seen():
    class Module:
        training = True

        def forward(self, x):
            return x * 2 if self.training else x * 3

    module = Module()
    f = jit(lambda x: module.forward(x))
    for n, x in enumerate(inputs(12)):
        module.training = n < 6
        np.testing.assert_array_equal(f(x).numpy(), x.numpy() * (2 if n < 6 else 3))


def test_changes_without_end_are_said_once(caplog):
    w = Tensor([1.0], requires_grad=True)
    f = jit(no_grad()(lambda x: x * w))
    with caplog.at_level(logging.WARNING, "nn_jit"):
        for n, x in enumerate(inputs(30)):
            w.data = np.full(1, n, np.float32)
            np.testing.assert_array_equal(f(x).numpy(), x.numpy() * n)
    assert len(caplog.records) == 1


@pytest.mark.parametrize("further", ["nothing", "a variable", "a buffer"])
def test_what_a_program_depends_on_is_tested_without_a_loop_of_python(further):
    parameters = [Tensor(np.ones(3, np.float32), requires_grad=True) for _ in range(50)]
    factor, buffer = 2.0, zeros(3)

    def f(x):
        for p in parameters:
            x = x + p
        if further == "a variable":
            return x * factor
        return x + buffer if further == "a buffer" else x

    fast = jit(no_grad()(f))
    for x in inputs():
        fast(x)
    calls = []

    def note(frame, event, _):
        if event == "call" and frame.f_code.co_filename.endswith("_guard.py"):
            calls.append(frame.f_code.co_name)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        fast(inputs()[0])
    finally:
        sys.setprofile(before)
    assert calls == (["changed_state"] if further == "a buffer" else [])
