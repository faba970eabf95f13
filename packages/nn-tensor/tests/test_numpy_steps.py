"""Operations taken apart into NumPy's functions, and the small parts of observers."""

import collections

import numpy as np
import pytest
from nn_tensor import Tensor, matmul, relu, softmax
from nn_tensor.extend import (
    FRAMEWORK,
    Observer,
    array_of,
    caller,
    has_parts,
    leaves_of,
    map_structure,
    named_leaves,
    numpy_steps,
    observe,
    op,
)

Pair = collections.namedtuple("Pair", "a b")


class Steps(Observer):
    """Takes every call apart, and computes the steps again."""

    def __init__(self):
        self.labels = []

    def computed(self, function, arguments, options, result, label, writes):
        steps = [] if writes else numpy_steps(function, arguments, options, result)
        self.labels += [step.label for step in steps]
        known = {}
        for step in steps:
            operands = [known.get(id(x), x) for x in step.operands]
            again = np.asarray(step.function(*operands, **step.options))
            known[id(step.result)] = again
            assert again.tobytes() == step.result.tobytes()
            if step.is_view:
                assert again.size == operands[0].size
            if step.out is not None:
                filled = np.empty_like(step.result)
                if isinstance(step.function, np.ufunc):
                    step.function(*operands, out=filled, **step.options)
                else:
                    operands[step.out : step.out + 1] = [filled]
                    step.function(*operands, **step.options)
                assert filled.tobytes() == step.result.tobytes()
        if steps:
            assert steps[-1].result.tobytes() == np.asarray(result).tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_steps_give_the_same_bits(dtype):
    rng = np.random.default_rng(0)
    x, w = (Tensor(rng.standard_normal((4, 4)).astype(dtype), requires_grad=True) for _ in "xw")
    steps = Steps()
    with observe(steps):
        y = matmul(x, w).T.reshape(2, 8) * 2 - 1
        (relu(y) + softmax(y) / (1 + y * y)).max(axis=1).sum().backward()
    assert {"matmul", "transpose", "reshape", "multiply", "subtract", "sum"} <= set(steps.labels)


def test_products_are_those_of_matmul_for_all_strides():
    """Where BLAS does not take the strides, NumPy's dot and matmul add up in another order."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((1, 300)), np.zeros((300, 800))[:, ::2]

    def forward(xp, x, y):
        return xp.matmul(x, y)

    (step,) = numpy_steps(forward, (np, x, y), {}, x @ y)
    y[...] = rng.standard_normal(y.shape)
    assert np.array_equal(step.function(x, y), x @ y)


@pytest.mark.parametrize(
    "forward",
    [
        lambda xp, x: xp.sort(x),
        lambda xp, x: x[::2],
        lambda xp, x: xp.exp(x) if x.sum() > 0 else x,
        lambda xp, x: np.array([float(v) for v in x]),
        lambda xp, x: x,
    ],
)
def test_what_calls_anything_else_has_no_steps(forward):
    x = np.array([1.0, 3.0, 2.0])
    assert numpy_steps(forward, (np, x), {}, forward(np, x)) == []


def test_a_result_with_other_bits_has_no_steps():
    x = np.array([1.0, -1.0])
    assert numpy_steps(lambda xp, x: x * 0, (np, x), {}, np.zeros(2)) == []  # the sign of a zero


@op
def with_sums(xp, x, /, found=None):
    """Return twice `x`, and add its sum to a list."""
    if found is not None:
        found += [x.sum()]
    return x * 2


def test_a_list_that_an_operation_fills_is_told_as_a_result():
    told = []

    class Log(Observer):
        def computed(self, function, arguments, options, result, label, writes):
            told.append((function, arguments, options, result))

    found, x = [], Tensor([1.0, 2.0])
    with observe(Log()):
        with_sums(x, found=found)
    function, arguments, options, (result, total) = told.pop()
    assert options == {}
    assert total is found[0]
    again, other = function(*arguments, **options)
    np.testing.assert_array_equal(again, result)
    assert other == total
    assert len(found) == 1


def test_an_observer_is_told_when_has_grad_is_read():
    told = []

    class Log(Observer):
        def gradient_read(self, tensor):
            told.append(tensor)

    x = Tensor([1.0], requires_grad=True)
    with observe(Log()):
        assert not x.has_grad
    assert told == [x] or told[0] is x


def test_the_caller_is_outside_of_the_framework():
    assert caller().endswith("in test_the_caller_is_outside_of_the_framework")
    assert "nn_tensor" in FRAMEWORK


def test_structures():
    structure = {"a": Pair(1, [2, (3,)]), "b": collections.OrderedDict(c=4)}
    found = map_structure(lambda x: x if isinstance(x, dict) else x * 10, structure)
    assert found == {"a": Pair(10, [20, (30,)]), "b": {"c": 4}}
    assert type(found["a"]) is Pair
    assert list(leaves_of(structure)) == [1, 2, 3, {"c": 4}]
    assert [name for name, _ in named_leaves(structure, "x")] == [
        "x['a'][0]", "x['a'][1][0]", "x['a'][1][1][0]", "x['b']",
    ]  # fmt: skip
    assert not has_parts(array_of(Tensor([1.0])))
