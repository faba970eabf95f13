"""What a recording takes from Python: results, branches, constants and values drawn."""

import logging

import nn_tensor
import numpy as np
import pytest
from jit_parts import agree, assert_same, inputs, replays
from nn_jit import JitError, jit
from nn_tensor import Tensor, arange, no_grad, randn, zeros

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


def test_a_tensor_that_is_returned_twice_is_one_object():
    def f(x):
        y = x + 1
        return y, {"again": [y]}, y.detach(), x.sum()

    fast = jit(f)
    for x in inputs():
        for first, others, alias, total in (f(x), fast(x)):
            assert others["again"][0] is first
            assert alias is not first
            assert np.shares_memory(alias.numpy(), first.numpy())
            assert total.shape == ()
    assert replays(fast) == 3


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
    with pytest.raises(
        JitError, match=r"values of a Tensor.*read.*test_recorded_values\.py:\d+ in f.*where"
    ):
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
