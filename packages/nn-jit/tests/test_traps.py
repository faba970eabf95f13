"""What goes wrong silently elsewhere: here each is right, or an error that says what to do."""

import copy
import logging
import threading

import nn_tensor
import numpy as np
import pytest
from nn_jit import JitError, jit
from nn_tensor import Tensor, arange, exp, no_grad, randn, where, zeros
from nn_tensor.extend import Observer, external, mark_dirty, observe


def inputs(count=6, shape=(3,)):
    rng = np.random.default_rng(0)
    return [Tensor(rng.standard_normal(shape).astype(np.float32)) for _ in range(count)]


def agree(function, calls, make=None):
    """Compare a function with its jit on the same calls; `make` builds a function with state."""
    make = make or (lambda: function)
    plain, fast = make(), jit(make())
    for args in calls:
        args = args if isinstance(args, tuple) else (args,)
        assert_same(fast(*args), plain(*args))
    return fast


def assert_same(a, b):
    assert type(a) is type(b)
    if isinstance(a, (tuple, list)):
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    elif isinstance(a, dict):
        assert list(a) == list(b)
        assert_same(list(a.values()), list(b.values()))
    elif isinstance(a, Tensor):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    else:
        np.testing.assert_array_equal(a, b)


def replays(fast):
    return sum(program.replays for program in fast.explain().programs)


# Results


def test_a_result_is_not_overwritten_by_the_next_call():
    double = jit(lambda x: x * 2)
    results = [double(x) for x in inputs()]
    for x, y in zip(inputs(), results, strict=True):
        np.testing.assert_array_equal(y.numpy(), x.numpy() * 2)
    assert replays(double) == 3


def test_changing_a_result_does_not_change_the_next():
    f = jit(lambda x: (x * 2, zeros(3)))
    for x in inputs():
        y, z = f(x)
        np.testing.assert_array_equal(z.numpy(), 0)
        np.testing.assert_array_equal(y.numpy(), x.numpy() * 2)
        with no_grad():
            y += 1
            z += 1


def test_results_in_structures_keep_them():
    def f(x):
        y = x + 1
        return {"a": [y, (y * 2, None)], "shape": x.shape, "n": 3, "same": x, "again": y}

    fast = agree(f, inputs())
    x = inputs()[0]
    result = fast(x)
    assert result["same"] is x
    assert result["a"][0] is not None


def test_a_view_of_an_input_stays_a_view():
    f = jit(lambda x: x[1:])
    for x in inputs():
        assert np.shares_memory(f(x).numpy(), x.numpy())


def test_a_result_of_unknown_type_is_refused():
    class Box:
        def __init__(self, x):
            self.x = x

    f = jit(lambda x: Box(x * 2))
    f(inputs()[0])
    with pytest.raises(JitError, match="returned Box; expected Tensors"):
        f(inputs()[0])


def test_a_result_with_a_graph_is_refused():
    w = Tensor([2.0], requires_grad=True)
    f = jit(lambda x: x * w)
    f(inputs(shape=(1,))[0])
    with pytest.raises(JitError, match=r"whose graph was recorded.*no_grad"):
        f(inputs(shape=(1,))[0])
    f = jit(no_grad()(lambda x: x * w))
    for x in inputs(shape=(1,)):
        assert f(x).item() == x.item() * 2


def test_functions_that_return_none_are_recorded():
    total = zeros(3)

    @jit
    def f(x):
        nonlocal_total = total
        nonlocal_total += x

    for x in inputs():
        assert f(x) is None
    np.testing.assert_array_equal(total.numpy(), sum_in_order(inputs()))
    assert replays(f) == 3


def sum_in_order(tensors):
    total = np.zeros(3, np.float32)
    for x in tensors:
        total += x.numpy()
    return total


# Values of Python


def test_a_branch_on_a_value_is_refused():
    @jit
    def f(x):
        if x.sum() > 0:
            return x * 2
        return x

    f(inputs()[0])
    with pytest.raises(JitError, match=r"values of a Tensor.*read.*test_traps\.py:\d+ in f.*where"):
        f(inputs()[0])


