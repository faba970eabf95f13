"""What comes from outside of a program: externals, and gradients that were there before."""

import nn_tensor
import numpy as np
import pytest
from jit_parts import agree, inputs, replays
from nn_jit import JitError, jit
from nn_tensor import Tensor, exp
from nn_tensor.extend import external


@pytest.mark.parametrize(
    "change", [lambda a: a[:7].copy(), lambda a: a.astype(np.float64), lambda a: a[None]]
)
def test_an_external_that_gives_another_shape_or_dtype_is_refused_before_a_loop(change):
    given = [np.ones(1000, np.float32)]
    f = jit(lambda x: x * external(lambda: given[0]) + 1)
    x = Tensor(np.ones(1000, np.float32))
    for _ in range(5):
        np.testing.assert_array_equal(f(x).numpy(), 2)
    before, given[0] = given[0], change(given[0])
    with pytest.raises(JitError, match="when the function was recorded"):
        f(x)
    given[0] = before
    np.testing.assert_array_equal(f(x).numpy(), 2)


@pytest.mark.parametrize("part", [False, True])
def test_an_external_that_gives_another_layout_is_refused(part):
    given = [np.ones((30, 40), np.float32)]

    def f(x):
        y = external(lambda: (None, given[0]))[1] if part else external(lambda: given[0])
        return exp(Tensor(y)) * x + 1

    fast = agree(f, inputs(5, (30, 40)))
    for wrong in (np.ones((40, 30), np.float32).T, np.ones((2, 2), np.float32)):
        given[0] = wrong
        with pytest.raises(JitError, match=r"<lambda> gave float32 \((30, 40|2, 2)\)"):
            fast(inputs(1, (30, 40))[0])


def test_an_external_that_gives_a_vector_with_other_strides_is_refused():
    given = [np.ones(40, np.float32)]
    fast = agree(lambda x: exp(Tensor(external(lambda: given[0]))) * x + 1, inputs(5, (40,)))
    given[0] = np.ones(80, np.float32)[::2]
    with pytest.raises(JitError, match=r"<lambda> gave float32 \(40,\), not in C order"):
        fast(inputs(1, (40,))[0])


def test_an_external_whose_result_is_only_returned_may_change_it():
    given = [1]
    f = jit(lambda x: (x * 2, external(lambda: np.ones(given[0], np.float32))))
    for n in range(1, 7):
        given[0] = n
        assert f(inputs()[0])[1].shape == (n,)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "function",
    [
        np.mean,
        lambda a: a.dtype.type(a.mean()),
        lambda a: np.asarray(a.max()),
        lambda a: (np.max(a), 0),
    ],
)
def test_numbers_of_numpy_from_an_external(function, dtype):
    def f(x):
        number = external(function, x)
        y = x * (number[0] if isinstance(number, tuple) else number) + 1
        return y, number

    fast = agree(f, [x.astype(dtype) for x in inputs()])
    assert replays(fast) == 3


def test_a_number_of_python_from_an_external_in_an_operation():
    def f(x):
        return x * external(lambda a: float(a.sum()), x) + 1

    agree(f, [x.astype("float64") for x in inputs()])
    fast = jit(f)
    fast(inputs()[0])
    with pytest.raises(JitError, match=r"multiply got a number of Python.*np\.asarray"):
        fast(inputs()[0])


def test_the_layout_of_a_gradient_that_is_read_is_seen():
    w = Tensor(np.zeros((20, 30), np.float32), requires_grad=True)
    f = jit(lambda x: (w.grad * x + 1).sum())
    rng = np.random.default_rng(0)
    for n in range(12):
        values = rng.standard_normal((20, 30)).astype(np.float32)
        w.zero_grad()
        w.grad = Tensor(np.asarray(values, order="C" if n < 6 else "F"))
        x = inputs(1, (1,))[0]
        expected = (w.grad * x + 1).sum().item()
        assert f(x).item() == expected
    assert "memory layout" in str(f.explain())


def test_a_number_of_python_from_an_external_as_an_index():
    def f(x):
        largest = external(lambda a: int(a.argmax()), x)
        return x[largest] * 2, nn_tensor.take(x, largest, axis=0)

    fast = agree(f, inputs())
    assert replays(fast) == 3


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("2", "3"),
        ({"factor": 2.0}, {"factor": 3.0}),
        ((2.0, None), (3.0, None)),
        ((2,), (2, 3)),
        ([{"a": "2"}], [{"a": "3"}]),
        (None, 3.0),
    ],
)
def test_what_an_external_gives_beside_arrays_may_not_change(before, after):
    def first(found):
        while isinstance(found, (tuple, list, dict)):
            found = list(found.values())[-1] if isinstance(found, dict) else found[-1]
            found = 1.0 if found is None else found
        return float(found or 1.0)

    given = [before]
    f = jit(lambda x: x * first(external(lambda: given[0])))
    for x in inputs(5):
        np.testing.assert_array_equal(f(x).numpy(), x.numpy() * first(before))
    given[0] = after
    with pytest.raises(JitError, match=r"<lambda> gave .* when the function was recorded"):
        f(inputs()[0])
    given[0] = before
    np.testing.assert_array_equal(f(x).numpy(), x.numpy() * first(before))


@pytest.mark.parametrize("in_a_tuple", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_tensor_from_an_external(in_a_tuple, dtype):
    def double(array):
        return (Tensor(array * 2), None) if in_a_tuple else Tensor(array * 2)

    def f(x):
        y = external(double, x)
        y = y[0] if in_a_tuple else y
        return exp(y) * x + 1, y

    fast = agree(f, [x.astype(dtype) for x in inputs()])
    assert replays(fast) == 3
