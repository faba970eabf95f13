"""Arguments that are not arrays are compared exactly: what is called equal may differ."""

import dataclasses
import pathlib

import numpy as np
import pytest
from jit_parts import assert_same, inputs, replays
from nn_jit import jit
from nn_tensor import Tensor


@dataclasses.dataclass(frozen=True)
class Options:
    factor: float = 2.0
    hidden: float = dataclasses.field(default=1.0, compare=False)


@dataclasses.dataclass(frozen=True)
class Batch:
    x: Tensor
    factor: float


class Equal:
    """An object that says of all others that they are equal."""

    def __init__(self, factor):
        self.factor = factor

    def __eq__(self, other):
        return isinstance(other, Equal)

    def __hash__(self):
        return 0


def by_first(x, items):
    return x * next(iter(items))


def by_factor(x, options):
    return x * options.factor * getattr(options, "hidden", 1)


@pytest.mark.parametrize(
    ("function", "before", "after"),
    [
        (by_factor, Options(2), Options(2.0)),
        (by_factor, Options(0.0), Options(-0.0)),
        (by_factor, Options(2, 1), Options(2, 5)),
        (by_factor, Equal(2.0), Equal(5.0)),
        (by_first, frozenset({2}), frozenset({2.0})),
        (by_first, {2: None}, {2.0: None}),
        (by_first, (Options(2).factor,), (Options(2.0).factor,)),
    ],
)
def test_equal_arguments_that_differ(function, before, after):
    fast = jit(function)
    for n in range(12):
        x, argument = Tensor([1, 2]), before if n < 6 else after
        expected = function(x, argument)
        assert_same(fast(x, argument), expected)
        signs = [np.signbit(y.numpy()) for y in (fast(x, argument), expected)]
        np.testing.assert_array_equal(*signs)
    assert len(fast.explain().programs) == 2


@pytest.mark.parametrize(
    "make",
    [
        lambda: Options(2.0),
        lambda: frozenset({2.0}),
        lambda: pathlib.PurePath("a"),
        lambda: {"a": {1.0: 2}},
        lambda: range(3),
        lambda: Options().__repr__.__func__,
        lambda: np.dtype("float32"),
        lambda: np.int64(3),
    ],
)
def test_new_arguments_that_are_the_same_have_one_program(make):
    fast = jit(lambda x, _: x * 2)
    for x in inputs():
        assert_same(fast(x, make()), x * 2)
    assert len(fast.explain().programs) == 1
    assert replays(fast) == 3


def test_tensors_in_a_frozen_dataclass_are_arguments():
    fast = jit(lambda batch: batch.x * batch.factor + batch.x)
    for x in inputs(8):
        assert_same(fast(Batch(x, 3.0)), x * 3.0 + x)
    assert len(fast.explain().programs) == 1
    assert replays(fast) == 5