@pytest.mark.parametrize(
    "read",
    [
        lambda x: x.sum().item(),
        lambda x: float(x[0]),
        lambda x: x.numpy(),
        lambda x: x.data,
        lambda x: x.tolist(),
        lambda x: np.asarray(x),
        lambda x: np.allclose(x, x),
        lambda x: 1.0 in x,
        lambda x: f"{x}",
        lambda x: Tensor([x[0], 1.0]),
    ],
)
def test_a_read_of_a_value_is_refused(read):
    def f(x):
        read(x * 2)
        return x * 3

    fast = jit(f)
    fast(inputs()[0])
    with pytest.raises(JitError, match="read"):
        fast(inputs()[0])


def test_a_branch_on_a_shape_is_part_of_the_signature():
    def f(x):
        return x * 2 if x.shape[0] > 2 else x * 3

    fast = agree(f, [*inputs(4), *inputs(4, (2,)), *inputs(4)])
    assert fast.explain().signatures == 2


def test_values_of_python_arguments_are_part_of_the_signature():
    def f(x, factor, *, offset=0, flag=False):
        return x * factor + offset if flag else x * factor

    fast = jit(f)
    for x in inputs(12):
        for args, kwargs in [((2.0,), {}), ((3.0,), {}), ((2.0,), {"offset": 1, "flag": True})]:
            assert_same(fast(x, *args, **kwargs), f(x, *args, **kwargs))
        assert_same(fast(x, -0.0), f(x, -0.0))
        assert_same(fast(x, 0.0), f(x, 0.0))
    assert fast.explain().signatures == 5


def test_one_true_and_one_point_zero_differ():
    def f(x, n):
        return x * n if isinstance(n, bool) else x / (n + 2)

    fast = agree(f, [(x, n) for x in inputs(4) for n in (1, True, 1.0)])
    assert fast.explain().signatures == 3


def test_order_of_keyword_arguments_does_not_matter():
    f = jit(lambda a, b: a - b)
    for x, y in zip(inputs(6), inputs(6)[::-1], strict=True):
        for kwargs in ({"a": x, "b": y}, {"b": y, "a": x}):
            np.testing.assert_array_equal(f(**kwargs).numpy(), x.numpy() - y.numpy())
    assert f.explain().signatures == 1


def test_an_unhashable_argument_is_refused():
    f = jit(lambda x, s: x * len(s))
    with pytest.raises(JitError, match="set cannot be compared"):
        f(inputs()[0], {1, 2})


def test_a_number_that_keeps_changing_is_said_once(caplog):
    f = jit(lambda x, lr: x * lr)
    x = inputs()[0]
    with caplog.at_level(logging.WARNING, "nn_jit"):
        for n in range(30):
            np.testing.assert_array_equal(f(x, n / 7).numpy(), x.numpy() * np.float32(n / 7))
    assert len(caplog.records) == 1
    assert "9 signatures" in caplog.text
    assert "'lr'" in caplog.text


def test_a_variable_around_the_function_is_watched():
    factor = 2.0

    def f(x):
        return x * factor

    fast = jit(f)
    for n, x in enumerate(inputs(12)):
        factor = 2.0 if n < 6 else 3.0
        np.testing.assert_array_equal(fast(x).numpy(), x.numpy() * np.float32(factor))
    assert "factor" in str(fast.explain())


def test_variables_inside_a_decorated_function_and_a_method_are_watched():
    factor = 2.0

    @jit
    @no_grad()
    def f(x):
        return x * factor

    class Scale:
        def __init__(self):
            self.factor = 2.0

        @jit
        def apply(self, x):
            return x * self.factor

    scale = Scale()
    g = jit(lambda x: Scale.apply.__wrapped__(scale, x) + 0)
    for n, x in enumerate(inputs(12)):
        factor = scale.factor = 2.0 if n < 6 else 3.0
        for function in (f, scale.apply, g):
            np.testing.assert_array_equal(function(x).numpy(), x.numpy() * np.float32(factor))
    assert "the attribute 'factor'" in str(g.explain())


def test_a_counter_of_python_is_found_out():
    counts = [0]

    @jit
    def f(x):
        counts[0] += 1
        return x * counts[0]

    f(inputs()[0])
    f(inputs()[0])
    with pytest.raises(JitError, match="first replay differed"):
        f(inputs()[0])


def test_a_stale_attribute_is_found_out():
    class Cell:
        hidden = zeros(3)

        def __call__(self, x):
            self.hidden = self.hidden + x
            return self.hidden * 1

    f = jit(Cell())
    f(inputs()[0])
    f(inputs()[0])
    with pytest.raises(JitError, match="first replay differed"):
        f(inputs()[0])


def test_instances_do_not_share_programs():
    class Layer:
        def __init__(self, factor):
            self.weight = Tensor([factor])

        @jit
        def apply(self, x):
            return x * self.weight

    one, two = Layer(2.0), Layer(3.0)
    for x in inputs():
        np.testing.assert_array_equal(one.apply(x).numpy(), x.numpy() * 2)
        np.testing.assert_array_equal(two.apply(x).numpy(), x.numpy() * 3)
    other = copy.deepcopy(one)
    other.weight.data = np.full(1, 5, np.float32)
    for x in inputs():
        np.testing.assert_array_equal(one.apply(x).numpy(), x.numpy() * 2)
        np.testing.assert_array_equal(other.apply(x).numpy(), x.numpy() * 5)


def test_a_method_of_a_class_with_slots_is_refused():
    class Slots:
        __slots__ = ()

        @jit
        def apply(self, x):
            return x * 2

    with pytest.raises(TypeError, match="without __slots__"):
        Slots().apply(inputs()[0])


# Arrays from nowhere


def test_an_array_from_nowhere_is_refused():
    outside = np.ones(3, np.float32)
    f = jit(lambda x: x + Tensor(outside * 2))
    f(inputs()[0])
    with pytest.raises(JitError, match=r"add got an array of shape \(3,\).*neither an argument"):
        f(inputs()[0])
    f = jit(lambda x: x + np.random.default_rng().random(3).astype(np.float32))
    f(inputs()[0])
    with pytest.raises(JitError, match="neither an argument"):
        f(inputs()[0])


def test_a_result_from_nowhere_is_refused():
    f = jit(lambda x: (x * 2, np.ones(3)))
    f(inputs()[0])
    with pytest.raises(JitError, match="the result"):
        f(inputs()[0])


def test_constants_of_python_and_created_tensors_are_part_of_the_program():
    def f(x):
        y = zeros(3)
        with no_grad():
            y += x
        z = Tensor([1, 2, 3]) + arange(3) + nn_tensor.ones_like(x)
        return nn_tensor.add(y, [1.0, 2.0, 3.0]) * z

    agree(f, inputs())


def test_numbers_drawn_inside_are_drawn_anew():
    def make():
        rng = np.random.default_rng(3)
        return lambda x: x + randn(3, rng=rng) * nn_tensor.rand(3, rng=rng)

    fast = agree(None, inputs(), make)
    assert replays(fast) == 3


def test_a_generator_without_a_seed_is_found_out():
    f = jit(lambda x: x + randn(3))
    f(inputs()[0])
    f(inputs()[0])
    with pytest.raises(JitError, match="generator without a seed"):
        f(inputs()[0])


def test_a_seed_inside_the_function_draws_the_same_each_time():
    agree(lambda x: x + randn(3, rng=5), inputs())


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


def test_a_parameter_that_is_an_argument_and_reached_from_elsewhere():
    w, v = (Tensor(np.full(3, n, np.float32), requires_grad=True) for n in (2, 3))

    def f(x, p):
        return (x * p + w).detach()

    agree(f, [(x, p) for p in (w, v, w) for x in inputs()])
    a, b = (Tensor(np.full(3, n, np.float32)) for n in (2, 3))
    c = a.detach()
    agree(lambda x, p: x * p + c, [(x, p) for p in (a, b, a) for x in inputs()])


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
    def f(x):
        return x.reshape(-1) * 2

    base = np.arange(12.0).reshape(3, 4)
    for x in (base, base.T, base.astype(np.float32)):
        agree(f, [Tensor(x + n) if x is base else Tensor(x) for n in range(5)])


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


def test_a_function_that_calls_itself_runs_as_written():
    @jit
    def f(x, n):
        return x if n == 0 else f.__wrapped__(x * 2, n - 1)

    for x in inputs():
        np.testing.assert_array_equal(f(x, 3).numpy(), x.numpy() * 8)


def test_observing_and_recording_exclude_each_other():
    f = jit(lambda x: x * 2)
    with observe(Observer()), pytest.raises(JitError, match="do not nest"):
        f(inputs()[0])


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
